"""Rules over maps: add, change, remove, list, and whose an entry is.

The maps are the truth for what is blocked; the state (state.py) holds notes about
the entries that we wrote. An entry without a valid note is dnsdist's: it is shown,
never changed.

Every method blocks, and may be called from several threads: one that writes waits for
the other's present step.
"""

from __future__ import annotations

import errno
import threading
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction, RuleValue
from xdpctl.errors import KernelError, MapFrozenError, NotFoundError, TargetError
from xdpctl.kernel.bpf.libbpf import BPF_ANY, BPF_NOEXIST
from xdpctl.process.clock import boot_clock
from xdpctl.process.threads import TurnLock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    Rule,
    key_of,
    map_of,
    target_of,
    target_text,
)
from xdpctl.store.bulk import Bulk
from xdpctl.store.entries import NOTES_AT_ONCE, Entries, foreign, owns, places_of, read_values
from xdpctl.store.export import Export, ExportInProcess
from xdpctl.store.reconcile import Reconciler
from xdpctl.store.source import RuleSource
from xdpctl.store.state import Note, place_in_order
from xdpctl.store.wildcards import Wildcards

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.entries import Entry, Place
    from xdpctl.store.state import State
    from xdpctl.store.worker.parent import BulkInWorker

_END = object()

WORKER_BYTES = 2**20
"""Length of a list from which on it has a process of its own."""

WORKER_NOTES = 30_000
"""Rules of ours from which on every list and export has: all of them are looked at."""


_THEIRS = (
    "change it there (rmDynBlock, unblock), or remove it with `xdpctl flush --origin dnsdist`"
    " before you add your own"
)

WARNINGS_MAX = 20
"""Sentences that one request is answered with at most."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """What `Store.put` did: how many entries were made, how many changed."""

    created: int
    updated: int
    warnings: tuple[str, ...] = ()


class Store:
    """The rule maps with the notes about them.

    Args:
        maps: the five rule maps, open; owned by the caller.
        state: the notes, open; owned by the caller.
        any_qtype: how a name without a type is written (PACKETS.md).
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
        on_change: Callable[[MapName, int], None] = lambda _map, _difference: None,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_clock,
        worker: bool = False,
    ) -> None:
        self._maps = maps
        self._state = state
        self.any_qtype = any_qtype
        self._on_change = on_change
        self._clock = clock
        self._boot = boot
        self._lock = TurnLock()
        self._cancelled = threading.Event()
        self._may_use_worker = worker
        self.listing = Entries(maps, state)
        self._reconciler = Reconciler(
            maps, state, self.listing, on_change=on_change, wall=clock, boot=boot
        )
        self._wildcards = Wildcards(maps, state, self.listing, self._reconciler, on_change)

    # --- keeping ------------------------------------------------------------------

    def reconcile(self) -> None:
        """Make notes and maps agree, once, before the filter is attached."""
        with self._lock:
            self._reconciler.reconcile()

    def settle(self) -> None:
        """Forget notes whose entry vanished or became another's; keep the counters."""
        for _ in self.settling():
            pass

    def settling(self) -> Iterator[None]:
        """Settle in steps of some milliseconds, between which others get their turn."""
        steps = self._reconciler.settle()
        more = True
        while more:
            with self._lock:
                more = next(steps, _END) is not _END
            yield

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
        """Write our names as the program of this mode looks them up, before it is put on.

        Raises:
            KernelError: the map is full; nothing that the former program finds is gone.
        """
        with self._lock:
            self._wildcards.prepare(any_qtype)

    def adopt(self, any_qtype: AnyQtype) -> None:
        """Go on in this mode, whose program is on: remove what only the former one found."""
        with self._lock:
            self.any_qtype = any_qtype
            self._wildcards.finish(any_qtype)

    # --- changing -----------------------------------------------------------------

    def put(self, rules: Sequence[Rule]) -> PutResult:
        """Make or update rules; an updated entry keeps its counter.

        The hits of the microseconds between reading and writing an updated entry
        may be lost: the kernel cannot change an action in place.

        Raises:
            ConflictError: an entry is dnsdist's; nothing was changed.
            TargetError: two rules of the request contradict each other.
            MapFullError: with `done`, how many of the request went in.
        """
        asked = {rule.target: rule for rule in rules}
        for rule in rules:
            if asked[rule.target].action != rule.action:
                text = target_text(rule.target)
                raise TargetError(
                    f"{text} is given twice with different actions; say which one", text=text
                )
        with self._lock:
            created, updated = self._put(asked)
        return PutResult(created, updated, tuple(_some(self._useless(asked.values()))))

    def _put(self, asked: Mapping[Target, Rule]) -> tuple[int, int]:
        values = self._values(asked)
        planned: dict[Place, Rule] = {}
        for target, rule in asked.items():
            standing = self._own_places(target, values)
            planned[standing[0] if standing else places_of(target, self.any_qtype)[0]] = rule
        existing = {place: values[place] for place in planned}
        old_notes = {place: self._state.get(*place) for place in planned}
        now = self._clock()
        self._state.put(
            Note(
                place[0],
                place[1],
                rule.action,
                rule.origin,
                rule.reason,
                _created(old_notes[place], existing[place], now),
                None if rule.expires_in is None else self._boot() + rule.expires_in,
                hits=_hits(existing[place]),
            )
            for place, rule in planned.items()
        )
        done = 0
        places = list(planned)
        try:
            for place in places:
                self._write(place, planned[place].action, existing[place])
                done += 1
        except KernelError as error:
            self._undo_notes(places[done:], old_notes)
            error.done = done
            if error.errno == errno.EEXIST:  # written by dnsdist since we looked
                raise foreign(planned[places[done]].target, _THEIRS) from error
            raise
        created = sum(value is None for value in existing.values())
        return created, len(planned) - created

    def _write(self, place: Place, action: RuleAction, value: RuleValue | None) -> None:
        name, key = place
        rule_map = self._maps[name]
        if value is None:
            rule_map.update(key, abi.encode_value(action), BPF_NOEXIST)
            self._on_change(name, 1)
        elif value.action != action:
            (present,) = read_values(rule_map, [key])
            rule_map.update(key, abi.encode_value(action, _hits(present)), BPF_ANY)

    def _undo_notes(
        self,
        places: list[Place],
        old_notes: dict[Place, Note | None],
    ) -> None:
        self._state.forget(place for place in places if old_notes[place] is None)
        self._state.put(note for place in places if (note := old_notes[place]) is not None)

    def remove(self, targets: Iterable[Target]) -> int:
        """Remove our own rules; returns how many entries went.

        Raises:
            NotFoundError: one target has no entry; nothing was removed.
            ConflictError: one target's entry is dnsdist's; nothing was removed.
        """
        with self._lock:
            return self._remove(list(targets))

    def _remove(self, wanted: list[Target]) -> int:
        values = self._values(wanted)
        places: dict[Place, None] = {}
        for target in wanted:
            standing = self._own_places(target, values)
            if not standing:
                raise NotFoundError(
                    f"there is no rule for {target_text(target)}: see `xdpctl list`"
                )
            places |= dict.fromkeys(standing)
        for name, key in places:
            if self._maps[name].delete(key):
                self._on_change(name, -1)
        self._state.forget(places)
        return len(places)

    def _own_places(self, target: Target, values: Mapping[Place, RuleValue | None]) -> list[Place]:
        """Return where our rule for a target stands; empty where nothing does.

        A name without a type may have two entries: dnsdist up to 1.9 writes another
        wildcard type than we do, and so do we under another --any-qtype.

        Raises:
            ConflictError: an entry for it is dnsdist's.
        """
        places = places_of(target, self.any_qtype)
        standing = [place for place in places if values[place] is not None]
        for place in standing:
            if not owns(self._state.get(*place), values[place]):
                raise foreign(target, _THEIRS)
        return standing

    def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove the rules of one origin, or all our own; return how many entries went.

        Args:
            map_name: only this map's.
            origin: `dnsdist` removes what we did not write, which a running dnsdist
                does not notice (DNSDIST.md); None: all our own.
        """
        names = abi.RULE_MAPS if map_name is None else (map_name,)
        if origin == DNSDIST_ORIGIN:
            return sum(self._flush_foreign(name) for name in names)
        removed = 0
        frozen: MapFrozenError | None = None
        for name in names:
            try:
                removed += self._flush(name, origin)
            except MapFrozenError as error:  # the others are flushed all the same
                frozen = frozen or error
        if frozen is not None:
            frozen.done = removed
            raise frozen
        return removed

    def _flush(self, name: MapName, origin: str | None) -> int:
        removed = 0
        after: bytes | None = b""
        while after is not None:
            with self._lock:
                notes, after = self._some_notes(name, after, origin)
                removed += self._reconciler.remove(notes).total()
        return removed

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
            self._lock,
            change,
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

        return BulkInWorker(self._maps, self._state.path, self._lock)

    def cancel(self) -> None:
        """End what `bulk` is at, at its next chunk: the service stops. Any thread."""
        self._cancelled.set()

    # --- looking ------------------------------------------------------------------

    def export(self, *, everything: bool) -> Export:
        """Begin to write our rules as lines, with `everything` dnsdist's too. Blocks."""
        if self._is_much():
            return self._worker().export(self.any_qtype, everything=everything)
        return ExportInProcess(self.listing.lines(self.any_qtype, everything=everything))

    def entries(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of one map or all, of one origin or all, each once."""
        return self.listing.entries(map_name, origin)

    def _values(self, targets: Iterable[Target]) -> dict[Place, RuleValue | None]:
        """Return the values of exactly the keys under which rules for targets may stand."""
        return self.listing.values(
            place for target in targets for place in places_of(target, self.any_qtype)
        )

    def _useless(self, rules: Iterable[Rule]) -> Iterator[str]:
        """Yield a sentence for each allow rule that a more exact Drop overrides."""
        for rule in rules:
            if rule.action is not RuleAction.PASS:
                continue
            for name in _MORE_EXACT.get(map_of(rule.target), ()):
                for key, value in dict(self._dropping(name, rule.target)).items():
                    try:
                        other = target_of(name, key, self.any_qtype)
                    except TargetError:
                        continue
                    if other == rule.target or not _covers(rule.target, other):
                        continue
                    (entry,) = self.listing.with_notes(name, {key: value})
                    yield (
                        f"allowing {target_text(rule.target)} does not help"
                        f" {target_text(other)}: that more exact rule"
                        f" (origin {entry.origin}) drops"
                    )

    def _dropping(self, name: MapName, wide: Target) -> Iterator[tuple[bytes, RuleValue]]:
        """Yield (key, value) of Drop entries that `wide` may cover; quick among a million."""
        for key, octets in self._within(name, wide):
            if (value := abi.decode_value(octets)).action is RuleAction.DROP:
                yield key, value

    def _within(self, name: MapName, wide: Target) -> Iterator[tuple[bytes, bytes]]:
        if isinstance(wide, Question):
            start = key_of(wide, self.any_qtype)[: abi.NAME_MAX]
            yield from (pair for pair in self.listing.pairs(name) if pair[0].startswith(start))
            return
        if name is not MapName.ADDR_V4 or not isinstance(wide, IPv4Network):
            yield from self.listing.pairs(name)
            return
        size = abi.MAPS[name].value_size
        shift = wide.max_prefixlen - wide.prefixlen
        first = int(wide.network_address) >> shift
        for keys, values in self._maps[name].chunks():
            for number, address in enumerate(memoryview(keys).cast("I")):
                if address >> shift == first:
                    yield keys[number * 4 :][:4], values[number * size :][:size]


_MORE_EXACT = {
    MapName.CIDR4: (MapName.ADDR_V4, MapName.CIDR4),
    MapName.CIDR6: (MapName.ADDR_V6, MapName.CIDR6),
    MapName.QNAMES: (MapName.QNAMES,),
}


def _covers(wide: Target, exact: Target) -> bool:
    """Return whether `exact` decides packets that `wide` also matches."""
    if isinstance(wide, Question) or isinstance(exact, Question):
        return (
            isinstance(wide, Question)
            and isinstance(exact, Question)
            and wide.name == exact.name
            and wide.qtype is None
        )
    prefix, other = _network(wide), _network(exact)
    return prefix.version == other.version and (
        int(other.network_address) >> (other.max_prefixlen - prefix.prefixlen)
        == int(prefix.network_address) >> (prefix.max_prefixlen - prefix.prefixlen)
        and other.prefixlen >= prefix.prefixlen
    )


def _network(
    target: IPv4Address | IPv6Address | IPv4Network | IPv6Network,
) -> IPv4Network | IPv6Network:
    return target if isinstance(target, IPv4Network | IPv6Network) else ip_network(target)


def _some(warnings: Iterator[str]) -> Iterator[str]:
    """Yield the first warnings, and that there are more."""
    yield from islice(warnings, WARNINGS_MAX)
    if next(warnings, None) is not None:
        yield "and there are more allow rules that a more exact rule overrides"


def _hits(value: RuleValue | None) -> int:
    return 0 if value is None else value.hits


def _created(note: Note | None, value: RuleValue | None, now: float) -> float:
    return note.created if note is not None and value is not None else now
