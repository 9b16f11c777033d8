"""The keys of all notes, in memory while a list is read.

Most rows of a list that comes again are as their notes are, and most rows of a new list have no
note: both are told apart here by their keys, some thousand at a time. Owns these sets, which take
some 150 MB for a million rules. Does not own the state file, or the comparison of the rows that
are neither (difference.py), which made it and calls it.
"""

from __future__ import annotations

import struct
from collections import deque
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from xdpctl.abi import BY_REF, TABLES
from xdpctl.rules.keys import lengths_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from xdpctl.rules.keys import Block, Options, Row

WALK_STEP = 4_000
"""Notes read at a time: some milliseconds."""

_TABLES_REFS = frozenset(spec.ref for spec in TABLES.values())

_ALIKE = "(origin = :origin AND action = :action AND reason = :reason AND expires IS :expires)"
_UNLIKE = f"{_ALIKE} IS NOT TRUE"

_ROWS = "SELECT key FROM note WHERE map = :map AND key > :after AND {0} ORDER BY key LIMIT :limit"

_END_TO_END = (
    "SELECT CAST(group_concat(key, '') AS BLOB) FROM (SELECT key FROM note"
    " WHERE map = :map AND key > :after AND key < :end AND {0} ORDER BY key LIMIT :limit)"
)
"""Half the time of a row for each key."""


class Select(Protocol):
    """Runs a query on the state file."""

    def __call__(self, query: str, values: Mapping[str, object], /) -> Sequence[tuple[Any, ...]]:
        """Return its rows."""


class KeySets:
    """The keys of the notes, and of the rows that came.

    Args:
        select: reads the state file.
        origin: of the change.
        vanished: given a shared map's number and keys with a note, as stored, forgets those that
            are no longer in the map, and returns them.

    Attributes:
        fresh: by map, the rows that had no note.
    """

    def __init__(
        self, select: Select, origin: str, vanished: Callable[[int, list[bytes]], list[bytes]]
    ) -> None:
        self._select = select
        self._origin = origin
        self._vanished = vanished
        self._alike: Options | None = None
        self._like: dict[str, object] = {}
        self._standing: dict[int, set[bytes]] = {ref: set() for ref in BY_REF}
        self._others: dict[int, set[bytes]] = {ref: set() for ref in BY_REF}
        self._came: dict[int, list[Sequence[bytes]]] = {ref: [] for ref in BY_REF}
        self._stood = 0
        self._options: dict[Options, Options] = {}
        self.fresh: dict[int, dict[bytes, Options]] = {ref: {} for ref in BY_REF}

    # --- the notes ----------------------------------------------------------------

    def read(self, alike: Options) -> bool:
        """Read the keys of all notes, and which are the origin's and have these options.

        Returns:
            Whether there are notes that are not.
        """
        self._alike = alike
        action, reason, expires, origin = alike
        self._like = {
            "origin": self._origin,
            "action": action if origin == self._origin else None,  # None: no note is
            "reason": reason,
            "expires": expires,
        }
        for ref in BY_REF:
            self._read_notes(ref)
        unlike = any(self._others.values())
        for ref in BY_REF:
            self._read_waiting(ref)
        return unlike

    @property
    def like(self) -> dict[str, object]:
        """Origin and options that were given to `read`, for a query."""
        return self._like

    def _read_notes(self, ref: int) -> None:
        """Read the keys of one map's notes: those that are alike, then the others, if any."""
        count = "SELECT count(*) FROM note WHERE map = :map"
        left = int(self._select(count, {"map": ref})[0][0])
        for which, into in ((_ALIKE, self._standing), (_UNLIKE, self._others)):
            if left:
                left -= self._read_some(ref, which, into[ref], left)
        self._stood += len(self._standing[ref])

    def _read_some(self, ref: int, which: str, into: set[bytes], most: int) -> int:
        """Read the keys of those notes of a map that are alike, or not; return how many."""
        count = 0
        for keys in self._keys(ref, which):
            into.update(keys)
            if ref not in _TABLES_REFS:
                into.difference_update(self._vanished(ref, list(keys)))
            count += len(keys)
            if count == most:
                break
        return count

    def _keys(self, ref: int, which: str) -> Iterator[Sequence[bytes]]:
        """Yield these keys, some thousand at a time."""
        place = self._like | {"map": ref, "limit": WALK_STEP}
        for after, end, length in lengths_of(ref):
            place |= {"after": after, "end": end}
            while found := self._select(_END_TO_END.format(which), place)[0][0]:
                keys: Sequence[bytes] = _divider(len(found) // length, length).unpack(found)
                yield keys
                place["after"] = keys[-1]
        if not lengths_of(ref):
            place["after"] = b""
            while rows := self._select(_ROWS.format(which), place):
                keys = list(chain.from_iterable(rows))
                yield keys
                place["after"] = keys[-1]

    def _read_waiting(self, ref: int) -> None:
        """Read where claims wait: a row there is not new, whatever has a note."""
        rows = self._select("SELECT DISTINCT key FROM waiting WHERE map = :map", {"map": ref})
        self._others[ref].update(chain.from_iterable(rows))
        self._others[ref] -= self._standing[ref]

    # --- the list -----------------------------------------------------------------

    def keep_block(self, block: Block, *, alone: bool) -> Collection[bytes]:
        """Keep the rows of a block that are as their notes are, or have none.

        Args:
            block: of the list.
            alone: whether all rows of the list have had one origin so far.

        Returns:
            The keys of the others, which SQLite compares.
        """
        ref, keys, options = block.ref, block.keys, block.options
        standing, fresh = self._standing[ref], self.fresh[ref]
        is_alike = options == self._alike
        if is_alike and _take(standing, keys):
            self._came[ref].append(keys)
            return ()
        there = standing.intersection(keys)
        unlike = self._others[ref].intersection(keys)
        if there and options[3] == self._origin:
            standing -= there
            self._came[ref].append(list(there))
        new = set(keys).difference(there, unlike) if there or unlike else keys
        if not alone and not fresh.keys().isdisjoint(new):
            taken = {key for key in new if fresh.get(key, options)[3] != options[3]}
            unlike |= taken
            new = set(new) - taken
        options = self._options.setdefault(options, options)
        fresh.update(dict.fromkeys(new, options))
        return unlike if is_alike else unlike | there

    def keep(self, row: Row, *, alone: bool) -> bool:
        """Keep a row that is as its note is, or that has no note; the others SQLite compares.

        What came before seems to have no note, until `come_again` looks.
        """
        ref, key, options = row[0], row[1], row[2:]
        standing = self._standing[ref]
        if key in standing:
            if row[5] != self._origin:
                return False
            standing.remove(key)
            self._came[ref].append((key,))
            return options == self._alike
        if key in self._others[ref]:
            return False
        if not alone and self.fresh[ref].get(key, options)[3] != row[5]:
            return False
        self.fresh[ref][key] = self._options.setdefault(options, options)
        return True

    # --- what came of it ----------------------------------------------------------

    def came(self) -> int:
        """Return how many notes that are alike had a row."""
        return self._stood - sum(map(len, self._standing.values()))

    def come_again(self) -> Iterator[Row]:
        """Take out and yield the rows of entries that stood, came, and came again."""
        for ref, came in self._came.items():
            fresh = self.fresh[ref]
            for keys in came:
                if fresh.keys().isdisjoint(keys):
                    continue
                for key in fresh.keys() & keys:
                    yield ref, key, *fresh.pop(key)

    def left(self) -> Iterator[tuple[int, bytes]]:
        """Yield map number and key of the notes that are alike and had no row."""
        return ((ref, key) for ref, keys in self._standing.items() for key in keys)


def _take(standing: set[bytes], keys: Sequence[bytes]) -> bool:
    """Take keys out of a set if all are in it, each once."""
    left = iter(keys)
    try:
        deque(map(standing.remove, left), 0)
    except KeyError:
        missing = len(keys) - 1 - sum(1 for _ in left)
        standing.update(keys[:missing])
        return False
    return True


@lru_cache(maxsize=4)
def _divider(count: int, length: int) -> struct.Struct:
    """Return what divides so many keys that are end to end."""
    return struct.Struct(f"{length}s" * count)
