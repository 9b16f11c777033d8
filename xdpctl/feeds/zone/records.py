r"""The versions of one zone, in SQLite files: the last good one, and one that is offered.

Owns the files beside a path, and that a version is good as a whole or not at all. Does not own
transfers (follower.py), or what records mean (the reader of rules). The process that follows zones
writes (`ZoneFiles`); the service reads what was offered (`ZoneRecords`). Everything blocks.

    PATH.zone   the last good version. Changes that are offered (IXFR) are in tables of their own
                until they are accepted, so that both versions can be read
    PATH.new    a whole version (AXFR) that is being written, or is offered

A process that is killed leaves a transaction, which SQLite takes back, or a PATH.new, which the
next one removes. A key is the owner relative to the zone with its labels reversed, each with its
length in front: `a.b` is `\x01b\x01a`, the apex is empty. So all names below one are one range.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self, TypeAlias

from xdpctl.abi import LABEL_MAX
from xdpctl.errors import StateError
from xdpctl.kernel.paths import open_directory, refuse_foreign_file, refuse_writable
from xdpctl.transfers.primaries import UnfitChangesError
from xdpctl.transfers.records import Soa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from xdpctl.transfers.records import ZoneRecord

GOOD_SUFFIX, NEW_SUFFIX = ".zone", ".new"

CHANGES_OCTETS_MAX = 16 << 20
"""Of the records that changes concern, about; more are transferred as a whole zone.

Some 200,000 of them. Until all have come they are in memory, so that the file can be read.
"""

_ROW_OCTETS = 40
"""About what a record takes beside its octets."""

CONTACT_SECONDS = 60.0
"""Between two times that a contact with a primary is written down."""

_APPLICATION = 0x7864_7A6C
_FORMAT = 1
_CACHE_KIB = 8192
_PAGES_MAX = 1 << 19
"""Of a file: 2 GiB, more than twenty million records need."""

_PATIENCE = 120.0
"""Seconds that a reader may hold the file when its version is settled."""

PARENTS_KEPT = 10_000

_COLUMNS = """
    key BLOB NOT NULL, type INTEGER NOT NULL, data BLOB NOT NULL,
    ttl INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (key, type, data)
"""
_SCHEMA = f"""
CREATE TABLE about (zone BLOB NOT NULL, contact REAL NOT NULL);
CREATE TABLE version (
    offered INTEGER PRIMARY KEY, -- 0: the good one, 1: the one that the changes lead to
    serial INTEGER NOT NULL, refresh INTEGER NOT NULL, retry INTEGER NOT NULL,
    expire INTEGER NOT NULL, minimum INTEGER NOT NULL,
    records INTEGER NOT NULL
);
CREATE TABLE record ({_COLUMNS}) WITHOUT ROWID;
CREATE TABLE came ({_COLUMNS}) WITHOUT ROWID;
CREATE TABLE gone (
    key BLOB NOT NULL, type INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (key, type, data)
) WITHOUT ROWID;
CREATE TABLE touched (key BLOB PRIMARY KEY) WITHOUT ROWID;
PRAGMA application_id = {_APPLICATION};
PRAGMA user_version = {_FORMAT};
"""
_VERSION = "serial, refresh, retry, expire, minimum, records"
_READ = "SELECT key, type, ttl, since, data FROM"
_NOT_GONE = """NOT EXISTS (SELECT 1 FROM gone WHERE gone.key = record.key
    AND gone.type = record.type AND gone.data = record.data)"""
_INSERT = "INSERT OR IGNORE INTO {} (key, type, data, ttl, since) VALUES (?, ?, ?, ?, ?)"
_INSERT_RECORD, _INSERT_CAME = _INSERT.format("record"), _INSERT.format("came")
_ALIKE = 16
"""Records of the same type, data and TTL that are inserted at once, in half the time."""

_INSERT_ALIKE = "INSERT OR IGNORE INTO record (type, data, ttl, since, key) VALUES "
_INSERT_ALIKE += ", ".join(f"(?1, ?2, ?3, ?4, ?{number})" for number in range(5, 5 + _ALIKE))
_IS_THERE = """SELECT 1 FROM record WHERE key = ?1 AND type = ?2 AND data = ?3
    AND NOT EXISTS (SELECT 1 FROM gone WHERE key = ?1 AND type = ?2 AND data = ?3)"""
_TAKE_CAME = "DELETE FROM came WHERE key = ? AND type = ? AND data = ?"
_TAKE_RECORD = """INSERT OR IGNORE INTO gone
    SELECT key, type, data FROM record WHERE key = ? AND type = ? AND data = ?"""

StoredRow: TypeAlias = tuple[bytes, int, int, int, bytes]
"""The fields of a StoredRecord."""

Batch: TypeAlias = "tuple[bool, Sequence[ZoneRecord]]"
"""Records that are added, or removed."""


_Row: TypeAlias = tuple[bytes, int, bytes, int, int]


class StoredRecord(NamedTuple):
    """A record of a version.

    Attributes:
        key: its owner, reversed and relative to the zone.
        type: its number.
        ttl: seconds.
        since: when it came, Unix time.
        data: octets; names in it are as in transfers.ZoneRecord.
    """

    key: bytes
    type: int
    ttl: int
    since: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """What a file says of a version.

    Attributes:
        path: of the file.
        soa: of the version.
        records: how many, without the SOA record.
        base: the serial that its changes begin with; None: it is whole.
        touched: owners that the changes concern.
    """

    path: Path
    soa: Soa
    records: int
    base: int | None = None
    touched: int = 0


def key_of(owner: bytes, zone: bytes) -> bytes:
    """Return the key of an owner.

    Args:
        owner: lower-case name in wire form, in the zone.
        zone: its name, likewise.
    """
    relative = owner[: len(owner) - len(zone)]
    labels, at = [], 0
    while at < len(relative):
        end = at + relative[at] + 1
        labels.append(relative[at:end])
        at = end
    return b"".join(reversed(labels))


class ZoneRecords:
    """A version that can be read, any thread or process. A context manager.

    Args:
        path: of the file.
        offered: the version that was offered; else the good one that its changes begin with.

    Raises:
        StateError: here and from each method: the file cannot be read.
    """

    def __init__(self, path: Path, *, offered: bool = True) -> None:
        self._path = path
        with _told("read", path):
            _refuse_foreign(path)
            self._connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode=ro",
                uri=True,
                isolation_level=None,
                timeout=_PATIENCE,
                check_same_thread=False,
            )
            self._connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
            rows = self._connection.execute(
                f"SELECT {_VERSION} FROM version WHERE offered <= ? ORDER BY offered DESC",  # noqa: S608 (a constant)
                (int(offered),),
            ).fetchall()
            if not rows:
                raise sqlite3.DatabaseError("it has no version")
        self.soa, self.count = Soa(*rows[0][:-1]), int(rows[0][-1])
        self._changed = offered and self._one("SELECT EXISTS (SELECT 1 FROM touched)") != 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def records(self) -> Iterator[StoredRecord]:
        """Yield every record, without the SOA record, in the order of the keys."""
        yield from self._select("1", ())

    def batches(self, count: int) -> Iterator[list[StoredRow]]:
        """Yield what `records` does as bare tuples, so many at a time: a third of the work."""
        with _told("read", self._path):
            rows = self._connection.execute(f"{self._query('1')} ORDER BY key")
            while batch := rows.fetchmany(count):
                yield batch

    def of(self, key: bytes) -> Iterator[StoredRecord]:
        """Yield the records of one owner."""
        yield from self._select("key = ?", (key,))

    def below(self, key: bytes) -> Iterator[StoredRecord]:
        """Yield the records of the owners below one, in the order of the keys."""
        yield from self._select("key > ? AND key < ?", (key + b"\0", key + bytes((LABEL_MAX + 1,))))

    def has(self, key: bytes) -> bool:
        """Return whether an owner, or one below it, has a record."""
        return any(next(found, None) is not None for found in (self.of(key), self.below(key)))

    def wildcards(self) -> Iterator[StoredRecord]:
        """Yield the records of owners whose first label is a star; it may end another label."""
        yield from self._select("substr(key, -2) = ?", (b"\x01*",))

    def touched(self) -> Iterator[bytes]:
        """Yield the keys of the owners that the changes concern, in their order."""
        with _told("read", self._path):
            for (key,) in self._connection.execute("SELECT key FROM touched ORDER BY key"):
                yield key

    def _select(self, where: str, values: tuple[bytes, ...]) -> Iterator[StoredRecord]:
        if self._changed:
            values = values * 2
        with _told("read", self._path):
            rows = self._connection.execute(f"{self._query(where)} ORDER BY key", values)
            yield from map(StoredRecord._make, rows)

    def _query(self, where: str) -> str:
        query = f"{_READ} record WHERE {where}"
        if self._changed:
            query += f" AND {_NOT_GONE} UNION ALL {_READ} came WHERE {where}"
        return query

    def _one(self, query: str) -> int:
        with _told("read", self._path):
            return int(self._connection.execute(query).fetchone()[0])


class ZoneFiles:
    """The files of one zone, in the process that follows it. One thread at a time.

    Args:
        path: of the files, without a suffix.
        zone: its name in wire form.
        keep_since: a record that a whole version brings again keeps the time when it came.
        clock: Unix time.
    """

    def __init__(
        self,
        path: Path,
        zone: bytes,
        *,
        keep_since: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path.with_name(path.name + GOOD_SUFFIX)
        self._new_path = path.with_name(path.name + NEW_SUFFIX)
        self._zone = zone
        self._keep_since = keep_since
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._opened = 0, 0  # device and inode of the good version's file
        self._written = 0.0
        self._parents: dict[bytes, bytes] = {}  # keys of names that others are below
        self.contact = 0.0
        self.good: StoredVersion | None = None
        self.offered: StoredVersion | None = None

    def begin(self) -> None:
        """Open the last good version, if there is one, and remove what was not accepted.

        Raises:
            StateError: it cannot be used; it is removed if it is damaged. The next version is
                whole.
        """
        self._remove(self._new_path)
        if not self._path.exists():
            return
        try:
            with _told("use", self._path, "the whole zone is transferred again"):
                self._open()
                self._forget_changes()
        except StateError as error:
            if _is_damaged(error):
                self.drop()
            else:  # the disk, or another process: it may be read the next time
                self._close()
                self.good = None
            raise

    def write_whole(self, batches: Iterable[Batch], soa: Callable[[], Soa]) -> None:
        """Write a whole version to a file of its own; it is offered once that has returned.

        Args:
            batches: ends without an error if the version is verified.
            soa: gives its SOA record afterwards.

        Raises:
            StateError: the file cannot be written.
        """
        self.discard()
        self._remove(self._new_path)
        now = int(self._clock())
        try:
            with (
                _told("write", self._new_path, _KEPT),
                contextlib.closing(_created(self._new_path)) as connection,
            ):
                connection.execute("BEGIN")
                for _, records in batches:
                    _insert(connection, self._rows(records, now))
                count = connection.total_changes
                connection.execute("INSERT INTO about VALUES (?, ?)", (self._zone, self._clock()))
                _write_version(connection, soa(), count, offered=False)
                connection.execute("COMMIT")
                if self._keep_since and self._connection is not None:
                    self._copy_since(connection)
        except BaseException:
            self._remove(self._new_path)
            raise
        self.offered = StoredVersion(self._new_path, soa(), count)

    def _copy_since(self, connection: sqlite3.Connection) -> None:
        connection.execute("ATTACH ? AS former", (f"{self._path.absolute().as_uri()}?mode=ro",))
        connection.execute(
            "UPDATE main.record SET since = old.since FROM former.record AS old"
            " WHERE old.key = record.key AND old.type = record.type"
            " AND old.data = record.data AND old.ttl = record.ttl"
        )

    def write_changes(self, batches: Iterable[Batch], soa: Callable[[], Soa]) -> None:
        """Write changes of the good version; they are offered once that has returned.

        Args:
            batches: end without an error if the changes are verified.
            soa: gives the SOA record that they lead to, afterwards.

        Raises:
            UnfitChangesError: they do not fit the version that is there.
            StateError: the file cannot be written.
        """
        self.discard()
        good, connection = self.good, self._connection
        if good is None or connection is None:
            raise UnfitChangesError("there is no version that could be changed")
        now, left, count = int(self._clock()), CHANGES_OCTETS_MAX, good.records
        with self._written_to(), _unspilled(connection), _transaction(connection):
            for added, records in batches:
                rows = self._rows(records, now)
                left -= sum(2 * len(row[0]) + len(row[2]) + _ROW_OCTETS for row in rows)
                if left < 0:
                    raise UnfitChangesError("more records change than are worth to be changed")
                for row in rows:
                    (_add if added else _take)(connection, row)
                    connection.execute("INSERT OR IGNORE INTO touched VALUES (?)", row[:1])
                count += len(records) if added else -len(records)
            _write_version(connection, soa(), count, offered=True)
            (touched,) = connection.execute("SELECT count(*) FROM touched").fetchone()
        self.offered = StoredVersion(self._path, soa(), count, good.soa.serial, touched)

    def _rows(self, records: Sequence[ZoneRecord], now: int) -> list[_Row]:
        zone, size, keys, rows = self._zone, len(self._zone), self._parents, []
        for owner, type_, _, ttl, data in records:
            first = owner[0] + 1
            if first + size < len(owner):
                parent = owner[first:]
                key = keys.get(parent)
                if key is None:
                    if len(keys) >= PARENTS_KEPT:
                        keys.clear()
                    key = keys[parent] = key_of(parent, zone)
                key += owner[:first]
            else:
                key = owner[: len(owner) - size]
            rows.append((key, type_, data, ttl, now))
        return rows

    def accept(self) -> None:
        """Make the version that is offered the good one.

        Raises:
            StateError: that cannot be written; the good version is the former one.
        """
        offered = self.offered
        if offered is None:
            return
        if offered.base is None:
            with _told("write", self._path, _AGAIN):
                self._close()
                os.replace(self._new_path, self._path)  # noqa: PTH105 - as elsewhere
                _sync(self._path.parent)
                self._open()
        elif (connection := self._connection) is not None:
            with self._written_to(), _transaction(connection):
                connection.execute(
                    "DELETE FROM record WHERE (key, type, data) IN (SELECT * FROM gone)"
                )
                connection.execute("INSERT INTO record SELECT * FROM came")
                connection.execute("DELETE FROM version WHERE offered = 0")
                connection.execute("UPDATE version SET offered = 0")
                _empty(connection)
            self.good = StoredVersion(self._path, offered.soa, offered.records)
        self.offered = None
        self.saw()

    def sync(self) -> None:
        """Have what is offered be on the disk, before it is accepted.

        Raises:
            StateError: the disk fails.
        """
        if self.offered is not None and self.offered.base is None:
            with _told("write", self._new_path, _KEPT):
                _sync(self._new_path)

    def discard(self) -> None:
        """Forget the version that is offered."""
        offered, self.offered = self.offered, None
        if offered is None:
            return
        if offered.base is None:
            self._remove(self._new_path)
            return
        with self._written_to():
            self._forget_changes()

    def check(self) -> None:
        """Forget the good version if its file is no more what was opened: all comes again."""
        try:
            found = self._path.stat()
            is_same = self._connection is None or (found.st_dev, found.st_ino) == self._opened
        except OSError:
            is_same = False
        if not is_same and self.good is not None:
            self._close()
            self.good = None
            self.discard()

    def drop(self) -> None:
        """Remove everything."""
        self._close()
        self.good = self.offered = None
        for path in (self._new_path, self._path):
            self._remove(path)

    def saw(self) -> None:
        """Note that a primary gave what it has; written down once in a while.

        Raises:
            StateError: that cannot be written.
        """
        self.contact = self._clock()
        if self._connection is None or abs(self.contact - self._written) < CONTACT_SECONDS:
            return
        self._written = self.contact
        with self._written_to():
            self._connection.execute("UPDATE about SET contact = ?", (self.contact,))

    # --- the file -----------------------------------------------------------------------

    def _open(self) -> None:
        """Open the good version, and take back what a killed process began."""
        _refuse_foreign(self._path)
        connection = self._connection = sqlite3.connect(
            self._path, isolation_level=None, timeout=_PATIENCE, check_same_thread=False
        )
        found = self._path.stat()
        self._opened = found.st_dev, found.st_ino
        connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        connection.execute(f"PRAGMA max_page_count = {_PAGES_MAX}")
        connection.execute("PRAGMA synchronous = FULL")
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (form,) = connection.execute("PRAGMA user_version").fetchone()
        if (application, form) != (_APPLICATION, _FORMAT):
            raise sqlite3.DatabaseError("it is of another version of xdpctl")
        about = connection.execute("SELECT zone, contact FROM about").fetchone()
        version = connection.execute(
            f"SELECT {_VERSION} FROM version WHERE offered = 0"  # noqa: S608 (a constant)
        ).fetchone()
        if about is None or version is None:
            raise sqlite3.DatabaseError("it is not whole")
        if about[0] != self._zone:
            raise sqlite3.DatabaseError("it is of another zone")
        self.contact = self._written = about[1]
        self.good = StoredVersion(self._path, Soa(*version[:-1]), version[-1])

    @contextlib.contextmanager
    def _written_to(self) -> Iterator[None]:
        """Raise what fails as one sentence; a good version that is damaged is removed."""
        try:
            with _told("write", self._path, _KEPT):
                yield
        except StateError as error:
            if _is_damaged(error):
                self.drop()
            raise

    def _forget_changes(self) -> None:
        connection = self._connection
        if connection is not None:
            with _transaction(connection):
                connection.execute("DELETE FROM version WHERE offered = 1")
                _empty(connection)

    def _close(self) -> None:
        """Close the good version; that leaves no journal, which would spoil a file in its place."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @staticmethod
    def _remove(path: Path) -> None:
        for name in (path.name, f"{path.name}-journal"):
            with contextlib.suppress(OSError):
                path.with_name(name).unlink()


def _refuse_foreign(path: Path) -> None:
    """See that nobody else can have made or changed a version's file. It is only looked at.

    Closing a file that was opened to read would end SQLite's locks on it in this process.

    Raises:
        OSError: another user owns or can change it, or a folder on the way; or it does not exist.
    """
    with open_directory(path.parent) as folder, folder.open(path.name) as found:
        refuse_foreign_file(found)
        refuse_writable(found)


def _created(path: Path) -> sqlite3.Connection:
    """Return a new file, open. It has no journal: one that is not whole is removed."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(  # as a URI, so that another file can be attached as one
        path.absolute().as_uri(), uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA journal_mode = OFF")
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA locking_mode = EXCLUSIVE")
    connection.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
    connection.execute(f"PRAGMA max_page_count = {_PAGES_MAX}")
    connection.executescript(_SCHEMA)
    return connection


def _write_version(
    connection: sqlite3.Connection, soa: Soa, records: int, *, offered: bool
) -> None:
    connection.execute(
        "INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?)", (int(offered), *soa, records)
    )


def _insert(connection: sqlite3.Connection, rows: Sequence[_Row]) -> None:
    """Insert the records of a message; most of them are alike but for their owner."""
    alike: defaultdict[tuple[int, bytes, int, int], list[bytes]] = defaultdict(list)
    for key, type_, data, ttl, since in rows:
        alike[type_, data, ttl, since].append(key)
    rest = []
    for what, keys in alike.items():
        whole = len(keys) - len(keys) % _ALIKE
        for at in range(0, whole, _ALIKE):
            connection.execute(_INSERT_ALIKE, (*what, *keys[at : at + _ALIKE]))
        rest += [(key, *what) for key in keys[whole:]]
    connection.executemany(_INSERT_RECORD, rest)


def _add(connection: sqlite3.Connection, row: _Row) -> None:
    """Add a record to the changes; one that is there already does not fit."""
    if (
        connection.execute(_IS_THERE, row[:3]).fetchone() is not None
        or not connection.execute(_INSERT_CAME, row).rowcount
    ):
        raise UnfitChangesError("records come that are there")


def _take(connection: sqlite3.Connection, row: _Row) -> None:
    """Take a record away; one that is not there does not fit."""
    if connection.execute(_TAKE_CAME, row[:3]).rowcount:
        return
    if not connection.execute(_TAKE_RECORD, row[:3]).rowcount:
        raise UnfitChangesError("records go that are not there")


def _empty(connection: sqlite3.Connection) -> None:
    connection.execute("DELETE FROM came")
    connection.execute("DELETE FROM gone")
    connection.execute("DELETE FROM touched")


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise


@contextlib.contextmanager
def _unspilled(connection: sqlite3.Connection) -> Iterator[None]:
    """Keep what a transaction writes in memory until its end.

    What is written to the file before locks it, for as long as a primary takes to send the rest.
    """
    connection.execute("PRAGMA cache_spill = OFF")
    try:
        yield
    finally:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA cache_spill = ON")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_damaged(error: StateError) -> bool:
    """Return whether the content of a file is why it cannot be used, and not the system."""
    return type(error.__cause__) is sqlite3.DatabaseError


_KEPT = "the last good version stays in force"
_AGAIN = "the version is transferred again at the next start"


@contextlib.contextmanager
def _told(verb: str, path: Path, helps: str = "") -> Iterator[None]:
    """Raise what fails as one sentence."""
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        why = getattr(error, "strerror", None) or str(error)
        sentence = f"cannot {verb} {path}: {why}"
        raise StateError(f"{sentence}; {helps}" if helps else sentence) from error
