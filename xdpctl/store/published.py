"""What this host has published in response policy zones, in the state file.

Owns one table beside the notes: a row for each record of ours, from before it is sent until it is
known to be gone, so that a restart can remove what has ended. Does not own what is published
(feeds/publish/). Everything blocks and may be called from any thread.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from xdpctl.abi import RuleAction

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    from xdpctl.store.state import State

    Key: TypeAlias = tuple[str, str]
    """Zone and target of a record."""

MOST = 5_000
"""Records that are kept."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS published (
    zone TEXT NOT NULL,
    target TEXT NOT NULL,
    action INTEGER NOT NULL,
    origin TEXT NOT NULL,
    created REAL NOT NULL,
    ends REAL,
    there INTEGER,
    there_ends REAL,
    sent INTEGER,
    leaving INTEGER NOT NULL,
    PRIMARY KEY (zone, target)
) WITHOUT ROWID
"""
_COLUMNS = "zone, target, action, origin, created, ends, there, there_ends, sent, leaving"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRecord:
    """One record of ours, or that is to be.

    Attributes:
        zone: name of the response policy zone.
        target: what the record's owner means, as text; a zone with its own name is two records.
        action: that is wanted.
        origin: the claim's; `cli` for what an operator publishes.
        created, ends: seconds since the epoch; `ends` None: no end.
        there: the action that the primary has accepted; None: none.
        there_ends: the end that the TTL of that record said.
        sent: an action that was sent, while it is not known whether the primary took it.
        leaving: it is to be removed.
    """

    zone: str
    target: str
    action: RuleAction
    origin: str
    created: float
    ends: float | None = None
    there: RuleAction | None = None
    there_ends: float | None = None
    sent: RuleAction | None = None
    leaving: bool = False

    @property
    def key(self) -> Key:
        """What there is one of."""
        return self.zone, self.target


class PublishedTable:
    """The records.

    Args:
        state: the state file, open.
    """

    def __init__(self, state: State) -> None:
        self._state = state

    @classmethod
    def open(cls, state: State) -> Self:
        """Return the records in a state file, whose table is made if it is missing.

        Raises:
            StateError: it cannot be made.
        """
        state.add_table(_SCHEMA)
        return cls(state)

    def read(self) -> list[PublishedRecord]:
        """Return every record; StateError as all that reads."""
        rows = self._state.select(f"SELECT {_COLUMNS} FROM published LIMIT ?", (MOST,))  # noqa: S608 (a constant)
        return [_record(row) for row in rows]

    def write(self, put: Iterable[PublishedRecord] = (), forget: Iterable[Key] = ()) -> None:
        """Write records and remove others, in one transaction.

        Raises:
            StateError: SQLite refused; nothing was changed.
        """
        with self._state.transaction() as connection:
            connection.executemany("DELETE FROM published WHERE zone = ? AND target = ?", forget)
            connection.executemany(
                f"INSERT OR REPLACE INTO published ({_COLUMNS})"  # noqa: S608 (a constant)
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                map(_row, put),
            )


def _row(record: PublishedRecord) -> tuple[object, ...]:
    return (
        *(record.zone, record.target, record.action, record.origin, record.created, record.ends),
        *(record.there, record.there_ends, record.sent, int(record.leaving)),
    )


def _record(row: tuple[Any, ...]) -> PublishedRecord:
    zone, target, action, origin, created, ends, there, there_ends, sent, leaving = row
    return PublishedRecord(
        zone=zone,
        target=target,
        action=RuleAction(action),
        origin=origin,
        created=created,
        ends=ends,
        there=None if there is None else RuleAction(there),
        there_ends=there_ends,
        sent=None if sent is None else RuleAction(sent),
        leaving=bool(leaving),
    )
