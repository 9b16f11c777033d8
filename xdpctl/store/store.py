"""Rules over maps: add, change, remove, list, and whose an entry is.

The maps are the truth for what is blocked; the state (state.py) holds notes about
the entries that we wrote. An entry without a valid note is dnsdist's: it is shown,
never changed. The five maps are shared with dnsdist; zones, and all that lists claim, are in
tables of our own (tables/). A target may have a rule in the operator's book and one in the
lists'.

Every method blocks, and may be called from several threads: a write waits for the step that
another thread is at. Owns the lock that writes take. Does not own notes (state.py) or maps
(kernel/bpf/maps.py). Called by service/.
"""

from __future__ import annotations

import errno
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import RULE_MAPS, RULE_PLACES, TABLES, Book
from xdpctl.errors import (
    KernelError,
    MapFrozenError,
    NotFoundError,
    TableFullError,
    TargetError,
    XdpctlError,
)
from xdpctl.kernel.bpf.libbpf import BPF_ANY, BPF_NOEXIST
from xdpctl.process.clock import boot_clock
from xdpctl.process.threads import TurnLock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Rule,
    target_text,
)
from xdpctl.rules.keys import book_of, map_of
from xdpctl.store import overlap
from xdpctl.store.bulk import Bulk
from xdpctl.store.entries import NOTES_AT_ONCE, Entries, foreign, places_of, read_values
from xdpctl.store.export import Export, ExportInProcess, lines_of
from xdpctl.store.pages import Pages
from xdpctl.store.reconcile import Reconciler
from xdpctl.store.source import RuleSource
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
    from xdpctl.store.entries import Entry, Place, Slot
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import State
    from xdpctl.store.tables.table import RuleTable
    from xdpctl.store.worker.parent import BulkInWorker

    Claimed: TypeAlias = tuple[Target, Book]
    """What has at most one rule."""

_END = object()

WORKER_BYTES = 2**20
"""A list of at least this many bytes has a process of its own."""

WORKER_NOTES = 30_000
"""With more rules than this, every list and export has: it reads all of them."""


_THEIRS = (
    "change it there (rmDynBlock, unblock), or remove it with `xdpctl unblock --force TARGET`"
    " before you add your own"
)


@dataclass(frozen=True, slots=True)
class PutResult:
    """What `Store.put` did: how many entries were made, how many changed."""

    created: int
    updated: int
    warnings: tuple[str, ...] = ()


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
        self._clock = clock
        self._boot = boot
        self._lock = TurnLock()
        self._turn = MarkedTurn(self._lock, self.tables)
        self._cancelled = threading.Event()
        self._may_use_worker = worker
        self.listing = Entries(self._maps, state)
        self.pages = Pages(self.listing, maps)
        self.most_hit = MostHit(self.listing)
        self._reconciler = Reconciler(
            maps, state, self.tables, self.listing, on_change=on_change, wall=clock, boot=boot
        )
        self.theirs = TheirEntries(
            self.listing, self.alone, any_qtype=lambda: self.any_qtype, on_change=on_change
        )
        self._wildcards = Wildcards(maps, state, self.listing, self._reconciler, on_change)

    # --- keeping ------------------------------------------------------------------

    def reconcile(self) -> None:
        """Make notes and maps agree, once, before the filter is attached."""
        with self._lock:
            self._reconciler.reconcile()

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

    def alone(self) -> AbstractContextManager[None]:
        """Return what keeps others from writing for the time of a block; blocks until its turn."""
        return self._lock

    def expire(self) -> Counter[MapName]:
        """Remove some of our entries whose time is over; return how many of each map.

        `next_expiry` is 0 while more are due.
        """
        with self._lock:
            return self._reconciler.expire()

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

    def put(self, rules: Sequence[Rule], *, waits: bool = True) -> PutResult:
        """Make or update rules; an updated entry keeps its counter.

        The hits of the microseconds between reading and writing an updated entry of a shared
        map may be lost: the kernel cannot change an action in place.

        Args:
            rules: what is made.
            waits: where our own tables lack room, it is made, and this blocks until then.

        Raises:
            ConflictError: an entry is dnsdist's; nothing was changed.
            TargetError: two rules of the request contradict each other.
            TableFullError: our own tables lack room, without `waits`.
            MapFullError: with `done`, how many of the request went in.
        """
        asked: dict[Claimed, Rule] = {}
        for rule in rules:
            claimed = rule.target, book_of(rule.origin)
            if asked.setdefault(claimed, rule).action != rule.action:
                text = target_text(rule.target)
                raise TargetError(
                    f"{text} is given twice with different actions; choose one", text=text
                )
            asked[claimed] = rule
        needed = self.needs(rules)
        if waits and self.tables.lacks(needed):
            self._reserve(needed)
        with self._lock:
            if self.tables.lacks(needed):  # others took the room
                raise TableFullError(next(iter(needed)), self.tables.capacity(next(iter(needed))))
            created = self._put(asked)
        warnings = tuple(overlap.warnings(self.listing, asked.values(), self.any_qtype))
        return PutResult(created, len(asked) - created, warnings)

    def needs(self, rules: Iterable[Rule]) -> dict[MapName, int]:
        """Return for how many entries of our own tables these rules may need room."""
        names = (map_of(rule.target, book_of(rule.origin)) for rule in rules)
        return Counter(name for name in names if name in TABLES)

    def _put(self, asked: Mapping[Claimed, Rule]) -> int:
        """Write the notes, then the entries; return how many entries were made."""
        where = [
            (rule, next((slot for slot in slots if slot.value is not None), slots[0]))
            for rule, slots in zip(asked.values(), self._slots_of(asked), strict=True)
        ]
        with self.tables.writing({slot.map for _, slot in where}):
            self._state.put(self._note(rule, slot) for rule, slot in where)
            refused = self._write_all(where)
        if refused is not None:
            raise refused
        return sum(slot.value is None for _, slot in where)

    def _write_all(self, where: Sequence[tuple[Rule, Slot]]) -> XdpctlError | None:
        """Write entries; return why one was refused, the notes of it and the rest taken back."""
        for done, (rule, slot) in enumerate(where):
            try:
                self._write(rule, slot)
            except KernelError as error:
                self._take_back([slot for _, slot in where[done:]])
                error.done = done
                if error.errno != errno.EEXIST:
                    return error
                refused = foreign(rule.target, _THEIRS)  # written by dnsdist since we looked
                refused.__cause__ = error
                return refused
        return None

    def _note(self, rule: Rule, slot: Slot) -> Note:
        """Return the note of a rule that is written to this slot."""
        created = self._clock()
        if slot.value is not None and slot.note is not None:  # it is updated
            created = slot.note.created
        return Note(
            slot.map,
            slot.key,
            rule.action,
            rule.origin,
            rule.reason,
            created,
            None if rule.expires_in is None else self._boot() + rule.expires_in,
            hits=0 if slot.value is None else slot.value.hits,
        )

    def _write(self, rule: Rule, slot: Slot) -> None:
        rule_map = self._maps[slot.map]
        if slot.value is None:
            rule_map.update(slot.key, abi.encode_value(rule.action), BPF_NOEXIST)
            self._on_change(slot.map, 1)
        elif slot.value.action != rule.action:
            (present,) = read_values(rule_map, [slot.key])  # its counter of this moment
            hits = 0 if present is None else present.hits
            rule_map.update(slot.key, abi.encode_value(rule.action, hits), BPF_ANY)

    def _take_back(self, slots: list[Slot]) -> None:
        """Make the notes of slots that were not written what they were before."""
        self._state.forget((slot.map, slot.key) for slot in slots if slot.note is None)
        self._state.put(slot.note for slot in slots if slot.note is not None)

    def remove(self, targets: Iterable[Target]) -> int:
        """Remove our own rules; returns how many entries went.

        Raises:
            NotFoundError: one target has no entry; nothing was removed.
            ConflictError: one target's entry is dnsdist's; nothing was removed.
        """
        with self._lock:
            return self._remove(list(targets))

    def _remove(self, wanted: list[Target]) -> int:
        places: dict[Place, None] = {}
        for target in wanted:
            there = self._standing(target)
            if not there:
                raise NotFoundError(
                    f"there is no rule for {target_text(target)}: see `xdpctl list`"
                )
            places |= dict.fromkeys(there)
        with self.tables.writing({name for name, _ in places}):
            for name, key in places:
                if self._maps[name].delete(key):
                    self._on_change(name, -1)
            self._state.forget(places)
        return len(places)

    def _standing(self, target: Target) -> list[Place]:
        """Return where there are entries for a target: the operator's, else a list's."""
        for book in Book:
            (slots,) = self._slots_of([(target, book)])
            if there := [(slot.map, slot.key) for slot in slots if slot.value is not None]:
                return there
        return []

    def _slots_of(self, claimed: Iterable[Claimed]) -> Iterator[list[Slot]]:
        """Yield for each target the slots that a rule for it may have, the one we write first.

        A name without a type has two: dnsdist up to 1.9 writes another wildcard
        type than we do, and so do we under another --any-qtype.

        Raises:
            ConflictError: an entry for a target is dnsdist's.
        """
        places = {each: places_of(each[0], self.any_qtype, each[1]) for each in claimed}
        slots = self.listing.slots(place for each in places.values() for place in each)
        for each, there in places.items():
            found = [slots[place] for place in there]
            if any(slot.value is not None and not slot.is_ours for slot in found):
                raise foreign(each[0], _THEIRS)
            yield found

    def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove the rules of one origin, or all our own; return how many entries went.

        Args:
            map_name: only this map's.
            origin: `dnsdist` removes what we did not write, which a running dnsdist
                does not notice (DNSDIST.md); None: all our own.
        """
        names = RULE_PLACES if map_name is None else (map_name,)
        if origin == DNSDIST_ORIGIN:
            return sum(self._flush_foreign(name) for name in names if name in RULE_MAPS)
        removed = 0
        frozen: MapFrozenError | None = None
        for name in names:
            try:
                removed += self._flush(name, origin)
            except MapFrozenError as error:  # the others are flushed anyway
                frozen = frozen or error
        if frozen is not None:
            frozen.done = removed
            raise frozen
        return removed

    def _flush(self, name: MapName, origin: str | None) -> int:
        if origin is None and (table := self.tables.maps.get(name)) is not None:
            return self._flush_table(table)
        removed = 0
        after: bytes | None = b""
        while after is not None:
            with self._lock:
                notes, after = self._some_notes(name, after, origin)
                removed += self._reconciler.remove(notes).total()
        return removed

    def _flush_table(self, table: RuleTable) -> int:
        """Remove all that is in one of our own tables; by the million, so without notes."""
        total = 0
        while True:
            with self.alone():
                stored = self._state.keys(table.name, b"", KEYS_AT_ONCE)
                if not stored:
                    return total
                with self.tables.writing((table.name,)):
                    removed = table.remove(stored)
                    self._on_change(table.name, -removed)
                    self._state.forget_keys(table.name, stored)
                total += removed

    def _some_notes(
        self, name: MapName, after: bytes, origin: str | None
    ) -> tuple[list[Note], bytes | None]:
        if origin is not None:
            return self._state.page_of(origin, name, after, NOTES_AT_ONCE)
        notes = self._state.page(name, after, NOTES_AT_ONCE)
        return notes, place_in_order(notes[-1]) if notes else None

    def _flush_foreign(self, name: MapName) -> int:
        theirs = [entry.key for entry in self.listing.entries(name, DNSDIST_ORIGIN)]
        removed = self._maps[name].delete_batch(b"".join(theirs)) if theirs else 0
        self._on_change(name, -removed)
        return removed

    def bulk(self, change: Change) -> BulkResult:
        """Merge rules into an origin's, or make its rules exactly these (bulk.py).

        What is long, or joins so many, is worked on in a process of its own (store/worker/).
        """
        source = change.source
        if isinstance(source, RuleSource) and self._is_much(source.size):
            return self._worker().bulk(
                change, source, on_change=self._on_change, cancelled=self._cancelled
            )
        work = Bulk(
            self._maps,
            self._state.path,
            self._turn,
            change,
            reserve=self._reserve,
            on_change=self._on_change,
            clock=self._clock,
            cancelled=self._cancelled,
        )
        return work.run()

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
