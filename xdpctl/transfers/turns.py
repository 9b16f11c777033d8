"""Which primaries are transferred from at the same time, so that none holds up others' zones.

A primary, which is an address and port, has a share of the turns; zones that it has more of wait
for each other. A transfer that lasts no longer counts for the others: their number is bounded by
the shares, and their time and rate by the channel (channel.py). Does not own when a zone is asked
for. Used by the processes that follow zones, for `primaries.fetch`.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from xdpctl.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.transfers.client import Primary

    _Place = tuple[IPv4Address | IPv6Address, int]

SHARE = 4
"""Zones that are transferred from one primary at the same time."""

QUICK_SECONDS = 5.0
"""A transfer that lasts longer is a slow one, and makes room for another."""

STUCK_SECONDS = 60.0
"""A zone waits no longer for its turn at a primary of which no transfer ends."""


class Turns:
    """Turns at primaries. Any thread.

    Args:
        at_once: how many have a turn, without the slow ones.
        clock: seconds that only grow.
    """

    def __init__(self, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._at_once = at_once
        self._clock = clock
        self._changed = threading.Condition()
        self._taken: dict[object, tuple[_Place, float]] = {}
        self._moved: dict[_Place, float] = {}  # when one of a primary ended

    @contextmanager
    def of(self, primary: Primary) -> Iterator[None]:
        """Wait for a turn at a primary, and have it.

        Raises:
            TransferError: its share is taken, and no transfer from it ends.
        """
        turn = object()
        with self._changed:
            self._wait(primary)
            self._taken[turn] = _place(primary), self._clock()
        try:
            yield
        finally:
            with self._changed:
                del self._taken[turn]
                self._moved[_place(primary)] = self._clock()
                self._changed.notify_all()

    def _wait(self, primary: Primary) -> None:
        began = self._clock()
        while True:
            now, place = self._clock(), _place(primary)
            own = sum(taken == place for taken, _ in self._taken.values())
            quick = [since for _, since in self._taken.values() if now - since < QUICK_SECONDS]
            if own >= SHARE:
                left = max(began, self._moved.get(place, began)) + STUCK_SECONDS - now
                if left <= 0:
                    raise TransferError(
                        f"{own} other zones are transferred from it, and none of them has ended for"
                        f" {STUCK_SECONDS:g} seconds; see that the primary is not overloaded"
                    )
            elif len(quick) >= self._at_once:
                left = min(quick) + QUICK_SECONDS - now
            else:
                return
            self._changed.wait(left)


def _place(primary: Primary) -> _Place:
    return primary.address, primary.port
