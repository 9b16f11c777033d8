"""Tells the service manager regularly that the loop is alive (WatchdogSec=, sd_notify(3)).

A part of the service, made by start.py. Owns when a message is sent. Does not own the message
(process/systemd.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdpctl.process.systemd import Notifier
    from xdpctl.settings import Settings


class Watchdog:
    """The watchdog's messages.

    Args:
        notifier: sends messages to the service manager.
        interval: seconds between two messages; None if systemd expects none.
    """

    name = "watchdog"
    warnings = ()
    failures = ()

    def __init__(self, notifier: Notifier, interval: float | None) -> None:
        self._notifier = notifier
        self._interval = interval

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> None:
        """Send messages until cancelled; return at once if systemd expects none."""
        while self._interval is not None:
            self._notifier.watchdog()
            await asyncio.sleep(self._interval)
