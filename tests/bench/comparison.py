"""`make bench-program SAMPLE=…`: the filter beside PowerDNS's sample program.

Both in one process, on the same frames, over maps of their own with the same 900 rules
each, by turns; the cost of an empty program is subtracted from both. The sample is taken
from a checkout outside this repository, and nothing of it is kept. The floor is a program
that reads a packet up to the end of its question with the filter's headers (floor.bpf.c).

    python -m tests.bench.comparison CHECKOUT
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.cases import bare_cases, cases
from tests.bench.in_process import SampleError, compile_floor, compile_sample
from tests.bench.machine import Machine
from tests.bench.population import populate, rule_maps
from tests.bench.program import ENTRIES, Bench, subjects, title
from tests.bench.report import RAW, table_path, write
from tests.bench.turns import by_turns
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.case import DEFAULT
from xdpctl.abi import MAPS, PacketAction
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.bench.cases import Case
    from xdpctl.kernel.bpf.programs import Program

ROUNDS: Final = 121
RUNS: Final = 20_000

OURS, THEIRS, FLOOR, EMPTY = "xdpctl", "sample", "floor", "empty"

_DEARER: Final = 5.0
_ANSWER: Final = 1.5
CHEAPER: Final[Mapping[str, float]] = {
    "drop by name": 3,
    "pass, name of 17 octets": 10,
    "pass, name of 106 octets": 30,
    "IPv6, pass, name of 17 octets": 10,
    "pass, all maps empty": 10,
    "IPv6, pass, all maps empty": 10,
}
"""How many times cheaper than the sample a case is to be; see `Row.goal` for the others."""


@dataclass(frozen=True, slots=True)
class Row:
    """One case: ns above an empty program, of each program the median and the tenth percentile.

    `ratio` is the sample's cost divided by ours, of the medians, and `spread` the middle half of
    what the rounds gave for it.
    """

    case: str
    answers: bool
    ours: tuple[float, float]
    sample: tuple[float, float]
    floor: tuple[float, float]
    ratio: float
    spread: tuple[float, float]

    @property
    def goal(self) -> str:
        """What issue 6 asks for."""
        if self.case in CHEAPER:
            return f"{CHEAPER[self.case]:g} times cheaper"
        return f"{_ANSWER:g} times theirs" if self.answers else f"at most {_DEARER:g} ns dearer"

    @property
    def met(self) -> bool:
        """Whether that is so by tenth percentiles."""
        ours, sample = self.ours[1], self.sample[1]
        if self.case in CHEAPER:
            return sample >= ours * CHEAPER[self.case]
        if self.answers:
            return ours <= _ANSWER * sample
        return ours - sample <= _DEARER

    @classmethod
    def of(cls, case: Case, nanoseconds: Mapping[str, list[float]]) -> Row:
        """Subtract the empty program, round by round."""
        net = {
            who: [
                max(0.5, spent - empty)
                for spent, empty in zip(
                    nanoseconds[title(case, who)], nanoseconds[title(case, EMPTY)], strict=True
                )
            ]
            for who in (OURS, THEIRS, FLOOR)
        }
        ratios = [theirs / ours for ours, theirs in zip(net[OURS], net[THEIRS], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        ours, theirs, floor = (
            (statistics.median(net[who]), statistics.quantiles(net[who], n=10)[0])
            for who in (OURS, THEIRS, FLOOR)
        )
        answers = case.action is PacketAction.TRUNCATE
        return cls(case.name, answers, ours, theirs, floor, theirs[0] / ours[0], (low, high))


def compare(checkout: Path) -> list[Row]:
    """Time every case.

    Raises:
        SampleError: the checkout holds no sample program.
    """
    bpf = Bpf()
    with contextlib.ExitStack() as stack:
        bytecode = compile_floor(DEFAULT)
        fds = {
            spec.ref: stack.enter_context(bpf.create_map(spec, spec.entries)).fd
            for spec in MAPS.values()
            if spec.ref in bytecode.refs()
        }
        floor = stack.enter_context(bpf.load_program(bytecode.relocate(fds), "floor"))
        empty = stack.enter_context(bpf.load_program(EMPTY_PROGRAM, "empty"))
        bystanders = {FLOOR: floor, EMPTY: empty}
        return [
            row
            for found, entries in ((cases(), ENTRIES), (bare_cases(), 0))
            for row in _rows(bpf, checkout, list(found), entries, bystanders)
        ]


def _rows(
    bpf: Bpf, checkout: Path, found: list[Case], entries: int, bystanders: dict[str, Program]
) -> list[Row]:
    """Time cases over maps with so many entries each."""
    with contextlib.ExitStack() as stack:
        theirs = rule_maps(bpf, stack, entries)
        populate(theirs, entries)
        sample = stack.enter_context(bpf.load_program(compile_sample(checkout, theirs), "sample"))
        ours = stack.enter_context(Bench.loaded(bpf, entries))
        judges = {OURS: ours.program, THEIRS: sample}
        for case in found:
            ours.check(case)
        every = [
            subject for case in found for subject in subjects(bpf, stack, case, judges, bystanders)
        ]
        nanoseconds = by_turns(every, rounds=ROUNDS, runs=RUNS)
        return [Row.of(case, nanoseconds) for case in found]


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| packet | floor, ns | xdpctl, ns | sample, ns | sample / xdpctl (middle half) | goal | |",
        "| --- | ---: | ---: | ---: | ---: | --- | --- |",
    ]
    lines += (
        f"| {row.case} | {_cell(row.floor)} | {_cell(row.ours)} | {_cell(row.sample)}"
        f" | {row.ratio:.1f} ({row.spread[0]:.1f} to {row.spread[1]:.1f})"
        f" | {row.goal} | {'met' if row.met else 'missed'} |"
        for row in rows
    )
    return "\n".join(lines)


def _cell(figures: tuple[float, float]) -> str:
    return "{:.0f} ({:.0f})".format(*figures)


def main() -> int:
    """Measure, print and write results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkout", type=Path, help="a checkout of PowerDNS, outside this one")
    machine = Machine.now()
    try:
        rows = compare(parser.parse_args().checkout)
    except SampleError as error:
        parser.error(str(error))
    text = (
        f"ns per packet above an empty program, {ENTRIES} rules in each map: medians, and tenth"
        f" percentiles in brackets, of {ROUNDS} rounds of {RUNS} test runs in turns. Goals are for"
        f" the tenth percentiles.\n{machine.text}\n\n{table(rows)}\n"
    )
    print(text)
    write("bench-program", machine, rows, text)
    print(f"written to {table_path(machine)} and {RAW}/bench-program.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
