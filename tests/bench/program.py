"""ns per packet, by program test runs: the loaded program on a frame, without a driver.

An empty program is timed beside the filter and nothing is subtracted. A program that
answers writes into the frame, and the next run of the same test would see an answer:
such a case is run once a test, and its figure is the difference to the case that drops
by name, taken the same way, on top of that case's own figure.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.cases import Case, cases, rules
from tests.lab.hosts import EMPTY_PROGRAM
from xdpctl import abi
from xdpctl.abi import MAPS, MapName, PacketAction
from xdpctl.kernel.bpf import Bpf
from xdpctl.kernel.compiler import ProgramConfig, XskFamilies, compile_program_blocking
from xdpctl.namefollower import NameFollower
from xdpctl.rules import AnyQtype, key_of, map_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf import Map, Program

ROUNDS = 7
RUNS = 200_000
"""Of one round of a case whose frame stays as it is."""

SINGLE_RUNS = 4_000
"""Of one round of a case that answers, each a test of its own."""

WARM_UP = 10_000
SETTLE_SECONDS = 2.0
"""Until the index of names is in force, as in a running service."""

CONFIG = ProgramConfig(
    ports=(53,),
    address_ports=(),
    addresses=(),
    tcp=True,
    any_qtype=AnyQtype.BOTH,
    xsk=XskFamilies.NONE,
)
"""The service without any option."""


@dataclass(frozen=True, slots=True)
class Timing:
    """ns per packet over the rounds."""

    name: str
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, name: str, nanoseconds: list[float]) -> Timing:
        """Sum up the rounds."""
        return cls(name, statistics.median(nanoseconds), min(nanoseconds), max(nanoseconds))


class Bench:
    """The filter, loaded with maps of its own that nobody else sees."""

    def __init__(self, program: Program, maps: dict[MapName, Map]) -> None:
        self.program = program
        self.maps = maps

    @classmethod
    @contextlib.contextmanager
    def loaded(cls, bpf: Bpf) -> Iterator[Bench]:
        """Compile and load the filter, and put the rules in."""
        bytecode = compile_program_blocking(CONFIG)
        with contextlib.ExitStack() as stack:
            maps: dict[MapName, Map] = {
                spec.name: stack.enter_context(bpf.create_map(spec, spec.entries))
                for spec in MAPS.values()
                if spec.ref in bytecode.refs() and spec.name is not MapName.NAME_INDEX
            }
            names = stack.enter_context(NameFollower(bpf, maps[MapName.QNAMES]))
            maps[MapName.NAME_INDEX] = names.map
            for rule in rules():
                key = key_of(rule.target, CONFIG.any_qtype)
                maps[map_of(rule.target)].update(key, abi.encode_value(rule.action))
            fds = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
            program = bpf.load_program(bytecode.relocate(fds), "bench")
            time.sleep(SETTLE_SECONDS)
            yield cls(stack.enter_context(program), maps)

    def check(self, case: Case) -> None:
        """Run a case once and see that it is decided as it says."""
        before = self.counted(case)
        self.program.test_run(case.frame)
        if self.counted(case) != before + 1:
            raise AssertionError(f"{case.name}: not counted as {case.reason.label}")

    def counted(self, case: Case) -> int:
        """Return how many packets were counted as this case is."""
        value = self.maps[MapName.COUNTERS].lookup(bytes(4)) or b""
        return abi.decode_counters(value)[case.reason, case.action].packets

    def time(self, case: Case) -> list[float]:
        """Return ns per packet of each round of a case that leaves its frame alone."""
        return time_program(self.program, case.frame)

    def time_answers(self, case: Case, like: Case) -> list[float]:
        """Return ns per packet of each round of a case that answers.

        Args:
            case: the one that answers.
            like: one with the same rule map that leaves its frame alone.
        """
        base = statistics.median(self.time(like))
        return [base + self._singly(case.frame) - self._singly(like.frame) for _ in range(ROUNDS)]

    def _singly(self, frame: bytes) -> float:
        return statistics.median(
            self.program.test_run(frame).nanoseconds for _ in range(SINGLE_RUNS)
        )


def time_program(program: Program, frame: bytes) -> list[float]:
    """Return ns per packet of each round."""
    program.test_run(frame, WARM_UP)
    return [float(program.test_run(frame, RUNS).nanoseconds) for _ in range(ROUNDS)]


def time_packets() -> Iterator[Timing]:
    """Yield the empty program, then every case, in order."""
    bpf = Bpf()
    every = list(cases())
    with bpf.load_program(EMPTY_PROGRAM, "empty") as empty:
        yield Timing.of("(an empty program)", time_program(empty, every[0].frame))
    with Bench.loaded(bpf) as bench:
        by_name = next(case for case in every if case.name == "drop by name")
        for case in every:
            bench.check(case)
            if case.action is PacketAction.TRUNCATE:
                nanoseconds = bench.time_answers(case, by_name)
            else:
                nanoseconds = bench.time(case)
            yield Timing.of(case.name, nanoseconds)
