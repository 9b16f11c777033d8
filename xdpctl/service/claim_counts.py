"""Counts claims by class for the metrics: those in force, and those that wait.

Owns how often this happens. A million claims take about half a second of a thread's time, in which
nobody waits: a connection of its own reads the state. Does not own the numbers' names
(status/metrics.py) or the classes (rules/). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.rules.rules import class_of
from xdpctl.store.state import State

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from xdpctl.service.operations import Operations
    from xdpctl.settings import Settings

COUNT_SECONDS = 5.0
SHARE = 100
"""The next count comes no sooner than so many times the last one's time later."""

_log = logging.getLogger(__name__)


class ClaimCounts:
    """The counts.

    Args:
        operations: shows them.
        path: the state file.
    """

    name = "claims"
    warnings = ()
    failures = ()

    def __init__(self, operations: Operations, path: Path) -> None:
        self._operations = operations
        self._path = path

    def reload(self, settings: Settings) -> None:
        """Do nothing: this part does not depend on settings."""

    async def run(self) -> NoReturn:
        """Count again and again until cancelled."""
        while True:
            began = time.monotonic()
            try:
                self._operations.claim_counts = await asyncio.to_thread(self._count)
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
            await asyncio.sleep(max(COUNT_SECONDS, SHARE * (time.monotonic() - began)))

    def _count(self) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Return how many claims of each class are in force, and how many wait. Blocks."""
        with State.to_read(self._path) as state:
            forced, waiting = state.count_by_origin()
        return by_class(forced), by_class(waiting)


def by_class(origins: Mapping[str, int]) -> Counter[str]:
    """Return the sums of each class, of counts by origin."""
    found = Counter[str]()
    for origin, count in origins.items():
        found[class_of(origin).label] += count
    return found
