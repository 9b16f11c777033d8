"""`make soak`: minutes of packets, changes, scrapes, reloads and kills; is it as large as before?

    python -m tests.soak [--minutes 10] [--results FOLDER] [--raw FOLDER]

Prints a table and writes it to tests/bench/results with the plot, and the raw figures to
build/. Ends with status 1 if a series grows by more than it may (verdict.py), or if anything
goes wrong on the way.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.machine import Machine
from tests.bench.report import RAW, RESULTS, plot_path, write_raw, write_table
from tests.lab import LabError
from tests.soak.gauge import Sample
from tests.soak.site import Site
from tests.soak.verdict import Row, judge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SAMPLES = 200
TURN_SECONDS = 0.1
LIVES = 20
"""Of the service that is killed."""

SHORTEST_LIFE = 3.0
"""Seconds; a start takes one of them."""

LIVES_ON, DIES = "never killed", "killed again and again"


@dataclass(frozen=True, slots=True)
class Soak:
    """What was seen.

    Attributes:
        seconds: it took. `samples`, `done`: by service; `done`: how often what was done.
        rows: the verdict.
    """

    seconds: float
    samples: Mapping[str, Sequence[Sample]]
    done: Mapping[str, Mapping[str, int]]
    rows: Sequence[Row]

    @property
    def is_flat(self) -> bool:
        """Whether nothing grew."""
        return all(row.is_flat for row in self.rows)

    def document(self, machine: Machine) -> dict[str, Any]:
        """Return it for JSON; a sample is a list in the order of `columns`."""
        return {
            "machine": asdict(machine),
            "seconds": self.seconds,
            "flat": self.is_flat,
            "rows": [asdict(row) | {"flat": row.is_flat} for row in self.rows],
            "done": self.done,
            "columns": [field.name for field in fields(Sample)],
            "samples": {
                name: [astuple(sample) for sample in found] for name, found in self.samples.items()
            },
        }


def soak(seconds: float) -> Soak:
    """Run both services for that long.

    Raises:
        LabError: one of them failed.
    """
    life = max(seconds / LIVES, SHORTEST_LIFE)
    with Site(LIVES_ON, None) as steady, Site(DIES, life) as mortal:
        sites = (steady, mortal)
        began = time.monotonic()
        due = 0.0
        while (now := time.monotonic() - began) < seconds:
            for site in sites:
                site.turn()
                if now >= due:
                    site.sample()
            if now >= due:
                due += seconds / SAMPLES
            time.sleep(min(TURN_SECONDS, seconds / SAMPLES))
    return Soak(
        seconds,
        {site.name: site.samples for site in sites},
        {site.name: dict(site.done) for site in sites},
        judge(LIVES_ON, steady.samples, seconds, None) + judge(DIES, mortal.samples, seconds, life),
    )


def table(found: Soak) -> str:
    """Return the verdict as Markdown."""
    lines = [
        "| service | what | least | median | most | grown by slope | may grow | |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in found.rows:
        cells = [
            f"{value:,.0f}" if row.limit > 1024 else f"{value:.1f}"
            for value in (row.least, row.median, row.most, row.grown, row.limit)
        ]
        flat = "flat" if row.is_flat else "GROWS"
        lines.append(f"| {row.site} | {row.series} | {' | '.join(cells)} | {flat} |")
    for name, done in found.done.items():
        counts = ", ".join(f"{what} {count}" for what, count in done.items())
        lines.append(f"\n{name}, how often: {counts}.")
    return "\n".join(lines)


def main() -> int:
    """Run, print, write; 0 where all is flat."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of table and plot")
    parser.add_argument("--raw", type=Path, default=RAW, help="folder of the raw figures")
    given = parser.parse_args()
    machine = Machine.now()
    try:
        found = soak(given.minutes * 60)
    except LabError as error:
        print(error)
        return 1
    text = (
        f"{given.minutes:g} minutes of packets, changes, scrapes and reloads; growth is the slope"
        f" after the warm-up (verdict.py) times the judged time (octets, or numbers).\n"
        f"{machine.text}\n\n"
        f"{table(found)}\n"
    )
    print(text)
    document = json.dumps(found.document(machine), separators=(",", ":"))
    write_raw("soak", document.replace("],", "],\n") + "\n", given.raw)
    plot = "memory, descriptors, threads and files over time"
    write_table("soak", machine, text, plot=plot, folder=given.results)
    from tests.soak.chart import draw  # noqa: PLC0415 - matplotlib is not everywhere

    title = f"{given.minutes:g} minutes of everything at once"
    path = plot_path("soak", machine, given.results)
    draw(found.samples, found.seconds, title, machine, path)
    return 0 if found.is_flat else 1


if __name__ == "__main__":
    raise SystemExit(main())
