"""Real resolvers take the filter's answer for what it is, and come back over TCP.

Both forward to a server behind the filter and send EDNS; BIND sends DNS cookies, too.
The checksum of their queries is half done, as from any virtual machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import Bind, Responder, Service, Unbound, dig

if TYPE_CHECKING:
    from tests.lab import Lab

pytestmark = pytest.mark.root

resolvers = pytest.mark.parametrize("resolver", [Unbound, Bind])
servers = pytest.mark.parametrize("address", ["192.0.2.53", "2001:db8::53"])


@resolvers
@servers
def test_a_resolver_resolves_a_truncated_name_over_tcp(
    lab: Lab, resolver: type[Unbound | Bind], address: str
) -> None:
    client, server = lab.pair()
    responder = Responder(server)
    service = Service(server)
    assert service.verb("block", "truncated.example", "--action", "truncate").returncode == 0
    resolver(client, address)

    answer = dig(client, "truncated.example", server="127.0.0.1", wait=10)

    assert (answer.status, answer.records) == ("NOERROR", ("A 192.0.2.80",))
    assert (responder.queries("udp"), responder.queries("tcp")) == (0, 1)
    assert service.counted(1, reason="qname").packets(action="truncate") == 1
