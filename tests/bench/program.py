"""ns per packet, by program test runs: the loaded program on a frame, without a driver.

Owns the filter as it is timed (`Bench`: loaded over maps that nobody else sees, its index
of names kept by the service's own follower) and `make bench`'s list of cases. An empty
program is timed beside the filter, on the same frame, and its median stands in the list:
nothing is subtracted. A case that answers runs behind what puts its frame back (turns.py),
and so does the empty program beside it.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from tests.bench.cases import bare_cases, cases, slowest_cases
from tests.bench.population import populate, rule_maps
from tests.bench.turns import Rewind, Subject, Timing, by_turns
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.case import DEFAULT, Verdict
from xdpctl import abi
from xdpctl.abi import MAPS, MapName, PacketAction
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.maps.name_follower import NameFollower
from xdpctl.program.compiler import compile_program_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.cases import Case
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program

ENTRIES: Final = 900
"""In each of the five rule maps, of 1024 that fit."""

ROUNDS: Final = 21
RUNS: Final = 50_000
SETTLE_SECONDS: Final = 1.0
"""Until the index of names is in force, as in a running service."""


VERDICTS: Final = {
    PacketAction.PASS: Verdict.PASS,
    PacketAction.DROP: Verdict.DROP,
    PacketAction.TRUNCATE: Verdict.TX,
}
_FILTER, _EMPTY = "filter", "empty"


class Bench:
    """The filter, loaded with maps of its own that nobody else sees."""

    def __init__(self, program: Program, maps: dict[MapName, Map]) -> None:
        self.program = program
        self.maps = maps

    @classmethod
    @contextlib.contextmanager
    def loaded(cls, bpf: Bpf, entries: int = ENTRIES) -> Iterator[Bench]:
        """Compile and load the filter, and fill each rule map to so many entries."""
        bytecode = compile_program_blocking(DEFAULT)
        with contextlib.ExitStack() as stack:
            maps = rule_maps(bpf, stack, entries)
            populate(maps, entries)
            names = stack.enter_context(NameFollower(bpf, maps))
            maps[MapName.NAME_INDEX] = names.map
            for spec in MAPS.values():
                if spec.ref in bytecode.refs() and spec.name not in maps:
                    maps[spec.name] = stack.enter_context(bpf.create_map(spec, spec.entries))
            fds = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
            program = bpf.load_program(bytecode.relocate(fds), "bench")
            bench = cls(stack.enter_context(program), maps)
            bench.settle()
            yield bench

    def settle(self) -> None:
        """Ask for a name and wait until the index is in force."""
        for case in cases():
            self.program.test_run(case.frame)
        time.sleep(SETTLE_SECONDS)

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


def title(case: Case, who: str) -> str:
    """Return a subject's name."""
    return f"{case.name}: {who}"


def subjects(
    bpf: Bpf,
    stack: contextlib.ExitStack,
    case: Case,
    judges: dict[str, Program],
    bystanders: dict[str, Program],
) -> Iterator[Subject]:
    """Yield a case's programs; where the case answers, each puts the frame back first.

    Args:
        bpf: the kernel.
        stack: closes what is made.
        case: what they are timed with.
        judges: programs that decide as the case says.
        bystanders: programs that pass everything.
    """
    rewind = Rewind(bpf, stack, case.frame) if case.action is PacketAction.TRUNCATE else None
    for who, program in (judges | bystanders).items():
        verdict = VERDICTS[case.action] if who in judges else Verdict.PASS
        run = rewind.before(program) if rewind else program
        yield Subject(title(case, who), run, case.frame, verdict)


def time_packets() -> list[Timing]:
    """Return the empty program, then every case, in order."""
    bpf = Bpf()
    with contextlib.ExitStack() as stack:
        every = [*cases(), *slowest_cases()]
        empty = stack.enter_context(bpf.load_program(EMPTY_PROGRAM, "empty"))
        bench = stack.enter_context(Bench.loaded(bpf))
        for case in every:
            bench.check(case)
        nanoseconds = by_turns(
            (
                subject
                for case in every
                for subject in subjects(bpf, stack, case, {_FILTER: bench.program}, {_EMPTY: empty})
            ),
            rounds=ROUNDS,
            runs=RUNS,
        )
        plain = nanoseconds[title(every[0], _EMPTY)]
        nanoseconds |= _bare(bpf, stack, empty)
        return [
            Timing.of("(an empty program)", plain),
            *(_timing(case, nanoseconds, plain) for case in (*every, *bare_cases())),
        ]


def _bare(bpf: Bpf, stack: contextlib.ExitStack, empty: Program) -> dict[str, list[float]]:
    """Time the filter over empty maps, by itself: who is left alone is looked after seldom."""
    bench = stack.enter_context(Bench.loaded(bpf, 0))
    for case in bare_cases():
        bench.check(case)
    judges, bystanders = {_FILTER: bench.program}, {_EMPTY: empty}
    return by_turns(
        (
            subject
            for case in bare_cases()
            for subject in subjects(bpf, stack, case, judges, bystanders)
        ),
        rounds=ROUNDS,
        runs=RUNS,
    )


def _timing(case: Case, nanoseconds: dict[str, list[float]], plain: list[float]) -> Timing:
    rounds = zip(
        nanoseconds[title(case, _FILTER)], nanoseconds[title(case, _EMPTY)], plain, strict=True
    )
    return Timing.of(case.name, [spent - before + empty for spent, before, empty in rounds])
