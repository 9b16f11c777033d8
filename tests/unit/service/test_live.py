"""What live streams show: changes as they happen, rules hit most; nothing while nobody looks."""

from __future__ import annotations

import asyncio
import itertools
import time
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal, NoReturn, cast

from tests.support.fake_backend import ENTRY, NO_LIMITS, RECORD, STANDING
from xdpctl.abi import PacketAction, Reason
from xdpctl.errors import StateError, XdpctlError
from xdpctl.http.api.converter import top_rule
from xdpctl.http.api.limit_documents import limits_out
from xdpctl.limits.view import LimitsView
from xdpctl.rules import AnyQtype
from xdpctl.service import live as live_module
from xdpctl.service.live import TOP, Live
from xdpctl.status.snapshot import Snapshot
from xdpctl.store.history import UNDER_WAY
from xdpctl.store.top import TopEntry

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable

    import pytest

    from xdpctl.abi import MapName
    from xdpctl.http.api.documents import TopRule
    from xdpctl.http.api.limit_documents import LimitsOut
    from xdpctl.http.api.live_documents import PastOut
    from xdpctl.service.looks import Looks
    from xdpctl.store.history import HistoryRow


class FakeLooks:
    """Looks a hundred times a second."""

    async def after_each(self, what: Callable[[], Awaitable[None]]) -> NoReturn:
        while True:
            await asyncio.sleep(0.01)
            await what()


class FakeOperations:
    """A history in memory; `failure` is raised by every reading of it."""

    def __init__(self) -> None:
        self.rows: dict[int, HistoryRow] = {1: replace(RECORD, verb="block")}
        self.asked = self.ranked = 0
        self.failure: Exception | None = None
        self.held: asyncio.Event | None = None
        self.rates: dict[tuple[str, Reason, PacketAction], float] = {}

    def snapshot(self) -> Snapshot:
        return Snapshot(taken=0.0, rates=self.rates)

    def limits(self) -> LimitsOut:
        return limits_out(LimitsView(NO_LIMITS))

    async def last_change(self) -> int:
        await self._ask()
        return max(self.rows)

    async def changes_after(self, number: int, also: Iterable[int]) -> dict[int, HistoryRow]:
        await self._ask()
        wanted = set(also)
        return {key: row for key, row in self.rows.items() if key > number or key in wanted}

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopRule]:
        await asyncio.sleep(0.01)
        self.ranked += 1
        assert (count, map_name, by) == (TOP, None, "rate")
        return [top_rule(TopEntry(ENTRY, 2.5), STANDING, AnyQtype.BOTH)]

    async def _ask(self) -> None:
        self.asked += 1
        if self.held is not None:
            await self.held.wait()
        if self.failure is not None:
            raise self.failure


@asynccontextmanager
async def running(operations: FakeOperations) -> AsyncIterator[Live]:
    part = Live(operations, cast("Looks", FakeLooks()))
    task = asyncio.create_task(part.run())
    try:
        yield part
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def verbs(snapshots: AsyncIterator[Any], count: int) -> list[str]:
    """Return the verbs of the next so many changes."""
    found: list[str] = []
    async with asyncio.timeout(5):
        while len(found) < count:
            found += [change.verb for change in (await anext(snapshots)).events]
    return found


async def test_changes_are_shown_once_and_from_now_on() -> None:
    operations = FakeOperations()
    async with running(operations) as part, aclosing(part.snapshots()) as snapshots:
        for _ in range(3):
            assert (await anext(snapshots)).events == []
        operations.rows[2] = replace(RECORD, verb="allow")
        assert await verbs(snapshots, 1) == ["allow"]
        operations.rows[3] = replace(RECORD, verb="flush")
        assert await verbs(snapshots, 1) == ["flush"]


async def test_a_stream_begins_with_the_rates_of_before() -> None:
    """A page that was opened in a flood did not show when it had begun."""
    operations = FakeOperations()
    operations.rates = {("eth0", Reason.NO_MATCH, PacketAction.PASS): 7.0}
    began = time.time()
    past: list[PastOut] = []
    async with running(operations) as part:
        while len(past) < 2:
            async with aclosing(part.snapshots()) as snapshots:
                past = (await anext(snapshots)).past
                assert (await anext(snapshots)).past == []
    times = [point.time for point in past]
    assert times == sorted(set(times))
    assert began - 1 < times[0] < time.time()
    assert past[0].rates == {"pass": 7.0, "drop": 0.0, "truncate": 0.0, "redirect": 0.0}


async def test_a_change_that_takes_long_is_shown_at_its_begin_and_its_end() -> None:
    operations = FakeOperations()
    async with running(operations) as part, aclosing(part.snapshots()) as snapshots:
        for _ in range(3):
            await anext(snapshots)
        operations.rows[2] = replace(RECORD, verb="import", detail=f"{UNDER_WAY}: 5")
        assert await verbs(snapshots, 1) == ["import"]
        for _ in range(3):
            assert (await anext(snapshots)).events == []
        operations.rows[2] = replace(RECORD, verb="import", detail="10 made")
        assert await verbs(snapshots, 1) == ["import"]


async def test_a_second_stream_does_not_take_from_the_first() -> None:
    operations = FakeOperations()
    async with (
        running(operations) as part,
        aclosing(part.snapshots()) as first,
        aclosing(part.snapshots()) as second,
    ):
        await anext(first), await anext(second), await anext(first), await anext(first)
        operations.rows[2] = replace(RECORD, verb="allow")
        assert await verbs(first, 1) == ["allow"]
        assert await verbs(second, 1) == ["allow"]


async def test_the_rules_hit_most_are_by_rate() -> None:
    async with running(FakeOperations()) as part, aclosing(part.snapshots()) as snapshots:
        async with asyncio.timeout(5):
            while not (top := (await anext(snapshots)).top):
                pass
    assert [rule.rate for rule in top] == [2.5]


async def test_a_snapshot_says_how_old_the_rules_hit_most_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = 5.0
    clock = SimpleNamespace(time=time.time, monotonic=lambda: seconds)
    monkeypatch.setattr(live_module, "time", clock)
    operations = FakeOperations()
    async with (
        asyncio.timeout(5),
        running(operations) as part,
        aclosing(part.snapshots()) as snapshots,
    ):
        first = await anext(snapshots)
        assert (first.top, first.top_age) == ([], None)
        while (await anext(snapshots)).top_age != 0:
            pass
        monkeypatch.setattr(operations, "top", lambda *_: asyncio.Event().wait())
        await asyncio.sleep(0.1)  # one that was under way has ended
        seconds = 29.0
        while (await anext(snapshots)).top_age != 24:
            pass


async def test_rules_are_ranked_again_soon_however_long_it_took(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count(0, 1_000)
    busy = SimpleNamespace(time=time.time, monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr(live_module, "time", busy)
    monkeypatch.setattr(live_module, "TOP_PAUSE", 0.01)
    operations = FakeOperations()
    async with running(operations) as part, aclosing(part.snapshots()) as snapshots:
        async with asyncio.timeout(5):
            while operations.ranked < 3:
                await anext(snapshots)


async def test_counters_that_cannot_be_read_are_read_again_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And not at once, for ever: the log would be full of it."""
    operations = FakeOperations()
    calls = itertools.count()

    async def top(*_: object) -> list[TopRule]:
        next(calls)
        raise XdpctlError("cannot read a map")

    monkeypatch.setattr(operations, "top", top)
    async with running(operations) as part, aclosing(part.snapshots()) as snapshots:
        for _ in range(5):
            await anext(snapshots)
    assert next(calls) == 1


async def test_nothing_is_read_while_no_stream_is_open() -> None:
    operations = FakeOperations()
    async with running(operations) as part:
        await asyncio.sleep(0.05)
        assert operations.asked == 0
        async with aclosing(part.snapshots()) as snapshots:
            await anext(snapshots), await anext(snapshots)
        await asyncio.sleep(0.05)
        asked = operations.asked
        await asyncio.sleep(0.05)
        assert operations.asked == asked > 0


async def test_a_snapshot_does_not_wait_for_a_slow_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_module, "CHANGES_SECONDS", 0.01)
    operations = FakeOperations()
    operations.held = asyncio.Event()
    async with running(operations) as part, aclosing(part.snapshots()) as snapshots:
        async with asyncio.timeout(5):
            for _ in range(5):
                await anext(snapshots)
        operations.held.set()


async def test_a_state_that_cannot_be_read_ends_nothing() -> None:
    operations = FakeOperations()
    operations.failure = StateError("cannot read the state: disk I/O error; look at the disk")
    async with running(operations) as part, aclosing(part.snapshots()) as snapshots:
        for _ in range(3):
            await anext(snapshots)
        operations.failure = None
        for _ in range(3):
            await anext(snapshots)
        operations.rows[2] = replace(RECORD, verb="allow")
        assert await verbs(snapshots, 1) == ["allow"]
