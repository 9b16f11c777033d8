"""Keeps the rules of every list what its file says.

Owns when a file is read: at the start, when it changes, every so often, on SIGHUP. A
version that is broken leaves the rules of the last good one in force, is logged by one
sentence and shown as a warning until a good one comes. What a list is made of is
reader.py's, how its rules get into the maps the backend's.

The service gives it a task (`run`), tells it new settings (`reload`) and shows `warnings`.
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
"""How long at most a directory that is never quiet puts a look off."""

QUIET_SECONDS = 2.0
"""A file that changed so lately may still be being written, where nobody said it is closed."""

LOOK_SECONDS = 60.0
"""How often a watched file is looked at all the same: networks and links tell nobody."""

_log = logging.getLogger(__name__)


_Print = tuple[int, ...] | None
"""By what a file's version is known: device, inode, size, times; None: it is not there."""


@dataclass(slots=True)
class _Kept:
    """One list and what is known of it.

    Attributes:
        due: seconds of the loop's clock of the next look.
        since: of the first change that the look waits for, or None.
        read: version that was read last; `forced`: read again though it is the same.
        told: the change was said by the kernel: the writer has closed the file.
        problem, left_out: sentences, or nothing.
    """

    settings: ListSettings
    due: float
    since: float | None = None
    read: _Print = None
    forced: bool = True
    told: bool = False
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
        for one in self._kept.values():
            found += [sentence for sentence in (one.problem, one.left_out) if sentence]
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
                for one in list(self._kept.values()):
                    if one.due <= loop.time() and self._wanted is None:
                        await self._look(one)
                await self._sleep()

    async def _sleep(self) -> None:
        """Wait for the next look, a change or new settings."""
        loop = asyncio.get_running_loop()
        due = [one.due for one in self._kept.values()]
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
        wanted = {one.origin: one for one in settings.lists}
        kept = {}
        for origin, one in wanted.items():
            before = self._kept.get(origin)
            kept[origin] = _Kept(one, due=now)
            if before is not None:
                kept[origin].problem, kept[origin].left_out = before.problem, before.left_out
        self._kept = kept
        await self._origins.take_over(kept)

    # --- when a file is looked at ---------------------------------------------------

    def _changed(self) -> None:
        """Note what the kernel says of directories."""
        if self._inotify is None:
            return
        now = asyncio.get_running_loop().time()
        for change in self._inotify.read():
            for one in self._kept.values():
                if one.settings.refresh is not None or change.watch not in {one.watch, -1}:
                    continue
                if change.gone:
                    one.watch = None
                path = one.settings.file
                # What a link leads to may be exchanged under any name.
                if change.name and change.name != path.name and not path.is_symlink():
                    continue
                one.told = one.told or change.name == path.name
                one.since = now if one.since is None else one.since
                one.due = min(now + DEBOUNCE_SECONDS, one.since + DEBOUNCE_MAX_SECONDS)
                self._wake.set()

    def _watch(self, one: _Kept) -> None:
        """See that the directory is watched; where it cannot be, the regular look has to do."""
        if self._inotify is None or one.settings.refresh is not None:
            return
        try:
            one.watch = self._inotify.watch(one.settings.file.parent)
        except OSError as error:
            if one.watch is not None or one.forced:
                event(
                    _log,
                    "list-not-watched",
                    logging.WARNING,
                    list=one.settings.origin,
                    error=error.strerror,
                    look_seconds=LOOK_SECONDS,
                )
            one.watch = None

    async def _look(self, one: _Kept) -> None:
        """Read a list where its file is another than before."""
        loop = asyncio.get_running_loop()
        self._watch(one)  # before the look: a change in between is said
        told, one.told, one.since = one.told, False, None
        one.due = loop.time() + (one.settings.refresh or LOOK_SECONDS)
        found, age = await asyncio.to_thread(_look_at, one.settings.file)
        if not one.forced:
            if found == one.read:
                return
            if not told and found is not None and 0 <= age < QUIET_SECONDS:
                one.due = loop.time() + QUIET_SECONDS
                return
        one.read = found
        await self._load(one)
        one.forced = False

    # --- one list -------------------------------------------------------------------

    async def _load(self, one: _Kept) -> None:
        settings = one.settings
        reading = ListReading(settings, self._any_qtype)
        try:
            result = await self._backend.bulk(
                Change(source=reading, origin=settings.origin, replace=True)
            )
        except XdpctlError as error:
            if not isinstance(error, ListError | TargetError):
                one.read = ()  # not of what is in the file: it is read again at the next look
            self._refused(one, error)
            return
        if one.problem:
            event(_log, "list-mended", list=settings.origin)
        one.problem = ""
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
        self._note_left_out(one, reading)

    def _refused(self, one: _Kept, error: XdpctlError) -> None:
        done = getattr(error, "done", 0)
        state = (
            f"{done} of its entries went in and the rest is missing"
            if done
            else "the rules of its last good version stay in force"
        )
        settings = one.settings
        problem = within(
            lambda text: f"cannot use list {settings.origin} from {settings.file}: {text}; {state}",
            _said_of(error),
        )
        if problem != one.problem or one.forced:
            event(_log, "list-refused", logging.ERROR, error=problem)
        one.problem = problem

    def _note_left_out(self, one: _Kept, reading: ListReading) -> None:
        sentence = ""
        if reading.found:
            frame = (
                f"list {one.settings.origin} from {one.settings.file} has what no rule can say,"
                " which is left out: "
            )
            sentence = Sentence(f"{frame}{reading.found}", f"{frame}{reading.found.kinds}")
            if sentence != one.left_out or one.forced:
                event(_log, "list-left-out", logging.WARNING, text=sentence)
        one.left_out = sentence


def _said_of(error: XdpctlError) -> str:
    """Return an error's sentence; what it quotes of the file is for the log and its like."""
    if isinstance(error, TargetError):
        where = "it" if error.line is None else f"line {error.line}"
        return Sentence(error.sentence, f"{where} cannot be read, the log says why")
    return error.sentence


def _opened(stack: contextlib.ExitStack) -> Inotify | None:
    """Return an open inotify instance; None where there are too many, which is logged."""
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
