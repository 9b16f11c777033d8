"""`make bench-limits`: what limits cost a packet, calm and flooded, beside none and an LRU hash.

The filter without limits, with one, two and four prefixes a family, and with the limit in
total, by turns over the same rule maps, an empty program on the same packet subtracted. One
source and many: of the cold cases every run has another source (wander.bpf.c), of 16 million,
so that no cache holds their accounts and the table is as full as it gets. The last column is
two prefixes in an LRU hash (lru.bpf.c) as its own program, without a filter around it: it is
to be compared with the difference that limits make.

    python -m tests.bench.limits [--rounds 101] [--only TEXT]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import statistics
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from tests.bench.cases import v4, v6
from tests.bench.in_process import compile_lru, compile_wander
from tests.bench.machine import Machine
from tests.bench.program import ENTRIES, Bench
from tests.bench.report import RAW, RESULTS, write
from tests.bench.turns import Rewind, Subject, by_turns, program_array
from tests.bench.walk import Walk
from tests.engines.limited import drawn_secrets, values_for, with_flood
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.build import Udp
from tests.packets.case import DEFAULT, Verdict
from tests.packets.message import query
from xdpctl.abi import MAPS, MapName, MapSpec, MapType, Scope, encode_limits, encode_limits_kept
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.program.compiler import compile_program_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.abi import LimitValues
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.program.config import ProgramConfig

ROUNDS: Final = 101
RUNS: Final = 5_000
LONG_ROUNDS: Final = 21
LONG_RUNS: Final = 200_000
"""A turn of a flood that goes on: the accounts are where its packets put them, in the CPU's own
cache. In a turn of RUNS they come from behind it, where the turns of the others put them."""
SETS: Final = 1 << 15
"""Of limit-cells: 1 MiB."""

NONE, EMPTY, LRU = "no limits", "empty", "LRU hash"
_STATE: Final = MapSpec(MapName.CONTROL, 13, MapType.ARRAY, 4, 32, 0, 1, Scope.PROGRAM)
_LRU: Final = MapSpec(MapName.CONTROL, 41, MapType.LRU_HASH, 8, 8, 0, 1 << 18, Scope.PROGRAM)
_PROGRAMS: Final = 14
_SEED: Final = 20_261_130
_MILLIONS: Final = 1 << 24
_SOURCE4: Final = 14 + 12
_SOURCE6: Final = 14 + 8 + 2

_LEVELS: Final = {
    "1 level": (((32, 1),), ((64, 1),)),
    "2 levels": (((32, 1), (24, 32)), ((64, 1), (48, 8))),
    "4 levels": (
        ((32, 1), (24, 32), (20, 64), (18, 64)),
        ((64, 1), (56, 4), (48, 8), (40, 16)),
    ),
}
_TOTAL: Final = "2 levels and total"


@dataclass(frozen=True, slots=True)
class State:
    """What is configured for a case: queries a second, and their burst; 0: no such limit."""

    rate: int
    burst: int
    x: int = 100_000_000
    slip: int = 0


CALM: Final = State(1 << 27, 1 << 27)
BUSY: Final = State(50, 125)
OVER: Final = State(1, 2)
TC: Final = replace(OVER, slip=1)
FLOODED: Final = State(1 << 27, 1 << 27, x=1)


@dataclass(frozen=True, slots=True)
class Case:
    """What is timed.

    Attributes:
        walk: the packet, and what is written into it each run; offset 0: nothing, it is hot.
        state: of the limits.
        count: sources.
        verdict: of the filters with limits; the one without passes everything.
        only_total: whether a limit by source alone would decide otherwise.
        goes_on: whether a turn is LONG_RUNS.
    """

    walk: Walk
    state: State
    count: int = 0
    verdict: Verdict = Verdict.PASS
    only_total: bool = False
    goes_on: bool = False


def cases() -> Iterator[Case]:
    """Yield every case."""
    plain = Udp(query("www.example.com"))
    hot4 = functools.partial(Walk, frame=v4(plain, "198.18.0.1"), verdict=Verdict.PASS, offset=0)
    hot6 = functools.partial(Walk, frame=v6(plain, "2001:db9::1"), verdict=Verdict.PASS, offset=0)
    cold4 = functools.partial(
        Walk, frame=v4(plain), verdict=Verdict.PASS, offset=_SOURCE4, scatters=True
    )
    cold6 = functools.partial(
        Walk, frame=v6(plain), verdict=Verdict.PASS, offset=_SOURCE6, scatters=True
    )
    yield Case(hot4("calm, IPv4"), CALM)
    yield Case(hot6("calm, IPv6"), CALM)
    yield Case(cold4("calm, IPv4, 1,000 sources"), CALM, 1_000)
    yield Case(cold4("calm, IPv4, 50,000 sources"), CALM, 50_000)
    yield Case(hot4("over the limit, drop, IPv4"), OVER, verdict=Verdict.DROP)
    yield Case(hot6("over the limit, drop, IPv6"), OVER, verdict=Verdict.DROP)
    yield Case(hot4("over the limit, TC=1, IPv4"), TC, verdict=Verdict.TX)
    yield Case(cold4("16 M sources, going on, IPv4"), BUSY, _MILLIONS, goes_on=True)
    yield Case(cold6("16 M sources, going on, IPv6"), BUSY, _MILLIONS, goes_on=True)
    yield Case(cold4("16 M sources, at first, IPv4"), BUSY, _MILLIONS)
    yield Case(cold6("16 M sources, at first, IPv6"), BUSY, _MILLIONS)
    yield Case(hot4("nothing left of the total, IPv4"), FLOODED, 0, Verdict.DROP, only_total=True)
    yield Case(
        cold4("nothing left of the total, 16 M sources, IPv4"), FLOODED, _MILLIONS, Verdict.DROP,
        only_total=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A case: ns above an empty program on the same packet, and the difference limits make.

    Attributes:
        medians, lows: by program: over the rounds, and their tenth percentile.
        more: median of what each round took above the filter without limits.
    """

    case: str
    medians: dict[str, float]
    lows: dict[str, float]
    more: dict[str, float]


class Limiter:
    """A filter with limits and maps of its own, beside rule maps that others read too."""

    def __init__(
        self, bpf: Bpf, stack: contextlib.ExitStack, rules: dict[MapName, Map], name: str
    ) -> None:
        self._levels = _LEVELS.get(name, _LEVELS["2 levels"])
        self.has_total = name == _TOTAL
        v4_, v6_ = (tuple(length for length, _ in family) for family in self._levels)
        config: ProgramConfig = replace(DEFAULT, limits4=v4_, limits6=v6_, flood=self.has_total)
        bytecode = compile_program_blocking(config)
        entries = {MapName.LIMIT_CELLS: SETS}
        own = {
            spec.name: stack.enter_context(
                bpf.create_map(spec, entries.get(spec.name, spec.entries))
            )
            for spec in MAPS.values()
            if spec.ref in bytecode.refs() and (spec.name not in rules)
        }
        self._own = own
        fds = {MAPS[known].ref: opened.fd for known, opened in {**rules, **own}.items()}
        self.program = stack.enter_context(bpf.load_program(bytecode.relocate(fds), "limits"))
        self._kept = encode_limits_kept(SETS, 1 << 12, drawn_secrets(1))

    def set(self, state: State) -> None:
        """Configure the limits; accounts and the total begin anew."""
        values: LimitValues = values_for(state.rate, state.burst, levels=self._levels)
        if self.has_total:
            values = with_flood(values, state.x, 0)
        live = encode_limits(replace(values, slip=state.slip))
        self._own[MapName.LIMITS].memory()[:] = live + self._kept
        cells = self._own[MapName.LIMIT_CELLS].memory()
        cells[:] = bytes(len(cells))
        if self.has_total:
            flood = self._own[MapName.FLOOD].memory()
            flood[:] = bytes(len(flood))


def measure(rounds: int, only: str) -> list[Row]:
    """Time every case."""
    bpf = Bpf()
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(Bench.loaded(bpf, ENTRIES))
        shared = {
            name: opened
            for name, opened in bench.maps.items()
            if MAPS[name].scope not in {Scope.LIMITS, Scope.PROGRAM}
        }
        limiters = {name: Limiter(bpf, stack, shared, name) for name in (*_LEVELS, _TOTAL)}
        lru = stack.enter_context(bpf.create_map(_LRU, _LRU.entries))
        lru_program = stack.enter_context(
            bpf.load_program(compile_lru(DEFAULT).relocate({_LRU.ref: lru.fd}), "lru")
        )
        empty = stack.enter_context(bpf.load_program(EMPTY_PROGRAM, EMPTY))
        bench.settle()
        for case in cases():
            if only not in case.walk.name:
                continue
            programs = {EMPTY: empty, NONE: bench.program}
            verdicts = {EMPTY: Verdict.PASS, NONE: Verdict.PASS}
            for name, limiter in limiters.items():
                if limiter.has_total or not case.only_total:
                    limiter.set(case.state)
                    programs[name] = limiter.program
                    verdicts[name] = case.verdict
            if case.walk.offset in {0, _SOURCE4} and case.walk.frame[12:14] == b"\x08\x00":
                programs[LRU], verdicts[LRU] = lru_program, Verdict.PASS
            with contextlib.ExitStack() as own:
                rows.append(_time(bpf, own, case, programs, verdicts, rounds))
    return rows


def _time(  # noqa: PLR0913, PLR0917 - what a case is timed with
    bpf: Bpf,
    stack: contextlib.ExitStack,
    case: Case,
    programs: dict[str, Program],
    verdicts: dict[str, Verdict],
    rounds: int,
) -> Row:
    subjects = []
    for name, program in programs.items():
        walking = _walking(bpf, stack, case, program)
        subjects.append(Subject(name, walking, case.walk.frame, verdicts[name]))
    for _ in range(64 * 4 if case.verdict is not Verdict.PASS else 0):
        for subject in subjects:  # what goes on at first is spent, and nothing comes back meanwhile
            subject.program.test_run(case.walk.frame)
    if case.goes_on:
        spent = by_turns(subjects, rounds=min(rounds, LONG_ROUNDS), runs=LONG_RUNS)
    else:
        spent = by_turns(subjects, rounds=rounds, runs=RUNS)
    net = {
        name: [total - nothing for total, nothing in zip(spent[name], spent[EMPTY], strict=True)]
        for name in programs
        if name != EMPTY
    }
    more = {
        name: [with_ - without for with_, without in zip(took, net[NONE], strict=True)]
        for name, took in net.items()
        if name not in {NONE, LRU}
    }
    lows = {name: statistics.quantiles(each, n=10)[0] for name, each in net.items()}
    return Row(case.walk.name, _medians(net), lows, _medians(more))


def _medians(figures: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(each) for name, each in figures.items()}


_compile_wander = functools.cache(compile_wander)


def _walking(bpf: Bpf, stack: contextlib.ExitStack, case: Case, program: Program) -> Program:
    if not case.walk.offset:
        if case.verdict is Verdict.TX:
            return Rewind(bpf, stack, case.walk.frame).before(program)
        return program
    state = stack.enter_context(bpf.create_map(_STATE, 1))
    state.update(bytes(4), struct.pack("=4Q", _SEED, 0, case.count, 0))
    array = program_array(stack, program)
    code = _compile_wander(case.walk.defines).relocate({_STATE.ref: state.fd, _PROGRAMS: array})
    return stack.enter_context(bpf.load_program(code, "wander"))


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    columns = (NONE, *_LEVELS, _TOTAL, LRU)
    lines = [
        f"| packet | {' | '.join(columns)} |",
        "| --- |" + " ---: |" * len(columns),
    ]
    for row in rows:
        cells = []
        for name in columns:
            if name not in row.medians:
                cells.append("")
                continue
            cell = f"{row.medians[name]:.0f} ({row.lows[name]:.0f})"
            if name in row.more:
                cell += f", {row.more[name]:+.0f} ({row.lows[name] - row.lows[NONE]:+.0f})"
            cells.append(cell)
        lines.append(f"| {row.case} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Measure, print and write results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", default="", help="cases with this in their name")
    given = parser.parse_args()
    machine = Machine.now()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # each CPU has tickets of its own
    rows = measure(given.rounds, given.only)
    text = (
        "ns per packet above an empty program on the same packet: medians, and tenth percentiles"
        " in brackets; behind them what that is above the filter without limits: median of the"
        " differences, and difference of the tenth percentiles in brackets;"
        f" of {given.rounds} rounds of {RUNS} test runs by turns; of what goes on,"
        f" {min(given.rounds, LONG_ROUNDS)} of {LONG_RUNS}.\n{machine.text}\n\n"
        f"{table(rows)}\n"
    )
    print(text)
    if not given.only:
        write("bench-limits", machine, rows, text)
        print(f"written to {RESULTS} and {RAW}/bench-limits.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
