"""The limits in the kernel are exact: packets that went on, against ticks of its clock.

An account that is spent lets on exactly what comes in; how long a machine lets a test wait
changes nothing, as what comes in meanwhile is kept.
"""

from __future__ import annotations

import struct
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.bench.in_process import compile_wander
from tests.bench.turns import program_array
from tests.bench.walk import Walk
from tests.engines.limited import LEVELS, configured, values_for
from tests.engines.limited_kernel import LimitedKernel
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import Verdict
from tests.packets.message import query
from xdpctl.abi import FLOOD_BATCH, MapName, MapSpec, MapType, PacketAction, Reason, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf

pytestmark = pytest.mark.root

A_TICK = 20
"""Packets that come in with each tick."""

BURST = 20_000
"""So many that an account is not full again, however long a test is kept waiting."""

TICKS = 100
CHUNK = 20_000
SOURCE4 = 14 + 12
_STATE = MapSpec(MapName.CONTROL, 13, MapType.ARRAY, 4, 32, 0, 1, Scope.PROGRAM)
_PROGRAMS = 14
FRAME4 = ethernet(ipv4(Udp(query("www.example"))))
FRAME6 = ethernet(ipv6(Udp(query("www.example"))))
VALUES = replace(values_for(A_TICK, BURST, hz=1), slip=0)


@dataclass(frozen=True, slots=True)
class Span:
    """What went on between two readings of the clock.

    Attributes:
        passed: packets.
        least, most: ticks that have certainly, and at most, passed.
    """

    passed: int
    least: int
    most: int


def wandering(limited: LimitedKernel, first: int, count: int) -> Program:
    """Return the filter behind what gives each packet the source 10.0.0.0 + number."""
    walk = Walk("any source", FRAME4, Verdict.PASS, SOURCE4, base=10 << 24)
    state = limited.stack.enter_context(limited.bpf.create_map(_STATE, 1))
    state.update(bytes(4), struct.pack("=4Q", 1, first, count, 0))
    array = program_array(limited.stack, limited.program)
    code = compile_wander(walk.defines).relocate({_STATE.ref: state.fd, _PROGRAMS: array})
    return limited.own(limited.bpf.load_program(code, "wander"))


def passed(limited: LimitedKernel) -> int:
    return limited.counted(Reason.NO_MATCH, PacketAction.PASS)


def limited_packets(limited: LimitedKernel) -> int:
    return sum(
        limited.counted(reason, PacketAction.DROP) for reason in (Reason.LIMIT, Reason.UNPROVEN)
    )


def spend(limited: LimitedKernel, program: Program, frame: bytes, repeat: int = CHUNK) -> None:
    """Run the program until most of a run is refused: everything that came in is spent."""
    while True:
        before = limited_packets(limited)
        program.test_run(frame, repeat=repeat)
        if limited_packets(limited) - before > repeat // 2:
            return


def span(limited: LimitedKernel, program: Program, frame: bytes) -> Span:
    """Let a spent account go on for some ticks, and spend what came in."""
    spend(limited, program, frame)
    after_first = limited.ticks()
    before = passed(limited)
    spend(limited, program, frame)
    first = limited.ticks()
    while limited.ticks() < first + TICKS:
        program.test_run(frame, repeat=CHUNK)
    last = limited.ticks()
    spend(limited, program, frame)
    went = passed(limited) - before
    return Span(went, last - after_first, limited.ticks() - after_first + 1)


@pytest.fixture
def limited(bpf: Bpf) -> Iterator[LimitedKernel]:
    with LimitedKernel(bpf, configured()) as made:
        made.write(VALUES)
        yield made


@pytest.mark.parametrize("frame", [FRAME4, FRAME6], ids=["v4", "v6"])
def test_one_source_gets_its_rate_to_three_in_a_hundred(
    limited: LimitedKernel, frame: bytes
) -> None:
    result = span(limited, limited.program, frame)
    assert 0.97 * A_TICK * result.least <= result.passed <= 1.03 * A_TICK * result.most


def test_the_sources_of_a_prefix_get_its_rate_together(bpf: Bpf) -> None:
    levels = (((32, 1), (24, 4)), LEVELS[1])
    with LimitedKernel(bpf, configured(levels)) as limited:
        limited.write(replace(values_for(A_TICK, BURST // 4, levels=levels, hz=1), slip=0))
        result = span(limited, wandering(limited, 0, 256), FRAME4)
    rate = 4 * A_TICK
    assert 0.97 * rate * result.least <= result.passed <= 1.03 * rate * result.most


def test_a_source_that_asks_on_two_cpus_gets_no_more(limited: LimitedKernel) -> None:
    """In one run: two CPUs ask as fast as they can, and the source has one rate."""
    with ThreadPoolExecutor(2) as pool:
        spend(limited, limited.program, FRAME4)
        before, first = passed(limited), limited.ticks()
        while limited.ticks() < first + TICKS:
            runs = [pool.submit(limited.program.test_run, FRAME4, CHUNK) for _ in range(2)]
            for run in runs:
                run.result()
        last = limited.ticks()
        spend(limited, limited.program, FRAME4)
        went = passed(limited) - before
    assert 0.97 * A_TICK * (last - first) <= went <= 1.05 * A_TICK * (limited.ticks() - first + 1)


@pytest.fixture
def flooded(bpf: Bpf) -> Iterator[LimitedKernel]:
    with LimitedKernel(bpf, replace(configured(), flood=True)) as made:
        yield made


@pytest.mark.parametrize("cpus", [1, 2])
def test_the_total_of_all_cpus_is_x_and_a_batch_each(flooded: LimitedKernel, cpus: int) -> None:
    """A batch is worth two ticks: what comes in is known whatever a tick is worth."""
    batch = 2 << 20
    room = batch + (2 << 20)
    flooded.write(
        replace(
            values_for(1 << 14, 1 << 14, hz=1),
            slip=0,
            flood_prices=(batch, 0),
            flood_rooms=(room, 0),
        )
    )
    programs = [wandering(flooded, number << 20, 1 << 20) for number in range(cpus)]
    first = flooded.ticks()
    with ThreadPoolExecutor(cpus) as pool:
        while flooded.ticks() < first + TICKS:
            for run in [pool.submit(program.test_run, FRAME4, CHUNK) for program in programs]:
                run.result()
    ticks = flooded.ticks() - first + 1
    possible = flooded.bpf.possible_cpus()
    went = passed(flooded)
    assert went <= ticks * FLOOD_BATCH // 2 + 2 * FLOOD_BATCH + possible * FLOOD_BATCH
    assert went >= FLOOD_BATCH
    assert flooded.counted(Reason.UNPROVEN, PacketAction.DROP) > went
