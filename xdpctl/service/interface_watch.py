"""Notices at once when an interface comes, goes or changes, and logs what changed.

Owns the watch over rtnetlink, the last facts of each interface, and the warnings made from them.
Does not own the reaction of a filter (filter/filter.py) or reading netlink
(kernel/net/interfaces.py). A part of the service, made by start.py, with two tasks on the loop.
Looking at interfaces blocks, so it runs on the thread that filters belong to.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import KernelError, XdpctlError
from xdpctl.filter.view import FilterState
from xdpctl.process.log import event
from xdpctl.status.checks.report import interface_warnings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from xdpctl.kernel.net.interfaces import Interface, LinkChange, Netlink
    from xdpctl.settings import Settings
    from xdpctl.status.checks.facts import InterfaceFacts
    from xdpctl.status.checks.survey import Survey
    from xdpctl.status.observer import Observer

AT_LEAST_SECONDS = 60.0
"""Longest wait between two close looks: the kernel does not report a change of queues."""

AGAIN_SECONDS = 5.0
"""Wait before a failed watch is started again; the look every second continues."""

_log = logging.getLogger(__name__)


class InterfaceWatch:
    """The watch over the configured interfaces.

    Args:
        netlink: the kernel.
        survey: reads the facts of an interface.
        observer: looks at the filters.
        settings: the settings of the start.
        facts: the facts of each interface at the start.
        on_thread: runs a function on the thread that filters belong to.
    """

    name = "interfaces"
    failures = ()

    def __init__(  # noqa: PLR0913 - what is watched, and what watches
        self,
        netlink: Netlink,
        survey: Survey,
        observer: Observer,
        settings: Settings,
        facts: Sequence[InterfaceFacts],
        *,
        on_thread: Callable[[Callable[[], object]], Awaitable[None]],
    ) -> None:
        self._netlink = netlink
        self._survey = survey
        self._observer = observer
        self._settings = settings
        self._on_thread = on_thread
        self._facts = {fact.name: fact for fact in facts}
        self._warnings = {fact.name: interface_warnings(settings, fact) for fact in facts}
        self._news = asyncio.Event()
        self.warnings: tuple[str, ...] = ()
        self._show()

    def reload(self, settings: Settings) -> None:
        """Judge interfaces by these settings from the next look on."""
        self._settings = settings

    async def run(self) -> NoReturn:
        """Watch until cancelled."""
        listening = asyncio.create_task(self._listen(), name="rtnetlink")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AT_LEAST_SECONDS):
                        await self._news.wait()
                self._news.clear()
                try:
                    await self._on_thread(self.look)
                except XdpctlError as error:
                    event(_log, "failed", logging.ERROR, error=error.sentence)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _listen(self) -> NoReturn:
        """Note each change of our interfaces. After an overrun, assume that one was lost."""
        while True:
            try:
                async for change in self._netlink.watch():
                    if change.resync or self._concerns(change):
                        self._news.set()
            except KernelError as error:
                event(_log, "interface-watch-broke", logging.ERROR, error=error.sentence)
            await asyncio.sleep(AGAIN_SECONDS)

    def _concerns(self, change: LinkChange) -> bool:
        """Return whether a change is of one of our interfaces, or of its bond or bridge.

        An interface is ours by name or by one of our filters on it. A bond changes when
        another interface joins it.
        """
        return (
            change.name in self._facts
            or change.previous_name in self._facts
            or any(fact.upper and fact.upper.name == change.name for fact in self._facts.values())
            or any(change.index == view.index for view in self._observer.last.filters)
        )

    def look(self) -> None:
        """Look at the filters first, then at what else changed. Blocks."""
        attached = {
            view.interface
            for view in self._observer.look_at_interfaces().filters
            if view.state is FilterState.ATTACHED
        }
        for name in self._facts:
            known, found = self._warnings[name], self._found(name) if name in attached else []
            for warning in found:
                if warning not in known:
                    event(_log, "warning", logging.WARNING, text=warning)
            self._warnings[name] = found
        self._show()

    def _found(self, name: str) -> list[str]:
        """Return the warnings about an interface, and log what has changed there."""
        if self._netlink.index_of(name) is None:
            return []
        before = self._facts[name]
        now = self._facts[name] = self._survey.interface(name)
        if before.interface is not None and now.interface is not None:
            for what, former, value in _changes(before.interface, now.interface):
                event(
                    _log, "interface-changed", interface=name, what=what, former=former, now=value
                )
        return interface_warnings(self._settings, now)

    def _show(self) -> None:
        self.warnings = tuple(warning for found in self._warnings.values() for warning in found)


def _changes(before: Interface, now: Interface) -> Iterator[tuple[str, object, object]]:
    """Yield what changed, its former value and the new one."""
    if before.up != now.up:
        words = {True: "up", False: "down"}
        yield "state", words[before.up], words[now.up]
    for what in ("mtu", "rx_queues", "driver"):
        former, value = getattr(before, what), getattr(now, what)
        if former != value:
            yield what, former, value
