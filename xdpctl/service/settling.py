"""Compares our notes of rules with the maps every ten seconds, in steps.

Every second it looks where claims wait behind an entry of dnsdist's, whether that entry is gone.
Owns when this happens and on which thread. Does not own the steps (`Store.settling`), the notes
or the maps. A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.process.log import event
from xdpctl.service.tasks import every

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from xdpctl.settings import Settings
    from xdpctl.store.store import Store

SETTLE_SECONDS = 10.0
LOOK_SECONDS = 0.5
"""Between two looks behind dnsdist's entries: what waits there is in force within a second."""

_END = object()
_log = logging.getLogger(__name__)


class Settling:
    """The regular comparison of notes and maps.

    Args:
        store: the rules.
        thread: the thread that rules are written on.
    """

    name = "settle"
    warnings = ()
    failures = ()

    def __init__(self, store: Store, thread: Executor) -> None:
        self._store = store
        self._thread = thread

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> NoReturn:
        """Compare every ten seconds, and look twice a second, until cancelled."""
        due = asyncio.get_running_loop().time() + SETTLE_SECONDS

        async def look() -> None:
            nonlocal due
            if (now := asyncio.get_running_loop().time()) >= due:
                due = now + SETTLE_SECONDS
                await self._settle()
            if count := await self._look():
                event(_log, "claims-in-force", count=count, why="dnsdist's entry is gone")

        await every(LOOK_SECONDS, look)

    async def _look(self) -> int:
        run = asyncio.get_running_loop().run_in_executor
        return await run(self._thread, self._store.look_beneath)

    async def _settle(self) -> None:
        steps = self._store.settling()  # expiry and single rules run between two steps
        run = asyncio.get_running_loop().run_in_executor
        while await run(self._thread, next, steps, _END) is None:
            pass
