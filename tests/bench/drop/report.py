"""The outcome of the visits: medians over the rounds, ratios, a table in Markdown, JSON.

Called by __main__.py; chart.py draws what `Outcome` holds. Every figure of the comparison in
docs/performance.md is in the text that is made here.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.drop.means import EVERY, Series
from tests.bench.drop.sender import BURST, SOURCES
from tests.bench.drop.site import HONEST_RATE
from tests.bench.xsk import Spread
from tests.lab import LabError
from tests.lab.hosts import run

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.bench.drop.window import Window
    from tests.bench.machine import Machine

_SETTING: Final = (
    f"One core sends a flood of queries from {SOURCES} sources, one name each, in bursts of"
    f" {BURST}, over a veth pair; another receives it and runs dnsdist, which answers"
    f" {HONEST_RATE:,} honest queries a second that are sent among the flood's. The rules are the"
    f" same for all: {SOURCES} addresses, {SOURCES} names, or one zone, where the flood asks for"
    " another name below it each time. Ratios are to dnsdist in userspace."
)

BASE: Final = "userspace"
"""The means that ratios are to."""


@dataclass(frozen=True, slots=True)
class Visit:
    """One means in one round.

    Attributes:
        means: its key. `series`: what was blocked. `round`: from 0.
        resting: without a flood. `same`: at the rate that is the same for all.
        best: the fastest flood that cost no honest query, None when each did.
        limited: the sender could not send faster than `best`.
        own_ns: of the XDP program, a packet, by the kernel's count; None without one.
    """

    means: str
    series: Series
    round: int
    resting: Window
    same: Window
    best: Window | None
    limited: bool
    own_ns: float | None

    @property
    def rate(self) -> float:
        """Packets a second without a lost honest query; 0 when there was no such rate."""
        return self.best.rate if self.best else 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One means in one series, over the rounds.

    Attributes:
        key, label: the means'. `rate`: packets/s with no honest query lost.
        limited: the sender's limit in a round at least. `cpu`: CPU s a million packets at the
            same rate. `best_cpu`: the same at its own highest rate.
        p50, p99: of honest queries at the same rate, microseconds. `lost`: of those, in all.
        own_ns: of the XDP program. `others`: share of the receiving core that others used.
        rate_ratio, cpu_ratio: to dnsdist in userspace, medians by medians.
    """

    key: str
    label: str
    rate: Spread
    limited: bool
    cpu: Spread
    best_cpu: Spread | None
    p50: Spread
    p99: Spread
    lost: int
    own_ns: Spread | None
    others: float
    rate_ratio: float
    cpu_ratio: float

    @classmethod
    def of(cls, label: str, visits: Sequence[Visit], base: Sequence[Visit]) -> Row:
        """Sum up one means' visits; `base` are those of dnsdist in userspace."""
        rate, cpu = _rate(visits), _cpu(visits)
        own = [visit.own_ns for visit in visits if visit.own_ns is not None]
        best = [v.best.per_million(v.resting) for v in visits if v.best]
        return cls(
            key=visits[0].means,
            label=label,
            rate=rate,
            limited=any(visit.limited for visit in visits),
            cpu=cpu,
            best_cpu=Spread.of(best) if best else None,
            p50=Spread.of(visit.same.p50 for visit in visits),
            p99=Spread.of(visit.same.p99 for visit in visits),
            lost=sum(visit.same.lost for visit in visits),
            own_ns=Spread.of(own) if own else None,
            others=max(visit.same.others for visit in visits),
            rate_ratio=rate.median / _rate(base).median if _rate(base).median else 0.0,
            cpu_ratio=cpu.median / _cpu(base).median,
        )


def _rate(visits: Sequence[Visit]) -> Spread:
    return Spread.of(visit.rate for visit in visits)


def _cpu(visits: Sequence[Visit]) -> Spread:
    return Spread.of(visit.same.per_million(visit.resting) for visit in visits)


@dataclass(frozen=True, slots=True)
class Outcome:
    """All rows, and what they were taken with.

    Attributes:
        rows: by series, in the order of the means.
        same_rate: packets/s that were asked for where all are compared at one rate.
        rounds: so many. `absent`: a sentence for each means that is not here.
        software: names and versions. `machine`: where and when.
    """

    rows: dict[Series, list[Row]]
    same_rate: float
    rounds: int
    absent: list[str]
    software: str
    machine: Machine

    @classmethod
    def of(
        cls, visits: Sequence[Visit], absent: list[str], machine: Machine, software: str
    ) -> Outcome:
        """Sum up."""
        rows: dict[Series, list[Row]] = {}
        for series in Series:
            here = [visit for visit in visits if visit.series is series]
            if not here:
                continue
            base = [visit for visit in here if visit.means == BASE]
            rows[series] = [
                Row.of(means.label, mine, base)
                for means in EVERY
                if (mine := [visit for visit in here if visit.means == means.key])
            ]
        return cls(
            rows=rows,
            same_rate=visits[0].same.offered,
            rounds=len({visit.round for visit in visits}),
            absent=absent,
            software=software,
            machine=machine,
        )


def software(dnsdist: str) -> str:
    """Return names and versions of what is compared, as the programs say them."""
    said = [f"dnsdist {dnsdist}"]
    for program in ("nft", "iptables", "ipset"):
        try:
            words = run([program, "--version"], check=False).stdout
        except OSError:
            continue
        if found := re.search(r"v\d[\d.]*(?: \((?:nf_tables|legacy)\))?", words):
            said.append(f"{program} {found[0]}")
    return ", ".join(said)


def progress(visit: Visit) -> str:
    """Return a line for who waits."""
    cpu = visit.same.per_million(visit.resting)
    return (
        f"round {visit.round + 1}, {visit.series.value}, {visit.means}: {visit.rate:,.0f}"
        f" packets/s, {cpu:.2f} CPU s a million, p99 {visit.same.p99:.0f} us,"
        f" {100 * visit.same.others:.0f} % of the core used by others"
    )


def _rates(row: Row) -> str:
    sign = "≥ " if row.limited else ""
    return f"{sign}{row.rate.median:,.0f} ({row.rate.least:,.0f} to {row.rate.most:,.0f})"


def _spread(spread: Spread | None, form: str) -> str:
    if spread is None:
        return "-"
    return f"{spread.median:{form}} ({spread.least:{form}} to {spread.most:{form}})"


def _table(rows: Sequence[Row], same: str) -> list[str]:
    heads = (
        "",
        "packets/s, no honest query lost",
        "ratio",
        f"CPU s a million, at {same}/s",
        "ratio",
        "at its own highest",
        "honest p50, p99 µs",
    )
    lines = [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for row in rows:
        lost = f", {row.lost} lost" if row.lost else ""
        cells = (
            row.label,
            _rates(row),
            f"{row.rate_ratio:.1f}",
            _spread(row.cpu, ".2f"),
            f"{row.cpu_ratio:.2f}",
            _spread(row.best_cpu, ".2f"),
            f"{row.p50.median:.0f}, {row.p99.median:.0f}{lost}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def text(outcome: Outcome) -> str:
    """Return the whole as Markdown, which is read as it is on a terminal."""
    same = f"{outcome.same_rate:,.0f}"
    machine = f"{outcome.machine.text} {outcome.software}."
    how = f"Rounds: {outcome.rounds}; medians (least to most)."
    lines = ["# One flood, every means of dropping it", "", f"{machine} {how}", "", _SETTING]
    for series, rows in outcome.rows.items():
        lines += ["", f"## {series.value.capitalize()}", "", *_table(rows, same)]
    return "\n".join([*lines, "", *(f"- {note}" for note in _notes(outcome))]) + "\n"


def _notes(outcome: Outcome) -> Iterator[str]:
    every = [(series, row) for series, rows in outcome.rows.items() for row in rows]
    others = 100 * max(row.others for _, row in every)
    yield (
        "CPU: of the thread that polls the interface, of the service, and of dnsdist beyond what"
        " it uses without a flood; exact times of the scheduler. Others used up to"
        f" {others:.0f} % of the receiving core."
    )
    for series, row in every:
        if row.own_ns:
            yield (
                f"{row.label}, {series.value}: the program itself"
                f" {_spread(row.own_ns, '.0f')} ns a packet, by the kernel's count."
            )
    yield (
        "Sets of nftables and ipset know addresses only, dnsdist's socket filter knows addresses"
        " and exact names: only dnsdist in userspace (SuffixMatchNodeRule) and xdpctl match a zone."
    )
    if any(row.limited for _, row in every):
        yield "≥: the sender could send no faster."
    yield from outcome.absent


def _window(window: Window, resting: Window) -> dict[str, object]:
    found: dict[str, object] = asdict(window) | {"others": window.others}
    if window.sent:
        found |= {"rate": window.rate, "cpu_per_million": window.per_million(resting)}
    return found


def document(outcome: Outcome, visits: Sequence[Visit]) -> str:
    """Return everything as JSON: the summary and each visit's windows."""
    if not visits:
        raise LabError("nothing was measured")
    found = {
        "machine": asdict(outcome.machine),
        "software": outcome.software,
        "rounds": outcome.rounds,
        "absent": outcome.absent,
        "summary": {
            series.name.lower(): [asdict(row) for row in rows]
            for series, rows in outcome.rows.items()
        },
        "visits": [
            {
                "means": visit.means,
                "series": visit.series.name.lower(),
                "round": visit.round,
                "limited": visit.limited,
                "own_ns": visit.own_ns,
                "resting": _window(visit.resting, visit.resting),
                "same": _window(visit.same, visit.resting),
                "best": _window(visit.best, visit.resting) if visit.best else None,
            }
            for visit in visits
        ],
    }
    return json.dumps(found, indent=1) + "\n"
