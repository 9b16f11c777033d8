"""Runs the parts of the service as tasks, and what parts need to run.

A part's task has the part's name. Called by service.py; the parts themselves use `every` and
`on_thread`. Owns how a part is run, and the error for a part that ends. Does not own the parts.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from concurrent.futures import Executor

    from xdpctl.status.part import ServicePart

_log = logging.getLogger(__name__)


async def run_parts(parts: Iterable[ServicePart], stop: asyncio.Event) -> None:
    """Run all parts until the stop is asked for.

    Raises:
        BaseExceptionGroup: a part failed; the others have been cancelled.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part.run(), name=part.name) for part in parts]
        await stop.wait()
        for task in tasks:
            task.cancel()


async def on_thread(thread: Executor, function: Callable[[], object]) -> None:
    """Do something that blocks on a given thread."""
    await asyncio.get_running_loop().run_in_executor(thread, function)


async def every(seconds: float, what: Callable[[], Coroutine[None, None, None]]) -> NoReturn:
    """Do something again and again; an error of ours is logged and the next turn is tried."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await what()
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
