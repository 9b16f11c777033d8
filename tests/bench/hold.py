"""`make bench-hold`: how much of a flood reaches dnsdist, with its blocks held and without.

For each dnsdist two sites side by side: one service holds dnsdist's blocks, the other does not. Two
sources flood both at a steady, moderate rate: one that dnsdist blocks by its address, in a shared
map, and one of a subnet that it blocks as a whole, which the service reads. Counted is what dnsdist
itself says it has received after the first block of both. Fails if a held flood reaches dnsdist
with more than 1 % of what does without.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tests.bench.machine import Machine
from tests.bench.report import table_path, write_table
from tests.lab import Lab, eventually
from tests.net.dynamic_site import (
    ALONE,
    IN_SUBNET,
    VERSIONS,
    DynamicSite,
    Flood,
    Version,
    dynamic_site,
)

SECONDS = 300.0
RATE = 100
"""Queries a second of each source."""

BLOCK_SECONDS = 10
"""How long dnsdist blocks."""

MOST = 0.01


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of one flood: queries after the first block, sent, and received by dnsdist."""

    version: Version
    hold: bool
    sent: int
    reached: int


def is_blocked(site: DynamicSite) -> bool:
    """Return whether both sources are blocked on the card."""
    targets = {rule["target"] for rule in site.service.rules()}
    return {ALONE, "203.0.113.0/24"} <= targets


def flood(version: Version, *, hold: bool, seconds: float, rate: int) -> Reached:
    """Flood a site, and count."""
    keys = ('hold = "1h"',) if hold else ()
    with Lab() as lab:
        site = dynamic_site(lab, version, *keys, seconds=BLOCK_SECONDS)
        with Flood(site.client, rate, ALONE, IN_SUBNET) as sending:
            eventually(lambda: is_blocked(site), "the first block of both", timeout=60)
            before, sent = site.queries(), sending.sent
            time.sleep(seconds)
            return Reached(version, hold, sending.sent - sent, site.queries() - before)


def both(version: Version, seconds: float, rate: int) -> tuple[Reached, Reached]:
    """Flood two sites at the same time: held and not held."""
    with ThreadPoolExecutor(2) as pool:
        held, plain = (
            pool.submit(flood, version, hold=hold, seconds=seconds, rate=rate)
            for hold in (True, False)
        )
        return held.result(), plain.result()


def main() -> int:
    """Measure and report; 1 if a flood that is held reaches dnsdist."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("versions", nargs="*", metavar="VERSION", default=[])
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--rate", type=int, default=RATE)
    options = parser.parse_args()
    machine = Machine.now()
    lines = [
        (
            f"A flood of {options.seconds:g} s, two sources with {options.rate} queries/s each;"
            f" dnsdist blocks for {BLOCK_SECONDS} s. Queries after the first block."
            f"\n{machine.text}\n"
        ),
        "| dnsdist | sent | reached it | with hold | share |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    worst = 0.0
    for version in options.versions or VERSIONS:
        held, plain = both(version, options.seconds, options.rate)
        share = held.reached / max(1, plain.reached)
        worst = max(worst, share)
        lines.append(
            f"| {version} | {plain.sent:,} | {plain.reached:,} | {held.reached:,} | {share:.2%} |"
        )
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(f"\n{text}")
    if options.seconds >= SECONDS and not options.versions:
        write_table("bench-hold", machine, text)
        print(f"written to {table_path(machine)}")
    return int(worst > MOST)


if __name__ == "__main__":
    sys.exit(main())
