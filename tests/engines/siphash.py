"""SipHash-2-4, from its paper: what DNS cookies are made with (RFC 9018)."""

from __future__ import annotations

import struct

_U64 = (1 << 64) - 1
_INITIAL = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


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
