"""What the maps cannot hold: origin, reason, creation and expiry of our own rules.

Owns one SQLite file. Knows nothing of maps but their names, keys and ids; the
store (store.py) decides what a note means. A note is written before the map is, so
that a crash leaves a note without an entry and never an entry without a note.

The note of an entry is the claim that is in force there. Claims that wait for their turn, behind
another one or behind an entry of dnsdist's, are rows of `waiting`; which is in force is decided
in claims.py. A version without that table opens the same file and leaves such claims alone.

Every method blocks and may be called from any thread: one connection serves all, in turn.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from xdpctl.abi import BY_REF, TABLES, MapName, RuleAction
from xdpctl.errors import StateError
from xdpctl.kernel.failure import READ_ONLY
from xdpctl.kernel.paths import (
    Opened,
    is_read_only,
    look,
    open_directory,
    refuse_foreign_file,
)
from xdpctl.rules.keys import LIST_NAMES_REF, REFS, full_key, stored_key
from xdpctl.rules.rules import DYNAMIC_ORIGINS, IMPLIED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from pathlib import Path

VERSION = 1
_BESIDE = ("-wal", "-shm")

PANIC = "panic"
"""Name of the fact (`get_meta`) that everything is passed, kept over restarts."""

PATIENCE = 5.0
"""Seconds that another process may hold the file locked."""

SCAN_MAX = 4_000
"""Notes that `page_of` looks at: some milliseconds."""

_KEYS_AT_ONCE = 500
"""Keys of one query."""

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE note (
    map INTEGER NOT NULL, -- enum map_ref, or the number of a table (abi.TABLES)
    key BLOB NOT NULL,
    action INTEGER NOT NULL,
    origin TEXT NOT NULL,
    reason TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    hits INTEGER NOT NULL,
    PRIMARY KEY (map, key)
) WITHOUT ROWID;
CREATE INDEX note_expires ON note (expires) WHERE expires IS NOT NULL;
"""

IS_IMPLIED = f"reason = '{IMPLIED}'"
"""Whether a row is an implied rule's; as the indices of them have it."""

IS_DYNAMIC = f"origin IN {DYNAMIC_ORIGINS!r}"
"""Whether a row is of a claim that the service makes by itself; as the index of them has it."""

_WAITING_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS waiting (
    map INTEGER NOT NULL, -- as in `note`
    key BLOB NOT NULL,
    origin TEXT NOT NULL,
    action INTEGER NOT NULL,
    reason TEXT NOT NULL,
    created REAL NOT NULL,
    expires REAL,
    beneath INTEGER NOT NULL, -- 1: an entry of dnsdist's is in force there
    PRIMARY KEY (map, key, origin)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS waiting_expires ON waiting (expires) WHERE expires IS NOT NULL;
CREATE INDEX IF NOT EXISTS waiting_beneath ON waiting (map, key) WHERE beneath;
CREATE INDEX IF NOT EXISTS note_implied ON note (map, key) WHERE {IS_IMPLIED};
CREATE INDEX IF NOT EXISTS waiting_implied ON waiting (map, key) WHERE {IS_IMPLIED};
CREATE INDEX IF NOT EXISTS note_dynamic ON note (map, key) WHERE {IS_DYNAMIC};
CREATE INDEX IF NOT EXISTS waiting_dynamic ON waiting (map, key) WHERE {IS_DYNAMIC};
"""
"""Added to the file of an older version when it is opened."""


def place_in_order(note: Note) -> bytes:
    """Return a note's position in the order of `State.page`."""
    return stored_key(REFS[note.map], note.key)


def _place(name: MapName, key: bytes) -> tuple[int, bytes]:
    ref = REFS[name]
    return ref, stored_key(ref, key)


NoteRow: TypeAlias = tuple[int, bytes, int, str, str, float, float | None, int]
"""Map number, key as stored, action, origin, reason, created, expires, hits: see `Note`."""

_COLUMNS = "map, key, action, origin, reason, created, expires, hits"

_CLAIM_COLUMNS = "map, key, action, origin, reason, created, expires, 0"
"""Of `waiting`, as `_note` reads them."""


@dataclass(frozen=True, slots=True)
class Note:
    """What we know of one entry that we wrote: the claim that is in force there.

    Also a claim that waits; its `hits` are 0 and mean nothing.

    Attributes:
        map, key: the entry; `key` as in the map.
        created: seconds since the epoch.
        expires: seconds of CLOCK_BOOTTIME in the present boot, or None.
        hits: the entry's counter when last looked at; a smaller one later means
            that dnsdist wrote the entry again.
    """

    map: MapName
    key: bytes
    action: RuleAction
    origin: str
    reason: str
    created: float
    expires: float | None = None
    hits: int = 0


class State:
    """The state file, open. A context manager; `open` makes or opens it."""

    def __init__(
        self, connection: sqlite3.Connection, path: Path, warnings: tuple[str, ...]
    ) -> None:
        self._connection = connection
        self._turn = threading.RLock()
        self.path = path
        self.warnings = warnings

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open the file, making it and its directory (0750) where missing.

        A file that is not a sound state file is moved aside to `NAME.corrupt-TIME`
        with a sentence in `warnings`; the rules in the shared maps stay in force.

        Raises:
            StateError: the directory or file cannot be used.
        """
        try:
            with open_directory(path.parent, make=0o750, parents=0o755) as directory:
                _refuse_foreign(directory, path.name)
                read_only = is_read_only(directory.link)
        except OSError as error:
            helps = "choose another --state or run `xdpctl prepare` as root"
            if error.errno == errno.EROFS:
                helps = f"{READ_ONLY}; or choose another --state"
            raise StateError(
                f"cannot use the directory of --state {path}: {error.strerror}; {helps}"
            ) from error
        if read_only:  # SQLite's error would look like a damaged file
            raise StateError(
                f"cannot write to the directory of --state {path}: {READ_ONLY}; or choose another"
                " --state"
            )
        try:
            return cls(_open(path), path, ())
        except sqlite3.DatabaseError as error:
            aside = _move_aside(path)
            warning = (
                f"the state file {path} is damaged ({error}) and was moved to {aside}: rules in the"
                " shared maps stay in force and are now listed as dnsdist's; zones and rules of"
                " lists are gone: block or import them again (each [[list]] is read again)"
            )
        return cls(_open(path), path, (warning,))

    @classmethod
    def to_read(cls, path: Path) -> Self:
        """Open a file that is open in another process, to look at it.

        Raises:
            StateError: it cannot be opened.
        """
        try:
            return cls(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True), path, ())
        except sqlite3.Error as error:
            raise StateError(f"cannot open the state file {path}: {error}") from error

    @classmethod
    def beside(cls, path: Path) -> Self:
        """Open a file that another connection has open, to read and to write it.

        Raises:
            StateError: it cannot be opened.
        """
        try:
            connection = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=30
            )
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.Error as error:
            raise StateError(f"cannot open the state file {path}: {error}") from error
        return cls(connection, path, ())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called twice."""
        self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Make what is done inside one transaction: all of it or nothing.

        Gives the connection, for tables of other modules (history.py).

        Raises:
            StateError: SQLite refused (disk full, file removed …).
        """
        try:
            with self._turn, self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
        except sqlite3.Error as error:
            raise StateError(
                f"cannot write the state file {self.path}: {error}; nothing was changed,"
                " see that the disk has room and the file is writable"
            ) from error

    def add_table(
        self, schema: str, mended: str | None = None, values: Sequence[object] = ()
    ) -> None:
        """Make a table of another module if it is missing.

        Args:
            schema: what makes it.
            mended: a query for what a former service left there.
            values: of that query.

        Raises:
            StateError: it cannot be made.
        """
        with self.transaction() as connection:
            connection.execute(schema)
            if mended is not None:
                connection.execute(mended, values)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            with self._turn:
                yield
        except sqlite3.Error as error:
            raise StateError(
                f"cannot read the state file {self.path}: {error}; see that its disk is sound, and"
                " restart the service"
            ) from error

    def select(self, query: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        """Return the rows of a query on a table of another module; StateError as all reads."""
        with self._reading():
            return self._connection.execute(query, values).fetchall()

    def get_meta(self, name: str) -> str | None:
        """Return a stored fact about the whole, or None; StateError as all that reads."""
        with self._reading():
            row = self._connection.execute(
                "SELECT value FROM meta WHERE name = ?", (name,)
            ).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, name: str, value: str) -> None:
        """Store a fact about the whole."""
        with self.transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def put(self, notes: Iterable[Note]) -> None:
        """Write notes, replacing those of the same entries, in one transaction."""
        with self.transaction():
            self._connection.executemany(_PUT_NOTE, map(_row_of, notes))

    def forget(self, entries: Iterable[tuple[MapName, bytes]]) -> None:
        """Remove the notes of these entries, in one transaction."""
        with self.transaction():
            self._connection.executemany(
                "DELETE FROM note WHERE map = ? AND key = ?",
                (_place(*entry) for entry in entries),
            )

    # --- claims that wait -----------------------------------------------------------

    def write_claims(
        self,
        *,
        force: Iterable[Note] = (),
        forget: Iterable[tuple[MapName, bytes]] = (),
        wait: Iterable[tuple[Note, bool]] = (),
        end: Iterable[tuple[MapName, bytes, str]] = (),
    ) -> None:
        """Change claims, in one transaction and in this order.

        Args:
            force: notes of what is in force, which replace those of the same entries.
            forget: places whose notes are removed.
            wait: claims that wait, and whether behind an entry of dnsdist's.
            end: places and origins of claims that wait no longer.
        """
        with self.transaction():
            run = self._connection.executemany
            run(_PUT_NOTE, map(_row_of, force))
            run("DELETE FROM note WHERE map = ? AND key = ?", (_place(*place) for place in forget))
            run(
                "INSERT OR REPLACE INTO waiting"
                " (map, key, action, origin, reason, created, expires, beneath)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                ((*_row_of(claim)[:-1], int(beneath)) for claim, beneath in wait),
            )
            run(
                "DELETE FROM waiting WHERE map = ? AND key = ? AND origin = ?",
                ((*_place(name, key), origin) for name, key, origin in end),
            )

    def has_waiting(self) -> bool:
        """Return whether any claim waits."""
        with self._reading():
            return self._connection.execute("SELECT 1 FROM waiting LIMIT 1").fetchone() is not None

    def waiting_at(self, map_name: MapName, keys: Sequence[bytes]) -> dict[bytes, list[Note]]:
        """Return the claims that wait at these places of a map, by key; most have none."""
        found: dict[bytes, list[Note]] = {}
        if not self.has_waiting():
            return found
        ref = REFS[map_name]
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            stored = [stored_key(ref, key) for key in keys[start : start + _KEYS_AT_ONCE]]
            marks = ",".join("?" * len(stored))
            with self._reading():
                rows = self._connection.execute(
                    f"SELECT {_CLAIM_COLUMNS} FROM waiting WHERE map = ? AND key IN ({marks})",  # noqa: S608 (marks)
                    (ref, *stored),
                ).fetchall()
            for claim in map(_note, rows):
                found.setdefault(claim.key, []).append(claim)
        return found

    def waiting_page(
        self, map_name: MapName, after: bytes, limit: int, origin: str | None = None
    ) -> list[Note]:
        """Return claims that wait in a map, of one origin or all, behind a stored key.

        Args:
            map_name: the map.
            after: `place_in_order` of the last claim of the page before; empty at first.
            limit: claims at most; all those of the last key are given.
            origin: only its claims.
        """
        whose, values = ("", ()) if origin is None else (" AND origin = ?", (origin,))
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {_CLAIM_COLUMNS} FROM waiting WHERE map = ? AND key > ?{whose}"  # noqa: S608 (constants)
                " ORDER BY key, origin LIMIT ?",
                (REFS[map_name], after, *values, limit),
            ).fetchall()
            if len(rows) == limit and origin is None:
                rows += self._connection.execute(
                    f"SELECT {_CLAIM_COLUMNS} FROM waiting WHERE map = ? AND key = ?"  # noqa: S608 (a constant)
                    " AND origin > ? ORDER BY origin",
                    (REFS[map_name], rows[-1][1], rows[-1][3]),
                ).fetchall()
        return [_note(row) for row in rows]

    def beneath(self, after: tuple[int, bytes], limit: int) -> list[tuple[MapName, bytes]]:
        """Return places where claims wait behind an entry of dnsdist's, behind a stored place."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT DISTINCT map, key FROM waiting WHERE beneath AND (map, key) > (?, ?)"
                " ORDER BY map, key LIMIT ?",
                (*after, limit),
            ).fetchall()
        return [(BY_REF[ref].name, full_key(ref, key)) for ref, key in rows]

    def unsettled(self, limit: int) -> list[tuple[MapName, bytes]]:
        """Return places where a change of claims was cut short.

        A claim that is in force and waits at the same time is about to be written to its map; one
        that waits for nothing is about to be in force.
        """
        with self._reading():
            rows = self._connection.execute(
                "SELECT DISTINCT waiting.map, waiting.key FROM waiting"
                " LEFT JOIN note ON note.map = waiting.map AND note.key = waiting.key"
                " WHERE note.origin = waiting.origin OR (note.key IS NULL AND NOT beneath)"
                " LIMIT ?",
                (limit,),
            ).fetchall()
        return [(BY_REF[ref].name, full_key(ref, key)) for ref, key in rows]

    def waiting_due(self, now: float, limit: int) -> list[Note]:
        """Return claims that wait and whose time is over, the oldest first.

        Of those that are in force too, because a change was cut short, the note decides.
        """
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {_CLAIM_COLUMNS} FROM waiting WHERE expires <= ?"  # noqa: S608 (constants)
                " ORDER BY expires LIMIT ?",
                (now, limit),
            ).fetchall()
        return [_note(row) for row in rows]

    def end_waiting(self, map_name: MapName, origin: str | None) -> int:
        """Remove all claims that wait in a map, or one origin's; return how many."""
        whose, values = ("", ()) if origin is None else (" AND origin = ?", (origin,))
        with self.transaction():
            return self._connection.execute(
                f"DELETE FROM waiting WHERE map = ?{whose}",  # noqa: S608 (constants)
                (REFS[map_name], *values),
            ).rowcount

    def rename_waiting(self, map_name: MapName, keys: Iterable[tuple[bytes, bytes]]) -> None:
        """Let the claims that wait at a place wait at another one: pairs of keys."""
        ref = REFS[map_name]
        with self.transaction():
            self._connection.executemany(
                "UPDATE OR REPLACE waiting SET key = ? WHERE map = ? AND key = ?",
                ((stored_key(ref, new), ref, stored_key(ref, old)) for old, new in keys),
            )

    def count_by_origin(
        self, map_name: MapName | None = None
    ) -> tuple[dict[str, int], dict[str, int]]:
        """Return how many claims of each origin are in force, and how many wait.

        In one map or all; some 100 ms for a million.
        """
        ref = None if map_name is None else REFS[map_name]
        which = "WHERE ?1 IS NULL OR map = ?1 GROUP BY origin"
        with self._reading():
            forced, waiting = (
                dict(
                    self._connection.execute(
                        f"SELECT origin, count(*) FROM {table} {which}",  # noqa: S608 (constants)
                        (ref,),
                    ).fetchall()
                )
                for table in ("note", "waiting")
            )
        return forced, waiting

    # --- implied rules of lists (implied.py) -----------------------------------------

    def has_implied(self) -> bool:
        """Return whether any list has an implied rule."""
        with self._reading():
            return any(
                self._connection.execute(
                    f"SELECT 1 FROM {_implied_in(table)} WHERE map = ? AND {IS_IMPLIED} LIMIT 1",  # noqa: S608 (constants)
                    (LIST_NAMES_REF,),
                ).fetchone()
                for table in ("note", "waiting")
            )

    def implied(self, after: bytes, limit: int, but: str) -> tuple[list[Note], bytes | None]:
        """Return implied claims of lists, in force or waiting, and where to read on.

        Args:
            after: the stored key behind which to begin.
            limit: as many places at most, of each all such claims.
            but: an origin whose claims are left out.
        """
        place = f"map = ?1 AND key > ?2 AND origin != ?3 AND {IS_IMPLIED}"
        with self._reading():
            run = self._connection.execute
            keys = run(
                f"SELECT key FROM {_implied_in('note')} WHERE {place} UNION"  # noqa: S608 (constants)
                f" SELECT key FROM {_implied_in('waiting')} WHERE {place} ORDER BY key LIMIT ?4",
                (LIST_NAMES_REF, after, but, limit),
            ).fetchall()
            if not keys:
                return [], None
            last = keys[-1][0]
            rows = [
                row
                for table, columns in (("note", _COLUMNS), ("waiting", _CLAIM_COLUMNS))
                for row in run(
                    f"SELECT {columns} FROM {_implied_in(table)} WHERE {place} AND key <= ?4",  # noqa: S608 (constants)
                    (LIST_NAMES_REF, after, but, last),
                )
            ]
        return [_note(row) for row in rows], last if len(keys) == limit else None

    # --- what was seen ----------------------------------------------------------------

    def saw_hits(self, seen: Iterable[tuple[int, MapName, bytes]]) -> None:
        """Keep the counters (hits, map, key) as last looked at."""
        with self.transaction():
            self._connection.executemany(
                "UPDATE note SET hits = ? WHERE map = ? AND key = ?",
                ((hits, *_place(name, key)) for hits, name, key in seen),
            )

    def saw_action(self, seen: Iterable[tuple[RuleAction, MapName, bytes]]) -> None:
        """Keep the actions (action, map, key) that entries have."""
        with self.transaction():
            self._connection.executemany(
                "UPDATE note SET action = ? WHERE map = ? AND key = ?",
                ((action, *_place(name, key)) for action, name, key in seen),
            )

    def get(self, map_name: MapName, key: bytes) -> Note | None:
        """Return the note of one entry, or None."""
        with self._reading():
            row = self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE map = ? AND key = ?",  # noqa: S608 (a constant)
                _place(map_name, key),
            ).fetchone()
        return None if row is None else _note(row)

    def has_more_than(self, count: int) -> bool:
        """Tell whether there are more notes than that."""
        with self._reading():
            query = "SELECT 1 FROM note LIMIT 1 OFFSET ?"
            return self._connection.execute(query, (count,)).fetchone() is not None

    def count(self, map_name: MapName) -> int:
        """Return how many notes of one map there are; some 30 ms for a million."""
        with self._reading():
            query = "SELECT count(*) FROM note WHERE map = ?"
            return int(self._connection.execute(query, (REFS[map_name],)).fetchone()[0])

    def notes(self, map_name: MapName) -> dict[bytes, Note]:
        """Return the notes of one map by key."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE map = ?",  # noqa: S608 (a constant)
                (REFS[map_name],),
            )
            return {note.key: note for note in map(_note, rows)}

    def get_many(self, map_name: MapName, keys: Sequence[bytes]) -> dict[bytes, Note]:
        """Return the notes that there are of these entries, by key."""
        ref = REFS[map_name]
        found: dict[bytes, Note] = {}
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            stored = [stored_key(ref, key) for key in keys[start : start + _KEYS_AT_ONCE]]
            marks = ",".join("?" * len(stored))
            with self._reading():
                rows = self._connection.execute(
                    f"SELECT {_COLUMNS} FROM note WHERE map = ? AND key IN ({marks})",  # noqa: S608 (marks)
                    (ref, *stored),
                ).fetchall()
            found |= {note.key: note for note in map(_note, rows)}
        return found

    def page(self, map_name: MapName, after: bytes, limit: int) -> list[Note]:
        """Return notes of one map in an order of their own, behind a place in it.

        Args:
            map_name: the map.
            after: `place_in_order` of the last note of the page before; empty at first.
            limit: notes at most.
        """
        return [_note(row) for row in self.rows(map_name, after, limit)]

    def made_by_itself(self, limit: int) -> list[Note]:
        """Return dynamic claims that are in force, in the order of maps and keys."""
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE {IS_DYNAMIC} ORDER BY map, key LIMIT ?",  # noqa: S608 (constants)
                (limit,),
            ).fetchall()
        return [_note(row) for row in rows]

    def dynamic(
        self, origin: str, after: tuple[int, bytes], limit: int, *, waiting: bool = False
    ) -> list[Note]:
        """Return claims of one dynamic origin in the order of maps and keys, behind a stored place.

        Args:
            origin: one of those of `IS_DYNAMIC`; only its rows, and the other's, are looked at.
            after: number of the map and stored key; (0, b"") at first.
            limit: claims at most.
            waiting: those that wait; else those in force.
        """
        table, columns = ("waiting", _CLAIM_COLUMNS) if waiting else ("note", _COLUMNS)
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {columns} FROM {table} INDEXED BY {table}_dynamic"  # noqa: S608 (constants)
                f" WHERE {IS_DYNAMIC} AND (map, key) > (?, ?) AND origin = ?"
                " ORDER BY map, key LIMIT ?",
                (*after, origin, limit),
            ).fetchall()
        return [_note(row) for row in rows]

    def rows(self, map_name: MapName, after: bytes, limit: int) -> list[NoteRow]:
        """Return what `page` gives as it is stored, for a million of them."""
        with self._reading():
            return self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE map = ? AND key > ? ORDER BY key LIMIT ?",  # noqa: S608 (a constant)
                (REFS[map_name], after, limit),
            ).fetchall()

    def keys(self, map_name: MapName, after: bytes, limit: int) -> list[bytes]:
        """Return the keys of what `page` gives, as they are stored."""
        with self._reading():
            rows = self._connection.execute(
                "SELECT key FROM note WHERE map = ? AND key > ? ORDER BY key LIMIT ?",
                (REFS[map_name], after, limit),
            ).fetchall()
        return [key for (key,) in rows]

    def forget_keys(self, map_name: MapName, stored: Sequence[bytes]) -> None:
        """Remove notes by their keys as they are stored, in one transaction."""
        ref = REFS[map_name]
        with self.transaction():
            self._connection.executemany(
                "DELETE FROM note WHERE map = ? AND key = ?", ((ref, key) for key in stored)
            )

    def page_of(
        self, origin: str, map_name: MapName, after: bytes, limit: int
    ) -> tuple[list[Note], bytes | None]:
        """Return one origin's notes likewise, and where to read on; None at the end.

        Looks at `SCAN_MAX` notes at most, so that few among many may be none in a page.
        """
        ref = REFS[map_name]
        with self._reading():
            last = self._connection.execute(
                "SELECT key FROM note WHERE map = ? AND key > ? ORDER BY key LIMIT 1 OFFSET ?",
                (ref, after, SCAN_MAX - 1),
            ).fetchone()
            end = None if last is None else bytes(last[0])
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE map = ? AND key > ?"  # noqa: S608 (a constant)
                " AND (? IS NULL OR key <= ?) AND origin = ? ORDER BY key LIMIT ?",
                (ref, after, end, end, origin, limit),
            )
            notes = [_note(row) for row in rows]
        return notes, place_in_order(notes[-1]) if len(notes) == limit else end

    def due(
        self, now: float, limit: int, without: Collection[MapName] = (), *, newest: bool = False
    ) -> list[Note]:
        """Return notes whose time is over at `now` (CLOCK_BOOTTIME), the oldest first.

        Those of the maps in `without` are left where they are. `newest`: the last first.
        """
        refs, others = _others_than(without)
        order = "expires DESC" if newest else "expires"
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE expires <= ?{others} ORDER BY {order} LIMIT ?",  # noqa: S608 (constants)
                (now, *refs, limit),
            )
            return [_note(row) for row in rows]

    def contested_due(
        self, now: float, after: tuple[int, bytes], limit: int, without: Collection[MapName] = ()
    ) -> tuple[list[Note], tuple[int, bytes] | None]:
        """Return notes whose time is over and behind which a claim waits, and where to read on.

        Looks at `limit` claims that wait behind a stored place; None at the end.
        """
        refs, others = _others_than(without)
        with self._reading():
            run = self._connection.execute
            last = run(
                "SELECT map, key FROM waiting WHERE (map, key) > (?, ?)"
                " ORDER BY map, key LIMIT 1 OFFSET ?",
                (*after, limit - 1),
            ).fetchone()
            end = (1 << 31, b"") if last is None else last
            columns = ", ".join(f"note.{name}" for name in _COLUMNS.split(", "))
            rows = run(
                f"SELECT {columns} FROM (SELECT DISTINCT map, key FROM waiting"  # noqa: S608 (constants)
                " WHERE (map, key) > (?, ?) AND (map, key) <= (?, ?)) AS behind"
                " CROSS JOIN note ON note.map = behind.map AND note.key = behind.key"
                f" WHERE note.expires <= ?{others.replace('map', 'note.map')}",
                (*after, *end, now, *refs),
            ).fetchall()
        return [_note(row) for row in rows], last

    def next_expiry(self, without: Collection[MapName] = ()) -> float | None:
        """Return when (CLOCK_BOOTTIME) the next claim's time is over, or None; see `due`."""
        refs, others = _others_than(without)
        with self._reading():
            found = [
                self._connection.execute(
                    f"SELECT min(expires) FROM {table} WHERE expires IS NOT NULL{which}",  # noqa: S608 (constants)
                    values,
                ).fetchone()[0]
                for table, which, values in (("note", others, refs), ("waiting", "", []))
            ]
        return min((float(at) for at in found if at is not None), default=None)

    def rebase_expiry(self, seconds: float, name: str, value: str) -> None:
        """Move every expiry by `seconds`, as the clock of this boot is another one.

        Args:
            seconds: later; less than 0: earlier.
            name: of a fact that is stored with it, so that it is done once.
            value: of the fact.
        """
        with self.transaction():
            for table in ("note", "waiting"):
                self._connection.execute(
                    f"UPDATE {table} SET expires = expires + ? WHERE expires IS NOT NULL",  # noqa: S608 (constants)
                    (seconds,),
                )
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))


def holds_table_rules(path: Path) -> bool:
    """Return whether a state file has notes of our own tables, before it is opened.

    False too where it cannot be read: who opens it then finds out why. Blocks.
    """
    try:
        with look(path) as found:
            refuse_foreign_file(found)
        with State.to_read(path) as state:
            return any(state.rows(name, b"", 1) for name in TABLES)
    except (OSError, StateError):
        return False


def _implied_in(table: str) -> str:
    """Return a table with the index of its implied rules, which SQLite would not choose."""
    return f"{table} INDEXED BY {table}_implied"


_PUT_NOTE = f"INSERT OR REPLACE INTO note ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 (a constant)


def _row_of(n: Note) -> NoteRow:
    return (*_place(n.map, n.key), n.action, n.origin, n.reason, n.created, n.expires, n.hits)


def _others_than(maps: Collection[MapName]) -> tuple[list[int], str]:
    """Return the numbers of these maps, and the condition that a note is of none of them."""
    refs = [REFS[name] for name in maps]
    return refs, f" AND map NOT IN ({', '.join('?' * len(refs))})" if refs else ""


_ACTIONS = {int(action): action for action in RuleAction}


def _note(row: NoteRow) -> Note:
    ref, key, action, origin, reason, created, expires, hits = row
    return Note(
        BY_REF[ref].name,
        full_key(ref, key),
        _ACTIONS.get(action, RuleAction.PASS),
        origin,
        reason,
        created,
        expires,
        hits,
    )


def _refuse_foreign(directory: Opened, name: str) -> None:
    """See that the file, and what SQLite keeps beside it, is ours or missing.

    Raises:
        OSError: it is a link, another user's, or no regular file.
    """
    for suffix in ("", *_BESIDE):
        with contextlib.suppress(FileNotFoundError), directory.open(name + suffix) as found:
            refuse_foreign_file(found)


class _OtherVersionError(Exception):
    """The file is another version's."""


def _open(path: Path) -> sqlite3.Connection:
    """Open and check the file; sqlite3.DatabaseError where it is not sound.

    Raises:
        StateError: it cannot be opened, is locked, or is another version's.
    """
    try:
        return _connect(path)
    except _OtherVersionError as error:
        raise StateError(
            f"cannot open the state file {path}: {error}; start the version of xdpctl that wrote"
            " it, or choose another --state"
        ) from error
    except (sqlite3.OperationalError, OSError) as error:
        raise StateError(
            f"cannot open the state file {path}: {error}; choose another --state or run"
            " `xdpctl prepare` as root"
        ) from error


def _move_aside(path: Path) -> Path:
    """Give a damaged file, and what SQLite keeps beside it, another name."""
    aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
    try:
        path.rename(aside)
        for suffix in _BESIDE:
            with contextlib.suppress(FileNotFoundError):
                path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    except OSError as error:
        raise StateError(
            f"the state file {path} is damaged and cannot be moved aside: {error.strerror}; move"
            " it away, or choose another --state"
        ) from error
    return aside


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, timeout=PATIENCE
    )
    try:
        with look(path) as found:
            refuse_foreign_file(found)
            found.set_mode(0o640)
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -2048")
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
    elif version != VERSION:
        raise _OtherVersionError(f"its format is {version}, this program knows {VERSION}")
    connection.executescript(f"BEGIN; {_WAITING_SCHEMA} COMMIT;")
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check found damage")
