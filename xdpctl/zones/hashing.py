"""The keyed hash that stands for a name of a zone (abi.h, "Limits of zones").

Owns the sums over a name's labels and the tag that they give, as xdp/zone_limit.h computes them.
Does not own tables. Called by counting.py, and by the service for the names of zones.

Each label, from the root on, is one unit: its length octet and its octets, padded with zeros to
whole words of 64 bits. A word's keys are those of its number in the name. So the sums of a name
begin with those of the name above it.
"""

from __future__ import annotations

import hashlib
import secrets
import struct
import sys
from typing import Self

from xdpctl.abi import ZONE_NAME_WORDS, ZONE_SECRETS_SIZE, ZONE_TAG_FLAGS

_U64 = (1 << 64) - 1
_U32 = (1 << 32) - 1
_REMEMBERED = 10_000
"""Names whose sums are remembered; most records are near the one before."""

_Sums = tuple[int, int, int]
"""The sums a and b, and the number of the next word."""


class NameHash:
    """The hash of names under secret keys.

    Args:
        drawn: ZONE_SECRETS_SIZE random octets: u64 seeds a and b, then four u64 keys a word.
    """

    def __init__(self, drawn: bytes) -> None:
        seed_a, seed_b, *keys = struct.unpack(f"={ZONE_SECRETS_SIZE // 8}Q", drawn)
        self._root: _Sums = (seed_a, seed_b, 0)
        self._keys = [tuple(keys[4 * n : 4 * n + 4]) for n in range(ZONE_NAME_WORDS)]
        self._known: dict[bytes, _Sums] = {}
        self.drawn = drawn
        self.identity = hashlib.sha256(drawn).digest()[:16]
        """Tells two sets of keys apart, without giving any away."""

    @classmethod
    def random(cls) -> Self:
        """Return a hash under new keys."""
        return cls(secrets.token_bytes(ZONE_SECRETS_SIZE))

    def tag(self, wire: bytes) -> int:
        """Return what stands for a name: 62 bits, above two that are 0.

        Args:
            wire: lower-case name in wire form, of ZONE_LEVELS labels at most.
        """
        a, b, _ = self._sums(wire)
        return (a & ~_U32 | b >> 32) & ~ZONE_TAG_FLAGS

    def _sums(self, wire: bytes) -> _Sums:
        known = self._known.get(wire)
        if known is not None:
            return known
        length = wire[0]
        if not length:
            return self._root
        a, b, number = self._sums(wire[length + 1 :])
        label = wire[: length + 1]
        for start in range(0, length + 1, 8):
            word = int.from_bytes(label[start : start + 8].ljust(8, b"\0"), sys.byteorder)
            low, high = word & _U32, word >> 32
            k0, k1, k2, k3 = self._keys[number]
            a += (k0 + low) * (k1 + high)
            b += (k2 + low) * (k3 + high)
            number += 1
        sums = (a & _U64, b & _U64, number)
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        self._known[wire] = sums
        return sums
