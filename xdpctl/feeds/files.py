"""Keeps the rules of every list equal to its file.

Owns when a file is read: at start, when it changes, at intervals, on SIGHUP. A broken
version leaves the rules of the last good version in force; one sentence is logged, and it is
a warning until a good version comes. Does not read the lists (reader.py) and does not write
maps (the backend does).

The service runs it as a task (`run`), gives it new settings (`reload`) and shows `warnings`. Made
by service/start.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import ListError, Sentence, TargetError, XdpctlError, within
from xdpctl.feeds.inotify import Inotify
from xdpctl.feeds.origins import ListOrigins
from xdpctl.feeds.reader import ListReading
from xdpctl.process.log import event
from xdpctl.store.change import Change

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.feeds.origins import ListBackend
    from xdpctl.rules import AnyQtype
    from xdpctl.settings import ListSettings, Settings

DEBOUNCE_SECONDS = 0.2
"""How long a directory must be quiet before a change is looked at."""

DEBOUNCE_MAX_SECONDS = 2.0
"""A directory that is never quiet delays a look at most this long."""

QUIET_SECONDS = 2.0
"""A file that changed within this time may still be written, unless the kernel says closed."""

LOOK_SECONDS = 60.0
"""How often a watched file is checked anyway: network file systems and links send no event."""

_log = logging.getLogger(__name__)


_Print = tuple[int, ...] | None
"""What identifies a version of a file: device, inode, size, times; None: it does not exist."""


@dataclass(slots=True)
class _Kept:
    """One list and what is known about it.

    Attributes:
        due: when it is looked at next, in seconds of the loop's clock.
        since: when the first change came that the look waits for, or None.
        read: version that was read last.
        forced: it is read again although it is the same version.
        closed: the kernel reported that the writer has closed the file.
        problem, left_out: sentences, or empty.
    """

    settings: ListSettings
    due: float
    since: float | None = None
    read: _Print = None
    forced: bool = True
    closed: bool = False
    problem: str = ""
    left_out: str = ""
    watch: int | None = None


class ListFiles:
    """The keeper.

    Args:
        backend: makes and removes rules.
        settings: of the service.
    """

    name = "lists"
    failures = ()

    def __init__(self, backend: ListBackend, settings: Settings) -> None:
        self._backend = backend
        self._wanted: Settings | None = settings
        self._any_qtype: AnyQtype = settings.any_qtype
        self._kept: dict[str, _Kept] = {}
        self._origins = ListOrigins(backend)
        self._wake = asyncio.Event()
        self._inotify: Inotify | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for every list that is not in force as its file says."""
        found = [self._origins.problem] if self._origins.problem else []
        for listed in self._kept.values():
            found += [sentence for sentence in (listed.problem, listed.left_out) if sentence]
        return tuple(found)

    def reload(self, settings: Settings) -> None:
        """Take over new settings, and read every list again. From the loop's thread."""
        self._wanted = settings
        self._wake.set()

    async def run(self) -> NoReturn:
        """Keep the lists until cancelled."""
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            self._inotify = _opened(stack)
            if self._inotify is not None:
                loop.add_reader(self._inotify.fd, self._changed)
                stack.callback(loop.remove_reader, self._inotify.fd)
            while True:
                self._wake.clear()
                if self._wanted is not None:
                    wanted, self._wanted = self._wanted, None
                    await self._take_over(wanted)
                await self._origins.remove_leaving()
                for listed in list(self._kept.values()):
                    if listed.due <= loop.time() and self._wanted is None:
                        await self._look(listed)
                await self._sleep()

    async def _sleep(self) -> None:
        """Wait for the next look, a change or new settings."""
        loop = asyncio.get_running_loop()
        due = [listed.due for listed in self._kept.values()]
        if self._origins.leaving:
            due.append(loop.time() + LOOK_SECONDS)
        try:
            async with asyncio.timeout_at(min(due, default=None)):
                await self._wake.wait()
        except TimeoutError:
            pass

    # --- settings -------------------------------------------------------------------

    async def _take_over(self, settings: Settings) -> None:
        now = asyncio.get_running_loop().time()
        self._any_qtype = settings.any_qtype
        wanted = {found.origin: found for found in settings.lists}
        kept = {}
        for origin, list_settings in wanted.items():
            before = self._kept.get(origin)
            kept[origin] = _Kept(list_settings, due=now)
            if before is not None:
                kept[origin].problem, kept[origin].left_out = before.problem, before.left_out
        self._kept = kept
        await self._origins.take_over(kept)

    # --- when a file is looked at ---------------------------------------------------

    def _changed(self) -> None:
        """Note what the kernel reports about directories."""
        if self._inotify is None:
            return
        now = asyncio.get_running_loop().time()
        for change in self._inotify.read():
            for listed in self._kept.values():
                if listed.settings.refresh is not None or change.watch not in {listed.watch, -1}:
                    continue
                if change.gone:
                    listed.watch = None
                path = listed.settings.file
                # The file that a link leads to may be replaced under any name.
                if change.name and change.name != path.name and not path.is_symlink():
                    continue
                listed.closed = listed.closed or change.name == path.name
                listed.since = now if listed.since is None else listed.since
                listed.due = min(now + DEBOUNCE_SECONDS, listed.since + DEBOUNCE_MAX_SECONDS)
                self._wake.set()

    def _watch(self, listed: _Kept) -> None:
        """Watch the directory; if that fails, the regular look finds changes."""
        if self._inotify is None or listed.settings.refresh is not None:
            return
        try:
            listed.watch = self._inotify.watch(listed.settings.file.parent)
        except OSError as error:
            if listed.watch is not None or listed.forced:
                event(
                    _log,
                    "list-not-watched",
                    logging.WARNING,
                    list=listed.settings.origin,
                    error=error.strerror,
                    look_seconds=LOOK_SECONDS,
                )
            listed.watch = None

    async def _look(self, listed: _Kept) -> None:
        """Read a list if its file has changed."""
        loop = asyncio.get_running_loop()
        self._watch(listed)  # before the look, so that no change is missed
        closed, listed.closed, listed.since = listed.closed, False, None
        listed.due = loop.time() + (listed.settings.refresh or LOOK_SECONDS)
        found, age = await asyncio.to_thread(_look_at, listed.settings.file)
        if not listed.forced:
            if found == listed.read:
                return
            if not closed and found is not None and 0 <= age < QUIET_SECONDS:
                listed.due = loop.time() + QUIET_SECONDS
                return
        listed.read = found
        await self._load(listed)
        listed.forced = False

    # --- one list -------------------------------------------------------------------

    async def _load(self, listed: _Kept) -> None:
        settings = listed.settings
        reading = ListReading(settings, self._any_qtype)
        try:
            result = await self._backend.bulk(
                Change(source=reading, origin=settings.origin, replace=True)
            )
        except XdpctlError as error:
            if not isinstance(error, ListError | TargetError):
                listed.read = ()  # not the file's fault: it is read again at the next look
            self._refused(listed, error)
            return
        if listed.problem:
            event(_log, "list-mended", list=settings.origin)
        listed.problem = ""
        event(
            _log,
            "list-read",
            list=settings.origin,
            file=settings.file,
            created=result.created,
            updated=result.updated,
            removed=result.removed,
            unchanged=result.unchanged,
            left_to_dnsdist=result.theirs or None,
            left_to_others=result.others or None,
            guarded=result.guarded or None,
        )
        self._note_left_out(listed, reading)

    def _refused(self, listed: _Kept, error: XdpctlError) -> None:
        done = getattr(error, "done", 0)
        state = (
            f"{done} of its entries went in and the rest is missing"
            if done
            else "the rules of its last good version stay in force"
        )
        settings = listed.settings
        problem = within(
            lambda text: f"cannot use list {settings.origin} from {settings.file}: {text}; {state}",
            _said_of(error),
        )
        if problem != listed.problem or listed.forced:
            event(_log, "list-refused", logging.ERROR, error=problem)
        listed.problem = problem

    def _note_left_out(self, listed: _Kept, reading: ListReading) -> None:
        sentence = ""
        if reading.found:
            frame = (
                f"list {listed.settings.origin} from {listed.settings.file} has entries that no"
                " rule can express; they are left out: "
            )
            sentence = Sentence(f"{frame}{reading.found}", f"{frame}{reading.found.kinds}")
            if sentence != listed.left_out or listed.forced:
                event(_log, "list-left-out", logging.WARNING, text=sentence)
        listed.left_out = sentence


def _said_of(error: XdpctlError) -> str:
    """Return an error's sentence; in public, without what it quotes from the file."""
    if isinstance(error, TargetError):
        where = "it" if error.line is None else f"line {error.line}"
        return Sentence(error.sentence, f"{where} cannot be read, the log says why")
    return error.sentence


def _opened(stack: contextlib.ExitStack) -> Inotify | None:
    """Return an open inotify instance; None if there are too many, which is logged."""
    try:
        return stack.enter_context(Inotify())
    except OSError as error:
        event(
            _log,
            "lists-not-watched",
            logging.WARNING,
            error=error.strerror,
            look_seconds=LOOK_SECONDS,
        )
    return None


def _look_at(path: Path) -> tuple[_Print, float]:
    """Return a file's version and the seconds since its last change. Blocks."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a NUL in a path is a ValueError in both
    except (OSError, ValueError):
        return None, 0.0
    version = (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
    return version, time.time() - found.st_mtime
