"""What it costs that lists have rules in common: three lists apart, and three that overlap.

Both times the three files have as many lines together. Of lists that overlap, one rule in ten is
in the next list as well. Each is imported into a service of its own that has no rule of a list,
by turns, and then once more unchanged. The CPU time of the service and its processes stands
beside the time that passed, for a machine that others use too. Called by scale.py.
"""

from __future__ import annotations

import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.watch import timed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Service

LISTS: Final = 3
SHARED: Final = 10
"""One rule in so many is in two lists."""

GOAL: Final = 1.3
ROUNDS: Final = 2


def apart(every: list[str]) -> list[list[str]]:
    """Return the rules as three lists that have none in common."""
    return [every[number::LISTS] for number in range(LISTS)]


def overlapping(every: list[str]) -> list[list[str]]:
    """Return as many lines in three lists of which one in ten is in the next one too."""
    distinct = every[: len(every) * SHARED // (SHARED + 1)]
    lists = apart(distinct)
    common = [part[::SHARED] for part in lists]
    return [part + common[number - 1] for number, part in enumerate(lists)]


@dataclass(slots=True)
class Took:
    """Seconds that passed, and of CPU time of the service, by round."""

    passed: list[float] = field(default_factory=list)
    used: list[float] = field(default_factory=list)

    def run(self, service: Service, work: Callable[[], object]) -> None:
        """Do something, and note what it took."""
        before = cpu_seconds(service.process.pid)
        self.passed.append(timed(work))
        self.used.append(cpu_seconds(service.process.pid) - before)


def document(first: dict[str, Took]) -> dict[str, float]:
    """Return medians, and the ratios of what overlaps to what does not."""
    found: dict[str, float] = {}
    for name, took in first.items():
        found[f"{name}, s"] = round(statistics.median(took.passed), 3)
        found[f"{name}, CPU s"] = round(statistics.median(took.used), 3)
    for step in ("import", "again"):
        for what in ("passed", "used"):
            medians = [
                statistics.median(getattr(first[f"{kind}: {step}"], what))
                for kind in ("overlapping", "apart")
            ]
            found[f"ratio of {step}, {what}"] = round(medians[0] / medians[1], 3)
    return found


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process and of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
