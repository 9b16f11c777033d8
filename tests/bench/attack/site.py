"""Two hosts, a core each, one defence, and one trial after the other.

sending core     the attack's sender, the honest asker, the Unbounds
receiving core   the server's interface (threaded NAPI, before all else, as interrupts
                 would be), the server, what defends it
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.bench.attack import honest, sender
from tests.bench.attack.attacks import QUIET, RESOLVERS, ZONE
from tests.bench.attack.outcome import Trial
from tests.bench.drop.search import CoreTimes
from tests.bench.drop.site import Partner, mac_of, polling_thread, two_cores
from tests.bench.live import attach, compile_file
from tests.bench.xsk_answers import prefer
from tests.lab import Lab
from tests.lab.hosts import INTERFACE, PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.attack.attacks import Attack
    from tests.bench.attack.defences import Defence, Stand
    from tests.lab import Host

PEACE: Final = 2.0
"""Seconds of honest questions before an attack begins."""

ATTACK: Final = 10.0
"""Seconds that it lasts; honest questions end with it."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_NAPI_PRIORITY: Final = 20
_UNBOUND: Final = """\
server:
    interface: 127.0.0.1@{port}
    outgoing-interface: {source}
    access-control: 127.0.0.0/8 allow
    directory: "{directory}"
    pidfile: ""
    username: ""
    chroot: ""
    use-syslog: no
    logfile: ""
    do-daemonize: no
    do-not-query-localhost: no
    module-config: "iterator"
    num-threads: 1
    outgoing-range: 4096
    num-queries-per-thread: 2048
    outgoing-num-tcp: 200
    infra-host-ttl: 1
    qname-minimisation: no
remote-control:
    control-enable: no
stub-zone:
    name: "{zone}"
    stub-addr: {server}
    stub-no-cache: yes
"""


@dataclass
class Site:
    """A defended server, and everybody who sends to it.

    Attributes:
        server: the host that receives. `stand`: what is on it.
        core: the receiving one.
        attacker, asker: the processes on the sending core.
    """

    server: Host
    stand: Stand
    core: int
    attacker: Partner
    asker: Partner

    @classmethod
    @contextlib.contextmanager
    def built(cls, defence: Defence) -> Iterator[Site]:
        """Yield a site; all of it is gone afterwards."""
        cores = two_cores()
        with contextlib.ExitStack() as stack:
            lab = stack.enter_context(Lab())
            lab.pins.mkdir()
            client, server = lab.pair()
            _give_addresses(client, server)
            attach(client, INTERFACE, compile_file(Path(__file__).with_name("wall.bpf.c"), "wall"))
            for host, core in zip((client, server), cores, strict=True):
                poll = polling_thread(host)
                os.sched_setaffinity(poll, {core})
                if host is server:
                    os.sched_setscheduler(poll, os.SCHED_FIFO, os.sched_param(_NAPI_PRIORITY))
            stand = defence.install(server)
            for pid in stand.pids:
                prefer(pid, cores[1])
            _start_unbounds(client, server, cores[0])
            words = (PYTHON, "-m", sender.__name__, INTERFACE, server.v4, mac_of(server))
            attacker = stack.enter_context(Partner(client.command(*words)))
            asker = stack.enter_context(
                Partner(client.command(PYTHON, "-m", honest.__name__, server.v4))
            )
            for partner in (attacker, asker):
                partner.answer()
            os.sched_setaffinity(attacker.pid, {cores[0]})
            prefer(asker.pid, cores[0])
            yield cls(server, stand, cores[1], attacker, asker)

    def trial(self, attack: Attack | None, rate: float, seed: int) -> Trial:
        """Ask honestly, attack meanwhile, and say what it came to.

        Args:
            attack: None is peace.
            rate: packets a second, before the attack's own share of it.
            seed: of who asks when.
        """
        seconds = PEACE + ATTACK
        relayed = attack.relayed if attack else 0
        self.asker.tell(json.dumps({"seconds": seconds, "seed": seed, "relayed": relayed}))
        time.sleep(PEACE)
        began = time.time()
        before = self._read()
        sent: dict[str, Any] = {"sent": 0}
        if attack:
            told = {"attack": attack.key, "rate": rate * attack.rate, "seconds": ATTACK}
            self.attacker.tell(json.dumps(told))
            sent = self.attacker.answer()
        else:
            time.sleep(ATTACK)
        after = self._read()
        heard = self.asker.answer()
        start = began - heard["began"]
        return Trial.of(
            heard["questions"],
            start=start,
            seconds=ATTACK,
            sent=sent["sent"],
            reached=after[0] - before[0],
            busy=after[1] - before[1],
            connections=heard["connections"],
        )

    def _read(self) -> tuple[int, float]:
        """Return queries that reached the server, and seconds that its core was busy."""
        times = CoreTimes.parse(Path("/proc/stat").read_text(), self.core)
        return self.stand.reached(), time.monotonic() - times.rest / _TICKS


def _give_addresses(client: Host, server: Host) -> None:
    """Make all honest addresses the client's own, and the way to everybody lead there."""
    for network in (str(QUIET), "198.19.0.0/16"):
        client.ip("route", "add", "local", network, "dev", "lo")
    client.ip("route", "add", "default", "via", server.v4)
    server.ip("route", "add", "default", "via", client.v4)
    (link,) = json.loads(client.ip("-json", "link", "show", INTERFACE))
    server.ip("neighbour", "replace", client.v4, "lladdr", link["address"], "dev", INTERFACE)
    for host in (client, server):
        for key in ("net.ipv4.conf.all.rp_filter=0", f"net.ipv4.conf.{INTERFACE}.rp_filter=0"):
            host.run("sysctl", "-qw", key)
    server.run("sysctl", "-qw", "net.core.somaxconn=4096", "net.ipv4.tcp_max_syn_backlog=8192")


def _start_unbounds(client: Host, server: Host, core: int) -> None:
    started = []
    for number in range(honest.UNBOUNDS):
        text = _UNBOUND.format(
            port=honest.PORT + 1 + number,
            source=RESOLVERS[number],
            directory=client.lab.directory,
            server=server.v4,
            zone=ZONE,
        )
        config = client.lab.write(f"unbound-{number}.conf", text)
        started.append(client.start("unbound", "unbound", "-d", "-c", str(config)))
    for process in started:
        process.line("start of service")
        prefer(process.pid, core)
