"""When the service is ready, and what log and service manager are told until then and after.

Owns the lines `ready`, `waiting`, `not-ready` and `ready-again`, and STATUS. Ready is:
attached on every interface, pins and program as they should be. With --wait that may take
long, so systemd is asked for more time again and again. Called by service.py, on the loop,
after every look.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xdpctl.errors import public
from xdpctl.filter.view import FilterState
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.process.systemd import Notifier
    from xdpctl.status.snapshot import Snapshot

EXTENSION_SECONDS = 30.0
"""What is asked for beyond TimeoutStartSec; said anew every second."""

_FILTERING = "filtering "

_log = logging.getLogger(__name__)


class Readiness:
    """What is said of the service's readiness.

    Args:
        notifier: the way to the service manager.
        fields: what the line `ready` carries.
    """

    def __init__(self, notifier: Notifier, **fields: object) -> None:
        self._notifier = notifier
        self._fields = fields
        self._said = ""
        self.announced = False

    def tell(self, snapshot: Snapshot) -> None:
        """Say what is new; nothing, where nothing is."""
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
            self._said = filtering
            event(_log, "ready", **self._fields)
            self._notifier.ready(filtering)
            return
        why = "; ".join(snapshot.reasons)
        status = filtering if snapshot.ready else f"NOT READY: {why}"
        if status != self._said:
            was_ready, self._said = self._said.startswith(_FILTERING), status
            shown = "; ".join(map(public, snapshot.reasons))  # every user may ask systemd for it
            self._notifier.status(filtering if snapshot.ready else f"NOT READY: {shown}")
            if not snapshot.ready:
                event(_log, "not-ready", logging.WARNING, why=why)
            elif not was_ready:
                event(_log, "ready-again")

    def _wait(self, off: dict[str, str], reasons: Sequence[str], filtering: str) -> None:
        """Say what is waited for, and that the service manager is to wait, too."""
        self._notifier.extend(EXTENSION_SECONDS)
        awaited = [f"{name}: {text}" for name, text in off.items()] or reasons
        why = "; ".join(awaited)
        status = f"waiting for {why}; {filtering}"
        if status != self._said:
            self._said = status
            event(_log, "waiting", interfaces=", ".join(off) or None, why=why)
            shown = "; ".join(map(public, awaited))
            self._notifier.status(f"waiting for {shown}; {filtering}")

    def reloading(self) -> None:
        """Say that settings are read anew; `reloaded` must follow."""
        if self.announced:
            self._notifier.reloading()

    def reloaded(self) -> None:
        """Say that the service is up again."""
        if self.announced:
            self._notifier.ready()
