"""DNS cookies as a server makes them (RFC 9018), from the text of the RFC: SipHash-2-4 included."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.packets.message import OPT, RD, query

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

_U64 = (1 << 64) - 1
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)
COOKIE_OPTION = 10
CLIENT_PART = bytes.fromhex("2464c4abcf10c957")


def siphash(key: bytes, data: bytes) -> bytes:
    """Return SipHash-2-4 of the data, eight octets."""
    k0, k1 = struct.unpack("<2Q", key)
    v = [word ^ k for word, k in zip(_INITIAL, (k0, k1, k0, k1), strict=True)]
    padded = data + bytes(7 - len(data) % 8) + bytes([len(data) & 0xFF])
    for (word,) in struct.iter_unpack("<Q", padded):
        v[3] ^= word
        _rounds(v, 2)
        v[0] ^= word
    v[2] ^= 0xFF
    _rounds(v, 4)
    return struct.pack("<Q", v[0] ^ v[1] ^ v[2] ^ v[3])


def _rounds(v: list[int], count: int) -> None:
    def left(word: int, bits: int) -> int:
        return (word << bits | word >> (64 - bits)) & _U64

    for _ in range(count):
        v[0] = v[0] + v[1] & _U64
        v[1] = left(v[1], 13) ^ v[0]
        v[0] = left(v[0], 32)
        v[2] = v[2] + v[3] & _U64
        v[3] = left(v[3], 16) ^ v[2]
        v[0] = v[0] + v[3] & _U64
        v[3] = left(v[3], 21) ^ v[0]
        v[2] = v[2] + v[1] & _U64
        v[1] = left(v[1], 17) ^ v[2]
        v[2] = left(v[2], 32)


def server_cookie(
    key: bytes, source: IPv4Address | IPv6Address, stamp: int, client: bytes = CLIENT_PART
) -> bytes:
    """Return client and server cookie: 24 octets.

    Args:
        key: the server's secret, 16 octets.
        source: the client's address.
        stamp: Unix time, modulo 2^32.
        client: the client's part, 8 octets.
    """
    head = client + b"\1\0\0\0" + struct.pack("!I", stamp)
    return head + siphash(key, head + source.packed)


def query_with(cookie: bytes, name: str = "www.example") -> bytes:
    """Return a query whose OPT has this cookie alone."""
    option = struct.pack("!HH", COOKIE_OPTION, len(cookie)) + cookie
    record = struct.pack("!BHHIH", 0, OPT, 1232, 0, len(option)) + option
    return query(name, flags=RD, counts=(1, 0, 0, 1), behind=record)
