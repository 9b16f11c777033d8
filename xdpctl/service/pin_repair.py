"""Puts pins right that somebody removed or replaced while the service runs.

A pin that is gone is made again, so that a DNS server that starts finds our map and does
not make one that no program reads. Where another map is pinned by now, somebody writes to
that one: our rules are written into it, then the programs are moved to it in place, so that
at no time a blocked packet passes. Run once a second by service.py; which pins there are is
maps/shared.py's and filter/own_pins.py's to know.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from xdpctl.filter.lock import InterfaceLock
    from xdpctl.maps.name_follower import NameFollower
    from xdpctl.maps.shared import SharedMaps
    from xdpctl.store.store import Store

    OnThread = Callable[[Callable[[], object]], Awaitable[object]]

_log = logging.getLogger(__name__)


class PinRepair:
    """The keeper of the shared pins.

    Args:
        shared: the maps, open.
        locks: one for each interface.
        store: our rules, which a new map needs.
        names: the index of names, not to be believed while programs move.
        swap: puts the program on again, over the maps as they are then.

    Attributes:
        trouble: what keeps the programs from being moved, as a sentence; empty.
    """

    def __init__(
        self,
        shared: SharedMaps,
        locks: Sequence[InterfaceLock],
        store: Store,
        names: NameFollower,
        swap: Callable[[], Awaitable[None]],
    ) -> None:
        self._shared = shared
        self._locks = tuple(locks)
        self._store = store
        self._names = names
        self._swap = swap
        self._moved = False
        self.trouble = ""

    async def mend(self, on_watch: OnThread, on_store: OnThread) -> None:
        """Put right what can be.

        Args:
            on_watch: does something on the thread that filters belong to.
            on_store: does something on the thread that rules are written on.
        """
        astray: list[str] = []
        await on_watch(lambda: astray.extend(self._shared.mend()))
        if astray or self._moved:
            self._names.distrust()
        if astray:
            self._moved = True  # also where rules cannot be written: the maps are others by then
            await on_store(self._move)
        if self._moved:
            try:
                await self._swap()
            except XdpctlError as error:
                self.trouble = (
                    "the filter still reads maps that are pinned no longer, and cannot be moved:"
                    f" {error.sentence}"
                )
            else:
                self._moved, self.trouble = False, ""
        await on_watch(self._keep_locks)

    def _move(self) -> None:
        """Let our maps be those that are pinned now, with our rules in them."""
        for pin, number in self._shared.move():
            event(_log, "map-adopted", logging.WARNING, pin=pin, id=number)
        self._store.reconcile()

    def _keep_locks(self) -> None:
        for lock in self._locks:
            try:
                lock.keep()
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
