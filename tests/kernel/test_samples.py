"""Samples through the real ring buffer: from the loaded filter to the service's values."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.packets.case import DEFAULT
from xdpctl import abi
from xdpctl.abi import MAPS, MapName, PacketAction, Reason, Stratum
from xdpctl.kernel.bpf.descriptor import read_info
from xdpctl.kernel.bpf.libbpf import ProgramInfoStruct
from xdpctl.kernel.bpf.ring import RingReader
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.process.clock import ticks_a_second
from xdpctl.program.datagram import Datagram
from xdpctl.samples.reader import SampleReader
from xdpctl.samples.sampler import Sampler

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program

pytestmark = pytest.mark.root

LENGTH = 512
QUERY = Datagram(
    IPv4Address("192.0.2.1"), IPv4Address("192.0.2.53"), 40053, 53, name=b"\3www\7example\0"
).frame()
LONG = QUERY + bytes(1000)


class Site:
    """The filter, and the service's side of its samples."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        bpf = Bpf()
        bytecode = compiled_once(replace(DEFAULT, samples=LENGTH))
        self.maps: dict[MapName, Map] = {
            spec.name: stack.enter_context(bpf.create_map(spec, spec.entries))
            for spec in MAPS.values()
            if spec.ref in bytecode.refs()
        }
        fds = {MAPS[name].ref: opened.fd for name, opened in self.maps.items()}
        loaded = bpf.load_program(bytecode.relocate(fds), "samples")
        self.program: Program = stack.enter_context(loaded)
        self.sampler = Sampler(self.maps[MapName.SAMPLE_STATE].memory(), ticks_a_second())
        self.sampler.allow(2000)
        self.ring = stack.enter_context(RingReader(self.maps[MapName.SAMPLES]))
        self.reader = SampleReader(self.ring, dict, length=LENGTH, truncation=None)

    def lost(self) -> int:
        return abi.decode_samples_lost(self.maps[MapName.COUNTERS].lookup(bytes(4)) or b"")


@pytest.fixture(scope="module")
def loaded() -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(stack)


@pytest.fixture
def site(loaded: Site) -> Iterator[Site]:
    loaded.sampler.begin()
    yield loaded
    loaded.sampler.end()
    loaded.reader.read()


FRAMES = {
    "a query": QUERY,
    "a query that is cut": QUERY[:60],
    "longer than what is kept": LONG,
    "a header only": bytes(14),
    "an odd octet": bytes(range(14)) + b"x",
}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_sample_is_the_packet_as_it_came_in(site: Site, frame: bytes) -> None:
    before = time.time()
    site.program.test_run(frame)
    (sample,) = site.reader.read()
    assert sample.frame == frame[:LENGTH]
    assert (sample.length, sample.weight) == (len(frame), 1)
    assert before - 0.1 <= sample.time <= time.time() + 0.1
    assert sample.interface == "lo"


def test_a_query_is_sampled_before_it_becomes_its_answer(site: Site) -> None:
    key = abi.encode_qname(b"\3www\7example\0", abi.WILDCARD_QTYPE)
    site.maps[MapName.QNAMES].update(key, abi.encode_value(abi.RuleAction.TRUNCATE))
    try:
        answer = site.program.test_run(QUERY).frame
    finally:
        site.maps[MapName.QNAMES].delete(key)
    (sample,) = site.reader.read()
    assert answer != QUERY
    assert (sample.action, sample.reason) == (PacketAction.TRUNCATE, Reason.QNAME)
    assert sample.frame == QUERY


def test_a_flood_stays_within_the_budget_and_the_estimate_is_the_count(site: Site) -> None:
    """A second at full speed; the ring buffer of 64 KiB holds what is due in 0.05 s."""
    packets = estimated = samples = 0
    end = time.monotonic() + 1
    next_look = 0.0
    while time.monotonic() < end:
        site.program.test_run(QUERY, repeat=5000)
        packets += 5000
        found = site.reader.read()
        samples += len(found)
        estimated += sum(sample.weight for sample in found)
        if time.monotonic() > next_look:
            next_look = time.monotonic() + 0.25
            site.sampler.look({Stratum.PASSED: len(found)})
    assert samples < 3000
    assert estimated == pytest.approx(packets, rel=0.2)


def test_what_the_ring_buffer_has_no_room_for_is_counted(site: Site) -> None:
    room = MAPS[MapName.SAMPLES].entries // (LENGTH + abi.SAMPLE_HEADER_SIZE + 8)
    before = site.lost()
    site.sampler.allow(1_000_000)
    site.program.test_run(QUERY, repeat=room + 10)
    lost = site.lost() - before
    assert lost in {9, 10}
    assert (len(site.reader.read()), site.ring.full) == (room + 10 - lost, True)
    site.program.test_run(QUERY)
    assert (len(site.reader.read()), site.ring.full) == (1, False)
    site.sampler.allow(2000)


def test_the_program_has_the_type_of_its_function(site: Site) -> None:
    """So bpftool shows its name, and a tracing program can be attached to it."""
    raw = ProgramInfoStruct()
    read_info(site.program._library, site.program.fd, raw, "the program")
    assert (raw.btf_id > 0, raw.nr_func_info) == (True, 1)
