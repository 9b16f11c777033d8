"""A site with AF_XDP: the service with --xsk, a real dnsdist behind it, who asks it.

Knows the destination maps by their pins; everything else is seen from outside.
"""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import dns.edns
import dns.message

from tests.lab import LabError, Responder, Service, dig, eventually
from tests.lab.hosts import INTERFACE
from tests.roots.dnsdist import DnsdistRelease
from xdpctl.abi import DESTINATION_MAPS, MAPS, decode_xsk_destination
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.lab import Host, Lab
    from tests.roots.roots import Release

SHIPPED: Final[dict[Release, str]] = {
    "trixie": "dnsdist-1.9-xsk.lua",
    "sid": "dnsdist-2-xsk.yml",
}
V4: Final = "192.0.2.53:53"
V6: Final = "2001:db8::53:53"


@dataclass(slots=True)
class XskSite:
    """Everything on the network; `dnsdist` may be restarted by a test."""

    client: Host
    server: Host
    responder: Responder
    service: Service
    release: Release
    dnsdist: DnsdistRelease = field(init=False)

    @property
    def lab(self) -> Lab:
        """What owns it all."""
        return self.server.lab

    def redirected(self) -> int:
        """Return how many packets the driver took to AF_XDP sockets; exact at any time."""
        return sum(redirects_by_queue(self.server))

    def start_dnsdist(self, config: str | None = None) -> None:
        """Start dnsdist and wait until it answers over AF_XDP.

        dnsdist now and then keeps its very first answer until the next packet comes.
        """
        name = SHIPPED[self.release]
        self.dnsdist = (
            DnsdistRelease(self.server, self.release, config, name[-4:])
            if config
            else DnsdistRelease.shipped(self.server, self.release, name)
        )
        await_destinations(self.lab, V4)
        before = self.redirected()
        eventually(lambda: dig(self.client, "settling.example").arrived, "a first answer")
        eventually(lambda: self.redirected() > before, "a first redirect")


def xsk_site(lab: Lab, release: Release, *options: str, config: str | None = None) -> XskSite:
    """Start the service, then dnsdist, and wait until AF_XDP is on.

    Args:
        lab: where.
        release: which dnsdist.
        options: of the service.
        config: text in the place of the shipped configuration.
    """
    client, server = lab.pair()
    responder = Responder(server, "127.0.0.1", port=5300)
    service = Service(server, "--xsk", "--number-of-queues", "1", *options)
    site = XskSite(client, server, responder, service, release)
    site.start_dnsdist(config)
    return site


def destinations(lab: Lab) -> set[str]:
    """Return what is registered, as ADDRESS:PORT."""
    found = set()
    for name in DESTINATION_MAPS:
        with Bpf().open_map(lab.pins / name) as opened:
            size = MAPS[name].key_size
            for keys, _ in opened.chunks():
                for start in range(0, len(keys), size):
                    address, port = decode_xsk_destination(bytes(keys[start : start + size]))
                    found.add(f"{address}:{port}")
    return found


def await_destinations(lab: Lab, *wanted: str) -> None:
    """Wait until these are registered, perhaps among others."""
    eventually(lambda: set(wanted) <= destinations(lab), f"the destinations {wanted}")


def ask(client: Host, server: str, *, ports: int = 1, padding: int = 0) -> int:
    """Send one query from each of `ports` ports at once; return how many were answered.

    Args:
        client: who asks.
        server: IPv4 address.
        ports: how many.
        padding: octets of EDNS padding, to make the query long.
    """
    options: list[dns.edns.Option] = [
        dns.edns.GenericOption(dns.edns.OptionType.PADDING, bytes(padding))
    ]
    query = dns.message.make_query("www.example", "A", options=options if padding else None)
    wire = query.to_wire()
    socks = [client.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(ports)]
    answered = 0
    for sock in socks:
        sock.settimeout(2)
        sock.sendto(wire, (server, 53))
    for sock in socks:
        with sock:
            try:
                answered += bool(sock.recv(4096))
            except TimeoutError:
                continue
    return answered


def ask_until_answered(client: Host, server: str, *, ports: int) -> int:
    """Ask as so many resolvers do, who ask again where no answer comes; return the queries sent."""
    sent, left = 0, ports
    for _ in range(3):
        sent += left
        left -= ask(client, server, ports=left)
        if not left:
            return sent
    raise LabError(f"{left} of {ports} were not answered in three tries")


def redirects_by_queue(host: Host, interface: str = INTERFACE) -> list[int]:
    """Return what veth counted as redirected, by receive queue."""
    said = host.run("ethtool", "-S", interface).stdout
    found: Sequence[str] = re.findall(r"rx_queue_\d+_xdp_redirect: (\d+)", said)
    if not found:
        raise LabError(f"ethtool says nothing of redirects on {interface}:\n{said}")
    return [int(one) for one in found]


def two_cards(lab: Lab, queues: int) -> Iterator[Host]:
    """Yield a client and a server with two wires, eth0 and eth1, of so many queues."""
    client, server = lab.host("client"), lab.host("server")
    for number, subnet in enumerate(("192.0.2", "198.51.100")):
        name = f"eth{number}"
        lab.wire(client, server, queues=queues, name=name)
        client.ip("address", "add", f"{subnet}.1/24", "dev", name)
        server.ip("address", "add", f"{subnet}.53/24", "dev", name)
    yield from (client, server)
