"""Keeps claims as dnsdist's dynamic blocks are: asks, compares, holds.

Each dnsdist is asked at its own pace, and rarely enough that answering takes at most a twentieth
of its time. Long lists are read and compared on a thread, and written some hundred claims at a
time. Where `hold` is set, counters are looked at every second, and entries that dnsdist may remove
every few milliseconds, so that hardly a packet comes between its entry and our claim.

Owns the times, and what an operator hears. Does not own the decisions (ledger.py) or the claims
(the backend). A part of the service, made by service/start.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, NoReturn, Protocol

from xdpctl.abi import TABLES
from xdpctl.errors import DnsdistError, XdpctlError, within
from xdpctl.feeds.dnsdist.blocks import BLOCKS_MAX, SKIPPED_IN_ORDER, TAKEN, BlockKind, BlockReader
from xdpctl.feeds.dnsdist.client import AnswerBounds, fetch, read_api_key
from xdpctl.feeds.dnsdist.document import read_entries
from xdpctl.feeds.dnsdist.ledger import AT_ONCE, NO_HOLD, Hold, Ledger
from xdpctl.feeds.dnsdist.views import BridgeView, DnsdistView
from xdpctl.process.clock import boot_clock
from xdpctl.process.garbage import no_collection
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from xdpctl.abi import MapName, RuleAction
    from xdpctl.feeds.dnsdist.blocks import BlockList
    from xdpctl.feeds.dnsdist.ledger import Wishes
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.guard import Guard
    from xdpctl.settings import DnsdistSettings, Settings
    from xdpctl.store.dynamic import Wish, WishesSettled
    from xdpctl.store.entries import Place
    from xdpctl.store.state import Note

REST = 20
"""A poll is so many times its own time after the one before, at least."""

JITTER = 0.1
"""Part of the wait that is added at random, so that many hosts do not ask at once."""

MANY = 2_000
"""With more claims that are new they are made as those of a list are: in batches."""

RETRY_SECONDS = 60.0
"""Longest wait behind a poll that failed, if `poll` is not longer."""

COUNT_SECONDS = 1.0
"""Between two looks at counters, at least."""

COUNTED_AT_ONCE = 10_000
"""Counters of one look a second; more are looked at more rarely."""

WATCH_SECONDS = 0.02
"""Between two looks whether dnsdist's entries are still there before which claims wait."""

WATCH_SHARE = 0.05
"""Part of the time that these looks may take."""

REFUSED_SECONDS = 10.0
"""How long a map that refused a claim is not asked for another one."""

KEEP_BYTES = 1 << 20
"""A list that is longer than any before by so much is kept out of garbage collections."""

_log = logging.getLogger(__name__)


class ClaimBackend(Protocol):
    """What the bridge needs from the service (service/dynamic_claims.py)."""

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""

    def guard(self) -> Guard:
        """Return the guard of this moment. Blocks."""

    async def settle(self, wishes: Wishes) -> WishesSettled:
        """Make, prolong or end some hundred claims."""

    async def make_many(self, wishes: Mapping[Place, Wish]) -> WishesSettled:
        """Make any number of claims that are new, or raise: then `settle` says what is refused."""

    async def note(self) -> None:
        """Write into the history what was done since the last call."""

    async def former(self) -> list[Note]:
        """Return the claims that are in force at a start."""

    async def hits(self, places: Collection[Place]) -> dict[Place, int]:
        """Return counters."""

    async def gone(self, places: Collection[Place]) -> bool:
        """Return whether one of these places has no entry."""

    async def foreign(self, places: Collection[Place]) -> set[Place]:
        """Return those of these places whose entry is dnsdist's."""

    async def hot(self, rate: float) -> dict[Place, RuleAction]:
        """Return dnsdist's entries that are hit so often a second, and are not guarded."""

    async def look_beneath(self) -> None:
        """Let claims come into force where dnsdist's entry is gone."""


@dataclass(slots=True)
class _Source:
    """One dnsdist and what is known about it.

    Attributes:
        reader: knows the blocks of the last list. `kinds`: how many of each it has.
        problem: why the last poll failed. `left_out`: what of the last list is no claim.
        missed: the kinds of that. `kept`: octets of the largest list so far.
    """

    settings: DnsdistSettings
    reader: BlockReader | None = None
    kinds: Counter[BlockKind] = field(default_factory=Counter)
    polls: Counter[str] = field(default_factory=Counter)
    problem: str = ""
    left_out: str = ""
    missed: frozenset[BlockKind] = frozenset()
    success: float | None = None
    seconds: float = 0.0
    kept: int = 0

    def view(self) -> DnsdistView:
        """Return it as a value."""
        up = not self.problem and self.success is not None
        return DnsdistView(
            self.settings.url, up, self.kinds, self.success, self.seconds, self.polls
        )


class DnsdistBlocks:
    """The bridge.

    Args:
        backend: makes and ends claims.
        settings: of the service.
        bounds: of an answer.
        clock: seconds of CLOCK_BOOTTIME.
    """

    name = "dnsdist"
    failures = ()

    def __init__(
        self,
        backend: ClaimBackend,
        settings: Settings,
        *,
        bounds: AnswerBounds | None = None,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._backend = backend
        self._wanted = settings
        self._bounds = bounds or AnswerBounds()
        self._clock = clock
        self._changed = asyncio.Event()
        self._waits = asyncio.Event()
        self._turn = asyncio.Lock()
        self._zone_wishes: Wishes = {}
        self._zone_task: asyncio.Task[None] | None = None
        self._ledger = Ledger()
        self._sources: dict[str, _Source] = {}
        self._refused: dict[MapName, tuple[float, str]] = {}
        self._trouble = ""
        self._held = 0

    # --- what is shown --------------------------------------------------------------

    @property
    def warnings(self) -> tuple[str, ...]:
        """A sentence for what is not as it should be."""
        found = [self._trouble] if self._trouble else []
        for source in self._sources.values():
            found += [sentence for sentence in (source.problem, source.left_out) if sentence]
        return (*found, *(sentence for _, sentence in self._refused.values()))

    def view(self) -> BridgeView:
        """Return how it is now. From the loop's thread."""
        views = tuple(source.view() for source in self._sources.values())
        return BridgeView(views, self._ledger.claims, self._held)

    def reload(self, settings: Settings) -> None:
        """Take over new settings; keys are read, and lists are judged, again."""
        self._wanted = settings
        self._changed.set()

    # --- all the time ---------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Keep the claims until cancelled."""
        while True:
            self._changed.clear()
            await self._take_over(self._wanted.dnsdists)
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._follow(source), name=f"dnsdist {url}")
                    for url, source in self._sources.items()
                ]
                if self._hold is not NO_HOLD:
                    tasks.append(group.create_task(self._count(), name="dnsdist-hold"))
                    tasks.append(group.create_task(self._watch(), name="dnsdist-watch"))
                await self._changed.wait()
                async with self._turn:  # so that none is cut short while it changes claims
                    for task in tasks:
                        task.cancel()

    @property
    def _hold(self) -> Hold:
        """How entries of dnsdist's own are held: the longest time, the least rate."""
        holds = [each for each in self._wanted.dnsdists if each.hold]
        if not holds:
            return NO_HOLD
        return Hold(max(each.hold for each in holds), min(each.hold_rate for each in holds))

    async def _take_over(self, wanted: Iterable[DnsdistSettings]) -> None:
        former = self._sources
        self._sources = {}
        for settings in wanted:
            source = former.get(settings.url) or _Source(settings)
            source.settings, source.reader = settings, None
            self._sources[settings.url] = source
        async with self._turn:
            await self._recall()
            await self._apply_all(await asyncio.to_thread(self._ledger.drop, self._sources.keys()))
            self._held = await asyncio.to_thread(self._ledger.count_held)
            await self._backend.note()

    async def _recall(self) -> None:
        """Take over claims that are in force and unknown: left by a former service."""
        try:
            notes = await self._backend.former()
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
        else:
            urls = self._sources.keys()
            await asyncio.to_thread(self._ledger.recall, notes, urls, self._hold, self._clock())

    # --- reading --------------------------------------------------------------------

    async def _follow(self, source: _Source) -> NoReturn:
        """Ask a dnsdist again and again."""
        settings = source.settings
        key_file = settings.key_file
        while True:
            begun, now = time.monotonic(), self._clock()
            try:
                key = None if key_file is None else await asyncio.to_thread(read_api_key, key_file)
                document = await fetch(settings, key, self._bounds)
                source.seconds = time.monotonic() - begun
                async with self._turn:
                    await self._take(source, document, now)
            except XdpctlError as error:
                source.seconds = time.monotonic() - begun
                self._failed(source, error)
                wait = min(REST * source.seconds, RETRY_SECONDS)
            else:
                wait = REST * source.seconds
            wait = max(settings.poll, wait)
            await asyncio.sleep(wait * (1 + JITTER * random.random()))  # noqa: S311 - no secret

    async def _take(self, source: _Source, document: bytes, now: float) -> None:
        """Take a list over."""
        settings = source.settings
        grows = len(document) - source.kept > KEEP_BYTES

        def read() -> tuple[BlockReader, BlockList, Counter[BlockKind], list[Place]]:
            reader = source.reader or BlockReader(
                settings.other, self._backend.any_qtype, self._backend.guard()
            )
            with no_collection(keep=grows):
                blocks = reader.read_all(read_entries(document))
            return reader, blocks, blocks.kinds(), _unreported(blocks)

        source.reader, blocks, kinds, unreported = await asyncio.to_thread(read)
        in_maps = await self._backend.foreign(unreported) if unreported else set()
        kinds[BlockKind.IN_MAPS] += len(in_maps)
        kinds[BlockKind.ADDRESS] -= len(in_maps)
        source.kept = max(source.kept, len(document))
        interval = max(settings.poll, REST * source.seconds) * (1 + JITTER)
        parts = self._ledger.take(settings, blocks, now, interval, in_maps)
        with no_collection(keep=grows):
            wishes = await asyncio.to_thread(_all_of, parts)
        await self._apply_all(wishes)
        await self._backend.note()
        source.polls["ok"] += 1
        if source.problem or source.success is None:
            event(_log, "dnsdist-read", url=settings.url, blocks=len(blocks.blocks))
        source.kinds, source.problem = kinds, ""
        source.success = time.time()
        self._note_left_out(source)

    def _failed(self, source: _Source, error: XdpctlError) -> None:
        source.polls["failed"] += 1
        if not isinstance(error, DnsdistError):
            event(_log, "failed", logging.ERROR, error=error.sentence)
        problem = within(
            lambda text: (
                f"cannot read the dynamic blocks of {source.settings.url}: {text}; blocks that were"
                " read run out"
            ),
            error.sentence,
        )
        if problem != source.problem:
            event(_log, "dnsdist-failed", logging.WARNING, error=problem)
        source.problem = problem

    def _note_left_out(self, source: _Source) -> None:
        """Say once what of a list is left out that somebody may miss."""
        missed = {
            kind: count
            for kind, count in source.kinds.items()
            if count and kind not in TAKEN and kind not in SKIPPED_IN_ORDER
        }
        parts = ", ".join(f"{count} {_MISSED[kind]}" for kind, count in sorted(missed.items()))
        sentence = (
            f"some dynamic blocks of {source.settings.url} stay with dnsdist alone: {parts}"
            if parts
            else ""
        )
        if sentence and missed.keys() != source.missed:
            event(_log, "dnsdist-left-out", logging.WARNING, text=sentence)
        source.missed = frozenset(missed)
        source.left_out = sentence

    # --- writing --------------------------------------------------------------------

    async def _apply_all(self, wishes: Wishes) -> None:
        """Fulfil any number of wishes."""
        rest = iter((await self._make_many(wishes)).items())
        while part := dict(islice(rest, AT_ONCE)):
            await self._apply(part)
            await asyncio.sleep(0)  # zones do not wait here, so others must have their turn

    async def _make_many(self, wishes: Wishes, *, own_tables: bool = False) -> Wishes:
        """Make claims that are new if they are many, as a first list has them; return the rest.

        Args:
            wishes: any number.
            own_tables: make those in our own tables; else the others.
        """
        if len(wishes) <= MANY:
            return wishes

        def split() -> tuple[dict[Place, Wish], Wishes]:
            new: dict[Place, Wish] = {}
            rest: Wishes = {}
            for place, wish in wishes.items():
                is_here = (place[0] in TABLES) is own_tables and place[0] not in self._refused
                if wish is not None and not wish.prolongs and is_here:
                    new[place] = wish
                else:
                    rest[place] = wish
            return new, rest

        new, rest = await asyncio.to_thread(split)
        if len(new) <= MANY:
            return wishes
        try:
            settled = await self._backend.make_many(new)
        except XdpctlError as error:  # step by step it is seen which map refuses
            event(_log, "dnsdist-steps", logging.WARNING, claims=len(new), error=error.sentence)
            return wishes
        await asyncio.to_thread(self._ledger.settled, settled.states)
        self._trouble = ""
        if self._ledger.behind:
            self._waits.set()
        return rest

    async def _apply(self, wishes: Wishes) -> None:
        """Fulfil some hundred wishes; the caller has the turn, which zones do not keep.

        The first zone may have to wait for another program, and nothing else waits with it: of
        each zone the newest wish is kept until then.
        """
        for place, wish in wishes.items():
            if place[0] in TABLES:
                self._zone_wishes[place] = _newer(self._zone_wishes.get(place), wish)
        if self._zone_wishes and (self._zone_task is None or self._zone_task.done()):
            self._zone_task = asyncio.create_task(self._apply_zones(), name="dnsdist-zones")
        await self._fulfil({p: wish for p, wish in wishes.items() if p[0] not in TABLES})

    async def _apply_zones(self) -> None:
        by_steps = False
        while self._zone_wishes:
            if len(self._zone_wishes) > MANY and not by_steps:
                by_steps = not await self._make_many_zones()
                continue
            places = list(islice(self._zone_wishes, AT_ONCE))
            await self._fulfil({place: self._zone_wishes.pop(place) for place in places})
            try:
                await self._backend.note()
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)

    async def _make_many_zones(self) -> bool:
        """Make the zones that wait, if they are many; return whether it was done."""
        taken, self._zone_wishes = self._zone_wishes, {}
        rest = await self._make_many(taken, own_tables=True)
        came, self._zone_wishes = self._zone_wishes, rest
        for place, wish in came.items():
            self._zone_wishes[place] = _newer(rest.get(place), wish)
        return rest is not taken

    async def _fulfil(self, wishes: Wishes) -> None:
        """Make, prolong and end claims."""
        now = self._clock()
        for name in [name for name, (until, _) in self._refused.items() if until <= now]:
            if any(wish is not None and place[0] == name for place, wish in wishes.items()):
                del self._refused[name]
        try:
            await self._settle(wishes)
        except XdpctlError as error:
            self._ledger.forget(wishes)
            self._trouble = f"dnsdist's dynamic blocks are not in force: {error.sentence}"
            event(_log, "failed", logging.ERROR, error=self._trouble)
            return
        if wishes:
            self._trouble = ""
        if self._ledger.behind:
            self._waits.set()

    async def _settle(self, wishes: Wishes) -> None:
        refused = [p for p, wish in wishes.items() if wish is not None and p[0] in self._refused]
        self._ledger.forget(refused)
        asked = {place: wish for place, wish in wishes.items() if place not in set(refused)}
        if not asked:
            return
        settled = await self._backend.settle(asked)
        self._ledger.settled(settled.states)
        for name, why in settled.refused.items():
            sentence = f"some of dnsdist's dynamic blocks are not in force: {why.sentence}"
            event(_log, "dnsdist-refused", logging.WARNING, map=name, error=sentence)
            self._refused[name] = self._clock() + REFUSED_SECONDS, sentence

    # --- holding --------------------------------------------------------------------

    async def _count(self) -> NoReturn:
        """Look at counters; hold claims, or end them."""
        wait = COUNT_SECONDS
        while True:
            await asyncio.sleep(wait)
            try:
                async with self._turn:
                    counted = await asyncio.to_thread(lambda: self._ledger.counted)
                    wait = COUNT_SECONDS * max(1.0, len(counted) / COUNTED_AT_ONCE)
                    await self._look(counted, wait)
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)

    async def _look(self, counted: Collection[Place], wait: float) -> None:
        """Look at these counters; what takes long with many claims is done on a thread."""
        ledger, hold, on_thread = self._ledger, self._hold, asyncio.to_thread
        behind = ledger.behind
        if behind:
            await self._come_into_force(behind)
        hits = await self._backend.hits(counted)
        now = self._clock()
        await self._apply_all(await on_thread(ledger.count, hits, hold, now, wait))
        hot = await self._backend.hot(hold.rate)
        await self._apply_all(await on_thread(ledger.add_own, hot, hold, now, wait))
        self._held = await on_thread(ledger.count_held)
        await self._backend.note()

    async def _come_into_force(self, behind: Collection[Place]) -> None:
        """Let those of some claims come into force before which dnsdist's entries are gone."""
        if not (over := set(behind) - await self._backend.foreign(behind)):
            return
        await self._backend.look_beneath()
        self._ledger.came_into_force(over, self._clock())

    async def _watch(self) -> NoReturn:
        """Let claims come into force as soon as dnsdist's entries before them are gone."""
        while True:
            await self._waits.wait()
            behind = self._ledger.behind
            if not behind:
                self._waits.clear()
                continue
            begun = time.monotonic()
            with contextlib.suppress(XdpctlError):  # the next look tells
                if await self._backend.gone(behind):
                    await self._come_into_force(behind)
            took = time.monotonic() - begun
            await asyncio.sleep(min(max(WATCH_SECONDS, took / WATCH_SHARE), COUNT_SECONDS))


def _all_of(parts: Iterable[Wishes]) -> Wishes:
    """Return the wishes of all parts; of one place the last."""
    return {place: wish for part in parts for place, wish in part.items()}


def _unreported(blocks: BlockList) -> list[Place]:
    """Return the places of addresses that may be in a map, as dnsdist does not say if they are."""
    return [
        block.place
        for block in blocks.blocks.values()
        if block.kind is BlockKind.ADDRESS and not block.reported and block.place is not None
    ]


def _newer(former: Wish | None, wish: Wish | None) -> Wish | None:
    """Return what is wanted after both wishes: what was to be made is to be made yet."""
    if wish is None or former is None or former.prolongs:
        return wish
    return wish._replace(prolongs=False)


_MISSED = {
    BlockKind.OTHER_ACTION: "with another action than Drop and Truncate",
    BlockKind.PORTS: "of single ports",
    BlockKind.ROOT: "of the root",
    BlockKind.GUARDED: "that the guard refuses",
    BlockKind.UNREADABLE: "that cannot be read",
    BlockKind.TOO_MANY: f"beyond {BLOCKS_MAX:,}",
}
