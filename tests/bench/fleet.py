"""`make bench-fleet HOSTS=20`: one change, and how long it takes to the last of many hosts.

    BIND ──> a secondary ──> HOSTS services, each in a network namespace with a card of its own

Once with Knot as the secondary, once with BIND. All namespaces hang on one bridge. Every host is
asked at a steady pace from the address that the change is about; where the filter lets a query
pass, the kernel answers that nothing listens there, so the last such answer says when the host's
card began to drop. Prints a table and writes it.

    python -m tests.bench.fleet [--hosts 20] [--changes 5]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import statistics
import threading
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.bench.machine import Machine
from tests.bench.memory import processes_of, pss_bytes
from tests.bench.report import RAW, table_path, write_raw, write_table
from tests.bench.watch import ask
from tests.lab import Host, Lab, Service, bytecode, eventually
from tests.lab.hosts import remove_pins
from tests.lab.primaries import KNOT_BASE, KNOT_REMOTE, Software, on_host, start_primary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab.primaries import ZonePrimary

ZONE: Final = "block.rpz.example"
NOTIFY_PORT: Final = 5300
PACE: Final = 0.005
"""Seconds between two queries to one host."""

QUIET: Final = 1.0
"""Seconds without an answer after which a host drops."""

RECORDS: Final = tuple(f"name{number}.example CNAME rpz-drop." for number in range(1000))

KNOT: Final = f"""\
server:
{KNOT_BASE}remote:
  - id: primary
    address: 10.53.0.1
    key: xdpctl
acl:
  - id: keyed
    key: xdpctl
    action: transfer
  - id: from-primary
    address: 10.53.0.1
    action: notify
zone:
  - domain: {{zone}}
    storage: {{directory}}
    master: primary
    acl: [ keyed, from-primary ]
    notify: [ {{names}} ]
"""

BIND: Final = """\
include "{key}";
options {{
    directory "{directory}";
    pid-file none;
    session-keyfile none;
    listen-on {{ 10.53.0.2; }};
    listen-on-v6 {{ none; }};
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify-rate 1000;
    transfers-out 1000;
}};
controls {{ }};
zone "{zone}" {{
    type secondary;
    file "{directory}/zone";
    primaries {{ 10.53.0.1 key xdpctl; }};
    allow-transfer {{ key "xdpctl"; }};
    notify explicit;
    notify-delay 0;
    also-notify {{ {hosts} }};
}};
"""

LIST: Final = """\
notify-listen = "{address}:{port}"
[[list]]
zone = "{zone}"
primary = ["10.53.0.2"]
update = "10.53.0.1"
key-file = "{key}"
refresh = "30s"
"""


HEAD: Final = """\
{machine}

One change, from `xdpctl publish` on one host over BIND and a secondary to XDP on each host's card;
{changes} changes. The clock runs from the start of the verb. Knot 3.2 waits a second before it
sends a NOTIFY.

| secondary | hosts | to the last card, median | most | median card | the verb | memory a host |
| --- | ---: | ---: | ---: | ---: | ---: | ---: |
"""


@dataclass
class Card:
    """A host with a service.

    Attributes:
        host: the namespace.
        address: its own.
        service: the filter on its card.
    """

    host: Host
    address: str
    service: Service

    def serial(self) -> int | None:
        """Return which version of the list is in force."""
        lists = json.loads(ask(self.service.control, "GET", "/api/v1/lists"))["lists"]
        return lists[0].get("serial") if lists else None


class Fleet:
    """A primary, a secondary, and hosts.

    Args:
        lab: where.
        software: of the secondary.
        count: of hosts.
    """

    def __init__(self, lab: Lab, software: Software, count: int) -> None:
        self.lab = lab
        self.site = lab.host("site")
        self.site.ip("link", "add", "br0", "type", "bridge")
        self.site.ip("link", "set", "br0", "up")
        for last in (1, 2, 66):
            self.site.ip("address", "add", f"10.53.0.{last}/16", "dev", "br0")
        addresses = [f"10.53.{1 + number // 250}.{1 + number % 250}" for number in range(count)]
        self.primary = self._primary()
        self._secondary(software, addresses)
        self.cards = list(self._cards(addresses))

    def _primary(self) -> ZonePrimary:
        return start_primary(
            Software.BIND,
            on_host(self.site),
            zone=ZONE,
            records=RECORDS,
            address="10.53.0.1",
            port=53,
            notify=[("10.53.0.2", 53)],
        )

    def _secondary(self, software: Software, addresses: Sequence[str]) -> None:
        names = [f"host{number}" for number, _ in enumerate(addresses)]
        directory = self.lab.directory / "secondary"
        directory.mkdir()
        remotes = "".join(
            KNOT_REMOTE.format(name=name, address=address, port=NOTIFY_PORT)
            for name, address in zip(names, addresses, strict=True)
        )
        form, argv = {
            Software.KNOT: (KNOT, ("knotd", "-c")),
            Software.BIND: (BIND, ("named", "-g", "-n", "1", "-c")),
        }[software]
        text = form.format(
            directory=directory,
            listen="10.53.0.2@53",
            key=self.primary.key_file,
            secret=self.primary.secret,
            zone=ZONE,
            remotes=remotes,
            names=", ".join(names),
            hosts=" ".join(f"{address} port {NOTIFY_PORT};" for address in addresses),
        )
        config = self.lab.write("secondary.conf", text)
        secondary = self.site.start("secondary", *argv, str(config))
        secondary.line(r"AXFR, incoming, .* finished|Transfer completed", 20.0)

    def _cards(self, addresses: Sequence[str]) -> Iterator[Card]:
        for number, address in enumerate(addresses):
            host = self.lab.host(f"h{number}")
            interface = f"card{number}"
            self.lab.wire(self.site, host, name=interface)
            self.site.ip("link", "set", interface, "master", "br0")
            host.ip("address", "add", f"{address}/16", "dev", interface)
            host.run("sysctl", "-qw", "net.ipv4.icmp_ratelimit=0")
            text = LIST.format(
                address=address, port=NOTIFY_PORT, zone=ZONE, key=self.primary.key_file
            )
            config = self.lab.write(f"host{number}.toml", text)
            pins = self.lab.pins.with_name(f"{self.lab.pins.name}-{number}")
            self.lab.at_end(partial(remove_pins, pins))
            state = self.lab.directory / f"state{number}"
            state.mkdir(mode=0o750)
            bytecode.put(state)
            service = Service(
                host,
                "--config",
                str(config),
                "--pin-dir",
                str(pins),
                "--state",
                str(state / "state.db"),
                interfaces=(interface,),
            )
            bytecode.take(state)  # the next one need not compile
            yield Card(host, address, service)

    def in_force(self, serial: int) -> None:
        """Wait until every host has a version."""
        for card in self.cards:
            eventually(
                lambda card=card: card.serial() == serial,  # type: ignore[misc]
                f"serial {serial} at {card.address}",
                60.0,
            )

    def memory(self) -> float:
        """Return the mean of what a host's processes take, in MB."""
        found = [
            sum(pss_bytes(pid) for pid in processes_of(card.service.process.pid))
            for card in self.cards
        ]
        return statistics.mean(found) / 1e6


class Watcher:
    """Asks every host from one address, and notes when the last query of each passed.

    Args:
        fleet: the hosts.
        source: an address of the site.
    """

    def __init__(self, fleet: Fleet, source: str) -> None:
        self.passed: dict[str, float] = {}
        self._sockets = []
        for card in fleet.cards:
            sock = fleet.site.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.bind((source, 0))
            sock.connect((card.address, 53))
            sock.settimeout(0)
            self._sockets.append((card.address, sock))

    def close(self) -> None:
        """Close its sockets."""
        for _, sock in self._sockets:
            sock.close()

    def ask(self) -> None:
        """Send a query to each host, and hear of the last ones."""
        query = b"\0\7\1\0\0\1\0\0\0\0\0\0\3www\7example\0\0\1\0\1"
        now = time.monotonic()
        for address, sock in self._sockets:
            try:
                sock.send(query)
                sock.recv(512)
            except ConnectionRefusedError:
                self.passed[address] = now
            except BlockingIOError:
                continue

    def warm_up(self) -> None:
        """Ask until each host has let a query pass."""

        def heard() -> bool:
            self.ask()
            return len(self.passed) == len(self._sockets)

        eventually(heard, "a query that passes at each host")

    def until_all_drop(self, timeout: float = 60.0) -> None:
        """Ask until no host lets a query pass any more."""
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            self.ask()
            if time.monotonic() - max(self.passed.values()) > QUIET:
                return
            time.sleep(PACE)
        raise TimeoutError("a host still lets queries pass")


def measure(software: Software, hosts: int, turns: int) -> dict[str, object]:
    """Make one change after the other, and see when each host drops."""
    lasts, medians, updates = [], [], []
    with Lab() as lab:
        fleet = Fleet(lab, software, hosts)
        fleet.in_force(1)
        print(f"  {hosts} hosts follow {software}, {fleet.memory():.0f} MB each", flush=True)
        for turn in range(turns):
            time.sleep(1.5)  # a zone is asked for at most once a second
            last = 100 + turn
            fleet.site.ip("address", "add", f"10.53.0.{last}/16", "dev", "br0")
            with contextlib.closing(Watcher(fleet, f"10.53.0.{last}")) as watcher:
                watcher.warm_up()
                took, answered = change(fleet, watcher, f"10.53.0.{last}")
            lasts.append(max(took))
            medians.append(statistics.median(took))
            updates.append(answered)
            print(f"  last card {lasts[-1]:.3f} s, median {medians[-1]:.3f} s", flush=True)
        memory = fleet.memory()
    return {
        "secondary": software,
        "hosts": hosts,
        "last_median_seconds": round(statistics.median(lasts), 3),
        "last_most_seconds": round(max(lasts), 3),
        "card_median_seconds": round(statistics.median(medians), 3),
        "publish_median_seconds": round(statistics.median(updates), 3),
        "memory_mb": round(memory, 1),
    }


def change(fleet: Fleet, watcher: Watcher, target: str) -> tuple[list[float], float]:
    """Publish a record from the first host; return how long each card took, and the verb."""
    answered: list[float] = []
    began = time.monotonic()

    def publish() -> None:
        said = fleet.cards[0].service.verb("publish", target, "--zone", ZONE, "--for", "10m")
        answered.append(time.monotonic() - began)
        if said.returncode:
            print(f"  publish failed: {said.stderr.strip()}", flush=True)

    thread = threading.Thread(target=publish, name="publish")
    thread.start()
    watcher.until_all_drop()
    thread.join()
    return [passed - began + PACE for passed in watcher.passed.values()], answered[0]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description="One change to many hosts.")
    parser.add_argument("--hosts", type=int, default=20)
    parser.add_argument("--changes", type=int, default=5)
    arguments = parser.parse_args()
    machine = Machine.now()
    each = [
        measure(software, arguments.hosts, arguments.changes)
        for software in (Software.KNOT, Software.BIND)
    ]
    lines = (
        f"| {found['secondary']} | {found['hosts']} | {found['last_median_seconds']} s"
        f" | {found['last_most_seconds']} s | {found['card_median_seconds']} s"
        f" | {found['publish_median_seconds']} s | {found['memory_mb']} MB |\n"
        for found in each
    )
    text = HEAD.format(machine=machine.text, changes=arguments.changes) + "".join(lines)
    print(text)
    write_table("bench-fleet", machine, text)
    write_raw("bench-fleet", json.dumps(each, indent=2) + "\n", RAW)
    print(f"written to {table_path(machine)}")


if __name__ == "__main__":
    main()
