"""Compares our notes of rules with the maps every ten seconds, in steps.

Owns when this happens and on which thread. Does not own the steps (`Store.settling`), the notes
or the maps. A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from xdpctl.service.tasks import every

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from xdpctl.settings import Settings
    from xdpctl.store.store import Store

SETTLE_SECONDS = 10.0

_END = object()


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
        """Compare every ten seconds until cancelled."""
        await every(SETTLE_SECONDS, self._settle)

    async def _settle(self) -> None:
        steps = self._store.settling()  # expiry and single rules run between two steps
        run = asyncio.get_running_loop().run_in_executor
        while await run(self._thread, next, steps, _END) is None:
            pass
