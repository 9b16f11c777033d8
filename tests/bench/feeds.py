"""`make bench-feeds`: zone transfers from real primaries into a running service.

A million records by AXFR with TSIG from BIND: seconds from the reload that adds the list until it
is in force, and the memory of the processes that do it. A thousand changes by IXFR from Knot and
from BIND: seconds from `nsupdate` to the first packet that is dropped; of these Knot 3.2 waits one
before it sends a NOTIFY. A first list of 100,000 dynamic blocks of dnsdist: seconds until it is in
force, of which a poll's wait is up to one. The loop's clock runs throughout.
Prints a table with the goal beside each figure, and writes it, and JSON.

    python -m tests.bench.feeds [--records 1000000] [--changes 1000] [--blocks 100000]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import statistics
import struct
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.bench import blocks
from tests.bench.machine import Machine
from tests.bench.memory import processes_of
from tests.bench.report import RAW, table_path, write_raw, write_table
from tests.bench.ticking import Ticks
from tests.bench.watch import ask
from tests.lab import Lab, Responder, Service, eventually
from tests.lab.hosts import PYTHON
from tests.lab.primaries import Software, on_host, start_primary

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Host
    from tests.lab.primaries import ZonePrimary

BLOCKED: Final = "198.51.100.66"
"""The client's address that the last change is about."""

TRIGGER: Final = "32.66.100.51.198.rpz-client-ip"
NOTIFY_PORT: Final = 5300
ROUNDS: Final = 5
LOOK: Final = 0.1
"""Seconds between two looks at the service."""

APART: Final = 1.5
"""Seconds before a change: a zone is asked for at most once a second."""

GOALS: Final = {"xdpctl.feeds.zone": "100", "xdpctl.store.worker": "100"}
"""Megabytes of the processes that do the work."""

PACE: Final = 0.001
"""Seconds between two queries."""

MEANTIME: Final = 50_000
"""Records of the zone that is changed, beside the changes."""

SETTINGS: Final = f'notify-listen = "127.0.0.1:{NOTIFY_PORT}"\n'
FIRST: Final = "first.example\n203.0.113.1\n"
"""A list from before, so that the program with lists is there: it is compiled once a host."""

LIST: Final = """\
[[list]]
zone = "{zone}"
primary = ["{address}:{primary_port}"]
key-file = "{key}"
refresh = "30s"
max-shrink = "100%"
"""


@dataclass
class Peaks:
    """What each process took, by what it runs.

    Attributes:
        found: the most resident memory, in bytes.
        used: CPU seconds, since the first look at it.
    """

    found: dict[str, int] = field(default_factory=dict)
    used: dict[str, float] = field(default_factory=dict)
    _before: dict[str, float] = field(default_factory=dict)

    def look(self, pid: int) -> None:
        """Look at a process and all that descend from it."""
        for process in processes_of(pid):
            with contextlib.suppress(OSError):
                folder = Path("/proc", str(process))
                words = (folder / "cmdline").read_bytes().decode().split("\0")
                status = (folder / "status").read_text().partition("VmHWM:")[2].split()
                name = words[words.index("-m") + 1] if "-m" in words else words[0]
                times = (folder / "stat").read_text().rpartition(")")[2].split()[11:13]
                seconds = sum(map(int, times)) / os.sysconf("SC_CLK_TCK")
                self._before.setdefault(name, seconds)
                self.used[name] = max(self.used.get(name, 0.0), seconds - self._before[name])
                if status:
                    peak = int(status[0]) * 1024
                    self.found[name] = max(self.found.get(name, 0), peak)

    @contextlib.contextmanager
    def during(self, pid: int) -> Iterator[None]:
        """Look again and again."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(LOOK):
                self.look(pid)

        thread = threading.Thread(target=look, name="peaks")
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()


class Feed:
    """A service without a list, a primary beside it, and a client."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client, self.server = lab.pair()
        Responder(self.server, "198.51.100.53")
        clock = lab.directory / "ticks"
        self.ticks = Ticks(clock)
        self.config = lab.write("feed.toml", SETTINGS)
        self.service = Service(
            self.server,
            "--config",
            str(self.config),
            command=(PYTHON, "-m", "tests.bench.ticking", str(clock)),
        )
        self.peaks = Peaks()
        first = str(lab.write("first", FIRST))
        self.service.verb("import", first, "--origin", "list:first").check_returncode()

    def follow(self, primary: ZonePrimary) -> None:
        """Have the service follow a primary's zone."""
        self.config.write_text(
            SETTINGS
            + LIST.format(
                zone=primary.zone,
                address=primary.address,
                primary_port=primary.port,
                key=primary.key_file,
            )
        )
        self.service.process.send(signal.SIGHUP)

    def held(self) -> float:
        """Return the longest time that the service held its loop, in ms, since the last reset."""
        return round(1000 * self.ticks.longest[1], 2)

    def list(self) -> dict[str, Any]:
        """Return what is known of the list."""
        lists = json.loads(ask(self.service.control, "GET", "/api/v1/lists"))["lists"]
        return dict(lists[0]) if lists else {}

    def in_force(self, serial: int, seconds: float = 120.0) -> dict[str, Any]:
        """Wait until a version is in force; look seldom, for each look costs the service time."""
        end = time.monotonic() + seconds
        while (found := self.list()).get("serial") != serial:
            if time.monotonic() > end:
                raise TimeoutError(f"serial {serial} is not in force: {found}")
            time.sleep(LOOK)
        return found


def names(count: int) -> Iterator[str]:
    """Yield records, all drops by name."""
    return (f"host{number}.zone{number % 977}.example CNAME ." for number in range(count))


def whole(records: int) -> dict[str, object]:
    """Transfer a large zone whole, from BIND."""
    with Lab() as lab:
        feed = Feed(lab)
        primary = start_primary(
            Software.BIND,
            on_host(feed.server),
            zone="large.rpz.example",
            records=names(records),
            port=5353,
            timeout=120.0,
        )
        feed.ticks.reset()
        with feed.peaks.during(feed.service.process.pid):
            began = time.monotonic()
            feed.follow(primary)
            found = feed.in_force(1)
            seconds = time.monotonic() - began
        print(f"  {records:,} records: {seconds:.1f} s", flush=True)
        return {
            "records": records,
            "rules": found["rules"],
            "seconds": round(seconds, 2),
            "peaks_mb": {name: round(peak / 1e6, 1) for name, peak in feed.peaks.found.items()},
            "cpu_seconds": {name: round(used, 2) for name, used in feed.peaks.used.items()},
            "loop_held_max_ms": feed.held(),
        }


def changes(software: Software, count: int, *, hurried: bool = False) -> dict[str, object]:
    """Make changes at a primary, several times, and see when the first packet is dropped.

    Args:
        software: of the primary.
        count: of changes.
        hurried: `knotc zone-notify` follows each update, for Knot waits before a NOTIFY.
    """
    with Lab() as lab:
        feed = Feed(lab)
        primary = start_primary(
            software,
            on_host(feed.server),
            zone="quick.rpz.example",
            records=names(MEANTIME),
            port=5353,
            notify=[("127.0.0.1", NOTIFY_PORT)],
        )
        feed.follow(primary)
        feed.in_force(1)
        took, serial = [], 1
        feed.ticks.reset()
        for turn in range(ROUNDS):
            owners = [f"new{number}.turn{turn}.example" for number in range(count - 1)]
            records = [f"{owner}.{primary.zone} 60 CNAME ." for owner in (*owners, TRIGGER)]
            time.sleep(APART)
            with Stream(feed.client) as stream:
                began = time.monotonic()
                primary.update(*(f"add {record}" for record in records))
                answered = time.monotonic() - began
                if hurried:
                    primary.notify_now()
                took.append(stream.first_lost() - began)
            print(f"  {software}: {took[-1]:.2f} s ({answered:.2f} nsupdate)", flush=True)
            serial += 1
            feed.in_force(serial)
            primary.update(*(f"delete {record}" for record in records))
            serial += 1
            feed.in_force(serial)
        return {
            "software": f"{software} with knotc zone-notify" if hurried else software,
            "changes": count,
            "median_seconds": round(statistics.median(took), 3),
            "most_seconds": round(max(took), 3),
            "loop_held_max_ms": feed.held(),
        }


class Stream:
    """Queries from one address at a steady pace, until one is not answered any more."""

    def __init__(self, client: Host) -> None:
        self._socket = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((BLOCKED, 0))
        self._socket.connect(("198.51.100.53", 53))
        self._socket.settimeout(0)
        self._sent: list[float] = []
        self._answered = -1
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="stream")

    def __enter__(self) -> Self:
        self._thread.start()
        eventually(lambda: self._answered >= 0, "an answer before the change")
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        question = b"\3www\7example\0\0\1\0\1"
        while not self._stop.wait(PACE):
            number = len(self._sent)
            self._sent.append(time.monotonic())
            head = struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0)
            with contextlib.suppress(BlockingIOError):
                self._socket.send(head + question)
            with contextlib.suppress(BlockingIOError):
                while True:
                    back = int.from_bytes(self._socket.recv(512)[:2], "big")
                    self._answered = number - ((number - back) & 0xFFFF)

    def first_lost(self, quiet: float = 0.5, timeout: float = 30.0) -> float:
        """Return when the first query was sent that no answer came to, nor to a later one."""

        def lost() -> float | None:
            answered, number = self._answered, len(self._sent)
            if number <= answered + 1 or time.monotonic() - self._sent[answered + 1] < quiet:
                return None
            return self._sent[answered + 1]

        return eventually(lost, "a query that is dropped", timeout)


def rows(
    large: dict[str, Any], each: list[dict[str, Any]], first: dict[str, float]
) -> Iterator[tuple[str, float, str, str]]:
    """Yield what is printed: what, figure, unit, goal."""
    number = f"{large['records']:,} records, AXFR with TSIG from BIND"
    yield f"{number}, to in force", large["seconds"], "s", "15"
    for name, peak in large["peaks_mb"].items():
        short = name.rpartition("/")[2]
        yield f"`{short}`: most memory (RSS)", peak, "MB", GOALS.get(name, "")
        yield f"`{short}`: CPU time", large["cpu_seconds"][name], "s", ""
    yield "loop held meanwhile, most", large["loop_held_max_ms"], "ms", "20"
    for quick in each:
        what = f"{quick['changes']:,} changes, IXFR from {quick['software']}"
        what += ": nsupdate to the first drop"
        yield f"{what}, median", quick["median_seconds"], "s", "1"
        yield f"{what}, most", quick["most_seconds"], "s", ""
        yield "loop held meanwhile, most", quick["loop_held_max_ms"], "ms", "20"
    yield f"{first['blocks']:,} dynamic blocks, to in force", first["seconds"], "s", "5"
    yield "loop held meanwhile, most", first["loop_held_max_ms"], "ms", "20"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="Zone transfers into a running service.")
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--changes", type=int, default=1_000)
    parser.add_argument("--blocks", type=int, default=100_000)
    arguments = parser.parse_args()
    machine = Machine.now()
    large = whole(arguments.records)
    each = [changes(software, arguments.changes) for software in (Software.KNOT, Software.BIND)]
    each.append(changes(Software.KNOT, arguments.changes, hurried=True))
    first = blocks.measure(arguments.blocks)
    lines = ["| what | figure | goal |", "| --- | ---: | ---: |"]
    for what, figure, unit, goal in rows(large, each, first):
        lines.append(f"| {what} | {figure:.2f} {unit} | {goal} |")
    found = {"large": large, "quick": each, "first": first}
    text = "\n".join([machine.text, "", *lines]) + "\n"
    print(text)
    write_table("bench-feeds", machine, text)
    write_raw("bench-feeds", json.dumps(found, indent=2) + "\n", RAW)
    print(f"written to {table_path(machine)}")


if __name__ == "__main__":
    main()
