"""Bonds under the service: what a bond's kernel does with programs, and what we say of it.

Run in guests only (claims.py): the machine's own kernel may have no bonds. Bonds have
native XDP since Linux 5.15, and since then a port and its bond cannot both have a program.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pytest

from tests.kernels.configurations import DEFAULT
from tests.lab import Responder, Service, dig, eventually
from tests.lab.service import READY
from xdpctl.program.cache import FOLDER, BytecodeCache, key_of
from xdpctl.program.compiler import compile_program_blocking

if TYPE_CHECKING:
    from tests.lab import Host, Lab

pytestmark = pytest.mark.root

PATIENCE: Final = 120.0
NATIVE: Final = tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 15)
BEST: Final = "native" if NATIVE else "generic"
PORTS: Final = ("eth0", "eth1")
CLIENT, SERVER = "192.0.2.1/24", "192.0.2.53"


@pytest.fixture
def hosts(lab: Lab) -> tuple[Host, Host]:
    """A client and a server with two wires, which is all that they have in common so far."""
    config = DEFAULT
    cache = BytecodeCache(lab.directory / FOLDER)
    cache.store(key_of(config), compile_program_blocking(config))
    client, server = lab.host("client"), lab.host("server")
    for port in PORTS:
        lab.wire(client, server, name=port)
    client.ip("address", "add", CLIENT, "dev", PORTS[0])
    return client, server


def join(server: Host, *ports: str) -> None:
    for port in ports:
        server.ip("link", "set", port, "down")
        server.ip("link", "set", port, "master", "bond0")
        server.ip("link", "set", port, "up")


def bond(server: Host, *ports: str) -> None:
    """Make bond0 of these ports, the first of them active."""
    server.ip("link", "add", "bond0", "type", "bond", "mode", "active-backup", "miimon", "50")
    join(server, *ports)
    server.ip("link", "set", "bond0", "up")
    server.ip("address", "add", f"{SERVER}/24", "dev", "bond0")


def served(server: Host, *options: str, interface: str = "bond0") -> Service:
    """Start the service and a DNS server behind it, one name blocked."""
    service = Service(server, *options, interfaces=(interface,), await_ready=False)
    service.process.line(READY, timeout=PATIENCE)
    assert service.verb("block", "dropped.example").returncode == 0
    return service


def is_filtered(client: Host) -> bool:
    blocked, honest = (
        dig(client, f"{name}.example", server=SERVER, wait=5) for name in ("dropped", "www")
    )
    return honest.arrived and not blocked.arrived


def test_a_bond_is_filtered_whichever_port_is_active(hosts: tuple[Host, Host]) -> None:
    client, server = hosts
    bond(server, *PORTS)
    served(server)
    Responder(server, SERVER)
    assert server.xdp("bond0") == BEST
    assert is_filtered(client)
    server.ip("link", "set", "bond0", "type", "bond", "active_slave", PORTS[1])
    client.ip("address", "delete", CLIENT, "dev", PORTS[0])
    client.ip("address", "add", CLIENT, "dev", PORTS[1])
    assert is_filtered(client)


def test_a_bond_is_native_as_soon_as_a_port_that_cannot_has_left(
    hosts: tuple[Host, Host],
) -> None:
    client, server = hosts
    server.ip("link", "add", "dummy0", "type", "dummy")
    bond(server, PORTS[0], "dummy0")
    service = served(server)
    service.process.line("native-refused interface=bond0 driver=bonding error=.*XDP")
    assert server.xdp("bond0") == "generic"
    server.ip("link", "set", "dummy0", "nomaster")
    eventually(lambda: server.xdp("bond0") == BEST, f"a filter that is {BEST}", PATIENCE)
    Responder(server, SERVER)
    assert is_filtered(client)


def test_a_bond_that_is_made_anew_is_filtered_again(hosts: tuple[Host, Host]) -> None:
    client, server = hosts
    bond(server, *PORTS)
    service = served(server)
    server.ip("link", "delete", "bond0")
    service.process.line("lost interface=bond0 why=.the interface is gone", PATIENCE)
    bond(server, *PORTS)
    eventually(lambda: server.xdp("bond0") == BEST, f"a filter that is {BEST}", PATIENCE)
    Responder(server, SERVER)
    assert is_filtered(client)


def test_an_interface_that_joins_a_bond_keeps_its_filter_and_what_it_misses_is_said(
    hosts: tuple[Host, Host],
) -> None:
    client, server = hosts
    bond(server)
    service = served(server, interface=PORTS[0])
    program = server.xdp_id(PORTS[0])
    join(server, *PORTS)
    service.process.line("eth0 is part of bond0: .* but not those on eth1", PATIENCE)
    Responder(server, SERVER)
    assert is_filtered(client)
    assert (server.xdp_id(PORTS[0]), service.get("/readyz").status) == (program, 200)


def test_a_port_of_a_filtered_bond_is_refused_by_the_bonds_name(hosts: tuple[Host, Host]) -> None:
    """Linux 5.10 has nothing against it, and runs both."""
    _, server = hosts
    bond(server, *PORTS)
    served(server)
    own = [str(server.lab.directory / name) for name in ("second.sock", "second.db")]
    second = Service(
        server,
        *("--listen", "none", "--control", own[0], "--state", own[1]),
        interfaces=PORTS[:1],
        await_ready=False,
    )
    if NATIVE:
        assert second.process.wait(PATIENCE) == 1
        assert "cannot attach to eth0: it is part of bond0" in second.process.text
    else:
        second.process.line(READY, timeout=PATIENCE)
