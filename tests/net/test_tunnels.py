"""What the README's Limits say of tunnels: the outer interface's filter does not look inside."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest

from tests.lab import Service
from tests.packets.message import query

if TYPE_CHECKING:
    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

OUTER = {"client": "192.0.2.1", "server": "192.0.2.53"}
INNER = {"client": "10.9.0.1", "server": "10.9.0.53"}


def tunnel(client: Host, server: Host) -> None:
    """Put VXLAN between the hosts, as vxlan0."""
    for host, me, peer in ((client, "client", "server"), (server, "server", "client")):
        host.ip(
            *("link", "add", "vxlan0", "type", "vxlan", "id", "7", "dstport", "4789"),
            *("local", OUTER[me], "remote", OUTER[peer]),
        )
        host.ip("address", "add", f"{INNER[me]}/24", "dev", "vxlan0")
        host.ip("link", "set", "vxlan0", "up")


def arrives(client: Host, server: Host, qname: str) -> bool:
    """Ask the server through the tunnel; return whether it hears of it."""
    with (
        server.socket(socket.AF_INET, socket.SOCK_DGRAM) as there,
        client.socket(socket.AF_INET, socket.SOCK_DGRAM) as here,
    ):
        there.bind((INNER["server"], 53))
        there.settimeout(1)
        here.sendto(query(qname), (INNER["server"], 53))
        with contextlib.suppress(TimeoutError):
            return bool(there.recv(512))
    return False


@pytest.mark.parametrize(("interfaces", "passes"), [(("eth0",), True), (("eth0", "vxlan0"), False)])
def test_what_is_in_a_tunnel_is_filtered_on_the_inner_interface(
    lab: Lab, interfaces: tuple[str, ...], *, passes: bool
) -> None:
    client, server = lab.pair()
    tunnel(client, server)
    service = Service(server, interfaces=interfaces)
    assert service.verb("block", "bad.example").returncode == 0
    assert arrives(client, server, "good.example")
    assert arrives(client, server, "bad.example") is passes
