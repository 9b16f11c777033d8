"""What the service costs: from exec to ready, and memory while it runs.

Memory is the sum of the proportional set sizes of the process and all its children:
what is shared between processes is counted once, over those that share it.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from tests.lab import Lab, Service

STARTS = 5


@dataclass(frozen=True, slots=True)
class Footprint:
    """Medians over the starts.

    Attributes:
        seconds_to_ready: from exec to the line "ready"; `least` and `most` beside it.
        memory_bytes: sum of PSS, after the service has answered a scrape.
        processes: of the running service, children included.
    """

    seconds_to_ready: float
    least: float
    most: float
    memory_bytes: int
    processes: int


def measure_service() -> Footprint:
    """Start and stop the service, and look at it while it runs."""
    seconds: list[float] = []
    memory: list[int] = []
    counts: list[int] = []
    with Lab() as lab:
        _, server = lab.pair()
        for _ in range(STARTS):
            began = time.monotonic()
            service = Service(server)
            seconds.append(time.monotonic() - began)
            service.metrics()
            family = processes_of(service.process.pid)
            memory.append(sum(pss_bytes(pid) for pid in family))
            counts.append(len(family))
            service.stop()
    return Footprint(
        seconds_to_ready=statistics.median(seconds),
        least=min(seconds),
        most=max(seconds),
        memory_bytes=int(statistics.median(memory)),
        processes=max(counts),
    )


def processes_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path("/proc", str(parent), "task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def pss_bytes(pid: int) -> int:
    """Return a process's proportional set size."""
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no Pss in smaps_rollup of {pid}")
