"""From the settings of the limits to the numbers that the filter calculates with.

An account is a time until which its source has spent (a token bucket as one number, GCRA). Time is
in units, `units` of them for a packet of the base level. The filter has units << 16 in 64 bits, so
48 bits of units, and its clock is ticks times `clock`. Owns this arithmetic. Does not own the
layout of the numbers (abi.py) or their map (filter/limit_maps.py). Pure. Called by
service/limits.py and table.py.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol, TypeAlias

from xdpctl.abi import FLOOD_BATCH, FLOOD_TIME_SHIFT, LevelPrices, LimitValues
from xdpctl.limits.cookies import cookie_rate
from xdpctl.limits.proven import lifetime_units

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

Levels: TypeAlias = "tuple[tuple[int, int], ...]"
"""Prefix lengths and their multipliers, the longest prefix first."""

TIME_BITS = 48
"""Bits of an account's time."""

UNIT_SHIFT = 16
"""Bits below the time: the tag of a word, and the fraction of a unit."""

UNITS_LEAST = 768
"""Units of a packet: this times a power of two, so that the usual multipliers divide it."""

ROLLOVER_SECONDS = 30 * 86400
"""The time of an account does not come around within this, if UNITS_LEAST allows it.

A word that nobody has written for so long looks like an account in use, for the few seconds that
an account can be in use."""

CROWD = 4096
"""Packets by which an account may be above its room: processors that add at the same moment."""

LATE_TICKS = 1
"""Ticks by which a processor's view of the clock may be late."""

BURST_SECONDS = 2.5
"""The default burst, in seconds of the rate."""

ROOM_TICKS = (2, 8)
"""Ticks that the buckets X and Y hold beyond one batch; Y is shared out in eighths of it."""


class LimitSettings(Protocol):
    """The settings of the limits; `settings.Settings` has them."""

    @property
    def ports(self) -> tuple[int, ...]:
        """The ports of plain DNS, whose queries are limited."""

    @property
    def rate_limit(self) -> int:
        """Queries a second of one source; 0: no limit."""

    @property
    def rate_limit_burst(self) -> int | None:
        """Queries at one moment; None: BURST_SECONDS of the rate."""

    @property
    def rate_limit_slip(self) -> int:
        """Which query over the limit is answered: each Nth; 0: none."""

    @property
    def rate_limit_prefixes(self) -> Levels:
        """Lengths and multipliers of IPv4, the longest first."""

    @property
    def rate_limit_prefixes6(self) -> Levels:
        """The same of IPv6."""

    @property
    def rate_limit_table(self) -> int | None:
        """Words of the table; None: by the rule (table.py)."""

    @property
    def rate_limit_dry_run(self) -> bool:
        """Whether packets over a limit go on."""

    @property
    def flood_limit(self) -> int:
        """Queries a second from anybody; 0: no limit."""

    @property
    def flood_limit_proven(self) -> int | None:
        """Queries a second from proven sources beyond that; None: as many."""

    @property
    def proven_factor(self) -> int:
        """Times the rate that a proven source may send."""

    @property
    def proven_lifetime(self) -> int:
        """Seconds that a proof lasts."""

    @property
    def proof(self) -> str:
        """Who notices TCP connections: socket or cgroup."""

    @property
    def cookie_secret_file(self) -> Path | None:
        """The secrets of DNS cookies; None: no cookie is looked at."""

    @property
    def exempt(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Prefixes to which neither rule nor limit applies."""


def burst_of(settings: LimitSettings) -> int:
    """Return how many queries of one source pass at one moment."""
    if settings.rate_limit_burst is not None:
        return settings.rate_limit_burst
    return math.ceil(BURST_SECONDS * settings.rate_limit)


def proven_limit_of(settings: LimitSettings) -> int:
    """Return how many queries a second pass from proven sources beyond the flood limit."""
    if settings.flood_limit_proven is None or not settings.flood_limit:
        return settings.flood_limit
    return settings.flood_limit_proven


def units_of(rate: int) -> int:
    """Return what a packet of the base level costs; only the rate decides it.

    So another burst, multiplier or factor leaves the time of all accounts as it is.
    """
    most = (1 << TIME_BITS) // (rate * ROLLOVER_SECONDS)
    return UNITS_LEAST << max((most // UNITS_LEAST).bit_length() - 1, 0)


def values_of(
    settings: LimitSettings, ticks: int, cookie_keys: Sequence[tuple[int, int]] = ()
) -> LimitValues:
    """Return what the filter reads while it runs, but for the base of the cookies' clock.

    Args:
        settings: of the limits.
        ticks: how many the kernel has a second (CONFIG_HZ).
        cookie_keys: of the secrets in force.
    """
    flood = (settings.flood_limit, proven_limit_of(settings))
    prices = tuple(_batch_price(rate, ticks) for rate in flood)
    rooms = tuple(
        price + (more << FLOOD_TIME_SHIFT) for price, more in zip(prices, ROOM_TICKS, strict=True)
    )
    clock, room, most, plain, proven = _accounts(settings, ticks)
    return LimitValues(
        clock=clock,
        room=room,
        most=most,
        prices=(plain, proven),
        slip=settings.rate_limit_slip,
        flood_prices=(prices[0], prices[1]),
        flood_rooms=(rooms[0], rooms[1]),
        dry_run=settings.rate_limit_dry_run,
        cookie_keys=tuple(cookie_keys),
        cookie_rate=cookie_rate(ticks),
        proven_lifetime=lifetime_units(settings.proven_lifetime, ticks),
    )


def _accounts(
    settings: LimitSettings, ticks: int
) -> tuple[int, int, int, LevelPrices, LevelPrices]:
    """Return clock, room, most, and the prices of the plain and the proven account."""
    rate, burst = settings.rate_limit, burst_of(settings)
    if not rate:
        return 0, 0, 0, LevelPrices((), ()), LevelPrices((), ())
    units = units_of(rate)
    clock = round((rate * units << UNIT_SHIFT) / ticks)
    room = burst * units << UNIT_SHIFT
    late = -(-LATE_TICKS * clock >> UNIT_SHIFT) << UNIT_SHIFT
    most = room + (CROWD * units << UNIT_SHIFT) + late

    def prices(factor: int) -> LevelPrices:
        v4, v6 = (
            tuple(max(round(units / (times * factor)), 1) << UNIT_SHIFT for _, times in family)
            for family in (settings.rate_limit_prefixes, settings.rate_limit_prefixes6)
        )
        return LevelPrices(v4, v6)

    return clock, room, most, prices(1), prices(settings.proven_factor)


def _batch_price(rate: int, ticks: int) -> int:
    """Return the time, in ticks << FLOOD_TIME_SHIFT, that a batch of tickets takes."""
    return round((FLOOD_BATCH * ticks << FLOOD_TIME_SHIFT) / rate) if rate else 0
