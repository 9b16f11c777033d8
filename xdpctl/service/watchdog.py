"""Tells the service manager regularly that the loop is alive (WatchdogSec=, sd_notify(3)).

A part of the service, made by start.py. Owns when a sign of life is sent. Does not own the message
(process/systemd.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdpctl.process.systemd import Notifier
    from xdpctl.settings import Settings


class Watchdog:
    """The sign of life.

    Args:
        notifier: the way to the service manager.
        interval: seconds between two signs; None where no watchdog waits for any.
    """

    name = "watchdog"
    warnings = ()
    failures = ()

    def __init__(self, notifier: Notifier, interval: float | None) -> None:
        self._notifier = notifier
        self._interval = interval

    def reload(self, settings: Settings) -> None:
        """Nothing here depends on the settings."""

    async def run(self) -> None:
        """Give signs until cancelled; end at once where nobody waits for any."""
        while self._interval is not None:
            self._notifier.watchdog()
            await asyncio.sleep(self._interval)
