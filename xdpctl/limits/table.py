"""How large the table of accounts must be, and what an operator should know about the limits.

A word that is not idle belongs to a source that has sent lately, and only packets that went on
are written down: so what may pass decides how many words are in use. Measured: with seven words of
ten in use no honest source is limited by mistake, with nine of ten one query of five hundred is,
and a full table limits more, never less. Owns the rule and its sentences. Pure. Called by
service/limits.py and the checks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from xdpctl.limits.parameters import TIME_BITS, UNIT_SHIFT, proven_limit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xdpctl.abi import LimitValues
    from xdpctl.limits.parameters import LimitSettings

WORDS_PER_SOURCE = 1.4
"""Words for each source that can be spending: a load of 0.7."""

WORDS_LEAST, WORDS_DEFAULT, WORDS_MOST = 2**10, 2**16, 2**19

_LEVELS_MEASURED = 1 / 8
"""What a second prefix, of the usual multipliers, adds to the first: it is within the 1.4."""

LOAD_WARNING = 0.7
"""Above this share of words in use, honest sources begin to share words with others."""

_TIME_MASK = (1 << TIME_BITS + UNIT_SHIFT) - (1 << UNIT_SHIFT)


def words_needed(settings: LimitSettings) -> int:
    """Return how many words hold what may pass with a flood limit; may be more than is possible.

    With prefixes that may send little more than one address, that is more than the rule gives.
    """
    return _words_for(settings, _words_per_source(settings))


def _words_for(settings: LimitSettings, words_per_source: float) -> int:
    """Return so many words for each source that can be spending, as a power of two."""
    passing = settings.flood_limit + proven_limit_of(settings)
    wanted = math.ceil(words_per_source * passing / settings.rate_limit)
    return 1 << max(wanted - 1, WORDS_LEAST - 1).bit_length()


def _words_per_source(settings: LimitSettings) -> float:
    """Return the words that one source which is spending needs, in all of its prefixes.

    An account of a prefix that may send as much as one address is in use for as long.
    """
    families = (settings.rate_limit_prefixes, settings.rate_limit_prefixes6)
    levels = max(sum(1 / times for _, times in family) for family in families)
    return WORDS_PER_SOURCE * max(1, levels - _LEVELS_MEASURED)


def words_of(settings: LimitSettings) -> int:
    """Return how many words the table has; 0 without a limit by source.

    The default is the rule of the documentation, 1.4 x (X + Y) / rate, whatever the prefixes are.
    """
    if not settings.rate_limit:
        return 0
    if settings.rate_limit_table is not None:
        return settings.rate_limit_table
    if not settings.flood_limit:
        return WORDS_DEFAULT
    return min(_words_for(settings, WORDS_PER_SOURCE), WORDS_MOST)


def rate_held(words: int, settings: LimitSettings) -> int:
    """Return how many queries a second may pass with a table of so many words."""
    return int(words * settings.rate_limit / _words_per_source(settings))


def warnings_of(settings: LimitSettings) -> Iterator[str]:
    """Yield what an operator should know about these settings, as sentences."""
    rate, flood = settings.rate_limit, settings.flood_limit
    words = words_of(settings)
    asked = settings.rate_limit_table
    if rate and not flood and (asked is None or asked < WORDS_DEFAULT):
        yield (
            f"the table of --rate-limit has {words:,} words, which is enough while"
            f" {rate_held(words, settings):,} queries a second pass; above that, honest sources are"
            " limited too: set --flood-limit, and the table follows from it, or --rate-limit-table"
        )
    if rate and flood and words < (needed := words_needed(settings)):
        passing = flood + proven_limit_of(settings)
        helps = (
            f"use --rate-limit-table {needed}"
            if needed <= WORDS_MOST
            else f"no table is larger than {WORDS_MOST}, so lower --flood-limit, or raise"
            f" --rate-limit to {math.ceil(_words_per_source(settings) * passing / WORDS_MOST)}"
        )
        yield (
            f"the table of --rate-limit has {words:,} words, but {passing:,} queries a second may"
            f" pass, which takes {needed:,}; honest sources will be limited too: {helps}"
        )
    if flood and not rate:
        who = "with a good cookie" if settings.cookie_secret_file else "that has used TCP"
        yield (
            f"--flood-limit without --rate-limit: one source {who} can use up what is meant for"
            " all; set --rate-limit too"
        )
    if rate and flood and flood < rate:
        yield (
            f"--flood-limit {flood} is below --rate-limit {rate}: one source can use up what is"
            " meant for all; use a higher --flood-limit, or a lower --rate-limit"
        )


def load_of(words: Sequence[int], values: LimitValues, ticks: int) -> float:
    """Return which share of these words is in use: those that are not idle.

    Args:
        words: of the table, or a sample of them.
        values: the numbers that they are written with.
        ticks: the kernel's count when they were read.
    """
    if not words:
        return 0.0
    now = ticks * values.clock & _TIME_MASK
    used = sum(0 < ((word & _TIME_MASK) - now & _TIME_MASK) <= values.most for word in words)
    return used / len(words)
