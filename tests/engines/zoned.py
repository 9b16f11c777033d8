"""The filter on the host with limits of zones, its maps filled by the service's own code.

Beside it, `Zone.counts` says from the text of names alone which of them a limit concerns.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from random import Random
from typing import TYPE_CHECKING

from tests.engines.limited import Limited, frame_from
from tests.packets.case import DEFAULT
from tests.packets.message import query
from xdpctl.abi import (
    MAPS,
    ZONE_BUCKET_SIZE,
    ZONE_SECRETS_SIZE,
    LimitValues,
    MapName,
    ZoneKnowledge,
    ZoneLimitValue,
    encode_zone_head,
    encode_zone_limit,
)
from xdpctl.transfers.records import RecordType, ZoneRecord
from xdpctl.zones.counting import ZoneCounting
from xdpctl.zones.hashing import NameHash
from xdpctl.zones.names import NameTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.engines.host_build import HostResult

SOURCE = IPv4Address("192.0.2.1")
DRAWN = Random(5).randbytes(ZONE_SECRETS_SIZE)
HASH = NameHash(DRAWN)
NOBODY = 0
"""Room of a zone whose limit lets nobody through."""


def wire_of(text: str) -> bytes:
    """Return a name in wire form."""
    parts = [part.encode() for part in text.split(".") if part]
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


@dataclass(frozen=True)
class Zone:
    """A zone with a limit.

    Attributes:
        name: of the zone.
        records: (owner, type) of its records; None: its names are not known.
        price, room: of its account.
    """

    name: str
    records: tuple[tuple[str, int], ...] | None = None
    price: int = 1
    room: int = NOBODY
    most: int = field(default=1 << 40)

    @property
    def below(self) -> set[str]:
        """The names below which everything exists."""
        found = set()
        for owner, kind in self.records or ():
            if kind == RecordType.DNAME or (kind == RecordType.NS and owner != self.name):
                found.add(owner)
            parts = owner.split(".")
            found |= {
                ".".join(parts[at + 1 :])
                for at, part in enumerate(parts)
                if part == "*" and ".".join(parts[at:]) != self.name
            }
        return found

    def counts(self, name: str) -> bool:
        """Return whether the limit concerns a name, which is the zone's or below it."""
        if name == self.name:
            return False
        for at in [at for at, char in enumerate(name) if char == "."]:
            if name[at + 1 :] in self.below:
                return False
        exists = {
            ".".join(owner.split(".")[at:])
            for owner, _ in self.records or ()
            for at in range(owner.count(".") + 1)
        }
        return name not in exists


class Zoned(Limited):
    """A filter with limits of zones.

    Args:
        zones: eight at most.
        heavy: whether names are counted by their ends.
    """

    def __init__(self, zones: Sequence[Zone] = (), *, heavy: bool = False) -> None:
        super().__init__(replace(DEFAULT, zone_limits=True, heavy=heavy), sets=16)
        self.write(LimitValues(slip=0))
        arrays = {
            name: self.filter.array(MAPS[name].ref, MAPS[name].entries)
            for name in (MapName.ZONE_HEAD, MapName.ZONE_CELLS, MapName.HEAVY_ZONES)
        }
        self._head = arrays[MapName.ZONE_HEAD]
        self._cells = arrays[MapName.ZONE_CELLS].cast("Q")
        self.heavy = arrays[MapName.HEAVY_ZONES]
        self.enter(zones)

    def enter(self, zones: Sequence[Zone]) -> None:
        """Have these zones be limited."""
        self.filter.clear()
        levels = 0
        for number, zone in enumerate(zones):
            wire = wire_of(zone.name)
            levels |= 1 << zone.name.count(".") + 1
            known = ZoneKnowledge.UNKNOWN
            if zone.records is not None:
                known = self._enter_names(number, zone)
            value = ZoneLimitValue(zone.price, zone.room, zone.most, number, known)
            key = struct.pack("=Q", HASH.tag(wire))
            self.filter.set_entry(MAPS[MapName.ZONE_LIMITS].ref, key, encode_zone_limit(value))
        self._head[:] = encode_zone_head(levels, DRAWN)

    def _enter_names(self, number: int, zone: Zone) -> ZoneKnowledge:
        counting = ZoneCounting(wire_of(zone.name), HASH)
        table = NameTable(1)
        for owner, kind in zone.records or ():
            record = ZoneRecord(wire_of(owner), kind, 1, 60, b"")
            for tag, amount in counting.of(record):
                if tag == counting.apex:
                    table.apex += 1
                else:
                    table.add(tag, amount)
        memory = self.filter.zone_names(number, 1 + table.buckets)
        memory[:ZONE_BUCKET_SIZE] = table.head()
        memory[ZONE_BUCKET_SIZE:] = memoryview(table.words).cast("B")
        return ZoneKnowledge.WHOLE if table.apex else ZoneKnowledge.LISTED

    def spent_until(self, number: int) -> int:
        """Return the time until which a zone's account has spent."""
        return self._cells[8 * number]

    def ask(self, name: str, ticks: int = 1000) -> HostResult:
        """Let a query for a name come in."""
        self.filter.set_ticks(ticks)
        return self.filter.run(frame_from(SOURCE, query(name)))
