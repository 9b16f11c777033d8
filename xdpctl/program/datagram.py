"""A DNS query as a frame, byte by byte, to run a program on it.

For the self-test (selftest.py), and for `xdpctl test` (filter/dry_run.py). Owns the bytes of the
frame. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.program.config import ProgramConfig
    from xdpctl.rules import Question

A, RD = 1, 0x0100
"""Query type A; the flag that asks for recursion."""

ROOT = b"\0"

_ETHERTYPES: Final = {4: 0x0800, 6: 0x86DD}
_MACS = (bytes.fromhex("020000000001"), bytes.fromhex("020000000002"))
_UDP = 17
_SENDER_PORT = 40053
_SERVERS: Final = tuple(
    ip_address(text) for text in ("192.0.2.53", "192.0.2.54", "2001:db8::53", "2001:db8::54")
)
"""Destinations where every destination is filtered: two of a family, as no host asks itself."""

_ID, _IN = 0x1234, 1
_RA, _QR, _TC = 0x0080, 0x8000, 0x0200


@dataclass(frozen=True, slots=True)
class Datagram:
    """A UDP datagram with a DNS query in it, in an Ethernet frame.

    Attributes:
        flags: of the DNS header: RD unless given.
        macs: receiver and sender.
        name: of the question, in wire form; lower-case or not.
    """

    sender: IPv4Address | IPv6Address
    server: IPv4Address | IPv6Address
    sender_port: int
    server_port: int
    flags: int = RD
    macs: tuple[bytes, bytes] = _MACS
    name: bytes = ROOT
    qtype: int = A

    def frame(self) -> bytes:
        """Return the frame, with correct checksums."""
        question = self.name + struct.pack("!2H", self.qtype, _IN)
        message = struct.pack("!6H", _ID, self.flags, 1, 0, 0, 0) + question
        length = 8 + len(message)
        header = struct.pack("!4H", self.sender_port, self.server_port, length, 0)
        ends = self.sender.packed + self.server.packed
        total = ends + struct.pack("!2H", _UDP, length) + header + message
        udp = header[:6] + struct.pack("!H", _checksum(total) or 0xFFFF) + message
        version = self.sender.version
        ethernet = b"".join(self.macs) + struct.pack("!H", _ETHERTYPES[version])
        return ethernet + self._network_header(length) + udp

    def _network_header(self, length: int) -> bytes:
        ends = self.sender.packed + self.server.packed
        if self.sender.version == 6:  # noqa: PLR2004 - IPv6
            return struct.pack("!IHBB", 6 << 28, length, _UDP, 64) + ends
        fields = struct.pack("!BBHHHBBH", 0x45, 0, 20 + length, 0, 0, 64, _UDP, 0)
        return fields[:10] + struct.pack("!H", _checksum(fields + ends)) + ends

    def answer(self) -> Datagram:
        """Return the TC=1 answer to this query, which has RD set."""
        return Datagram(
            self.server,
            self.sender,
            self.server_port,
            self.sender_port,
            self.flags | _QR | _TC | _RA,
            (self.macs[1], self.macs[0]),
            self.name,
            self.qtype,
        )


def query_for(
    config: ProgramConfig,
    sender: IPv4Address | IPv6Address,
    question: Question,
    destinations: Iterable[tuple[IPv4Address | IPv6Address, int]] = (),
) -> Datagram:
    """Return a plain query that the program of a configuration filters, if it can.

    Args:
        config: of the program.
        sender: where the query comes from.
        question: the name and type that it asks for.
        destinations: what AF_XDP serves; a query to the first of the family is tested, so that
            a redirect is seen.
    """
    filtered = [net.network_address for net in config.addresses]
    served = [(address, port) for address, port in destinations if address != sender]
    servers = [*served, *((address, config.ports[0]) for address in (*filtered, *_SERVERS))]
    server, port = next(
        (address, port)
        for address, port in servers
        if address.version == sender.version and address != sender
    )
    return Datagram(
        sender,
        server,
        _SENDER_PORT,
        port,
        name=question.name.wire,
        qtype=question.qtype or A,
    )


def _checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071) of data, padded to whole words."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
