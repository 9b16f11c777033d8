"""The records of a transfer: which are added, which removed, and when the transfer is whole.

Owns the order of records in AXFR (RFC 5936, 2.2) and IXFR (RFC 1995, 4), as a pure state machine.
Does not own messages or signatures. Called by client.py.

    AXFR   SOA(new) records… SOA(new)
    IXFR   SOA(new) [SOA(old) removed… SOA(next) added…]… SOA(new), or as AXFR, or SOA alone
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.errors import TransferError
from xdpctl.transfers.records import CLASS_IN, RecordType, Soa, ZoneRecord, soa_of
from xdpctl.transfers.serials import is_newer

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class Kind(Enum):
    """What a transfer turned out to be."""

    UNKNOWN = auto()
    CURRENT = "the version that is there is the newest"
    FULL = "axfr"
    CHANGES = "ixfr"


class RecordChange(NamedTuple):
    """A record that a transfer adds or removes."""

    added: bool
    record: ZoneRecord


class _Part(Enum):
    """What the next record belongs to."""

    FIRST = auto()
    SECOND = auto()
    ALL = auto()
    REMOVED = auto()
    ADDED = auto()
    END = auto()


PARENTS_KEPT = 10_000
_RUNS = frozenset({_Part.ALL, _Part.REMOVED, _Part.ADDED})
"""Parts in which all records but SOA records are changes of one kind."""


class TransferStream:
    """Takes the records of a transfer in their order.

    The SOA records of the zone are not among the changes; `soa` has the new one.

    Args:
        zone: lower-case name in wire form.
        have: the serial that is there; None: AXFR was asked for.
    """

    def __init__(self, zone: bytes, have: int | None) -> None:
        self._zone = zone
        self._have = have
        self._part = _Part.FIRST
        self._at: int | None = have  # serial that the changes so far lead to
        self._soa: Soa | None = None
        self._within: set[bytes] = set()  # names in the zone that have others below them
        self.kind = Kind.UNKNOWN

    @property
    def soa(self) -> Soa:
        """The SOA record of the version that is transferred; there is one after a record."""
        if self._soa is None:
            raise TransferError("the answer has no records")
        return self._soa

    @property
    def is_whole(self) -> bool:
        """Whether the last record was taken."""
        return self._part is _Part.END

    def take(self, record: ZoneRecord) -> Iterator[RecordChange]:
        """Yield the changes that a record is, none or one or, of an early one, two.

        Raises:
            TransferError: it has no place in a transfer of this zone.
        """
        if self._part is _Part.END:
            raise TransferError("the transfer goes on behind its last record")
        if record.class_ != CLASS_IN:
            raise TransferError(f"the transfer has a record of class {record.class_}")
        if not self._is_within(record.owner):
            raise TransferError("the transfer has a record of another zone")
        is_soa = record.type == RecordType.SOA
        if is_soa and record.owner != self._zone:
            raise TransferError("the transfer has the SOA record of another zone")
        if self._part is _Part.FIRST:
            self._take_first(record, is_soa=is_soa)
        elif self._part is _Part.SECOND and self._begins_changes(record, is_soa=is_soa):
            self.kind, self._part = Kind.CHANGES, _Part.REMOVED
        elif is_soa:
            self._take_soa(soa_of(record).serial)
        else:
            if self._part is _Part.SECOND:
                self.kind, self._part = Kind.FULL, _Part.ALL
            yield RecordChange(self._part is not _Part.REMOVED, record)

    def take_all(
        self, records: Sequence[ZoneRecord]
    ) -> Iterator[tuple[bool, Sequence[ZoneRecord]]]:
        """Yield the changes that the records of a message are, as many at a time as are alike.

        Raises:
            TransferError: as `take`.
        """
        at = 0
        while at < len(records):
            if (end := self._run(records, at)) > at:
                yield self._part is not _Part.REMOVED, records[at:end]
                at = end
            else:
                yield from ((added, (record,)) for added, record in self.take(records[at]))
                at += 1

    def _run(self, records: Sequence[ZoneRecord], at: int) -> int:
        """Return where the records end that are changes of the same kind without further ado."""
        if self._part not in _RUNS:
            return at
        within = self._within
        for number in range(at, len(records)):
            owner, type_, class_, _, _ = records[number]
            if type_ == RecordType.SOA or class_ != CLASS_IN:
                return number
            parent = owner[owner[0] + 1 :]
            if parent not in within:  # most owners have the parent of another one
                if not self._is_within(owner):
                    return number
                if len(within) >= PARENTS_KEPT:
                    within.clear()
                if owner != self._zone:
                    within.add(parent)
        return len(records)

    def _is_within(self, owner: bytes) -> bool:
        """Return whether a name is the zone's or below it, at the border of a label."""
        if not owner.endswith(self._zone):
            return False
        at, border = 0, len(owner) - len(self._zone)
        while at < border:
            at += owner[at] + 1
        return at == border

    def _take_first(self, record: ZoneRecord, *, is_soa: bool) -> None:
        if not is_soa:
            raise TransferError("the transfer does not begin with an SOA record")
        self._soa = soa_of(record)
        serial, have = self._soa.serial, self._have
        if have is None:
            self.kind, self._part = Kind.FULL, _Part.ALL
        elif serial == have:
            self.kind, self._part = Kind.CURRENT, _Part.END
        elif not is_newer(serial, have):
            raise backwards(serial, have)
        else:
            self._part = _Part.SECOND

    def _begins_changes(self, record: ZoneRecord, *, is_soa: bool) -> bool:
        return is_soa and soa_of(record).serial == self._have

    def _take_soa(self, serial: int) -> None:
        """Take an SOA record that is not among the first of changes."""
        newest = self.soa.serial
        if self._part in (_Part.SECOND, _Part.ALL):
            if serial != newest:
                raise TransferError(
                    f"the transfer begins with serial {newest} and ends with {serial}"
                )
            self.kind, self._part = Kind.FULL, _Part.END
        elif self._part is _Part.REMOVED:
            at = self._at
            if at is None or not is_newer(serial, at) or is_newer(serial, newest):
                raise TransferError(f"its changes lead from serial {at} to {serial}")
            self._at, self._part = serial, _Part.ADDED
        elif serial != self._at:
            raise TransferError(f"its changes lead to serial {self._at}, the next from {serial}")
        else:
            self._part = _Part.END if serial == newest else _Part.REMOVED


def backwards(serial: int, have: int) -> TransferError:
    """Return the error of a primary whose version is older than the one that is there."""
    return TransferError(
        f"its version {serial} is older than version {have}, which is in force; raise the serial"
        " there, or take a list as it is there with `xdpctl lists accept NAME`"
    )
