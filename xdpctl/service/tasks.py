"""What a service does again and again, whatever one of the times ends with."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from concurrent.futures import Executor

    from xdpctl.service.operations import Operations

EXPIRY_SECONDS = 1.0
"""Longest wait between two looks at what is due: timers stand still in suspend, rules do not."""

_log = logging.getLogger(__name__)


async def on_thread(thread: Executor, function: Callable[[], object]) -> None:
    """Do something that blocks on a thread of its own."""
    await asyncio.get_running_loop().run_in_executor(thread, function)


async def every(seconds: float, what: Callable[[], Coroutine[None, None, None]]) -> NoReturn:
    """Do something again and again; an error of ours is logged and the next turn tried."""
    while True:
        await asyncio.sleep(seconds)
        try:
            await what()
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)


async def keep_expiring(operations: Operations) -> NoReturn:
    """Remove rules when their time is over; an error of ours is logged and tried again."""
    while True:
        operations.expiry_changed.clear()
        wait: float | None = EXPIRY_SECONDS
        try:
            wait = await operations.expire()
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
        wait = EXPIRY_SECONDS if wait is None else min(wait, EXPIRY_SECONDS)
        with contextlib.suppress(TimeoutError):  # wait_for would lose a cancellation (3.11)
            async with asyncio.timeout(wait):
                await operations.expiry_changed.wait()
