"""Runs the parts of the service as tasks.

A part's task has the part's name. Owns how a part is run, and the error for a part that ends. Does
not own the parts. Called by service.py; the parts themselves use `every` and `on_thread`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn, TypeVar

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable
    from concurrent.futures import Executor

    from xdpctl.status.part import ServicePart

_T = TypeVar("_T")

_log = logging.getLogger(__name__)


async def run_parts(parts: Iterable[ServicePart], stop: asyncio.Event) -> None:
    """Run all parts until a stop is requested.

    Raises:
        BaseExceptionGroup: a part failed; the others have been cancelled.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(part.run(), name=part.name) for part in parts]
        await stop.wait()
        for task in tasks:
            task.cancel()


async def on_thread(thread: Executor, function: Callable[[], _T]) -> _T:
    """Run a blocking function on a thread, to its end; return what it returns."""
    return await asyncio.get_running_loop().run_in_executor(thread, function)


async def every(seconds: float, what: Callable[[], Coroutine[None, None, None]]) -> NoReturn:
    """Run something at intervals; log an error of ours and continue."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await what()
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
