"""Lets the observer look at filters and maps once a second, then lets repairs run.

Owns when the observer looks. Between two looks, pin repair and retries of a program run one after
another, so that a look never reports something as sound while it is being repaired. Does not own
looking (status/observer.py) or repairs. A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.service.tasks import every, on_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Executor
    from contextlib import AbstractAsyncContextManager

    from xdpctl.service.readiness import Readiness
    from xdpctl.settings import Settings
    from xdpctl.status.observer import Observer

LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Looks:
    """Looks every second.

    Args:
        observer: looks.
        readiness: reports changes since the previous look.
        thread: the thread that filters belong to.
    """

    name = "look"
    failures = ()

    def __init__(self, observer: Observer, readiness: Readiness, thread: Executor) -> None:
        self._observer = observer
        self._readiness = readiness
        self._thread = thread
        self._turn = asyncio.Condition()

    @property
    def warnings(self) -> Sequence[str]:
        """What the last look found about AF_XDP destinations."""
        return self._observer.destination_warnings

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> NoReturn:
        """Look every second until cancelled."""
        await every(LOOK_SECONDS, self._look)

    async def look_with(self, function: Callable[[], object]) -> None:
        """Run a function that looks, on the thread of filters; then report changes."""
        await on_thread(self._thread, function)
        self._readiness.tell(self._observer.last)

    def undisturbed(self) -> AbstractAsyncContextManager[object]:
        """Return what keeps looks and repairs away for the time of a block."""
        return self._turn

    async def after_each(self, what: Callable[[], Awaitable[None]]) -> NoReturn:
        """Run something after each look, until cancelled; the next look waits for its end.

        An error of ours is logged, and it runs again after the next look.
        """
        while True:
            async with self._turn:
                await self._turn.wait()
                try:
                    await what()
                except XdpctlError as error:
                    event(_log, "failed", logging.ERROR, error=error.sentence)

    async def _look(self) -> None:
        async with self._turn:
            await self.look_with(self._observer.look)
            self._turn.notify_all()
