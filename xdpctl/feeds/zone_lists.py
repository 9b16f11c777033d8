"""Keeps the rules of every list that is a zone equal to its last good version.

Owns when a version that was offered is used: the rules come first, then the process that follows
the zones is told. A version that shrank too much, or has no rule, leaves the rules of the last good
version in force, until a good one comes or an operator accepts this one. Changes (IXFR) replace
only what they concern. Owns the end of rules that no primary has confirmed for long (`expire`).
Does not transfer (feeds/zone/) and does not write maps (the backend does).

The service runs it as a task (`run`), gives it new settings (`reload`) and shows `warnings` and
`views`. Made by service/start.py.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
import time
from collections import Counter, deque
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn, Protocol

from xdpctl.errors import (
    ListError,
    NotFoundError,
    Sentence,
    WideListError,
    XdpctlError,
    within,
)
from xdpctl.feeds.formats.account import denials
from xdpctl.feeds.refusals import what_helps, what_stays
from xdpctl.feeds.shrinking import Shrinking
from xdpctl.feeds.versions import ListView, Versions
from xdpctl.feeds.zone.following import Following
from xdpctl.feeds.zone.messages import (
    Asked,
    AskZone,
    ListZone,
    LookResult,
    Notified,
    Offered,
    Settled,
    Verdict,
    ZoneListsJob,
    ZoneReport,
)
from xdpctl.feeds.zone_list import ZoneList, age_text, expires_after, good_version, primaries_of
from xdpctl.process.clock import boot_clock
from xdpctl.process.log import event
from xdpctl.rules.keys import LIST_PREFIX
from xdpctl.rules.names import shown
from xdpctl.rules.reach import EXEMPT_MAX, LIST_MAX, NO_REACH, Reach, reach_of
from xdpctl.settings.lists import NO_SHRINK_LIMIT, Lifetime, Passthru
from xdpctl.store.change import Change

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Iterable, Sequence
    from contextlib import AbstractContextManager
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from xdpctl.feeds.origins import ListBackend, ListOrigins
    from xdpctl.feeds.zone.following import Follower
    from xdpctl.feeds.zone.messages import NotifyResult, Report
    from xdpctl.feeds.zone.reading import ZoneFound, ZoneReading
    from xdpctl.rules import AnyQtype, Name
    from xdpctl.settings import Settings, ZoneListSettings
    from xdpctl.store.bulk import BulkResult
    from xdpctl.transfers.client import Primary

    Network = IPv4Network | IPv6Network

FOLDER = "feeds"
"""Beside the state file: for each state file a folder with the last good version of each zone."""

FIRST_SECONDS = 10.0
"""How long the service is not ready at start because kept versions are put in force."""

LOOK_SECONDS = 60.0
"""How often it is seen whether rules have expired, at least."""

TOUCHED_MAX = 20_000
"""Owners that changes may concern; with more, the whole zone is read."""

STEPPED_SECONDS = 2.0
"""Difference by which the time of day was set, so that the ends of rules move."""

AFTER_UPDATE_SECONDS = 0.0, 1.0, 3.0
"""Between the questions after an update that another server than the primaries has taken."""

GOOD_SUFFIX = ".zone"

_SAFE = re.compile(r"[^A-Za-z0-9_-]+")

_log = logging.getLogger(__name__)


class ZoneBackend(Protocol):
    """What zones need from the service beside what lists do (service/operations.py)."""

    async def exempt(self, origin: str, clients: Iterable[Network]) -> None:
        """Let exactly these clients of an origin be in front of every rule."""


class _UnsureError(Exception):
    """Changes may make the prefixes of a list cover too much."""


async def _nothing() -> None:
    pass


class ZoneLists:
    """The keeper.

    Args:
        backend: makes and removes rules, and exempts clients.
        settings: of the service.
        origins, versions: of all lists.
        start: starts the process that follows zones; blocks.
        sockets: at which NOTIFY comes.
        on_first: called when every kept version is in force.
        clock: Unix time. `boot`: CLOCK_BOOTTIME.
    """

    name = "zone-lists"

    def __init__(  # noqa: PLR0913 - two are for tests
        self,
        backend: ListBackend,
        exempting: ZoneBackend,
        settings: Settings,
        *,
        origins: ListOrigins,
        versions: Versions,
        start: Callable[[ZoneListsJob, Sequence[socket.socket]], AbstractContextManager[Follower]],
        sockets: Sequence[socket.socket] = (),
        on_first: Callable[[], Awaitable[None]] = _nothing,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_clock,
    ) -> None:
        self._backend = backend
        self._exempting = exempting
        self._origins = origins
        self._versions = versions
        self._sockets = tuple(sockets)
        self._on_first = on_first
        self._clock = clock
        self._boot = boot
        self._ahead = clock() - boot()
        self._wanted: Settings | None = settings
        self._settings = settings
        state = settings.state.absolute()
        self._directory: Path = state.parent / FOLDER / state.name
        self._first_until = time.monotonic() + FIRST_SECONDS if settings.zone_lists else 0.0
        self._kept: dict[str, ZoneList] = {}
        self._numbers: dict[int, ZoneList] = {}
        self._following = Following(self._directory, self._sockets, start, self._heard)
        self._inbox: deque[tuple[ZoneListsJob, Report]] = deque()
        self._wake = asyncio.Event()
        self.notified: Counter[NotifyResult] = Counter()

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for every list that is not in force as its primary has it."""
        found = [self._following.trouble] if self._following.trouble else []
        for listed in self._kept.values():
            sentences = (listed.problem, listed.trouble, listed.left_out)
            found += [sentence for sentence in sentences if sentence]
        return tuple(found)

    @property
    def failures(self) -> tuple[str, ...]:
        """A sentence while kept versions are put in force at the start; no primary is awaited."""
        if time.monotonic() >= self._first_until:
            return ()
        return ("the kept versions of zones are put in force",)

    def names(self) -> tuple[str, ...]:
        """Return the names of the lists."""
        return tuple(listed.settings.name for listed in self._kept.values())

    def views(self) -> tuple[ListView, ...]:
        """Return how each list is now. From the loop's thread."""
        return tuple(self._view(listed) for listed in self._kept.values())

    def _view(self, listed: ZoneList) -> ListView:
        settings, report = listed.settings, listed.report
        contact = report.contact if report is not None else 0.0
        return ListView(
            settings.name,
            "",
            "rpz",
            self._versions.of(settings.origin),
            listed.next or self._clock(),
            listed.problem or listed.trouble,
            zone=settings.zone.to_text(),
            serial=listed.serial,
            contact=contact or None,
            transfers={
                (asked.value, result.value): count
                for (asked, result), count in listed.transfers.items()
            },
        )

    async def read_now(self, name: str, *, accept: bool = False) -> ListView:
        """Ask a list's primaries, and return how it is then.

        Args:
            name: of the list, with or without `list:`.
            accept: take the version that is offered also if it shrank or has no rule; where none
                was refused, take what the primary has, also if its serial is lower.

        Raises:
            NotFoundError: there is no such list.
            ListError: its primaries do not answer, or their version is not used.
        """
        origin = f"{LIST_PREFIX}{name.removeprefix(LIST_PREFIX)}"
        listed = self._kept.get(origin)
        if listed is None:
            raise NotFoundError(f"there is no list {shown(name)}")
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if is_unread := listed.is_unread:
            try:
                await asyncio.to_thread(primaries_of, listed.settings)
            except XdpctlError as error:
                self._troubled(listed, listed.unreadable(error))
                raise ListError(listed.trouble) from error
            if self._kept.get(origin) is not listed:
                return await self.read_now(name, accept=accept)
        if self._following.trouble:
            raise ListError(self._following.trouble)
        listed.waiting.append(done)
        listed.accepted, listed.asked_again = listed.accepted or accept, False
        try:
            if is_unread:
                self.reload(self._wanted or self._settings)  # gives the process what it can read
            else:
                whole = accept and not listed.problem
                await self._following.send(AskZone(listed.number, whole=whole))
            await done
        finally:
            if done in listed.waiting:
                listed.waiting.remove(done)
        listed = self._kept.get(origin)
        if listed is None:
            raise NotFoundError(f"there is no list {shown(name)} any more: the settings changed")
        if listed.problem or listed.trouble:
            raise ListError(listed.problem or listed.trouble)
        return self._view(listed)

    def changed_here(self, zone: Name, removed: int) -> None:
        """Ask for a zone soon, as this host has changed it at its primary. From the loop's thread.

        Args:
            zone: its name.
            removed: how many of its records this host has removed.
        """
        for listed in self._kept.values():
            if listed.settings.zone == zone:
                listed.shrinking.expect(removed)
                if listed.asking is not None:
                    listed.asking.cancel()
                listed.asking = asyncio.create_task(self._ask_soon(listed), name="zone-lists-ask")

    async def _ask_soon(self, listed: ZoneList) -> None:
        """Ask the primaries, again and again where they have changes from another server."""
        for pause in AFTER_UPDATE_SECONDS if listed.settings.update else (0.0,):
            await asyncio.sleep(pause)
            if self._numbers.get(listed.number) is listed:
                await self._following.send(AskZone(listed.number))

    def reload(self, settings: Settings) -> None:
        """Take over new settings. From the loop's thread."""
        self._wanted = settings
        self._wake.set()

    async def run(self) -> None:
        """Keep the lists until cancelled."""
        await self._versions.recall()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._following.run(), name="zone-lists-process")
            group.create_task(self._keep(), name="zone-lists-rules")

    async def _keep(self) -> NoReturn:
        while True:
            self._wake.clear()
            if self._wanted is not None:
                wanted, self._wanted = self._wanted, None
                await self._take_over(wanted)
            while self._inbox and self._wanted is None:
                job, report = self._inbox.popleft()
                if job is self._following.job:
                    await self._take(report)
            for listed in list(self._kept.values()):
                await self._see_expired(listed)
            await self._see_first()
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _see_first(self) -> None:
        """Be ready once every zone's kept version, or that there is none, is known."""
        if self._first_until and all(listed.report for listed in self._kept.values()):
            self._first_until = 0.0
            await self._on_first()

    # --- settings -------------------------------------------------------------------

    async def _take_over(self, settings: Settings) -> None:
        self._settings = settings
        former, kept = self._kept, dict[str, ZoneList]()
        for number, wanted in enumerate(settings.zone_lists):
            before = former.get(wanted.origin)
            if before is None or before.settings.zone != wanted.zone:
                kept[wanted.origin] = ZoneList(wanted, number, Shrinking(self._clock))
            else:
                before.settings, before.number = wanted, number
                kept[wanted.origin] = before
        await self._origins.take_over(settings.list_origins)
        renamed = {
            origin
            for origin, listed in kept.items()
            if former.get(origin) is not listed
            and (origin in former or self._is_of_another(listed))
        }
        await self._versions.forget_others(set(settings.list_origins) - renamed)
        self._kept = kept
        self._numbers = {listed.number: listed for listed in kept.values()}
        for origin, listed in former.items():
            if kept.get(origin) is not listed:
                listed.answer()
                await self._exempt(listed, frozenset())
        for origin in renamed:
            await self._end_of_former(kept[origin])
        has_any = bool(settings.zone_lists)
        self._following.use(await asyncio.to_thread(self._job_of) if has_any else None)
        for listed in kept.values():
            if listed.is_unread:
                listed.answer()  # no primary is asked, so no look would
        await self._use_again()

    async def _use_again(self) -> None:
        """Put the good versions in force as the settings are now, until newer ones come."""
        for listed in self._kept.values():
            if self._wanted is not None:
                return  # which may have these lists no more
            if listed.serial is not None and listed.used_as != self._used_as(listed):
                await self._use_good(listed)

    def _is_of_another(self, listed: ZoneList) -> bool:
        """Return whether the rules of a list are those of another zone, or of a file.

        The settings may also have changed while the service was stopped.
        """
        good = self._versions.of(listed.settings.origin)
        return good is not None and good.zone not in {None, listed.settings.zone.to_text()}

    async def _end_of_former(self, listed: ZoneList) -> None:
        """Remove the rules of what a list was before.

        Nobody would see that they expire, and the primaries of the new one may never answer.
        """
        settings = listed.settings
        await self._exempt(listed, frozenset())
        try:
            removed = await self._backend.flush(None, settings.origin)
        except XdpctlError as error:
            listed.problem = (
                f"cannot remove the rules of the zone that list {settings.name} had before:"
                f" {error.sentence}; they stay until {settings.zone.to_text()} is in force"
            )
            event(_log, "failed", logging.ERROR, error=listed.problem)
            return
        event(_log, "list-removed", list=settings.origin, rules=removed)

    def _used_as(self, listed: ZoneList) -> object:
        """Return what the rules of a version depend on beside the version."""
        return listed.settings, self._settings.protect

    def _job_of(self) -> ZoneListsJob:
        """Return what the process is to follow; a key that cannot be read is a list's trouble.

        Blocks.
        """
        import_module("xdpctl.feeds.zone.reading")  # not on the loop, which it would hold
        zones = []
        for listed in self._kept.values():
            wanted = listed.settings
            primaries: tuple[Primary, ...] = ()
            try:
                primaries = primaries_of(wanted)
                listed.trouble = ""
                listed.is_unread = False
            except XdpctlError as error:
                self._troubled(listed, listed.unreadable(error))
                listed.is_unread = True
            zones.append(
                ListZone(
                    listed.number,
                    wanted.zone,
                    primaries,
                    self._path(wanted),
                    None if wanted.refresh is None else float(wanted.refresh),
                    wanted.lifetime is Lifetime.TTL,
                )
            )
        return ZoneListsJob(tuple(zones), len(self._sockets))

    def _path(self, settings: ZoneListSettings) -> Path:
        """Return the path of a list's files, without a suffix."""
        mark = hashlib.sha256(settings.origin.encode() + b"\0" + settings.zone.wire).hexdigest()
        return self._directory / f"{_SAFE.sub('-', settings.name)[:40]}-{mark[:12]}"

    def _heard(self, job: ZoneListsJob, report: Report) -> None:
        self._inbox.append((job, report))
        self._wake.set()

    # --- what is reported -----------------------------------------------------------

    async def _take(self, report: Report) -> None:
        if isinstance(report, Notified):
            self.notified.update(report.counts)
            return
        listed = self._numbers.get(report.number)
        if listed is None:
            return
        if isinstance(report, Offered):
            verdict = await self._offered(listed, report)
            await self._following.send(Settled(report.number, report.soa.serial, verdict))
        else:
            await self._looked(listed, report)

    async def _offered(self, listed: ZoneList, offered: Offered) -> Verdict:
        """Use a version that was offered; return what became of it."""
        is_kept = offered.asked is Asked.NOTHING
        if is_kept and listed.serial == offered.soa.serial:
            return Verdict.GOOD  # in force already: the process was started again
        expires = expires_after(listed.settings, offered.soa.expire)
        if is_kept and expires is not None and self._clock() - offered.contact >= expires:
            return Verdict.GOOD  # it has expired: `_see_expired` removes its rules
        accepted, listed.accepted = listed.accepted or is_kept, False
        settings, good = listed.settings, self._versions.of(listed.settings.origin)
        touched = None
        if (
            offered.base is not None
            and offered.base == listed.serial
            and listed.used_as == self._used_as(listed)
            and offered.touched <= TOUCHED_MAX
            and good is not None
            and listed.shrinking.is_harmless(offered.touched, good.rules, settings.max_shrink)
        ):
            touched = offered.touched
        bounded = not accepted
        accepted = accepted or touched is not None
        serial = offered.soa.serial
        most = EXEMPT_MAX.or_more(reach_of(listed.exempt or ())) if bounded else None
        read = partial(
            self._reading,
            offered.path,
            settings,
            may_be_empty=_may_be_empty(self._max_shrink(listed), accepted=accepted),
            exempt_max=most,
        )
        try:
            reading = read(touched=touched)
            return await self._use(listed, reading, serial, accepted=accepted, bounded=bounded)
        except _UnsureError:  # a part tells only how much its prefixes may cover at most
            reading = read()
            return await self._use(listed, reading, serial, accepted=accepted, bounded=bounded)

    def _max_shrink(self, listed: ZoneList) -> float:
        """Return which share of a list's rules may be gone in a version."""
        settings = listed.settings
        good = self._versions.of(settings.origin)
        if good is None:
            return settings.max_shrink
        return listed.shrinking.share(good.rules, settings.max_shrink)

    async def _use_good(self, listed: ZoneList) -> None:
        """Put the last good version in force again."""
        report = listed.report
        if report is None or report.soa is None:
            return
        path = self._path(listed.settings)
        reading = self._reading(
            path.with_name(path.name + GOOD_SUFFIX), listed.settings, offered=False
        )
        await self._use(listed, reading, report.soa.serial, accepted=True, bounded=False)

    def _reading(  # noqa: PLR0913 - what a reading depends on
        self,
        path: Path,
        settings: ZoneListSettings,
        *,
        touched: int | None = None,
        offered: bool = True,
        may_be_empty: bool = True,
        exempt_max: Reach | None = None,
    ) -> ZoneReading:
        from xdpctl.feeds.zone.reading import ZoneReading  # noqa: PLC0415 - loaded by `_job_of`

        ahead = self._clock() - self._boot()
        if abs(ahead - self._ahead) > STEPPED_SECONDS:  # else ends would move with each reading
            self._ahead = ahead
        return ZoneReading(
            path,
            settings,
            self._any_qtype,
            ahead=float(round(self._ahead)),
            present=self._boot(),
            offered=offered,
            touched=touched,
            may_be_empty=may_be_empty,
            exempt_max=exempt_max,
        )

    @property
    def _any_qtype(self) -> AnyQtype:
        return self._settings.any_qtype

    async def _use(
        self,
        listed: ZoneList,
        reading: ZoneReading,
        serial: int,
        *,
        accepted: bool,
        bounded: bool,
    ) -> Verdict:
        """Make the rules of a list those of a version.

        Raises:
            _UnsureError: nothing was changed; the version is to be read whole.
        """
        from xdpctl.feeds.zone.reading import BrokenZoneError  # noqa: PLC0415 - the same

        settings, good = listed.settings, self._versions.of(listed.settings.origin)
        max_shrink = self._max_shrink(listed)
        if not self._origins.has(settings.origin):
            return Verdict.FAILED  # newer settings, which are taken over soon, have it no more
        change = Change(
            source=reading,
            origin=settings.origin,
            replace=True,
            # the reading knows whether clients are exempt, where there is no rule
            may_be_empty=_may_be_empty(max_shrink, accepted=accepted)
            or settings.passthru is Passthru.EXEMPT,
            max_shrink=None if accepted else max_shrink,
            covered=NO_REACH if good is None else good.covers,
            cover_max=LIST_MAX if bounded else None,
        )
        used_as = self._used_as(listed)
        try:
            result = await self._backend.bulk(change)
        except XdpctlError as error:
            if isinstance(error, WideListError) and reading.is_partial:
                raise _UnsureError from error
            self._refused(listed, error, serial)
            if isinstance(error, BrokenZoneError):
                return Verdict.BROKEN
            if not isinstance(error, ListError):
                listed.serial = None  # some of its rules may have been written
                return Verdict.FAILED
            return Verdict.REFUSED
        finally:
            await self._origins.written(settings.origin)
        if listed.problem or listed.expired:
            event(_log, "list-mended", list=settings.origin)
        listed.problem, listed.expired = "", False
        listed.serial, listed.used_as = serial, used_as
        await self._noted(listed, reading, result, serial)
        return Verdict.GOOD

    async def _noted(
        self, listed: ZoneList, reading: ZoneReading, result: BulkResult, serial: int
    ) -> None:
        settings, found = listed.settings, reading.found
        former = self._versions.of(settings.origin)
        good = good_version(result, found, former, settings, serial)
        if former is not None:
            listed.shrinking.seen(former.rules, good.rules)
        await self._versions.keep(settings.origin, replace(good, success=self._clock()))
        event(
            _log,
            "list-read",
            list=settings.origin,
            zone=settings.zone.to_text(),
            serial=serial,
            created=result.created,
            updated=result.updated,
            removed=result.removed,
            unchanged=result.unchanged,
            left_to_dnsdist=(result.theirs + result.shadowed) or None,
            left_to_others=result.others or None,
            guarded=result.guarded or None,
        )
        if found.before is None:
            exempt = found.exempt
        else:
            exempt = ((listed.exempt or frozenset()) - found.exempt_before) | found.exempt
        self._note_left_out(listed, found)
        if found.left_out.denied and not listed.denials:
            listed.denials = denials(found.left_out.denied, found.left_out.denial)
            event(_log, "list-denials", list=settings.origin, text=listed.denials)
        await self._exempt(listed, exempt)

    async def _exempt(self, listed: ZoneList, clients: frozenset[Network]) -> None:
        if clients == listed.exempt:
            return
        try:
            await self._exempting.exempt(listed.settings.origin, clients)
        except XdpctlError as error:
            listed.problem = (
                f"cannot exempt the clients of list {listed.settings.name}: {error.sentence}"
            )
            event(_log, "failed", logging.ERROR, error=listed.problem)
            return
        if clients or listed.exempt:
            event(_log, "list-exempt", list=listed.settings.origin, clients=len(clients))
        listed.exempt = clients

    def _note_left_out(self, listed: ZoneList, found: ZoneFound) -> None:
        if found.before is not None:
            return  # only of what changed: what is known of the whole stays
        listed.left_out = ""
        if len(found.left_out):
            frame = f"list {listed.settings.name} has records that are left out: "
            listed.left_out = Sentence(f"{frame}{found.left_out}", f"{frame}{found.left_out.kinds}")
            event(_log, "list-left-out", logging.WARNING, text=listed.left_out)

    def _refused(self, listed: ZoneList, error: XdpctlError, serial: int) -> None:
        settings = listed.settings
        state = what_stays(error, self._versions.of(settings.origin), "rules")
        helps = what_helps(error, settings)
        problem = within(
            lambda text: (
                f"cannot use list {settings.name}, serial {serial}: {text}{helps}; {state}"
            ),
            error.sentence,
        )
        if problem != listed.problem:
            event(_log, "list-refused", logging.ERROR, error=problem)
        listed.problem = problem

    async def _looked(self, listed: ZoneList, report: ZoneReport) -> None:
        if report.asked is not Asked.NOTHING or report.soa is not None:
            listed.transfers[report.asked, report.result] += 1
        listed.report, listed.next = report, self._clock() + report.next_seconds
        if report.error:
            name = listed.settings.name
            self._troubled(listed, f"list {name} cannot be brought up to date: {report.error}")
        elif report.asked is not Asked.NOTHING:
            if listed.trouble and not (listed.problem or listed.expired):
                event(_log, "list-mended", list=listed.settings.origin)
            listed.trouble = ""
        if report.asked is Asked.NOTHING:
            return
        is_current = report.result is LookResult.CURRENT
        if is_current and (listed.serial is None or (listed.waiting and not listed.problem)):
            # it had expired, or could not be written; or a request wants it read again
            await self._use_good(listed)
        is_refused = listed.accepted and listed.problem and is_current
        if is_refused and not listed.asked_again:
            listed.asked_again = True
            await self._following.send(AskZone(listed.number))
            return
        listed.accepted = False
        listed.answer()

    def _troubled(self, listed: ZoneList, sentence: str) -> None:
        if sentence != listed.trouble:
            event(_log, "list-failed", logging.WARNING, error=sentence)
        listed.trouble = sentence

    # --- the end of rules that nobody confirms --------------------------------------

    async def _see_expired(self, listed: ZoneList) -> None:
        """Remove the rules of a zone that no primary has confirmed for long."""
        report = listed.report
        if report is None or report.soa is None or listed.expired:
            return
        seconds, age = expires_after(listed.settings, report.soa.expire), 0.0
        if seconds is None or (age := self._clock() - report.contact) < seconds:
            return
        origin = listed.settings.origin
        try:
            removed = await self._backend.flush(None, origin)
            await self._exempt(listed, frozenset())
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
            return
        listed.expired, listed.serial = True, None
        listed.problem = (
            f"list {listed.settings.name} has expired: no primary has answered for"
            f" {age_text(age)}; its rules come back when one does"
        )
        event(_log, "list-expired", logging.ERROR, list=origin, rules=removed)


def _may_be_empty(max_shrink: float, *, accepted: bool) -> bool:
    return accepted or max_shrink >= NO_SHRINK_LIMIT
