"""`make bench-growth`: what a packet costs with 10 to 1,000,000 entries in each map.

Every run is about another entry, at random (wander.bpf.c), because the one entry that a
single frame asks for would stay in the cache however large the map is. The cost of that
and of an empty program is subtracted. Both programs look into the same maps. Names are
followed by the index up to 10,000 of them; above, every name is looked up, and the plot
says so.

    python -m tests.bench.growth [--sample CHECKOUT] [--sizes 10 1000 …]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench import plot
from tests.bench.cases import NAME_17, v4, v6
from tests.bench.in_process import SampleError, compile_sample, compile_wander
from tests.bench.machine import Machine
from tests.bench.program import Bench
from tests.bench.report import RAW, plot_path, table_path, write
from tests.bench.turns import Subject, by_turns, program_array
from tests.bench.walk import Walk
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.build import Udp
from tests.packets.case import Verdict
from tests.packets.message import query
from xdpctl.abi import MapName, MapSpec, MapType, Scope
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.maps.name_index import FOLLOW_MAX

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.programs import Program

SIZES: Final = (10, 1_000, 100_000, 1_000_000)
PLOT: Final = "ns per packet by the number of rules in each map"
ROUNDS: Final = 15
RUNS: Final = 20_000
OURS, THEIRS, EMPTY = "xdpctl", "sample", "empty"

_SEED: Final = 20_261_121
_FIRST: Final = 8
"""Entries before this number are rules of the cases."""

_STATE: Final = MapSpec(MapName.CONTROL, 13, MapType.ARRAY, 4, 32, 0, 1, Scope.PROGRAM)
_PROGRAMS: Final = 14
_SOURCE4: Final = 14 + 12
_LAST_OF_SOURCE6: Final = 14 + 8 + 12
_NAME4: Final = 14 + 20 + 8 + 12


_PLAIN: Final = Udp(query(NAME_17))
_BLOCKED: Final = Udp(query("h0000000.blocked.example"))
WALKS: Final = (
    Walk("drop by address", v4(_PLAIN), Verdict.DROP, _SOURCE4, 0x0A000000),
    Walk("drop by prefix", v4(_PLAIN), Verdict.DROP, _SOURCE4, 0x64000000, 4),
    Walk("drop by name", v4(_BLOCKED), Verdict.DROP, _NAME4 + 2, is_name=True),
    Walk("pass", v4(_PLAIN), Verdict.PASS, _SOURCE4, 0xAC100000),
    Walk(
        "IPv6, drop by address",
        v6(_PLAIN, "2001:db8:ffff::"),
        Verdict.DROP,
        _LAST_OF_SOURCE6,
    ),
    Walk("IPv6, pass", v6(_PLAIN, "2001:db8:fffe::"), Verdict.PASS, _LAST_OF_SOURCE6),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One case at one size: ns above an empty program, median and middle half of the rounds."""

    case: str
    who: str
    entries: int
    median: float
    low: float
    high: float


def measure(entries: int, checkout: Path | None) -> list[Row]:
    """Time every case with so many entries in each map.

    Raises:
        SampleError: the checkout holds no sample program.
    """
    bpf = Bpf()
    with contextlib.ExitStack() as stack:
        ours = stack.enter_context(Bench.loaded(bpf, entries))
        programs = {OURS: ours.program}
        if checkout is not None:
            code = compile_sample(checkout, ours.maps)
            programs[THEIRS] = stack.enter_context(bpf.load_program(code, "sample"))
        programs[EMPTY] = stack.enter_context(bpf.load_program(EMPTY_PROGRAM, "empty"))
        every = [
            Subject(
                f"{walk.name}: {who}",
                _wandering(bpf, stack, walk, program, entries),
                walk.frame,
                Verdict.PASS if who == EMPTY else walk.verdict,
            )
            for walk in WALKS
            for who, program in programs.items()
        ]
        ours.settle()
        spent = by_turns(every, rounds=ROUNDS, runs=RUNS)
        judges = [who for who in programs if who != EMPTY]
        return [_row(walk, who, entries, spent) for walk in WALKS for who in judges]


def _row(walk: Walk, who: str, entries: int, spent: dict[str, list[float]]) -> Row:
    rounds = zip(spent[f"{walk.name}: {who}"], spent[f"{walk.name}: {EMPTY}"], strict=True)
    low, median, high = statistics.quantiles([ours - empty for ours, empty in rounds], n=4)
    return Row(walk.name, who, entries, median, low, high)


def _wandering(
    bpf: Bpf, stack: contextlib.ExitStack, walk: Walk, program: Program, entries: int
) -> Program:
    """Return the program that makes another packet and goes on into `program`."""
    state = stack.enter_context(bpf.create_map(_STATE, 1))
    state.update(bytes(4), struct.pack("=4Q", _SEED, _FIRST, entries - _FIRST, 0))
    array = program_array(stack, program)
    code = compile_wander(walk.defines).relocate({_STATE.ref: state.fd, _PROGRAMS: array})
    return stack.enter_context(bpf.load_program(code, "wander"))


def table(rows: list[Row], sizes: list[int]) -> str:
    """Return the rows as Markdown, a line a case."""
    lines = [
        "| packet | program | " + " | ".join(f"{size:,}" for size in sizes) + " |",
        "| --- | --- |" + " ---: |" * len(sizes),
    ]
    for walk in WALKS:
        for who in dict.fromkeys(row.who for row in rows):
            cells = [f"{row.median:.0f}" for row in rows if (row.case, row.who) == (walk.name, who)]
            lines.append(f"| {walk.name} | {who} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(rows: list[Row], machine: Machine, path: Path) -> None:
    """Draw medians with their middle halves over the number of entries."""
    figure, axes = plot.figure(columns=2, title=PLOT, width=9, height=4.2)
    for place, who in zip(axes, (OURS, THEIRS), strict=True):
        for walk, colour in zip(WALKS, plot.COLOURS, strict=True):
            own = [row for row in rows if (row.case, row.who) == (walk.name, who)]
            if not own:
                continue
            sizes = [row.entries for row in own]
            place.fill_between(
                sizes,
                [row.low for row in own],
                [row.high for row in own],
                color=colour,
                alpha=0.2,
                linewidth=0,
            )
            place.plot(
                sizes,
                [row.median for row in own],
                color=colour,
                marker="o",
                markersize=3.5,
                label=walk.name,
            )
        place.set(
            xscale="log", yscale="log", ylim=(20, 8000), xlabel="entries in each map", title=who
        )
        place.grid(visible=True)
    axes[0].set_ylabel("ns above an empty program")
    axes[0].axvline(FOLLOW_MAX, color=plot.FAINT, linewidth=1.2)
    axes[0].annotate(
        "more names: the index is off,\neach name is looked up",
        (FOLLOW_MAX * 1.15, axes[0].get_ylim()[1]),
        va="top",
        fontsize=7.5,
    )
    axes[0].legend(fontsize=7.5, loc="upper left")
    plot.save(figure, path, foot=machine.text)


def main() -> int:
    """Measure, print, draw and write results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sample", type=Path, help="a checkout of PowerDNS, outside this one")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    given = parser.parse_args()
    machine = Machine.now()
    rows = []
    for size in given.sizes:
        try:
            rows += measure(size, given.sample)
        except SampleError as error:
            parser.error(str(error))
        print(f"{size:,} entries: done", flush=True)
    text = (
        f"ns per packet above an empty program, each run another of so many entries in each map;"
        f" medians of {ROUNDS} rounds of {RUNS} test runs in turns. Above {FOLLOW_MAX:,} names the"
        f" index is off and each name is looked up.\n{machine.text}\n\n"
        f"{table(rows, given.sizes)}\n"
    )
    print(text)
    write("bench-growth", machine, rows, text, plot=PLOT)
    draw(rows, machine, plot_path("bench-growth", machine))
    print(f"written to {table_path(machine)}, its plot and {RAW}/bench-growth.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
