"""Starts the process that follows zone lists, hears it, and ends it.

Owns the process while one job lasts; other zones or keys are another job. Does not own what the
process does (__main__.py), or what its reports mean (feeds/). Called on a thread of its own.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from multiprocessing.connection import Pipe
from typing import TYPE_CHECKING, Self

from xdpctl.errors import XdpctlError
from xdpctl.process.children import ended, start_python
from xdpctl.process.descriptors import send_descriptors

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from xdpctl.feeds.zone.messages import Report, Request, ZoneListsJob

HEAR_SECONDS = 0.2
"""Longest time until an end is noticed."""


class ZoneListsProcess:
    """A process that follows zone lists. A context manager; its end is the process's end.

    The thread that makes it must live as long as it: the kernel ends the process with that thread.

    Args:
        job: the zones.
        sockets: as many as the job says: UDP, or listening TCP; they stay the caller's.

    Raises:
        XdpctlError: it cannot be started.
    """

    def __init__(self, job: ZoneListsJob, sockets: Sequence[socket.socket] = ()) -> None:
        self._connection, theirs = Pipe()
        self._sending = threading.Lock()
        try:
            with theirs:
                self._process = start_python(
                    "xdpctl.feeds.zone", stdin=theirs.fileno(), stdout=subprocess.DEVNULL
                )
        except OSError as error:
            self._connection.close()
            raise XdpctlError(
                f"cannot start a process for zone lists: {error.strerror}; see that there is"
                " memory for it, it is tried again"
            ) from error
        with contextlib.suppress(OSError):  # `hear` reports it
            self._connection.send(job)
            if sockets:
                send_descriptors(self._connection, [each.fileno() for each in sockets])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._connection.close()

    def end(self) -> None:
        """End the process. Any thread; further calls do nothing."""
        self._process.kill()
        self._process.wait()

    def send(self, message: Request) -> None:
        """Send a message; one that has ended hears nothing. Any thread."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send(message)

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
