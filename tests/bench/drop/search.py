"""The arithmetic of the comparison: rate search, percentiles, the kernel's accounting.

Knows nothing of hosts and processes, so that all of it is tested without root
(tests/unit/tools/test_bench_drop.py). Called by __main__.py and site.py.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_PROBES: Final = 14
"""Of one search, so that its time is bounded whatever the machine does."""


@dataclass(frozen=True, slots=True)
class Bracket:
    """What a search knows.

    Attributes:
        passed: the highest rate that passed, None before one did.
        failed: the lowest rate that failed, None before one did.
        probes: so many have been tried.
    """

    passed: float | None = None
    failed: float | None = None
    probes: int = 0


@dataclass(frozen=True, slots=True)
class Limits:
    """Between what a search moves.

    Attributes:
        least, most: outside of these nothing is tried.
        precision: done when the lowest failed is at most so many times the highest passed.
    """

    least: float
    most: float
    precision: float = 1.05


def search(passes: Callable[[float], bool], start: float, step: float, limits: Limits) -> Bracket:
    """Find the highest rate that passes: from `start` in growing steps, then by halves.

    Args:
        passes: tries one rate. A rate that passes is expected to pass with every lower one.
        start: the first rate that is tried.
        step: factor of the first step away from it; it is squared with each further one.
        limits: see there.
    """
    passed: float | None = None
    failed: float | None = None
    rate = min(max(start, limits.least), limits.most)
    for probe in range(1, MOST_PROBES + 1):
        if passes(rate):
            passed = max(rate, passed or rate)
        else:
            failed = min(rate, failed or rate)
        if passed is None:
            if rate <= limits.least:
                return Bracket(passed, failed, probe)
            rate, step = max(rate / step, limits.least), step * step
        elif failed is None:
            if rate >= limits.most:
                return Bracket(passed, failed, probe)
            rate, step = min(rate * step, limits.most), step * step
        elif failed <= passed * limits.precision:
            return Bracket(passed, failed, probe)
        else:
            rate = math.sqrt(passed * failed)
    return Bracket(passed, failed, MOST_PROBES)


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the least value that so many percent of the values do not exceed (nearest rank).

    Raises:
        ValueError: there is no value, or it is no percentage.
    """
    if not values or not 0 < percent <= 100:
        raise ValueError(f"no {percent:g}th percentile of {len(values)} values")
    rank = math.ceil(percent / 100 * len(values))
    return sorted(values)[rank - 1]


@dataclass(frozen=True, slots=True)
class CoreTimes:
    """One core's line of /proc/stat, in ticks since the boot."""

    user: int
    nice: int
    system: int
    idle: int
    iowait: int
    irq: int
    softirq: int
    steal: int

    @classmethod
    def parse(cls, text: str, core: int) -> CoreTimes:
        """Read them out of /proc/stat.

        Raises:
            ValueError: the text has no such core.
        """
        found = re.search(rf"^cpu{core} +((?:\d+ +){{7}}\d+)", text, re.MULTILINE)
        if not found:
            raise ValueError(f"/proc/stat has no line for core {core}")
        return cls(*map(int, found[1].split()))

    @property
    def rest(self) -> int:
        """Nothing to do. The kernel measures this exactly; what is busy it samples."""
        return self.idle + self.iowait


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds of the receiving side over a time.

    Attributes:
        wall: seconds that it lasted.
        poll: of what takes packets out of the ring, the kernel's part of the way included.
        dnsdist: of it. `service`: of it, 0 where it does not run.
    """

    wall: float
    poll: float
    dnsdist: float
    service: float

    def per_million(self, packets: int, resting: Spent) -> float:
        """Return CPU seconds for a million packets of a flood.

        All of the polling and of the service counts. Of dnsdist counts what it uses more
        than without a flood, as it answers honest queries all the time.

        Args:
            packets: of the flood that were taken out of the ring.
            resting: the same without a flood.

        Raises:
            ValueError: no packet was handled.
        """
        if packets <= 0:
            raise ValueError("no packet of the flood was handled")
        more = max(0.0, self.dnsdist - resting.dnsdist / resting.wall * self.wall)
        return (self.poll + self.service + more) / packets * 1e6


def dropped_by_nft(ruleset: str) -> int:
    """Return the packets of all counters in what `nft list ruleset` prints."""
    return sum(map(int, re.findall(r"\bcounter packets (\d+)", ruleset)))


def dropped_by_iptables(saved: str) -> int:
    """Return the packets that DROP rules hit, from what `iptables-save -c` prints."""
    return sum(map(int, re.findall(r"^\[(\d+):\d+\] -A .* -j DROP$", saved, re.MULTILINE)))


def missed_packets(statistics: str) -> int:
    """Return what found no room in the receive ring, from `ip -statistics -json link show`."""
    (link,) = json.loads(statistics)
    return int(link["stats64"]["rx"]["dropped"])
