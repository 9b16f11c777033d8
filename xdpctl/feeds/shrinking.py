"""How much smaller a version of a zone may be than the one before.

A list that lost more than `max-shrink` of its rules is perhaps half a download. That is not so for
changes (IXFR) of a record or two: the primary names what it removes, and a name with all that is
below it is two records. Nor for what this host has removed there itself (`xdpctl unpublish`, and
the end of what it published): so many rules may be gone beside, also in a whole version. Owns
these exceptions. Does not count rules (store/bulk.py). Called by zone_lists.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.settings.lists import NO_SHRINK_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable

FEW = 2
"""Owners that changes may concern without being judged."""

REMOVED_SECONDS = 600.0
"""So long a version is awaited without the records that this host has removed."""


class Shrinking:
    """What is known of one list.

    Args:
        clock: seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._removed = 0
        self._until = 0.0

    @property
    def removed(self) -> int:
        """Records that this host has removed and that the list may still have."""
        return self._removed if self._clock() < self._until else 0

    def expect(self, removed: int) -> None:
        """Note that this host has removed records."""
        self._removed = self.removed + removed
        self._until = self._clock() + REMOVED_SECONDS

    def seen(self, before: int, after: int) -> None:
        """Note how many rules there were, and are."""
        self._removed -= min(self._removed, max(before - after, 0))

    def is_harmless(self, touched: int, rules: int, max_shrink: float) -> bool:
        """Return whether changes of so many owners can never be too many.

        Args:
            touched: owners.
            rules: of the version before.
            max_shrink: as the settings say.
        """
        few = FEW if max_shrink else 0  # "0%" means it
        return touched <= few + self.removed or touched < rules * max_shrink

    def share(self, rules: int, max_shrink: float) -> float:
        """Return which share of so many rules may be gone."""
        if not self.removed:
            return max_shrink
        left = max(rules - self.removed, 0) / max(rules, 1)
        return NO_SHRINK_LIMIT - left * (NO_SHRINK_LIMIT - max_shrink)
