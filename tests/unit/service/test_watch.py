"""Samples for those who look: how many at once, which of them, and by which rule."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from tests.support.fake_store import Ledger
from tests.unit.samples.seen import frame_of, sample_of
from xdpctl.abi import PacketAction, Reason
from xdpctl.errors import NotFoundError
from xdpctl.rules import target_text
from xdpctl.samples.hub import Hub
from xdpctl.samples.packets import read_packet
from xdpctl.samples.selection import Selection
from xdpctl.service import watch as watch_module
from xdpctl.service.watch import AT_ONCE, KNOWN_SECONDS, LOOKUPS_MAX, LOOKUPS_SECONDS, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample


class Place:
    """Who looks, at what.

    Attributes:
        now: seconds of the clock.
        kept: bits of addresses, as the settings have them.
    """

    def __init__(self, ledger: Ledger, thread: ThreadPoolExecutor) -> None:
        self.ledger = ledger
        self.hub = Hub()
        self.now = 100.0
        self.kept: tuple[int, int] | None = None
        self.looked_for = 0
        self.watch = Watch(
            self.hub, self._settings, ledger.store, thread=thread, clock=lambda: self.now
        )
        find = self.watch._find

        def counted(pair: tuple[Sample, Packet]) -> object:
            self.looked_for += 1
            return find(pair)

        self.watch.__dict__["_find"] = counted

    def _settings(self) -> Any:  # noqa: ANN401 - what is asked of them
        return SimpleNamespace(
            address_ports=(853,), interfaces=("eth7",), sample_addresses=self.kept
        )

    async def rules(self, *sources: str) -> list[str | None]:
        """Return the rules that decided about packets of these sources."""
        seen = [seen_from(source) for source in sources]
        found = await self.watch.rules_of(seen)
        return [None if rule is None else target_text(rule.target) for rule in found]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Place]:
    ledger = Ledger(monkeypatch, tmp_path, room=256)
    with ThreadPoolExecutor(1) as thread:
        yield Place(ledger, thread)
    ledger.state.close()


def seen_from(source: str, reason: Reason = Reason.ADDR_V4) -> tuple[Sample, Packet]:
    sample = sample_of(frame_of(source, "www.evil.example"), PacketAction.DROP, reason)
    return sample, read_packet(sample.frame)


async def test_the_rule_that_decided_is_found_once_for_equal_packets(place: Place) -> None:
    place.ledger.bulk(["192.0.2.1"])
    assert await place.rules("192.0.2.1", "192.0.2.1", "192.0.2.2") == [
        "192.0.2.1",
        "192.0.2.1",
        None,
    ]
    assert await place.rules("192.0.2.1") == ["192.0.2.1"]
    assert place.looked_for == 2


async def test_what_is_known_of_a_rule_is_not_kept_for_long(place: Place) -> None:
    place.ledger.bulk(["192.0.2.1"])
    await place.rules("192.0.2.1")
    place.ledger.store.flush(None, None)
    place.now += KNOWN_SECONDS + 0.1
    assert await place.rules("192.0.2.1") == [None]


async def test_of_very_many_packets_some_are_looked_for(place: Place) -> None:
    """A flood of packets must not become one of look-ups."""
    sources = [f"192.0.2.{number}" for number in range(200)]
    place.ledger.bulk(sources)
    for start in range(0, 200, AT_ONCE):
        await place.rules(*sources[start : start + AT_ONCE])
    assert place.looked_for == LOOKUPS_MAX
    place.now += LOOKUPS_SECONDS
    assert (await place.rules(*sources)).count(None) == 200 - 2 * LOOKUPS_MAX


async def test_a_name_decided_whoever_asked(place: Place) -> None:
    place.ledger.bulk(["www.evil.example"])
    seen = [seen_from(f"192.0.2.{number}", Reason.QNAME) for number in range(9)]
    found = await place.watch.rules_of(seen)
    assert {rule and target_text(rule.target) for rule in found} == {"www.evil.example"}
    assert place.looked_for == 1


@pytest.mark.parametrize("reason", [Reason.NO_MATCH, Reason.LIMIT, Reason.OTHER])
async def test_what_no_rule_decided_is_not_looked_for(place: Place, reason: Reason) -> None:
    assert await place.watch.rules_of([seen_from("192.0.2.1", reason)]) == [None]
    assert place.looked_for == 0


async def test_of_a_truncated_address_no_rule_is_guessed(place: Place) -> None:
    place.kept = (24, 48)
    place.ledger.bulk(["192.0.2.0"])
    assert await place.rules("192.0.2.0") == [None]


async def test_samples_come_few_at_a_time_and_each_is_read_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []

    def noted(frame: bytes, encrypted: Any) -> Packet:  # noqa: ANN401 - a container
        read.append(frame)
        return read_packet(frame, encrypted)

    monkeypatch.setattr(watch_module, "read_packet", noted)
    batch = [sample_of(frame_of("192.0.2.1")) for _ in range(3 * AT_ONCE + 1)]

    async def sizes() -> list[int]:
        async with place.watch.open(Selection()) as seen:
            return [len(few) async for few in seen]

    looking = [asyncio.create_task(sizes()) for _ in range(2)]
    while place.hub.readers < 2:  # noqa: ASYNC110 - the hub tells nobody
        await asyncio.sleep(0)
    place.hub.deliver(batch)
    place.hub.close("the service stops")
    assert await asyncio.gather(*looking) == [[AT_ONCE] * 3 + [1]] * 2
    assert len(read) == len(batch)


@pytest.mark.parametrize(
    ("interface", "there"), [("eth7", True), ("lo", True), ("eht0", False), ("a\0b", False)]
)
async def test_an_interface_that_is_not_there_is_refused(
    place: Place, interface: str, *, there: bool
) -> None:
    """Nothing would be shown, ever. A card below a bond is there, but not in the settings."""
    looking = place.watch.open(Selection(interface=interface))
    if there:
        async with looking:
            assert place.hub.readers == 1
        return
    with pytest.raises(NotFoundError, match="no such interface"):
        await cast("Any", looking).__aenter__()
    assert place.hub.readers == 0
