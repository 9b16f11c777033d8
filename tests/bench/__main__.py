"""`make bench`: time packets and the service, print and write a table, write bench.json."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.machine import Machine
from tests.bench.program import ROUNDS, RUNS, time_packets
from tests.bench.report import table_path, write_table
from tests.bench.service import STARTS, measure_service

if TYPE_CHECKING:
    from tests.bench.service import Footprint
    from tests.bench.turns import Timing

RESULT = Path("bench.json")


def table(timings: list[Timing], service: Footprint) -> str:
    """Return everything as Markdown."""
    lines = ["| packet | ns | least | most |", "| --- | ---: | ---: | ---: |"]
    lines += (f"| {t.name} | {t.median:.0f} | {t.least:.0f} | {t.most:.0f} |" for t in timings)
    lines += ["", "| the service | figure | goal |", "| --- | ---: | ---: |"]
    lines += (f"| {what} | {figure} | {goal} |" for what, figure, goal in service.rows())
    return "\n".join(lines)


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("result", nargs="?", type=Path, default=RESULT)
    result = parser.parse_args().result
    machine = Machine.now()  # a busy one shows in the times to ready, hardly in ns
    print(machine.text)
    timings = time_packets()
    service = measure_service()
    text = (
        f"ns per packet with an empty program included, median, least and most of {ROUNDS} rounds"
        f" of {RUNS} test runs; the service, medians of {STARTS} starts.\n{machine.text}\n\n"
        f"{table(timings, service)}\n"
    )
    print(f"\n{text}")
    write_table("bench", machine, text)
    document = {
        "machine": asdict(machine),
        "packets": [asdict(timing) for timing in timings],
        "service": asdict(service),
    }
    result.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    print(f"written to {table_path(machine)} and {result}")


if __name__ == "__main__":
    main()
