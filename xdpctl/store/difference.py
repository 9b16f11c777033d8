"""A list of rules beside the notes: what is new, changed, gone.

Most rows are told apart by their keys (matching.py), and SQLite compares the rest. Owns a
connection of its own to the state file; what it stages there lives in temporary tables that go
with it, beside the rows that wait in the order of their keys (spool.py). Everything blocks.

A row is its origin's claim on a place. Where that place has a claim of another origin, or claims
that wait, the row is contested, and claims.py decides what is in force there.

Single rules come and go between comparing and applying, so each step reads the notes
again.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections import defaultdict
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Self

from xdpctl.abi import BY_REF, TABLES, RuleAction
from xdpctl.errors import StateError
from xdpctl.rules.keys import LIST_NAMES_REF, NO_END, NO_REASON, Block
from xdpctl.rules.rules import IMPLIED
from xdpctl.store.claims import RANK_SQL
from xdpctl.store.fresh import FreshRows
from xdpctl.store.implied import OtherLists, is_of_every_type
from xdpctl.store.matching import Matching, Notes
from xdpctl.store.sorting import FIRST, Sorter
from xdpctl.store.spool import Spool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from xdpctl.rules.keys import Options, Row, Rows
    from xdpctl.store.change import Change
    from xdpctl.store.fresh import Fresh


KEYS_AT_ONCE = 4_096
"""Keys of the same length whose notes one statement writes: binding each costs three times as
much as writing it."""

FEW = 1_000
"""Rows up to which SQLite compares all, without reading the other notes."""

IMPLIED_AT_ONCE = 400
"""Implied rows that are decided together: less than half the time of one after another."""

_COLUMNS = "map INTEGER, key BLOB, action INTEGER, reason TEXT, expires REAL, origin TEXT"

_TABLES_REFS = frozenset(spec.ref for spec in TABLES.values())

_TABLES = f"""
CREATE TEMP TABLE incoming ({_COLUMNS});
CREATE TEMP TABLE planned ({_COLUMNS}, PRIMARY KEY (map, key, origin)) WITHOUT ROWID;
CREATE TEMP TABLE added ({_COLUMNS});
CREATE TEMP TABLE changed ({_COLUMNS});
CREATE TEMP TABLE contested ({_COLUMNS});
CREATE TEMP TABLE ended (map INTEGER, key BLOB);
CREATE TEMP TABLE standing (map INTEGER, key BLOB);
CREATE TEMP TABLE gone (map INTEGER, key BLOB);
CREATE TEMP TABLE among (map INTEGER, key BLOB, PRIMARY KEY (map, key)) WITHOUT ROWID;
"""

_WAITED_FOR = "SELECT 1 FROM waiting WHERE waiting.map = {0}.map AND waiting.key = {0}.key"

_KEPT = tuple(
    f"""
UPDATE planned SET
    reason = iif(planned.reason = '', {table}.reason, planned.reason),
    expires = ifnull(planned.expires, {table}.expires)
FROM {table} WHERE {table}.map = planned.map AND {table}.key = planned.key
    AND {table}.origin = planned.origin
"""  # noqa: S608 (constants)
    for table in ("note", "waiting")
)
"""What a row of a list that adds does not say stays as it was."""

_PLAIN = """
UPDATE planned SET expires = nullif(expires, :no_end), reason = iif(reason = :no_reason, '', reason)
WHERE expires = :no_end OR reason = :no_reason
"""
"""What a row takes away is noted as what was never there."""

_ENDS_REMOVED = tuple(
    f"""
SELECT count(*) FROM {table} CROSS JOIN planned USING (map, key)
WHERE {table}.expires IS NOT NULL AND {table}.origin = planned.origin AND planned.expires IS NULL
"""  # noqa: S608 (constants)
    for table in ("note", "waiting")
)

_DIFFERING = f"""
CREATE TEMP TABLE differing AS
SELECT planned.*, CASE
    WHEN EXISTS ({_WAITED_FOR.format("planned")}) THEN 'contested'
    WHEN note.key IS NULL THEN 'added'
    WHEN note.origin = planned.origin THEN 'changed'
    ELSE 'contested' END AS kind
FROM planned LEFT JOIN note ON note.map = planned.map AND note.key = planned.key
WHERE note.key IS NULL OR note.origin != planned.origin OR note.action != planned.action
    OR note.reason != planned.reason OR note.expires IS NOT planned.expires
"""  # noqa: S608 (constants)

_STAGE = "INSERT INTO incoming VALUES (?, ?, ?, ?, ?, ?)"

_STAGE_LEFT = "INSERT INTO standing VALUES (?, ?)"

_UNLIKE = """
INSERT INTO standing SELECT map, key FROM note WHERE origin = :origin
    AND (action IS NOT :action OR reason != :reason OR expires IS NOT :expires)
"""

_STANDING_AMONG = """
INSERT INTO standing SELECT map, key FROM among CROSS JOIN note USING (map, key)
WHERE note.origin = :origin
"""

_STANDING = "INSERT INTO standing SELECT map, key FROM note WHERE origin = :origin"

_GONE = """
INSERT INTO gone SELECT map, key FROM standing WHERE NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.map = standing.map AND planned.key = standing.key
        AND planned.origin = :origin)
ORDER BY map, key
"""

_ENDED = """
INSERT INTO ended SELECT map, key FROM {0} WHERE waiting.origin = :origin AND NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.map = waiting.map AND planned.key = waiting.key
        AND planned.origin = :origin)
ORDER BY map, key
"""

_STILL_GONE = f"""
SELECT gone.map, gone.key, note.hits, EXISTS ({_WAITED_FOR.format("gone")})
FROM gone JOIN note USING (map, key)
WHERE gone.rowid > :start AND gone.rowid <= :end AND note.origin = :origin
"""  # noqa: S608 (constants)

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

_IS_UNCONTESTED = f"note.origin = changed.origin AND NOT EXISTS ({_WAITED_FOR.format('changed')})"

_CHANGED = f"""
SELECT changed.*, note.action, note.hits, {_IS_UNCONTESTED}
FROM changed LEFT JOIN note ON note.map = changed.map AND note.key = changed.key
WHERE changed.rowid > :start AND changed.rowid <= :end
"""  # noqa: S608 (constants)

_NOTE_CHANGED = f"""
UPDATE note SET action = changed.action, reason = changed.reason, expires = changed.expires
FROM changed WHERE changed.map = note.map AND changed.key = note.key
    AND changed.rowid > :start AND changed.rowid <= :end AND {_IS_UNCONTESTED}
"""  # noqa: S608 (constants)

_LOSES = f"""
contested.rowid > :start AND contested.rowid <= :end AND contested.origin != note.origin
    AND NOT ({RANK_SQL.format("contested")} < {RANK_SQL.format("note")})
"""

_WAIT = f"""
INSERT INTO waiting (map, key, origin, action, reason, created, expires, beneath)
SELECT contested.map, contested.key, contested.origin, contested.action, contested.reason,
    :created, contested.expires, 0
FROM contested JOIN note ON note.map = contested.map AND note.key = contested.key
WHERE {_LOSES}
ON CONFLICT (map, key, origin) DO UPDATE SET
    action = excluded.action, reason = excluded.reason, expires = excluded.expires, beneath = 0
WHERE action != excluded.action OR reason != excluded.reason OR expires IS NOT excluded.expires
"""  # noqa: S608 (constants)

_UNDECIDED = f"""
SELECT contested.* FROM contested
LEFT JOIN note ON note.map = contested.map AND note.key = contested.key
WHERE contested.rowid > :start AND contested.rowid <= :end
    AND (note.key IS NULL OR NOT ({_LOSES}))
"""  # noqa: S608 (constants)


@dataclass(frozen=True, slots=True)
class Difference:
    """How a staged list differs from the notes, in entries.

    Attributes:
        contested: where another origin has a claim, or claims wait; each is decided by itself.
        gone: of the origin and in force, not in the list; 0 unless the list replaces.
        ended: of the origin and waiting, likewise.
        ends_removed: of those that change, claims that had an end and have none now.
    """

    added: int
    changed: int
    unchanged: int
    contested: int
    gone: int
    ended: int
    ends_removed: int

    @property
    def has_changes(self) -> bool:
        """Whether claims may be made, changed or ended."""
        return bool(self.added or self.changed or self.contested or self.gone or self.ended)


def _noted(options: Options) -> Options:
    """Return the options of a row as a note has them."""
    action, reason, expires, origin = options
    return (
        action,
        "" if reason == NO_REASON else reason,
        None if expires == NO_END else expires,
        origin,
    )


def _rows_in(item: Rows) -> int:
    return len(item.keys) if isinstance(item, Block) else 1


class Staging:
    """The staged list. A context manager.

    Args:
        path: the state file, which exists and is sound.
        change: what is asked for. With `replace`, what of the origin is not in the list is
            gone; else a reason or an end that a row does not give stays as it was.
        vanished: is given this object, a shared map's number, keys with a note, as stored, and
            a text; forgets those that are no longer in the map, and returns them. Called for
            all its notes, some thousand at a time and of each text in their order, before the
            list is compared with them; of a list of up to `FEW` rows, for those of its rows.
    """

    def __init__(
        self,
        path: Path,
        change: Change,
        *,
        vanished: Callable[[Staging, int, list[bytes], str], list[bytes]] = lambda *_: [],
    ) -> None:
        self._vanished = vanished
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30
        )
        self._whose: dict[str, object] = {"origin": change.origin}
        self._replace = change.replace
        self._origins: set[str] = set()
        self._other_lists = OtherLists(self._select)
        self._has_other_names: bool | None = None
        self._takes_away = False
        self._few: list[Row] | None = []
        self._is_limited = False
        self._spool = Spool(path.parent)
        self._sorter = Sorter(self._spool)
        self._added = FreshRows(self._spool)
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
        self._spool.close()

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

    def limit_to(self, places: Sequence[tuple[int, bytes]]) -> None:
        """Let the list say something about these places only; before its first rows."""
        if not self._is_limited:
            self._is_limited = True
            with self._working():
                self._connection.executemany("INSERT OR IGNORE INTO among VALUES (?, ?)", places)

    def load(self, rows: Iterable[Rows]) -> None:
        """Stage rows; if an entry comes twice, the last row counts.

        Raises:
            StateError: there is no room.
            Whatever `rows` raises; then the list cannot be compared.
        """
        for row in self._with_implied(rows):
            options = row.options if isinstance(row, Block) else row[2:]
            self._origins.add(options[3])
            self._takes_away |= options[2] == NO_END or options[1] == NO_REASON
            if self._few is None:
                self._sort(row)
            elif self._is_limited or len(self._few) + _rows_in(row) <= FEW:
                self._few += row.rows() if isinstance(row, Block) else (row,)
            else:
                first, self._few = self._few, None
                for each in (*first, row):
                    self._sort(each)

    def _sort(self, row: Rows) -> None:
        if isinstance(row, Block):
            self._sorter.add(row.ref, row.keys, row.options)
        else:
            self._sorter.add(row[0], (row[1],), row[2:])

    def _with_implied(self, rows: Iterable[Rows]) -> Iterator[Rows]:
        """Yield rows in their order; implied ones with the action that other lists give them."""
        implied: list[Row] = []
        for row in rows:
            if (row.options[1] if isinstance(row, Block) else row[3]) == IMPLIED:
                implied += row.rows() if isinstance(row, Block) else (row,)
                if len(implied) < IMPLIED_AT_ONCE:
                    continue
                yield from self._decided(implied)
                implied = []
            else:
                if implied:
                    yield from self._decided(implied)
                    implied = []
                yield row
        yield from self._decided(implied)

    def _decided(self, implied: Sequence[Row]) -> Iterator[Row]:
        """Yield implied rows with their action; those of an operator are as they were."""
        keys = [key for ref, key, *_ in implied if ref == LIST_NAMES_REF and is_of_every_type(key)]
        if keys and self._has_other_names is None:
            self._has_other_names = self._other_lists.has_names(str(self._whose["origin"]))
        if self._has_other_names:
            self._other_lists.read(keys)
        for row in implied:
            ref, key, _, reason, expires, origin = row
            if ref != LIST_NAMES_REF:
                yield row
            elif not self._has_other_names and is_of_every_type(key):
                yield ref, key, RuleAction.PASS, reason, expires, origin
            elif is_of_every_type(key):  # those of one type follow from it
                action = self._other_lists.action(key, origin)
                yield ref, key, action, reason, expires, origin
                for typed, action in self._other_lists.of_types(key, origin).items():
                    yield ref, typed, action, reason, expires, origin

    def _select(
        self, query: str, values: Sequence[object] | Mapping[str, object]
    ) -> list[tuple[Any, ...]]:
        with self._working():
            return self._connection.execute(query, values).fetchall()

    @property
    def origins(self) -> frozenset[str]:
        """Whose claims may change: the change's origin, and those of its rows."""
        return frozenset({str(self._whose["origin"]), *self._origins})

    def _vanished_of(self, ref: int, keys: list[bytes], which: str) -> list[bytes]:
        return self._vanished(self, ref, keys, which)

    def sorter(self) -> Sorter:
        """Return what sorts other keys beside the list."""
        return Sorter(self._spool)

    def _compare_keys(self) -> int:
        """Stage what the keys alone do not say; return how many rows are as their notes are."""
        options, origin = self._sorter.options, str(self._whose["origin"])
        notes = Notes(self._select, origin, options[FIRST], self._vanished_of)
        matching = Matching(self._sorter, notes, origin, self._added, whole=self._replace)
        for ref in BY_REF:
            for rows, left in matching.of_map(ref):
                if rows or (left and self._replace):
                    with self._working():
                        self._connection.executemany(_STAGE, rows)
                        if self._replace:
                            self._connection.executemany(_STAGE_LEFT, ((ref, key) for key in left))
        self._added.end([_noted(each) for each in options])
        if self._replace and not notes.are_alike:
            with self._working():
                self._connection.execute(_UNLIKE, notes.like)
        return matching.came

    def _compare_few(self) -> int:
        """Stage all rows."""
        rows = self._few or []
        self._see_vanished(rows)
        with self._working():
            self._connection.executemany(_STAGE, rows)
        return 0

    def _see_vanished(self, rows: Iterable[Row]) -> None:
        """Forget the notes of few rows whose entry is gone."""
        for ref in {row[0] for row in rows} - _TABLES_REFS:
            keys = [row[1] for row in rows if row[0] == ref]
            marks = ",".join("?" * len(keys))
            query = f"SELECT key FROM note WHERE map = ? AND key IN ({marks})"  # noqa: S608 (marks)
            if noted := [key for (key,) in self._select(query, (ref, *keys))]:
                self._vanished(self, ref, noted, "")

    def compare(self) -> Difference:
        """Find out how the list differs from the notes that there are now."""
        came = self._compare_few() if self._few is not None else self._compare_keys()
        run = self._connection.execute
        columns = "map, key, action, reason, expires, origin"
        with self._working():
            run(
                "INSERT OR REPLACE INTO planned SELECT * FROM incoming"
                " ORDER BY map, key, incoming.rowid"
            )
            run("DROP TABLE incoming")
            if not self._replace:
                for statement in _KEPT:
                    run(statement)
            if self._takes_away:
                run(_PLAIN, {"no_end": NO_END, "no_reason": NO_REASON})
            ends_removed = sum(run(query).fetchone()[0] for query in _ENDS_REMOVED)
            run(_DIFFERING)
            for table in ("added", "changed", "contested"):
                run(
                    f"INSERT INTO {table} SELECT {columns} FROM differing WHERE kind = ?",  # noqa: S608 (constants)
                    (table,),
                )
            if self._replace:
                self._find_gone()
            planned, differing, added, changed, contested, gone, ended = map(
                self._count,
                ("planned", "differing", "added", "changed", "contested", "gone", "ended"),
            )
            run("DROP TABLE differing")
        return Difference(
            len(self._added) + added,
            changed,
            planned - differing + came,
            contested,
            gone,
            ended,
            ends_removed,
        )

    def _find_gone(self) -> None:
        """Fill `gone`: what stood when the list began and is not in it."""
        waiting = "among CROSS JOIN waiting USING (map, key)" if self._is_limited else "waiting"
        if self._is_limited:
            self._connection.execute(_STANDING_AMONG, self._whose)
        elif self._few is not None:
            self._connection.execute(_STANDING, self._whose)
        self._connection.execute(_GONE, self._whose)
        self._connection.execute(_ENDED.format(waiting), self._whose)

    def _count(self, table: str) -> int:
        query = f"SELECT count(*) FROM {table}"  # noqa: S608 (constants)
        return int(self._connection.execute(query).fetchone()[0])

    def count_added(self) -> int:
        """Return how many entries are to be added."""
        with self._working():
            return len(self._added) + self._count("added")

    def added_by_map(self) -> dict[int, int]:
        """Return how many entries are to be added to each map, by its number."""
        counts = self._added.by_map.copy()
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

    def _rows(self, query: str, start: int, end: int) -> list[Any]:
        values = self._whose | {"start": start, "end": end}
        with self._working():
            return self._connection.execute(query, values).fetchall()

    def gone(self, start: int, end: int) -> list[tuple[int, bytes, int, bool]]:
        """Return (map number, key, counter as last seen, contested) of what is still the origin's.

        Of the entries that were gone when compared, from number start+1 to end. `contested`:
        other claims wait there.
        """
        rows = self._rows(_STILL_GONE, start, end)
        return [(ref, key, hits, bool(waited_for)) for ref, key, hits, waited_for, *_ in rows]

    def ended(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """Return (map number, key) of claims of the origin that waited when compared, likewise."""
        query = "SELECT map, key FROM ended WHERE rowid > :start AND rowid <= :end"
        return [(ref, key) for ref, key, *_ in self._rows(query, start, end)]

    def added(self, start: int, end: int) -> list[Fresh]:
        """Return what is to be added, number start+1 to end."""
        first = len(self._added)
        fresh = list(self._added.rows(start, end))
        if end > first:
            query = "SELECT * FROM added WHERE rowid > :start AND rowid <= :end"
            rows = self._rows(query, max(0, start - first), end - first)
            fresh += [(ref, key, tuple(options)) for ref, key, *options in rows]
        return fresh

    def changed(self, start: int, end: int) -> list[tuple[Fresh, int, int, bool]]:
        """Return what changes, with former action, counter as last seen, and whether that is all.

        Where the last is False, the claim is not the one in force any more, or others wait.
        """
        return [
            ((ref, key, (action, reason, expires, origin)), former or 0, hits or 0, bool(simple))
            for ref, key, action, reason, expires, origin, former, hits, simple in self._rows(
                _CHANGED, start, end
            )
        ]

    def contested(self, start: int, end: int) -> list[Fresh]:
        """Return all contested rows, number start+1 to end."""
        query = "SELECT * FROM contested WHERE rowid > :start AND rowid <= :end"
        return [(ref, key, tuple(rest)) for ref, key, *rest in self._rows(query, start, end)]

    def note_waiting(self, start: int, end: int, created: float) -> list[Fresh]:
        """Let contested claims wait that another one precedes; return those still to be decided."""
        place = {"start": start, "end": end}
        with self._working("BEGIN IMMEDIATE"):
            rows = self._connection.execute(_UNDECIDED, place).fetchall()
            self._connection.execute(_WAIT, place | {"created": created})
        return [(ref, key, tuple(rest)) for ref, key, *rest in rows]

    def _without_note(self, fresh: Sequence[Fresh]) -> list[Fresh]:
        """Return those that still have no note, each place once."""
        query = "SELECT 1 FROM note WHERE map = ? AND key = ?"
        first = {each[:2]: each for each in reversed(fresh)}
        return [
            each
            for each in fresh
            if first[each[:2]] is each
            and self._connection.execute(query, each[:2]).fetchone() is None
        ]

    def note_added(self, fresh: Sequence[Fresh], created: float) -> list[Fresh]:
        """Write the notes of new entries; return those that had none, of the others nothing."""
        with self._working("BEGIN IMMEDIATE"):
            if self._note_fresh(fresh, created) == len(fresh):
                return list(fresh)
            self._connection.execute("ROLLBACK")
            self._connection.execute("BEGIN IMMEDIATE")
            fresh = self._without_note(fresh)
            self._note_fresh(fresh, created)
        return list(fresh)

    def _note_fresh(self, fresh: Iterable[Fresh], created: float) -> int:
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
        """Write what changed in notes number start+1 to end, where no other claim is concerned."""
        with self._working("BEGIN IMMEDIATE"):
            self._connection.execute(_NOTE_CHANGED, {"start": start, "end": end})

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
