"""What the service costs: from exec to filtering, memory and CPU at rest, a scrape, a block.

Starts alternate between those that compile and those that find what was compiled. One of
each comes first and is not counted: it leaves Python's own compiled modules behind, which
an installed package brings.
"""

from __future__ import annotations

import shutil
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.memory import processes_of, pss_bytes
from tests.bench.reaction import block_to_drop, first_list_rule_to_drop
from tests.bench.watch import scrape_seconds
from tests.lab import Lab, Service
from xdpctl.program.cache import FOLDER

if TYPE_CHECKING:
    from tests.lab.hosts import Host

STARTS = 5
REST_SECONDS = 20.0
LOOK = 0.001
ATTACHED, READY, AHEAD = " attached ", " ready ", " compiled-ahead "


@dataclass(frozen=True, slots=True)
class Footprint:
    """Medians over the starts.

    Attributes:
        seconds_to_ready: from exec to the line "ready"; `least` and `most` beside it.
        seconds_to_filtering: from exec to the line "attached".
        cached_seconds_to_ready, cached_seconds_to_filtering: with what was compiled kept.
        memory_bytes: sum of PSS, after the service has answered a scrape.
        processes: of the running service, children included.
        cpu_percent: of one core, at rest.
        scrape_ms: to get /metrics, with hardly any rules.
        block_to_drop_ms: from the request to the first packet that does not arrive.
        first_list_rule_ms: the same for the first list rule, whose program is compiled for it.
        first_list_rule_ahead_ms: the same where it was compiled ahead.
    """

    seconds_to_ready: float
    least: float
    most: float
    seconds_to_filtering: float
    cached_seconds_to_ready: float
    cached_seconds_to_filtering: float
    memory_bytes: int
    processes: int
    cpu_percent: float
    scrape_ms: float
    block_to_drop_ms: float
    first_list_rule_ms: float
    first_list_rule_ahead_ms: float

    def rows(self) -> list[tuple[str, str, str]]:
        """Return what is printed: what, figure, goal."""
        return [
            ("exec to filtering, s", f"{self.seconds_to_filtering:.2f}", "0.5"),
            (
                "exec to ready, s",
                f"{self.seconds_to_ready:.2f} ({self.least:.2f}, {self.most:.2f})",
                "",
            ),
            ("cached, to filtering, s", f"{self.cached_seconds_to_filtering:.2f}", "0.3"),
            ("cached, to ready, s", f"{self.cached_seconds_to_ready:.2f}", ""),
            ("memory, MB (sum of PSS)", f"{self.memory_bytes / 1e6:.1f}", "45"),
            ("processes", f"{self.processes}", ""),
            ("CPU at rest, % of a core", f"{self.cpu_percent:.2f}", "0.5"),
            ("a scrape, ms", f"{self.scrape_ms:.1f}", ""),
            ("block to first drop, ms", f"{self.block_to_drop_ms:.1f}", "5"),
            ("the first list rule, ms", f"{self.first_list_rule_ms:.0f}", "2000"),
            ("compiled ahead, ms", f"{self.first_list_rule_ahead_ms:.0f}", "2000"),
        ]


def measure_service() -> Footprint:
    """Start and stop the service, and look at it while it runs."""
    took: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
    memory: list[int] = []
    counts: list[int] = []
    with Lab() as lab:
        client, server = lab.pair()
        for _ in range(STARTS + 1):
            for cached, starts in took.items():
                if not cached:
                    shutil.rmtree(lab.directory / FOLDER, ignore_errors=True)
                service, *seconds = start(server)
                starts.append((seconds[0], seconds[1]))
                service.metrics()
                family = processes_of(service.process.pid)
                memory.append(sum(pss_bytes(pid) for pid in family))
                counts.append(len(family))
                service.stop()
        service, *_ = start(server)
        time.sleep(14)  # what a start leaves to be done, and what is compiled ahead
        cpu = cpu_percent(service.process.pid)
        scrape = scrape_seconds(service)
        reaction = block_to_drop(client, server, service.control)
        service.stop()
        first = {
            ahead: first_list_rules(lab, client, server, ahead=ahead) for ahead in (True, False)
        }
    compiled, kept = took[False][1:], took[True][1:]
    return Footprint(
        seconds_to_ready=statistics.median(ready for _, ready in compiled),
        least=min(ready for _, ready in compiled),
        most=max(ready for _, ready in compiled),
        seconds_to_filtering=statistics.median(attached for attached, _ in compiled),
        cached_seconds_to_ready=statistics.median(ready for _, ready in kept),
        cached_seconds_to_filtering=statistics.median(attached for attached, _ in kept),
        memory_bytes=int(statistics.median(memory)),
        processes=max(counts),
        cpu_percent=cpu,
        scrape_ms=1000 * scrape,
        block_to_drop_ms=1000 * reaction.median,
        first_list_rule_ms=1000 * first[False],
        first_list_rule_ahead_ms=1000 * first[True],
    )


def first_list_rules(lab: Lab, client: Host, server: Host, *, ahead: bool) -> float:
    """Return the median of the seconds that the first list rule takes, over the starts.

    Its programs were compiled ahead, or are compiled for it.
    """
    took = []
    for _ in range(STARTS):
        shutil.rmtree(lab.directory / FOLDER, ignore_errors=True)
        service, *_ = start(server)
        if ahead:
            service.process.until(
                lambda: service.process.text.count(AHEAD) == 2,  # noqa: B023
                "both programs",
                timeout=60,
            )
        took.append(first_list_rule_to_drop(client, server, service.control))
        service.verb("flush", "--yes", "--origin", "list:first")
        service.stop()
    return statistics.median(took)


def start(server: Host) -> tuple[Service, float, float]:
    """Start the service; return it with the seconds to its lines "attached" and "ready"."""
    began = time.monotonic()
    environ = {"PYTHONDONTWRITEBYTECODE": ""}  # empty is unset
    service = Service(server, await_ready=False, environ=environ)
    return service, seen(service, ATTACHED) - began, seen(service, READY) - began


def seen(service: Service, word: str) -> float:
    """Return the moment at which a line with this word was first seen."""
    while word not in (said := service.process.text):
        if service.process.status is not None:
            raise AssertionError(f"the service ended:\n{said}")
        time.sleep(LOOK)
    return time.monotonic()


def cpu_percent(pid: int) -> float:
    """Return how much of one core a process takes, all threads together."""
    before, began = _cpu_seconds(pid), time.monotonic()
    time.sleep(REST_SECONDS)
    return 100 * (_cpu_seconds(pid) - before) / (time.monotonic() - began)


def _cpu_seconds(pid: int) -> float:
    """Return the time on the CPU to the nanosecond; /proc/PID/stat counts in hundredths."""
    threads = Path("/proc", str(pid), "task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
