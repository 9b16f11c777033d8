"""The limits of own zones while the service runs: what is in force, whose names are known.

Owns when a limit of a zone is in force: as soon as its names are known, where they come from a
primary; for as long as it is attacked, where it is watched. Owns the process that follows names,
the looks at zones that are asked for much, and what an operator hears of both. Does not own the
maps (zones/tables.py) or the following (zones/). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.abi import MapName, ZoneKnowledge
from xdpctl.errors import XdpctlError
from xdpctl.limits.view import HeavyView, ZoneView
from xdpctl.process.clock import boot_clock, ticks_a_second
from xdpctl.process.log import event
from xdpctl.rules import Question, Zone, target_text
from xdpctl.service.tasks import every, on_thread
from xdpctl.settings.zones import WATCHED_LIMIT
from xdpctl.transfers.key_file import read_key
from xdpctl.zones.heavy import MANY_FRONTS, HeavyEnd, merge, views
from xdpctl.zones.messages import FollowedZone, NamesJob, Result
from xdpctl.zones.parent import NamesProcess
from xdpctl.zones.suffixes import PublicSuffixes
from xdpctl.zones.tables import ZoneTables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.rules.names import Name
    from xdpctl.service.account import Account
    from xdpctl.service.limit_tables import LimitTables
    from xdpctl.settings import Settings, ZoneSettings
    from xdpctl.zones.messages import Looked

LOOK_SECONDS = 5.0
"""Between two looks at the zones that are asked for most."""

RESTART_SECONDS = 5.0
"""Until the process that follows names is started again."""

WATCHED_SECONDS = 600.0
"""How long the limit of a watched zone stays when the attack was seen last."""

WATCHED_TIMES = 2
"""So many times its limit a watched zone must be asked for to be limited."""

SAY_SECONDS, SAY_MOST = 600.0, 10
"""Between two log lines about the same heavy zone, and how many there are meanwhile: whoever
attacks one zone after the other fills no log."""

_FIRST = bytes(4)
_KNOWN = (Result.FULL, Result.CHANGES, Result.KEPT)

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _State:
    """What is known of one zone.

    Attributes:
        looked: the last report. `error`: why the last look at its primary failed.
        transfers: how often these looks ended in each way.
        ends: boot clock of the end of its limit, if it is watched and was attacked.
        ahead: when its account was last read, and by how many seconds it was ahead of the limit.
    """

    looked: Looked | None = None
    error: str = ""
    transfers: Counter[str] = field(default_factory=Counter)
    ends: float | None = None
    ahead: tuple[float, float] | None = None


class ZoneLimits:
    """The limits of own zones.

    Args:
        tables: the limits in force; their maps hold ours.
        settings: in force.
        bpf: makes maps.
        account: writes the history, on `note_thread`.
        thread: the thread that filters belong to.
        clock: seconds that go on while the machine sleeps, and that nobody sets.
    """

    name = "zones"

    def __init__(  # noqa: PLR0913 - what is followed
        self,
        tables: LimitTables,
        settings: Settings,
        bpf: Bpf,
        account: Account,
        *,
        thread: Executor,
        note_thread: Executor,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._limit_tables = tables
        self._settings = settings
        self._bpf = bpf
        self._account = account
        self._thread = thread
        self._note_thread = note_thread
        self._clock = clock
        self._directory: Path = settings.state.absolute().parent / "zones"
        self._tables: ZoneTables | None = None
        self._maps: Mapping[MapName, Map] = {}
        self._states: dict[Name, _State] = {}
        self._job: NamesJob | None = None
        self._stop_hearing = threading.Event()
        self._changed = asyncio.Event()
        self._suffixes = PublicSuffixes()
        self._has_suffixes = True
        self._said: dict[str, float] = {}
        self._emptied: float | None = None
        self._trouble = ""
        self.failures: tuple[str, ...] = ()
        self.warnings: tuple[str, ...] = ()
        self.heavy: tuple[HeavyView, ...] = ()

    def reload(self, settings: Settings) -> None:
        """Use other zones."""
        self._settings = settings
        self._changed.set()

    # --- all the time -------------------------------------------------------------------

    async def run(self) -> None:
        """Follow the settings, the names and the samples, until cancelled."""
        loop = asyncio.get_running_loop()

        def exchanged() -> None:
            loop.call_soon_threadsafe(self._changed.set)

        self._limit_tables.on_use.append(exchanged)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_settings(), name="zones-settings")
                group.create_task(self._follow_names(), name="zones-names")
                group.create_task(every(LOOK_SECONDS, self._look), name="zones-look")
        finally:
            self._stop_hearing.set()

    async def _follow_settings(self) -> None:
        self._changed.set()
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await on_thread(self._thread, self._apply)
                self._trouble = ""
            except XdpctlError as error:
                self._trouble = f"the limits of zones are not in force: {error.sentence}"
                event(_log, "failed", logging.ERROR, error=self._trouble)
            self._tell()

    def _apply(self) -> None:
        """Have the maps be as the settings say, and another process follow the names."""
        maps, zones = self._limit_tables.maps.maps, self._settings.zones
        watched = [zone.name.to_text() for zone in zones if zone.watch]
        self._has_suffixes = not watched or self._suffixes.is_there
        for name in watched:
            self._suffixes.has(name)  # is read here, as that blocks
        if MapName.ZONE_LIMITS not in maps or not zones:
            self._tables, self._maps, self._states = None, maps, {}
            self._follow(None)
            return
        if self._tables is None or maps[MapName.ZONE_LIMITS] is not self._maps.get(
            MapName.ZONE_LIMITS
        ):
            self._tables = ZoneTables(maps, self._directory, ticks_a_second())
            if self._tables.are_anew:
                why = "the zones are of another version of xdpctl: their accounts begin anew"
                event(_log, "limits-left", logging.WARNING, why=why)
        self._maps = maps
        self._states = {zone.name: self._states.get(zone.name, _State()) for zone in zones}
        self._tables.forget_zones([zone.name for zone in zones])
        self._write()
        self._follow(self._job_of(zones, self._tables))

    def _write(self) -> None:
        """Limit the zones that are to be limited now, and count for those that are watched."""
        tables = self._tables
        if tables is None:
            return
        wanted = {}
        for zone in self._settings.zones:
            burst = zone.burst if self._limit_of(zone) else None
            names = self._knowledge_of(zone, tables)
            if names is not None and (burst is not None or not self._is_within_another(zone)):
                wanted[zone.name] = (zone.limit or WATCHED_LIMIT, burst, names)
        self._write_ends()
        tables.limit_zones(wanted)

    def _write_ends(self) -> None:
        """Let the program end the limits of watched zones, also where no service runs then."""
        if self._tables is None:
            return
        now, ticks = self._clock(), self._limit_tables.now()
        for zone in self._settings.zones:
            state = self._states.get(zone.name)
            ends = None if state is None else state.ends
            at = 0
            if ends is not None and zone.watch:
                at = ticks + math.ceil(max(0.0, ends - now) * ticks_a_second()) + 1
            self._tables.end(zone.name, at)

    def _is_within_another(self, zone: ZoneSettings) -> bool:
        """Return whether a zone is below another one, whose limit it must not hide."""
        others = (other.name for other in self._settings.zones if other is not zone)
        return any(zone.name.is_within(other) for other in others)

    def _limit_of(self, zone: ZoneSettings) -> int:
        """Return the limit that a zone has now; 0: none."""
        if not zone.watch:
            return zone.limit
        ends = self._states[zone.name].ends
        active = ends is not None and self._clock() < ends
        return (zone.limit or WATCHED_LIMIT) if active else 0

    def _knowledge_of(self, zone: ZoneSettings, tables: ZoneTables) -> ZoneKnowledge | None:
        """Return what is known of a zone's names; None: they are to come, nothing is limited."""
        if not zone.primaries:
            return ZoneKnowledge.UNKNOWN
        looked = self._states[zone.name].looked
        if looked is not None and looked.serial is not None:
            return ZoneKnowledge.WHOLE if looked.everything else ZoneKnowledge.LISTED
        former = tables.knowledge_of(zone.name)  # of the service before
        return None if former is ZoneKnowledge.UNKNOWN else former

    def _has_names(self, zone: ZoneSettings) -> bool:
        """Return whether a zone's names are known, or need not be."""
        if self._tables is None or zone.name not in self._states:
            return False
        return self._knowledge_of(zone, self._tables) is not None

    # --- names --------------------------------------------------------------------------

    def _job_of(self, zones: Sequence[ZoneSettings], tables: ZoneTables) -> NamesJob | None:
        """Return what the process is to follow; a key that cannot be read is a zone's error."""
        if not any(zone.primaries for zone in zones):
            return None
        from xdpctl.transfers.client import Primary  # noqa: PLC0415 - loads dnspython

        followed = []
        for zone in zones:
            if not zone.primaries:
                continue
            state = self._states[zone.name]
            primaries: tuple[Primary, ...] = ()
            try:
                key = read_key(zone.key_file) if zone.key_file else None
                primaries = tuple(Primary(*each, key) for each in zone.primaries)
                state.error = "" if state.looked is None else state.error
            except XdpctlError as error:
                state.error = error.sentence
                event(_log, "zone-failed", logging.WARNING, zone=_text(zone), why=error.sentence)
            followed.append(FollowedZone(zone.name, primaries, tables.number_of(zone.name)))
        return NamesJob(tuple(followed), tables.hashed.drawn, self._directory)

    def _follow(self, job: NamesJob | None) -> None:
        if job != self._job:
            self._job = job
            self._stop_hearing.set()

    async def _follow_names(self) -> None:
        """Let a process follow the names of the job in force, whichever that is."""
        while True:
            self._stop_hearing.clear()
            job, tables = self._job, self._tables
            if job is None or tables is None:
                await asyncio.sleep(0.2)
                continue
            try:
                await asyncio.to_thread(self._hear, job, tables.names)
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
                await asyncio.sleep(RESTART_SECONDS)

    def _hear(self, job: NamesJob, names: Map) -> None:
        """Hear what the process reports, until another one is wanted."""
        zones = {zone.number: zone.name for zone in job.zones}
        with NamesProcess(job, self._bpf, names) as process:
            while (looked := process.hear(self._stop_hearing.is_set)) is not None:
                self._take(zones[looked.number], looked)

    def _take(self, name: Name, looked: Looked) -> None:
        """Take a report: at once, as a name that is new must not be limited."""
        state = self._states.get(name)
        if state is None or self._job is None:
            return
        first = state.looked is None or state.looked.serial is None
        whole = state.looked is not None and state.looked.everything
        if looked.result is not Result.KEPT or looked.serial is not None:
            state.transfers[looked.result.value] += 1
        state.looked = looked
        if looked.serial is not None and (first or whole != looked.everything):
            self._write()
        if looked.result in _KNOWN and looked.serial is not None:
            detail = f"{looked.result.value}, serial {looked.serial}, {looked.names} names"
            zone, count = f".{name.to_text()}", looked.changes
            with suppress(RuntimeError):  # the service stops
                self._note_thread.submit(self._account.transferred, zone, detail, count)
        if looked.error and looked.error != state.error:
            event(
                _log,
                "zone-failed",
                logging.WARNING,
                zone=f".{name.to_text()}",
                why=looked.error,
            )
        state.error = looked.error
        self._tell()

    # --- heavy zones --------------------------------------------------------------------

    async def _look(self) -> None:
        """See which zones are asked for most, and limit those that are watched."""
        ends = await on_thread(self._thread, self._read_heavy)
        limited = [zone.name for zone in self._settings.zones]
        self.heavy = views(
            ends, limited=limited, protected=self._protected, suffixes=self._suffixes
        )
        now = self._clock()
        self._said = {zone: until for zone, until in self._said.items() if now < until}
        for view in self.heavy:
            if view.proposal and view.zone not in self._said and len(self._said) < SAY_MOST:
                self._said[view.zone] = now + SAY_SECONDS
                event(
                    _log,
                    "zone-heavy",
                    logging.WARNING,
                    zone=view.zone,
                    rate=round(view.rate),
                    propose=view.proposal,
                )
        await self._watch(ends)

    def _read_heavy(self) -> list[HeavyEnd]:
        """Return what was seen since the last look, and forget it."""
        heavy = self._limit_tables.maps.maps.get(MapName.HEAVY_ZONES)
        if heavy is None:
            self._emptied = None
            return []
        value, now = heavy.lookup(_FIRST), time.monotonic()
        heavy.update(_FIRST, bytes(heavy.stored_size))
        since, self._emptied = self._emptied, now
        if value is None or since is None or now <= since:
            return []
        found = merge(value, now - since)
        for end in found:
            if end.is_heavy:
                self._suffixes.has(end.name.to_text())  # is read here, as that blocks
        return found

    async def _watch(self, ends: Sequence[HeavyEnd]) -> None:
        """Begin and end the limits of watched zones."""
        now, changed = self._clock(), False
        for zone in self._settings.zones:
            state = self._states.get(zone.name)
            if state is None or not zone.watch:
                continue
            if state.ends is not None and self._spared(zone):
                state.ends = now
            if self._is_asked_too_much(zone, state) and self._is_attacked(zone, ends):
                if state.ends is None:
                    changed = True
                    await self._note(zone, "zone-limited", "names that are many")
                state.ends = now + WATCHED_SECONDS
            elif state.ends is not None and now >= state.ends:
                state.ends, changed = None, True
                why = self._spared(zone) or "no attack was seen any more"
                await self._note(zone, "zone-free", why)
        if changed:
            await on_thread(self._thread, self._write)
        elif any(state.ends is not None for state in self._states.values()):
            await on_thread(self._thread, self._write_ends)

    def _is_asked_too_much(self, zone: ZoneSettings, state: _State) -> bool:
        """Return whether names that are not known to exist are asked for above the limit.

        A zone that is limited: its account is spent. One that is not: since the last look, the
        account went ahead as fast as WATCHED_TIMES the limit lets it. One below another zone has
        no account until it is limited, and the samples alone decide.
        """
        if self._tables is None:
            return False
        if state.ends is None and self._is_within_another(zone):
            return True
        spent = self._tables.spent(zone.name, self._limit_tables.now())
        before, state.ahead = state.ahead, (time.monotonic(), spent)
        if state.ends is not None:
            return spent >= zone.burst / (zone.limit or WATCHED_LIMIT) / 2
        if before is None:
            return False
        seconds, more = state.ahead[0] - before[0], spent - before[1]
        return more >= (WATCHED_TIMES - 1) * seconds > 0

    def _is_attacked(self, zone: ZoneSettings, ends: Sequence[HeavyEnd]) -> bool:
        """Return whether many names of a watched zone are asked for, which may be limited."""
        if self._spared(zone):
            return False
        least = WATCHED_TIMES * (zone.limit or WATCHED_LIMIT)
        return any(
            zone.name.is_within(end.name) and end.rate >= least and end.fronts >= MANY_FRONTS
            for end in ends
        )

    def _spared(self, zone: ZoneSettings) -> str:
        """Return why the service never limits a zone by itself; empty if it may."""
        if self._suffixes.has(zone.name.to_text()):
            return "it is a public suffix"
        for target in self._settings.protect:
            if not isinstance(target, Question | Zone):
                continue
            above = isinstance(target, Zone) and zone.name.is_within(target.name)
            if above or target.name.is_within(zone.name):
                return f"protect has {target_text(target)}"
        return ""

    async def _note(self, zone: ZoneSettings, verb: str, why: str) -> None:
        dry = " (dry run)" if self._settings.rate_limit_dry_run else ""
        detail = f"{_text(zone)} origin=dynamic: {why}{dry}"
        await on_thread(
            self._note_thread, lambda: self._account.limited(verb, detail, 0, kept=True)
        )

    @property
    def _protected(self) -> list[Name]:
        """The names that must not be blocked."""
        return [
            target.name for target in self._settings.protect if isinstance(target, Question | Zone)
        ]

    # --- for others ---------------------------------------------------------------------

    def zones(self) -> tuple[ZoneView, ...]:
        """Return the zones as values."""
        return tuple(self._view(zone) for zone in self._settings.zones)

    def _view(self, zone: ZoneSettings) -> ZoneView:
        state = self._states.get(zone.name, _State())
        from xdpctl.transfers.client import Primary  # noqa: PLC0415 - loads dnspython

        looked = state.looked if state.looked and state.looked.serial is not None else None
        limit = self._limit_of(zone) if zone.name in self._states else 0
        return ZoneView(
            zone=_text(zone),
            limit=zone.limit or (WATCHED_LIMIT if zone.watch else 0),
            in_force=bool(limit and self._has_names(zone)),
            watch=zone.watch,
            ends=None if state.ends is None else time.time() + state.ends - self._clock(),
            primaries=tuple(str(Primary(*each)) for each in zone.primaries),
            names=looked.names if looked else None,
            serial=looked.serial if looked else None,
            verified=looked.time if looked else None,
            everything=looked.everything if looked else False,
            transfers=dict(state.transfers),
            error=state.error,
        )

    def _tell(self) -> None:
        self.warnings = tuple(self._sentences())

    def _sentences(self) -> Iterator[str]:
        if self._trouble:
            yield self._trouble
        for zone in self._settings.zones:
            view, text = self._view(zone), _text(zone)
            if zone.primaries and not self._has_names(zone):
                why = view.error or "the first transfer has not ended yet"
                yield f"{text} is not limited, as its names are not known: {why}"
            elif view.error:
                which = "known before" if view.serial is None else f"of serial {view.serial}"
                yield f"the names of {text} are those {which}: {view.error}"
            if view.everything:
                yield (
                    f"the limit of {text} does nothing: a wildcard, or a DNAME, at its top makes"
                    " every name below it exist"
                )
            least = WATCHED_TIMES * (zone.limit or WATCHED_LIMIT)
            if zone.watch and not zone.primaries:
                yield (
                    f"{text} is watched without its names: {least}"
                    " queries/s for any names below it may be taken for an attack, and all of them"
                    " are limited then; add the key primary"
                )
            if zone.watch and not self._has_suffixes:
                yield (
                    f"{text} is watched without a list of public suffixes: install Debian's package"
                    " publicsuffix, so that the service never limits one by itself"
                )
            if zone.watch and (why := self._spared(zone)):
                yield f"{text} is watched in vain: {why}, which is never limited by the service"
            if zone.key_file is None and any(
                not each.address.is_loopback for each in zone.primaries
            ):
                yield (
                    f"the names of {text} are transferred without a key: set key-file in [[zone]],"
                    " so that nobody on the way can change them"
                )


def _text(zone: ZoneSettings) -> str:
    return f".{zone.name.to_text()}"
