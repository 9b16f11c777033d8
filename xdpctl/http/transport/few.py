"""Log lines of an event that a stranger can cause at will: the first ones, then their number.

Owns how many lines there are in a minute. Does not own the events. Used by auth.py.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

AT_ONCE = 10
"""Lines in `QUIET_SECONDS`."""

QUIET_SECONDS = 60.0

_log = logging.getLogger(__name__)


class Few:
    """Logs an event at most `AT_ONCE` times a minute; the next line says how many were left out.

    Args:
        name: the event's name.
        clock: returns the seconds of a monotonic clock.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._until = float("-inf")
        self._lines = 0
        self._left_out = 0

    def note(self, **fields: object) -> None:
        """Log the event, or count it."""
        now = self._clock()
        if now >= self._until:
            self._until, self._lines = now + QUIET_SECONDS, 0
        self._lines += 1
        if self._lines > AT_ONCE:
            self._left_out += 1
            return
        event(_log, self._name, logging.WARNING, **fields, left_out=self._left_out or None)
        self._left_out = 0
