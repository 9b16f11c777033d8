"""A primary whose messages dnspython makes and signs, at the other end of a socket pair.

Independent of transfers/: what it sends comes from dnspython's master-file text. A script is a
list of answers; each is what one connection is answered with.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import dns.message
import dns.name
import dns.rrset
import dns.tsig
from dns.rdtypes.ANY.TSIG import TSIG

from xdpctl.rules.names import Name
from xdpctl.transfers.client import Primary
from xdpctl.transfers.key_file import TsigKey

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from ipaddress import IPv6Address

ZONE = Name.from_text("example.com")
KEY = TsigKey(Name.from_text("xdpctl.key"), "hmac-sha256", b"0123456789abcdef")
PRIMARY = Primary(IPv4Address("192.0.2.53"), key=KEY)
UNSIGNED = Primary(IPv4Address("192.0.2.54"))


def soa(serial: int, zone: str = "example.com.") -> str:
    """Return an SOA record as text."""
    return f"{zone} 300 IN SOA ns.{zone} hostmaster.{zone} {serial} 60 30 3600 20"


@dataclass
class Reply:
    """What one connection is answered with.

    Attributes:
        messages: the records of each message, one a line, as text.
        rcode: of the first message.
        key: signs the messages; None: nothing signs.
        signed: which messages are signed; None: each.
        skew: seconds that the signer's clock is ahead.
        mangle: changes the octets of message number n.
        hold: leave the connection open at the end.
    """

    messages: Sequence[Sequence[str]]
    rcode: int = 0
    key: TsigKey | None = KEY
    signed: frozenset[int] | None = None
    skew: int = 0
    mangle: Callable[[int, bytes], bytes] = field(default=lambda _, octets: octets)
    hold: bool = False


def tsig_key(key: TsigKey) -> dns.tsig.Key:
    """Return the key as dnspython has it."""
    return dns.tsig.Key(key.name.to_text(), key.secret, key.algorithm)


class FakePrimary:
    """Opens connections that are answered one after the other by a script.

    Args:
        replies: one for each connection.
        secure: makes a connection one over TLS, at the primary's end.
    """

    def __init__(
        self, *replies: Reply, secure: Callable[[socket.socket], socket.socket] | None = None
    ) -> None:
        self._replies = list(replies)
        self._secure = secure
        self.asked: list[dns.message.Message] = []
        self._held: list[socket.socket] = []

    def open(self, _address: IPv4Address | IPv6Address, _port: int, _wait: float) -> socket.socket:
        """Return the client's end of a connection."""
        reply = self._replies.pop(0)
        ours, theirs = socket.socketpair()
        if reply.hold:  # before the thread may be late, and `close` come first
            self._held.append(theirs)
        threading.Thread(target=self._serve, args=(theirs, reply), daemon=True).start()
        return ours

    def _serve(self, connection: socket.socket, reply: Reply) -> None:
        if self._secure is not None:
            try:
                connection = self._secure(connection)
            except OSError:
                connection.close()  # the client does not trust it
                return
        with connection.makefile("rb") as asked:
            if len(octets := asked.read(2)) < 2:
                connection.close()  # the client wants another primary
                return
            wire = asked.read(int.from_bytes(octets, "big"))
        keyring = {tsig_key(KEY).name: tsig_key(KEY)}
        query = dns.message.from_wire(wire, keyring=keyring, ignore_trailing=True)
        self.asked.append(query)
        try:
            for octets in answers(query, reply):
                connection.sendall(struct.pack("!H", len(octets)) + octets)
        except OSError:
            pass  # the client has seen enough
        if not reply.hold:
            connection.close()

    def close(self) -> None:
        """Close the connections that were held open."""
        for connection in self._held:
            connection.close()


def answers(query: dns.message.Message, reply: Reply) -> list[bytes]:
    """Return the messages of a reply in wire form."""
    found = []
    context = None
    for number, lines in enumerate(reply.messages):
        answer = dns.message.make_response(query)
        answer.use_edns(edns=-1)
        answer.tsig = None  # signed below, or not
        answer.set_rcode(reply.rcode if not number else 0)  # type: ignore[arg-type]
        for line in lines:
            owner, ttl, class_, type_, *rest = line.split(" ")
            answer.answer.append(
                dns.rrset.from_text(owner, int(ttl), class_, type_, " ".join(rest))
            )
        wire = answer.to_wire(max_size=65535, origin=dns.name.root)
        if reply.key is not None:
            wire, context = _sign(query, reply, number, wire, context)
        found.append(reply.mangle(number, wire))
    return found


def _sign(
    query: dns.message.Message, reply: Reply, number: int, wire: bytes, context: object
) -> tuple[bytes, object]:
    """Return a message with its signature, and what the next one's begins with."""
    assert reply.key is not None
    key = tsig_key(reply.key)
    if reply.signed is not None and number not in reply.signed:
        context.update(wire)  # type: ignore[attr-defined]
        return wire, context
    now = int(time.time()) + reply.skew
    record = TSIG(  # type: ignore[no-untyped-call]
        255, 250, key.algorithm, now, 300, b"", query.id, 0, b""
    )
    signed, context = dns.tsig.sign(  # type: ignore[no-untyped-call]
        wire, key, record, now, query.mac, context, multi=True
    )
    data = signed.to_wire()
    assert data is not None
    owner = reply.key.name.wire
    (count,) = struct.unpack_from("!H", wire, 10)
    head = owner + struct.pack("!HHIH", 250, 255, 0, len(data))
    return wire[:10] + struct.pack("!H", count + 1) + wire[12:] + head + data, context
