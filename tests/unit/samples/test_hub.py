"""The hub: everybody who looks gets the samples, and nobody holds another."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from xdpctl.abi import PacketAction, Reason
from xdpctl.errors import NoSamplesError, ReadersError
from xdpctl.samples.hub import READERS_MAX, Hub
from xdpctl.samples.sample import Sample


def sample(number: int) -> Sample:
    return Sample(
        number, "eth0", PacketAction.PASS, Reason.NO_MATCH, weight=1, length=60, frame=bytes(60)
    )


def samples(*numbers: int) -> list[Sample]:
    return [sample(number) for number in numbers]


def test_everybody_who_looks_gets_every_sample() -> None:
    async def look() -> None:
        hub = Hub()
        async with hub.subscribe() as first, hub.subscribe() as other:
            hub.deliver(samples(1, 2))
            hub.deliver(samples(3))
            assert await anext(first) == await anext(other) == samples(1, 2, 3)
            hub.deliver(samples(4))
            assert await anext(first) == samples(4)

    asyncio.run(look())


def test_a_slow_reader_loses_and_counts_and_holds_nobody() -> None:
    async def look() -> None:
        hub = Hub()
        async with hub.subscribe(most=3) as slow, hub.subscribe() as quick:
            hub.deliver(samples(1, 2))
            hub.deliver(samples(3, 4, 5), lost=7)
            assert await anext(slow) == samples(1, 2, 3)
            assert (slow.lost, quick.lost, hub.lost) == (9, 7, 9)
            assert await anext(quick) == samples(1, 2, 3, 4, 5)
            hub.deliver(samples(6))
            assert await anext(slow) == samples(6)

    asyncio.run(look())


def test_a_reader_waits_for_the_next_sample() -> None:
    async def look() -> None:
        hub = Hub()
        async with hub.subscribe() as inbox:
            waiting = asyncio.create_task(anext(inbox))
            await asyncio.sleep(0)
            assert not waiting.done()
            hub.deliver([])
            await asyncio.sleep(0)
            assert not waiting.done()
            hub.deliver(samples(1))
            assert await waiting == samples(1)

    asyncio.run(look())


def test_samples_are_wanted_while_somebody_looks() -> None:
    async def look() -> None:
        hub = Hub()
        assert not hub.wanted.is_set()
        async with hub.subscribe():
            async with hub.subscribe():
                assert hub.wanted.is_set()
                assert hub.readers == 2
            assert hub.wanted.is_set()
        assert not hub.wanted.is_set()

    asyncio.run(look())


def test_no_more_look_than_there_is_room_for() -> None:
    async def look() -> None:
        hub = Hub()
        async with AsyncExitStack() as stack:
            for _ in range(READERS_MAX):
                await stack.enter_async_context(hub.subscribe())
            with pytest.raises(ReadersError, match=f"{READERS_MAX} readers look already"):
                await stack.enter_async_context(hub.subscribe())
        async with hub.subscribe():
            assert hub.readers == 1

    asyncio.run(look())


def test_without_samples_a_reader_hears_why() -> None:
    async def look() -> None:
        hub = Hub()
        async with hub.subscribe() as inbox:
            hub.deliver(samples(1))
            hub.close("the service stops")
            assert [batch async for batch in inbox] == [samples(1)]
        with pytest.raises(NoSamplesError, match="the service stops"):
            await hub.subscribe().__aenter__()
        hub.open()
        async with hub.subscribe():
            assert hub.wanted.is_set()

    asyncio.run(look())


async def test_a_reader_knows_up_to_when_it_has_all_samples() -> None:
    hub = Hub()
    async with hub.subscribe() as inbox:
        hub.deliver([], until=100.0)
        assert inbox.until == 100.0
        hub.deliver(samples(1), until=101.0)
        hub.deliver(samples(2), until=102.0)
        assert inbox.until == 100.0
        await anext(inbox)
        assert inbox.until == 102.0
        hub.deliver(samples(3), until=103.0)
        hub.deliver([], until=104.0)
        assert inbox.until == 102.0
