"""What sixteen who look cost the service; `make bench-streams` (as root).

A flood of random names, and so many streams at once: sums as the page and `top --live` ask for,
the same for all or each of another kind, every sample as `watch` has it, and readers that never
read. Printed and written: processors that the service used, the longest time that its loop was
held, and its memory (PSS), each in five seconds.

    python -m tests.bench.streams [--rate 4000]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from tests.bench.first_minutes import cpu_seconds
from tests.bench.machine import Machine
from tests.bench.memory import processes_of, pss_bytes
from tests.bench.report import write
from tests.bench.ticking import Ticks
from tests.lab import Lab, Service
from tests.lab.hosts import PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECONDS: Final = 5.0
SETTLING: Final = 6.0
"""The sums are of five seconds."""

STARTING: Final = 20.0
"""Until programs are compiled ahead too."""

LEAVING: Final = 3.0
"""Until the service has noticed that a stream's client has left."""

ALL_BY: Final = (
    "source,source24,source64,source48,name,zone2,zone3,type,port,source-port,action,reason"
)
MANY: Final = 16


@dataclass(frozen=True, slots=True)
class Kind:
    """Who looks.

    Attributes:
        count: streams at once. `query`: of each; `{}` is its number.
        reads: what comes is read.
    """

    label: str
    count: int
    query: str
    reads: bool = True


SUMS: Final = urlencode({"samples": "1", "snapshots": "0", "n": "60", "by": ALL_BY}, safe=",")
EACH: Final = "samples=all&snapshots=0&by=action"
KINDS: Final = (
    Kind("nobody", 0, ""),
    Kind("one, sums", 1, SUMS),
    Kind("16, the same sums", MANY, SUMS),
    Kind("16, sums of 16 kinds", MANY, f"{SUMS}&seconds={{}}"),
    Kind("16 pages", MANY, f"samples=1&n=10&by={ALL_BY}"),
    Kind("one, each sample", 1, EACH),
    Kind("16, each sample", MANY, EACH),
    Kind("16, each sample with its octets, never read", MANY, f"{EACH}&frames=1", reads=False),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was seen.

    Attributes:
        processors: that the service used. `held`: ms of its loop. `memory`: MB.
    """

    label: str
    processors: float
    held: float
    memory: float


class Reader(threading.Thread):
    """One stream; reads what comes until it is ended."""

    def __init__(self, control: Path, query: str, *, reads: bool) -> None:
        super().__init__(name="reader", daemon=True)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(str(control))
        self._reads = reads
        self._query = query

    def run(self) -> None:
        """Read."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = self._socket
        try:
            connection.request("GET", f"/api/v1/live?{self._query}")
            response = connection.getresponse()
            if response.status != http.client.OK:
                print("refused:", response.status, response.read().decode(), file=sys.stderr)
            while self._reads and response.read1(1 << 16):
                pass
        except (OSError, ValueError, http.client.HTTPException):
            return  # it was ended

    def end(self) -> None:
        """Leave, if the service has not ended it."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def measure(service: Service, ticks: Ticks, kind: Kind) -> Row:
    """Look, and see what it costs."""
    readers = [
        Reader(service.control, kind.query.format(number + 5), reads=kind.reads)
        for number in range(kind.count)
    ]
    for reader in readers:
        reader.start()
    time.sleep(SETTLING)
    ticks.reset()
    before = cpu_seconds(service.process.pid)
    most = 0
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        time.sleep(0.5)
        most = max(most, sum(map(pss_bytes, processes_of(service.process.pid))))
    used = (cpu_seconds(service.process.pid) - before) / SECONDS
    held = ticks.longest[1]
    for reader in readers:
        reader.end()
    time.sleep(LEAVING)
    return Row(kind.label, round(used, 3), round(1000 * held, 1), round(most / 1e6, 1))


def table(rows: list[Row]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| who looks | processors of the service | loop held, ms | memory, MB |"
    yield "| --- | --- | --- | --- |"
    for row in rows:
        yield f"| {row.label} | {row.processors:.2f} | {row.held:.1f} | {row.memory:.1f} |"


def main() -> int:
    """Measure every kind and print the table; return the exit status."""
    parser = argparse.ArgumentParser(prog="tests.bench.streams", description=__doc__)
    parser.add_argument("--rate", type=int, default=4_000, help="packets a second (%(default)s)")
    rate = parser.parse_args().rate
    machine = Machine.now()
    with Lab() as lab:
        client, server = lab.pair()
        clock = lab.directory / "ticks"
        ticks = Ticks(clock)
        service = Service(server, command=(PYTHON, "-m", "tests.bench.ticking", str(clock)))
        flood = client.start("flood", PYTHON, "-m", "tests.lab.flooding", server.v4, str(rate))
        flood.line("^flooding$", timeout=30)
        time.sleep(STARTING)
        rows = [measure(service, ticks, kind) for kind in KINDS]
    text = "\n".join([f"{machine.text} {rate:,} packets/s come in.", "", *table(rows)])
    print(text)
    write("bench-streams", machine, rows, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
