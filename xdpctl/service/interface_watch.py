"""Sees at once when an interface comes, goes or changes, and says what is new about it.

Owns the watch over rtnetlink, the last facts of each interface and the warnings made of
them. What becomes of a filter is filter/filter.py's. Made and run by service.py, as two tasks
on the loop; looking itself blocks and is done on the thread that filters belong to.
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
"""Longest wait between two close looks: a change of queues, for one, is no news."""

AGAIN_SECONDS = 5.0
"""Wait before a watch that broke is begun anew; meanwhile the look of each second goes on."""

_log = logging.getLogger(__name__)


class InterfaceWatch:
    """The watch over the configured interfaces.

    Args:
        netlink: the kernel.
        survey: gives the facts of an interface.
        observer: looks at the filters; is given the warnings.
        settings: gives the settings of this moment.
        facts: of each interface, as they were at the start.
    """

    def __init__(
        self,
        netlink: Netlink,
        survey: Survey,
        observer: Observer,
        settings: Callable[[], Settings],
        facts: Sequence[InterfaceFacts],
    ) -> None:
        self._netlink = netlink
        self._survey = survey
        self._observer = observer
        self._settings = settings
        self._facts = {one.name: one for one in facts}
        self._warnings = {one.name: interface_warnings(settings(), one) for one in facts}
        self._news = asyncio.Event()
        self._show()

    async def run(self, on_thread: Callable[[Callable[[], object]], Awaitable[None]]) -> NoReturn:
        """Watch until cancelled.

        Args:
            on_thread: has something done on the thread that filters belong to.
        """
        listening = asyncio.create_task(self._listen(), name="rtnetlink")
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(AT_LEAST_SECONDS):
                        await self._news.wait()
                self._news.clear()
                try:
                    await on_thread(self.look)
                except XdpctlError as error:
                    event(_log, "failed", logging.ERROR, error=error.sentence)
        finally:
            listening.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listening

    async def _listen(self) -> NoReturn:
        """Note the news that concern us; what was lost in an overrun concerns us, too."""
        while True:
            try:
                async for change in self._netlink.watch():
                    if change.resync or self._concerns(change):
                        self._news.set()
            except KernelError as error:
                event(_log, "interface-watch-broke", logging.ERROR, error=error.sentence)
            await asyncio.sleep(AGAIN_SECONDS)

    def _concerns(self, change: LinkChange) -> bool:
        """Whether it is one of our names, its bond or bridge, or a card with one of our filters.

        A bond changes when another card joins it.
        """
        return (
            change.name in self._facts
            or change.previous_name in self._facts
            or any(one.upper and one.upper.name == change.name for one in self._facts.values())
            or any(change.index == view.index for view in self._observer.last.filters)
        )

    def look(self) -> None:
        """Look at filters first, then at what else is new. Blocks."""
        attached = {
            view.interface
            for view in self._observer.look_at_interfaces().filters
            if view.state is FilterState.ATTACHED
        }
        for name in self._facts:
            said, found = self._warnings[name], self._found(name) if name in attached else []
            for warning in found:
                if warning not in said:
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
        return interface_warnings(self._settings(), now)

    def _show(self) -> None:
        self._observer.interface_warnings = tuple(
            warning for found in self._warnings.values() for warning in found
        )


def _changes(before: Interface, now: Interface) -> Iterator[tuple[str, object, object]]:
    """Yield what changed, its former value and the new one."""
    if before.up != now.up:
        words = {True: "up", False: "down"}
        yield "state", words[before.up], words[now.up]
    for what in ("mtu", "rx_queues", "driver"):
        former, value = getattr(before, what), getattr(now, what)
        if former != value:
            yield what, former, value
