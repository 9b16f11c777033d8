"""Two hosts, a core each, one defence, and one trial after the other.

sending core     the attack's sender, the honest asker, the Unbounds
receiving core   the server's interface, the server, what defends it

What is measured is a defence, so the arena itself shall lose nothing. Both interfaces are
polled by threads before all else, as interrupts would be; the asker and the Unbounds come
next. What finds the ring of a veth full (256 frames; cards have more) waits in a queue of its
own as long as it is honest, or an answer (`_give_queues`). The attack's packets do not wait:
those that are lost there are counted. Sockets have room for 4 MiB, for every server, as
their manuals advise; a packet takes as much of it whoever sent it.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.attack import honest, sender
from tests.bench.attack.attacks import QUIET, RESOLVERS, ZONE
from tests.bench.attack.outcome import Trial
from tests.bench.drop.search import CoreTimes, missed_packets
from tests.bench.drop.site import Partner, mac_of, polling_thread, two_cores
from tests.bench.live import attach, compile_file
from tests.bench.xsk_answers import prefer
from tests.lab import Lab
from tests.lab.hosts import INTERFACE, PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.bench.attack.attacks import Attack
    from tests.bench.attack.defences import Defence, Stand
    from tests.lab import Host

PEACE: Final = 2.0
"""Seconds of honest questions before an attack begins."""

ATTACK: Final = 10.0
"""Seconds that it lasts; honest questions end with it."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_NAPI_PRIORITY: Final = 20
_ASKER_PRIORITY: Final = 10
_ROOM: Final = Path("/proc/sys/net/core/rmem_default")
_ROOM_SIZE: Final = 4 << 20
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
    outgoing-port-avoid: 6144-10239
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
        client: the host that sends. `server`: the one that receives. `stand`: what is on it.
        core: the receiving one.
        attacker, asker: the processes on the sending core.
    """

    client: Host
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
            stack.enter_context(_much_room())
            lab = stack.enter_context(Lab())
            lab.pins.mkdir()
            client, server = lab.pair()
            _give_addresses(client, server)
            _give_queues(client, server)
            attach(client, INTERFACE, compile_file(Path(__file__).with_name("wall.bpf.c"), "wall"))
            for host, core in zip((client, server), cores, strict=True):
                _put(polling_thread(host), core, _NAPI_PRIORITY)
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
            _put(asker.pid, cores[0], _ASKER_PRIORITY)
            prefer(attacker.pid, cores[0])
            yield cls(client, server, stand, cores[1], attacker, asker)

    def trial(self, attack: Attack, rate: float, seed: int) -> Trial:
        """Ask honestly, attack meanwhile, and say what it came to.

        Args:
            attack: one of attacks.py.
            rate: packets a second, before the attack's own share of it.
            seed: of who asks when.
        """
        asked = {"seconds": PEACE + ATTACK, "seed": seed, "relayed": attack.relayed}
        self.asker.tell(json.dumps(asked))
        time.sleep(PEACE)
        told = {"attack": attack.key, "rate": rate * attack.rate, "seconds": ATTACK}

        def attacked() -> int:
            self.attacker.tell(json.dumps(told))
            return int(self.attacker.answer()["sent"])

        return self._trial(attacked, ATTACK)

    def calm(self, seconds: float, speed: float, seed: int) -> Trial:
        """Ask honestly for so long, so many times as fast as in an attack."""
        asked = {"seconds": seconds, "seed": seed, "relayed": 0, "speed": speed}
        self.asker.tell(json.dumps(asked))

        def waited() -> int:
            time.sleep(seconds)
            return 0

        return self._trial(waited, seconds, calm=True)

    def _trial(self, act: Callable[[], int], seconds: float, *, calm: bool = False) -> Trial:
        began = time.time()
        before = self._read()
        sent = act()
        after = self._read()
        heard = self.asker.answer()
        return Trial.of(
            heard["questions"],
            start=0.0 if calm else began - heard["began"],
            seconds=seconds,
            sent=sent,
            lost=after.lost - before.lost,
            reached=after.reached - before.reached,
            busy=after.busy - before.busy,
            connections=heard["connections"],
            calm=calm,
        )

    def _read(self) -> _Reading:
        statistics = self.server.ip("-statistics", "-json", "link", "show", INTERFACE)
        times = CoreTimes.parse(Path("/proc/stat").read_text(), self.core)
        return _Reading(
            reached=self.stand.reached(),
            lost=missed_packets(statistics),
            busy=time.monotonic() - times.rest / _TICKS,
        )


@dataclass(frozen=True, slots=True)
class _Reading:
    """Counters at one moment.

    Attributes:
        reached: queries over UDP that reached the server.
        lost: packets that the server's interface had no room for.
        busy: seconds that the receiving core was busy, from any beginning.
    """

    reached: int
    lost: int
    busy: float


@contextlib.contextmanager
def _much_room() -> Iterator[None]:
    """Have every socket that is made meanwhile take 4 MiB; the kernel has one such number."""
    usual = _ROOM.read_text()
    _ROOM.write_text(str(_ROOM_SIZE))
    try:
        yield
    finally:
        _ROOM.write_text(usual)


def _give_queues(*hosts: Host) -> None:
    """Have packets of sockets wait for room in the ring, which veth does from Linux 6.16 on.

    What a program redirects, as the attack's sender does, never waits. The MTU is what makes
    an honest packet as large in memory as one of the attack (honest.py, `_send`).
    """
    for host in hosts:
        host.ip("link", "set", INTERFACE, "mtu", "2000")
        host.run("ethtool", "-K", INTERFACE, "sg", "off")
        host.run("tc", "qdisc", "replace", "dev", INTERFACE, "root", "pfifo", "limit", "1000")


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
        _put(process.pid, core, _ASKER_PRIORITY)


def _put(pid: int, core: int, priority: int) -> None:
    """Bind all threads of a process to a core, where they run at once and until they wait."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {core})
        os.sched_setscheduler(int(task.name), os.SCHED_FIFO, os.sched_param(priority))
