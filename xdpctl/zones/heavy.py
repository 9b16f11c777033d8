"""Zones that are asked for much: the samples of all CPUs merged, and what could be done.

Owns what counts as much, and the proposals. Does not own the samples (xdp/heavy.h) or the reading
of maps. Pure, but for the list of public suffixes. Called by service/zone_limits.py.
"""

from __future__ import annotations

import shlex
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import HEAVY_SHARE, HEAVY_SIZE, decode_heavy
from xdpctl.errors import TargetError
from xdpctl.limits.view import HeavyView
from xdpctl.rules.names import Name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from xdpctl.zones.suffixes import PublicSuffixes

LEAST_RATE = 1000.0
"""Queries a second from which on something is proposed; less is no attack."""

LEAST_SHARE = 0.3
"""Of all names that were asked for meanwhile."""

MANY_FRONTS = 32
"""Of 64 classes of what is in front of the zone: many different names."""

PROPOSED_LIMIT = 100
SHOWN = 10


@dataclass(frozen=True, slots=True)
class HeavyEnd:
    """The last two labels of names.

    Attributes:
        name: the labels.
        rate: queries a second.
        fronts: classes of what was in front of them, 0 to 64.
        share: of all names that were asked for.
    """

    name: Name
    rate: float
    fronts: int
    share: float

    @property
    def is_heavy(self) -> bool:
        """Whether it is asked for so much that something may be proposed."""
        return self.rate >= LEAST_RATE and self.share >= LEAST_SHARE


def merge(value: bytes, seconds: float) -> list[HeavyEnd]:
    """Return the ends that all CPUs saw, those asked for most first.

    Args:
        value: of heavy-zones, of all CPUs.
        seconds: since it was emptied.
    """
    seen: defaultdict[bytes, int] = defaultdict(int)
    fronts: defaultdict[bytes, int] = defaultdict(int)
    total = 0
    for start in range(0, len(value), HEAVY_SIZE):
        names, cells = decode_heavy(value[start : start + HEAVY_SIZE])
        total += names
        for cell in cells:
            seen[cell.end] += cell.seen
            fronts[cell.end] |= cell.fronts
    found = []
    for end, count in seen.items():
        try:
            name = Name(end + b"\0")
        except TargetError:
            continue  # a cell that was taken over while it was read
        rate = count * HEAVY_SHARE / seconds
        found.append(HeavyEnd(name, rate, fronts[end].bit_count(), count / max(total, 1)))
    return sorted(found, key=lambda end: -end.rate)[:SHOWN]


def views(
    ends: Iterable[HeavyEnd],
    *,
    limited: Sequence[Name],
    protected: Sequence[Name],
    suffixes: PublicSuffixes,
) -> tuple[HeavyView, ...]:
    """Return what is shown of ends, with a proposal for those that are asked for too much.

    Args:
        ends: from `merge`.
        limited: zones that have a limit.
        protected: names that must not be blocked.
        suffixes: public ones.
    """
    return tuple(
        HeavyView(
            f".{end.name.to_text()}",
            round(end.rate, 1),
            end.fronts,
            _proposal(end, suffixes)
            if end.is_heavy and not _is_spared(end.name, limited, protected)
            else "",
        )
        for end in ends
    )


def _is_spared(name: Name, limited: Sequence[Name], protected: Sequence[Name]) -> bool:
    """Return whether nothing is proposed for a zone: it has a limit, or holds what is protected."""
    return any(name.is_within(zone) for zone in limited) or any(
        each.is_within(name) or name.is_within(each) for each in protected
    )


def _proposal(end: HeavyEnd, suffixes: PublicSuffixes) -> str:
    """Return a command or option as a shell takes it: a backslash in a name is quoted."""
    text = end.name.to_text()
    if suffixes.has(text):
        return ""
    if end.fronts >= MANY_FRONTS:
        return f"--zone-limit {shlex.quote(f'.{text}={PROPOSED_LIMIT}')}"
    return f"xdpctl block {shlex.quote(f'.{text}')} --action truncate --for 10m"
