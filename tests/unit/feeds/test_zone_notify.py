"""NOTIFY is a hint: taken from anybody for a zone that is followed, answered, counted, bounded."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import ExitStack
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import dns.message
import dns.opcode
import dns.rcode
import dns.rrset
import dns.tsig
import pytest

from tests.support.fake_primary import KEY, ZONE, tsig_key
from xdpctl.feeds.zone import notify
from xdpctl.feeds.zone.messages import NotifyResult
from xdpctl.feeds.zone.notify import NotifyListener
from xdpctl.transfers.key_file import TsigKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.transfers.key_file import TsigKey as Key

OTHER = TsigKey(KEY.name, KEY.algorithm, b"another secret!!")


def message(zone: str = "example.com.", key: Key | None = None) -> dns.message.Message:
    """Return a NOTIFY as primaries send it."""
    made = dns.message.make_query(zone, "SOA")
    made.set_opcode(dns.opcode.NOTIFY)
    made.flags = (made.flags & 0x7800) | 0x0400
    made.answer.append(dns.rrset.from_text(zone, 60, "IN", "SOA", "ns. h. 4 1 1 1 1"))
    if key is not None:
        made.use_tsig(tsig_key(key))
    return made


class Listening:
    """A listener on loopback, which the test lets take its steps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.hints: list[tuple[bytes, IPv4Address | IPv6Address]] = []
        self.counts: dict[NotifyResult, int] = {}
        self._stack = ExitStack()
        self.udp = self._made(socket.SOCK_DGRAM)
        self.tcp = self._made(socket.SOCK_STREAM)
        self.tcp.listen()
        self.listener = NotifyListener(
            (self.udp, self.tcp),
            {ZONE.wire: [KEY]},
            lambda zone, sender: self.hints.append((zone, sender)),
            self.counts.update,
            lambda: self.now,
        )
        self.listener.begin()

    def _made(self, kind: socket.SocketKind) -> socket.socket:
        made = self._stack.enter_context(socket.socket(socket.AF_INET6, kind))
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(("::", 0))
        return made

    def counted(self) -> dict[NotifyResult, int]:
        self.now += 1.0
        self.listener.step(0.0)
        return self.counts

    def client(self, kind: socket.SocketKind, host: str = "127.0.0.1") -> socket.socket:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = self._stack.enter_context(socket.socket(family, kind))
        made.settimeout(10.0)
        served = self.udp if kind == socket.SOCK_DGRAM else self.tcp
        made.connect((host, served.getsockname()[1]))
        return made

    def close(self) -> None:
        for caller in self.listener._callers.values():
            caller.connected.close()
        self._stack.close()


@pytest.fixture
def listening() -> Iterator[Listening]:
    made = Listening()
    yield made
    made.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "::1"])
def test_a_notify_over_udp_is_taken_and_answered_from_where_it_was_sent(
    listening: Listening, host: str
) -> None:
    """A socket that is connected only hears the address that it sent to."""
    client = listening.client(socket.SOCK_DGRAM, host)
    asked = message()
    client.send(asked.to_wire())
    listening.listener.step(1.0)
    answer = dns.message.from_wire(client.recv(4096))
    assert asked.is_response(answer)
    assert (answer.rcode(), answer.opcode()) == (dns.rcode.NOERROR, dns.opcode.NOTIFY)
    sender = IPv6Address("::1") if ":" in host else IPv4Address("127.0.0.1")
    assert [zone for zone, _ in listening.hints] == [ZONE.wire]
    assert listening.hints[0][1].version == sender.version
    assert listening.counted() == {NotifyResult.TAKEN: 1}


def test_several_over_tcp(listening: Listening) -> None:
    client = listening.client(socket.SOCK_STREAM)
    wire = message().to_wire()
    framed = (struct.pack("!H", len(wire)) + wire) * 2
    client.sendall(framed[:5])
    listening.listener.step(1.0)
    listening.listener.step(1.0)
    client.sendall(framed[5:])
    listening.listener.step(1.0)
    got = client.recv(2 * (2 + 29), socket.MSG_WAITALL)
    assert got[2 : 2 + 29] == got[2 + 29 + 2 :]
    assert listening.hints == [(ZONE.wire, IPv4Address("127.0.0.1"))] * 2


def test_one_that_is_signed_has_a_signed_answer(listening: Listening) -> None:
    client = listening.client(socket.SOCK_DGRAM)
    asked = message(key=KEY)
    client.send(asked.to_wire())
    listening.listener.step(1.0)
    key = tsig_key(KEY)
    answer = dns.message.from_wire(
        client.recv(4096), keyring={key.name: key}, request_mac=asked.mac
    )
    assert answer.had_tsig
    assert listening.counted() == {NotifyResult.TAKEN: 1}


@pytest.mark.parametrize(
    ("wire", "result", "rcode"),
    [
        (message("other.example.").to_wire(), NotifyResult.UNKNOWN, 9),
        (message(key=OTHER).to_wire(), NotifyResult.UNVERIFIED, 9),
        (dns.message.make_query("example.com.", "SOA").to_wire(), NotifyResult.MALFORMED, None),
        (message().to_wire()[:-1], NotifyResult.MALFORMED, None),
        (b"", NotifyResult.MALFORMED, None),
        (message().to_wire() + bytes(4096), NotifyResult.MALFORMED, None),
    ],
    ids=["another-zone", "another-key", "a-query", "cut", "nothing", "long"],
)
def test_others_are_only_counted(
    listening: Listening, wire: bytes, result: NotifyResult, rcode: int | None
) -> None:
    client = listening.client(socket.SOCK_DGRAM)
    client.send(wire)
    listening.listener.step(1.0)
    assert (listening.counted(), listening.hints) == ({result: 1}, [])
    if rcode is not None:
        answer = client.recv(4096)
        assert answer[3] & 15 == rcode
        assert len(answer) <= len(wire)
    client.settimeout(0)
    with pytest.raises(BlockingIOError):
        client.recv(1)


def test_a_flood_is_read_up_to_a_bound_and_the_sockets_live_on(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PER_SECOND", 50)
    listening.counted()  # the new second has the new bound
    listening.counts.clear()
    client = listening.client(socket.SOCK_DGRAM)
    for _ in range(80):
        client.send(message().to_wire())
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    for _ in range(5):
        listening.listener.step(0.0)
    assert len(listening.hints) == 50
    assert slept
    listening.counted()
    listening.listener.step(0.0)
    assert len(listening.hints) == 80


def test_a_socket_that_fails_for_ever_is_no_busy_loop(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notify, "PER_SECOND", 3)
    listening.counted()
    failed = []

    def fails(served: socket.socket) -> None:
        failed.append(served)
        raise OSError("no network")

    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    monkeypatch.setattr(listening.listener, "_datagrams", fails)
    listening.client(socket.SOCK_DGRAM).send(b"x")
    for _ in range(10):
        listening.listener.step(0.0)
    assert failed == [listening.udp] * 3
    assert slept


def test_connections_that_say_nothing_are_closed(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = listening.client(socket.SOCK_STREAM)
    slow = listening.client(socket.SOCK_STREAM)
    slow.sendall(b"\0\x1da")
    for _ in range(3):
        listening.listener.step(0.2)
    listening.now += notify.CONNECTION_SECONDS
    assert listening.counted() == {NotifyResult.DROPPED: 1}
    assert (silent.recv(1), slow.recv(1)) == (b"", b"")
    monkeypatch.setattr(notify, "CONNECTIONS", 2)
    first, *_ = [listening.client(socket.SOCK_STREAM) for _ in range(3)]
    for _ in range(3):
        listening.listener.step(0.2)
    assert first.recv(1) == b""


def test_a_long_message_over_tcp_closes_its_connection(listening: Listening) -> None:
    client = listening.client(socket.SOCK_STREAM)
    client.sendall(b"\xff\xff")
    for _ in range(2):
        listening.listener.step(0.2)
    assert client.recv(1) == b""
    assert listening.counted() == {NotifyResult.MALFORMED: 1}


def test_it_serves_for_ever(listening: Listening) -> None:
    thread = threading.Thread(target=listening.listener.run, daemon=True)
    thread.start()
    client = listening.client(socket.SOCK_DGRAM)
    for _ in range(3):
        client.send(message().to_wire())
        assert client.recv(4096)
