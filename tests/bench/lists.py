"""`make bench-lists`: what a packet costs with 10 and with 1,000,000 rules of lists.

Half of them addresses, a fifth prefixes of several lengths, a fifth zones, a tenth exact
names, scattered over the address space, in our own tables; the shared maps have the same
hundreds of entries for all. Another version of xdp/, which knows no lists, is timed by
turns with this one, over the same shared maps, and so is this one as it is loaded while
there is no zone and no rule of a list. Hot: the same packet each run. Cold: another one
each run (wander.bpf.c). Slowest: what anyone can send to make it take long, cold too. An
empty program on the same packet is subtracted.

    python -m tests.bench.lists ../other/xdp [--rules 10 1000000] [--rounds 101]
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import statistics
import struct
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.cases import v4, v6
from tests.bench.in_process import compile_directory, compile_wander
from tests.bench.machine import Machine
from tests.bench.program import ENTRIES, Bench
from tests.bench.report import RAW, RESULTS, write
from tests.bench.turns import Rewind, Subject, by_turns, program_array
from tests.bench.walk import Walk
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.build import Tag, Udp, destination_options, ethernet, ipv6
from tests.packets.case import DEFAULT, Verdict
from tests.packets.message import labels, query
from xdpctl.abi import (
    MAPS,
    TABLE_EXACT,
    WILDCARD_QTYPE,
    MapName,
    MapSpec,
    MapType,
    RuleAction,
    Scope,
    ZoneScope,
)
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.program.compiler import compile_program_blocking, source_directory
from xdpctl.program.config import TableProgram
from xdpctl.store.tables.requests import Requests
from xdpctl.store.tables.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program

ROUNDS: Final = 101
RUNS: Final = 5_000
OURS, NO_LISTS, FORMER, EMPTY = "lists", "no lists", "former", "empty"

_TABLES: Final = replace(DEFAULT, tables=True)
_SEED: Final = 20_261_205
_STATE: Final = MapSpec(MapName.CONTROL, 13, MapType.ARRAY, 4, 32, 0, 1, Scope.PROGRAM)
_PROGRAMS: Final = 14
_SCATTER: Final = 0x9E3779B1
_PREFIXES: Final = 1 << 20
_STRANGERS: Final = 1 << 22
"""Numbers of the first prefix, and of sources that no rule is about (but a few)."""

_LENGTHS: Final = (24, 24, 24, 24, 24, 24, 24, 24, 24, 24, 22, 23, 20, 28, 27, 26)
_LENGTHS6: Final = (52, 56, 60, 64, 96, 128, 29, 32, 36, 40, 44, 48)
_BESIDE_PREFIXES: Final = "2001:db8:0:ffff::1"
"""In a /48 that has prefixes of all the greater lengths, none of which covers it."""

_SOURCE4: Final = 14 + 12
_NAME4: Final = 14 + 20 + 8 + 12
_EVERY: Final = struct.pack("=H", WILDCARD_QTYPE)


@dataclass(frozen=True, slots=True)
class Population:
    """How many rules there are of each kind."""

    addresses: int
    prefixes: int
    prefixes6: int
    zones_2: int
    zones_5: int
    truncated: int
    names: int

    @classmethod
    def of(cls, rules: int) -> Population:
        """Return half addresses, a fifth prefixes, a fifth zones, a tenth names."""
        deep = max(rules // 40, 1)
        prefixes, zones = rules // 5, rules // 5
        six = min(max(prefixes // 100, 1), len(_LENGTHS6) * 256)
        return cls(rules // 2, prefixes - six, six, max(zones - 2 * deep, 1), deep, deep,
                   rules // 10)  # fmt: skip

    @property
    def sources(self) -> int:
        """How many rules for sources there are."""
        return self.addresses + self.prefixes + self.prefixes6

    @property
    def all_names(self) -> int:
        """How many rules for names and zones there are."""
        return self.zones_2 + self.zones_5 + self.truncated + self.names

    def write(self, requests: Requests) -> None:
        """Write the rules of lists: to drop, but for the zones at depth 5 that are truncated."""
        address = bytes((4, TABLE_EXACT))
        sources = [address + _scattered(number) for number in range(self.addresses)]
        sources += [_prefix(number) for number in range(self.prefixes)]
        sources += [_prefix6(number) for number in range(self.prefixes6)]
        names = [_zone(number, b"\3com\0") for number in range(self.zones_2)]
        names += [_zone(number, b"\1c\1b\1a\3com\0") for number in range(self.zones_5)]
        names += [
            bytes((ZoneScope.SELF,)) + _EVERY + b"\3www\x08h%07x\3net\0" % number
            for number in range(self.names)
        ]
        short = [_zone(number, b"\1t\1b\1a\3com\0") for number in range(self.truncated)]
        drop, truncate = int(RuleAction.DROP), int(RuleAction.TRUNCATE)
        requests.put(MapName.LIST_SOURCES, sources, [drop] * len(sources))
        requests.put(MapName.LIST_NAMES, names, [drop] * len(names))
        requests.put(MapName.LIST_NAMES, short, [truncate] * len(short))


def _scattered(number: int) -> bytes:
    return (number * _SCATTER & 0xFFFFFFFF).to_bytes(4, "big")


def _prefix(number: int) -> bytes:
    length = 16 if number % 1000 == 0 else _LENGTHS[number % len(_LENGTHS)]
    address = (number + _PREFIXES) * _SCATTER & 0xFFFFFFFF
    return bytes((4, length)) + (address >> 32 - length << 32 - length).to_bytes(4, "big")


def _prefix6(number: int) -> bytes:
    """Return a prefix of each length in turn; those longer than /48 are in 2001:db8::/40."""
    length = _LENGTHS6[number % len(_LENGTHS6)]
    network = (number // len(_LENGTHS6) & 0xFF) << 80
    address = (0x20010DB8 << 96 if length > 48 else 0x2001FFF8 << 96) | network
    return bytes((6, length)) + (address >> 128 - length << 128 - length).to_bytes(16, "big")


def _zone(number: int, parent: bytes) -> bytes:
    return bytes((ZoneScope.ALL,)) + _EVERY + b"\x08h%07x" % number + parent


@dataclass(frozen=True, slots=True)
class Case:
    """What is timed.

    Attributes:
        walk: what is written into the frame each run; offset 0: nothing, it is hot.
        first, count: numbers of what is written.
        former: whether the version without lists decides the same, so that it is timed too.
        answers: whether the packet becomes the answer, so that each run begins with it anew.
    """

    walk: Walk
    first: int = 0
    count: int = 0
    former: bool = True
    answers: bool = False


def cases(there: Population) -> Iterator[Case]:
    """Yield every case for so many rules."""
    passing = v4(Udp(query("www.example.com")))
    stranger = v4(Udp(query("www.h0000000.com")), "198.18.0.1")
    for text, name in (
        ("pass, 2 labels", "example.com"),
        ("pass, 3 labels", "www.example.com"),
        ("pass, 5 labels", "a.b.www.example.com"),
        ("pass, 10 labels", "a.b.c.d.e.f.g.www.example.com"),
        ("pass, 127 labels", "w." * 127),
    ):
        yield Case(Walk(f"hot: {text}", v4(Udp(query(name))), Verdict.PASS, 0))
    for text, source in (("IPv6", "2001:db9::1"), ("IPv6, beside prefixes", _BESIDE_PREFIXES)):
        frame = v6(Udp(query("www.example.com")), source)
        yield Case(Walk(f"hot: {text}, pass, 3 labels", frame, Verdict.PASS, 0))
    yield Case(Walk("hot: drop by exact name (dnsdist's)", v4(Udp(query("dropped.example.com"))),
                    Verdict.DROP, 0))  # fmt: skip
    for text, name in (
        ("zone at depth 2", "www.h0000000.com"),
        ("zone at depth 5", "www.h0000000.c.b.a.com"),
        ("name", "www.h0000000.net"),
    ):
        frame = v4(Udp(query(name)), "198.18.0.1")
        yield Case(Walk(f"hot: drop by {text}", frame, Verdict.DROP, 0), former=False)
    first = ".".join(map(str, _scattered(1)))
    yield Case(Walk("hot: drop by address", v4(Udp(query("www.example.com")), first),
                    Verdict.DROP, 0), former=False)  # fmt: skip
    strange = 1 << 20
    anyone = v4(Udp(query("www.m0000000.com")), "198.18.0.1")
    at = _NAME4 + 4 + 2
    yield Case(Walk("cold: pass, another name", anyone, Verdict.PASS, at, is_name=True), 0, strange)
    yield Case(
        Walk(
            "cold: pass, another name and source", anyone, Verdict.PASS, at, is_name=True,
            source=_SOURCE4,
        ),
        0, strange,
    )  # fmt: skip
    yield Case(
        Walk("cold: pass, another source", passing, Verdict.PASS, _SOURCE4, scatters=True),
        _STRANGERS, strange,
    )  # fmt: skip
    yield Case(
        Walk("cold: drop by address", passing, Verdict.DROP, _SOURCE4, scatters=True),
        0, there.addresses, former=False,
    )  # fmt: skip
    yield Case(
        Walk("cold: drop by prefix", passing, Verdict.DROP, _SOURCE4, scatters=True),
        _PREFIXES, there.prefixes, former=False,
    )  # fmt: skip
    yield Case(
        Walk("cold: drop by zone at depth 2", stranger, Verdict.DROP, at, is_name=True),
        0, there.zones_2, former=False,
    )  # fmt: skip
    deep = v4(Udp(query("www.h0000000.c.b.a.com")), "198.18.0.1")
    yield Case(
        Walk("cold: drop by zone at depth 5", deep, Verdict.DROP, at, is_name=True),
        0, there.zones_5, former=False,
    )  # fmt: skip
    exact = v4(Udp(query("www.h0000000.net")), "198.18.0.1")
    yield Case(
        Walk("cold: drop by name", exact, Verdict.DROP, at, is_name=True),
        0, there.names, former=False,
    )  # fmt: skip
    yield from _slowest(there)
    longest = labels(*[b"x" * 63] * 3, b"m0000000", b"com")
    yield Case(
        Walk("cold: pass, labels of 63 octets", v4(Udp(query(longest)), "198.18.0.1"), Verdict.PASS,
             _NAME4 + 3 * 64 + 2, is_name=True, source=_SOURCE4),
        0, strange,
    )  # fmt: skip


def _slowest(there: Population) -> Iterator[Case]:
    """Yield what takes longest: names of as many labels as fit, below zones, cold.

    Those of IPv6 have as many headers as are read, and come from beside prefixes.
    """
    headers = [destination_options() for _ in range(6)]
    tags = (Tag(), Tag())
    source6 = 14 + 4 * len(tags) + 8
    before = 14 + 4 * len(tags) + 40 + 8 * len(headers) + 8 + 12
    for text, zone, verdict, count in (
        ("passes, beside a zone at depth 5", "m0000000.c.b.a.com", Verdict.PASS, 1 << 20),
        ("dropped by a zone at depth 5", "h0000000.c.b.a.com", Verdict.DROP, there.zones_5),
    ):
        name = "w." * 117 + zone
        at = 2 * 117 + 2
        packet = ipv6(Udp(query(name)), source=_BESIDE_PREFIXES, extensions=headers)
        yield Case(
            Walk(f"slowest: {text}, IPv6", ethernet(packet, tags=tags), verdict, before + at,
                 is_name=True, source=source6 + 8),
            0, count, former=verdict is Verdict.PASS,
        )  # fmt: skip
        yield Case(
            Walk(f"slowest: {text}, IPv4", v4(Udp(query(name)), "198.18.0.1"), verdict, _NAME4 + at,
                 is_name=True),
            0, count, former=verdict is Verdict.PASS,
        )  # fmt: skip
    answered = v4(Udp(query("w." * 117 + "h0000000.t.b.a.com")), "198.18.0.1")
    yield Case(
        Walk("slowest: TC=1 answer by a zone at depth 5", answered, Verdict.TX,
             _NAME4 + 2 * 117 + 2, is_name=True),
        0, there.truncated, former=False, answers=True,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """A case: ns above an empty program on the same packet, median and tenth percentile."""

    rules: int
    case: str
    former: float | None
    former_low: float | None
    no_lists: float | None
    no_lists_low: float | None
    ours: float
    ours_low: float


def own_tables(bpf: Bpf, stack: contextlib.ExitStack, there: Population) -> dict[MapName, Map]:
    """Return the maps of our own tables with these rules in them."""
    code = compile_program_blocking(TableProgram())
    shape = Shape.for_entries(there.all_names, there.sources)
    maps = {
        name: stack.enter_context(bpf.create_map(spec, shape.entries(name)))
        for name, spec in MAPS.items()
        if spec.ref in code.refs()
    }
    maps[MapName.TABLE_HEAD].update(bytes(4), shape.head(1))
    fds = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
    loaded = bpf.load_program(code.relocate(fds), "xdpctl_table", ProgramKind.TEST_RUN)
    program = stack.enter_context(loaded)
    there.write(Requests(program, maps[MapName.TABLE_REQUESTS].memory(), lambda _: 0))
    return maps


def measure(rules: int, former: Path, rounds: int, only: str, shared: int) -> list[Row]:
    """Time every case with so many rules."""
    bpf = Bpf()
    there = Population.of(rules)
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(Bench.loaded(bpf, shared))
        own = own_tables(bpf, stack, there)
        maps = {**own, **bench.maps}
        fds = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
        programs: dict[str, Program] = {}
        for who, config, directory in (
            (OURS, _TABLES, Path(str(source_directory()))),
            (NO_LISTS, DEFAULT, Path(str(source_directory()))),
            (FORMER, DEFAULT, former),
        ):
            code = compile_directory(config, directory).relocate(fds)
            programs[who] = stack.enter_context(bpf.load_program(code, who))
        programs[EMPTY] = stack.enter_context(bpf.load_program(EMPTY_PROGRAM, EMPTY))
        every = [
            case
            for case in cases(there)
            if only in case.walk.name and (shared or "dnsdist" not in case.walk.name)
        ]
        subjects = [
            Subject(
                f"{case.walk.name}: {who}",
                _walking(bpf, stack, case, program),
                case.walk.frame,
                case.walk.verdict
                if who == OURS or (who != EMPTY and case.former)
                else Verdict.PASS,
            )
            for case in every
            for who, program in programs.items()
            if who in {OURS, EMPTY} or case.former
        ]
        bench.settle()
        spent = by_turns(subjects, rounds=rounds, runs=RUNS)
    return [_row(rules, case, spent) for case in every]


_compile_wander = functools.cache(compile_wander)


def _walking(bpf: Bpf, stack: contextlib.ExitStack, case: Case, program: Program) -> Program:
    if not case.walk.offset:
        return program
    state = stack.enter_context(bpf.create_map(_STATE, 1))
    state.update(bytes(4), struct.pack("=4Q", _SEED, case.first, case.count, 0))
    array = program_array(stack, program)
    code = _compile_wander(case.walk.defines).relocate({_STATE.ref: state.fd, _PROGRAMS: array})
    wandering = stack.enter_context(bpf.load_program(code, "wander"))
    return Rewind(bpf, stack, case.walk.frame).before(wandering) if case.answers else wandering


def _row(rules: int, case: Case, spent: dict[str, list[float]]) -> Row:
    def net(who: str) -> tuple[float, float]:
        pairs = zip(spent[f"{case.walk.name}: {who}"], spent[f"{case.walk.name}: {EMPTY}"],
                    strict=True)  # fmt: skip
        above = [total - empty for total, empty in pairs]
        return statistics.median(above), statistics.quantiles(above, n=10)[0]

    former, former_low = net(FORMER) if case.former else (None, None)
    no_lists, no_lists_low = net(NO_LISTS) if case.former else (None, None)
    return Row(rules, case.walk.name, former, former_low, no_lists, no_lists_low, *net(OURS))


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    lines = [
        "| packet | rules of lists | former version | no list | with lists |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for row in rows:
        cells = (
            _cell(row.former, row.former_low),
            _cell(row.no_lists, row.no_lists_low),
            _cell(row.ours, row.ours_low),
        )
        lines.append(f"| {row.case} | {row.rules:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(median: float | None, low: float | None) -> str:
    return "" if median is None else f"{median:.0f} ({low:.0f})"


def main() -> int:
    """Measure, print and write results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "former", type=Path, help="xdp/ of another version, or of this one, without lists"
    )
    parser.add_argument("--rules", type=int, nargs="+", default=[10, 1_000_000])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--shared", type=int, default=ENTRIES, help="entries in each shared map")
    parser.add_argument("--only", default="", help="cases with this in their name")
    given = parser.parse_args()
    machine = Machine.now()
    rows = [
        row
        for rules in given.rules
        for row in measure(rules, given.former, given.rounds, given.only, given.shared)
    ]
    text = (
        "ns per packet above an empty program on the same packet; medians, and tenth percentiles"
        f" in brackets, of {given.rounds} rounds of {RUNS} test runs by turns.\n{machine.text}\n\n"
        f"{table(rows)}\n"
    )
    print(text)
    if not given.only:
        write("bench-lists", machine, rows, text)
        print(f"written to {RESULTS} and {RAW}/bench-lists.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
