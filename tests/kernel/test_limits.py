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
    """What went on between two moments when nothing was left.

    Attributes:
        passed: packets.
        least, most: packets that certainly came in, and that may have, by the clock.
    """

    passed: int
    least: int
    most: int

    @property
    def is_exact(self) -> bool:
        """Whether as many went on, to three in a hundred."""
        return 0.97 * self.least - 1 <= self.passed <= 1.03 * self.most + 1


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


def spend(limited: LimitedKernel, program: Program, frame: bytes) -> tuple[int, int]:
    """Let packets in until the last of many is refused; return the ticks before and after them."""
    while True:
        before = limited.ticks()
        if program.test_run(frame, repeat=CHUNK).return_value == Verdict.DROP:
            return before, limited.ticks()


def span(limited: LimitedKernel, program: Program, frame: bytes, rate: int) -> Span:
    """Let packets in for some ticks, from a moment when nothing is left to another one."""
    first = spend(limited, program, frame)
    before = passed(limited)
    while limited.ticks() < first[1] + TICKS:
        program.test_run(frame, repeat=CHUNK)
    last = spend(limited, program, frame)
    return Span(passed(limited) - before, rate * (last[0] - first[1]), rate * (last[1] - first[0]))


@pytest.fixture
def limited(bpf: Bpf) -> Iterator[LimitedKernel]:
    with LimitedKernel(bpf, configured()) as made:
        made.write(VALUES)
        yield made


@pytest.mark.parametrize("frame", [FRAME4, FRAME6], ids=["v4", "v6"])
def test_one_source_gets_its_rate_to_three_in_a_hundred(
    limited: LimitedKernel, frame: bytes
) -> None:
    result = span(limited, limited.program, frame, A_TICK)
    assert result.is_exact, result


def test_the_sources_of_a_prefix_get_its_rate_together(bpf: Bpf) -> None:
    levels = (((32, 1), (24, 4)), LEVELS[1])
    with LimitedKernel(bpf, configured(levels)) as limited:
        limited.write(replace(values_for(A_TICK, BURST // 4, levels=levels, hz=1), slip=0))
        result = span(limited, wandering(limited, 0, 256), FRAME4, 4 * A_TICK)
    assert result.is_exact, result


def test_a_source_that_asks_on_two_cpus_gets_no_more(limited: LimitedKernel) -> None:
    """In one run: two CPUs ask as fast as they can, and the source has one rate."""
    first = spend(limited, limited.program, FRAME4)
    before = passed(limited)
    with ThreadPoolExecutor(2) as pool:
        while limited.ticks() < first[1] + TICKS:
            runs = [pool.submit(limited.program.test_run, FRAME4, CHUNK) for _ in range(2)]
            for run in runs:
                run.result()
    last = spend(limited, limited.program, FRAME4)
    went = passed(limited) - before
    assert 0.97 * A_TICK * (last[0] - first[1]) - 1 <= went
    assert went <= 1.05 * A_TICK * (last[1] - first[0]) + 1


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
