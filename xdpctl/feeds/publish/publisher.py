"""Publishes records in response policy zones, and removes them at their end.

Owns what this host publishes: what operators ask for, and the dynamic claims of the service where
the option `publish` names a zone. Each record is remembered before it is sent and until it is known
to be gone. Does not own updates (changes.py), what is to be done about a record (plans.py), when a
primary is asked again (zones.py) or the table (store/published.py). A part of the service, made by
start.py; service/operations.py calls `publish` and `unpublish`. All of it runs on the loop; updates
and the state are on other threads.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Protocol

from xdpctl.errors import ConflictError, NotFoundError, PublishError, TargetError, XdpctlError
from xdpctl.feeds.publish.changes import Fate, settle, verify
from xdpctl.feeds.publish.claims import Followed, follow
from xdpctl.feeds.publish.edits import EDITS_MAX
from xdpctl.feeds.publish.plans import OPERATOR, is_ending, is_wrong, made, next_at, on_its_way
from xdpctl.feeds.publish.records import records_of
from xdpctl.feeds.publish.views import (
    Publication,
    PublishZoneView,
    few,
    few_texts,
    lasting,
    records_text,
    warning_of,
)
from xdpctl.feeds.publish.zones import PublishZone
from xdpctl.process.caller import CALLER, NOBODY
from xdpctl.process.log import event
from xdpctl.rules.names import Name, shown
from xdpctl.store.published import MOST, PublishedRecord
from xdpctl.transfers.client import Primary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.publish.changes import ZoneOutcome
    from xdpctl.feeds.publish.claims import ClaimedRecord
    from xdpctl.feeds.publish.zones import Runner, ZoneFates
    from xdpctl.process.caller import Caller
    from xdpctl.rules import Target
    from xdpctl.settings import Settings, ZoneListSettings
    from xdpctl.store.published import Key, PublishedTable

POLL_SECONDS = 2.0
"""How often dynamic claims are looked at, where they are published."""

ELSEWHERE_SECONDS = 300.0
"""How long a claim is not sent again whose record another has published."""

GIVE_UP_SECONDS = 86_400.0
"""So long a record that was sent is looked for at a primary that only refuses, without a signature.

It has never said that it took the record, and somebody on the way may say in its place that it did
not. A record that it has taken is never given up.
"""

LOOK_SECONDS = 60.0
"""How often it is seen whether a zone still has its records; less often if there are many."""

LOOK_RECORDS = 1_000
"""So many records are looked at that often: ten messages."""

_SLEEP_SECONDS = 60.0
_LEAST_SLEEP_SECONDS = 0.05
_log = logging.getLogger(__name__)


class PublishNotes(Protocol):
    """Writes down what was published (service/account.py). Blocks."""

    def published(
        self, who: Caller, verb: str, records: Sequence[PublishedRecord], detail: str
    ) -> None:
        """Note records that were published (publish) or are gone (unpublish)."""


class Publisher:
    """What this host publishes.

    Args:
        table: the records in the state.
        settings: in force.
        claims: returns the records of a zone that dynamic claims are worth, by their text;
            called on the state's thread.
        notes: writes the history; called on the state's thread.
        on_state, on_network: run a function on a thread.
        on_change: called with the zone that was changed, and how many records were removed.
        clock: seconds since the epoch.
        settle, verify: change records, and look whether they are there (changes.py).
    """

    name = "publish"
    failures = ()

    def __init__(  # noqa: PLR0913 - what it connects
        self,
        table: PublishedTable,
        settings: Settings,
        claims: Callable[[Name], Mapping[str, ClaimedRecord]],
        notes: PublishNotes,
        *,
        on_state: Runner,
        on_network: Runner,
        on_change: Callable[[Name, int], None] = lambda _zone, _removed: None,
        clock: Callable[[], float] = time.time,
        settle: Callable[..., ZoneOutcome] = settle,
        verify: Callable[..., ZoneOutcome] = verify,
    ) -> None:
        self._table = table
        self._settings = settings
        self._claims = claims
        self._notes = notes
        self._on_state = on_state
        self._on_network = on_network
        self._on_change = on_change
        self._clock = clock
        self._settle = settle
        self._verify = verify
        self._records: dict[Key, PublishedRecord] = {}
        self._zones: dict[str, PublishZone] = {}
        self._elsewhere: dict[Key, float | None] = {}
        """Claims that are not sent: another has their record, until a time; or an operator has
        taken it out (None)."""
        self._skipped = 0
        self._trouble = ""
        self._recalled = asyncio.Event()
        self._wake = asyncio.Event()
        self.warnings: tuple[str, ...] = ()
        self._take_settings()

    # --- what is shown ------------------------------------------------------------------

    def records(self) -> list[PublishedRecord]:
        """Return the records, in no order."""
        return [*self._records.values()]

    def zones(self) -> list[PublishZoneView]:
        """Return the zones that can be published in, and those with records of ours."""
        now = self._clock()
        views = []
        for zone in self._zones.values():
            records = self._of(zone)
            if zone.settings is None and not records:
                continue
            waiting = sum(is_wrong(record, now) for record in records)
            views.append(
                PublishZoneView(
                    zone.text,
                    zone.text if zone.settings is None else zone.settings.name,
                    _addresses(zone.settings),
                    sum(record.there is not None for record in records),
                    waiting,
                    zone.error,
                    zone.due if zone.error and waiting else None,
                    dict(zone.results),
                )
            )
        return views

    def _say(self) -> None:
        """Make the warnings of this moment."""
        found = [self._trouble] if self._trouble else []
        found += [sentence for view in self.zones() if (sentence := warning_of(view))]
        if self._skipped:
            found.append(
                f"{records_text(self._skipped)} for dynamic claims are not published: this host"
                f" publishes {MOST:,} at most"
            )
        self.warnings = tuple(found)

    def _of(self, zone: PublishZone) -> list[PublishedRecord]:
        return [record for record in self._records.values() if record.zone == zone.text]

    # --- settings -----------------------------------------------------------------------

    def reload(self, settings: Settings) -> None:
        """Use other zones and keys; what failed is tried again at once."""
        self._settings = settings
        self._take_settings()
        for zone in self._zones.values():
            zone.due = 0.0
        self._wake.set()

    def _take_settings(self) -> None:
        for zone in self._zones.values():
            zone.settings = None
        for listed in self._settings.zone_lists:
            zone = self._zone_of(listed.zone)
            if zone.settings is None:
                zone.settings = listed

    def _zone_of(self, name: Name) -> PublishZone:
        return self._zones.setdefault(name.to_text(), PublishZone(name))

    def _chosen(self, text: str, verb: str) -> PublishZone:
        """Return the zone that a request names.

        Raises:
            TargetError: no list has it.
        """
        try:
            name = Name.from_text(text)
        except TargetError as error:
            raise TargetError(error.sentence, text=text, field="zone") from error
        zone = self._zones.get(name.to_text())
        if zone is not None and zone.settings is not None:
            return zone
        known = [zone.text for zone in self._zones.values() if zone.settings is not None]
        helps = f"choose one of {', '.join(known)}" if known else "add one with its primary and key"
        raise TargetError(
            f"cannot {verb} {shown(text)}: no [[list]] has this zone; {helps}",
            text=text,
            field="zone",
        )

    # --- what operators ask for -----------------------------------------------------------

    async def publish(
        self, zone_text: str, targets: Sequence[Target], action: RuleAction, seconds: int | None
    ) -> Publication:
        """Publish records, all of them or none; return what changed.

        Args:
            zone_text: name of the zone.
            targets: of `EDITS_MAX` records at most.
            action: of all of them.
            seconds: until they are removed; None: they stay.

        Raises:
            TargetError: no list has the zone, a target cannot be a record, or there are too many.
            ConflictError: another's record is there, or there is no room for more of ours.
            PublishError: the primary does not take them.
        """
        zone = self._chosen(zone_text, "publish in")
        keys = _keys(targets, zone)
        await self._recalled.wait()
        async with zone.turn:
            former = {key: self._records.get(key) for key in keys}
            self._refuse_full(sum(record is None for record in former.values()))
            now = self._clock()
            records = []
            for key, before in former.items():
                record = PublishedRecord(
                    zone=zone.text,
                    target=key[1],
                    action=action,
                    origin=OPERATOR,
                    created=now if before is None else before.created,
                    ends=None if seconds is None else now + seconds,
                )
                if before is not None:
                    record = replace(record, there=before.there, sent=before.sent)
                records.append(record)
            await self._keep(on_its_way(record, former[record.key]) for record in records)
            asked = await self._ask(zone, self._settle, records, whole=True)
            self._tell(zone, records, asked)
            publication = await self._published(zone, records, former, asked)
        self._wake.set()
        return publication

    async def _published(
        self,
        zone: PublishZone,
        records: Sequence[PublishedRecord],
        former: Mapping[Key, PublishedRecord | None],
        asked: ZoneFates,
    ) -> Publication:
        """Remember what became of a request; raise where it was not done."""
        others, error = asked.of(records, Fate.OTHER), asked.error
        if error is not None and error.maybe:
            self._wake.set()  # what is on its way is taken back
            why, until = "in case it has taken the update", "as soon as it answers"
            if error.unsigned:
                why = f"this refusal is not signed, so anybody may have sent it: {why}"
                until = "as soon as it takes updates, which is tried for a day"
            raise PublishError(
                f"cannot publish in {zone.text}: {error.sentence}; {why}, that is undone {until}",
                error.result,
            )
        if error is not None or others:
            before = [record for record in former.values() if record is not None]
            await self._keep(before, [key for key, record in former.items() if record is None])
            if error is not None:
                raise PublishError(
                    f"cannot publish in {zone.text}: {error.sentence}; nothing was published",
                    error.result,
                )
            zone.results["conflict"] += 1
            raise ConflictError(
                f"cannot publish {few(others)} in {zone.text}: the zone has a record there that"
                " this host has not published; nothing was published, remove that record first,"
                " where it comes from"
            )
        now = self._clock()
        done = [made(record, now) for record in asked.of(records, Fate.MADE)]
        same = asked.of(records, Fate.SAME)
        await self._keep(done, [record.key for record in same])
        await self._note(CALLER.get(), "publish", done, f"in {zone.text}{lasting(done, now)}")
        is_new = {record.key: former[record.key] is None for record in done}
        return Publication(
            tuple(record.target for record in done if is_new[record.key]),
            tuple(record.target for record in done if not is_new[record.key]),
            tuple(record.target for record in same),
        )

    async def unpublish(self, zone_text: str, targets: Sequence[Target]) -> tuple[int, list[str]]:
        """Remove records of ours; return how many, and sentences about what was not as expected.

        Raises:
            TargetError: as `publish`.
            NotFoundError: one is not a record of ours; nothing was removed.
            PublishError: the primary does not take it; it is tried again until it does.
        """
        zone = self._chosen(zone_text, "unpublish from")
        keys = _keys(targets, zone)
        await self._recalled.wait()
        async with zone.turn:
            found = [self._records.get(key) for key in keys]
            missing = [key[1] for key, record in zip(keys, found, strict=True) if record is None]
            if missing:
                raise NotFoundError(
                    f"cannot remove {few_texts(missing)} from {zone.text}: this host has not"
                    " published it; another's record is removed where it comes from"
                )
            records = [replace(record, leaving=True) for record in found if record is not None]
            claimed = [record for record in records if record.origin != OPERATOR]
            await self._keep(records)
            self._elsewhere |= dict.fromkeys(record.key for record in claimed)
            asked = await self._ask(zone, self._settle, records)
            self._tell(zone, records, asked)
            warnings = await self._ended(zone, records, asked, CALLER.get(), "")
        self._wake.set()
        if asked.error is not None:
            raise PublishError(
                f"cannot remove all of it from {zone.text} now: {asked.error.sentence}; it is tried"
                " again until it is done",
                asked.error.result,
            )
        if claimed:
            warnings.append(
                f"the service had published {few(claimed)} by itself; it does so again after a"
                " restart while its claim lasts"
            )
        return len(records), warnings

    def _refuse_full(self, more: int) -> None:
        if len(self._records) + more > MOST:
            raise ConflictError(
                f"cannot publish {records_text(more)} more: this host has published"
                f" {len(self._records):,}, and {MOST:,} are the most; remove some with `xdpctl"
                " unpublish`"
            )

    # --- all the time -----------------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Keep the records as they should be, until cancelled."""
        await self._recall()
        while True:
            self._wake.clear()
            await self._follow_claims()
            now = self._clock()
            self._let_look(now)
            due = [zone for zone in self._zones.values() if self._is_due(zone, now)]
            await asyncio.gather(*(self._work(zone) for zone in due))
            self._say()
            await asyncio.sleep(0)  # of thousands of records each step takes some milliseconds
            with suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    await self._wake.wait()

    async def _recall(self) -> None:
        """Read what was published before the start."""
        try:
            for record in await self._on_state(self._table.read):
                self._records[record.key] = record
                self._zone_of(Name.from_text(record.zone)).unverified.add(record.key)
        except XdpctlError as error:
            self._trouble = error.sentence
        self._recalled.set()

    def _let_look(self, now: float) -> None:
        """Have the records of each zone looked at whose time has come."""
        for zone in self._zones.values():
            records = self._of(zone)
            wait = LOOK_SECONDS * max(1.0, len(records) / LOOK_RECORDS)
            if not records or zone.look_at is None or zone.look_at > now + wait:
                zone.look_at = now + wait
            elif zone.look_at <= now:
                zone.look_at = now + wait
                zone.unverified |= {record.key for record in records}

    def _is_due(self, zone: PublishZone, now: float) -> bool:
        if zone.settings is None or zone.due > now:
            return False
        return bool(zone.unverified) or any(is_wrong(record, now) for record in self._of(zone))

    def _patience(self) -> float:
        """Return the seconds until something is to be done."""
        now = self._clock()
        times = [now + (_SLEEP_SECONDS if self._settings.publish is None else POLL_SECONDS)]
        for record in self._records.values():
            zone = self._zones[record.zone]
            if zone.settings is None:
                continue
            times.append(max(zone.look_at or 0.0, zone.due))
            at = zone.due if is_wrong(record, now) or zone.unverified else next_at(record)
            if at is not None:
                times.append(max(at, zone.due))
        return max(_LEAST_SLEEP_SECONDS, min(times) - now)

    async def _follow_claims(self) -> None:
        """Let the records of dynamic claims be those that there are now."""
        zone = None if self._settings.publish is None else self._zone_of(self._settings.publish)
        if zone is None and all(each.origin == OPERATOR for each in self._records.values()):
            return
        now = self._clock()
        self._elsewhere = {
            key: until for key, until in self._elsewhere.items() if until is None or until > now
        }
        former, elsewhere = {**self._records}, {*self._elsewhere}

        def work() -> Followed:
            claims = {} if zone is None or zone.settings is None else self._claims(zone.name)
            text = "" if zone is None else zone.text
            claimed = {(text, target): claim for target, claim in claims.items()}
            return follow(claimed, former, elsewhere)

        try:
            followed: Followed = await self._on_state(work)
            self._elsewhere = {
                key: until for key, until in self._elsewhere.items() if key in followed.claimed
            }
            self._skipped = followed.skipped
            for record in followed.prolonged:  # in the state when they are sent
                if self._records.get(record.key) is former[record.key]:
                    self._records[record.key] = record
            await self._keep(
                record
                for record in followed.changed
                if self._records.get(record.key) is former.get(record.key)
            )
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)

    async def _work(self, zone: PublishZone) -> None:
        """Bring a zone's records to what is wanted; an error is said, and tried again."""
        async with zone.turn:
            try:
                if zone.unverified and not await self._look(zone):
                    return
                await self._bring(zone)
            except XdpctlError as error:  # the state
                event(_log, "failed", logging.ERROR, error=error.sentence)
                zone.failed(PublishError(error.sentence, "failed"), self._clock())

    async def _look(self, zone: PublishZone) -> bool:
        """See whether what was published is still there; return whether that is known.

        What has vanished is made again if its end is to come. If it has none, somebody has removed
        it at the primary for good.
        """
        now = self._clock()
        known = [self._records[key] for key in zone.unverified if key in self._records]
        there = [record for record in known if not is_wrong(record, now)]
        asked = await self._ask(zone, self._verify, there)
        if asked.error is not None:
            return False
        zone.unverified.clear()
        vanished = asked.of(there, Fate.VANISHED)
        again = [replace(each, there=None) for each in vanished if each.ends is not None]
        gone = [record for record in vanished if record.ends is None]
        taken = asked.of(there, Fate.OTHER, Fate.SAME)
        await self._keep(again, [record.key for record in (*gone, *taken)])
        for verb, records, why in (
            ("publish", again, "it had vanished at the primary and is put back until its end"),
            ("unpublish", gone, "it had vanished at the primary, and without an end it stays so"),
            ("unpublish", taken, "another had changed it at the primary"),
        ):
            await self._note(NOBODY, verb, records, f"in {zone.text}: {why}")
        return True

    async def _bring(self, zone: PublishZone) -> None:
        """Make, prolong and remove records.

        Raises:
            StateError: the state cannot be written.
        """
        now = self._clock()
        records = [record for record in self._of(zone) if is_wrong(record, now)]
        if not records:
            return
        ending = [record for record in records if is_ending(record, now)]
        making = [record for record in records if not is_ending(record, now)]
        await self._keep(replace(record, sent=record.action) for record in making)
        asked = await self._ask(zone, self._settle, records)
        self._tell(zone, records, asked)
        await self._ended(zone, ending, asked, NOBODY, "ended")
        await self._give_up(zone, asked.of(ending, None), now)
        done = [made(record, now) for record in asked.of(making, Fate.MADE)]
        lost = asked.of(making, Fate.SAME, Fate.OTHER)
        is_certain = asked.error is not None and not asked.error.maybe
        as_before = asked.of(making, None) if is_certain else []
        await self._keep([*done, *as_before], [record.key for record in lost])
        until = now + ELSEWHERE_SECONDS
        self._elsewhere |= {each.key: until for each in lost if each.origin != OPERATOR}
        zone.results["conflict"] += len(asked.of(records, Fate.OTHER))
        was_there = {record.key for record in making if record.there is not None}
        new = [record for record in done if record.key not in was_there]
        await self._note(NOBODY, "publish", new, f"in {zone.text}{lasting(new, now)}")
        taken = [record for record in lost if record.there is not None]
        await self._note(NOBODY, "unpublish", taken, f"in {zone.text}: another has changed it")

    async def _give_up(
        self, zone: PublishZone, records: Sequence[PublishedRecord], now: float
    ) -> None:
        """Forget those records that a primary has refused for a day, and never had as we know."""
        before = now - GIVE_UP_SECONDS
        if zone.unsigned_since is None or zone.unsigned_since > before:
            return
        old = [each for each in records if each.there is None and each.created <= before]
        await self._keep((), [record.key for record in old])
        why = "the primary has refused for a day, without a signature, and may have it all the same"
        await self._note(NOBODY, "unpublish", old, f"in {zone.text}: given up, {why}")

    async def _ended(
        self,
        zone: PublishZone,
        records: Sequence[PublishedRecord],
        asked: ZoneFates,
        who: Caller,
        why: str,
    ) -> list[str]:
        """Forget records that are gone; return sentences about those that were not there."""
        settled = [record for record in records if asked.fates.get(record.key) is not None]
        await self._keep((), [record.key for record in settled])
        zone.unverified -= {record.key for record in settled}
        warnings = []
        for fate, what in (
            (Fate.REMOVED, why),
            (Fate.VANISHED, "it was not there any more"),
            (Fate.OTHER, "another has changed it, so it was left as it is"),
        ):
            alike = asked.of(settled, fate)
            await self._note(who, "unpublish", alike, f"in {zone.text}" + (what and f": {what}"))
            if alike and fate is not Fate.REMOVED:
                warnings.append(f"{few(alike)}: {what}")
        return warnings

    # --- primary and state ---------------------------------------------------------------------

    async def _ask(
        self,
        zone: PublishZone,
        change: Callable[..., ZoneOutcome],
        records: Sequence[PublishedRecord],
        **options: bool,
    ) -> ZoneFates:
        return await zone.ask(change, records, self._on_network, self._clock, **options)

    def _tell(
        self, zone: PublishZone, records: Sequence[PublishedRecord], asked: ZoneFates
    ) -> None:
        """Say that a zone was changed, if it was: its list of this host need not wait."""
        removed = len(asked.of(records, Fate.REMOVED))
        if removed or asked.of(records, Fate.MADE):
            self._on_change(zone.name, removed)

    async def _keep(
        self, records: Iterable[PublishedRecord] = (), forget: Iterable[Key] = ()
    ) -> None:
        """Write records to the state, and take them over then.

        Raises:
            StateError: the state cannot be written; nothing has changed.
        """
        put, gone = [*records], [key for key in forget if key in self._records]
        if not put and not gone:
            return
        await self._on_state(lambda: self._table.write(put, gone))
        for key in gone:
            del self._records[key]
        self._records |= {record.key: record for record in put}

    async def _note(
        self, who: Caller, verb: str, records: Sequence[PublishedRecord], detail: str
    ) -> None:
        if records:
            await self._on_state(lambda: self._notes.published(who, verb, records, detail))


def _keys(targets: Sequence[Target], zone: PublishZone) -> list[Key]:
    """Return the records of targets.

    Raises:
        TargetError: a target cannot be a record, or there are too many.
    """
    texts = dict.fromkeys(text for target in targets for text in records_of(target, zone.name))
    if len(texts) > EDITS_MAX:
        raise TargetError(
            f"cannot publish or remove {len(texts)} records at once: {EDITS_MAX} are the most; ask"
            " for fewer at a time",
            text=str(len(texts)),
            field="targets",
        )
    return [(zone.text, text) for text in texts]


def _addresses(settings: ZoneListSettings | None) -> tuple[str, ...]:
    if settings is None:
        return ()
    return tuple(str(Primary(*each)) for each in settings.update or settings.primaries)
