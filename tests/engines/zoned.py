"""The maps of limits of zones: as a scene has them, and over the host's filter name by name.

Owns what is written to these maps; the service's own code makes the names. In a scene no time
passes; of `Zoned` the clock is the test's.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address
from random import Random
from typing import TYPE_CHECKING, NamedTuple

from tests.engines.limited import Limited, frame_from
from tests.packets.case import DEFAULT
from tests.packets.message import name as wire_of
from tests.packets.message import query
from xdpctl.abi import (
    MAPS,
    ZONE_BUCKET_SIZE,
    ZONE_CELL_SIZE,
    ZONE_ENDS_OFFSET,
    ZONE_SECRETS_SIZE,
    ZONE_TIME_SHIFT,
    LimitValues,
    MapName,
    ZoneKnowledge,
    ZoneLimitValue,
    encode_zone_head,
    encode_zone_limit,
)
from xdpctl.transfers.records import ZoneRecord
from xdpctl.zones.counting import ZoneCounting
from xdpctl.zones.hashing import NameHash
from xdpctl.zones.names import NameTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.engines.host_build import HostFilter, HostResult
    from tests.packets.case import LimitedZone, Scene

SOURCE = IPv4Address("192.0.2.1")
DRAWN = Random(5).randbytes(ZONE_SECRETS_SIZE)
HASH = NameHash(DRAWN)

MOST_ZONES = 8
"""Of a scene; the host's filter has room for the names of no more."""


ZONE_ARRAYS = {MapName.ZONE_HEAD: 1, MapName.ZONE_CELLS: MOST_ZONES}
"""The entries of a scene's arrays."""


class Account(NamedTuple):
    """What a zone's account is like, in 2^-24 ticks."""

    price: int
    room: int


FROZEN = Account(1 << 44, 1 << 60)
"""Of a scene: a million ticks are less than a packet's price, and there is room for 65,536."""


class ZoneMaps(NamedTuple):
    """The contents of the maps.

    Attributes:
        arrays: all entries end to end.
        limits: the entries of zone-limits.
        names: for each zone whose names are known, the values of its array in zone-names.
    """

    arrays: dict[MapName, bytes]
    limits: dict[bytes, bytes]
    names: dict[int, bytes]


def zone_maps(zones: Sequence[LimitedZone], ticks: int, account: Account = FROZEN) -> ZoneMaps:
    """Return the maps that limit these zones, MOST_ZONES at most; `ticks` is the clock."""
    limits: dict[bytes, bytes] = {}
    names: dict[int, bytes] = {}
    cells = bytearray(MOST_ZONES * ZONE_CELL_SIZE)
    levels = 0
    for number, zone in enumerate(zones):
        levels |= 1 << zone.name.count(".") + 1
        known = ZoneKnowledge.UNKNOWN
        if zone.records is not None:
            known, names[number] = _names_of(zone.name, zone.records)
        value = ZoneLimitValue(account.price, account.room, 2 * account.room, number, known)
        limits[struct.pack("=Q", HASH.tag(wire_of(zone.name)))] = encode_zone_limit(value)
        until = (ticks << ZONE_TIME_SHIFT) + account.room if zone.spent else 0
        struct.pack_into("=Q", cells, number * ZONE_CELL_SIZE, until)
    arrays = {MapName.ZONE_HEAD: encode_zone_head(levels, DRAWN), MapName.ZONE_CELLS: bytes(cells)}
    return ZoneMaps(arrays, limits, names)


@cache
def _names_of(zone: str, records: tuple[tuple[str, int], ...]) -> tuple[ZoneKnowledge, bytes]:
    counting = ZoneCounting(wire_of(zone), HASH)
    table = NameTable(1)
    for owner, kind in records:
        for tag, amount in counting.of(ZoneRecord(wire_of(owner), kind, 1, 60, b"")):
            if tag == counting.apex:
                table.apex += 1
            else:
                table.add(tag, amount)
    known = ZoneKnowledge.WHOLE if table.apex else ZoneKnowledge.LISTED
    return known, table.head() + table.words.tobytes()


def maps_of(scene: Scene, ticks: int) -> ZoneMaps:
    """Return the maps of a scene; without limits of zones they are empty."""
    return zone_maps(scene.limits.zones if scene.config.zone_limits else (), ticks)


def write_to_host(host: HostFilter, maps: ZoneMaps, arrays: Mapping[MapName, memoryview]) -> None:
    """Write the maps of a filter, which has been cleared, the arrays into their memory."""
    for name, octets in maps.arrays.items():
        arrays[name][:] = octets
    for key, value in maps.limits.items():
        host.set_entry(MAPS[MapName.ZONE_LIMITS].ref, key, value)
    for number, octets in maps.names.items():
        host.zone_names(number, len(octets) // ZONE_BUCKET_SIZE)[:] = octets


class Zoned(Limited):
    """A filter with limits of zones.

    Args:
        heavy: whether names are counted by their ends.
    """

    def __init__(self, *, heavy: bool = False) -> None:
        super().__init__(replace(DEFAULT, zone_limits=True, heavy=heavy), sets=16)
        self.write(LimitValues(slip=0))
        self._arrays = {
            name: self.filter.array(MAPS[name].ref, count) for name, count in ZONE_ARRAYS.items()
        }
        self.heavy = self.filter.array(MAPS[MapName.HEAVY_ZONES].ref, 1)
        self.enter(())

    def enter(
        self, zones: Sequence[LimitedZone], account: Account = FROZEN, ticks: int = 1000
    ) -> None:
        """Have these zones be limited."""
        self.filter.clear()
        write_to_host(self.filter, zone_maps(zones, ticks, account), self._arrays)

    def spent_until(self, number: int) -> int:
        """Return the time until which a zone's account has spent."""
        return self._arrays[MapName.ZONE_CELLS].cast("Q")[8 * number]

    def end(self, number: int, ticks: int) -> None:
        """Let the limit of a zone end at this tick; 0: never."""
        self._arrays[MapName.ZONE_CELLS].cast("Q")[8 * number + ZONE_ENDS_OFFSET // 8] = ticks

    def ask(self, name: str, ticks: int = 1000) -> HostResult:
        """Let a query for a name come in."""
        self.filter.set_ticks(ticks)
        return self.filter.run(frame_from(SOURCE, query(name)))
