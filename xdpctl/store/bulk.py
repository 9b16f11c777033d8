"""Applies a change of many rules: merges it into an origin's rules, or replaces them.

Works by difference: entries in both lists are left alone, so they keep their counters
and are never absent. Notes are written before the map, chunk by chunk, so that a crash
at any point leaves nothing that a later start cannot put right. Maps are written with
the kernel's batch operations; what dnsdist wrote is looked for before and left alone. In our
own tables nothing is dnsdist's, and room for new entries is made before the first is written.
What other origins claim too, or dnsdist has, is decided row by row (claims.py).
Everything blocks; single rules are written between chunks. Small changes run on a thread of
their own, large ones in a process of their own (store/worker/).
"""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, islice
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from xdpctl import abi
from xdpctl.abi import BY_REF, TABLES, Book, MapName, RuleAction, RuleValue
from xdpctl.errors import (
    ConflictError,
    EmptyListError,
    GuardError,
    KernelError,
    ShrunkListError,
    TableFullError,
    TargetError,
    XdpctlError,
    no_room,
)
from xdpctl.process.clock import boot_clock
from xdpctl.rules import DNSDIST_ORIGIN, AnyQtype, book_of, target_of
from xdpctl.rules.keys import QNAMES_REF, REFS, full_key, stored_key
from xdpctl.rules.reach import NO_REACH, Reach, ReachMeter, refuse_wide
from xdpctl.store.claims import Claims
from xdpctl.store.difference import Difference, Staging
from xdpctl.store.entries import Entries, foreign, goes_on, places_of, read_stored, read_values
from xdpctl.store.implied import Implied
from xdpctl.store.source import RuleSource
from xdpctl.store.state import Note, State
from xdpctl.store.tables.table import RuleTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from xdpctl.rules.keys import Options
    from xdpctl.store.change import Change
    from xdpctl.store.claims import Make, Outcome, Wanted
    from xdpctl.store.entries import Place
    from xdpctl.store.fresh import Fresh
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.sorting import SortedKeys, Sorter

STEP = 4_000
"""Entries of one chunk: other writers wait about 20 ms for it."""

SHADOWS_MAX = 10_000
"""Entries of dnsdist's for which it is looked whether a list claims them: a tenth of a second."""

CONTESTED_STEP = 1_000
"""Entries of a chunk where other claims may wait: about as long."""

WALK_MAX = 200_000
"""A map with at most this many entries is read whole to find dnsdist's."""

LOOK_UP_MAX = 1_000
"""With at most so many notes in a shared map, each entry is looked up instead."""

FREE_MIN = 1_000
"""A map that is likely to have room for so many more than twice what a list adds is not counted."""

WALK_MIN = 5_000
"""With fewer new entries, each one is looked up instead."""

_SHORT = 4
_NO: Options = (0, "", None, "")
"""The options of keys that are of no list."""

_FIRST_TABLE = min(spec.ref for spec in TABLES.values())


@dataclass(slots=True)
class BulkResult:
    """What a bulk operation did, in entries.

    Attributes:
        theirs: claims that wait because dnsdist has an entry.
        others: claims that wait because another origin's is in force.
        shadowed: a list's claims on what dnsdist has an entry for; they are in the lists' book,
            and counted as what was done to them there, too.
        guarded: left out because of the guard; `first_guarded` is the first, and why.
        removed_hits: how often what was removed had been hit.
        ends_removed: claims that had an end and have none now.
        reach: how much the prefixes of a list that was replaced cover, at most.
    """

    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    theirs: int = 0
    others: int = 0
    shadowed: int = 0
    guarded: int = 0
    first_guarded: str = ""
    removed_hits: int = 0
    ends_removed: int = 0
    reach: Reach = NO_REACH


class Cancelled(Protocol):
    """The part of threading.Event that is used."""

    def is_set(self) -> bool:
        """Whether the operation must end at its next chunk."""


@dataclass(slots=True)
class Bulk:
    """One bulk operation.

    Args:
        maps: the maps of rules, open.
        path: the state file.
        lock: held for each chunk; single writes hold it too.
        change: what is asked for.
        reserve: see `Store`.
        on_change: called with (map, difference of entries).
        on_step: called after each chunk with what was done so far.
        free: for how many entries the shared maps are likely to have room.
        cancelled: set to end the operation at its next chunk.
    """

    maps: Mapping[MapName, RuleMap]
    path: Path
    lock: AbstractContextManager[object]
    change: Change
    reserve: Callable[[Mapping[MapName, int]], None] = lambda _more: None
    on_change: Callable[[MapName, int], None] = lambda _map, _difference: None
    on_step: Callable[[BulkResult], None] = lambda _so_far: None
    free: Mapping[MapName, int] = field(default_factory=dict)
    clock: Callable[[], float] = time.time
    boot: Callable[[], float] = boot_clock
    cancelled: Cancelled = field(default_factory=threading.Event)
    result: BulkResult = field(default_factory=BulkResult)
    _state: State = field(init=False)
    _claims: Claims = field(init=False)
    _there: dict[MapName, Sorter] = field(default_factory=dict)
    _seen: dict[tuple[MapName, str], list[SortedKeys]] = field(default_factory=dict)
    _done: int = 0
    _total: int = 0

    def run(self) -> BulkResult:
        """Stage everything, compare, and apply the difference.

        Raises:
            Whatever the change's source raises; everything is as it was then.
            EmptyListError, ShrunkListError, WideListError: the change does not allow it; as above.
            MapFullError: `done` says how many entries went in before; the state is
                consistent and the rest of the list is not in force.
        """
        source, guard, meter = self.change.source, self.change.guard, ReachMeter()
        with (
            State.beside(self.path) as self._state,
            Staging(self.path, self.change, vanished=self._forget_vanished) as staging,
        ):
            self._claims = Claims(
                self.maps,
                self._state,
                on_change=self.on_change,
                clock=self.clock,
                boot=self.boot,
            )
            for part in source:
                if isinstance(source, RuleSource) and source.among is not None:
                    staging.limit_to(source.among)
                passing = part if guard is None else guard.passing(part, self._hold)
                staging.load(meter.passing(passing))
                if isinstance(source, RuleSource):
                    self.change.progress("read", source.position, source.size)
                self._see_cancelled()
            difference = staging.compare()
            self._there.clear()
            self._seen.clear()
            self._see_shrinking(difference)
            self._see_reach(meter.reach)
            if self.change.strict:
                self._refuse_foreign(staging, difference)
            self._refuse_overflow(staging)
            self.result.unchanged = difference.unchanged
            self.result.ends_removed = difference.ends_removed
            implied = Implied(self._state, self._claims)
            was_stale = implied.is_stale()
            is_list = any(book_of(origin) is Book.LISTS for origin in staging.origins)
            follow = was_stale or (is_list and difference.has_changes and implied.exist())
            if follow:
                implied.list_changes()
            try:
                self._apply(staging, difference)
                is_known = not was_stale and len(staging.origins) == 1
                if follow:
                    self._look_at_implied(implied, but=self.change.origin if is_known else "")
                self._count_shadowed()
            except KernelError as error:
                error.done = self.result.created
                raise
        return self.result

    def _see_shrinking(self, difference: Difference) -> None:
        """Refuse a list that has no rule, or far fewer than its origin has now."""
        kept = difference.changed + difference.unchanged + difference.contested
        former, wanted = kept + difference.gone + difference.ended, kept + difference.added
        if not wanted and not self.change.may_be_empty:
            raise EmptyListError("it has no rule")
        share = self.change.max_shrink
        if share is not None and wanted < former * (1 - share):
            rules = "rule" if wanted == 1 else "rules"
            raise ShrunkListError(f"it has {wanted:,} {rules}, and {former:,} are in force")

    def _see_reach(self, reach: Reach) -> None:
        """Refuse a list whose prefixes cover too much, and more than those that it has now."""
        source, before, most = self.change.source, self.change.covered, self.change.cover_max
        if isinstance(source, RuleSource) and source.among is not None:
            reach = reach.beside(before)
        self.result.reach = reach
        if most is not None:
            refuse_wide("its prefixes cover", reach, most.or_more(before))

    def _hold(self, text: str) -> None:
        """Leave a row out, or refuse the change if it is strict."""
        if self.change.strict:
            raise GuardError(f"{text}: nothing was changed; use force=1", text=text)
        self.result.guarded += 1
        self.result.first_guarded = self.result.first_guarded or text

    def _apply(self, staging: Staging, difference: Difference) -> None:
        added = {BY_REF[ref].name: count for ref, count in staging.added_by_map().items()}
        self._make_room(added)
        self._total = difference.gone + difference.ended + difference.changed + difference.added
        self._total += difference.contested
        remove = partial(self._step_through, staging, difference.gone, self._remove)
        change = partial(self._step_through, staging, difference.changed, self._change)
        add = partial(self._add_all, staging)
        moves = not TABLES.keys().isdisjoint(added) and staging.is_gone_below(_FIRST_TABLE)
        # A list's rules of an earlier version are in the shared maps, and blocked all the time.
        # What others claim first: it is to wait before what it waits for goes.
        self._step_through(staging, difference.contested, self._contest_range)
        for step in (change, add, remove) if moves else (remove, change, add):
            step()
        self._step_through(staging, difference.ended, self._end)

    def _look_at_implied(self, implied: Implied, *, but: str) -> None:
        """Give implied rules the action that they have after this change, but for one origin's."""
        after: bytes | None = b""
        while after is not None:
            with self.lock:
                after = implied.look_again(after, but=but)
            self._see_cancelled()
        implied.looked_at()

    def _refuse_overflow(self, staging: Staging) -> None:
        """Refuse a list that does not fit into a shared map, before anything is written."""
        added, gone = staging.added_by_map(), staging.gone_by_map()
        for name in abi.RULE_MAPS:
            ref, opened = REFS[name], self.maps[name]
            wanted = added.get(ref, 0)
            if not wanted or 2 * wanted + FREE_MIN <= self.free.get(name, 0):
                continue
            size = opened.info.key_size
            entries = sum(len(keys) // size for keys, _ in opened.chunks())
            free = opened.info.max_entries - entries + gone.get(ref, 0)
            if wanted > free:
                wanted -= self._count_theirs(staging, ref)
            if wanted > free:
                raise no_room(name, wanted=wanted, free=free, capacity=opened.info.max_entries)

    def _count_theirs(self, staging: Staging, ref: int) -> int:
        """Return how many of a map's new entries are left out, as dnsdist has them."""
        known = self._present(staging)
        return sum(
            len(self._taken((row for row in staging.added(start, end) if row[0] == ref), known))
            for start, end in _ranges(staging.count_added())
        )

    def _make_room(self, added: Mapping[MapName, int]) -> None:
        if needed := {name: count for name, count in added.items() if name in TABLES}:
            self.reserve(needed)

    def _step_through(
        self, staging: Staging, count: int, step: Callable[[Staging, int, int], None]
    ) -> None:
        size = min(STEP, CONTESTED_STEP) if self._state.has_waiting() else STEP
        for start, end in _ranges(count, size):
            with self.lock:
                step(staging, start, end)
            self._step_done(end - start)

    def _add_all(self, staging: Staging) -> None:
        known = self._present(staging)
        for start, end in _ranges(staging.count_added()):
            while not self._is_added(staging, start, end, known):
                pass
            self._step_done(end - start)

    def _is_added(
        self, staging: Staging, start: int, end: int, known: Mapping[MapName, set[int]]
    ) -> bool:
        """Add a chunk; where a table is full, make room and return False."""
        try:
            with self.lock:
                self._add(staging, start, end, known)
        except TableFullError as error:
            self._make_room({MapName(error.map_name): end - start})
            return False
        return True

    def _step_done(self, count: int) -> None:
        self._done += count
        self.on_step(self.result)
        self.change.progress("apply", self._done, max(self._done, self._total))
        self._see_cancelled()

    def _see_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise XdpctlError(
                "the service stops before the list is whole: what was done stays, send the list"
                " again"
            )

    # --- what is there ------------------------------------------------------------

    def _forget_vanished(
        self, staging: Staging, ref: int, stored: list[bytes], which: str
    ) -> list[bytes]:
        """Forget notes whose entry is gone, so that the list's entries are written again."""
        name = BY_REF[ref].name
        if name not in self._there and len(stored) <= LOOK_UP_MAX:
            lost = self._absent(name, stored)
        else:
            lost = self._missing(staging, ref, stored, which)
        if not lost:
            return []
        with self.lock:  # a single rule may have been added since
            lost = self._absent(name, lost)
            staging.forget([(ref, key) for key in lost])
            places = self._claims.waiting_at((name, full_key(ref, key)) for key in lost)
            self._claims.settle_each(list(places))
        self._see_cancelled()
        return lost

    def _missing(self, staging: Staging, ref: int, stored: list[bytes], which: str) -> list[bytes]:
        """Return those of many keys that a map, read whole once, does not have.

        Of one text (`which`) keys come in their order.
        """
        name = BY_REF[ref].name
        if name not in self._there:
            self._there[name] = self._keys_of(staging, name)
        if (name, which) not in self._seen:
            self._seen[name, which] = self._there[name].heads(ref).get("", [])
        there = set[bytes]()
        for keys in self._seen[name, which]:
            keys.take_to(stored[-1], there)
        return [key for key in stored if key not in there]

    def _keys_of(self, staging: Staging, name: MapName) -> Sorter:
        """Return the keys of a map, as stored, to be read in their order."""
        found, opened, ref = staging.sorter(), self.maps[name], REFS[name]
        size = opened.info.key_size
        for keys, _ in opened.chunks():
            each = [keys[at : at + size] for at in range(0, len(keys), size)]
            found.add(
                ref, [stored_key(ref, key) for key in each] if ref == QNAMES_REF else each, _NO
            )
        return found

    def _absent(self, name: MapName, stored: list[bytes]) -> list[bytes]:
        ref = REFS[name]
        values = self.maps[name].lookup_many(b"".join(full_key(ref, key) for key in stored))
        return [key for key, value in zip(stored, values, strict=True) if value is None]

    def _marks_of(self, name: MapName, at_most: int) -> set[int]:
        """Return the marks of a map's keys; only some of them if there are more than `at_most`."""
        opened = self.maps[name]
        found = set[int]()
        for keys, _ in opened.chunks():
            found.update(_marks(keys, opened.info.key_size))
            if len(found) > at_most:
                break
        return found

    def _present(self, staging: Staging) -> dict[MapName, set[int]]:
        """Read shared maps whole where that is cheaper than looking each new entry up."""
        known: dict[MapName, set[int]] = {}
        added = staging.added_by_map()
        for name in abi.RULE_MAPS:
            if added.get(REFS[name], 0) >= WALK_MIN:
                marks = self._marks_of(name, WALK_MAX)
                if len(marks) <= WALK_MAX:
                    known[name] = marks
        return known

    def _refuse_foreign(self, staging: Staging, difference: Difference) -> None:
        known = self._present(staging)
        for start, end in _ranges(difference.added):
            for ref, stored in self._taken(staging.added(start, end), known):
                raise _conflict(ref, stored)
        for start, end in _ranges(difference.changed):
            for (ref, stored, _), _, hits, _ in staging.changed(start, end):
                value = self._value(ref, stored)
                if value is not None and value.hits < hits:
                    raise _conflict(ref, stored)
        for start, end in _ranges(difference.contested):
            rows = staging.contested(start, end)
            for name, key in self._claims.foreign(map(_place_of, rows)):
                raise _conflict(REFS[name], stored_key(REFS[name], key))

    def _taken(
        self,
        rows: Iterable[Fresh],
        known: Mapping[MapName, set[int]],
    ) -> list[tuple[int, bytes]]:
        """Return those new entries that are already in their map: others wrote them."""
        taken: list[tuple[int, bytes]] = []
        for ref, part in groupby(rows, itemgetter(0)):
            name = BY_REF[ref].name
            if name in TABLES:
                continue
            stored = [key for _, key, _ in part]
            if name in known:
                marks = _marks(b"".join(full_key(ref, key) for key in stored), BY_REF[ref].key_size)
                pairs = zip(stored, marks, strict=True)
                stored = [key for key, mark in pairs if mark in known[name]]
            absent = set(self._absent(name, stored))
            taken += [(ref, key) for key in stored if key not in absent]
        return taken

    def _count_shadowed(self) -> None:
        """Count a list's claims that wait for dnsdist, unless dnsdist's entries are very many."""
        if book_of(self.change.origin) is Book.OPERATOR:
            return
        by_map: dict[MapName, set[bytes]] = {}
        for name, key in islice(self._shadowing(), SHADOWS_MAX):
            by_map.setdefault(name, set()).add(key)
        for name, keys in by_map.items():
            notes = self._state.get_many(name, list(keys))
            waiting = self._state.waiting_at(name, list(keys))
            for key in keys:
                claims = [*waiting.get(key, ()), *([notes[key]] if key in notes else ())]
                self.result.shadowed += any(c.origin == self.change.origin for c in claims)

    def _shadowing(self) -> Iterator[Place]:
        """Yield where a list's claims on the targets of dnsdist's entries would be."""
        entries = Entries(self.maps, self._state)
        for name in abi.RULE_MAPS:
            if self._state.has_more_than(SHADOWS_MAX) and self._state.count(name) > SHADOWS_MAX:
                continue  # dnsdist's would be looked for among all of ours
            for entry in entries.entries(name, DNSDIST_ORIGIN):
                with contextlib.suppress(TargetError):
                    target = target_of(name, entry.key, AnyQtype.BOTH)
                    yield from places_of(target, AnyQtype.BOTH, Book.LISTS)

    # --- what is done -------------------------------------------------------------

    def _remove(self, staging: Staging, start: int, end: int) -> None:
        """Remove entries that are still ours, then their notes."""
        rows = staging.gone(start, end)
        self._end_claims((ref, key) for ref, key, _, contested in rows if contested)
        rows = [row for row in rows if not row[3]]
        for ref, part in groupby(rows, itemgetter(0)):
            opened = self.maps[BY_REF[ref].name]
            if isinstance(opened, RuleTable):
                keys = [key for _, key, *_ in part]
                self._count_hits(read_stored(opened, ref, keys))
                self._count_removed(opened, opened.remove(keys))
                continue
            gone = [(full_key(ref, stored), hits) for _, stored, hits, _ in part]
            values = read_values(opened, (key for key, _ in gone))
            ours = [
                key for (key, hits), value in zip(gone, values, strict=True) if goes_on(value, hits)
            ]
            self._count_hits(
                value for (_, hits), value in zip(gone, values, strict=True) if goes_on(value, hits)
            )
            self._count_removed(opened, opened.delete_batch(b"".join(ours)) if ours else 0)
        staging.forget([(ref, key) for ref, key, *_ in rows])

    def _end(self, staging: Staging, start: int, end: int) -> None:
        """End claims that waited, where they may be in force by now."""
        self._end_claims(staging.ended(start, end))

    def _end_claims(self, rows: Iterable[tuple[int, bytes]]) -> None:
        """End claims of the origin where others have one; the next one comes into force."""
        places = [(BY_REF[ref].name, full_key(ref, key)) for ref, key in rows]
        for outcome in self._claims.end(places, self.change.origin):
            self.result.removed += any(
                claim.origin == self.change.origin for claim in outcome.former
            )

    def _count_hits(self, values: Iterable[RuleValue | None]) -> None:
        self.result.removed_hits += sum(value.hits for value in values if value is not None)

    def _count_removed(self, opened: RuleMap, removed: int) -> None:
        self.on_change(MapName(opened.label), -removed)
        self.result.removed += removed

    def _change(self, staging: Staging, start: int, end: int) -> None:
        """Write notes, then entries whose action changes; each keeps its counter."""
        rows = staging.changed(start, end)
        acting = [row for row in rows if row[3] and row[0][2][0] != row[1]]
        lost = [row for row in acting if row[0][0] < _FIRST_TABLE and not self._is_ours(row)]
        others = [row[0] for row in rows if not row[3] or row in lost]
        self._contest(others)
        staging.note_changed(start, end)
        acting = [row for row in acting if row not in lost]
        done = 0
        try:
            for ref, part in groupby(acting, lambda row: row[0][0]):
                chosen = [(fresh[1], fresh[2][0]) for fresh, *_ in part]
                done = self._set_actions(ref, chosen, done)
        except KernelError as error:
            staging.note_actions((row[1], *row[0][:2]) for row in acting[error.done :])
            raise
        self.result.updated += len(rows) - len(others)

    def _set_actions(self, ref: int, chosen: list[tuple[bytes, int]], done: int) -> int:
        """Give entries of one map another action; return `done` and how many these are.

        Raises:
            KernelError: with `done`, which counts those that have it.
        """
        opened = self.maps[BY_REF[ref].name]
        try:
            if isinstance(opened, RuleTable):
                opened.put([stored for stored, _ in chosen], [action for _, action in chosen])
                return done + len(chosen)
            for stored, action in chosen:
                value = self._value(ref, stored)
                hits = 0 if value is None else value.hits
                opened.update(full_key(ref, stored), abi.encode_value(RuleAction(action), hits))
                done += 1
        except KernelError as error:
            error.done += done
            raise
        return done

    def _is_ours(self, row: tuple[Fresh, int, int, bool]) -> bool:
        (ref, stored, _), _, hits, _ = row
        return goes_on(self._value(ref, stored), hits)

    def _value(self, ref: int, stored: bytes) -> RuleValue | None:
        (value,) = read_values(self.maps[BY_REF[ref].name], [full_key(ref, stored)])
        return value

    def _add(
        self, staging: Staging, start: int, end: int, known: Mapping[MapName, set[int]]
    ) -> None:
        """Write notes, then entries; what is there already is decided place by place.

        Entries are looked for before the notes are written: killed in between, we would take one
        of dnsdist's for ours. An entry that dnsdist writes in the milliseconds after that is
        overwritten: the kernel has no batch operation that keeps existing entries.
        """
        asked = staging.added(start, end)
        there = set(self._taken(asked, known))
        new = [row for row in asked if row[:2] not in there] if there else asked
        made = staging.note_added(new, self.clock())
        position = 0
        for ref, part in groupby(made, itemgetter(0)):
            entries = list(part)
            self._write(staging, BY_REF[ref].name, entries, made[position:])
            position += len(entries)
        if len(made) < len(asked):  # dnsdist's, claims that came in between, or another row's
            fresh = {id(row) for row in made}
            self._contest([row for row in asked if id(row) not in fresh])

    def _contest_range(self, staging: Staging, start: int, end: int) -> None:
        """Decide which claims of contested rows are in force; most of them wait."""
        rows = staging.note_waiting(start, end, self.clock())
        self.result.others += end - start - len(rows)
        self._contest(rows)

    def _contest(self, rows: Sequence[Fresh]) -> None:
        """Make claims where other origins have one, and count what came of them."""
        wanted: dict[Place, dict[str, Make | None]] = {}
        for row in rows:
            make = partial(self._claim, row)
            wanted.setdefault(_place_of(row), {})[row[2][3]] = make
        outcomes = {outcome.place: outcome for outcome in self._settled(wanted)}
        for row in rows:
            self._count(outcomes[_place_of(row)], row[2])

    def _settled(self, wanted: Mapping[Place, Wanted]) -> Iterable[Outcome]:
        while True:
            try:
                return self._claims.settle(wanted) if wanted else ()
            except KernelError as error:
                if error.errno != errno.EEXIST:  # else dnsdist wrote it since we looked
                    raise

    def _claim(self, row: Fresh, former: Note | None) -> Note:
        """Return the claim that a row makes; `former` is what its origin had there."""
        ref, stored, (action, reason, expires, origin) = row
        created = self.clock() if former is None else former.created
        name, key = BY_REF[ref].name, full_key(ref, stored)
        return Note(name, key, RuleAction(action), origin, reason, created, expires)

    def _count(self, outcome: Outcome, options: Options) -> None:
        action, reason, expires, origin = options
        former = next((claim for claim in outcome.former if claim.origin == origin), None)
        if outcome.foreign:
            self.result.theirs += 1
        elif outcome.after is None or outcome.after.origin != origin:
            self.result.others += 1
        elif former is None:
            self.result.created += 1
        elif (former.action, former.reason, former.expires) == (action, reason, expires):
            self.result.unchanged += 1
        else:
            self.result.updated += 1

    def _write(
        self, staging: Staging, name: MapName, entries: list[Fresh], rest: list[Fresh]
    ) -> None:
        """Write one map's part of a chunk; where it is refused, forget the rest's notes."""
        done = 0
        try:
            done = self._write_entries(name, entries)
        except KernelError as error:
            done = error.done
            staging.forget([(ref, key) for ref, key, _ in rest[done:]])
            raise
        finally:
            self.on_change(name, done)
            self.result.created += done

    def _write_entries(self, name: MapName, entries: list[Fresh]) -> int:
        opened = self.maps[name]
        if isinstance(opened, RuleTable):
            opened.put([key for _, key, _ in entries], [options[0] for *_, options in entries])
            return len(entries)
        keys = b"".join(full_key(ref, key) for ref, key, _ in entries)
        values = b"".join(_VALUES[options[0]] for *_, options in entries)
        return opened.update_batch(keys, values)


def _place_of(row: Fresh) -> Place:
    return BY_REF[row[0]].name, full_key(row[0], row[1])


def _marks(keys: bytes, size: int) -> list[int]:
    """Return a number for each of these keys, end to end: itself if short, or its hash."""
    if size == _SHORT:
        return memoryview(keys).cast("I").tolist()
    return [hash(keys[at : at + size]) for at in range(0, len(keys), size)]


_VALUES = {int(action): abi.encode_value(action) for action in RuleAction}


def _conflict(ref: int, stored: bytes) -> ConflictError:
    target = target_of(BY_REF[ref].name, full_key(ref, stored), AnyQtype.BOTH)
    return foreign(target, "leave it out, or change it there; nothing was changed")


def _ranges(count: int, size: int | None = None) -> Iterator[tuple[int, int]]:
    step = size or STEP
    for start in range(0, count, step):
        yield start, min(start + step, count)
