"""Looks at filters and maps once a second, then lets others act on what was seen.

Owns when the observer looks and the turn after a look: pin repair and retries of a program run one
after another between two looks, so that no look reports as sound what is being repaired. A part of
the service, made by start.py. Does not own looking (status/observer.py) or repairs.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.service.tasks import every, on_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from xdpctl.service.readiness import Readiness
    from xdpctl.settings import Settings
    from xdpctl.status.observer import Observer

LOOK_SECONDS = 1.0

_log = logging.getLogger(__name__)


class Looks:
    """The look of each second.

    Args:
        observer: looks.
        readiness: reports what the last look changed.
        thread: the thread that filters belong to.
    """

    name = "look"
    warnings = ()
    failures = ()

    def __init__(self, observer: Observer, readiness: Readiness, thread: Executor) -> None:
        self._observer = observer
        self._readiness = readiness
        self._thread = thread
        self._turn = asyncio.Condition()

    def reload(self, settings: Settings) -> None:
        """Nothing here depends on the settings."""

    async def run(self) -> NoReturn:
        """Look again and again, until cancelled."""
        await every(LOOK_SECONDS, self._look)

    async def look_with(self, function: Callable[[], object]) -> None:
        """Do something that looks, on the thread of filters; report what it changed."""
        await on_thread(self._thread, function)
        self._readiness.tell(self._observer.last)

    async def after_each(self, what: Callable[[], Awaitable[None]]) -> NoReturn:
        """Do something after each look; the next look waits for its end. Until cancelled.

        An error of ours is logged, and the next turn is tried.
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
