"""The limits of zones in the kernel's maps: which zones, their accounts, whose names are known.

Owns the contents of zone-head, zone-limits and zone-names, and the secrets of the hashes, which are
kept in a file too: after a restart of the host the last versions of names (image.py) are of use
only under the same ones. Does not own the maps (filter/limit_maps.py). Everything blocks; any
thread. Called by service/zone_limits.py.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from xdpctl.abi import (
    MAPS,
    ZONE_CELL_SIZE,
    ZONE_ENDS_OFFSET,
    ZONE_HEAD_SIZE,
    ZONE_LEVELS_OFFSET,
    ZONE_SECRETS_OFFSET,
    ZONE_SECRETS_SIZE,
    ZONE_TIME_SHIFT,
    ZONES_LAYOUT,
    MapName,
    ZoneKnowledge,
    ZoneLimitValue,
    decode_zone_limit,
    encode_zone_head,
    encode_zone_limit,
)
from xdpctl.errors import StateError
from xdpctl.zones.hashing import NameHash

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules.names import Name

KEYS_FILE = "keys"
_KEY = struct.Struct("=Q")
_NUMBER = struct.Struct("=I")
_TICKS = 2
"""Ticks that a burst holds at least: the clock may be one behind on one CPU and not on another."""

_ENDS = ZONE_ENDS_OFFSET // 8
_AT_ONCE = 4096
"""Packets that all CPUs may add at once without looking like a time in the past."""


_ENDLESS = 1 << 60
"""Room that no account fills: of a zone that is only watched."""

_PAST = 1 << 62
"""An account that is ahead of the clock by more is behind it."""


def zone_limit_value(
    limit: int, burst: int | None, number: int, names: ZoneKnowledge, ticks_per_second: int
) -> ZoneLimitValue:
    """Return the numbers of a limit of so many queries a second; burst None: it limits nobody."""
    tick = 1 << ZONE_TIME_SHIFT
    price = max(1, round(ticks_per_second * tick / limit))
    if burst is None:
        return ZoneLimitValue(price, _ENDLESS, 2 * _ENDLESS, number, names)
    room = max(burst * price, _TICKS * tick + price)
    return ZoneLimitValue(price, room, room + _AT_ONCE * price + tick, number, names)


class ZoneTables:
    """What the program knows of zones.

    Args:
        maps: of Scope.LIMITS, in force.
        directory: for the secrets and the last versions.
        ticks_per_second: of the kernel.

    Attributes:
        names: the map zone-names.
        hashed: gives the tags of names.
        are_anew: what another version of xdpctl left was of no use.

    Raises:
        StateError: the secrets cannot be kept.
    """

    def __init__(self, maps: Mapping[MapName, Map], directory: Path, ticks_per_second: int) -> None:
        self._limits = maps[MapName.ZONE_LIMITS]
        self.names = maps[MapName.ZONE_NAMES]
        self._ticks_per_second = ticks_per_second
        self._lock = threading.Lock()
        self._head = maps[MapName.ZONE_HEAD].memory().cast("B")
        self._cells = maps[MapName.ZONE_CELLS].memory().cast("B").cast("Q")
        self.hashed = self._adopt(directory)
        self._known = {
            _KEY.unpack(key)[0]: decode_zone_limit(value) for key, value in self._entries()
        }
        self._numbers = {tag: value.number for tag, value in self._known.items()}

    def _adopt(self, directory: Path) -> NameHash:
        """Return the hash under the keys of the map, else of the file, else under new ones."""
        drawn = bytes(self._head[ZONE_SECRETS_OFFSET:ZONE_HEAD_SIZE])
        layout = int.from_bytes(self._head[:8], sys.byteorder)
        self.are_anew = layout not in {0, ZONES_LAYOUT}
        path = directory / KEYS_FILE
        kept = _read_keys(path)
        if layout != ZONES_LAYOUT or not any(drawn):
            for key, _ in self._entries():
                self._limits.delete(key)
            hashed = NameHash(kept) if kept else NameHash.random()
            self._head[:ZONE_HEAD_SIZE] = encode_zone_head(0, hashed.drawn)
        else:
            hashed = NameHash(drawn)
        if kept != hashed.drawn:
            _write_keys(path, hashed.drawn)
        return hashed

    def number_of(self, name: Name) -> int:
        """Return the number of a zone's account and names, a new one if it has none."""
        tag = self.hashed.tag(name.wire)
        with self._lock:
            if tag not in self._numbers:
                taken = {*self._numbers.values()}
                number = next(n for n in range(len(taken) + 1) if n not in taken)
                place = number * ZONE_CELL_SIZE // 8
                self._cells[place] = self._cells[place + _ENDS] = 0
                self._forget_names(number)
                self._numbers[tag] = number
            return self._numbers[tag]

    def knowledge_of(self, name: Name) -> ZoneKnowledge:
        """Return what the program knows of a zone's names."""
        value = self._known.get(self.hashed.tag(name.wire))
        return ZoneKnowledge.UNKNOWN if value is None else value.names

    def spent(self, name: Name, ticks: int) -> float:
        """Return by how many seconds what was asked for in a zone is ahead of its limit.

        Args:
            name: of a zone in `limit_zones`.
            ticks: the kernel's clock.
        """
        until = self._cells[self.number_of(name) * ZONE_CELL_SIZE // 8]
        ahead = (until - (ticks << ZONE_TIME_SHIFT)) % (1 << 64)
        return 0.0 if ahead >= _PAST else ahead / (self._ticks_per_second << ZONE_TIME_SHIFT)

    def end(self, name: Name, ticks: int) -> None:
        """Let the limit of a zone end at this time of the kernel's clock; 0: never.

        The program keeps it, so that it also holds where no service runs.
        """
        self._cells[self.number_of(name) * ZONE_CELL_SIZE // 8 + _ENDS] = ticks

    def limit_zones(self, zones: Mapping[Name, tuple[int, int | None, ZoneKnowledge]]) -> None:
        """Have exactly these zones be limited: (limit, burst, what is known of its names).

        With burst None nobody is limited, and the account shows what is asked for.
        """
        wanted = {}
        for name, (limit, burst, names) in zones.items():
            number = self.number_of(name)
            wanted[self.hashed.tag(name.wire)] = zone_limit_value(
                limit, burst, number, names, self._ticks_per_second
            )
        levels = sum(1 << depth for depth in {len(name.labels) for name in zones})
        with self._lock:
            for tag, value in wanted.items():
                if self._known.get(tag) != value:
                    self._limits.update(_KEY.pack(tag), encode_zone_limit(value))
            head = self._head[:16].cast("Q")
            head[ZONE_LEVELS_OFFSET // 8] = levels
            for tag in self._known.keys() - wanted.keys():
                self._limits.delete(_KEY.pack(tag))
            self._known = wanted

    def forget_zones(self, kept: Sequence[Name]) -> None:
        """Give back the numbers and names of all other zones."""
        tags = {self.hashed.tag(name.wire) for name in kept}
        with self._lock:
            for tag in [tag for tag in self._numbers if tag not in tags]:
                self._forget_names(self._numbers.pop(tag))

    def _forget_names(self, number: int) -> None:
        self.names.delete(_NUMBER.pack(number))

    def _entries(self) -> list[tuple[bytes, bytes]]:
        size = MAPS[MapName.ZONE_LIMITS].value_size
        return [
            (keys[8 * n : 8 * n + 8], values[size * n : size * n + size])
            for keys, values in self._limits.chunks()
            for n in range(len(keys) // 8)
        ]


def _read_keys(path: Path) -> bytes | None:
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror or error}") from error
    return octets if len(octets) == ZONE_SECRETS_SIZE else None


def _write_keys(path: Path, drawn: bytes) -> None:
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(drawn)
        os.replace(name, path)  # noqa: PTH105 - mkstemp gives a text
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror or error}; the names of zones need a place"
            " beside the state file"
        ) from error
