"""Removes rules when their time is over.

Owns when expired rules are removed. Does not own which rules are due, or their removal
(store/store.py). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from xdpctl.service.operations import Operations
    from xdpctl.settings import Settings

EXPIRY_SECONDS = 1.0
"""Longest wait between two checks: timers stop while the machine sleeps, a rule's time does not."""

_log = logging.getLogger(__name__)


class Expiry:
    """Removes expired rules.

    Args:
        operations: removes due rules, on the right thread.
    """

    name = "expire"
    warnings = ()
    failures = ()

    def __init__(self, operations: Operations) -> None:
        self._operations = operations

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> NoReturn:
        """Remove due rules until cancelled; log an error of ours and try again."""
        changed = self._operations.expiry_changed
        while True:
            changed.clear()
            wait: float | None = EXPIRY_SECONDS
            try:
                wait = await self._operations.expire()
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
            wait = EXPIRY_SECONDS if wait is None else min(wait, EXPIRY_SECONDS)
            with contextlib.suppress(TimeoutError):  # wait_for would lose a cancellation (3.11)
                async with asyncio.timeout(wait):
                    await changed.wait()
