"""Two hosts, a core each, and what is read off while a flood lasts.

Owns the lab of one means and round: the wire, who runs on which core, the flood's sender,
the honest asker and dnsdist, and reading what all of it cost. What drops is means.py's.

    sending core     the flood's sender; before it the honest asker
    receiving core   the interface's NAPI thread, before all else, as interrupts would be;
                     dnsdist; the service

The receiving interface polls in a thread (threaded NAPI), which is how its work gets a core
of its own: over veth it would else be done by the sender.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from tests.bench.drop import sender
from tests.bench.drop.honest import Ear
from tests.bench.drop.search import CoreTimes, missed_packets, percentile
from tests.bench.drop.window import Reading, Window, cpu_clock
from tests.bench.xsk_answers import prefer
from tests.lab import Lab, LabError, Service
from tests.lab.hosts import INTERFACE, PYTHON, ROOT, run
from tests.roots.dnsdist import DnsdistRelease
from xdpctl.kernel.bpf.libbpf import load_library
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab import Host

HONEST_RATE: Final = 2_000
"""Queries a second."""

PATIENCE: Final = 0.1
"""Seconds after the end of a flood in which an answer still counts."""

SOCKET_BUFFER: Final = 4 << 20
"""Octets that dnsdist asks for, the most that most kernels give."""

ANSWER: Final = "192.0.2.80"
CONFIG: Final = f"""
setLocal("192.0.2.53:53")
setACL({{"0.0.0.0/0"}})
setSecurityPollSuffix("")
setUDPSocketBufferSizes({SOCKET_BUFFER}, {SOCKET_BUFFER})
"""
ANSWERING: Final = f"""
addAction(QNameRule("{sender.HONEST_NAME}."), SpoofAction("{ANSWER}"))
"""

_NAPI_PRIORITY: Final = 20


class Partner:
    """A process that answers each line with a line of JSON.

    Args:
        argv: the command.
    """

    def __init__(self, argv: Sequence[str]) -> None:
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,  # niceness is of a session, see `prefer`
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._child.kill()
        self._child.communicate()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._child.pid

    def tell(self, line: str) -> None:
        """Write a line."""
        assert self._child.stdin is not None
        self._child.stdin.write(line + "\n")
        self._child.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Return what it says next."""
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise LabError(f"{self._child.args!r} ended")
        found: dict[str, Any] = json.loads(line)
        return found


@dataclass
class Site:
    """A site that answers honest queries.

    Attributes:
        server: the host that receives. `dnsdist`: on it.
        poll: pid of the NAPI thread. `core`: the receiving one.
        sender: the process that sends. `ear`: what takes the answers.
        random: whether the flood asks for another name each time.
        services: of xdpctl on the server, put there by who installs one.
    """

    server: Host
    dnsdist: DnsdistRelease
    poll: int
    core: int
    sender: Partner
    ear: Ear
    random: bool = False
    services: list[Service] = field(default_factory=list)

    @classmethod
    @contextlib.contextmanager
    def built(cls, rules: str, *, random: bool = False) -> Iterator[Site]:
        """Yield a site; all of it is gone afterwards.

        Args:
            rules: Lua for dnsdist, before the honest rule.
            random: whether the flood asks for another name each time.
        """
        cores = two_cores()
        with contextlib.ExitStack() as stack:
            lab = stack.enter_context(Lab())
            lab.pins.mkdir()
            client, server = lab.pair()
            client.ip("link", "set", INTERFACE, "xdp", "off")
            poll = polling_thread(server)
            dnsdist = DnsdistRelease(server, "sid", CONFIG + rules + ANSWERING, ".lua")
            sending = stack.enter_context(
                Partner(
                    client.command(
                        *(PYTHON, "-m", sender.__name__, INTERFACE, server.v4, mac_of(server))
                    )
                )
            )
            ear = stack.enter_context(contextlib.closing(Ear(client)))
            site = cls(server, dnsdist, poll, cores[1], sending, ear, random)
            sending.answer()
            prefer(sending.pid, cores[0])
            os.sched_setaffinity(poll, {cores[1]})
            os.sched_setscheduler(poll, os.SCHED_FIFO, os.sched_param(_NAPI_PRIORITY))
            site.settle(dnsdist.process.pid)
            yield site

    def settle(self, pid: int) -> None:
        """Give a process the receiving core."""
        prefer(pid, self.core)

    def measure(self, rate: float, seconds: float) -> Window:
        """Ask honestly for so long, while a flood of so many packets a second lasts.

        Args:
            rate: 0 is no flood.
            seconds: that both last.
        """
        self.ear.latencies([])  # late answers of the last run
        before = self._read()
        self.sender.tell(f"{rate} {HONEST_RATE} {seconds} {int(self.random)}")
        flood = self.sender.answer()
        time.sleep(PATIENCE)
        after = self._read()
        latency = self.ear.latencies(flood["honest_ns"])
        return Window(
            offered=rate,
            seconds=flood["seconds"],
            sent=flood["sent"],
            missed=after.missed - before.missed,
            asked=len(flood["honest_ns"]),
            answered=len(latency),
            p50=percentile(latency, 50) if latency else 0.0,
            p99=percentile(latency, 99) if latency else 0.0,
            spent=after.since(before),
            core=after.busy_since(before),
        )

    def program_ns(self, rate: float, seconds: float) -> float | None:
        """Return ns per run of the XDP program during a flood, by the kernel's own count.

        None without a program. The count costs time itself, so nothing else is measured here.
        """
        program = self.server.xdp_id()
        if program is None:
            return None
        with counting_programs():
            before = Bpf().program_info(program)
            self.measure(rate, seconds)
            after = Bpf().program_info(program)
        if not before or not after or after.run_count == before.run_count:
            raise LabError(f"the kernel did not count the runs of program {program}")
        runs = after.run_count - before.run_count
        return (after.run_time_ns - before.run_time_ns) / runs

    def _read(self) -> Reading:
        statistics = self.server.ip("-statistics", "-json", "link", "show", INTERFACE)
        return Reading(
            moment=time.monotonic(),
            missed=missed_packets(statistics),
            poll=cpu_clock(self.poll),
            dnsdist=cpu_clock(self.dnsdist.process.pid),
            service=sum(cpu_clock(service.process.pid) for service in self.services),
            core=CoreTimes.parse(Path("/proc/stat").read_text(), self.core),
        )


def two_cores() -> tuple[int, int]:
    """Return the sending core and the receiving one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise LabError("a flood takes two CPUs, one that sends and one that receives; here is one")
    return usable[0], usable[1]


@contextlib.contextmanager
def counting_programs() -> Iterator[None]:
    """Have the kernel count time and runs of BPF programs, as kernel.bpf_stats_enabled does."""
    fd = load_library().bpf_enable_stats(0)
    if fd < 0:
        raise LabError(f"bpf_enable_stats: {os.strerror(-fd)}")
    try:
        yield
    finally:
        os.close(fd)


def mac_of(host: Host) -> str:
    """Return the address of a host's interface, twelve hexadecimal digits."""
    (link,) = json.loads(host.ip("-json", "link", "show", INTERFACE))
    return str(link["address"]).replace(":", "")


def polling_thread(host: Host) -> int:
    """Have a host's interface polled by a thread, with or without XDP; return its pid."""
    before = set(_polling_threads())
    host.run("ethtool", "-K", INTERFACE, "gro", "on")  # NAPI also without a program
    # its own /sys is what shows this namespace's interfaces
    enable = f"echo 1 > /sys/class/net/{INTERFACE}/threaded"
    run(["ip", "netns", "exec", host.name, "sh", "-c", enable])
    (pid,) = set(_polling_threads()) - before
    return pid


def _polling_threads() -> Iterator[int]:
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "comm").read_text().startswith("napi/"):
                yield int(process.name)
