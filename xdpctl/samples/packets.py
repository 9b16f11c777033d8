"""Who asked what: reads the headers and the question of a sampled frame.

The frame may end anywhere: a sample has only its first octets. What is not there, or is not what it
should be, is None; nothing raises. Follows the rows of "The way in" (PACKETS.md) where it decides
what a packet is: two VLAN tags, six extension headers, the first question. Owns `Packet`. Does not
own verdicts, which the filter gives. Pure; called by talkers.py, dnstap.py, selection.py and http/.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container

TCP, UDP = 6, 17
DNS_HEADER = 12
QR = 0x8000

_ETHERNET, _VLAN, _VLANS = 14, 4, 2
_VLAN_TYPES = (b"\x81\x00", b"\x88\xa8")
_IPV4_TYPE, _IPV6_TYPE = b"\x08\x00", b"\x86\xdd"
_IPV4_HEADER, _IPV6_HEADER, _UDP_HEADER, _PORTS = 20, 40, 8, 4
_OFFSET = 0x1FFF
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _OPTIONS = 0, 43, 44, 51, 60
_EXTENSIONS = frozenset({_HOP_BY_HOP, _ROUTING, _FRAGMENT, _AH, _OPTIONS})
_EXTENSIONS_MAX = 6
_LABEL_MAX, _NAME_MAX = 63, 255


@dataclass(frozen=True, slots=True)
class Packet:
    """The headers of a frame.

    Attributes:
        source, destination: addresses of the IP header, in network order: 4 or 16 octets; empty
            where the packet is not IP.
        protocol: of the IP payload; None where it is not in the frame, or there are no ports
            because it is a later fragment.
        source_port, port: of UDP or TCP; None where there are none in the frame.
        message: where a DNS message is in the frame, from its header to the end of UDP's data or of
            the frame; empty: there is none.
        flags: the second word of the DNS header; None: there is none.
        name: of the first question, in wire form and lower-case; None where it is not whole.
        qtype: its type.
    """

    source: bytes = b""
    destination: bytes = b""
    protocol: int | None = None
    source_port: int | None = None
    port: int | None = None
    message: range = range(0)
    flags: int | None = None
    name: bytes | None = None
    qtype: int | None = None

    @property
    def is_query(self) -> bool:
        """Whether it has a DNS header with QR = 0."""
        return self.flags is not None and not self.flags & QR


def address_of(packed: bytes) -> IPv4Address | IPv6Address:
    """Return an address of 4 or 16 octets."""
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)  # noqa: PLR2004 - IPv4


def read_packet(frame: bytes, encrypted: Container[int] = frozenset()) -> Packet:
    """Return what the headers of a frame say.

    Args:
        frame: its first octets, from its Ethernet header.
        encrypted: UDP ports behind which there is no plain DNS.
    """
    at = _ETHERNET
    kind = frame[12:14]
    for _ in range(_VLANS):
        if kind in _VLAN_TYPES:
            kind, at = frame[at + 2 : at + 4], at + _VLAN
    if kind == _IPV4_TYPE and len(frame) >= at + _IPV4_HEADER and frame[at] >> 4 == 4:  # noqa: PLR2004
        source, destination = frame[at + 12 : at + 16], frame[at + 16 : at + 20]
        is_later = _number(frame, at + 6) & _OFFSET
        size = (frame[at] & 15) * 4
        behind = at + size if size >= _IPV4_HEADER and not is_later else None
        protocol = frame[at + 9]
    elif kind == _IPV6_TYPE and len(frame) >= at + _IPV6_HEADER and frame[at] >> 4 == 6:  # noqa: PLR2004
        source, destination = frame[at + 8 : at + 24], frame[at + 24 : at + 40]
        protocol, behind = _walk(frame, frame[at + 6], at + _IPV6_HEADER)
    else:
        return Packet()
    if behind is None:
        return Packet(source, destination)
    if protocol not in {TCP, UDP} or len(frame) < behind + _PORTS:
        return Packet(source, destination, protocol)
    source_port, port = _number(frame, behind), _number(frame, behind + 2)
    start = behind + _UDP_HEADER
    if protocol == TCP or port in encrypted or len(frame) < start + DNS_HEADER:
        return Packet(source, destination, protocol, source_port, port)
    end = behind + max(_number(frame, behind + 4), _UDP_HEADER + DNS_HEADER)
    message = range(start, min(end, len(frame)))
    name, qtype = _question(frame, start) if _number(frame, start + 4) else (None, None)
    flags = _number(frame, start + 2)
    return Packet(source, destination, protocol, source_port, port, message, flags, name, qtype)


def _number(octets: bytes, at: int) -> int:
    return octets[at] << 8 | octets[at + 1]


def _walk(frame: bytes, kind: int, at: int) -> tuple[int, int | None]:
    """Return the protocol behind IPv6's extension headers and where it begins; None: nowhere."""
    for _ in range(_EXTENSIONS_MAX):
        if kind not in _EXTENSIONS:
            break
        if len(frame) < at + 8:
            return kind, None
        following = frame[at]
        if kind == _FRAGMENT:
            if _number(frame, at + 2) >> 3:
                return following, None
            at += 8
        else:
            at += (frame[at + 1] + 2) * 4 if kind == _AH else (frame[at + 1] + 1) * 8
        kind = following
    return kind, None if kind in _EXTENSIONS else at


def _question(frame: bytes, message: int) -> tuple[bytes | None, int | None]:
    """Return the name of the first question, and its type; None where it is not whole."""
    start = at = message + DNS_HEADER
    size = len(frame)
    while at < size and (length := frame[at]):
        if length > _LABEL_MAX:
            return None, None
        at += length + 1
    at += 1
    if at - start > _NAME_MAX or size < at + 4:
        return None, None
    return frame[start:at].lower(), _number(frame, at)


def question_end(frame: bytes, message: int) -> int | None:
    """Return where the first question of a message ends; None where it is not whole."""
    name, _ = _question(frame, message)
    return None if name is None else message + DNS_HEADER + len(name) + 4
