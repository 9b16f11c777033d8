"""What a transfer's records mean for the names that exist in a zone.

Owns which records count, and for which names: its owner, each name between that and the zone, and
what a wildcard, a delegation or a DNAME record makes exist. Does not own tables (names.py) or
transfers. Pure. Called by follower.py.

Names of more than ZONE_LEVELS labels are not looked at by the program, which takes them for names
that exist if the name of so many labels above them does: they count there only.

NSEC3 records and their signatures have owners that nobody asks for (RFC 5155, 7.2.8): they do not
count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import ZONE_LEVELS
from xdpctl.transfers.records import RecordType, ZoneRecord
from xdpctl.zones.names import count

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.zones.hashing import NameHash

_WILDCARD = b"\x01*"


class ZoneCounting:
    """Counts the records of one zone.

    Args:
        zone: lower-case name in wire form.
        hashed: gives the tags of names.

    Attributes:
        apex: the tag of the zone's own name, whose count has records below only.
    """

    def __init__(self, zone: bytes, hashed: NameHash) -> None:
        self._size = len(zone)
        self._hash = hashed
        self.apex = hashed.tag(zone)

    def of(self, record: ZoneRecord) -> Iterator[tuple[int, int]]:
        """Yield (tag, count) of each name that a record concerns, the zone's own name too.

        The record's owner is the zone or below it.
        """
        if not _counts(record):
            return
        below = int(record.type == RecordType.DNAME)
        below += int(record.type == RecordType.NS and len(record.owner) > self._size)
        name = record.owner
        deep = _labels_of(name) - ZONE_LEVELS
        while len(name) > self._size:
            if deep <= 0:
                yield self._hash.tag(name), count(1, below)
            below = int(name.startswith(_WILDCARD))
            deep -= 1
            name = name[name[0] + 1 :]
        if below:
            yield self.apex, count(0, below)


def _labels_of(name: bytes) -> int:
    labels = at = 0
    while name[at]:
        labels += 1
        at += name[at] + 1
    return labels


def _counts(record: ZoneRecord) -> bool:
    """Return whether a record makes its owner exist."""
    if record.type == RecordType.RRSIG and len(record.data) >= 2:  # noqa: PLR2004 - u16
        return int.from_bytes(record.data[:2], "big") != RecordType.NSEC3
    return record.type != RecordType.NSEC3
