"""The rows of a list and the notes, both sorted by key, side by side.

Most rows of a list that comes again are as their notes are, and most rows of a new list have no
note: both are told apart here by their keys, some thousand at a time, so that neither the list nor
the notes are ever in memory as a whole. Owns how the notes are read in the order of their keys.
Does not own the state file, or the comparison of the rows that are neither (difference.py), which
made it and calls it. Everything blocks.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from itertools import accumulate, chain, pairwise
from typing import TYPE_CHECKING, Any, Protocol

from xdpctl.abi import TABLES
from xdpctl.rules.keys import lengths_of
from xdpctl.store.sorting import FIRST, SortedKeys, merged, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xdpctl.rules.keys import Options, Row
    from xdpctl.store.fresh import FreshRows
    from xdpctl.store.sorting import Sorter

WALK_STEP = 4_000
"""Notes read at a time: some milliseconds."""

_TABLES_REFS = frozenset(spec.ref for spec in TABLES.values())

ALIKE = "(origin = :origin AND action = :action AND reason = :reason AND expires IS :expires)"
UNLIKE = f"{ALIKE} IS NOT TRUE"
"""Whether a note is the origin's, with the options of the list's first row; or is not."""

_ROWS = """
SELECT key FROM note WHERE map = :map AND key > :after AND key < :end AND {0}
ORDER BY key LIMIT :limit
"""

_END_TO_END = f"SELECT CAST(group_concat(key, '') AS BLOB) FROM ({_ROWS})"  # noqa: S608 (constants)
"""Half the time of a row for each key."""

_WAITING = (
    "SELECT DISTINCT key FROM waiting WHERE map = :map AND key > :after ORDER BY key LIMIT :limit"
)

_ALL = (b"", b"\xff" * 512, 0)
"""What is before and behind every stored key, and that they have no common length."""


class Select(Protocol):
    """Runs a query on the state file."""

    def __call__(self, query: str, values: Mapping[str, object], /) -> Sequence[tuple[Any, ...]]:
        """Return its rows."""


class Notes:
    """The keys of the notes, and those where claims wait, as sorted streams.

    Args:
        select: reads the state file.
        origin: of the change.
        alike: the options of the list's first row.
        vanished: given a shared map's number, keys with a note in their order, and which stream
            they are of, forgets those that are no longer in the map, and returns them.

    Attributes:
        like: origin and options that make a note alike, for a query.
        are_alike: whether all notes that were read are.
    """

    def __init__(
        self,
        select: Select,
        origin: str,
        alike: Options,
        vanished: Callable[[int, list[bytes], str], list[bytes]],
    ) -> None:
        self._select = select
        self._vanished = vanished
        action, reason, expires, whose = alike
        self.like: dict[str, object] = {
            "origin": origin,
            "action": action if whose == origin else None,  # None: no note is
            "reason": reason,
            "expires": expires,
        }
        self.are_alike = True

    def of_map(self, ref: int) -> list[SortedKeys]:
        """Return the keys of a map's notes that are alike, of the others, and where claims wait.

        A row where a claim waits is not new, whatever has a note. The numbers mean nothing.
        """
        parts = self._noted(ref, ALIKE), self._noted(ref, UNLIKE), self._waiting(ref)
        return [SortedKeys((keys, 0) for keys in each) for each in parts]

    def _noted(self, ref: int, which: str) -> Iterator[Sequence[bytes]]:
        place = self.like | {"map": ref, "limit": WALK_STEP}
        for after, end, length in lengths_of(ref) or (_ALL,):
            place |= {"after": after, "end": end}
            while keys := self._some(which, place, length):
                place["after"] = keys[-1]
                self.are_alike &= which is ALIKE
                yield keys if ref in _TABLES_REFS else self._present(ref, keys, which)

    def _some(self, which: str, place: Mapping[str, object], length: int) -> Sequence[bytes]:
        """Return the next keys."""
        if not length:
            return list(chain.from_iterable(self._select(_ROWS.format(which), place)))
        found = self._select(_END_TO_END.format(which), place)[0][0]
        return _divider(len(found) // length, length).unpack(found) if found else ()

    def _present(self, ref: int, keys: Sequence[bytes], which: str) -> Sequence[bytes]:
        """Return the keys that are still in their map."""
        lost = set(self._vanished(ref, list(keys), which))
        return [key for key in keys if key not in lost] if lost else keys

    def _waiting(self, ref: int) -> Iterator[Sequence[bytes]]:
        place: dict[str, object] = {"map": ref, "after": b"", "limit": WALK_STEP}
        while rows := self._select(_WAITING, place):
            keys = list(chain.from_iterable(rows))
            yield keys
            place["after"] = keys[-1]


class Matching:
    """What the keys say about the rows of a list.

    Args:
        rows: the list's; all have come.
        notes: that there are.
        origin: of the change.
        fresh: gets the rows that have no note.
        whole: whether the notes of all keys are read, not only those up to the last row.

    Attributes:
        came: how many notes are as their rows.
    """

    def __init__(
        self, rows: Sorter, notes: Notes, origin: str, fresh: FreshRows, *, whole: bool
    ) -> None:
        self._rows = rows
        self._notes = notes
        self._origin = origin
        self._fresh = fresh
        self._whole = whole
        self._options = rows.options
        self.came = 0

    def of_map(self, ref: int) -> Iterator[tuple[list[Row], Iterable[bytes]]]:
        """Compare the rows of a map; what is yielded is together all that the keys do not say.

        Yields:
            Rows that SQLite compares, and keys of notes that are alike and have no row.
        """
        by_origin = self._rows.heads(ref)
        own = by_origin.pop(self._origin, [])
        of_list = [own, *by_origin.values()]
        heads = list(chain.from_iterable(of_list))
        is_whole = self._whole or ref not in _TABLES_REFS
        if not (heads or is_whole):
            return
        noted = self._notes.of_map(ref)
        ends = list(accumulate(map(len, of_list), initial=len(noted)))
        for parts in windows([*noted, *heads]):
            (standing, _), (unlike, _), (waiting, _) = parts[: len(noted)]
            rows = [merged(parts[start:end]) for start, end in pairwise(ends)]
            yield self._compared(ref, set(standing), {*unlike, *waiting}, rows)
            if not (is_whole or any(heads)):
                return

    def _compared(
        self, ref: int, standing: set[bytes], others: set[bytes], of_list: list[dict[bytes, int]]
    ) -> tuple[list[Row], Iterable[bytes]]:
        """Compare the rows of one range of keys, the origin's first, with what is noted there."""
        others -= standing
        own, *of_others = of_list
        came = standing.intersection(own)
        unlike = [key for key in came if own[key] != FIRST] if any(own.values()) else []
        self.came += len(came) - len(unlike)
        fresh = own
        if others:
            unlike += others.intersection(own)
        if len(came) == len(own):
            fresh = {}
        elif came or unlike:
            fresh = {k: n for k, n in own.items() if k not in standing and k not in others}
        rows = self._rows_of(ref, own, unlike)
        for theirs in filter(None, of_others):
            unlike = [k for k in theirs if k in standing or k in others or k in fresh]
            rows += self._rows_of(ref, theirs, unlike)
            taken = set(unlike)
            fresh = {k: n for k, n in theirs.items() if k not in taken} | fresh
        if fresh:
            keys = sorted(fresh)
            several = any(fresh.values())
            numbers = [fresh[key] for key in keys] if several else [FIRST] * len(keys)
            self._fresh.add(ref, keys, numbers)
        return rows, standing.difference(own) if len(came) < len(standing) else ()

    def _rows_of(self, ref: int, numbers: Mapping[bytes, int], keys: Iterable[bytes]) -> list[Row]:
        options = self._options
        return [(ref, key, *options[numbers[key]]) for key in keys]


@lru_cache(maxsize=4)
def _divider(count: int, length: int) -> struct.Struct:
    """Return what divides so many keys that are end to end."""
    return struct.Struct(f"{length}s" * count)
