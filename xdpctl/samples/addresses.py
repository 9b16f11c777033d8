"""Truncates the addresses of clients in a frame (`sample-addresses`).

What is left of a frame tells of its sender no more than a prefix: the host's bits of the source
address are 0, and so are those of an EDNS client subnet (RFC 7871). Checksums over the address
would give its bits away, so those of UDP and TCP are 0, and IPv4's is that of the new header.
What is not UDP or TCP right behind the IP header is cut there, and so is what is not IP: a tunnel,
an ICMP error or ARP has addresses inside. TCP is cut behind its header, UDP behind the first
question of a DNS message and the OPT record that may follow. Owns this. Does not own who asks for
it. Pure; called by reader.py.
"""

from __future__ import annotations

from dataclasses import dataclass

_ETHERNET, _VLAN = 14, 4
_VLAN_TYPES = (b"\x81\x00", b"\x88\xa8")
_IPV4, _IPV6 = b"\x08\x00", b"\x86\xdd"
_IPV4_HEADER, _IPV6_HEADER = 20, 40
_TCP, _UDP = 6, 17
_UDP_HEADER, _TCP_HEADER = 8, 20
_DNS_HEADER = 12
_OPT, _OPT_FIXED = b"\0\0\x29", 11
_CLIENT_SUBNET = 8
_LABEL_MAX = 63
_FRAGMENT = 0x3FFF


@dataclass(frozen=True, slots=True)
class Truncation:
    """Truncates frames when it is called.

    Attributes:
        v4, v6: bits of an address that are kept.
    """

    v4: int
    v6: int

    def __call__(self, frame: bytes) -> bytes:
        """Return what may be kept of a frame, which may end anywhere."""
        at = _ETHERNET
        kind = frame[12:14]
        while kind in _VLAN_TYPES and len(frame) >= at + _VLAN:
            kind, at = frame[at + 2 : at + 4], at + _VLAN
        octets = bytearray(frame)
        if kind == _IPV4 and len(frame) >= at + _IPV4_HEADER:
            self._ipv4(octets, at)
        elif kind == _IPV6 and len(frame) >= at + _IPV6_HEADER:
            self._ipv6(octets, at)
        else:
            del octets[at:]
        return bytes(octets)

    def _ipv4(self, octets: bytearray, at: int) -> None:
        behind = at + _IPV4_HEADER
        _clear(octets, at + 12, 4, self.v4)
        octets[at + 10 : at + 12] = b"\0\0"
        whole = octets[at] == 0x45 and not _number(octets, at + 6) & _FRAGMENT  # noqa: PLR2004 - no options
        self._transport(octets, behind, octets[at + 9] if whole else -1)
        octets[at + 10 : at + 12] = _checksum(octets[at:behind]).to_bytes(2, "big")

    def _ipv6(self, octets: bytearray, at: int) -> None:
        _clear(octets, at + 8, 16, self.v6)
        self._transport(octets, at + _IPV6_HEADER, octets[at + 6])

    def _transport(self, octets: bytearray, at: int, protocol: int) -> None:
        """Truncate what is behind the IP header; of another protocol nothing is left."""
        if protocol == _UDP and len(octets) >= at + _UDP_HEADER:
            octets[at + 6 : at + 8] = b"\0\0"
            self._message(octets, at + _UDP_HEADER)
        elif protocol == _TCP and len(octets) >= at + _TCP_HEADER:
            octets[at + 16 : at + 18] = b"\0\0"
            del octets[at + _TCP_HEADER :]
        else:
            del octets[at:]

    def _message(self, octets: bytearray, start: int) -> None:
        """Keep of a DNS message its header, first question, and the OPT record behind it."""
        end = start + _DNS_HEADER
        questions, answers, authorities = (_number(octets, start + at) for at in (4, 6, 8))
        if questions:
            end = _end_of_name(octets, end) + 4
        opt = octets[end : end + 3] == _OPT and not answers and not authorities
        if questions == 1 and opt and len(octets) >= end + _OPT_FIXED:
            options = end + _OPT_FIXED
            end = options + _number(octets, end + 9)
            self._options(octets, options, min(end, len(octets)))
        del octets[end:]

    def _options(self, octets: bytearray, at: int, end: int) -> None:
        """Truncate the client subnet among the options of an OPT record."""
        while at + 4 <= end:
            code, length = _number(octets, at), _number(octets, at + 2)
            if code == _CLIENT_SUBNET:
                family = _number(octets, at + 4) if at + 6 <= end else 0
                kept = {1: self.v4, 2: self.v6}.get(family, 0)
                _clear(octets, at + 8, max(0, min(length - 4, end - at - 8)), kept)
                if at + 6 < end:
                    octets[at + 6] = min(octets[at + 6], kept)
            at += 4 + length


def _number(octets: bytearray, at: int) -> int:
    return int.from_bytes(octets[at : at + 2], "big")


def _clear(octets: bytearray, at: int, size: int, kept: int) -> None:
    """Set all bits behind the first `kept` of an address to 0."""
    mask = ((1 << 8 * size) - 1) >> kept
    value = int.from_bytes(octets[at : at + size], "big") & ~mask
    octets[at : at + size] = value.to_bytes(size, "big")


def _end_of_name(octets: bytearray, at: int) -> int:
    """Return where a name ends; four octets before its first pointer, if it has one."""
    while at < len(octets) and octets[at]:
        if octets[at] > _LABEL_MAX:
            return at - 4  # the caller adds the length of type and class: the pointer is cut
        at += octets[at] + 1
    return at + 1


def _checksum(header: bytes | bytearray) -> int:
    total = sum(int.from_bytes(header[at : at + 2], "big") for at in range(0, len(header), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
