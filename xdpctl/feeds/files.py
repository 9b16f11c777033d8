"""Keeps the rules of every list equal to its file.

Owns when a file is read: at start, when it changes, at intervals, on SIGHUP. A broken
version leaves the rules of the last good version in force; one sentence is logged, and it is
a warning until a good version comes, or an operator accepts this one. Does not read the lists
(reader.py) and does not write maps (the backend does).

The service runs it as a task (`run`), gives it new settings (`reload`) and shows `warnings` and
`views`. Made by service/start.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from xdpctl.errors import (
    EmptyListError,
    ListError,
    NotFoundError,
    Sentence,
    TargetError,
    XdpctlError,
    within,
)
from xdpctl.feeds.formats.account import denials
from xdpctl.feeds.inotify import Inotify
from xdpctl.feeds.origins import ListOrigins
from xdpctl.feeds.packed import HEAD, is_packed
from xdpctl.feeds.reader import ListReading
from xdpctl.feeds.refusals import answer_all, what_helps, what_stays
from xdpctl.feeds.versions import GoodVersion, ListView, Versions
from xdpctl.kernel.provenance import open_fed
from xdpctl.process.log import event
from xdpctl.rules.keys import LIST_PREFIX
from xdpctl.rules.names import shown
from xdpctl.rules.reach import LIST_MAX, NO_REACH
from xdpctl.settings.lists import NO_SHRINK_LIMIT
from xdpctl.store.change import Change

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from xdpctl.feeds.formats.account import LeftOut
    from xdpctl.feeds.origins import ListBackend
    from xdpctl.rules import AnyQtype
    from xdpctl.settings import ListSettings, Settings
    from xdpctl.store.bulk import BulkResult

DEBOUNCE_SECONDS = 0.2
"""How long a directory must be quiet before a change is looked at."""

DEBOUNCE_MAX_SECONDS = 2.0
"""A directory that is never quiet delays a look at most this long."""

QUIET_SECONDS = 2.0
"""A file that changed within this time may still be written, unless the kernel says closed and its
last line has an end."""

FIRST_SECONDS = 10.0
"""How long the service is not ready at start because lists are read for the first time."""

LOOK_SECONDS = 60.0
"""How often a watched file is checked anyway: network file systems and links send no event."""

_REFUSED = "list-refused", logging.ERROR

_log = logging.getLogger(__name__)


_Print = tuple[int, ...] | None
"""What identifies a version of a file: device, inode, size, times; None: it does not exist."""


class _Look(NamedTuple):
    """What a look at a file found.

    Attributes:
        version: what identifies it.
        age: seconds since its last change.
        whole: its last line has an end, or it is packed.
    """

    version: _Print
    age: float = 0.0
    whole: bool = True


@dataclass(slots=True)
class _Kept:
    """One list and what is known about it.

    Attributes:
        due: when it is looked at next, in seconds of the loop's clock.
        since: when the first change came that the look waits for, or None.
        read: version that was read last.
        forced: it is read again although it is the same version.
        closed: the kernel reported that the writer has closed the file.
        accepted: an operator wants the present version, even if it shrank.
        problem, left_out: sentences, or empty.
        denials: the sentence about an RPZ zone's denials, once it was logged.
        waiting: requests that wait for the next reading.
    """

    settings: ListSettings
    due: float
    since: float | None = None
    read: _Print = None
    forced: bool = True
    closed: bool = False
    problem: str = ""
    left_out: str = ""
    denials: str = ""
    accepted: bool = False
    waiting: list[asyncio.Future[None]] = field(default_factory=list)
    watch: int | None = None

    def answer(self) -> None:
        """Let the requests go on that wait for this reading."""
        waiting, self.waiting = self.waiting, []
        answer_all(waiting)


async def _nothing() -> None:
    pass


class ListFiles:
    """The keeper.

    Args:
        backend: makes and removes rules.
        settings: of the service.
        on_first: called when every list has been read once.
        origins, versions: of all lists; None: there are no others.
    """

    name = "lists"

    def __init__(
        self,
        backend: ListBackend,
        settings: Settings,
        on_first: Callable[[], Awaitable[None]] = _nothing,
        origins: ListOrigins | None = None,
        versions: Versions | None = None,
    ) -> None:
        self._backend = backend
        self._on_first = on_first
        self._first_until = time.monotonic() + FIRST_SECONDS if settings.lists else 0.0
        self._wanted: Settings | None = settings
        self._any_qtype: AnyQtype = settings.any_qtype
        self._kept: dict[str, _Kept] = {}
        self._origins = origins or ListOrigins(backend)
        self._versions = versions or Versions(backend)
        self._wake = asyncio.Event()
        self._inotify: Inotify | None = None

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for every list that is not in force as its file says."""
        found = [self._origins.problem] if self._origins.problem else []
        for listed in self._kept.values():
            found += [sentence for sentence in (listed.problem, listed.left_out) if sentence]
        return tuple(found)

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence while lists are read at the start: what waits for ready finds them blocked."""
        if time.monotonic() >= self._first_until:
            return ()
        return ("the lists are read for the first time",)

    def views(self) -> tuple[ListView, ...]:
        """Return how each list is now. From the loop's thread, while the part runs."""
        now = time.time() - asyncio.get_running_loop().time()
        views = []
        for listed in self._kept.values():
            settings = listed.settings
            good = self._versions.of(settings.origin)
            form = settings.format.value if good is None or not good.format else good.format
            views.append(
                ListView(
                    settings.name,
                    str(settings.file),
                    form,
                    good,
                    now + listed.due,
                    listed.problem,
                )
            )
        return tuple(views)

    async def read_now(self, name: str, *, accept: bool = False) -> ListView:
        """Read a list, and return how it is then.

        Args:
            name: of the list, with or without `list:`.
            accept: take its present version also if it shrank or has no rule.

        Raises:
            NotFoundError: there is no such list.
            ListError: its present version is not used.
        """
        origin = f"{LIST_PREFIX}{name.removeprefix(LIST_PREFIX)}"
        listed = self._kept.get(origin)
        if listed is None:
            known = ", ".join(kept.settings.name for kept in self._kept.values())
            helps = f"there are {known}" if known else "the settings have no [[list]]"
            raise NotFoundError(f"there is no list {shown(name)}: {helps}")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        listed.waiting.append(done)
        listed.accepted = listed.accepted or accept
        listed.forced, listed.due = True, loop.time()
        self._wake.set()
        await done
        for view in self.views():
            if f"{LIST_PREFIX}{view.name}" == origin:
                if view.error:
                    raise ListError(view.error)
                return view
        raise NotFoundError(f"there is no list {shown(name)} any more: the settings changed")

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
            await self._versions.recall()
            while True:
                self._wake.clear()
                if self._wanted is not None:
                    wanted, self._wanted = self._wanted, None
                    await self._take_over(wanted)
                await self._origins.remove_leaving()
                for listed in list(self._kept.values()):
                    if listed.due <= loop.time() and self._wanted is None:
                        await self._look(listed)
                if self._first_until:
                    self._first_until = 0.0
                    await self._on_first()
                await self._sleep()

    async def _sleep(self) -> None:
        """Wait for the next look, a change or new settings."""
        loop = asyncio.get_running_loop()
        due = [listed.due for listed in self._kept.values()]
        due.append(loop.time() + LOOK_SECONDS)  # the other keeper may have found origins that leave
        try:
            async with asyncio.timeout_at(min(due)):
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
                kept[origin].denials = before.denials
                kept[origin].accepted = before.accepted
                kept[origin].waiting, before.waiting = before.waiting, []
        former, self._kept = self._kept, kept
        for listed in former.values():
            listed.answer()
        await self._origins.take_over(settings.list_origins)
        were_zones = {
            origin
            for origin in wanted
            if (good := self._versions.of(origin)) is not None and good.zone
        }
        await self._versions.forget_others(set(settings.list_origins) - were_zones)
        for origin in were_zones:
            await self._end_of_zone(origin)

    async def _end_of_zone(self, origin: str) -> None:
        """Remove the rules of the zone that a list had before; the file may never be read."""
        try:
            removed = await self._backend.flush(None, origin)
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
            return
        event(_log, "list-removed", list=origin, rules=removed)

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
        found = await asyncio.to_thread(_look_at, listed.settings.file)
        if not listed.forced and found.version == listed.read:
            return
        is_fresh = found.version is not None and 0 <= found.age < QUIET_SECONDS
        if is_fresh and not (found.whole and (closed or listed.forced)):
            listed.due = loop.time() + QUIET_SECONDS
            return
        listed.read = found.version
        waiting = listed.waiting.copy()
        await self._load(listed)
        if waiting == listed.waiting:
            listed.forced = False
            listed.answer()

    # --- one list -------------------------------------------------------------------

    async def _load(self, listed: _Kept) -> None:
        settings = listed.settings
        good = self._versions.of(settings.origin)
        version = listed.read
        known = None if good is None else good.accepted
        asked, listed.accepted = listed.accepted, False  # who asks meanwhile is read anew
        accepted = asked or (known is not None and known == version)
        reading = ListReading(settings, self._any_qtype, accepted=accepted)
        change = Change(
            source=reading,
            origin=settings.origin,
            replace=True,
            may_be_empty=accepted or settings.max_shrink >= NO_SHRINK_LIMIT,
            max_shrink=None if accepted else settings.max_shrink,
            covered=NO_REACH if good is None else good.covers,
            cover_max=None if accepted else LIST_MAX,
        )
        try:
            result = await self._backend.bulk(change)
        except XdpctlError as error:
            if not isinstance(error, ListError | TargetError):
                listed.read = ()  # not the file's fault: it is read again at the next look
            self._refused(listed, error, reading.found)
            return
        finally:
            await self._origins.written(settings.origin)
        if listed.problem:
            event(_log, "list-mended", list=settings.origin)
        listed.problem = ""
        good = _good_version(result, reading)
        await self._versions.keep(
            settings.origin, replace(good, accepted=version if accepted else None)
        )
        event(
            _log,
            "list-read",
            list=settings.origin,
            file=settings.file,
            format=good.format or None,
            created=result.created,
            updated=result.updated,
            removed=result.removed,
            unchanged=result.unchanged,
            left_to_dnsdist=(result.theirs + result.shadowed) or None,
            left_to_others=result.others or None,
            guarded=result.guarded or None,
        )
        self._note_left_out(listed, reading)
        self._note_denials(listed, reading)

    def _refused(self, listed: _Kept, error: XdpctlError, found: LeftOut) -> None:
        settings = listed.settings
        state = what_stays(error, self._versions.of(settings.origin), "entries")
        problem = within(
            lambda text: (
                f"cannot use list {settings.name} from {settings.file}:"
                f" {text}{what_helps(error, settings)}; {state}"
            ),
            _said_of(error, found),
        )
        if problem != listed.problem or listed.forced:
            is_nothing = isinstance(error, EmptyListError) and not self._is_in_force(settings)
            kind, level = ("list-empty", logging.WARNING) if is_nothing else _REFUSED
            event(_log, kind, level, error=problem)
        listed.problem = problem

    def _is_in_force(self, settings: ListSettings) -> bool:
        good = self._versions.of(settings.origin)
        return good is not None and good.rules > 0

    def _note_left_out(self, listed: _Kept, reading: ListReading) -> None:
        sentence = ""
        if len(reading.found):
            frame = (
                f"list {listed.settings.name} from {listed.settings.file} has entries that are"
                " left out: "
            )
            sentence = Sentence(f"{frame}{reading.found}", f"{frame}{reading.found.kinds}")
            if sentence != listed.left_out or listed.forced:
                event(_log, "list-left-out", logging.WARNING, text=sentence)
        listed.left_out = sentence

    def _note_denials(self, listed: _Kept, reading: ListReading) -> None:
        """Log once what became of a zone's NXDOMAIN and NODATA."""
        found = reading.found
        if found.denied and not listed.denials:
            listed.denials = denials(found.denied, found.denial)
            event(_log, "list-denials", list=listed.settings.origin, text=listed.denials)


def _good_version(result: BulkResult, reading: ListReading) -> GoodVersion:
    form = reading.found.format
    return GoodVersion(
        "" if form is None else form.value,
        result.created + result.updated + result.unchanged + result.theirs + result.others,
        len(reading.found),
        time.time(),
        kinds=reading.found.counts,
        covers=result.reach,
    )


def _said_of(error: XdpctlError, found: LeftOut) -> str:
    """Return an error's sentence; in public, without what it quotes from the file."""
    if isinstance(error, EmptyListError) and len(found):
        said = f"{error.sentence}, as all it has is left out: "
        return Sentence(f"{said}{found}", f"{said}{found.kinds}")
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


def _look_at(path: Path) -> _Look:
    """Return a file's version, and whether it may still be written. Blocks."""
    try:
        found = os.stat(path)  # noqa: PTH116 - a NUL in a path is a ValueError in both
    except (OSError, ValueError):
        return _Look(None)
    version = (
        found.st_dev,
        found.st_ino,
        found.st_size,
        found.st_mtime_ns,
        found.st_ctime_ns,
    )
    age = time.time() - found.st_mtime
    return _Look(version, age, not found.st_size or _ends_whole(path, found.st_size))


def _ends_whole(path: Path, size: int) -> bool:
    """Return whether the last line of a file has an end; the reader reports what it cannot open."""
    try:
        descriptor = open_fed(path)
    except (XdpctlError, OSError, ValueError):
        return True
    try:
        return (
            is_packed(os.pread(descriptor, HEAD, 0)) or os.pread(descriptor, 1, size - 1) in _ENDS
        )
    except OSError:
        return True
    finally:
        os.close(descriptor)


_ENDS = (b"\n", b"\r", b"")
