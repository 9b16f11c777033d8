"""A list of rules beside the notes: what is new, changed, gone.

SQLite does the set work, so that a million rules cost neither Python objects nor
memory, and other threads run meanwhile. Owns a connection of its own to the state
file; what it stages lives in temporary tables that go with it. Everything blocks.
"""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xdpctl.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from xdpctl.rows import Row

_TABLES = """
CREATE TEMP TABLE incoming (
    map INTEGER, key BLOB, action INTEGER, reason TEXT, expires REAL
);
CREATE TEMP TABLE planned (
    map INTEGER, key BLOB, action INTEGER, reason TEXT, expires REAL, PRIMARY KEY (map, key)
) WITHOUT ROWID;
"""

_ADDED = """
CREATE TEMP TABLE added AS
SELECT planned.* FROM planned LEFT JOIN note USING (map, key) WHERE note.key IS NULL
"""

_CHANGED = """
CREATE TEMP TABLE changed AS
SELECT planned.*, note.action AS former FROM planned JOIN note USING (map, key)
WHERE (note.origin = :origin OR :take_over) AND (
    note.action != planned.action OR note.reason != planned.reason
    OR note.expires IS NOT planned.expires OR note.origin != :origin)
"""

_OTHERS = """
SELECT count(*) FROM planned JOIN note USING (map, key)
WHERE note.origin != :origin AND NOT :take_over
"""

_GONE = """
CREATE TEMP TABLE gone AS SELECT map, key, hits FROM note WHERE origin = ? AND NOT EXISTS (
    SELECT 1 FROM planned WHERE planned.map = note.map AND planned.key = note.key)
"""

_NOTE_ADDED = """
INSERT OR REPLACE INTO note (map, key, action, origin, reason, created, expires, hits)
SELECT map, key, action, ?, reason, ?, expires, 0 FROM added WHERE rowid > ? AND rowid <= ?
"""

_NOTE_CHANGED = """
UPDATE note SET
    action = changed.action, reason = changed.reason, expires = changed.expires, origin = ?
FROM changed WHERE changed.map = note.map AND changed.key = note.key
    AND changed.rowid > ? AND changed.rowid <= ?
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """How a staged list differs from the notes of one origin, in entries.

    Attributes:
        others: entries that another origin of ours has already; they stay its.
        gone: of the origin, not in the list; 0 unless the list replaces.
    """

    added: int
    changed: int
    unchanged: int
    others: int
    gone: int


class Staging:
    """The staged list. A context manager.

    Args:
        path: the state file, which exists and is sound.
    """

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=30
        )
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA cache_size = -8192")
        self._connection.executescript(_TABLES)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def load(self, rows: Iterable[Row]) -> None:
        """Stage rows; where one entry comes twice the last one counts.

        Raises:
            Whatever `rows` raises; then nothing of these rows is staged.
        """
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO incoming VALUES (?, ?, ?, ?, ?)", rows)

    def compare(self, origin: str, *, replace: bool, take_over: bool = False) -> Difference:
        """Find out how the list differs from the origin's notes.

        Args:
            origin: whose list it is.
            replace: what of the origin is not in the list is gone.
            take_over: entries of other origins count as changed, not as others.
        """
        whose: dict[str, str | bool] = {"origin": origin, "take_over": take_over}
        run = self._connection.execute
        run(
            "INSERT OR REPLACE INTO planned SELECT * FROM incoming"
            " ORDER BY map, key, incoming.rowid"
        )
        run("DROP TABLE incoming")
        run(_ADDED)
        run(_CHANGED, whose)
        others = self._count(_OTHERS, whose)
        if replace:
            run(_GONE, (origin,))
        planned, added, changed = (
            self._count(f"SELECT count(*) FROM {table}")  # noqa: S608 (constants)
            for table in ("planned", "added", "changed")
        )
        gone = self._count("SELECT count(*) FROM gone") if replace else 0
        return Difference(added, changed, planned - added - changed - others, others, gone)

    def _count(self, query: str, values: Mapping[str, str | bool] | None = None) -> int:
        return int(self._connection.execute(query, values or {}).fetchone()[0])

    def added(self, start: int, end: int) -> list[tuple[int, bytes, int]]:
        """Return (map number, key, action) of new entries number start+1 to end."""
        return self._connection.execute(
            "SELECT map, key, action FROM added WHERE rowid > ? AND rowid <= ?", (start, end)
        ).fetchall()

    def changed(self, start: int, end: int) -> list[tuple[int, bytes, int, int]]:
        """Return (map number, key, action, former action) likewise."""
        return self._connection.execute(
            "SELECT map, key, action, former FROM changed WHERE rowid > ? AND rowid <= ?",
            (start, end),
        ).fetchall()

    def gone(self, start: int, end: int) -> list[tuple[int, bytes, int]]:
        """Return (map number, key, counter as last seen) likewise."""
        return self._connection.execute(
            "SELECT map, key, hits FROM gone WHERE rowid > ? AND rowid <= ?", (start, end)
        ).fetchall()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            with self._connection:
                self._connection.execute("BEGIN IMMEDIATE")
                yield
        except sqlite3.Error as error:
            raise StateError(
                f"cannot write the state file: {error}; see that the disk has room and the file"
                " is writable"
            ) from error

    def note_added(self, start: int, end: int, origin: str, created: float) -> None:
        """Write the notes of new entries number start+1 to end."""
        with self._writing():
            self._connection.execute(_NOTE_ADDED, (origin, created, start, end))

    def note_changed(self, start: int, end: int, origin: str) -> None:
        """Write what changed in notes number start+1 to end."""
        with self._writing():
            self._connection.execute(_NOTE_CHANGED, (origin, start, end))

    def forget(self, entries: Iterable[tuple[int, bytes]]) -> None:
        """Remove notes by (map number, key)."""
        with self._writing():
            self._connection.executemany("DELETE FROM note WHERE map = ? AND key = ?", entries)
