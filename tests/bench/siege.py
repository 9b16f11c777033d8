"""The control socket while the TCP listener is besieged; `make bench-siege` (as root).

2,000 connections of four kinds (tests/lab/crowd.py) besiege --listen, once from another
host and once from this one, where they may page through the rules. At the same time `panic` and
`resume` alternate. Printed: milliseconds from connect(2) to the control map's
change, seconds from the start of `xdpctl panic` to it, the most memory (PSS) that the service
had, and the lines that it logged. The crowd runs at the lowest priority, as a real one
would have its own processors.
"""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab import Lab, Service
from tests.lab.hosts import LINKS, PYTHON
from xdpctl.abi import decode_control
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Host
    from tests.lab.process import Process
    from xdpctl.kernel.bpf.maps import Map

COUNT = 2_000
RULES = 100_000
TURNS = 6
STANDS = 240
PAGE = "/api/v1/rules?limit=10000"
_KEY = bytes(4)


@dataclass
class Siege:
    """A service on a server, and a crowd before it."""

    lab: Lab
    service: Service
    client: Host
    near: bool = False
    peak: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def crowd(self, count: int = COUNT, seconds: float = STANDS) -> Iterator[Process]:
        """Let a crowd stand, and watch the service's memory."""
        host = self.service.host if self.near else self.client
        address, path = ("127.0.0.1", PAGE) if self.near else ("192.0.2.53", "/metrics")
        words = ("-m", "tests.lab.crowd", address, "9953", str(count), str(seconds), path)
        crowd = host.start("crowd", "nice", "-n", "19", PYTHON, *words)
        watching = threading.Thread(target=self._watch, name="memory")
        watching.start()
        try:
            crowd.line("standing", timeout=90)
            yield crowd
        finally:
            self._stop.set()
            watching.join()
            crowd.stop()

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self.peak = max(self.peak, megabytes(self.service.process.pid))

    def control(self) -> Map:
        """Open the map with the panic bit, as the service pins it beside its link."""
        (path,) = LINKS.glob(f"{self.service.host.inode}-*:control")
        return Bpf().open_map(path)


def megabytes(pid: int) -> float:
    """Return a process' proportional set size."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) / 1024


@contextmanager
def siege(rules: int = RULES, *, near: bool = False) -> Iterator[Siege]:
    """Give a service with some rules, reachable from another host."""
    with Lab() as lab:
        client, server = lab.pair()
        service = Service(
            server,
            "--listen",
            "127.0.0.1:9953" if near else "0.0.0.0:9953",
            "--maps-size",
            "200000",
        )
        lines = "".join(f"10.{i >> 16 & 255}.{i >> 8 & 255}.{i & 255}\n" for i in range(rules))
        service.verb("import", str(lab.write("rules.txt", lines))).check_returncode()
        yield Siege(lab, service, client, near)


def until(control: Map, *, panic: bool, seconds: float = 30.0) -> float:
    """Wait for the panic bit to be so, without a pause; return when it was."""
    end = time.monotonic() + seconds
    while (now := time.monotonic()) < end:
        if decode_control(control.lookup(_KEY) or bytes(32)) is panic:
            return now
        time.sleep(0.0005)
    raise TimeoutError(f"the panic bit is not {panic} after {seconds:g} s")


def switch(path: Path, verb: str) -> int:
    """Ask over the control socket as a client does; return the status."""
    connection = http.client.HTTPConnection("localhost")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(str(path))
        sock.settimeout(30)
        connection.sock = sock
        connection.request("POST", f"/api/v1/{verb}", b"", {"Connection": "close"})
        return connection.getresponse().status


def measure(site: Siege) -> dict[str, object]:
    """Switch to and fro, first by a connection and then by the verb; return the figures."""
    connected, answered, typed = [], [], []
    with site.control() as control:
        for turn in range(2 * TURNS):
            panic = turn % 2 == 0
            asking = threading.Thread(
                target=switch, args=(site.service.control, "panic" if panic else "resume")
            )
            began = time.monotonic()
            asking.start()
            connected.append(1_000 * (until(control, panic=panic) - began))
            asking.join()
            answered.append(1_000 * (time.monotonic() - began))
            time.sleep(0.2)
        for turn in range(TURNS):
            panic = turn % 2 == 0
            verb = "panic" if panic else "resume"
            words = (PYTHON, "-m", "xdpctl", verb, "--control", str(site.service.control))
            began = time.monotonic()
            process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
            typed.append(until(control, panic=panic) - began)
            process.wait(60)
    return {
        "connect to effect, ms": figures(connected),
        "connect to answer, ms": figures(answered),
        "typing to effect, s": figures(typed),
    }


def figures(values: list[float]) -> dict[str, float]:
    """Return the median and the most."""
    return {"median": round(statistics.median(values), 3), "most": round(max(values), 3)}


def scene(*, near: bool) -> dict[str, object]:
    """Measure at rest and besieged."""
    with siege(near=near) as site:
        document: dict[str, object] = {"at rest": measure(site)}
        before = len(site.service.process.lines)
        with site.crowd():
            try:
                document["besieged"] = measure(site)
            except (TimeoutError, OSError) as error:
                document["besieged"] = f"{type(error).__name__}: {error}"
            time.sleep(5)
        lines = site.service.process.lines[before:]
    return document | {
        "connections": COUNT,
        "memory peak, MB": round(site.peak, 1),
        "log lines": len(lines),
        "the first of them": lines[:8],
    }


def main() -> None:
    """Measure with the crowd on another host, and on this one, where it may page."""
    document = {"from another host": scene(near=False), "from this host": scene(near=True)}
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


if __name__ == "__main__":
    main()
