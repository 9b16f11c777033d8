"""A table of the names of one zone, as the program reads it (abi.h, "Limits of zones").

Owns where a name's word is, how often records hold it there, and the order in which words change
under a reader: a name that stays is never absent. Does not own hashes (hashing.py), the zone's
records (counting.py) or the kernel's memory, which gets a copy (follower.py).
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from xdpctl.abi import (
    SPREAD,
    ZONE_BUCKET_WORDS,
    ZONE_NAME_BELOW,
    ZONE_NAME_ENTRY,
    ZONE_TAG_FLAGS,
    encode_zone_names_head,
)
from xdpctl.errors import XdpctlError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_U64 = (1 << 64) - 1
_U32 = (1 << 32) - 1
_BELOW = 32
"""Shift, in a count, of the records that make everything below a name exist."""

_ONE_BELOW = 1 << _BELOW
_RECORDS_MAX = _U32
_FEWEST = 8
_LOAD = ZONE_BUCKET_WORDS // 2
"""Names a bucket has on average at most: twice as many fit."""

BUCKETS_MAX = 1 << 22
"""Room for 16 million names in 256 MiB."""


def count(records: int, below: int = 0) -> int:
    """Return a count: records at a name or below it, and those that make all below it exist."""
    return records + (below << _BELOW)


class NameTable:
    """The names of one zone.

    Args:
        buckets: a power of two.

    Attributes:
        words: ZONE_BUCKET_WORDS a bucket; 0, or a tag with its flags.
        counts: beside each word, what `count` gives.
        names: how many there are.
        apex: how many records make everything in the zone exist.
    """

    def __init__(self, buckets: int = _FEWEST) -> None:
        self.words = array("Q", bytes(8 * ZONE_BUCKET_WORDS * buckets))
        self.counts = array("Q", bytes(8 * ZONE_BUCKET_WORDS * buckets))
        self.names = 0
        self.apex = 0

    @property
    def buckets(self) -> int:
        """How many buckets there are."""
        return len(self.words) // ZONE_BUCKET_WORDS

    def head(self) -> bytes:
        """Return the first bucket of the kernel's table, which is in front of these."""
        return encode_zone_names_head(self.buckets - 1, self.names)

    def holds(self, tag: int) -> bool:
        """Return whether a name is there."""
        return self._slot(tag) is not None

    def all_below(self, tag: int) -> bool:
        """Return whether everything below a name exists."""
        slot = self._slot(tag)
        return slot is not None and bool(self.words[slot] & ZONE_NAME_BELOW)

    def add(self, tag: int, more: int) -> int:
        """Add a count to a name, which comes with it; return the number of its word.

        The table grows if it must: then every word has another number, and `words` is new.
        """
        slot = self._slot(tag)
        if slot is None:
            if self.names >= _LOAD * self.buckets:
                self._grow()
            slot = self._free(tag)
            while slot is None:
                self._grow()
                slot = self._free(tag)
            self.names += 1
            self.counts[slot] = 0
        self._set(slot, tag, self.counts[slot] + more)
        return slot

    def take(self, tag: int, less: int) -> int | None:
        """Take a count from a name; return the number of its word.

        None: it does not have that much, and nothing is changed.
        """
        slot = self._slot(tag)
        if slot is None or not _has(self.counts[slot], less):
            return None
        left = self.counts[slot] - less
        if left:
            self._set(slot, tag, left)
        else:
            self.words[slot] = 0
            self.counts[slot] = 0
            self.names -= 1
        return slot

    def fits(self, more: Mapping[int, int], less: Mapping[int, int]) -> bool:
        """Return whether each name has what is to be taken from it, after what comes."""
        return all(
            _has(self.count_of(tag) + more.get(tag, 0), amount) for tag, amount in less.items()
        )

    def apply(self, more: Mapping[int, int], less: Mapping[int, int]) -> Iterator[list[int]]:
        """Add to names, then take from others; yield the numbers of the words after each.

        A caller copies these words to the kernel before it goes on; so no name that stays is
        ever absent there. If the table has grown, the caller sees another `words`. The
        changes fit (`fits`).
        """
        slots = [self.add(tag, amount) for tag, amount in more.items()]
        yield slots
        yield [slot for tag, amount in less.items() if (slot := self.take(tag, amount)) is not None]

    def count_of(self, tag: int) -> int:
        """Return a name's count; 0 if it is not there."""
        slot = self._slot(tag)
        return 0 if slot is None else self.counts[slot]

    def _set(self, slot: int, tag: int, amount: int) -> None:
        self.counts[slot] = amount
        self.words[slot] = tag | ZONE_NAME_ENTRY | (ZONE_NAME_BELOW if amount >= _ONE_BELOW else 0)

    def _slot(self, tag: int) -> int | None:
        plain, below = tag | ZONE_NAME_ENTRY, tag | ZONE_NAME_ENTRY | ZONE_NAME_BELOW
        for start in self._starts(tag):
            bucket = self.words[start : start + ZONE_BUCKET_WORDS]
            if plain in bucket:
                return start + bucket.index(plain)
            if below in bucket:
                return start + bucket.index(below)
        return None

    def _free(self, tag: int) -> int | None:
        """Return the first free word of the emptier one of a name's two buckets."""
        first, second = self._starts(tag)
        bucket, start = self.words[first : first + ZONE_BUCKET_WORDS], first
        other = self.words[second : second + ZONE_BUCKET_WORDS]
        if other.count(0) > bucket.count(0):
            bucket, start = other, second
        return start + bucket.index(0) if 0 in bucket else None

    def _starts(self, tag: int) -> tuple[int, int]:
        """Return where a name's two buckets start."""
        mask = len(self.words) // ZONE_BUCKET_WORDS - 1
        mixed = tag >> 4
        mixed ^= mixed >> 32
        mixed = mixed * SPREAD & _U64
        mixed ^= mixed >> 32
        return (mixed & mask) * ZONE_BUCKET_WORDS, (mixed >> 32 & mask) * ZONE_BUCKET_WORDS

    def _grow(self) -> None:
        """Double the buckets; a name's places follow from its tag alone."""
        former_words, former_counts = self.words, self.counts
        buckets = 2 * self.buckets
        while buckets <= BUCKETS_MAX:
            self.words = array("Q", bytes(8 * ZONE_BUCKET_WORDS * buckets))
            self.counts = array("Q", bytes(8 * ZONE_BUCKET_WORDS * buckets))
            if self._carry(former_words, former_counts):
                return
            buckets *= 2
        self.words, self.counts = former_words, former_counts
        raise XdpctlError(
            f"the zone has more than {_LOAD * BUCKETS_MAX:,} names, which is all that a zone limit"
            " can know"
        )

    def _carry(self, words: array[int], counts: array[int]) -> bool:
        for number, word in enumerate(words):
            if word:
                slot = self._free(word & ~ZONE_TAG_FLAGS)
                if slot is None:
                    return False
                self.words[slot], self.counts[slot] = word, counts[number]
        return True


def _has(have: int, less: int) -> bool:
    """Return whether a count has another one in it, both its parts."""
    return have & _U32 >= less & _U32 and have >> _BELOW >= less >> _BELOW
