"""Notices that dnsdist's process ended, and what it left in the maps; ends that if asked to.

Owns when the processes are looked at, the warning, and the log lines. Does not own which entries
are stale (maps/aging.py). A part of the service, made by start.py: one task on the loop; looking
runs on a thread of its own. The end of a process that holds a map wakes it at once, so that what
is in the map then was certainly not written by the next one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.caller import NOBODY
from xdpctl.process.log import event
from xdpctl.service.tasks import on_thread

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from concurrent.futures import Executor

    from xdpctl.maps.aging import Aging
    from xdpctl.maps.holders import Holder
    from xdpctl.service.account import Account
    from xdpctl.settings import Settings
    from xdpctl.status.observer import Observer

LOOK_SECONDS = 1.0
"""Wait between two looks. Most processes are looked into only now and then."""

_log = logging.getLogger(__name__)


class StaleEntries:
    """The entries that dnsdist's former process left.

    Args:
        aging: knows which they are.
        observer: shows how many.
        settings: the settings of the start.
        thread: of its own, as a walk through a long map takes seconds.
        account: writes down what was ended.
    """

    name = "stale-entries"
    failures = ()

    def __init__(
        self,
        aging: Aging,
        observer: Observer,
        settings: Settings,
        thread: Executor,
        account: Account,
    ) -> None:
        self._thread = thread
        self._account = account
        self._aging = aging
        self._observer = observer
        self._ending = settings.stale_dnsdist
        self._watched: dict[Holder, int] = {}
        self._missed: set[Holder] = set()
        self._news = asyncio.Event()
        self._trouble = ""
        self.warnings: tuple[str, ...] = ()

    def reload(self, settings: Settings) -> None:
        """End stale entries by these settings from the next look on."""
        self._ending = settings.stale_dnsdist
        self._news.set()

    async def run(self) -> NoReturn:
        """Look until cancelled; an error of ours is logged once."""
        try:
            while True:
                self._news.clear()
                try:
                    await on_thread(self._thread, self._look)
                except XdpctlError as error:
                    if error.sentence != self._trouble:
                        event(_log, "failed", logging.ERROR, error=error.sentence)
                    self._trouble = error.sentence
                else:
                    self._trouble = ""
                self._watch()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await self._news.wait()
        finally:
            for holder in list(self._watched):
                self._forget(holder)

    def _end(self, seconds: float) -> None:
        ended = []
        try:
            for lifted in self._aging.end(seconds):
                ended.append(lifted)
                event(
                    _log,
                    "stale-entry-ended",
                    map=lifted.map,
                    target=lifted.target,
                    action=lifted.action.name.lower(),
                    hits=lifted.hits,
                )
        finally:
            self._account.lifted(NOBODY, "expire", ended)

    def _look(self) -> None:
        """Look at processes and entries; end those that are due. Blocks."""
        former = self._aging.counts
        self._aging.look()
        for name, count in self._aging.counts.items():
            if (count or 0) > (former.get(name) or 0):
                event(_log, "stale-entries", logging.WARNING, map=name, count=count)
        if self._ending.seconds is not None:
            self._end(self._ending.seconds)
        counts = self._aging.counts
        self._observer.aged(counts)
        self.warnings = tuple(self._sentences(counts.values()))

    def _sentences(self, counts: Collection[int | None]) -> Iterator[str]:
        if None in counts and self._ending.seconds is not None:
            yield (
                f"--stale-dnsdist {self._ending} ends nothing now: it cannot be seen which process"
                " holds the shared maps, so which entries are stale is unknown"
            )
        count = sum(count or 0 for count in counts)
        if not count:
            return
        entries = "1 entry in the shared maps was"
        if count > 1:
            entries = f"{count} entries in the shared maps were"
        if self._ending.seconds is not None:
            then = f"removed in time (--stale-dnsdist {self._ending})"
        else:
            then = (
                "dnsdist will not end them: remove them with `xdpctl unblock --force TARGET`, or"
                " let them end (--stale-dnsdist expire:TIME)"
            )
        yield f"{entries} left by a dnsdist that has ended; {then}"

    def _watch(self) -> None:
        """Be woken when a process that holds a map ends."""
        present = self._aging.present
        for holder in self._watched.keys() - present:
            self._forget(holder)
        self._missed &= present
        for holder in present - self._watched.keys() - self._missed:
            try:
                self._watched[holder] = os.pidfd_open(holder.pid)
            except ProcessLookupError:  # it ended behind the look: look again, once
                self._missed.add(holder)
                self._news.set()
            except OSError:  # not allowed, or no descriptor left: the next look is for it
                continue
            else:
                loop = asyncio.get_running_loop()
                loop.add_reader(self._watched[holder], self._ended, holder)

    def _ended(self, holder: Holder) -> None:
        self._forget(holder)
        self._news.set()

    def _forget(self, holder: Holder) -> None:
        descriptor = self._watched.pop(holder)
        asyncio.get_running_loop().remove_reader(descriptor)
        os.close(descriptor)
