"""A site as an operator has it: clients, dnsdist 1.7.3 in front of a server, the filter.

What dnsdist blocks here is what the tests of tests/net send.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab import Dnsdist17, Responder, Service

if TYPE_CHECKING:
    from tests.lab import Host, Lab

SERVER = {4: "192.0.2.53", 6: "2001:db8::53"}
"""Where dnsdist listens, by version of IP."""

DROPPED = {4: "192.0.2.66", 6: "2001:db8::66"}
"""Addresses of the client that dnsdist blocks."""

TRUNCATED = {4: "198.51.100.66", 6: "2001:db8:66::66"}
"""Addresses of the client that dnsdist wants to come over TCP."""

BLOCKS = """
bpf:block(newCA("192.0.2.66"), 1)
bpf:block(newCA("2001:db8::66"), 1)
bpf:block(newCA("198.51.100.66"), 2)
bpf:block(newCA("2001:db8:66::66"), 2)
bpf:blockQName(newDNSName("dropped.example."), 255, 1)
bpf:blockQName(newDNSName("truncated.example."), 255, 2)
bpf:blockQName(newDNSName("only-a.example."), 1, 1)
"""


@dataclass(slots=True)
class Site:
    """Everything on the network; `service` and `dnsdist` may be restarted by a test."""

    client: Host
    server: Host
    responder: Responder
    dnsdist: Dnsdist17
    service: Service


def site_in(lab: Lab, *options: str, blocks: str = BLOCKS, before: tuple[str, ...] = ()) -> Site:
    """Start a site: the service first, as deploy/ has it, so that it makes all five maps.

    Args:
        lab: where.
        *options: of the service.
        blocks: Lua for dnsdist.
        before: a command that runs dnsdist in its own place.
    """
    client, server = lab.pair()
    responder = Responder(server, "127.0.0.1", port=5300)
    service = Service(server, *options)
    return Site(client, server, responder, Dnsdist17(server, blocks, before=before), service)
