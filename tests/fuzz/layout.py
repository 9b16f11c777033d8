"""Where the fields of a frame are, as far as it has them.

For mutating fields on purpose: a guess that may be wrong about a frame that is
broken already, and decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from tests.packets.build import ETHERTYPE_IPV4, ETHERTYPE_IPV6, QINQ, VLAN

_EXTENSIONS = (0, 43, 44, 51, 60)
_LINK = (("destination mac", 0, 1), ("source mac", 6, 1))
_IPV4 = (
    ("version, ihl", 0, 1),
    ("tos", 1, 1),
    ("total length", 2, 2),
    ("ip id", 4, 2),
    ("fragment", 6, 2),
    ("ttl", 8, 1),
    ("protocol", 9, 1),
    ("ip checksum", 10, 2),
    ("source", 12, 4),
    ("destination", 16, 4),
)
_IPV6 = (
    ("version, class", 0, 1),
    ("class, label", 1, 1),
    ("payload length", 4, 2),
    ("next header", 6, 1),
    ("hop limit", 7, 1),
    ("source", 8, 16),
    ("destination", 24, 16),
)
_EXTENSION = (("next header", 0, 1), ("header length", 1, 1), ("fragment", 2, 2))
_UPPER = (("sport", 0, 2), ("dport", 2, 2), ("udp length", 4, 2), ("udp checksum", 6, 2))
_DNS = (
    ("dns id", 0, 2),
    ("flags, high", 2, 1),
    ("flags, low", 3, 1),
    ("qdcount", 4, 2),
    ("ancount", 6, 2),
    ("nscount", 8, 2),
    ("arcount", 10, 2),
)
_QUESTION_END = (
    ("qtype", 0, 2),
    ("qclass", 2, 2),
    ("opt owner", 4, 1),
    ("opt type", 5, 2),
    ("opt flags", 11, 2),
)


class Field(NamedTuple):
    """`size` octets at `at`, wholly in the frame."""

    name: str
    at: int
    size: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The fields, and where headers begin; `dns` may lie behind the end."""

    fields: tuple[Field, ...]
    starts: tuple[int, ...]
    ip: int
    upper: int

    @property
    def dns(self) -> int:
        return self.upper + 8


@lru_cache(maxsize=4096)  # the table's frames come again and again
def layout_of(frame: bytes) -> Layout:
    """Return where its fields seem to be."""
    found: list[tuple[str, int, int]] = list(_LINK)
    at = 12
    found.append(("ethertype", at, 2))
    while _word(frame, at) in (VLAN, QINQ):
        found += [("tci", at + 2, 2), ("ethertype", at + 4, 2)]
        at += 4
    ethertype, ip = _word(frame, at), at + 2
    starts, upper = [14, ip], ip
    if ethertype == ETHERTYPE_IPV4:
        found += _shifted(_IPV4, ip)
        upper = ip + (_octet(frame, ip) & 15) * 4
    elif ethertype == ETHERTYPE_IPV6:
        found += _shifted(_IPV6, ip)
        following, upper = _octet(frame, ip + 6), ip + 40
        while following in _EXTENSIONS and upper < len(frame):
            found += _shifted(_EXTENSION, upper)
            starts.append(upper)
            length = _octet(frame, upper + 1)
            size = {44: 8, 51: (length + 2) * 4}.get(following, (length + 1) * 8)
            following, upper = _octet(frame, upper), upper + size
    found += _shifted(_UPPER, upper)
    found += _shifted(_DNS, upper + 8)
    end = upper + 20
    while end < len(frame) and 0 < frame[end] < 64:
        found.append(("label length", end, 1))
        end += frame[end] + 1
    found.append(("label length", end, 1))
    found += _shifted(_QUESTION_END, end + 1)
    starts += [upper, upper + 8, upper + 20, end, end + 1, end + 5, end + 16]
    fields = tuple(Field(*field) for field in found if field[1] + field[2] <= len(frame))
    return Layout(fields, tuple(min(start, len(frame)) for start in starts), ip, upper)


def _shifted(fields: tuple[tuple[str, int, int], ...], by: int) -> list[tuple[str, int, int]]:
    return [(name, at + by, size) for name, at, size in fields]


def _octet(frame: bytes, at: int) -> int:
    return frame[at] if at < len(frame) else 0


def _word(frame: bytes, at: int) -> int:
    return int.from_bytes(frame[at : at + 2], "big")
