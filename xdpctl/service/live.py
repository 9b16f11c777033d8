"""The live view: a snapshot each second for every stream that is open, made once for all.

Follows the counters (each look of the observer), the rules hit most, and the changes. While no
stream is open, it only keeps the rates of the last five minutes. A snapshot never waits for the
rules hit most and the changes: they are as they were last known. Owns what a snapshot has. Does
not own the streams (http/api/streams.py). A part of the service, made by start.py; used through
operations.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

from xdpctl.errors import XdpctlError
from xdpctl.http.api.converter import change_out
from xdpctl.http.api.live_documents import live_out, rates_of
from xdpctl.process.log import event
from xdpctl.store.history import UNDER_WAY

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator

    from xdpctl.abi import MapName
    from xdpctl.http.api.documents import ChangeOut, TopRule
    from xdpctl.http.api.limit_documents import LimitsOut
    from xdpctl.http.api.live_documents import LiveOut
    from xdpctl.service.looks import Looks
    from xdpctl.settings import Settings
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.history import HistoryRow

TOP = 20
"""Rules of a snapshot."""

EVENTS_MAX = 1_000
"""Changes that are kept for streams; one that is further behind misses the oldest."""

PAST = 300
"""Looks whose rates are kept for streams that begin later: five minutes."""

CHANGES_SECONDS = 0.3
"""How long a snapshot waits for the changes before it."""

TOP_SHARE = 20
"""Reading the counters of all rules takes at most one part in so many of a thread's time, …"""

TOP_PAUSE = 20.0
"""… but no pause is longer: on a machine that a flood keeps busy, most of that time is waiting."""

FAILED_PAUSE = 10.0
"""Until counters that could not be read are read again: each time has a line in the log."""

_log = logging.getLogger(__name__)


class LiveSource(Protocol):
    """What snapshots are made of; operations.py has it."""

    def snapshot(self) -> Snapshot:
        """Return what was last seen."""

    def limits(self) -> LimitsOut:
        """Return what the limits do now."""

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopRule]:
        """Return the rules hit most."""

    async def last_change(self) -> int:
        """Return the number of the last change."""

    async def changes_after(self, number: int, also: Iterable[int]) -> dict[int, HistoryRow]:
        """Return the changes behind a number, and some of before, by their numbers."""


class Live:
    """Makes the snapshots.

    Args:
        operations: knows counters, rules and changes.
        looks: tells when the observer has looked.
    """

    name = "live"
    warnings = ()
    failures = ()

    def __init__(self, operations: LiveSource, looks: Looks) -> None:
        self._operations = operations
        self._looks = looks
        self._streams = 0
        self._wanted = asyncio.Event()
        self._looked = asyncio.Event()
        self._next = asyncio.Event()
        self._top: list[TopRule] = []
        self._top_at: float | None = None
        self._past: deque[tuple[float, tuple[float, ...]]] = deque(maxlen=PAST)
        self._events: deque[tuple[int, ChangeOut]] = deque(maxlen=EVENTS_MAX)
        self._count = 0

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def snapshots(self) -> AsyncGenerator[LiveOut, None]:
        """Yield a snapshot at once, with the past, and one after each look."""
        seen, past = self._count, tuple(self._past)
        with self._stream():
            while True:
                following, count = self._next, self._count
                events = [change for number, change in self._events if seen < number]
                seen = count
                yield live_out(
                    self._operations.snapshot(),
                    time.time(),
                    self._operations.limits().acting,
                    self._top,
                    None if self._top_at is None else time.monotonic() - self._top_at,
                    events,
                    past,
                )
                past = ()
                await following.wait()

    async def run(self) -> NoReturn:
        """Follow what snapshots show, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_changes(), name="live changes")
            group.create_task(self._follow_top(), name="live top")
            await self._looks.after_each(self._note_look)
        raise AssertionError("the looks have ended")  # they run until they are cancelled

    @contextlib.contextmanager
    def _stream(self) -> Iterator[None]:
        self._streams += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._streams -= 1
            if not self._streams:
                self._wanted.clear()

    async def _note_look(self) -> None:
        snapshot, now = self._operations.snapshot(), time.time()
        while self._past and self._past[-1][0] >= now:  # the clock was set back
            self._past.pop()
        if snapshot.rates:
            self._past.append((now, rates_of(snapshot)))
        self._looked.set()

    async def _follow_changes(self) -> NoReturn:
        """After each look, take the changes since the look before, and wake the streams."""
        while True:
            await self._wanted.wait()
            last: int | None = None
            under_way = frozenset[int]()
            reading: asyncio.Task[tuple[int | None, frozenset[int]]] | None = None
            while self._wanted.is_set():
                self._looked.clear()
                await self._looked.wait()
                if reading is None:
                    work = self._read_changes(last, under_way)
                    reading = asyncio.create_task(work, name="live read")
                await asyncio.wait({reading}, timeout=CHANGES_SECONDS)
                if reading.done():
                    last, under_way = reading.result()
                    reading = None
                former, self._next = self._next, asyncio.Event()
                former.set()
            if reading is not None:
                await reading

    async def _read_changes(
        self, last: int | None, under_way: frozenset[int]
    ) -> tuple[int | None, frozenset[int]]:
        """Take the changes behind a number, and those of before that have ended now.

        Args:
            last: the number; None: changes count from now on.
            under_way: numbers of those that had not ended.
        """
        rows = {}
        with _logged():
            if last is None:
                return await self._operations.last_change(), under_way
            rows = await self._operations.changes_after(last, under_way)
        going_on = set()
        for number, row in rows.items():
            if (row.detail or "").startswith(UNDER_WAY):
                going_on.add(number)
                if number in under_way:
                    continue  # it was shown when it began
            self._count += 1
            self._events.append((self._count, change_out(row)))
        return max(rows, default=last), frozenset(going_on) if rows else under_way

    async def _follow_top(self) -> NoReturn:
        while True:
            await self._wanted.wait()
            began, pause = time.monotonic(), FAILED_PAUSE
            with _logged():
                self._top = await self._operations.top(TOP, None, "rate")
                self._top_at = time.monotonic()
                spent = self._top_at - began - 1.0  # a rate is measured for a second
                pause = min(max(spent, 0.0) * TOP_SHARE, TOP_PAUSE)
            await asyncio.sleep(pause)
            if not self._wanted.is_set():
                self._top, self._top_at = [], None


@contextlib.contextmanager
def _logged() -> Iterator[None]:
    """Log an error of ours, and continue."""
    try:
        yield
    except XdpctlError as error:
        event(_log, "live-failed", logging.WARNING, error=error.sentence)
