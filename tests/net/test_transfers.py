"""Zone transfers from real primaries: whole, by differences, and with keys that do not fit."""

from __future__ import annotations

import ssl
from collections import Counter
from dataclasses import replace
from ipaddress import IPv4Address
from select import select
from socket import AF_INET, MSG_WAITALL, SOCK_DGRAM, SOCK_STREAM, socket
from typing import TYPE_CHECKING, Self

import dns.message
import dns.name
import dns.opcode
import pytest

from tests.lab.primaries import CAN, Place, Software, ZonePrimary, loopback, start_primary
from xdpctl.errors import TransferError
from xdpctl.rules.names import Name
from xdpctl.transfers.channel import Bounds, connect
from xdpctl.transfers.client import Primary, PrimaryClient
from xdpctl.transfers.key_file import TsigKey, read_key
from xdpctl.transfers.primaries import Fetched, fetch
from xdpctl.transfers.stream import Kind

if TYPE_CHECKING:
    from collections.abc import Iterator
    from ipaddress import IPv6Address
    from pathlib import Path

    from xdpctl.transfers.client import Transfer

pytestmark = pytest.mark.root

ZONE = Name.from_text("example.com")
LINES = [f"host{number} A 192.0.2.{number % 200}" for number in range(3000)]
"""More than fit into one message."""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with loopback(tmp_path) as place:
        yield place


@pytest.fixture(params=Software)
def primary(request: pytest.FixtureRequest, place: Place) -> ZonePrimary:
    return start_primary(request.param, place, zone="example.com", records=LINES)


class Copy:
    """A copy of the zone, which only whole transfers change."""

    def __init__(self, primary: ZonePrimary, key: TsigKey | None) -> None:
        self._primary = Primary(IPv4Address(primary.address), primary.port, key)
        self.owners: Counter[str] = Counter()
        self.serial: int | None = None

    def fetch(self) -> Fetched:
        taken: Counter[str] = Counter()
        kinds = []

        def take(transfer: Transfer) -> None:
            taken.clear()
            for added, record in transfer:
                taken[Name(record.owner).to_text()] += 1 if added else -1
            kinds.append(transfer.kind)

        done = fetch(ZONE, [self._primary], self.serial, take)
        if kinds == [Kind.FULL]:
            self.owners = taken
        else:
            self.owners.update(taken)
        self.serial = done.soa.serial
        return done


def test_a_zone_is_copied_whole_and_kept_up_by_differences(primary: ZonePrimary) -> None:
    copy = Copy(primary, read_key(primary.key_file))
    assert copy.fetch().kind is Kind.FULL
    assert copy.owners["host2999.example.com"] == 1
    assert sum(copy.owners.values()) == len(LINES) + 1
    assert copy.fetch().kind is Kind.CURRENT
    primary.update("add new.example.com 60 A 192.0.2.9", "delete host7.example.com")
    primary.update("add new.example.com 60 A 192.0.2.10")
    assert copy.fetch().kind is (Kind.CHANGES if primary.can.ixfr else Kind.FULL)
    assert (copy.owners["new.example.com"], copy.owners["host7.example.com"]) == (2, 0)
    assert copy.serial == 3


def test_a_key_that_does_not_fit_changes_nothing(primary: ZonePrimary) -> None:
    key = read_key(primary.key_file)
    copy = Copy(primary, key)
    copy.fetch()
    before = copy.owners.copy()
    bind = primary.software is Software.BIND  # the others answer with other codes
    primary.update("add new.example.com 60 A 192.0.2.9")
    for wrong, complaint in (
        (replace(key, secret=bytes(32)), "NOTAUTH|signature is wrong|does not have the key"),
        (replace(key, name=Name.from_text("other")), "does not have the key other"),
        (replace(key, algorithm="hmac-sha512"), "does not have the key"),
        (None, "refuses"),
    ):
        stranger = Copy(primary, wrong)
        stranger.owners, stranger.serial = copy.owners, copy.serial
        with pytest.raises(TransferError, match=complaint if bind else None):
            stranger.fetch()
    assert copy.owners == before


@pytest.mark.parametrize("software", Software)
def test_a_change_is_notified_at_once_to_a_port(software: Software, place: Place) -> None:
    with NotifyListener() as listener:
        primary = start_primary(
            software, place, zone="example.com", records=LINES[:3], notify=[listener.address]
        )
        primary.update("add new.example.com 60 A 192.0.2.9")
        while True:
            notify = listener.notify()
            assert notify.opcode() == dns.opcode.NOTIFY
            assert notify.question[0].name == dns.name.from_text("example.com")
            serials = [record.serial for records in notify.answer for record in records]
            if serials in ([2], []):  # PowerDNS sends no SOA, and no NOTIFY when it starts
                break


class NotifyListener:
    """Takes NOTIFY on one port of UDP and TCP; Knot sends it over TCP, the others over UDP."""

    def __init__(self) -> None:
        self._datagrams = socket(AF_INET, SOCK_DGRAM)
        self._stream = socket(AF_INET, SOCK_STREAM)
        self._stream.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._stream.getsockname()
        self._datagrams.bind(self.address)
        self._stream.listen()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._datagrams.close()
        self._stream.close()

    def notify(self) -> dns.message.Message:
        """Return the next NOTIFY and answer it."""
        ready, _, _ = select([self._datagrams, self._stream], [], [], 10.0)
        assert ready, "no NOTIFY came"
        if self._datagrams in ready:
            octets, sender = self._datagrams.recvfrom(4096)
            self._datagrams.sendto(answered(octets), sender)
            return parsed(octets)
        connection, _ = self._stream.accept()
        with connection:
            size = int.from_bytes(connection.recv(2, MSG_WAITALL), "big")
            octets = connection.recv(size, MSG_WAITALL)
            answer = answered(octets)
            connection.sendall(len(answer).to_bytes(2, "big") + answer)
        return parsed(octets)


def parsed(octets: bytes) -> dns.message.Message:
    """Return a message; PowerDNS signs its own, which nobody checks here."""
    return dns.message.from_wire(octets, keyring=False)


def answered(notify: bytes) -> bytes:
    """Return the answer to a NOTIFY."""
    return dns.message.make_response(parsed(notify)).to_wire()


@pytest.mark.parametrize("software", [software for software in Software if CAN[software].tls])
def test_a_primary_gives_the_zone_over_tls(software: Software, place: Place) -> None:
    primary = start_primary(
        software, place, zone="example.com", records=LINES, tls_name="ns1.example"
    )
    context = ssl.create_default_context(cafile=str(primary.authority))
    context.set_alpn_protocols(["dot"])

    def over_tls(address: IPv4Address | IPv6Address, port: int, seconds: float) -> socket:
        plain = connect(address, port, seconds)
        return context.wrap_socket(plain, server_hostname="ns1.example")

    owners: Counter[bytes] = Counter()
    client = PrimaryClient(
        Primary(IPv4Address(primary.address), primary.tls_port, read_key(primary.key_file)),
        Bounds(),
        opener=over_tls,
    )
    client.transfer(ZONE, None, lambda transfer: owners.update(one.owner for _, one in transfer))
    assert owners[Name.from_text("host2999.example.com").wire] == 1
