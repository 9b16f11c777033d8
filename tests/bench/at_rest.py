"""Memory of the service when nobody looks, process by process; `make bench-memory` (as root).

Medians over several starts, a second after a scrape. PSS counts what is shared with other processes
over those that share it, so it falls when another Python runs beside; what is anonymous does not.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

from tests.bench.machine import Machine
from tests.bench.memory import processes_of, pss_bytes
from tests.bench.service import STARTS, start
from tests.lab import Lab

SETTLED_SECONDS = 1.0
PARTS = ("Pss", "Pss_Anon")


def main() -> None:
    """Measure and print."""
    found: dict[str, list[list[float]]] = {}
    with Lab() as lab:
        _, server = lab.pair()
        for counted in [False] + [True] * STARTS:  # the first compiles
            service, *_ = start(server)
            service.metrics()
            time.sleep(SETTLED_SECONDS)
            family = {pid: label(pid) for pid in processes_of(service.process.pid)}
            for pid, name in family.items():
                if counted:
                    found.setdefault(name, []).append(
                        [pss_bytes(pid, part) / 1e6 for part in PARTS]
                    )
            service.stop()
    print(Machine.now().text)
    print("\n| process | PSS, MB | of it anonymous |\n| --- | ---: | ---: |")
    sums = [0.0 for _ in PARTS]
    for name, rows in found.items():
        medians = [statistics.median(column) for column in zip(*rows, strict=True)]
        sums = [total + median for total, median in zip(sums, medians, strict=True)]
        print(f"| {name} | {medians[0]:.1f} | {medians[1]:.1f} |")
    print(f"| together | {sums[0]:.1f} | {sums[1]:.1f} |")


def label(pid: int) -> str:
    """Return what a process of the service is."""
    words = Path("/proc", str(pid), "cmdline").read_text(encoding="utf-8")
    return "loader" if "program.loader" in words else "service"


if __name__ == "__main__":
    main()
