"""Lets a process follow the zones that are wanted now, and hears it on a thread.

Owns the process over time: it is started again when it ends, or when other zones or keys are
wanted, and the folder of its files has nothing of former lists. Does not own the process itself
(parent.py) or what its reports mean (feeds/zone_lists.py, which calls it).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, NoReturn, Protocol

from xdpctl.errors import ListError, XdpctlError
from xdpctl.kernel.paths import ForeignError, Opened, open_directory, refuse_writable
from xdpctl.process.log import event

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from xdpctl.feeds.zone.messages import Report, Request, ZoneListsJob

_ENDINGS = ".zone", ".new", "-journal"
"""Of the names of zones' files (records.py); nothing else is ever removed."""

RESTART_SECONDS = 5.0
"""Until the process is started again."""

_log = logging.getLogger(__name__)


class Follower(Protocol):
    """The process (parent.py)."""

    def hear(self, stopped: Callable[[], bool]) -> Report | None:
        """Wait for the next report; None once `stopped` says so."""

    def send(self, message: Request) -> None:
        """Tell it something. Any thread."""


class Following:
    """The process of the zones that are wanted. Used on the loop's thread.

    Args:
        directory: of the files.
        sockets: at which NOTIFY comes.
        start: starts a process; blocks.
        heard: gets the job and each report, on the loop's thread.

    Attributes:
        job: the zones that are wanted; None: there are none, or they are not known yet.
        trouble: why there is no process, or an empty text.
    """

    def __init__(
        self,
        directory: Path,
        sockets: Sequence[socket.socket],
        start: Callable[[ZoneListsJob, Sequence[socket.socket]], AbstractContextManager[Follower]],
        heard: Callable[[ZoneListsJob, Report], None],
    ) -> None:
        self._directory = directory
        self._sockets = sockets
        self._start = start
        self._heard = heard
        self._process: Follower | None = None
        self._has_begun = False
        self._stop = threading.Event()
        self._changed = asyncio.Event()
        self.job: ZoneListsJob | None = None
        self.trouble = ""

    def use(self, job: ZoneListsJob | None) -> None:
        """Have these zones followed, if they are not yet."""
        if job != self.job or not self._has_begun:
            self.job, self._has_begun = job, True
            self._stop.set()
            self._changed.set()

    async def send(self, message: Request) -> None:
        """Tell the process something, if there is one."""
        if (process := self._process) is not None:
            await asyncio.to_thread(process.send, message)

    async def run(self) -> NoReturn:
        """Follow what is wanted until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            await self._changed.wait()  # nothing is removed before the zones are known
            while True:
                self._changed.clear()
                self._stop.clear()
                await self._follow(self.job, loop)
        finally:
            self._stop.set()

    async def _follow(self, job: ZoneListsJob | None, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await asyncio.to_thread(self._tidy, job)
            if job is None:
                await self._changed.wait()
            else:
                await asyncio.to_thread(self._hear, job, loop)
            self.trouble = ""
        except XdpctlError as error:
            self.trouble = error.sentence
            event(_log, "failed", logging.ERROR, error=error.sentence)
            await asyncio.sleep(RESTART_SECONDS)

    def _hear(self, job: ZoneListsJob, loop: asyncio.AbstractEventLoop) -> None:
        """Hear what the process reports, until another one is wanted. Blocks."""
        with self._start(job, self._sockets) as process:
            self._process = process
            try:
                while (report := process.hear(self._stop.is_set)) is not None:
                    loop.call_soon_threadsafe(self._report, job, report)
            finally:
                self._process = None

    def _report(self, job: ZoneListsJob, report: Report) -> None:
        self.trouble = ""  # it works again
        self._heard(job, report)

    def _tidy(self, job: ZoneListsJob | None) -> None:
        """Make the directory of the zones' files, and remove those of former lists. Blocks."""
        kept = {zone.path.name for zone in job.zones} if job else set()
        try:
            with _opened(self._directory, make=None if job is None else 0o750) as folder:
                for name in folder.names():
                    if name.endswith(_ENDINGS) and name.partition(".")[0] not in kept:
                        with contextlib.suppress(IsADirectoryError):
                            os.unlink(name, dir_fd=folder.fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if job is None and isinstance(error, ForeignError):
                return  # it is not ours, and nothing is to be kept there
            raise ListError(
                f"cannot keep zones in {self._directory}: {error.strerror}; this directory and the"
                " one above it must belong to the service's user, who alone may write there"
            ) from error


def _opened(directory: Path, *, make: int | None) -> Opened:
    """Open the directory of the zones' files; `make`: mode in which it is made if it is missing.

    Who can change it, or the one above it, chooses what is removed there and which version is the
    last good one. The state's folder may be one in which everybody can make names, as /tmp.

    Raises:
        ForeignError: another user owns a part of the path, or can write there.
        OSError: it cannot be made or opened.
    """
    with open_directory(directory.parent, make=make) as above:
        refuse_writable(above)
    opened = open_directory(directory, make=make)
    try:
        refuse_writable(opened)
    except BaseException:
        opened.close()
        raise
    return opened
