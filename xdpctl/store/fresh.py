"""Rows of a list that had no note when they were compared, in the order of their notes.

They wait on the disk (spool.py) until they are written, some thousand at a time. Owns their
numbering. Does not own how they are found (matching.py) or written (bulk.py). Everything blocks.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from itertools import repeat
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xdpctl.rules.keys import Options
    from xdpctl.store.spool import Part, Place, Spool

Fresh: TypeAlias = "tuple[int, bytes, Options]"
"""Map number, key as stored, and what is to be noted."""

PART = 4_000
"""Rows that are kept together: those that are written at once."""


class FreshRows:
    """The rows.

    Args:
        spool: keeps them.

    Attributes:
        by_map: how many there are, by the number of the map.
        options: what is to be noted, by the numbers that `add` is given.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ref = 0
        self._keys: list[bytes] = []
        self._numbers: list[int] = []
        self._starts: list[int] = []
        self._parts: list[tuple[int, Place]] = []
        self._at_hand: tuple[int, Part] = -1, ((), 0)
        self._kept = 0
        self.by_map = Counter[int]()
        self.options: Sequence[Options] = ()

    def __len__(self) -> int:
        return self._kept + len(self._keys)

    def add(self, ref: int, keys: Sequence[bytes], numbers: Sequence[int]) -> None:
        """Add rows of a map behind all others, with the numbers of their options.

        Raises:
            StateError: there is no room.
        """
        if ref != self._ref:
            self._keep(1)
            self._ref = ref
        self._keys += keys
        self._numbers += numbers
        self.by_map[ref] += len(keys)
        self._keep(PART)

    def end(self, options: Sequence[Options]) -> None:
        """Take what is to be noted; no row is added after this."""
        self._keep(1)
        self.options = options

    def _keep(self, least: int) -> None:
        """Keep what came, in whole parts; the rest if it has `least` rows."""
        while len(self._keys) >= least:
            numbers = self._numbers[:PART]
            alike = numbers.count(numbers[0]) == len(numbers)
            place = self._spool.write((self._keys[:PART], numbers[0] if alike else numbers))
            self._starts.append(self._kept)
            self._parts.append((self._ref, place))
            self._kept += len(numbers)
            del self._keys[:PART], self._numbers[:PART]

    def rows(self, start: int, end: int) -> Iterator[Fresh]:
        """Yield rows number start+1 to end, as far as there are so many.

        Raises:
            StateError: the disk fails.
        """
        number = max(bisect_right(self._starts, start) - 1, 0)
        while number < len(self._parts) and self._starts[number] < end:
            first, (ref, place) = self._starts[number], self._parts[number]
            if self._at_hand[0] != number:
                self._at_hand = number, self._spool.read(place)
            keys, numbers = self._at_hand[1]
            part = slice(max(start - first, 0), end - first)
            if isinstance(numbers, int):
                yield from zip(repeat(ref), keys[part], repeat(self.options[numbers]))
            else:
                options = map(self.options.__getitem__, numbers[part])
                yield from zip(repeat(ref), keys[part], options)
            number += 1
