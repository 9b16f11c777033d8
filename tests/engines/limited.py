"""The limits' maps: as a scene has them, and over the host's filter packet by packet.

Owns what is written to these maps. In a scene no time passes; of `Limited` the clock is the
test's.
"""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING, Final

from tests.engines.host_build import HostFilter
from tests.engines.limit_words import Secrets, Words
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import DEFAULT
from tests.packets.message import query
from xdpctl.abi import (
    FLOOD_BUCKET_SIZE,
    FLOOD_TIME_SHIFT,
    LIMIT_TAG_MASK,
    LIMITS_LIVE_SIZE,
    MAPS,
    PROVEN_LINE_SIZE,
    LevelPrices,
    LimitValues,
    MapName,
    encode_cidr,
    encode_limits,
    encode_limits_kept,
)
from xdpctl.limits.cookies import CookieKey
from xdpctl.limits.proven import ProvenSources

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.engines.host_build import HostResult
    from tests.packets.case import Scene
    from xdpctl.program.config import ProgramConfig

Address = IPv4Address | IPv6Address

HZ: Final = 250
PRICE_BITS: Final = 24
"""A packet of the base level costs so many bits of time; the tag is below."""

LEVELS: Final = (((32, 1), (24, 32)), ((64, 1), (48, 8)))
"""The default: (length, multiplier) of IPv4's and IPv6's prefixes."""


def drawn_secrets(seed: int) -> bytes:
    """Return the octets that secrets are made of."""
    return random.Random(seed).randbytes(8 * 14)


def secrets_of(kept: bytes) -> Secrets:
    """Return the secrets in the part of `struct limits` that stays."""
    words = struct.unpack("=QII14Q", kept)[3:]
    return Secrets(words[:5], words[5], words[6:9])


def configured(levels: tuple[tuple[tuple[int, int], ...], ...] = LEVELS) -> ProgramConfig:
    """Return the default configuration with these prefixes limited."""
    v4, v6 = (tuple(length for length, _ in family) for family in levels)
    return replace(DEFAULT, limits4=v4, limits6=v6)


def values_for(
    rate: int,
    burst: int,
    *,
    factor: int = 8,
    levels: tuple[tuple[tuple[int, int], ...], ...] = LEVELS,
    hz: int = HZ,
) -> LimitValues:
    """Return the live part for so many queries a second, of which `burst` at one moment."""
    unit = 768 << PRICE_BITS

    def prices(times: int) -> LevelPrices:
        v4, v6 = (
            tuple(unit // (multiplier * times) >> 16 << 16 for _, multiplier in family)
            for family in levels
        )
        return LevelPrices(v4, v6)

    clock = rate * unit // hz
    room = unit * burst
    return LimitValues(
        clock=clock,
        room=room,
        most=room + 4096 * unit + clock >> 16 << 16,
        prices=(prices(1), prices(factor)),
    )


def with_flood(values: LimitValues, x: int, y: int, *, hz: int = HZ) -> LimitValues:
    """Return the same with limits in total: queries a second; 0 is none."""
    price_x, price_y = (64 * hz * (1 << 20) // limit if limit else 0 for limit in (x, y))
    room_x = price_x + (2 << 20) if x else 0
    room_y = price_y + (8 << 20) if y else 0
    return replace(values, flood_prices=(price_x, price_y), flood_rooms=(room_x, room_y))


def frame_from(source: Address, message: bytes | None = None) -> bytes:
    """Return a query from this source."""
    udp = Udp(query("www.example") if message is None else message)
    if source.version == 4:
        return ethernet(ipv4(udp, source=str(source)))
    return ethernet(ipv6(udp, source=str(source)))


_FROZEN_PRICE: Final = 1 << 40
_FROZEN_ROOM: Final = _FROZEN_PRICE << 20
_BATCH: Final = 1 << 30
_TOTAL: Final = 1 << 50
_AHEAD: Final = 1 << 39  # of what is spent: the half of what a bucket may be ahead
"""Of a scene: a tick is worth next to nothing, so that time stands still for accounts, and
for the total a batch is worth a thousand ticks of millions."""


SCENE_SETS: Final = 64
"""Sets of limit-cells in the maps of a scene."""

ARRAYS: Final = {
    MapName.LIMITS: 1,
    MapName.LIMIT_CELLS: SCENE_SETS,
    MapName.LIMIT_PROVEN: 2,
    MapName.FLOOD: 1,
}
"""The entries of a scene's arrays."""


def limit_arrays(scene: Scene, ticks: int) -> dict[MapName, bytes]:
    """Return the values of the limits' arrays for a scene, all entries end to end.

    Args:
        scene: in which no time passes.
        ticks: the clock.
    """
    config, limits = scene.config, scene.limits
    level = (_FROZEN_PRICE,) * 4
    values = LimitValues(
        clock=1,
        room=_FROZEN_ROOM,
        most=_FROZEN_ROOM + 4096 * _FROZEN_PRICE,
        prices=(LevelPrices(level, level), LevelPrices(level, level)),
        slip=limits.slip,
        flood_prices=(_BATCH, _BATCH) if config.flood else (0, 0),
        flood_rooms=(_TOTAL, _TOTAL),
        dry_run=limits.dry_run,
        cookie_keys=tuple(CookieKey.from_octets(key) for key in limits.cookie_keys),
        cookie_rate=0,  # the clock stands still
        cookie_base=limits.now << 32,
        proven_lifetime=1 << 20,
    )
    kept = encode_limits_kept(SCENE_SETS, ARRAYS[MapName.LIMIT_PROVEN], drawn_secrets(1))
    words = Words(values, secrets_of(kept), config.limits4, config.limits6, SCENE_SETS)
    now = ticks & ~LIMIT_TAG_MASK
    accounts = (limits.spent, limits.second_spent, limits.cookie_spent)
    for account, prefixes in enumerate(accounts):
        for prefix in prefixes:
            words.spend(ip_network(prefix), now, _FROZEN_ROOM, account)
    spent = (ticks << FLOOD_TIME_SHIFT) + _TOTAL + _AHEAD
    buckets = [0 if left else spent for left in (limits.x_left, limits.y_left)]
    head = encode_limits(values) + kept
    lines = bytearray(ARRAYS[MapName.LIMIT_PROVEN] * PROVEN_LINE_SIZE)
    proven = ProvenSources(memoryview(lines), head, lambda: ticks, lambda: 1 << 20)
    for address in limits.proven:
        proven.prove(ip_address(address))
    return {
        MapName.LIMITS: head,
        MapName.LIMIT_CELLS: struct.pack(f"={len(words.cells)}Q", *words.cells),
        MapName.LIMIT_PROVEN: bytes(lines),
        MapName.FLOOD: b"".join(
            struct.pack("=Q", until).ljust(FLOOD_BUCKET_SIZE, b"\0") for until in buckets
        ),
    }


def exempt_entries(scene: Scene) -> list[tuple[MapName, bytes]]:
    """Return the keys of the exempt prefixes."""
    prefixes = [ip_network(prefix) for prefix in scene.exempt]
    return [
        (MapName.EXEMPT4 if prefix.version == 4 else MapName.EXEMPT6, encode_cidr(prefix))
        for prefix in prefixes
    ]


class Limited:
    """A filter with limits.

    Args:
        config: its configuration.
        sets: of limit-cells.
        seed: of its secrets.
    """

    def __init__(self, config: ProgramConfig, *, sets: int = 1 << 14, seed: int = 1) -> None:
        self.filter = HostFilter(config, sanitize=True)
        self.kept = encode_limits_kept(sets, 1 << 12, drawn_secrets(seed))
        self.secrets = secrets_of(self.kept)
        entries = {MapName.LIMITS: 1, MapName.LIMIT_CELLS: sets, MapName.FLOOD: 1}
        entries[MapName.LIMIT_PROVEN] = 1 << 12
        self._memory = {
            name: self.filter.array(MAPS[name].ref, count) for name, count in entries.items()
        }
        self._memory[MapName.LIMITS][LIMITS_LIVE_SIZE:] = self.kept

    def write(self, values: LimitValues) -> None:
        """Write the live part."""
        self._memory[MapName.LIMITS][:LIMITS_LIVE_SIZE] = encode_limits(values)

    @property
    def cells(self) -> list[int]:
        """The words of limit-cells."""
        return self._memory[MapName.LIMIT_CELLS].cast("Q").tolist()

    def set_cells(self, words: Iterable[int]) -> None:
        """Write all words of limit-cells."""
        self._memory[MapName.LIMIT_CELLS].cast("Q")[:] = memoryview(
            b"".join(word.to_bytes(8, "little") for word in words)
        ).cast("Q")

    @property
    def until(self) -> list[int]:
        """The words of flood."""
        words = self._memory[MapName.FLOOD].cast("Q").tolist()
        return words[:: FLOOD_BUCKET_SIZE // 8]

    def query(self, source: Address, ticks: int, message: bytes | None = None) -> HostResult:
        """Let a query, or this message, come in at this time."""
        self.filter.set_ticks(ticks)
        return self.filter.run(frame_from(source, message))

    def prove(self, source: Address, ticks: int, lifetime: int) -> None:
        """Write that a source is proven."""
        table = ProvenSources(
            self._memory[MapName.LIMIT_PROVEN],
            bytes(self._memory[MapName.LIMITS]),
            lambda: ticks,
            lambda: lifetime,
        )
        table.prove(source)
