"""Samples, by the program compiled for this machine: which packets, and what they stand for."""

from __future__ import annotations

import random
import struct
from array import array
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest

from tests.engines.host import Host as HostEngine
from tests.engines.host_build import HostFilter
from tests.packets.build import Udp, ethernet, ipv4
from tests.packets.case import DEFAULT, TABLES, Scene, below, drop, listed, truncate, zone
from tests.packets.message import query as message
from xdpctl import abi
from xdpctl.abi import MAPS, MapName, PacketAction, Reason, RuleAction, Stratum
from xdpctl.program.datagram import Datagram
from xdpctl.samples.reader import SampleReader
from xdpctl.samples.sampler import EPOCH_SECONDS, PATIENCE_SECONDS, Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.packets.case import Rule
    from xdpctl.samples.sample import Sample

LENGTH = 64
HZ = 250
SERVER = IPv4Address("192.0.2.53")
NET = int(IPv4Address("10.0.0.0"))
TAKEN = IPv4Network("10.128.0.0/9")
SENDER_AT = 26
SOURCES = 1000
BURST = 50


def query(sender: int = NET) -> bytes:
    return Datagram(IPv4Address(sender), SERVER, 40053, 53, name=b"\3www\7example\0").frame()


class Site:
    """A filter with samples, and the service's side of them over the same memory."""

    def __init__(self, budget: int = 2000) -> None:
        self.host = HostFilter(replace(DEFAULT, samples=LENGTH))
        self.records: list[bytes] = []
        self.host.samples_to(self.records.append)
        self.state = self.host.array(MAPS[MapName.SAMPLE_STATE].ref, 1)
        self.nanoseconds = 0
        self.sampler = Sampler(self.state, HZ, clock=lambda: self.nanoseconds)
        self.sampler.allow(budget)
        self.reader = SampleReader(self, lambda: {0: "eth0"}, length=LENGTH, truncation=None)
        rule = abi.encode_value(RuleAction.DROP)
        self.host.set_entry(MAPS[MapName.CIDR4].ref, abi.encode_cidr(TAKEN), rule)

    def read(self) -> list[bytes]:
        found = self.records[:]
        self.records.clear()
        return found

    def set_shift(self, shift: int) -> None:
        """Have blocks of 1 << shift packets."""
        struct.pack_into("=II", self.state, abi.SAMPLE_SHIFTS_OFFSET, shift, shift)

    def shifts(self) -> tuple[int, ...]:
        return struct.unpack_from("=II", self.state, abi.SAMPLE_SHIFTS_OFFSET)

    def epoch(self) -> int:
        return int.from_bytes(self.state[:8], "little")

    def stream(self, senders: Sequence[int], per_second: int = 1_000_000) -> None:
        numbers = array(
            "I", (int.from_bytes(sender.to_bytes(4, "big"), "little") for sender in senders)
        )
        self.host.stream(query(), SENDER_AT, numbers.tobytes(), per_tick=per_second // HZ)

    def late_look(self, seconds: float, per_second: int) -> list[Sample]:
        """Do it once in so many seconds, of a stream."""
        self.stream([NET] * int(per_second * seconds), per_second=per_second)
        self.nanoseconds += int((seconds - EPOCH_SECONDS) * 1e9)
        return self.look()

    def look(self) -> list[Sample]:
        """Do what the service does at the end of an epoch."""
        before = self.reader.taken.copy()
        samples = self.reader.read()
        self.nanoseconds += int(EPOCH_SECONDS * 1e9)
        self.sampler.look(self.reader.taken - before)
        return samples


@pytest.fixture
def site() -> Site:
    return Site()


def test_nothing_is_sampled_while_nobody_looks(site: Site) -> None:
    site.host.run(query())
    assert site.records == []
    site.sampler.begin()
    site.host.run(query())
    assert len(site.records) == 1
    site.sampler.end()
    site.host.run(query())
    assert len(site.records) == 1


def test_a_sample_says_what_was_done_and_has_the_first_octets(site: Site) -> None:
    site.sampler.begin()
    site.host.run(query())
    site.host.run(query(int(TAKEN[1])) + bytes(100))
    passed, dropped = site.reader.read()
    assert (passed.action, passed.reason) == (PacketAction.PASS, Reason.NO_MATCH)
    assert (dropped.action, dropped.reason) == (PacketAction.DROP, Reason.CIDR4)
    assert (passed.interface, passed.weight, passed.depth) == ("eth0", 1, None)
    assert (passed.frame, passed.length) == (query()[:LENGTH], len(query()))
    assert (dropped.frame, dropped.length) == (
        (query(int(TAKEN[1])) + bytes(100))[:LENGTH],
        len(query()) + 100,
    )


@pytest.mark.parametrize("size", range(14, LENGTH + 12))
def test_a_frame_of_any_length_is_whole_or_cut(site: Site, size: int) -> None:
    frame = bytes(range(size))
    site.sampler.begin()
    site.host.run(frame)
    (sample,) = site.reader.read()
    assert (sample.frame, sample.length) == (frame[:LENGTH], size)


def test_a_query_is_sampled_before_it_becomes_its_answer(site: Site) -> None:
    key = abi.encode_qname(b"\3www\7example\0", abi.WILDCARD_QTYPE)
    site.host.set_entry(MAPS[MapName.QNAMES].ref, key, abi.encode_value(RuleAction.TRUNCATE))
    site.sampler.begin()
    answer = site.host.run(query()).frame
    (sample,) = site.reader.read()
    assert answer != query()
    assert (sample.action, sample.reason) == (PacketAction.TRUNCATE, Reason.QNAME)
    assert sample.frame == query()[:LENGTH]


def test_there_is_one_sample_in_each_block_of_each_stratum(site: Site) -> None:
    site.sampler.begin()
    site.set_shift(5)
    site.stream([int(TAKEN[1]), *[NET] * 9] * 32 * 10)
    samples = site.reader.read()
    weights = {sample.weight for sample in samples}
    assert weights == {32}
    assert site.reader.taken == {Stratum.TAKEN: 10, Stratum.PASSED: 90}


FLAT = range(SOURCES)
PATTERNS: dict[str, Callable[[], list[int]]] = {
    "flat": lambda: random.Random(1).choices(FLAT, k=1_000_000),
    "periodic": lambda: [*FLAT] * 1000,
    "bursty": lambda: [
        source
        for first in random.Random(2).choices(FLAT, k=1_000_000 // BURST)
        for source in [first] * BURST
    ],
}


@pytest.mark.parametrize("pattern", PATTERNS)
def test_estimates_of_sources_are_as_good_as_chance_allows(site: Site, pattern: str) -> None:
    """A million packets, 1 of 64 a sample, against the exact numbers.

    Of each block one is drawn, so a source's estimate varies by at most 64 times its number:
    chi-square over 1,000 sources is then about 1,000, and less where bursts fill blocks.
    """
    packets = PATTERNS[pattern]()
    site.sampler.begin()
    site.set_shift(6)
    site.sampler.allow(100_000_000)
    exact, estimated = [0] * SOURCES, [0] * SOURCES
    site.stream([NET + source for source in packets])
    for source in packets:
        exact[source] += 1
    for sample in site.reader.read():
        estimated[int.from_bytes(sample.frame[28:30], "big")] += sample.weight
    square = sum(
        (found - real) ** 2 / (64 * real)
        for found, real in zip(estimated, exact, strict=True)
        if real
    )
    assert sum(estimated) == pytest.approx(sum(exact), abs=64)
    assert square < 1.2 * SOURCES


def test_each_packet_of_an_epoch_has_the_same_chance(site: Site) -> None:
    """Also the first ones, and where the epoch ends within a block: 40 packets, blocks of 32."""
    places = [0] * 40
    site.sampler.allow(100_000_000)
    for _ in range(8000):
        site.nanoseconds += 1_000_000
        site.sampler.begin()
        site.set_shift(5)
        site.stream([NET + place for place in range(40)])
        for sample in site.reader.read():
            places[int.from_bytes(sample.frame[28:30], "big")] += 1
    expected = 8000 / 32
    square = sum((found - expected) ** 2 / expected for found in places)
    assert square < 80


def test_a_flood_costs_no_more_than_the_budget() -> None:
    """10 million packets a second, of which nine tenths are taken, then a hundredth of them."""
    site = Site(budget=2000)
    site.sampler.begin()
    second = [
        int(TAKEN[1]) + (n & 0xFFFF) if n % 10 else NET + (n & 0xFFFF) for n in range(100_000)
    ]
    estimates, samples = [], []
    for _ in range(6):
        for _ in range(25):
            site.stream(second, per_second=10_000_000)
        found = site.look()
        samples.append(len(found))
        estimates.append(sum(sample.weight for sample in found))
    assert sum(samples[:2]) < 2 * 500 + 2 * 250 + 50  # what is due, what may come at once
    assert max(samples[2:]) < 1.1 * 500
    assert min(samples[2:]) > 500 / 4
    assert sum(estimates) == pytest.approx(15_000_000, rel=0.07)
    assert min(site.shifts()) > 8
    for _ in range(12):
        site.stream(second[:25_000], per_second=100_000)
        found = site.look()
    assert max(site.shifts()) <= 7
    assert sum(sample.weight for sample in found) == pytest.approx(25_000, rel=0.2)


STARVED = random.Random(3)


@pytest.mark.parametrize("seconds", [STARVED.uniform(0.25, 2.5) for _ in range(8)])
def test_after_a_service_was_starved_weights_are_small_again(site: Site, seconds: float) -> None:
    """Of 20,000 packets a second a twentieth is due.

    A processor that stood still for a second brings them at one moment, and then the service looks
    only now and then.
    """
    site.sampler.begin()
    site.stream([NET] * 5_000, per_second=20_000)
    site.look()
    site.stream([NET] * 20_000, per_second=10**9)  # in one tick
    assert site.shifts()[Stratum.PASSED] > 6
    looks = [site.late_look(seconds, 20_000) for _ in range(4)]
    assert {sample.weight for sample in looks[-1]} <= {8, 16, 32}
    assert sum(sample.weight for sample in looks[-1]) == pytest.approx(20_000 * seconds, rel=0.25)


def test_what_a_reader_missed_makes_no_block_shorter(site: Site) -> None:
    site.sampler.begin()
    site.set_shift(6)
    site.nanoseconds += 10**9
    site.sampler.look({Stratum.PASSED: 1}, full=True)
    assert site.shifts() == (6, 6)
    site.nanoseconds += 10**9
    site.sampler.look({Stratum.PASSED: 1})
    assert site.shifts() == (3, 3)


def test_without_a_new_epoch_the_filter_stops_by_itself(site: Site) -> None:
    site.sampler.begin()
    site.host.set_ticks(1000)
    site.stream([NET])
    site.host.set_ticks(1000 + PATIENCE_SECONDS * HZ)
    site.stream([NET])
    assert site.epoch()
    site.host.set_ticks(1001 + PATIENCE_SECONDS * HZ)
    site.stream([NET])
    assert not site.epoch()
    assert len(site.records) == 3
    site.stream([NET])
    assert len(site.records) == 3


def test_a_sample_that_has_no_room_is_counted(site: Site) -> None:
    site.sampler.begin()
    site.host.samples_to(None)
    site.stream([NET] * 5)
    assert site.host.samples_lost() == 5


DEPTHS = [
    (zone(drop("evil.example")), "a.b.evil.example", 2),
    (zone(drop("evil.example")), "evil.example", 2),
    (below(drop("example")), "evil.example", 1),
    (zone(drop(".")), "evil.example", 0),
    (zone(drop("d.e.f")), ".".join("a" * 20) + ".d.e.f", 3),
    (listed(drop("www.evil.example")), "www.evil.example", 3),
    (listed(zone(truncate("evil.example"))), "www.evil.example", 2),
    (drop("www.evil.example"), "www.evil.example", None),
]


@pytest.mark.parametrize(("rule", "name", "depth"), DEPTHS)
def test_a_sample_says_how_many_labels_the_zone_has_that_decided(
    rule: Rule, name: str, depth: int | None
) -> None:
    scene = Scene((rule,), config=replace(TABLES, samples=LENGTH))
    engine = HostEngine()
    host = engine._filter(scene)
    records: list[bytes] = []
    host.samples_to(records.append)
    Sampler(host.array(MAPS[MapName.SAMPLE_STATE].ref, 1), HZ).begin()
    result = engine.judge(scene, ethernet(ipv4(Udp(message(name)))))
    (record,) = records
    found = abi.decode_sample_header(record)
    assert (found.verdict >> 2, found.verdict & 3) == (result.reason, result.action)
    assert found.depth == (abi.SAMPLE_DEPTH_NONE if depth is None else depth)
