"""How large our own tables are made, and the head that says so.

Owns the sizes: buckets by how full a table may become, filters by how many bits an entry has,
so that most packets need one load. Used by whoever makes a generation.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Self

from xdpctl import abi
from xdpctl.abi import MAPS, MapName

FULL = 0.9
"""Share of a table's slots up to which every entry is sure to find room."""

_LEAST_BUCKETS = 256
_LEAST_WORDS = 1024
_NAME_BITS = 24
_SOURCE_BITS = 8
"""Bits of a filter for each entry, at least."""

_ADDRESS_BITS = 32
_LEAST_ADDRESS_BITS = 16
"""Bits of the source filter's maps of IPv4 for each entry; address bits that it knows at least."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of one generation; all but the last are powers of two.

    Attributes:
        name_buckets, source_buckets: of the tables.
        name_words: of the name filter.
        source_words: of IPv6 in the source filter.
        address_bits: bits of an IPv4 address that the source filter tells apart.
    """

    name_buckets: int
    name_words: int
    source_buckets: int
    source_words: int
    address_bits: int

    @classmethod
    def for_entries(cls, names: int, sources: int) -> Self:
        """Return the sizes with room for so many names and zones, and so many sources."""
        return cls(
            name_buckets=_buckets(names),
            name_words=_power(names * _NAME_BITS / 64, _LEAST_WORDS),
            source_buckets=_buckets(sources),
            source_words=_power(sources * _SOURCE_BITS / 64, _LEAST_WORDS),
            address_bits=min(
                max((sources * _ADDRESS_BITS - 1).bit_length(), _LEAST_ADDRESS_BITS),
                abi.TABLE_SOURCE_BITS,
            ),
        )

    @property
    def name_room(self) -> int:
        """How many names and zones together are sure to find room."""
        return int(self.name_buckets * abi.TABLE_SLOTS * FULL)

    @property
    def source_room(self) -> int:
        """How many sources are sure to find room."""
        return int(self.source_buckets * abi.TABLE_SLOTS * FULL)

    def entries(self, name: MapName) -> int:
        """Return max_entries of a map of the generation."""
        sizes = {
            MapName.NAME_TABLE: self.name_buckets,
            MapName.NAME_FILTER: self.name_words,
            MapName.SOURCE_TABLE: self.source_buckets,
            MapName.SOURCE_FILTER: (1 << self.address_bits) // 256 + self.source_words // 8,
        }
        return sizes.get(name, MAPS[name].entries)

    def head(self, book_id: int) -> bytes:
        """Return the head of empty tables of these sizes, with secrets of its own."""
        size = abi.HEAD_BIT_NUMBERS_OFFSET - abi.HEAD_SECRETS_OFFSET
        return abi.encode_head(
            book_id,
            secrets.token_bytes(size),
            buckets=(self.name_buckets, self.source_buckets),
            words=(self.name_words, self.source_words),
            shift=32 - self.address_bits,
        )


def _buckets(entries: int) -> int:
    return _power(entries / (abi.TABLE_SLOTS * FULL), _LEAST_BUCKETS)


def _power(least: float, smallest: int) -> int:
    """Return the power of two that is neither below `least` nor below `smallest`."""
    return 1 << (max(int(least + 0.999), smallest) - 1).bit_length()
