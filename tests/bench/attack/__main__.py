"""`make bench-attack`: eight attacks, every defence, what honest clients get.

python -m tests.bench.attack [--rate N] [--only DEFENCE …] [--attacks ATTACK …] [--rounds N]
"""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import Final

from tests.bench.attack import chart, report
from tests.bench.attack.attacks import ATTACKS
from tests.bench.attack.defences import DEFENCES
from tests.bench.attack.site import Site
from tests.bench.machine import Machine
from tests.bench.report import RAW

RATE: Final = 300_000
"""Packets a second of the fastest attacks: as many as one core can send here whatever the other
end does with them, so that every defence meets the same."""

CALM_SPEED: Final = 1.5
"""Without an attack honest clients ask so many times as much."""

DOCS: Final = Path(__file__).resolve().parents[3] / "docs"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.attack")
    parser.add_argument("--rate", type=int, default=RATE, help="packets/s (%(default)s)")
    parser.add_argument("--rounds", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--only", nargs="*", default=[d.key for d in DEFENCES])
    parser.add_argument("--attacks", nargs="*", default=[a.key for a in ATTACKS])
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of page and plot")
    parser.add_argument("--raw", type=Path, default=RAW, help="folder of the raw figures")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # labs are removed
    machine = Machine.now()
    done = report.Results()
    for seed in range(options.rounds):
        for defence in DEFENCES:
            if defence.key not in options.only:
                continue
            with Site.built(defence) as site:
                done.add(defence, None, site.calm(defence.calm, CALM_SPEED, seed))
                print(done.last, file=sys.stderr, flush=True)
                for attack in ATTACKS:
                    if attack.key in options.attacks:
                        done.add(defence, attack, site.trial(attack, options.rate, seed))
                        print(done.last, file=sys.stderr, flush=True)
    text = report.text(done, machine, options.rate)
    print(text)
    whole = set(options.only) == {d.key for d in DEFENCES}
    if whole and set(options.attacks) == {a.key for a in ATTACKS}:
        report.write(done, machine, text, options.docs, options.raw)
        chart.draw(done, machine, options.docs / "under-attack-results.svg")
        print(f"written to {options.docs}/under-attack-results.md, its plot and {options.raw}")


if __name__ == "__main__":
    main()
