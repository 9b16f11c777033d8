"""Threads for blocking work, and the lock that they take in turn.

A thread that cannot be started is an error of ours: Python's own pools raise a RuntimeError
then, which nobody waits for, and do later what they were asked to do. Used by the service, which
gives them to the rest, and has them share one heap.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from xdpctl.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable


_P = ParamSpec("_P")
_T = TypeVar("_T")


_ARENA_MAX = -8
"""M_ARENA_MAX of malloc.h."""


def share_one_heap() -> None:
    """Have the threads that are started from now on allocate from one heap.

    By default each has one of its own (mallopt(3)), which grows to whatever that thread
    once worked on and keeps it: a list of some thousand rules is two megabytes, a thread
    after the other. The interpreter lets one of them run at a time anyway. A C library
    without this call goes on as it is.
    """
    with contextlib.suppress(AttributeError):
        ctypes.CDLL(None).mallopt(_ARENA_MAX, 1)


class Threads(ThreadPoolExecutor):
    """The standard library's pool, with an error of ours."""

    def submit(
        self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs
    ) -> Future[_T]:
        """Have something done on a thread.

        Raises:
            KernelError: there is no thread, and none can be started; it is not done later.
        """
        given_up = threading.Event()

        def work() -> _T:
            if given_up.is_set():
                raise CancelledError
            return function(*arguments, **options)

        try:
            return super().submit(work)
        except RuntimeError as error:
            given_up.set()
            if "new thread" not in str(error):
                raise
            raise KernelError(
                "cannot start another thread",
                errno.EAGAIN,
                "raise the limit of tasks (TasksMax=, ulimit -u), or free memory",
            ) from error


def one_thread(name: str) -> Threads:
    """Return a pool of one thread that runs already, so that it cannot fail later.

    Raises:
        KernelError: it cannot be started.
    """
    pool = Threads(1, name)
    pool.submit(int).result()
    return pool


class TurnLock:
    """A lock for `with` that is taken in turn, not twice by one thread.

    A thread that releases Python's own lock and takes it again at once nearly always wins
    against those that wait: a list of a million would keep a single rule waiting to its end.

    A thread that waits for the lock holds the door to it, so that the lock's last holder
    cannot take the lock again first.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._door = threading.Lock()

    def __enter__(self) -> None:
        with self._door:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
