"""From the settings of a limit to the numbers that the filter calculates with.

An account is a time until which its source has spent (a token bucket as one number, GCRA). Time is
in units, of which one packet of the base level costs `units`; the filter has units << 16 in 64
bits, whose upper 48 are the time. Its clock is jiffies times `clock`. Owns this arithmetic. Does
not own the layout of the numbers (abi.py) or their map (filter/). Pure, but for the kernel's ticks.
Called by service/limits.py and the checks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

Levels: TypeAlias = "tuple[tuple[int, int], ...]"
"""Prefix lengths and their multipliers, the longest prefix first."""

TIME_BITS = 48
"""Bits of an account's time."""

UNIT_SHIFT = 16
"""Bits below the time: the tag of a word, and the fraction of a unit."""

UNITS_LEAST = 768
"""Units that a packet costs at least, so that most multipliers divide it."""

ROLLOVER_SECONDS = 86400
"""The time of an account does not come around within this, whatever the multipliers are."""

CROWD = 4096
"""Packets by which an account may be above its room: processors that add at the same moment."""

LATE_TICKS = 2
"""Ticks by which a processor's view of the clock may be late."""

BURST_TIMES = 2.5
"""The default burst, in seconds of the rate."""


class LimitSettings(Protocol):
    """The settings of the limits; `settings.Settings` has them."""

    @property
    def rate_limit(self) -> int:
        """Queries a second of one source; 0: no limit."""

    @property
    def rate_limit_burst(self) -> int | None:
        """Queries at one moment; None: `BURST_TIMES`."""

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


@dataclass(frozen=True, slots=True)
class Accounts:
    """The numbers of the limit by source.

    Attributes:
        units: cost of a packet of the base level; only here, the filter has the prices.
        clock: (units << 16) that pass with a jiffy.
        room: (units << 16) that an account can spend at one moment; `most`: above it, an account
            is of a time that is long past.
        prices4, prices6: cost of a packet (units << 16) by account and level: the first account is
            anybody's, the second that of a proven source.
    """

    units: int
    clock: int
    room: int
    most: int
    prices4: tuple[tuple[int, ...], tuple[int, ...]]
    prices6: tuple[tuple[int, ...], tuple[int, ...]]


def burst_of(settings: LimitSettings) -> int:
    """Return how many queries of one source pass at one moment."""
    if settings.rate_limit_burst is not None:
        return settings.rate_limit_burst
    return math.ceil(BURST_TIMES * settings.rate_limit)


def proven_limit_of(settings: LimitSettings) -> int:
    """Return how many queries a second pass from proven sources beyond the flood limit."""
    if settings.flood_limit_proven is None or not settings.flood_limit:
        return settings.flood_limit
    return settings.flood_limit_proven


def accounts_of(settings: LimitSettings, ticks: int) -> Accounts:
    """Return the numbers for a rate limit that is not 0.

    Args:
        settings: of the limits.
        ticks: jiffies a second.
    """
    rate, burst, factor = settings.rate_limit, burst_of(settings), settings.proven_factor
    levels = (settings.rate_limit_prefixes, settings.rate_limit_prefixes6)
    multipliers = {multiplier for family in levels for _, multiplier in family}
    crowd = CROWD + -(-LATE_TICKS * rate // ticks)
    most_packets = burst + crowd
    units = _units(rate, most_packets, (multiplier * factor for multiplier in multipliers))

    def prices(family: Levels) -> tuple[tuple[int, ...], tuple[int, ...]]:
        plain, proven = (
            tuple(
                max(round(units / (multiplier * times)), 1) << UNIT_SHIFT
                for _, multiplier in family
            )
            for times in (1, factor)
        )
        return plain, proven

    return Accounts(
        units=units,
        clock=round((rate * units << UNIT_SHIFT) / ticks),
        room=burst * units << UNIT_SHIFT,
        most=most_packets * units << UNIT_SHIFT,
        prices4=prices(levels[0]),
        prices6=prices(levels[1]),
    )


def _units(rate: int, most_packets: int, divisors: Iterable[int]) -> int:
    """Return what a packet costs: divisible by all divisors, if the time has room for that.

    The time must not come around within ROLLOVER_SECONDS, nor an account reach a fourth of it.
    """
    ceiling = min(
        (1 << TIME_BITS) // (rate * ROLLOVER_SECONDS), (1 << TIME_BITS - 2) // most_packets
    )
    step = math.lcm(*divisors)
    exact = step * max(-(-UNITS_LEAST // step), 1)
    return min(exact, ceiling)
