"""What a service is like while it works: scrapes, its loop, its memory.

Watches it from outside, on threads, and reads the clock in its loop (ticking.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import statistics
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.memory import processes_of, pss_bytes
from tests.bench.ticking import Ticks, tick

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.lab import Service

EVERY = 0.1
"""Seconds between two scrapes, or two looks at the memory."""

SCRAPES = 50


@dataclass(slots=True)
class Strain:
    """What was seen during one piece of work.

    Attributes:
        seconds: it took.
        scrapes, healths: seconds that each answer took.
        late: longest delay of a tick in the service's loop; `idle` the same of a process
            that does nothing, at the same time on the same machine.
        held: longest delay during which the service itself was running.
        memory: highest sum of PSS, in bytes.
    """

    seconds: float = 0.0
    scrapes: list[float] = field(default_factory=list)
    healths: list[float] = field(default_factory=list)
    late: float = 0.0
    held: float = 0.0
    idle: float = 0.0
    memory: int = 0

    def row(self) -> dict[str, float]:
        """Return it as a document, times in milliseconds."""
        return {
            "seconds": round(self.seconds, 3),
            "scrape_max_ms": round(1000 * max(self.scrapes, default=0.0), 2),
            "healthz_max_ms": round(1000 * max(self.healths, default=0.0), 2),
            "loop_held_max_ms": round(1000 * self.held, 2),
            "loop_late_max_ms": round(1000 * self.late, 2),
            "idle_process_late_max_ms": round(1000 * self.idle, 2),
            "memory_max_mb": round(self.memory / 1e6, 1),
        }


class Watch:
    """Watches a service.

    Args:
        service: started through ticking.py.
        ticks: its clock.
        idle: a clock of a process that does nothing.
    """

    def __init__(self, service: Service, ticks: Ticks, idle: Ticks) -> None:
        self.service = service
        self.ticks = ticks
        self.idle = idle

    @contextlib.contextmanager
    def during(self) -> Iterator[Strain]:
        """Watch what is done inside."""
        strain, stop = Strain(), threading.Event()
        looks: list[Callable[[], None]] = [
            lambda: strain.scrapes.append(timed(lambda: self.service.get("/metrics"))),
            lambda: strain.healths.append(timed(self.health)),
            lambda: setattr(strain, "memory", max(strain.memory, self.memory())),
        ]
        threads = [threading.Thread(target=_again, args=(look, stop)) for look in looks]
        self.ticks.reset()
        self.idle.reset()
        for thread in threads:
            thread.start()
        began = time.monotonic()
        try:
            yield strain
        finally:
            strain.seconds = time.monotonic() - began
            stop.set()
            for thread in threads:
                thread.join()
            strain.late, strain.held = self.ticks.longest
            strain.idle, _ = self.idle.longest

    def memory(self) -> int:
        """Return the sum of PSS of the service's processes, in bytes."""
        total = 0
        for pid in processes_of(self.service.process.pid):
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):  # it has ended
                total += pss_bytes(pid)
        return total

    def health(self) -> None:
        """Ask for /healthz on the control socket."""
        ask(self.service.control, "GET", "/healthz")


def ask(control: Path, method: str, path: str, body: bytes | None = None) -> bytes:
    """Send one request to the control socket and return the answer's body."""
    with contextlib.closing(http.client.HTTPConnection("localhost", timeout=600)) as connection:
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(control))
        connection.request(method, path, body)
        response = connection.getresponse()
        data = response.read()
        if response.status != http.HTTPStatus.OK:
            raise AssertionError(f"{method} {path}: {response.status} {data[:300]!r}")
        return data


def scrape_seconds(service: Service) -> float:
    """Return how long a scrape takes, at the median."""
    return statistics.median(timed(lambda: service.get("/metrics")) for _ in range(SCRAPES))


def timed(function: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


def _again(look: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(EVERY):
        look()


def idle(path: Path) -> None:
    """Be a process that does nothing but tick."""
    asyncio.run(tick(Ticks(path)))
