"""Whether the service is ready, and how log and service manager learn of it.

Owns the log events `ready`, `waiting`, `not-ready` and `ready-again`, and STATUS. Ready means
attached on every interface, with sound pins and the right program. With --wait that may take
long, and so may compiling on a busy host: then this asks systemd for more time. Does not own the
reasons (status/snapshot.py). Called on the loop, by start.py while it compiles, by looks.py after
every look and by reload.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import public
from xdpctl.filter.view import FilterState
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.process.systemd import Notifier
    from xdpctl.status.snapshot import Snapshot

EXTENSION_SECONDS = 30.0
"""Extra time after TimeoutStartSec that systemd is asked for, every second."""

COMPILING_SECONDS = 10.0
"""How often the service manager is told of a compilation that the start waits for."""

_SLOW = "it takes half a second at rest: look what takes the processors of this host; it goes on"
_FILTERING = "filtering "

_log = logging.getLogger(__name__)


class Readiness:
    """Reports whether the service is ready.

    Args:
        notifier: sends messages to the service manager.
        fields: fields of the log line `ready`.
    """

    def __init__(self, notifier: Notifier, **fields: object) -> None:
        self._notifier = notifier
        self._fields = fields
        self._reported = ""
        self.announced = False

    def tell(self, snapshot: Snapshot) -> None:
        """Report what changed since the last call, if anything did."""
        on = [view.interface for view in snapshot.filters if view.state is FilterState.ATTACHED]
        off = {
            view.interface: view.trouble or f"it is {view.state}"
            for view in snapshot.filters
            if view.state is not FilterState.ATTACHED
        }
        filtering = _FILTERING + (", ".join(on) or "nothing")
        if not self.announced:
            if not snapshot.ready:
                self._wait(off, snapshot.reasons, filtering)
                return
            self.announced = True
            self._reported = filtering
            event(_log, "ready", **self._fields)
            self._notifier.ready(filtering)
            return
        why = "; ".join(snapshot.reasons)
        status = filtering if snapshot.ready else f"NOT READY: {why}"
        if status != self._reported:
            was_ready, self._reported = self._reported.startswith(_FILTERING), status
            shown = "; ".join(map(public, snapshot.reasons))  # every user can read it from systemd
            self._notifier.status(filtering if snapshot.ready else f"NOT READY: {shown}")
            if not snapshot.ready:
                event(_log, "not-ready", logging.WARNING, why=why)
            elif not was_ready:
                event(_log, "ready-again")

    def _wait(self, off: dict[str, str], reasons: Sequence[str], filtering: str) -> None:
        """Report what the service waits for, and ask the service manager for more time."""
        self._notifier.extend(EXTENSION_SECONDS)
        awaited = [f"{name}: {text}" for name, text in off.items()] or reasons
        why = "; ".join(awaited)
        status = f"waiting for {why}; {filtering}"
        if status != self._reported:
            self._reported = status
            event(_log, "waiting", interfaces=", ".join(off) or None, why=why)
            shown = "; ".join(map(public, awaited))
            self._notifier.status(f"waiting for {shown}; {filtering}")

    def reloading(self) -> None:
        """Report that settings are read again; `reloaded` must follow."""
        if self.announced:
            self._notifier.reloading()

    def reloaded(self) -> None:
        """Report that a reload has ended."""
        if self.announced:
            self._notifier.ready()


async def tell_of_compiling(notifier: Notifier) -> NoReturn:
    """Ask for more time while the start waits for the compiler, until cancelled."""
    seconds = 0.0
    while True:
        await asyncio.sleep(COMPILING_SECONDS)
        if not seconds:
            event(_log, "compiling", logging.WARNING, seconds=round(COMPILING_SECONDS), see=_SLOW)
        seconds += COMPILING_SECONDS
        notifier.extend(EXTENSION_SECONDS)
        notifier.status(f"compiling the filter for {seconds:.0f} seconds")
