"""Detaches the filters when the service ends, or keeps them attached.

Owns that decision (--on-exit, SIGUSR2, a start that failed). Called by resources.py for a start
that ends early, and by service.py at the stop. Does not own detaching (filter/filter.py).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.filter.limit_maps import ACCOUNTS
from xdpctl.process.log import event
from xdpctl.settings import OnExit

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterable

    from xdpctl.filter.filter import Filter
    from xdpctl.service.reload import SettingsInForce

_log = logging.getLogger(__name__)


class Leaving:
    """Detaches or keeps the filters.

    Args:
        stop: set to stop the service.
        current: the settings in force.

    Attributes:
        started: whether the start is complete.
    """

    def __init__(self, stop: asyncio.Event, current: SettingsInForce) -> None:
        self._stop = stop
        self._current = current
        self._for_the_next = False
        self.started = False

    @property
    def on_exit(self) -> OnExit:
        """What a requested stop does with the filters."""
        return OnExit.KEEP if self._for_the_next else self._current.now.on_exit

    def stop_for_the_next(self) -> None:
        """Stop for a restart: the filters stay attached, regardless of --on-exit."""
        self._for_the_next = True
        self._stop.set()

    def leave(self, filters: Iterable[Filter]) -> None:
        """Detach or keep the filters. Blocks.

        A failed start leaves nothing new attached, and keeps what a former service had
        attached. A service that ends because of an error keeps its filters. Accounts and proofs
        of the limits outlive a stop, pinned.
        """
        asked = self._stop.is_set()
        if (asked and self.on_exit is OnExit.KEEP) or (self.started and not asked):
            return
        keeping = ACCOUNTS if asked else ()
        for filter_ in filters:
            if (asked or not filter_.adopted) and filter_.detach(keeping=keeping):
                event(_log, "detached", interface=filter_.interface)

    def leave_former(self, filters: Iterable[Filter]) -> None:
        """Do the same with a former service's filters, before ours are attached. Blocks."""
        filters = tuple(filters)
        for filter_ in filters:
            try:
                filter_.adopt()
            except XdpctlError as error:  # gone, or cannot be pinned; go on with the others
                event(_log, "failed", logging.ERROR, error=error.sentence)
        self.leave(filters)
