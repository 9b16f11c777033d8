"""`make bench-drop`: which means drops the most before the first honest query is lost.

A visit sets one means up, sees that it drops all of a small flood, and measures: without a
flood, at one rate that is the same for all, and the search for the highest rate at which no
honest query is lost. The means take turns; each round begins with another.

    python -m tests.bench.drop [--rounds 3] [--minutes 10] [--results FOLDER] [--raw FOLDER]
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.drop import chart, report
from tests.bench.drop.means import EVERY, Means, Series
from tests.bench.drop.report import Visit
from tests.bench.drop.search import Limits, search
from tests.bench.drop.site import Site
from tests.bench.machine import Machine
from tests.bench.report import RAW, RESULTS, plot_path, table_path, write_raw, write_table
from tests.lab import LabError, eventually
from tests.roots.roots import dnsdist_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.drop.window import Window

SAME_RATE: Final = 200_000
"""Packets a second at which CPU time and latency are compared: all means keep up with it."""

SAME_SECONDS: Final = 1.0
SEARCH_SECONDS: Final = 0.5
TRIES: Final = 4
"""Of one rate: a query that a hiccup of this machine costs is not the means' fault."""

HICCUP: Final = 0.02
"""Share of the honest queries; where more are lost a rate has failed at once."""

START: Final = 400_000
LIMITS: Final = Limits(least=20_000, most=10_000_000, precision=1.07)
"""No sender here is as fast as the highest; what it then sends is its limit."""

TRIAL_RATE: Final = 20_000
TRIAL_SECONDS: Final = 0.2


class Search:
    """The search of one visit, with the windows that passed.

    Args:
        site: that the means is installed on.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        self._passed: list[Window] = []

    def run(self, start: float, step: float) -> tuple[Window | None, bool]:
        """Return the fastest flood that cost no honest query; whether none faster was had."""
        bracket = search(self._passes, start, step, LIMITS)
        best = max(self._passed, key=lambda window: window.rate, default=None)
        return best, bracket.failed is None

    def _passes(self, rate: float) -> bool:
        for _ in range(TRIES):
            window = self._site.measure(rate, SEARCH_SECONDS)
            if not window.lost:
                self._passed.append(window)
                return True
            if window.lost > HICCUP * window.asked:
                break
        return False


@dataclass(frozen=True, slots=True)
class Absent:
    """A means that this machine does not have, in a sentence."""

    means: Means
    why: str


def visit(means: Means, series: Series, number: int, former: Visit | None) -> Visit | Absent:
    """Measure one means once.

    Args:
        means: to be measured.
        series: what is blocked.
        number: of the round, from 0.
        former: the visit of the round before, near whose rate the search begins.
    """
    with Site.built(means.lua(series), random=series is Series.ZONE) as site:
        try:
            means.install(site, series)
        except LabError as error:
            if not means.optional:
                raise
            return Absent(means, " ".join(str(error).split())[-200:])
        see_it_drop(means, site)
        resting = site.measure(0, SEARCH_SECONDS)
        same = site.measure(SAME_RATE, SAME_SECONDS)
        own = site.program_ns(SAME_RATE, TRIAL_SECONDS)
        start, step = (former.best.rate, 1.15) if former and former.best else (START, 2.0)
        best, limited = Search(site).run(start, step)
    return Visit(means.key, series, number, resting, same, best, limited, own)


def see_it_drop(means: Means, site: Site) -> None:
    """Send a little of the flood, which warms up as well; all of it must be dropped."""
    before = means.dropped(site)
    window = site.measure(TRIAL_RATE, TRIAL_SECONDS)
    arrived = window.sent - window.missed
    eventually(
        lambda: means.dropped(site) - before >= arrived,
        f"{means.label} to drop {arrived} packets, not {means.dropped(site) - before}",
        timeout=3,
    )


def rounds(count: int, until: float) -> Iterator[Visit | Absent]:
    """Yield every visit of so many rounds; no round begins that would not end in time.

    Args:
        count: of rounds.
        until: by time.monotonic.
    """
    former: dict[tuple[str, Series], Visit] = {}
    every = [(means, series) for series in Series for means in EVERY if series in means.series]
    absent: set[str] = set()
    for number in range(count):
        began = time.monotonic()
        turn = number * 4 % len(every)
        for means, series in every[turn:] + every[:turn]:
            if means.key in absent:
                continue
            found = visit(means, series, number, former.get((means.key, series)))
            if isinstance(found, Absent):
                absent.add(means.key)
            else:
                former[means.key, series] = found
            yield found
        now = time.monotonic()
        if now + 0.8 * (now - began) > until:
            return


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.drop")
    parser.add_argument("--rounds", type=int, default=3, help="at most (%(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="at most (%(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of table and plot")
    parser.add_argument("--raw", type=Path, default=RAW, help="folder of the raw figures")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # labs are removed
    machine = Machine.now()
    until = time.monotonic() + 60 * options.minutes
    software = report.software(dnsdist_root("sid").version)
    visits: list[Visit] = []
    absent: list[str] = []
    for found in rounds(options.rounds, until):
        if isinstance(found, Absent):
            absent.append(f"{found.means.label}: not on this machine ({found.why})")
            print(absent[-1], file=sys.stderr, flush=True)
        else:
            visits.append(found)
            print(report.progress(found), file=sys.stderr, flush=True)
    outcome = report.Outcome.of(visits, absent, machine, software)
    text = report.text(outcome)
    print(text)
    plot = "one flood, every means of dropping it"
    write_table("bench-drop", machine, text, plot=plot, folder=options.results)
    write_raw("bench-drop", report.document(outcome, visits), options.raw)
    chart.draw(outcome, plot_path("bench-drop", machine, options.results))
    table = table_path(machine, options.results)
    print(f"written to {table}, its plot and {options.raw}/bench-drop.json")


if __name__ == "__main__":
    main()
