"""Packets a second by interface, reason and action, from the counters of two looks.

Owns which two looks are compared: those at least a second apart, because a change of an interface
causes looks in between. Called by observer.py. Pure but for its memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from xdpctl.abi import PacketAction, Reason
    from xdpctl.filter.view import FilterView

    PacketRates: TypeAlias = Mapping[tuple[str, Reason, PacketAction], float]

    _Sample: TypeAlias = tuple[float, dict[tuple[str, Reason, PacketAction], int]]

APART_SECONDS = 0.9
"""Two looks are compared if they are at least this far apart."""


class Rates:
    """The rates as of the last look."""

    def __init__(self) -> None:
        self._before: _Sample | None = None
        self._now: PacketRates = {}

    def after(self, moment: float, views: Sequence[FilterView]) -> PacketRates:
        """Take the counters of a look and return the rates; empty before the second look.

        Args:
            moment: seconds of the monotonic clock.
            views: the filters.
        """
        counted = {
            (view.interface, reason, action): count.packets
            for view in views
            for (reason, action), count in view.counters.items()
            if count.packets
        }
        if self._before is None:
            self._before = moment, counted
            return self._now
        since, former = self._before
        if moment - since >= APART_SECONDS:
            self._now = {
                key: max(packets - former.get(key, 0), 0) / (moment - since)
                for key, packets in counted.items()
            }
            self._before = moment, counted
        return self._now
