"""The threads that blocking work is given to: one that cannot be started is an error of ours.

Python's own pools raise a RuntimeError then, which nobody waits for, and do later what
they were asked to do. Used by the service, which gives them to the rest.
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
    """A pool as the standard library's, but for that error."""

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
