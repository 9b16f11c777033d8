"""`make bench`: time packets and the service, print a table, write bench.json."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path

from tests.bench.program import ROUNDS, RUNS, time_packets
from tests.bench.service import STARTS, measure_service

RESULT = Path("bench.json")


def main() -> None:
    """Measure and report."""
    load = os.getloadavg()[0]  # a busy machine shows in the times to ready, hardly in ns
    print(
        f"Linux {platform.release()}, {platform.machine()}, {os.cpu_count()} CPUs, load {load:.1f}"
    )
    print(f"\nns per packet, median of {ROUNDS} rounds of {RUNS} test runs (least, most)")
    timings = []
    for timing in time_packets():
        timings.append(timing)
        print(
            f"  {timing.name:32}{timing.median:7.0f}   ({timing.least:.0f}, {timing.most:.0f})",
            flush=True,
        )
    service = measure_service()
    print(f"\nthe service, median of {STARTS} starts")
    print(
        f"  {'exec to ready, s':32}{service.seconds_to_ready:7.2f}"
        f"   ({service.least:.2f}, {service.most:.2f})"
    )
    print(f"  {'memory, MB (sum of PSS)':32}{service.memory_bytes / 1e6:7.1f}")
    print(f"  {'processes':32}{service.processes:7}")
    RESULT.write_text(
        json.dumps(
            {
                "kernel": platform.release(),
                "load": load,
                "packets": [asdict(timing) for timing in timings],
                "service": asdict(service),
            },
            indent=2,
        )
        + "\n"
    )
    print(f"\nwritten to {RESULT}")


if __name__ == "__main__":
    main()
