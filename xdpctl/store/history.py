"""The last changes of rules and of the service, in the state file, so that they survive a restart.

Owns one table beside the notes, and what a row of it says. A change of many rules is one row with
counts. Does not decide what is worth a row (service/account.py). Everything blocks and may be
called from any thread.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from xdpctl.process.caller import NOBODY, Caller

if TYPE_CHECKING:
    from collections.abc import Iterable
    from sqlite3 import Connection

    from xdpctl.store.state import State

MOST = 10_000
"""Rows that are kept."""

OF_LISTS, BY_ITSELF = 2_500, 5_000
"""So many of them may be of lists, and of what the service does by itself, before others go.

A zone that changes each second has 86,400 a day: it must not push out what people did.
"""

SPARE = 100
"""Rows after which those that are too many are removed, so that not each one is counted for."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS history (
    number INTEGER PRIMARY KEY,
    time REAL NOT NULL,
    uid INTEGER,
    pid INTEGER,
    command TEXT,
    token TEXT,
    address TEXT,
    verb TEXT NOT NULL,
    target TEXT,
    qtype TEXT,
    action TEXT,
    origin TEXT,
    count INTEGER NOT NULL,
    hits INTEGER,
    reason TEXT,
    detail TEXT
)
"""
_COLUMNS = (
    "time, uid, pid, command, token, address, verb, target, qtype, action, origin, count, hits,"
    " reason, detail"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryRow:
    """One change.

    Attributes:
        time: seconds since the epoch.
        verb: what was done: block, allow, unblock, import, replace, list, flush, expire, resize,
            panic, resume, detach, attach, prove, unprove, limit-acts, limit-ended,
            zone-limited, zone-free, transfer, publish, unpublish.
        who: who asked for it.
        target, qtype: of one rule; None for a change of many, or of nrecord.
        action: of the rule.
        origin: whose rules; None where they are of several origins.
        count: how many rules, interfaces, or packets over a limit.
        hits: of what was removed, as last counted; None where nothing was, or nobody knows.
        reason: that of the rule.
        detail: what else there is to say, in a few words.
    """

    time: float
    verb: str
    who: Caller = NOBODY
    target: str | None = None
    qtype: str | None = None
    action: str | None = None
    origin: str | None = None
    count: int = 1
    hits: int | None = None
    reason: str | None = None
    detail: str | None = None


UNDER_WAY = "under way"
"""Start of the detail of a change that is not done yet (`History.begin`)."""

CUT_SHORT = "cut short when the service ended"
"""The same after a restart."""


class History:
    """The last changes.

    Args:
        state: the state file, open.
    """

    def __init__(self, state: State) -> None:
        self._state = state
        self._added = SPARE

    @classmethod
    def open(cls, state: State) -> Self:
        """Return the history in a state file, whose table is made if it is missing.

        Raises:
            StateError: it cannot be made.
        """
        state.add_table(
            _SCHEMA,
            "UPDATE history SET detail = ? || substr(detail, ?) WHERE detail LIKE ?",
            (CUT_SHORT, len(UNDER_WAY) + 1, f"{UNDER_WAY}%"),
        )
        return cls(state)

    def add(self, records: Iterable[HistoryRow]) -> None:
        """Append rows, and drop some of more than `MOST`: of lists first, then the service's own.

        Raises:
            StateError: SQLite refused; nothing was appended.
        """
        with self._state.transaction() as connection:
            added = connection.executemany(_INSERT, map(_row, records)).rowcount
            self._drop(connection, added)

    def begin(self, record: HistoryRow) -> int:
        """Append the row of a change that is not done yet; return its number.

        Its detail starts with `UNDER_WAY`; after a restart it starts with `CUT_SHORT`.

        Raises:
            StateError: SQLite refused.
        """
        with self._state.transaction() as connection:
            number = connection.execute(_INSERT, _row(record)).lastrowid
            self._drop(connection, 1)
        return number or 0

    def _drop(self, connection: Connection, added: int) -> None:
        """Drop rows that are too many, from time to time."""
        self._added += max(added, 0)
        if self._added < SPARE:
            return
        self._added = 0
        every, own, of_lists = connection.execute(_COUNT).fetchone()
        more = every - MOST
        first = max(min(more, of_lists - OF_LISTS), 0)
        second = max(min(more - first, own - first - BY_ITSELF), 0)
        for condition, gone in (
            (_OF_LIST, first),
            (f"NOT ({_OF_LIST}) AND {_OWN}", second),
            (f"NOT ({_OWN})", more - first - second),
        ):
            if gone > 0:
                connection.execute(_DROP.format(condition), (gone,))

    def amend(self, number: int, record: HistoryRow) -> None:
        """Write a row that `begin` appended again.

        Raises:
            StateError: SQLite refused.
        """
        with self._state.transaction() as connection:
            connection.execute(f"REPLACE{_VALUES_OF_ONE}", (number, *_row(record)))

    def last(
        self, *, target: str | None = None, since: float | None = None, limit: int = MOST
    ) -> list[HistoryRow]:
        """Return the last rows, the oldest of them first.

        Args:
            target: only changes of the rules for this target, of any type.
            since: only what happened at or after this time, in seconds since the epoch.
            limit: rows at most.

        Raises:
            StateError: the state cannot be read.
        """
        rows = self._state.select(
            f"SELECT {_COLUMNS} FROM history WHERE (?1 IS NULL OR target = ?1)"  # noqa: S608 (a constant)
            " AND (?2 IS NULL OR time >= ?2) ORDER BY number DESC LIMIT ?3",
            (target, since, limit),
        )
        return [_record(row) for row in reversed(rows)]

    def newest(self) -> int:
        """Return the number of the last row; 0: there is none.

        Raises:
            StateError: the state cannot be read.
        """
        ((number,),) = self._state.select("SELECT coalesce(max(number), 0) FROM history", ())
        return int(number)

    def after(self, number: int, also: Iterable[int], limit: int) -> dict[int, HistoryRow]:
        """Return the rows behind a number, and some of before, by their numbers.

        Args:
            number: of a row.
            also: numbers of rows up to it.
            limit: rows at most; those behind the number are the newest.

        Raises:
            StateError: the state cannot be read.
        """
        rows = self._state.select(
            f"SELECT number, {_COLUMNS} FROM history WHERE number > ?1"  # noqa: S608 (a constant)
            " OR number IN (SELECT value FROM json_each(?2)) ORDER BY number DESC LIMIT ?3",
            (number, json.dumps(sorted(also)), limit),
        )
        return {row[0]: _record(row[1:]) for row in reversed(rows)}


_VALUES_OF_ONE = f" INTO history (number, {_COLUMNS}) VALUES ({', '.join('?' * 16)})"
_INSERT = f"INSERT INTO history ({_COLUMNS}) VALUES ({', '.join('?' * 15)})"  # noqa: S608 (a constant)
_OWN = "uid IS NULL AND token IS NULL AND address IS NULL"
"""Nobody asked for it."""

_OF_LIST = f"verb = 'list' AND {_OWN}"
_COUNT = (
    f"SELECT count(*), count(*) FILTER (WHERE {_OWN}), count(*) FILTER (WHERE {_OF_LIST})"  # noqa: S608 (constants)
    " FROM history"
)
_DROP = (
    "DELETE FROM history WHERE number IN (SELECT number FROM history WHERE {} ORDER BY number"
    " LIMIT ?)"
)


def _row(record: HistoryRow) -> tuple[object, ...]:
    who = record.who
    return (
        *(record.time, who.uid, who.pid, who.command, who.token, who.address),
        *(record.verb, record.target, record.qtype, record.action, record.origin),
        *(record.count, record.hits, record.reason, record.detail),
    )


def _record(row: tuple[Any, ...]) -> HistoryRow:
    time, uid, pid, command, token, address, *rest = row
    names = ("verb", "target", "qtype", "action", "origin", "count", "hits", "reason", "detail")
    who = Caller(uid, pid, command, token, address)
    return HistoryRow(time=time, who=who, **dict(zip(names, rest, strict=True)))
