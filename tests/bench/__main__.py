"""`make bench`: time packets and the service, print a table, write bench.json."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path

from tests.bench.machine import Machine
from tests.bench.program import ROUNDS, RUNS, time_packets
from tests.bench.service import STARTS, measure_service

RESULT = Path("bench.json")


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("result", nargs="?", type=Path, default=RESULT)
    result = parser.parse_args().result
    machine = Machine.now()  # a busy one shows in the times to ready, hardly in ns
    print(machine.text)
    print(f"\nns per packet, median of {ROUNDS} rounds of {RUNS} test runs (least, most)")
    timings = time_packets()
    for timing in timings:
        print(f"  {timing.name:32}{timing.median:7.0f}   ({timing.least:.0f}, {timing.most:.0f})")
    service = measure_service()
    print(f"\nthe service, median of {STARTS} starts")
    for what, figure, goal in service.rows():
        print(f"  {what:32}{figure:20}{'goal ' + goal if goal else ''}")
    document = {
        "machine": asdict(machine),
        "packets": [asdict(timing) for timing in timings],
        "service": asdict(service),
    }
    result.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"\nwritten to {result}")


if __name__ == "__main__":
    main()
