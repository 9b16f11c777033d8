"""The filter on the host with limits, its maps as words: for tests that go packet by packet.

Owns the arrays of the limits' maps and what is written there; the clock is the test's.
"""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from tests.engines.host_build import HostFilter
from tests.engines.limit_words import Secrets
from tests.packets.build import Udp, ethernet, ipv4, ipv6
from tests.packets.case import DEFAULT
from tests.packets.message import query
from xdpctl.abi import (
    FLOOD_BUCKET_SIZE,
    LIMITS_LIVE_SIZE,
    MAPS,
    LevelPrices,
    LimitValues,
    MapName,
    encode_limits,
    encode_limits_kept,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.engines.host_build import HostResult
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

    def query(self, source: Address, ticks: int) -> HostResult:
        """Let a query come in at this time."""
        self.filter.set_ticks(ticks)
        return self.filter.run(frame_from(source))
