"""What streams share of samples: one sum for all that want the same, one line a sample."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from contextlib import AsyncExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.support.fake_backend import FakeBackend
from tests.unit.samples.seen import frame_of, sample_of
from xdpctl.abi import PacketAction, Reason
from xdpctl.errors import NoSamplesError
from xdpctl.http.api import shared_samples
from xdpctl.http.api.shared_samples import LEAST_SAMPLES, Wanted
from xdpctl.samples.packets import read_packet
from xdpctl.samples.selection import Selection
from xdpctl.samples.talkers import SAMPLES_MAX, By, Talkers
from xdpctl.service import watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from xdpctl.http.api.sample_documents import TalkersOut
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample

WANTED = Wanted(Selection(), (By.SOURCE, By.NAME), 5, 10)
DROPPED = Wanted(Selection(action=PacketAction.DROP), (By.SOURCE,), 5, 10)


def one(source: str = "192.0.2.7") -> Sample:
    """Return a sample of now."""
    return sample_of(
        frame_of(source), PacketAction.DROP, Reason.ADDR_V4, weight=8, time=time.time()
    )


@pytest.fixture
async def backend(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[FakeBackend]:
    """A backend to whose readers samples come all the time, one lost with each."""
    monkeypatch.setattr(shared_samples, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(shared_samples, "BEHIND_SECONDS", 0.0)
    made = FakeBackend()

    async def feed() -> None:
        while True:
            made.hub.deliver([one()], lost=1)
            await asyncio.sleep(0.01)

    task = asyncio.create_task(feed())
    yield made
    task.cancel()


async def following(sums: AsyncIterator[TalkersOut]) -> TalkersOut:
    """Return the next document."""
    async with asyncio.timeout(10):
        return await anext(sums)


async def test_all_who_want_the_same_share_one_look(backend: FakeBackend) -> None:
    async with AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(backend.shared.sums(WANTED)) for _ in range(16)]
        other = await stack.enter_async_context(backend.shared.sums(DROPPED))
        assert backend.hub.readers == 2
        found = await asyncio.gather(*map(following, readers))
        assert len({document.weight for document in found}) == 1
        assert list((await following(other)).by) == ["source"]
    assert backend.hub.readers == 0


async def test_who_joins_sees_what_was_before_and_is_told_of_what_is_lost_from_then(
    backend: FakeBackend,
) -> None:
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(backend.shared.sums(WANTED))
        for _ in range(3):
            before = await following(first)
        later = await stack.enter_async_context(backend.shared.sums(WANTED))
        joined = await following(later)
        assert joined.weight >= before.weight > 0
        assert joined.lost == 0
        assert (await following(first)).lost > 0
        assert (await following(later)).lost > 0


async def test_the_others_go_on_when_one_leaves(backend: FakeBackend) -> None:
    async with backend.shared.sums(WANTED) as staying:
        async with backend.shared.sums(WANTED) as leaving:
            waiting = asyncio.create_task(following(leaving))
            await asyncio.sleep(0)
            waiting.cancel()
        assert (await following(staying)).weight > 0
        assert (await following(staying)).weight > 0


async def test_all_end_with_the_samples_and_the_next_begin_again(backend: FakeBackend) -> None:
    async with backend.shared.sums(WANTED) as sums:
        await following(sums)
        backend.hub.close("the settings say so")
        assert [document async for document in sums if document.weight < 0] == []
        with pytest.raises(NoSamplesError, match="the settings say so"):
            async with backend.shared.sums(DROPPED):
                pass
        backend.hub.open()
        async with backend.shared.sums(WANTED) as again:
            assert (await following(again)).weight > 0
    assert backend.hub.readers == 0


async def test_on_a_busy_machine_sums_are_of_what_has_come(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Samples that come three seconds late are not too old, and no rate is of a time without."""
    monkeypatch.setattr(shared_samples, "TELL_SECONDS", 0.05)
    backend, clock = FakeBackend(), [1_000.0]
    monkeypatch.setattr(shared_samples, "time", SimpleNamespace(time=lambda: clock[0]))
    async with backend.shared.sums(replace(WANTED, seconds=1)) as sums:
        clock[0] = 1_004.0
        early = replace(one(), time=999.9)
        now = [replace(one(), time=1_000.0 + tenth / 10) for tenth in range(10)]
        backend.hub.deliver([early, *now], until=1_001.0)
        document = await following(sums)
    assert document.weight == 10 * 8
    assert document.seconds == 1.0


async def test_sums_go_on_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a machine does that learns the time after its start."""
    monkeypatch.setattr(shared_samples, "TELL_SECONDS", 0.05)
    backend, clock = FakeBackend(), [9_000.0]
    monkeypatch.setattr(shared_samples, "time", SimpleNamespace(time=lambda: clock[0]))
    async with backend.shared.sums(WANTED) as sums:
        clock[0] = 9_001.0
        backend.hub.deliver([replace(one(), time=9_000.5)], until=9_001.0)
        assert (await following(sums)).weight == 8
        clock[0] = 2_000.0
        await asyncio.sleep(0.1)
        clock[0] = 2_001.0
        late, *new = (replace(one(), time=moment) for moment in (9_000.9, 2_000.1, 2_000.2))
        backend.hub.deliver([late, *new], until=2_001.0)
        documents = [await following(sums) for _ in range(2)]
    assert documents[-1].weight == 2 * 8
    assert documents[-1].seconds < 1.5


async def test_memory_is_for_all_sums_together(backend: FakeBackend) -> None:
    kinds = [Wanted(Selection(port=port), (By.NAME,), 60, 10) for port in range(30)]
    async with AsyncExitStack() as stack:
        for wanted in kinds[:6]:
            await stack.enter_async_context(backend.shared.sums(wanted))
        most = [shared.talkers.most_samples for shared in backend.shared._sums.values()]
        assert most == [SAMPLES_MAX // 6] * 6
        for wanted in kinds[6:]:
            await stack.enter_async_context(backend.shared.sums(wanted))
        assert {shared.talkers.most_samples for shared in backend.shared._sums.values()} == {
            LEAST_SAMPLES
        }
        await stack.enter_async_context(backend.shared.sums(WANTED))


async def test_sums_of_one_request_have_their_part_of_that_memory(backend: FakeBackend) -> None:
    alone = Talkers((By.NAME,), 60, began=0)
    async with backend.shared.sums(WANTED):
        (shared,) = backend.shared._sums.values()
        with backend.shared.alone(alone):
            assert alone.most_samples == shared.talkers.most_samples == SAMPLES_MAX // 2
        assert shared.talkers.most_samples == SAMPLES_MAX


async def test_when_the_last_reader_leaves_the_memory_is_free_at_once(
    backend: FakeBackend,
) -> None:
    """Without the garbage collector, which may not come for minutes."""
    gc.collect()
    gc.disable()
    try:
        async with backend.shared.sums(WANTED) as sums:
            await following(sums)
            (shared,) = backend.shared._sums.values()
            talkers = weakref.ref(shared.talkers)
            del shared
        held = talkers()
        assert held is None or held.total().packets == 0
        assert held is None or held.most(By.SOURCE, 9) == []
    finally:
        gc.enable()


async def test_a_line_is_made_once_for_all_who_send_it() -> None:
    backend = FakeBackend()
    looked_up: list[int] = []
    rules_of = backend.rules_of

    async def noted(seen: list[tuple[Sample, Packet]]) -> object:
        looked_up.append(len(seen))
        await asyncio.sleep(0)
        return await rules_of(seen)

    backend.rules_of = noted  # type: ignore[assignment, method-assign]
    batch = [(sample, read_packet(sample.frame)) for sample in (one(), one("192.0.2.8"))]
    async with backend.shared.sender():
        alone = await backend.shared.lines(batch, frames=False)
        async with backend.shared.sender():
            many = await asyncio.gather(
                *(backend.shared.lines(batch, frames=False) for _ in range(4)),
                backend.shared.lines(batch[::-1], frames=True),
            )
    assert many[:4] == [alone] * 4
    assert sum(looked_up) == 2 + 2 + 2
    sources = [msgspec.json.decode(line)["source"] for line in many[4]]
    assert sources == ["192.0.2.8", "192.0.2.7"]
    assert "frame" in msgspec.json.decode(many[4][0])
    assert backend.shared._lines == {}


async def test_sums_let_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """After some samples each time, however many have come at once."""
    monkeypatch.setattr(shared_samples, "TELL_SECONDS", 0.01)
    monkeypatch.setattr(shared_samples, "BEHIND_SECONDS", 0.0)
    backend = FakeBackend()
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with backend.shared.sums(WANTED) as sums:
        counting = asyncio.create_task(count())
        backend.hub.deliver([one() for _ in range(4_000)])
        while (await following(sums)).weight < 4_000 * 8:
            backend.hub.deliver([])
        counting.cancel()
    assert turns > 4_000 / watch.AT_ONCE


async def test_in_one_turn_of_the_loop_one_kind_of_sums_is_worked_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """However many kinds wait for the same samples: together they would hold the loop for long."""
    added, most = 0, 0
    add = Talkers.add

    def counted(self: Talkers, sample: Sample, packet: Packet) -> None:
        nonlocal added
        added += 1
        add(self, sample, packet)

    async def look_each_turn() -> None:
        nonlocal added, most
        while True:
            most, added = max(most, added), 0
            await asyncio.sleep(0)

    monkeypatch.setattr(Talkers, "add", counted)
    monkeypatch.setattr(shared_samples, "TELL_SECONDS", 0.05)
    monkeypatch.setattr(shared_samples, "BEHIND_SECONDS", 0.0)
    backend = FakeBackend()
    async with AsyncExitStack() as stack:
        kinds = [
            await stack.enter_async_context(backend.shared.sums(replace(WANTED, seconds=seconds)))
            for seconds in range(5, 21)
        ]
        looking = asyncio.create_task(look_each_turn())
        backend.hub.deliver([one() for _ in range(200)])
        await asyncio.sleep(0.05)
        backend.hub.deliver([])
        for sums in kinds:
            while (await following(sums)).weight < 200 * 8:
                backend.hub.deliver([])
        looking.cancel()
    assert 0 < most <= watch.AT_ONCE
