"""Starts the process that follows zone lists, hears it, and ends it.

Owns the process while one job lasts; other zones or keys are another job. Does not own what the
process does (__main__.py), or what its reports mean (feeds/). Called on a thread of its own.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.process.child import Child
from xdpctl.process.children import ended
from xdpctl.process.descriptors import send_descriptors

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from xdpctl.feeds.zone.messages import Report, Request, ZoneListsJob

HEAR_SECONDS = 0.2
"""Longest time until an end is noticed."""


class ZoneListsProcess(Child):
    """A process that follows zone lists.

    Args:
        job: the zones.
        sockets: as many as the job says: UDP, or listening TCP; they stay the caller's.

    Raises:
        XdpctlError: it cannot be started.
    """

    def __init__(self, job: ZoneListsJob, sockets: Sequence[socket.socket] = ()) -> None:
        super().__init__("xdpctl.feeds.zone", "zone lists", job)
        if sockets:
            with contextlib.suppress(OSError):  # `hear` reports it
                send_descriptors(self._connection, [each.fileno() for each in sockets])

    def send(self, message: Request) -> None:
        """Send a message; one that has ended hears nothing. Any thread."""
        self._send(message)

    def hear(self, stopped: Callable[[], bool]) -> Report | None:
        """Wait for the next report; None once `stopped` says so.

        Raises:
            XdpctlError: the process has ended.
        """
        while not stopped():
            try:
                if self._connection.poll(HEAR_SECONDS):
                    report: Report = self._connection.recv()
                    return report
            except (EOFError, OSError) as error:
                raise XdpctlError(
                    f"the process that follows zone lists {ended(self._process)}: the versions"
                    " that are in force stay, and it is started again"
                ) from error
        return None
