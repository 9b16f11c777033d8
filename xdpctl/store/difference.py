"""A list of rules beside the notes: what is new, changed, gone.

Most rows of a list that comes again are as their notes are, and most rows of a new list have
no note: both are told apart by the notes' keys, which are read once and kept while the list
is read. SQLite compares the rest. A million rules take some 150 MB for that time. Owns a
connection of its own to the state file; what else it stages lives in temporary tables that go
with it. Everything blocks.

Single rules come and go between comparing and applying, so each step reads the notes
again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import chain, groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Self

from xdpctl.abi import BY_REF, TABLES
from xdpctl.errors import StateError
from xdpctl.rules.keys import Block

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from xdpctl.rules.keys import Options, Row, Rows
    from xdpctl.store.change import Change

    _Fresh: TypeAlias = tuple[int, bytes, Options]
    """Map number, key as stored, and what is to be noted."""

WALK_STEP = 4_000
"""Notes read at a time: some milliseconds."""

KEYS_AT_ONCE = 4_096
"""Keys of the same length whose notes one statement writes: binding each costs three times as
much as writing it."""

_COLUMNS = "map INTEGER, key BLOB, action INTEGER, reason TEXT, expires REAL, origin TEXT"

_TABLES_REFS = frozenset(spec.ref for spec in TABLES.values())

_TABLES = f"""
CREATE TEMP TABLE incoming ({_COLUMNS});
CREATE TEMP TABLE planned ({_COLUMNS}, PRIMARY KEY (map, key)) WITHOUT ROWID;
CREATE TEMP TABLE added ({_COLUMNS});
CREATE TEMP TABLE changed ({_COLUMNS});
CREATE TEMP TABLE standing (map INTEGER, key BLOB);
CREATE TEMP TABLE gone (map INTEGER, key BLOB);
"""

_DIFFERING = """
CREATE TEMP TABLE differing AS
SELECT planned.*, note.origin IS NULL AS is_new, (
        note.origin = planned.origin OR :take_over OR (:replace AND note.origin = :origin)
    ) AS is_its
FROM planned LEFT JOIN note USING (map, key)
WHERE note.key IS NULL OR note.origin != planned.origin OR note.action != planned.action
    OR note.reason != planned.reason OR note.expires IS NOT planned.expires
"""

_ALIKE = "(origin = :origin AND action = :action AND reason = :reason AND expires IS :expires)"

_KEYS_ALIKE, _KEYS_UNLIKE = (
    f"SELECT key FROM note WHERE map = :map AND key > :after AND {which} ORDER BY key LIMIT :limit"  # noqa: S608 (constants)
    for which in (_ALIKE, f"{_ALIKE} IS NOT TRUE")
)

_STAGE = "INSERT INTO incoming VALUES (?, ?, ?, ?, ?, ?)"

_ALIKE_TWICE = """
SELECT count(*) FROM planned JOIN note USING (map, key)
WHERE (note.origin = :origin AND note.action = :action AND note.reason = :reason
    AND note.expires IS :expires)
"""

_UNLIKE = """
INSERT INTO standing SELECT map, key FROM note WHERE origin = :origin
    AND (action IS NOT :action OR reason != :reason OR expires IS NOT :expires)
"""

_GONE = """
INSERT INTO gone SELECT map, key FROM standing WHERE NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.map = standing.map AND planned.key = standing.key)
ORDER BY map, key
"""

_STILL_GONE = """
SELECT map, key, note.hits FROM gone JOIN note USING (map, key)
WHERE gone.rowid > :start AND gone.rowid <= :end AND note.origin = :origin
"""

_STILL_NEW = """
SELECT added.map, added.key, added.action FROM added LEFT JOIN note USING (map, key)
WHERE added.rowid > :start AND added.rowid <= :end AND note.key IS NULL
"""

_NUMBERS = """
CREATE TEMP TABLE number (i INTEGER PRIMARY KEY);
WITH RECURSIVE counted (i) AS (VALUES (0) UNION ALL SELECT i + 1 FROM counted LIMIT :count)
INSERT INTO number SELECT i FROM counted;
"""

_NOTE_FRESH = """
INSERT OR IGNORE INTO note (map, key, action, origin, reason, created, expires, hits)
SELECT :map, substr(:keys, :size * i + 1, :size), :action, :origin, :reason, :created, :expires, 0
FROM number WHERE i < :count
"""

_NOTE_ADDED = """
INSERT OR IGNORE INTO note (map, key, action, origin, reason, created, expires, hits)
SELECT map, key, action, origin, reason, :created, expires, 0 FROM added
WHERE rowid > :start AND rowid <= :end
"""

_STILL_CHANGED = """
SELECT changed.map, changed.key, changed.action, note.action, note.hits
FROM changed JOIN note USING (map, key)
WHERE changed.rowid > :start AND changed.rowid <= :end AND (
        note.origin = changed.origin OR :take_over OR (:replace AND note.origin = :origin))
"""

_ADD_VANISHED = """
INSERT INTO added SELECT changed.* FROM changed LEFT JOIN note USING (map, key)
WHERE changed.rowid > :start AND changed.rowid <= :end AND note.key IS NULL
"""

_NOTE_CHANGED = """
UPDATE note SET
    action = changed.action, reason = changed.reason, expires = changed.expires,
    origin = changed.origin
FROM changed WHERE changed.map = note.map AND changed.key = note.key
    AND changed.rowid > :start AND changed.rowid <= :end AND (
        note.origin = changed.origin OR :take_over OR (:replace AND note.origin = :origin))
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a staged list differs from the notes, in entries.

    Attributes:
        others: entries that another origin of ours has already; they stay its.
        gone: of the origin, not in the list; 0 unless the list replaces.
    """

    added: int
    changed: int
    unchanged: int
    others: int
    gone: int


class _Columns:
    """Rows that had no note when the list began, in the order of their notes, by column.

    A million rows as tuples would take four times as much.
    """

    def __init__(self) -> None:
        self.refs: list[int] = []
        self._keys: list[bytes] = []
        self._options: list[Options] = []

    def __len__(self) -> int:
        return len(self.refs)

    def add(self, ref: int, rows: Mapping[bytes, Options]) -> None:
        """Add rows of one map."""
        keys = sorted(rows)
        self.refs += [ref] * len(keys)
        self._keys += keys
        if len(set(map(id, rows.values()))) == 1:  # a look-up of each would take longer
            self._options += [next(iter(rows.values()))] * len(keys)
        else:
            self._options += [rows[key] for key in keys]

    def rows(self, start: int, end: int) -> list[_Fresh]:
        """Return rows number start+1 to end."""
        part = slice(start, end)
        return list(zip(self.refs[part], self._keys[part], self._options[part], strict=True))


class Staging:
    """The staged list. A context manager.

    Args:
        path: the state file, which exists and is sound.
        change: what is asked for. With `replace`, what of the origin is not in the list is
            gone, and what another row names an origin for is no longer this one's. With
            `strict`, entries of other origins count as changed, not as others.
        vanished: is given this object, a shared map's number and keys with a note, as
            stored; forgets those that are no longer in the map, and returns them. Called for
            all its notes, some thousand at a time, before the list is compared with them.
    """

    def __init__(
        self,
        path: Path,
        change: Change,
        *,
        vanished: Callable[[Staging, int, list[bytes]], list[bytes]] = lambda *_: [],
    ) -> None:
        self._vanished = vanished
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30
        )
        self._whose: dict[str, object] = {
            "origin": change.origin,
            "replace": change.replace,
            "take_over": change.strict,
        }
        self._like: dict[str, object] = {}
        self._alike: Options | None = None
        self._standing: dict[int, set[bytes]] = {ref: set() for ref in BY_REF}
        self._others: dict[int, set[bytes]] = {ref: set() for ref in BY_REF}
        self._came: dict[int, list[Sequence[bytes]]] = {ref: [] for ref in BY_REF}
        self._stood = 0
        self._fresh: dict[int, dict[bytes, Options]] = {ref: {} for ref in BY_REF}
        self._options: dict[Options, Options] = {}
        self._added = _Columns()
        try:
            self._connection.execute("PRAGMA synchronous = NORMAL")
            self._connection.execute("PRAGMA cache_size = -8192")
            self._connection.executescript(_TABLES)
            self._connection.executescript(_NUMBERS.replace(":count", str(KEYS_AT_ONCE)))
        except sqlite3.Error as error:
            self._connection.close()
            raise StateError(
                f"cannot open the state file {path} for a list: {error}; restart the service,"
                " which says what is wrong with it"
            ) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    @contextlib.contextmanager
    def _working(self, begin: str = "BEGIN") -> Iterator[None]:
        """Make what is done inside one transaction.

        Raises:
            StateError: SQLite refused (disk full, file locked …).
        """
        try:
            with self._connection:
                self._connection.execute(begin)
                yield
        except sqlite3.Error as error:
            raise StateError(
                f"cannot work on the list beside the state file: {error}; see that the disks of"
                " --state and of temporary files have room and are writable"
            ) from error

    def load(self, rows: Iterable[Rows]) -> None:
        """Stage rows; if an entry comes twice, the last row counts.

        Raises:
            StateError: there is no room.
            Whatever `rows` raises; then the list cannot be compared.
        """
        unlike: list[Row] = []
        for row in rows:
            if self._alike is None:
                self._alike = row.options if isinstance(row, Block) else row[2:]
                self._read_notes(self._alike)
            if not isinstance(row, Block):
                if not self._is_kept(row):
                    unlike.append(row)
            elif not self._is_kept_whole(row):
                unlike += [each for each in row.rows() if not self._is_kept(each)]
        if unlike:
            with self._working():
                self._connection.executemany(_STAGE, unlike)

    def _read_notes(self, alike: Options) -> None:
        """Read the keys of all notes, and which are the origin's and as the list's first row is."""
        action, reason, expires, origin = alike
        self._like = self._whose | {"action": action, "reason": reason, "expires": expires}
        if origin != self._whose["origin"]:
            self._like["action"] = None  # none is
        for ref in self._standing:
            self._read_notes_of(ref)
        with self._working():
            self._connection.execute(_UNLIKE, self._like)

    def _read_notes_of(self, ref: int) -> None:
        """Read the keys of one map's notes: those that are alike, then the others, if any."""
        count = "SELECT count(*) FROM note WHERE map = ?"
        with self._working():
            left = int(self._connection.execute(count, (ref,)).fetchone()[0])
        for query, into in ((_KEYS_ALIKE, self._standing), (_KEYS_UNLIKE, self._others)):
            after = b""
            while left > 0:
                place = {"map": ref, "after": after, "limit": WALK_STEP}
                with self._working():
                    rows = self._connection.execute(query, self._like | place).fetchall()
                if not rows:
                    break
                after = rows[-1][0]
                left -= len(rows)
                into[ref].update(chain.from_iterable(rows))
                if ref not in _TABLES_REFS:
                    keys = [key for (key,) in rows]
                    into[ref].difference_update(self._vanished(self, ref, keys))
        self._stood += len(self._standing[ref])

    def _is_kept_whole(self, block: Block) -> bool:
        """Keep a block if all its rows are as their notes are, or none has a note."""
        ref, keys, options = block.ref, block.keys, block.options
        standing = self._standing[ref]
        if options == self._alike and standing.issuperset(keys):
            standing.difference_update(keys)
            self._came[ref].append(keys)
            return True
        if standing.isdisjoint(keys) and self._others[ref].isdisjoint(keys):
            options = self._options.setdefault(options, options)
            self._fresh[ref].update(dict.fromkeys(keys, options))
            return True
        return False

    def _is_kept(self, row: Row) -> bool:
        """Keep a row that is as its note is, or that has no note; the others SQLite compares.

        What came before seems to have no note, until `_come_again` looks.
        """
        ref, key, options = row[0], row[1], row[2:]
        standing = self._standing[ref]
        if key in standing:
            standing.remove(key)
            self._came[ref].append((key,))
            return options == self._alike
        if key in self._others[ref]:
            return False
        self._fresh[ref][key] = self._options.setdefault(options, options)
        return True

    def _come_again(self) -> Iterator[Row]:
        """Take out and yield the rows of entries that stood, came, and came again."""
        for ref, came in self._came.items():
            fresh = self._fresh[ref]
            for keys in came:
                if fresh.keys().isdisjoint(keys):
                    continue
                for key in fresh.keys() & keys:
                    yield ref, key, *fresh.pop(key)

    def compare(self) -> Difference:
        """Find out how the list differs from the notes that there are now."""
        if self._alike is None:  # an empty list
            self._read_notes((-1, "", None, ""))
        came = self._stood - sum(map(len, self._standing.values()))
        again = list(self._come_again())
        for ref, keys in self._fresh.items():
            self._added.add(ref, keys)
            keys.clear()
        run = self._connection.execute
        columns = "map, key, action, reason, expires, origin"
        with self._working():
            self._connection.executemany(_STAGE, again)
            run(
                "INSERT OR REPLACE INTO planned SELECT * FROM incoming"
                " ORDER BY map, key, incoming.rowid"
            )
            run("DROP TABLE incoming")
            run(_DIFFERING, self._whose)
            for table, which in (("added", "is_new"), ("changed", "is_its AND NOT is_new")):
                run(f"INSERT INTO {table} SELECT {columns} FROM differing WHERE {which}")  # noqa: S608 (constants)
            if self._whose["replace"]:
                self._find_gone()
            planned, differing, added, changed, gone = (
                self._count(table) for table in ("planned", "differing", "added", "changed", "gone")
            )
            came -= run(_ALIKE_TWICE, self._like).fetchone()[0]
            run("DROP TABLE differing")
        self._standing, self._others, self._came, self._fresh = {}, {}, {}, {}
        return Difference(
            len(self._added) + added,
            changed,
            planned - differing + came,
            differing - added - changed,
            gone,
        )

    def _find_gone(self) -> None:
        """Fill `gone`: what stood when the list began and is not in it."""
        left = ((ref, key) for ref, keys in self._standing.items() for key in keys)
        self._connection.executemany("INSERT INTO standing VALUES (?, ?)", left)
        self._connection.execute(_GONE)

    def _count(self, table: str) -> int:
        query = f"SELECT count(*) FROM {table}"  # noqa: S608 (constants)
        return int(self._connection.execute(query).fetchone()[0])

    def count_added(self) -> int:
        """Return how many entries are to be added, including those that vanished since."""
        with self._working():
            return len(self._added) + self._count("added")

    def added_by_map(self) -> dict[int, int]:
        """Return how many entries are to be added to each map, by its number."""
        counts = Counter(self._added.refs)
        with self._working():
            query = "SELECT map, count(*) FROM added GROUP BY map"
            counts.update(dict(self._connection.execute(query).fetchall()))
        return counts

    def gone_by_map(self) -> dict[int, int]:
        """Return how many entries are gone from each map, by its number."""
        with self._working():
            query = "SELECT map, count(*) FROM gone GROUP BY map"
            return dict(self._connection.execute(query).fetchall())

    def is_gone_below(self, ref: int) -> bool:
        """Return whether an entry is gone from a map with a lower number."""
        with self._working():
            query = "SELECT 1 FROM gone WHERE map < ? LIMIT 1"
            return self._connection.execute(query, (ref,)).fetchone() is not None

    def _rows(self, query: str, start: int, end: int) -> list[tuple[int, bytes, int, int, int]]:
        values = self._whose | {"start": start, "end": end}
        with self._working():
            return self._connection.execute(query, values).fetchall()

    def gone(self, start: int, end: int) -> list[tuple[int, bytes, int]]:
        """Return (map number, key, counter as last seen) of what is still the origin's.

        Of the entries that were gone when compared, from number start+1 to end.
        """
        return [(ref, key, hits) for ref, key, hits, *_ in self._rows(_STILL_GONE, start, end)]

    def added(self, start: int, end: int) -> list[tuple[int, bytes, int]]:
        """Return (map number, key, action) of what still has no note."""
        with self._working():
            fresh = self._without_note(self._added.rows(start, end))
        return _acting(fresh) + self._staged_rows(start, end)

    def _staged_rows(self, start: int, end: int) -> list[tuple[int, bytes, int]]:
        """Return the others, which SQLite has."""
        first = len(self._added)
        if end <= first:
            return []
        rows = self._rows(_STILL_NEW, max(0, start - first), end - first)
        return [(ref, key, action) for ref, key, action, *_ in rows]

    def _without_note(self, fresh: Sequence[_Fresh]) -> list[_Fresh]:
        """Return those that still have no note."""
        query = "SELECT 1 FROM note WHERE map = ? AND key = ?"
        return [
            each for each in fresh if self._connection.execute(query, each[:2]).fetchone() is None
        ]

    def changed(self, start: int, end: int) -> list[tuple[int, bytes, int, int, int]]:
        """Return (map number, key, action, former action, counter as last seen) likewise."""
        return self._rows(_STILL_CHANGED, start, end)

    def note_added(self, start: int, end: int, created: float) -> list[tuple[int, bytes, int]]:
        """Write the notes of new entries number start+1 to end; what has one keeps it.

        Returns:
            (map number, key, action) of those that had none.
        """
        fresh = self._added.rows(start, end)
        staged = self._staged_rows(start, end)
        first = len(self._added)
        with self._working("BEGIN IMMEDIATE"):
            if self._note_fresh(fresh, created) < len(fresh):
                self._connection.execute("ROLLBACK")
                self._connection.execute("BEGIN IMMEDIATE")
                fresh = self._without_note(fresh)
                self._note_fresh(fresh, created)
            if staged:
                place = {"start": max(0, start - first), "end": end - first, "created": created}
                self._connection.execute(_NOTE_ADDED, place)
        return _acting(fresh) + staged

    def _note_fresh(self, fresh: Iterable[_Fresh], created: float) -> int:
        """Write notes; return how many there were not."""
        alike: defaultdict[tuple[int, int, Options], list[bytes]] = defaultdict(list)
        for (ref, options), run in groupby(fresh, itemgetter(0, 2)):
            keys = [key for _, key, _ in run]
            if len(set(map(len, keys))) == 1:
                alike[ref, len(keys[0]), options] += keys
                continue
            for key in keys:
                alike[ref, len(key), options].append(key)
        before = self._connection.total_changes
        for (ref, size, (action, reason, expires, origin)), keys in alike.items():
            for at in range(0, len(keys), KEYS_AT_ONCE):
                part = keys[at : at + KEYS_AT_ONCE]
                values = {
                    "map": ref,
                    "keys": b"".join(part),
                    "size": size,
                    "count": len(part),
                    "action": action,
                    "origin": origin,
                    "reason": reason,
                    "created": created,
                    "expires": expires,
                }
                self._connection.execute(_NOTE_FRESH, values)
        return self._connection.total_changes - before

    def note_changed(self, start: int, end: int) -> None:
        """Write what changed in notes number start+1 to end; add those that are gone."""
        values = self._whose | {"start": start, "end": end}
        with self._working("BEGIN IMMEDIATE"):
            self._connection.execute(_NOTE_CHANGED, values)
            self._connection.execute(_ADD_VANISHED, {"start": start, "end": end})

    def note_actions(self, entries: Iterable[tuple[int, int, bytes]]) -> None:
        """Write the actions (action, map number, key) of notes."""
        with self._working("BEGIN IMMEDIATE"):
            self._connection.executemany(
                "UPDATE note SET action = ? WHERE map = ? AND key = ?", entries
            )

    def forget(self, entries: Sequence[tuple[int, bytes]]) -> None:
        """Remove notes by (map number, key)."""
        if entries:
            with self._working("BEGIN IMMEDIATE"):
                self._connection.executemany("DELETE FROM note WHERE map = ? AND key = ?", entries)


def _acting(fresh: Iterable[_Fresh]) -> list[tuple[int, bytes, int]]:
    return [(ref, key, options[0]) for ref, key, options in fresh]
