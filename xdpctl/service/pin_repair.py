"""Repairs pins that another program removed or replaced while the service runs.

A missing pin is made again, so that a DNS server that starts finds our map and does not make a
map that no program reads. If another map is pinned in its place, another program writes to that
map: our rules are written to it, then the attached programs are switched to it in place, so that
no blocked packet passes at any time.

Owns the order of a repair. Does not own the maps (maps/shared.py) or our own pins
(filter/own_pins.py). A part of the service, made by start.py; it works after each look.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.service.tasks import on_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Executor

    from xdpctl.abi import MapName
    from xdpctl.filter.lock import InterfaceLock
    from xdpctl.maps.name_follower import NameFollower
    from xdpctl.maps.shared import SharedMaps
    from xdpctl.service.looks import Looks
    from xdpctl.settings import Settings
    from xdpctl.store.store import Store

_log = logging.getLogger(__name__)


class PinRepair:
    """The repair of pins.

    Args:
        shared: the maps, open.
        locks: one for each interface.
        store: our rules, which are written to a new map.
        names: the index, which is off while programs are switched.
        swap: attaches the program again with the present maps.
        looks: lets the repair run after a look.
        watch_thread: the thread that filters belong to.
        store_thread: the thread that rules are written on.
    """

    name = "pins"

    def __init__(  # noqa: PLR0913 - what a moved map concerns
        self,
        shared: SharedMaps,
        locks: Sequence[InterfaceLock],
        store: Store,
        names: NameFollower,
        swap: Callable[[], Awaitable[None]],
        *,
        looks: Looks,
        watch_thread: Executor,
        store_thread: Executor,
    ) -> None:
        self._shared = shared
        self._locks = tuple(locks)
        self._store = store
        self._names = names
        self._swap = swap
        self._looks = looks
        self._watch_thread = watch_thread
        self._store_thread = store_thread
        self._moved = False
        self._trouble = ""
        self.failures: tuple[str, ...] = ()

    @property
    def warnings(self) -> Sequence[str]:
        """Maps that were replaced by smaller ones."""
        return tuple(self._shared.shrunk.values())

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> NoReturn:
        """Repair pins after each look, until cancelled."""
        await self._looks.after_each(self._mend)

    async def _mend(self) -> None:
        """Repair what can be repaired."""
        astray: list[str] = []
        await on_thread(self._watch_thread, lambda: astray.extend(self._shared.mend()))
        if astray or self._moved:
            self._names.distrust()
        if astray:
            self._moved = True  # even if rules cannot be written: the maps have changed by then
            await on_thread(self._store_thread, self._move)
        if self._moved:
            await self._switch()
        await on_thread(self._watch_thread, self._keep_locks)
        found = (self._trouble, "; ".join(self._store.lost))
        self.failures = tuple(sentence for sentence in found if sentence)

    async def _switch(self) -> None:
        """Switch the attached programs to the present maps."""
        try:
            await self._swap()
        except XdpctlError as error:
            self._trouble = (
                "the filter still reads maps that are pinned no longer, and cannot be moved:"
                f" {error.sentence}"
            )
        else:
            self._moved, self._trouble = False, ""

    async def grow(self, name: MapName, entries: int) -> int:
        """Give a rule map another capacity, its entries kept; return how many these are.

        Raises:
            XdpctlError: nothing was changed, or the programs cannot be switched yet, which is
                tried again after each look.
        """
        async with self._looks.undisturbed():
            self._names.distrust()
            copied = await asyncio.get_running_loop().run_in_executor(
                self._store_thread, self._grow, name, entries
            )
            self._moved = True
            await self._switch()
        if self._trouble:
            raise XdpctlError(self._trouble)
        return copied

    def _grow(self, name: MapName, entries: int) -> int:
        with self._store.alone():
            copied = self._shared.grow(
                name, entries, lambda number: self._store.expect(name, number)
            )
        self._store.reconcile()
        return copied

    def _move(self) -> None:
        """Use the maps that are pinned now, and write our rules to them."""
        for pin, number in self._shared.move():
            event(_log, "map-adopted", logging.WARNING, pin=pin, id=number)
        self._store.reconcile()

    def _keep_locks(self) -> None:
        for lock in self._locks:
            try:
                lock.keep()
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
