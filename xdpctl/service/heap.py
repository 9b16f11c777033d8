"""Gives the kernel back, once a minute, what is free in this process's heap.

After a long list, a transfer, or somebody who looked at samples, some megabytes are free between
what stays. Owns when they go back. Does not own the call (process/memory.py). A part of the
service, made by start.py.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NoReturn

from xdpctl.process.memory import give_back
from xdpctl.service.tasks import every

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.settings import Settings

SECONDS = 60.0
"""Between two times, each of which takes some milliseconds of a thread."""


class Heap:
    """The regular return of free memory.

    Args:
        give_back: does it; blocks.
    """

    name = "heap"
    warnings = ()
    failures = ()

    def __init__(self, give_back: Callable[[], None] = give_back) -> None:
        self._give_back = give_back

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> NoReturn:
        """Give back once a minute, until cancelled."""

        async def work() -> None:
            await asyncio.to_thread(self._give_back)

        await every(SECONDS, work)
