"""Frames: Ethernet, VLAN tags, IPv4, IPv6 with its extension headers, UDP, TCP.

Composed from the inside out, `ethernet(ipv4(Udp(query("www.example"))))`; every
length, checksum and field is right unless an argument says otherwise. DNS messages
are message.py's. Shares no code with the oracle, checksums included: answers that
are expected in the table are built here.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENT_MAC = bytes.fromhex("02005e000001")
SERVER_MAC = bytes.fromhex("02005e000053")
MULTICAST_MAC = bytes.fromhex("01005e0000fb")
BROADCAST_MAC = b"\xff" * 6

CLIENT4 = "192.0.2.1"
SERVER4 = "198.51.100.53"
CLIENT6 = "2001:db8:1::1"
SERVER6 = "2001:db8:53::53"
UNSPECIFIED4 = "0.0.0.0"  # noqa: S104 - a packet's address, nothing is bound to it

CLIENT_PORT = 40000
DNS_PORT = 53

VLAN = 0x8100
QINQ = 0x88A8
ETHERTYPE_IPV4 = 0x0800
ETHERTYPE_IPV6 = 0x86DD

TCP = 6
UDP = 17

DF = 0x4000
MF = 0x2000
RESERVED = 0x8000
"""Flags of IPv4's fragment word."""


class Checksum(Enum):
    """What stands in a UDP checksum field in place of a number."""

    RIGHT = "right"
    HALF_DONE = "half-done"  # the pseudo header's sum, left to a card that never came


def internet_checksum(data: bytes) -> int:
    """Return RFC 1071's checksum, word by word."""
    return ~_words(data) & 0xFFFF


def _words(data: bytes) -> int:
    total = 0
    for at in range(0, len(data), 2):
        total += int.from_bytes(data[at : at + 2].ljust(2, b"\0"), "big")
        total = (total & 0xFFFF) + (total >> 16)
    return total


def _pseudo_header(source: str, destination: str, protocol: int, length: int) -> bytes:
    ends = ip_address(source).packed + ip_address(destination).packed
    return ends + struct.pack("!HH", protocol, length)


class Upper(Protocol):
    """What an IP packet carries."""

    @property
    def protocol(self) -> int:
        """Protocol or next-header number."""

    def wire(self, source: str, destination: str) -> bytes:
        """Return the octets; the addresses are for the checksum."""


@dataclass(frozen=True, slots=True)
class Udp:
    """A UDP datagram; `length` and `checksum` may lie."""

    payload: bytes
    sport: int = CLIENT_PORT
    dport: int = DNS_PORT
    length: int | None = None
    checksum: int | Checksum = Checksum.RIGHT
    protocol: int = UDP

    def wire(self, source: str, destination: str) -> bytes:
        """Return header and payload."""
        real = 8 + len(self.payload)
        length = real if self.length is None else self.length
        ports = struct.pack("!HHH", self.sport, self.dport, length)
        pseudo = _pseudo_header(source, destination, UDP, real)
        if isinstance(self.checksum, int):
            checksum = self.checksum
        elif self.checksum is Checksum.HALF_DONE:
            checksum = _words(pseudo)
        else:
            whole = pseudo + ports + b"\0\0" + self.payload
            checksum = internet_checksum(whole) or 0xFFFF
        return ports + struct.pack("!H", checksum) + self.payload


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP segment without options; its checksum is left at zero, nobody reads it."""

    payload: bytes = b""
    sport: int = CLIENT_PORT
    dport: int = DNS_PORT
    flags: int = 0x02
    protocol: int = TCP

    def wire(self, source: str, destination: str) -> bytes:
        """Return header and payload."""
        del source, destination
        fixed = struct.pack(
            "!HHIIBBHHH", self.sport, self.dport, 1, 0, 5 << 4, self.flags, 512, 0, 0
        )
        return fixed + self.payload


@dataclass(frozen=True, slots=True)
class Raw:
    """Any octets under any protocol number."""

    protocol: int
    payload: bytes = b""

    def wire(self, source: str, destination: str) -> bytes:
        """Return the octets."""
        del source, destination
        return self.payload


def ipv4(  # noqa: PLR0913 - one argument a field of the header
    upper: Upper,
    *,
    source: str = CLIENT4,
    destination: str = SERVER4,
    version: int = 4,
    ihl: int | None = None,
    tos: int = 0,
    total_length: int | None = None,
    ident: int = 0xBEEF,
    flags: int = 0,
    offset: int = 0,
    ttl: int = 61,
    options: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    """Return an IPv4 packet.

    `ihl` (words of four octets), `total_length` and `checksum` are right where they are
    not given. `flags` are DF, MF, RESERVED; `offset` is a fragment's, in units of eight
    octets; `options` are whole words, 40 octets at most.
    """
    body = upper.wire(source, destination)
    words = 5 + len(options) // 4
    length = words * 4 + len(body) if total_length is None else total_length
    first = version << 4 | (words if ihl is None else ihl)
    ends = IPv4Address(source).packed + IPv4Address(destination).packed
    start = struct.pack("!BBHHHBB", first, tos, length, ident, flags | offset, ttl, upper.protocol)
    if checksum is None:
        checksum = internet_checksum(start + b"\0\0" + ends + options)
    return start + struct.pack("!H", checksum) + ends + options + body


@dataclass(frozen=True, slots=True)
class Extension:
    """An IPv6 extension header: its number, and its octets behind the next-header octet."""

    kind: int
    rest: bytes


HOP_BY_HOP_KIND = 0
ROUTING_KIND = 43
FRAGMENT_KIND = 44
AH_KIND = 51
DESTINATION_KIND = 60


def _options(kind: int, units: int, claims: int | None) -> Extension:
    length = units if claims is None else claims
    return Extension(kind, bytes([length]) + bytes(6 + units * 8))  # Pad1 is a zero octet


def hop_by_hop(units: int = 0, *, claims: int | None = None) -> Extension:
    """Return a hop-by-hop header of 8 + 8 * units octets, all padding.

    Args:
        units: what its length octet says.
        claims: what it says instead.
    """
    return _options(HOP_BY_HOP_KIND, units, claims)


def destination_options(units: int = 0, *, claims: int | None = None) -> Extension:
    """Return a destination options header, like `hop_by_hop`."""
    return _options(DESTINATION_KIND, units, claims)


def routing(units: int = 2, *, claims: int | None = None) -> Extension:
    """Return a routing header with no segments left and `units // 2` addresses."""
    length = units if claims is None else claims
    return Extension(ROUTING_KIND, bytes([length, 4, 0]) + bytes(4 + units * 8))


def authentication(words: int = 4, *, claims: int | None = None) -> Extension:
    """Return an authentication header of 8 + 4 * words octets (RFC 4302: words, less two)."""
    length = words if claims is None else claims
    return Extension(AH_KIND, bytes([length]) + bytes(6 + words * 4))


def fragment(offset: int = 0, *, more: bool = False, ident: int = 0xFEEDBEEF) -> Extension:
    """Return a fragment header; `offset` in units of eight octets."""
    return Extension(FRAGMENT_KIND, struct.pack("!BHI", 0, offset << 3 | more, ident))


def ipv6(  # noqa: PLR0913 - one argument a field of the header
    upper: Upper,
    *,
    source: str = CLIENT6,
    destination: str = SERVER6,
    version: int = 6,
    traffic_class: int = 0,
    flow_label: int = 0,
    payload_length: int | None = None,
    hop_limit: int = 61,
    extensions: Sequence[Extension] = (),
) -> bytes:
    """Return an IPv6 packet; `extensions` stand in this order before `upper`."""
    body = upper.wire(source, destination)
    following = upper.protocol
    for extension in reversed(extensions):
        body = bytes([following]) + extension.rest + body
        following = extension.kind
    length = len(body) if payload_length is None else payload_length
    first = version << 28 | traffic_class << 20 | flow_label
    ends = IPv6Address(source).packed + IPv6Address(destination).packed
    return struct.pack("!IHBB", first, length, following, hop_limit) + ends + body


@dataclass(frozen=True, slots=True)
class Tag:
    """A VLAN tag: the EtherType that announces it, and priority, DEI and VID."""

    ethertype: int = VLAN
    tci: int = 100


def ethernet(
    packet: bytes,
    *,
    source: bytes = CLIENT_MAC,
    destination: bytes = SERVER_MAC,
    tags: Sequence[Tag] = (),
    ethertype: int | None = None,
) -> bytes:
    """Return a frame.

    Args:
        packet: what the frame carries.
        source: MAC address.
        destination: MAC address.
        tags: outermost first.
        ethertype: of the packet; read from its version where it is not given.
    """
    if ethertype is None:
        ethertype = ETHERTYPE_IPV6 if packet[0] >> 4 == 6 else ETHERTYPE_IPV4
    types = [*(tag.ethertype for tag in tags), ethertype]
    wire = destination + source + struct.pack("!H", types[0])
    for tag, following in zip(tags, types[1:], strict=True):
        wire += struct.pack("!HH", tag.tci, following)
    return wire + packet


def pad(frame: bytes, size: int = 60, octet: bytes = b"\0") -> bytes:
    """Return the frame as a card pads it to Ethernet's least size."""
    return frame.ljust(size, octet)
