"""What the maps cannot hold: origin, reason, creation and expiry of our own rules.

Owns one SQLite file. Knows nothing of maps but their names, keys and ids; the
store (store.py) decides what a note means. A note is written before the map is, so
that a crash leaves a note without an entry and never an entry without a note.

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
from xdpctl.rules.keys import REFS, full_key, stored_key

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


def place_in_order(note: Note) -> bytes:
    """Return a note's position in the order of `State.page`."""
    return stored_key(REFS[note.map], note.key)


def _place(name: MapName, key: bytes) -> tuple[int, bytes]:
    ref = REFS[name]
    return ref, stored_key(ref, key)


NoteRow: TypeAlias = tuple[int, bytes, int, str, str, float, float | None, int]
"""Map number, key as stored, action, origin, reason, created, expires, hits: see `Note`."""

_COLUMNS = "map, key, action, origin, reason, created, expires, hits"


@dataclass(frozen=True, slots=True)
class Note:
    """What we know of one entry that we wrote.

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
        with a sentence in `warnings`; the rules in the maps stay in force.

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
                f"the state file {path} is damaged ({error}) and was moved to {aside}: the rules"
                " in the maps stay in force and are now listed as dnsdist's"
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
            self._connection.executemany(
                f"INSERT OR REPLACE INTO note ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608 (a constant)
                (
                    (
                        *_place(n.map, n.key),
                        n.action,
                        n.origin,
                        n.reason,
                        n.created,
                        n.expires,
                        n.hits,
                    )
                    for n in notes
                ),
            )

    def forget(self, entries: Iterable[tuple[MapName, bytes]]) -> None:
        """Remove the notes of these entries, in one transaction."""
        with self.transaction():
            self._connection.executemany(
                "DELETE FROM note WHERE map = ? AND key = ?",
                (_place(*entry) for entry in entries),
            )

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

    def count_by_origin(self, map_name: MapName | None = None) -> dict[str, int]:
        """Return how many notes each origin has, in one map or all; 0.2 s for a million."""
        ref = None if map_name is None else REFS[map_name]
        query = "SELECT origin, count(*) FROM note WHERE ?1 IS NULL OR map = ?1 GROUP BY origin"
        return dict(self.select(query, (ref,)))

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

    def due(self, now: float, limit: int, without: Collection[MapName] = ()) -> list[Note]:
        """Return notes whose time is over at `now` (CLOCK_BOOTTIME), the oldest first.

        Those of the maps in `without` are left where they are.
        """
        refs, others = _others_than(without)
        with self._reading():
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM note WHERE expires <= ?{others} ORDER BY expires LIMIT ?",  # noqa: S608 (constants)
                (now, *refs, limit),
            )
            return [_note(row) for row in rows]

    def next_expiry(self, without: Collection[MapName] = ()) -> float | None:
        """Return when (CLOCK_BOOTTIME) the next note's time is over, or None; see `due`."""
        refs, others = _others_than(without)
        with self._reading():
            row = self._connection.execute(
                f"SELECT min(expires) FROM note WHERE expires IS NOT NULL{others}",  # noqa: S608 (constants)
                refs,
            ).fetchone()
        return None if row[0] is None else float(row[0])

    def rebase_expiry(self, seconds: float, name: str, value: str) -> None:
        """Move every expiry by `seconds`, as the clock of this boot is another one.

        Args:
            seconds: later; less than 0: earlier.
            name: of a fact that is stored with it, so that it is done once.
            value: of the fact.
        """
        with self.transaction():
            self._connection.execute(
                "UPDATE note SET expires = expires + ? WHERE expires IS NOT NULL", (seconds,)
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


def _others_than(maps: Collection[MapName]) -> tuple[list[int], str]:
    """Return the numbers of these maps, and the condition that a note is of none of them."""
    refs = [REFS[name] for name in maps]
    return refs, f" AND map NOT IN ({', '.join('?' * len(refs))})" if refs else ""


def _note(row: NoteRow) -> Note:
    ref, key, action, origin, reason, created, expires, hits = row
    return Note(
        BY_REF[ref].name,
        full_key(ref, key),
        RuleAction.from_byte(action),
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


def _open(path: Path) -> sqlite3.Connection:
    """Open and check the file; sqlite3.DatabaseError where it is not sound.

    Raises:
        StateError: it cannot be opened, is locked, or is another version's.
    """
    try:
        return _connect(path)
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
        raise sqlite3.OperationalError(f"its format is {version}, this program knows {VERSION}")
    if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
        raise sqlite3.DatabaseError("quick_check found damage")
