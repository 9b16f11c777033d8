"""One thread that does the most urgent work first.

Owns the thread and its queues. Does not own the work. Reads, writes, expiry and panic all use
the store, which one thread works on. In a single queue, a panic would wait behind every request
for a page. Here each urgency has a lane: the thread takes work from the most urgent lane that
has any, and within a lane in order of arrival. Made by service/, which passes the lanes on.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from concurrent.futures import Executor, Future
from enum import IntEnum
from typing import TYPE_CHECKING, ParamSpec, Self, TypeVar

from xdpctl.process.threads import one_thread

if TYPE_CHECKING:
    from collections.abc import Callable

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Urgency(IntEnum):
    """The lanes, the most urgent first."""

    URGENT = 0
    WRITE = 1
    READ = 2


class Lanes:
    """A thread with a lane for each urgency. A context manager that finally waits for all work.

    Args:
        name: the thread's name.

    Attributes:
        urgent, writes, reads: one executor for each lane.

    Raises:
        KernelError: the thread cannot be started.
    """

    def __init__(self, name: str) -> None:
        self._pool = one_thread(name)
        self._work: list[tuple[Urgency, int, Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._count = itertools.count()
        self.urgent = _Lane(self, Urgency.URGENT)
        self.writes = _Lane(self, Urgency.WRITE)
        self.reads = _Lane(self, Urgency.READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def add(self, urgency: Urgency, work: Callable[[], None]) -> None:
        """Queue work; the thread does it when no more urgent work is waiting.

        Raises:
            RuntimeError: the lanes are closed.
        """
        with self._lock:
            self._pool.submit(self._next)  # one call for each item; it takes the most urgent
            heapq.heappush(self._work, (urgency, next(self._count), work))

    def _next(self) -> None:
        with self._lock:
            _, _, work = heapq.heappop(self._work)
        work()


class _Lane(Executor):
    """One lane, as an executor for asyncio."""

    def __init__(self, lanes: Lanes, urgency: Urgency) -> None:
        self._lanes = lanes
        self._urgency = urgency

    def submit(
        self, function: Callable[_P, _T], /, *arguments: _P.args, **options: _P.kwargs
    ) -> Future[_T]:
        """Run a function on the thread."""
        future: Future[_T] = Future()

        def work() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                result = function(*arguments, **options)
            except BaseException as error:  # noqa: BLE001 - passed to the caller, as a pool does
                future.set_exception(error)
            else:
                future.set_result(result)

        self._lanes.add(self._urgency, work)
        return future
