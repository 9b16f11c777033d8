"""Rules over maps: add, change, remove, list, and whose an entry is.

The maps are the truth for what is blocked; the state (state.py) holds notes about
the entries that we wrote. An entry without a valid note is dnsdist's: it is shown,
never changed. The five maps are shared with dnsdist; zones, and all that lists claim, are in
tables of our own (tables/). A target may have a rule in the operator's book and one in the
lists'. Each origin has its own claim on a target; claims.py decides which is in force.

Every method blocks, and may be called from several threads: a write waits for the step that
another thread is at. Owns the lock that writes take. Does not own notes (state.py) or maps
(kernel/bpf/maps.py). Called by service/.
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import RULE_MAPS, RULE_PLACES, TABLES, Book, RuleAction
from xdpctl.errors import (
    KernelError,
    MapFrozenError,
    NotFoundError,
    TableFullError,
    TargetError,
    XdpctlError,
)
from xdpctl.process.clock import boot_clock
from xdpctl.process.threads import TurnLock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    Rule,
    Zone,
    qtype_of,
    qtype_text,
    target_of,
    target_text,
)
from xdpctl.rules.keys import book_of, map_of
from xdpctl.rules.rules import ClaimClass, class_of
from xdpctl.store import overlap
from xdpctl.store.bulk import CONTESTED_STEP, Bulk
from xdpctl.store.claims import Claims, rank
from xdpctl.store.dynamic import DynamicClaims
from xdpctl.store.entries import NOTES_AT_ONCE, Entries, foreign, places_at, places_of
from xdpctl.store.export import Export, ExportInProcess, lines_of
from xdpctl.store.implied import Implied
from xdpctl.store.pages import Pages
from xdpctl.store.reconcile import Reconciler
from xdpctl.store.source import RuleSource
from xdpctl.store.standing import Standings
from xdpctl.store.state import Note, place_in_order
from xdpctl.store.tables.table import KEYS_AT_ONCE
from xdpctl.store.tables.tables import Tables
from xdpctl.store.tables.turn import MarkedTurn
from xdpctl.store.theirs import TheirEntries
from xdpctl.store.top import MostHit
from xdpctl.store.wildcards import Wildcards

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import TypeAlias

    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.claims import Make, Outcome
    from xdpctl.store.entries import Entry, Place, Slot
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import State
    from xdpctl.store.tables.table import RuleTable
    from xdpctl.store.tally import Tally
    from xdpctl.store.worker.parent import BulkInWorker

    Claimed: TypeAlias = tuple[Target, str]
    """Target and origin: what has at most one claim."""

_END = object()

WORKER_BYTES = 2**20
"""A list of at least this many bytes has a process of its own."""

WORKER_NOTES = 30_000
"""With more rules than this, every list and export has: it reads all of them."""

PARTIAL_BYTES = 2**17
"""A part of a list that weighs no more is not worth a process, which takes 0.3 s to begin: some
2,000 records are done in half of that."""

SMALL_BYTES = 4_096
"""A list of at most so many bytes, of which nothing is removed, reads only what it concerns."""


_THEIRS = (
    "change it there (rmDynBlock, unblock), or remove it with `xdpctl unblock --force TARGET`"
    " before you add your own"
)


def listing_of(claims: Sequence[Note]) -> str:
    """Return who has these claims, as the start of a sentence: "list:a and app:jail have"."""
    names = list(dict.fromkeys(claim.origin for claim in claims))
    if len(names) == 1:
        return f"{names[0]} has"
    return f"{', '.join(names[:-1])} and {names[-1]} have"


def _is_of(claim: Note, origin: str | None) -> bool:
    if origin is None:
        return class_of(claim.origin) is ClaimClass.OPERATOR
    return claim.origin == origin


@dataclass(frozen=True, slots=True)
class Said:
    """What came of one rule that was asked for.

    Attributes:
        target: of the rule.
        former: the claim that its origin had on the target before, or None.
        claim: the claim that it has now.
        displaced: another origin's claim that was in force until now, or None.
        in_force: the claim that is in force now, or the action of dnsdist's entry.
    """

    target: Target
    former: Note | None
    claim: Note
    displaced: Note | None
    in_force: Note | RuleAction

    @property
    def is_in_force(self) -> bool:
        """Whether the claim is the one in force."""
        return isinstance(self.in_force, Note) and self.in_force.origin == self.claim.origin


@dataclass(frozen=True, slots=True)
class PutResult:
    """What `Store.put` did: how many claims were made, how many changed, and each of them."""

    created: int
    updated: int
    warnings: tuple[str, ...] = ()
    rules: tuple[Said, ...] = ()


@dataclass(frozen=True, slots=True)
class StillClaimed:
    """Who still has a claim on a target from which one was removed.

    Attributes:
        target: the target.
        dnsdist: dnsdist's entry, which is in force then, or None.
        claims: the first is in force, unless dnsdist has an entry.
    """

    target: Target
    dnsdist: RuleAction | None
    claims: tuple[Note, ...]


@dataclass(frozen=True, slots=True)
class RemoveResult:
    """What `Store.remove` did: the claims that it ended, and who still has one."""

    ended: tuple[Note, ...]
    left: tuple[StillClaimed, ...] = ()

    @property
    def removed(self) -> int:
        """How many claims it ended."""
        return len(self.ended)


class Store:
    """The rule maps with the notes about them.

    Args:
        maps: the five shared rule maps, open; owned by the caller.
        state: the notes, open; owned by the caller.
        any_qtype: how a name without a type is written (PACKETS.md).
        tables: our own tables.
        reserve: is given how many entries more each of our own tables is to have, and makes
            room for them; called without the lock, on the thread that writes.
        on_change: called with (map, difference of entries) after each own write.
        entries: gives how many entries a shared map is likely to have; None: nobody knows.
        clock: seconds since the epoch.
        worker: whether long work may have a process of its own; the maps are the kernel's.
    """

    def __init__(  # noqa: PLR0913 - both sides, the clocks
        self,
        maps: Mapping[MapName, Map],
        state: State,
        any_qtype: AnyQtype,
        *,
        tables: Tables | None = None,
        reserve: Callable[[Mapping[MapName, int]], None] = lambda _more: None,
        on_change: Callable[[MapName, int], None] = lambda _map, _difference: None,
        entries: Callable[[MapName], int | None] = lambda _map: None,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_clock,
        worker: bool = False,
    ) -> None:
        self.tables = tables or Tables(state)
        self._shared = maps
        self._maps: dict[MapName, RuleMap] = {**maps, **self.tables.maps}
        self._state = state
        self.any_qtype = any_qtype
        self._reserve = reserve
        self._on_change = on_change
        self._entries = entries
        self._clock = clock
        self._boot = boot
        self._lock = TurnLock()
        self._turn = MarkedTurn(self._lock, self.tables)
        self._cancelled = threading.Event()
        self._may_use_worker = worker
        self.listing = Entries(self._maps, state)
        self.pages = Pages(self.listing, maps)
        self.standings = Standings(self.listing, lambda: self.any_qtype)
        self.most_hit = MostHit(self.listing)
        self._claims = Claims(
            self._maps,
            state,
            on_change=on_change,
            clock=clock,
            boot=boot,
            any_qtype=lambda: self.any_qtype,
        )
        self._implied = Implied(state, self._claims)
        self._reconciler = Reconciler(
            maps,
            state,
            self.tables,
            self.listing,
            self._claims,
            on_change=on_change,
            wall=clock,
            boot=boot,
        )
        self.theirs = TheirEntries(
            self.listing, self.alone, any_qtype=lambda: self.any_qtype, on_change=on_change
        )
        self.dynamic = DynamicClaims(
            self.listing, self._claims, self.tables, self.alone, clock=clock, boot=boot
        )
        self._wildcards = Wildcards(
            maps, state, self.listing, self._reconciler, self._claims, on_change
        )

    # --- keeping ------------------------------------------------------------------

    def reconcile(self, tally: Tally | None = None) -> None:
        """Make notes and maps agree, once, before the filter is attached.

        `tally` gets the rules whose time was over.
        """
        with self._lock:
            self._reconciler.reconcile(tally)
        self._make_implied_good()

    def expect(self, name: MapName, number: int) -> None:
        """Take a map with this id for ours, with our entries in it; the caller has the lock."""
        self._reconciler.expect(name, number)

    def settle(self) -> None:
        """Forget notes whose entry vanished or became another's; keep the counters."""
        for _ in self.settling():
            pass

    def settling(self) -> Iterator[None]:
        """Settle in steps of some milliseconds, between which others get their turn."""
        return self.in_steps(self._reconciler.settle())

    def in_steps(self, steps: Iterator[None]) -> Iterator[None]:
        """Take steps that need the maps for themselves, others between two of them."""
        more = True
        while more:
            with self.alone():
                more = next(steps, _END) is not _END
            yield

    def look_beneath(self) -> int:
        """Let claims come into force where dnsdist's entry is gone; return how many.

        Looks only at places where claims wait for that.
        """
        total = 0
        after: tuple[int, bytes] | None = (0, b"")
        while after is not None:
            with self._lock:
                after, count = self._claims.look_beneath(after)
            total += count
        return total

    def alone(self) -> AbstractContextManager[None]:
        """Return what keeps others from writing for the time of a block; blocks until its turn."""
        return self._lock

    def expire(self, tally: Tally | None = None) -> Counter[MapName]:
        """Remove some of our entries whose time is over; return how many of each map.

        `tally` gets what was removed. `next_expiry` is 0 while more are due.
        """
        concerned = began = False
        try:
            with self._lock:
                due = self._reconciler.due()
                concerned = due.has_list_names and self._implied.exist()
                began = concerned and self._implied.list_changes()
                return self._reconciler.expire(due, tally)
        finally:
            self._lists_changed(concerned=concerned, began=began)

    @property
    def lost(self) -> tuple[str, ...]:
        """A sentence for each map that was replaced by one without room for our rules."""
        return tuple(self._reconciler.lost.values())

    def next_expiry(self) -> float | None:
        """Return in how many seconds the next rule expires; None: never."""
        with self._lock:
            return self._reconciler.next_expiry()

    def prepare_for(self, any_qtype: AnyQtype) -> None:
        """Write our names as the program of this mode looks them up, before it is attached.

        Raises:
            KernelError: the map is full; nothing that the former program finds is gone.
        """
        with self._lock:
            self._wildcards.prepare(any_qtype)

    def adopt(self, any_qtype: AnyQtype) -> None:
        """Use this mode, whose program is attached: remove what only the former program found."""
        with self._lock:
            self.any_qtype = any_qtype
            self._wildcards.finish(any_qtype)

    # --- changing -----------------------------------------------------------------

    def put(self, rules: Sequence[Rule], *, waits: bool = True, beneath: bool = False) -> PutResult:
        """Make or update claims; an updated one that is in force keeps its counter.

        The hits of the microseconds between reading and writing an updated entry of a shared
        map may be lost: the kernel cannot change an action in place.

        Args:
            rules: what is made.
            waits: where our own tables lack room, it is made, and this blocks until then.
            beneath: a claim on what is dnsdist's waits until its entry is gone.

        Raises:
            ConflictError: an entry is dnsdist's, without `beneath`; nothing was changed.
            TargetError: two rules of the request contradict each other.
            TableFullError: our own tables lack room, without `waits`.
            MapFullError: a map has no room; nothing was changed.
            KernelError: a map refused; `done` of the rules are in force, 0 as a rule.
        """
        asked: dict[Claimed, Rule] = {}
        for rule in rules:
            claimed = rule.target, rule.origin
            if asked.setdefault(claimed, rule).action != rule.action:
                text = target_text(rule.target)
                raise TargetError(
                    f"{text} is given twice with different actions; choose one", text=text
                )
            asked[claimed] = rule
        needed = self.needs(rules)
        if waits and self.tables.lacks(needed):
            self._reserve(needed)
        is_lists = any(book_of(rule.origin) is Book.LISTS for rule in rules)
        with self._changing_lists(concerned=is_lists), self._lock:
            if self.tables.lacks(needed):  # others took the room
                raise TableFullError(next(iter(needed)), self.tables.capacity(next(iter(needed))))
            said = self._put(asked, beneath=beneath)
        warnings = tuple(overlap.warnings(self.listing, asked.values(), self.any_qtype))
        created = sum(one.former is None for one in said)
        return PutResult(created, len(asked) - created, warnings, said)

    def needs(self, rules: Iterable[Rule]) -> dict[MapName, int]:
        """Return for how many entries of our own tables these rules may need room."""
        names = (map_of(rule.target, book_of(rule.origin)) for rule in rules)
        return Counter(name for name in names if name in TABLES)

    def _put(self, asked: Mapping[Claimed, Rule], *, beneath: bool) -> tuple[Said, ...]:
        """Change claims and what is in force; return what came of each rule."""
        where: dict[Claimed, Place] = {}
        wanted: dict[Place, dict[str, Make | None]] = {}
        for (claimed, rule), slots in zip(
            asked.items(), self._slots_of(asked, beneath=beneath), strict=True
        ):
            ours = next((slot for slot in slots if slot.is_ours), slots[0])
            where[claimed] = place = ours.map, ours.key
            wanted.setdefault(place, {})[rule.origin] = self._maker(rule, place)
        with self.tables.writing({name for name, _ in wanted}):
            outcomes, refused = self._settled(wanted, strict=not beneath)
        if refused is not None:
            raise refused
        others = self._in_other_book(asked)
        return tuple(
            self._said(rule, outcomes[where[claimed]], others[claimed])
            for claimed, rule in asked.items()
        )

    def _settled(
        self, wanted: Mapping[Place, Mapping[str, Make | None]], *, strict: bool
    ) -> tuple[dict[Place, Outcome], XdpctlError | None]:
        """Return what was decided by place, or why a place was refused."""
        try:
            found = self._claims.settle(wanted, strict=strict, whole=True)
        except KernelError as error:
            theirs = self._claims.foreign(list(wanted)) if error.errno == errno.EEXIST else []
            if not theirs:
                return {}, error
            conflict = self._foreign_at(theirs[0])  # written since we looked
            conflict.__cause__ = error
            return {}, conflict
        foreigners = [outcome.place for outcome in found if outcome.foreign] if strict else []
        refused = self._foreign_at(foreigners[0]) if foreigners else None
        return {outcome.place: outcome for outcome in found}, refused

    def _foreign_at(self, place: Place) -> XdpctlError:
        return foreign(target_of(*place, self.any_qtype), _THEIRS)

    def _maker(self, rule: Rule, place: Place) -> Make:
        """Return what makes a rule's claim of the one that its origin had."""

        def make(former: Note | None) -> Note:
            end = None if rule.expires_in is None else self._boot() + rule.expires_in
            return Note(
                *place,
                rule.action,
                rule.origin,
                former.reason if former is not None and rule.keeps_reason else rule.reason,
                former.created if former is not None else self._clock(),
                former.expires if former is not None and rule.keeps_end else end,
                hits=0,
            )

        return make

    def _said(self, rule: Rule, outcome: Outcome, others: Sequence[Slot]) -> Said:
        """Return what came of a rule.

        Args:
            rule: that was asked for.
            outcome: what was decided about its place.
            others: the slots of its target in the other book.
        """
        (claim,) = (each for each in outcome.claims if each.origin == rule.origin)
        former = next((each for each in outcome.former if each.origin == rule.origin), None)
        in_force: Note | RuleAction = outcome.after or RuleAction.DROP
        displaced = outcome.before
        there = [slot for slot in others if slot.value is not None]
        if outcome.foreign:
            theirs, _ = self.claims_on(rule.target)
            in_force = in_force if theirs is None else theirs
        elif there and book_of(rule.origin) is Book.OPERATOR:
            displaced = displaced or there[0].note
        elif there and there[0].value is not None:  # a list's claim, behind an operator's
            note = there[0].note if there[0].is_ours else None
            in_force = note or there[0].value.action
        is_in_force = isinstance(in_force, Note) and in_force.origin == rule.origin
        if displaced is not None and (not is_in_force or displaced.origin == rule.origin):
            displaced = None
        return Said(rule.target, former, claim, displaced, in_force)

    def _in_other_book(self, asked: Iterable[Claimed]) -> dict[Claimed, list[Slot]]:
        """Return what the other book has about each target."""
        places: dict[Claimed, list[Place]] = {}
        for target, origin in asked:
            book = Book.LISTS if book_of(origin) is Book.OPERATOR else Book.OPERATOR
            is_empty = self._maps[map_of(target, book)].is_empty()
            places[target, origin] = [] if is_empty else places_at(target, self.any_qtype, book)
        slots = self.listing.slots(place for each in places.values() for place in each)
        return {claimed: [slots[place] for place in each] for claimed, each in places.items()}

    def remove(self, targets: Iterable[Target], origin: str | None = None) -> RemoveResult:
        """End the operator's claims on targets, or another origin's.

        Args:
            targets: all of them, or none where one is refused.
            origin: whose claims end; None: those of the operator (cli, api, file:NAME).

        Raises:
            NotFoundError: one target has no such claim; nothing was removed.
            ConflictError: dnsdist alone has an entry there; nothing was removed.
        """
        is_list = origin is not None and book_of(origin) is Book.LISTS
        with self._changing_lists(concerned=is_list), self._lock:
            return self._remove(list(dict.fromkeys(targets)), origin)

    @contextlib.contextmanager
    def _changing_lists(self, *, concerned: bool) -> Iterator[None]:
        """Change rules of lists, if `concerned`; then implied rules are looked at again."""
        began = concerned and self._implied.list_changes()
        try:
            yield
        finally:
            self._lists_changed(concerned=concerned, began=began)

    def _lists_changed(self, *, concerned: bool, began: bool) -> None:
        """Look at implied rules again, if `concerned`; `began`: the state says that it is due."""
        if concerned and self.tables.current is not None:  # else when there are tables
            self._look_at_implied()
            if began:
                self._implied.looked_at()

    def _look_at_implied(self) -> None:
        """Give implied rules of lists the action that they have after a list has changed."""
        after: bytes | None = b""
        while after is not None:
            with self._turn:
                after = self._implied.look_again(after)

    def _make_implied_good(self) -> None:
        """Look at implied rules again if a change of a list was cut short."""
        if self.tables.current is not None and self._implied.is_stale():
            self._look_at_implied()
            self._implied.looked_at()

    def _remove(self, wanted: list[Target], origin: str | None) -> RemoveResult:
        ending: dict[Place, dict[str, Make | None]] = {}
        ended: dict[tuple[Place, str], Note] = {}
        standing = {target: self.claims_on(target) for target in wanted}
        for target, (dnsdist, found) in standing.items():
            its = [claim for claim in found if _is_of(claim, origin)]
            if not its:
                places_of(target, self.any_qtype, book_of(origin or "cli"))  # it may not be one
                raise self._not_there(target, origin, dnsdist, found)
            for claim in its:
                place = claim.map, claim.key
                ended[place, claim.origin] = claim
                ending.setdefault(place, {})[claim.origin] = None
        with self.tables.writing({name for name, _ in ending}):
            self._claims.settle(ending)
        left = []
        for target in wanted:
            dnsdist, found = self.claims_on(target)
            if dnsdist is not None or found:
                left.append(StillClaimed(target, dnsdist, tuple(found)))
        return RemoveResult(tuple(ended.values()), tuple(left))

    def claims_on(self, target: Target) -> tuple[RuleAction | None, list[Note]]:
        """Return dnsdist's action on a target, if any, and all claims, the one in force first."""
        dnsdist: RuleAction | None = None
        found: list[Note] = []
        for book in Book:
            places = places_at(target, self.any_qtype, book)
            slots = self.listing.slots(places)
            waiting = self._claims.waiting_at(places)
            for place in places:
                slot = slots[place]
                if slot.value is not None and not slot.is_ours:
                    dnsdist = slot.value.action
                note = slot.note if slot.value is not None or place[0] in TABLES else None
                here = None if note is None else note.origin
                found += [] if note is None else [note]
                waits = [claim for claim in waiting.get(place, ()) if claim.origin != here]
                found += sorted(waits, key=rank)
        return dnsdist, found

    def _not_there(
        self,
        target: Target,
        origin: str | None,
        dnsdist: RuleAction | None,
        found: Sequence[Note],
    ) -> XdpctlError:
        """Return the error of a target on which nobody has the claim that is to end."""
        text = target_text(target)
        if dnsdist is not None and origin is None:
            return foreign(target, _THEIRS)
        typed = text
        if isinstance(target, Question | Zone):
            qtype = qtype_of(target)
            typed += f" (type {qtype_text(qtype)})" if qtype is not None else " (every type)"
        others = listing_of(found) if found else ("dnsdist has" if dnsdist is not None else "")
        if not others:
            return NotFoundError(
                f"there is no rule for {typed}, nothing was removed: `xdpctl list {text}"
                " --contains` shows what there is"
            )
        whose = "the operator's (cli, api, file:NAME)" if origin is None else f"of origin {origin}"
        first = found[0].origin if found else ""
        helps = (
            f"`xdpctl allow {text}` lets it pass, `xdpctl unblock {text} --origin {first}` ends"
            " that claim"
            if origin is None
            else "see `xdpctl list --all-claims`"
        )
        return NotFoundError(
            f"there is no rule for {typed} that is {whose}, but {others} one: {helps}"
        )

    def _slots_of(self, claimed: Iterable[Claimed], *, beneath: bool) -> Iterator[list[Slot]]:
        """Yield for each claim the slots that it may have, the one we write first.

        A name without a type has two: dnsdist up to 1.9 writes another wildcard
        type than we do, and so do we under another --any-qtype.

        Raises:
            ConflictError: an entry for a target is dnsdist's, without `beneath`.
        """
        places = {each: places_of(each[0], self.any_qtype, book_of(each[1])) for each in claimed}
        slots = self.listing.slots(place for each in places.values() for place in each)
        for each, there in places.items():
            found = [slots[place] for place in there]
            if not beneath and any(slot.value is not None and not slot.is_ours for slot in found):
                raise foreign(each[0], _THEIRS)
            yield found

    def flush(
        self,
        map_name: MapName | None,
        origin: str | None,
        tally: Tally | None = None,
        on_step: Callable[[int], None] = lambda _so_far: None,
    ) -> int:
        """Remove the rules of one origin, or all our own; return how many entries went.

        Args:
            map_name: only this map's.
            origin: `dnsdist` removes what we did not write, which a running dnsdist
                does not notice (DNSDIST.md); None: all our own. What other origins claim comes
                into force at once.
            tally: gets what was removed, except what dnsdist wrote and what went with a whole
                table of ours.
            on_step: called now and then with how many went so far.
        """
        names = RULE_PLACES if map_name is None else (map_name,)
        if origin == DNSDIST_ORIGIN:
            flushed = sum(self._flush_foreign(name) for name in names if name in RULE_MAPS)
            self.look_beneath()
            return flushed
        removed = 0
        frozen: MapFrozenError | None = None
        is_list = origin is not None and book_of(origin) is Book.LISTS
        with self._changing_lists(concerned=is_list):
            for name in names:
                try:
                    for count in self._flush(name, origin, tally):
                        removed += count
                        on_step(removed)
                except MapFrozenError as error:  # the others are flushed anyway
                    frozen = frozen or error
        if frozen is not None:
            frozen.done = removed
            raise frozen
        return removed

    def _flush(self, name: MapName, origin: str | None, tally: Tally | None) -> Iterator[int]:
        """Remove rules step by step; yield how many went with each."""
        with self._lock:
            ended = self._state.end_waiting(name, origin)
        yield ended
        if origin is None and (table := self.tables.maps.get(name)) is not None:
            yield from self._flush_table(table)
            return
        after: bytes | None = b""
        while after is not None:
            with self._lock:
                notes, after = self._some_notes(name, after, origin)
                removed = self._reconciler.remove(notes, tally).total()
            yield removed

    def _flush_table(self, table: RuleTable) -> Iterator[int]:
        """Remove all that is in one of our own tables; by the million, so without notes."""
        while True:
            with self.alone():
                stored = self._state.keys(table.name, b"", KEYS_AT_ONCE)
                if not stored:
                    return
                with self.tables.writing((table.name,)):
                    removed = table.remove(stored)
                    self._on_change(table.name, -removed)
                    self._state.forget_keys(table.name, stored)
            yield removed

    def _some_notes(
        self, name: MapName, after: bytes, origin: str | None
    ) -> tuple[list[Note], bytes | None]:
        if origin is not None:
            few = CONTESTED_STEP if self._state.has_waiting() else NOTES_AT_ONCE
            return self._state.page_of(origin, name, after, few)
        notes = self._state.page(name, after, NOTES_AT_ONCE)
        return notes, place_in_order(notes[-1]) if notes else None

    def _flush_foreign(self, name: MapName) -> int:
        theirs = [entry.key for entry in self.listing.entries(name, DNSDIST_ORIGIN)]
        removed = self._maps[name].delete_batch(b"".join(theirs)) if theirs else 0
        self._on_change(name, -removed)
        return removed

    def bulk(
        self, change: Change, on_step: Callable[[BulkResult], None] = lambda _so_far: None
    ) -> BulkResult:
        """Merge rules into an origin's, or make its rules exactly these (bulk.py).

        What is long, or joins so many, is worked on in a process of its own (store/worker/).
        `on_step` is called after each step, and where the work is cut short, with what was done.
        """
        try:
            return self._bulk(change, on_step)
        finally:
            if not self._cancelled.is_set():  # else the next start does it
                self._make_implied_good()

    def _bulk(self, change: Change, on_step: Callable[[BulkResult], None]) -> BulkResult:
        source = change.source
        if isinstance(source, RuleSource) and self._needs_worker(change, source):
            return self._worker().bulk(
                change,
                source,
                on_change=self._on_change,
                on_step=on_step,
                free=self._free(),
                cancelled=self._cancelled,
            )
        work = Bulk(
            self._maps,
            self._state.path,
            self._turn,
            change,
            reserve=self._reserve,
            on_change=self._on_change,
            on_step=on_step,
            free=self._free(),
            clock=self._clock,
            boot=self._boot,
            cancelled=self._cancelled,
        )
        try:
            return work.run()
        except XdpctlError:
            on_step(work.result)
            raise

    def _free(self) -> dict[MapName, int]:
        """Return for how many entries the shared maps are likely to have room, where known."""
        return {
            name: opened.info.max_entries - entries
            for name, opened in self._shared.items()
            if (entries := self._entries(name)) is not None
        }

    def _needs_worker(self, change: Change, source: RuleSource) -> bool:
        weight = source.weight
        if source.is_partial:
            return self._may_use_worker and weight > PARTIAL_BYTES
        is_small = weight <= SMALL_BYTES and not change.replace
        return not is_small and self._is_much(weight)

    def _is_much(self, size: int = 0) -> bool:
        return self._may_use_worker and (
            size >= WORKER_BYTES or self._state.has_more_than(WORKER_NOTES)
        )

    def _worker(self) -> BulkInWorker:
        from xdpctl.store.worker.parent import BulkInWorker  # noqa: PLC0415 - not for the start

        return BulkInWorker(
            self._shared, self.tables, self._state.path, self._turn, reserve=self._reserve
        )

    def cancel(self) -> None:
        """End what `bulk` is working on at its next chunk, as the service stops. Any thread."""
        self._cancelled.set()

    # --- looking ------------------------------------------------------------------

    def export(self, *, everything: bool) -> Export:
        """Begin to write our rules as lines, with `everything` dnsdist's too. Blocks."""
        if self._is_much():
            return self._worker().export(self.any_qtype, everything=everything)
        return ExportInProcess(lines_of(self.listing, self.any_qtype, everything=everything))

    def entries(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of one map or all, of one origin or all, each once."""
        return self.listing.entries(map_name, origin)
