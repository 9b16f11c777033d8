"""dnsdist's answers by three ways in: no XDP, behind the filter, over AF_XDP behind it.

Owns one site a way and round (a lab with the service, a real dnsdist that answers REFUSED
to everything, and kxdpgun on the other end of the veth), and what is read off while
kxdpgun sends. Does not sum up or print: xsk.py does.

dnsdist has one core to itself and kxdpgun another, both before everybody else's work.
The path of a query up to the socket, filter included, runs in kxdpgun's system calls, and
the path of an answer in dnsdist's: that is how veth works, and it is the same on all
three ways.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import time
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab import Lab, LabError, Service, eventually
from tests.lab.hosts import INTERFACE
from tests.net.xsk_site import V4, await_destinations, redirects_by_queue
from tests.roots.dnsdist import DnsdistRelease

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab import Host
    from tests.roots.roots import Release

SECONDS: Final = 3
"""For which kxdpgun sends at one rate; it listens for two more."""

NAMES: Final = 1000
QUIET: Final = 0.1
"""The share of this machine's CPUs that others may use as a window begins …"""

PATIENCE: Final = 5.0
"""… or this many seconds have gone by in waiting for it."""

_NICE: Final = -19
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_ATTEMPTS: Final = 5

_REFUSING: Final = """
addAction(AllRule(), RCodeAction(DNSRCode.REFUSED))
setACL({"0.0.0.0/0"})
setSecurityPollSuffix("")
"""
_LISTENING: Final = f'addLocal("{V4}")\n'
_LISTENING_XSK: Final = f"""
xsk = newXsk({{ifName="{INTERFACE}", NIC_queue_id=0, frameNums=65536,
              xskMapPath="/sys/fs/bpf/dnsdist/xskmap"}})
addLocal("{V4}", {{xskSocket=xsk}})
"""


class Way(Enum):
    """How a query gets to dnsdist."""

    FLOOR = "kernel's socket, no XDP program"
    SOCKET = "kernel's socket, xdpctl"
    XSK = "AF_XDP, xdpctl --xsk"


@dataclass(frozen=True, slots=True)
class Window:
    """One run of kxdpgun at one rate.

    Attributes:
        way: of the queries. `round`: from 0. `offered`: queries/s asked of kxdpgun.
        sent: queries. `received`: answers that kxdpgun took.
        answered: answers that reached kxdpgun's interface; it may lose some itself.
        dnsdist_seconds: CPU time of dnsdist, delivery of its answers included.
        sender_seconds: CPU time of kxdpgun, delivery of its queries included.
        others: share of all CPUs that everything else used.
    """

    way: Way
    round: int
    offered: int
    sent: int
    received: int
    answered: int
    dnsdist_seconds: float
    sender_seconds: float
    others: float

    @property
    def answers_per_second(self) -> float:
        """Answers that came back."""
        return self.received / SECONDS

    @property
    def loss(self) -> float:
        """Share of the queries that no answer came back to."""
        return 1 - self.received / self.sent

    @property
    def cpu_per_million(self) -> float:
        """CPU seconds of dnsdist for a million answers that it gave."""
        return self.dnsdist_seconds / self.answered * 1e6


class Site:
    """A client with kxdpgun, a server with dnsdist, one way between them.

    Args:
        client: who asks.
        server: where dnsdist runs.
        dnsdist: that answers.
        way: of the queries.
        core: of kxdpgun.
    """

    def __init__(
        self, client: Host, server: Host, dnsdist: DnsdistRelease, way: Way, core: int
    ) -> None:
        self.client = client
        self.server = server
        self.dnsdist = dnsdist
        self.way = way
        self._core = core
        lines = (f"host{number}.example.com. A\n" for number in range(NAMES))
        self._queries = client.lab.write("queries", "".join(lines))

    @classmethod
    @contextlib.contextmanager
    def built(cls, way: Way, release: Release) -> Iterator[Site]:
        """Yield a site that answers; all of it is gone afterwards."""
        sender_core, dnsdist_core = two_cores()
        with Lab() as lab:
            client, server = lab.pair()
            client.ip("link", "set", INTERFACE, "xdp", "off")  # kxdpgun brings its own
            if way is Way.FLOOR:
                lab.pins.mkdir()
            else:
                options = ("--xsk", "--number-of-queues", "1") if way is Way.XSK else ()
                Service(server, *options)
            listening = _LISTENING_XSK if way is Way.XSK else _LISTENING
            dnsdist = DnsdistRelease(server, release, _REFUSING + listening, ".lua")
            if way is Way.XSK:
                await_destinations(lab, V4)
            if (server.xdp() is None) != (way is Way.FLOOR):
                raise LabError(f"{way.value}: the XDP program is {server.xdp()}")
            client.run("ping", "-c", "1", server.v4)  # kxdpgun reads the neighbour table
            site = cls(client, server, dnsdist, way, sender_core)
            site.send(20_000, seconds=1)  # dnsdist has all its threads
            prefer(dnsdist.process.pid, dnsdist_core)
            yield site

    def measure(self, number: int, offered: int) -> Window:
        """Send at a rate and see what comes of it.

        Args:
            number: of the round.
            offered: queries/s.
        """
        await_quiet()
        redirected, answered = self._redirected(), self._answered()
        dnsdist, children = cpu_seconds(self.dnsdist.process.pid), children_seconds()
        before = machine_seconds()
        sent, received = self.send(offered)
        busy, total = (now - then for now, then in zip(machine_seconds(), before, strict=True))
        children = children_seconds() - children
        dnsdist = cpu_seconds(self.dnsdist.process.pid) - dnsdist
        redirected = self._redirected() - redirected
        answered = self._answered() - answered
        if redirected < received if self.way is Way.XSK else redirected:
            raise LabError(f"{self.way.value}: {received} answers, {redirected} redirected")
        return Window(
            way=self.way,
            round=number,
            offered=offered,
            sent=sent,
            received=received,
            answered=answered,
            dnsdist_seconds=dnsdist,
            sender_seconds=children,
            others=max(0.0, (busy - dnsdist - children) / total),
        )

    def send(self, rate: int, *, seconds: int = SECONDS) -> tuple[int, int]:
        """Run kxdpgun once; return queries sent and answers received, all of them REFUSED."""
        argv = ["kxdpgun", "-F", str(self._core), "-t", str(seconds), "-Q", str(rate)]
        command = self.client.command(*argv, "-i", str(self._queries), self.server.v4)
        for _ in range(_ATTEMPTS):
            process = self.client.lab.start("kxdpgun", command)
            prefer(process.pid, self._core)
            if process.wait(seconds + 20) == 0:
                break
            time.sleep(0.5)  # "busy": the kernel has not quite let go of the last one's socket
        said = process.text
        sent, received, refused = (
            int(found[1]) if (found := re.search(rf"{what}:\s+(\d+)", said)) else -1
            for what in ("total queries", "total replies", "responded REFUSED")
        )
        if sent <= 0 or received <= 0 or refused != received:
            raise LabError(f"{self.way.value}: kxdpgun said\n{said}\ndnsdist said\n{self._said()}")
        return sent, received

    def _said(self) -> str:
        return self.dnsdist.process.text[-2000:]

    def _redirected(self) -> int:
        """Return how many packets the driver took to AF_XDP sockets."""
        if self.way is Way.FLOOR:
            return 0
        return sum(redirects_by_queue(self.server))

    def _answered(self) -> int:
        said = self.server.ip("-statistics", "link", "show", INTERFACE)
        found = re.search(r"TX:.*\n\s*\d+\s+(\d+)", said)
        if not found:
            raise LabError(f"ip says nothing of sent packets:\n{said}")
        return int(found[1])


def rounds(release: Release, count: int, rates: Sequence[int]) -> Iterator[Window]:
    """Yield every window of so many rounds; each round begins with another way."""
    ways = list(Way)
    for number in range(count):
        turn = number % len(ways)
        for way in ways[turn:] + ways[:turn]:
            with Site.built(way, release) as site:
                for rate in rates:
                    yield site.measure(number, rate)


def two_cores() -> tuple[int, int]:
    """Return the cores of kxdpgun and of dnsdist."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise LabError(
            "comparing ways to dnsdist takes two CPUs, one for the client; this machine has one"
        )
    return usable[0], usable[1]


def prefer(pid: int, core: int) -> None:
    """Bind all threads of a process to a core, and put it before everybody else's work there.

    Where the kernel makes a group of each session (CONFIG_SCHED_AUTOGROUP), niceness counts
    within the group only, and the group has one of its own; every process of a lab is a session.
    """
    process = Path("/proc", str(pid))
    for task in (process / "task").iterdir():
        os.sched_setaffinity(int(task.name), {core})
        os.setpriority(os.PRIO_PROCESS, int(task.name), _NICE)
    with contextlib.suppress(FileNotFoundError):
        (process / "autogroup").write_text(str(_NICE))


def await_quiet() -> None:
    """Wait until others use little of this machine; go on after a while all the same."""

    def quiet() -> bool:
        before = machine_seconds()
        time.sleep(0.5)
        busy, total = (now - then for now, then in zip(machine_seconds(), before, strict=True))
        return busy < QUIET * total

    with contextlib.suppress(LabError):
        eventually(quiet, "a quiet machine", PATIENCE)


def cpu_seconds(pid: int) -> float:
    """Return a process's CPU time, user and system."""
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def children_seconds() -> float:
    """Return the CPU time of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def machine_seconds() -> tuple[float, float]:
    """Return the time that all CPUs were busy since the boot, and the whole."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, idle, waiting, *rest = map(int, first.split()[1:9])
    busy = user + nice + system + sum(rest)
    return busy / _TICKS, (busy + idle + waiting) / _TICKS
