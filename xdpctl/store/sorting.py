"""The rows of a list, sorted by key, of which only some are in memory at a time.

Rows come in any order, and of rows for one claim the last counts. They are sorted some ten thousand
at a time, and kept in that order on the disk (spool.py); the sorted runs are then merged as they
are read. Owns that order, and the numbers that stand for options. Does not own what the rows are
compared with (matching.py). Everything blocks.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from xdpctl.rules.keys import Options
    from xdpctl.store.spool import Part, Place, Spool

RUN = 65_536
"""Rows that are sorted at once: some ten megabytes."""

PART = 4_096
"""Rows of a run that are read at once."""


FIRST = 0
"""The number of the options of the first row."""

_HAS_KEYS: Callable[[Part], object] = itemgetter(0)


class Sorter:
    """The rows of one list.

    Args:
        spool: keeps them.

    Attributes:
        numbers: of the options that came; `options` has them by number.
    """

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._arrived: dict[tuple[int, str], dict[bytes, int]] = {}
        self._left = RUN
        self._runs: dict[tuple[int, str], list[list[Place]]] = {}
        self.numbers: dict[Options, int] = {}

    @property
    def options(self) -> list[Options]:
        """The options that came, by their numbers."""
        return list(self.numbers)

    def add(self, ref: int, keys: Sequence[bytes], options: Options) -> None:
        """Take rows of one map that differ in their keys only; of an empty map there are none.

        Raises:
            StateError: there is no room.
        """
        if not keys:
            return
        number = self.numbers.setdefault(options, len(self.numbers))
        rows = self._arrived.setdefault((ref, options[3]), {})
        if len(keys) == 1:
            rows[keys[0]] = number
        else:
            rows.update(dict.fromkeys(keys, number))
        self._left -= len(keys)
        if self._left <= 0:
            self._sort()

    def _sort(self) -> None:
        """Sort what has arrived into a run, and keep it."""
        for whose, rows in self._arrived.items():
            keys = sorted(rows)
            alike = len(set(rows.values())) == 1
            number = next(iter(rows.values()))
            run = []
            for start in range(0, len(keys), PART):
                part = keys[start : start + PART]
                run.append(self._spool.write((part, number if alike else [rows[k] for k in part])))
            self._runs.setdefault(whose, []).append(run)
        self._arrived, self._left = {}, RUN

    def heads(self, ref: int) -> dict[str, list[SortedKeys]]:
        """Return the rows of a map as sorted streams by origin; of one claim the last counts.

        No row comes after this.

        Raises:
            StateError: there is no room. Reading the streams raises it too.
        """
        self._sort()
        return {
            origin: [SortedKeys(map(self._spool.read, run)) for run in runs]
            for (of, origin), runs in self._runs.items()
            if of == ref
        }


class SortedKeys:
    """A sorted stream of keys, and how far it was taken.

    Args:
        parts: of the stream, in their order; no key comes twice.
    """

    __slots__ = ("_at", "_keys", "_numbers", "_parts")

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = iter(parts)
        self._next()

    def _next(self) -> None:
        """Have the next part with a key at hand; nothing at the end."""
        self._keys, self._numbers = next(filter(_HAS_KEYS, self._parts), ((), 0))
        self._at = 0

    def __bool__(self) -> bool:
        """Whether there is more."""
        return bool(self._keys)

    @property
    def last(self) -> bytes:
        """The last key that is at hand."""
        return self._keys[-1]

    def take(self, bound: bytes) -> Part:
        """Take the keys up to and with `bound`, which is not behind `last`, and their numbers."""
        start, end = self._at, bisect_right(self._keys, bound, self._at)
        keys, numbers = self._keys, self._numbers
        if end == len(keys):
            self._next()
        else:
            self._at = end
        if (start, end) == (0, len(keys)):
            return keys, numbers
        return keys[start:end], numbers if isinstance(numbers, int) else numbers[start:end]

    def take_to(self, bound: bytes, into: set[bytes]) -> None:
        """Take all keys up to and with `bound`, however many are at hand."""
        while self and self.last <= bound:
            into.update(self.take(self.last)[0])
        if self:
            into.update(self.take(bound)[0])


def windows(heads: Sequence[SortedKeys]) -> Iterator[list[Part]]:
    """Take streams together: a part of each, so that what comes later has greater keys."""
    while lasts := [head.last for head in heads if head]:
        bound = min(lasts)
        yield [head.take(bound) for head in heads]


def merged(parts: Iterable[Part]) -> dict[bytes, int]:
    """Return the numbers of keys, in no order; of the same key in several parts the last."""
    found: dict[bytes, int] = {}
    for keys, numbers in parts:
        if isinstance(numbers, int):
            found.update(dict.fromkeys(keys, numbers))
        else:
            found.update(zip(keys, numbers, strict=True))
    return found
