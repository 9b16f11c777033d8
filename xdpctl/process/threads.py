"""Pools of threads for blocking work, and a fair lock.

Owns the error for a thread that cannot be started. Python's own pools raise a RuntimeError then
but keep the work in their queue and do it later. Does not own what the threads do. Called by
service/, which passes the pools on to other rooms; program/cache.py, lanes.py and store/ use it
too.
"""

from __future__ import annotations

import errno
import threading
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from xdpctl.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable


_P = ParamSpec("_P")
_T = TypeVar("_T")


class Threads(ThreadPoolExecutor):
    """The standard library's pool, which raises our error when it cannot start a thread."""

    def submit(
        self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs
    ) -> Future[_T]:
        """Run a function on a thread.

        Raises:
            KernelError: no thread can be started. The function never runs.
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
            raise _no_thread() from error


def one_thread(name: str) -> Threads:
    """Return a pool of one thread, as `some_threads`."""
    return some_threads(1, name)


def some_threads(count: int, name: str) -> Threads:
    """Return a pool of so many threads, already started, so that `submit` cannot fail later.

    Raises:
        KernelError: one cannot be started.
    """
    pool, together = Threads(count, name), threading.Barrier(count)
    try:
        for begun in [pool.submit(together.wait) for _ in range(count)]:
            begun.result()
    except KernelError:
        together.abort()
        pool.shutdown()
        raise
    return pool


def in_background(name: str, function: Callable[[], _T]) -> Future[_T]:
    """Run a function on a thread of its own that the end of the process does not wait for.

    Raises:
        KernelError: no thread can be started.
    """
    future: Future[_T] = Future()

    def work() -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            found = function()
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)
        else:
            future.set_result(found)

    try:
        threading.Thread(target=work, name=name, daemon=True).start()
    except RuntimeError as error:
        raise _no_thread() from error
    return future


def _no_thread() -> KernelError:
    return KernelError(
        "cannot start another thread",
        errno.EAGAIN,
        "raise the limit of tasks (TasksMax=, ulimit -u), or free memory",
    )


class TurnLock:
    """A fair lock, for `with`. One thread cannot hold it twice.

    A thread that releases Python's own lock and takes it again at once nearly always wins
    against waiting threads: a list of a million rules would delay a single rule to its end.

    Here a waiting thread holds a second lock, `door`, so that the last holder has to wait for
    `door` before it can take the lock again.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._door = threading.Lock()

    def __enter__(self) -> None:
        with self._door:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
