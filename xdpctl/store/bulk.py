"""Applies a change of many rules: merges it into an origin's rules, or replaces them.

Only differences are written: entries that are in both lists stay, so they keep their counters and
are never absent. Notes are written before the map, chunk by chunk, so that a later start can
repair the result of a crash at any point. Maps are written with the kernel's batch operations;
entries of dnsdist are looked up before and left alone.

Owns the steps of such a change. Does not own the comparison (difference.py). Called by store.py
and worker/. Everything blocks; single rules are written between chunks. Small changes run on a
thread, large ones in a process (store/worker/).
"""

from __future__ import annotations

import math
import threading
import time
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol

from xdpctl import abi
from xdpctl.abi import BY_REF, MapName, RuleAction, RuleValue
from xdpctl.errors import ConflictError, GuardError, KernelError, XdpctlError
from xdpctl.rules import AnyQtype, target_of
from xdpctl.rules.keys import QNAMES_REF, full_key
from xdpctl.store.difference import Difference, Staging
from xdpctl.store.entries import foreign, goes_on, read_values
from xdpctl.store.source import RuleSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.store.change import Change

STEP = 4_000
"""Entries of one chunk: other writers wait about 20 ms for it."""

WALK_MAX = 200_000
"""A map with at most this many entries is read whole to find dnsdist's."""

WALK_MIN = 5_000
"""With fewer new entries, each one is looked up instead."""

_SHORT = 4


@dataclass(slots=True)
class BulkResult:
    """What a bulk operation did, in entries.

    Attributes:
        theirs: left alone because dnsdist wrote them.
        others: left alone because another origin of ours has them.
        guarded: left out because of the guard; `first_guarded` is the first, and why.
    """

    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    theirs: int = 0
    others: int = 0
    guarded: int = 0
    first_guarded: str = ""


class Cancelled(Protocol):
    """The part of threading.Event that is used."""

    def is_set(self) -> bool:
        """Whether the operation must end at its next chunk."""


@dataclass(slots=True)
class Bulk:
    """One bulk operation.

    Args:
        maps: the rule maps, open.
        path: the state file.
        lock: held for each chunk; single writes hold it too.
        change: the change.
        on_change: called with (map, difference of entries).
        cancelled: set to end the operation at its next chunk.
    """

    maps: Mapping[MapName, Map]
    path: Path
    lock: AbstractContextManager[object]
    change: Change
    on_change: Callable[[MapName, int], None] = lambda _map, _difference: None
    clock: Callable[[], float] = time.time
    cancelled: Cancelled = field(default_factory=threading.Event)
    result: BulkResult = field(default_factory=BulkResult)
    _there: dict[MapName, set[int]] = field(default_factory=dict)

    def run(self) -> BulkResult:
        """Stage everything, compare, and apply the difference.

        Raises:
            Whatever the change's source raises; everything is as it was then.
            MapFullError: `done` says how many entries went in before; the state is
                consistent and the rest of the list is not in force.
        """
        source, guard = self.change.source, self.change.guard
        with Staging(self.path, self.change, vanished=self._forget_vanished) as staging:
            for part in source:
                staging.load(part if guard is None else guard.passing(part, self._hold))
                if isinstance(source, RuleSource):
                    self.change.progress("read", source.position, source.size)
                self._see_cancelled()
            difference = staging.compare()
            self._there.clear()
            if self.change.strict:
                self._refuse_foreign(staging, difference)
            self.result.unchanged = difference.unchanged
            self.result.others = difference.others
            try:
                self._apply(staging, difference)
            except KernelError as error:
                error.done = self.result.created
                raise
        return self.result

    def _hold(self, text: str) -> None:
        """Leave a row out, or refuse the change if it is strict."""
        if self.change.strict:
            raise GuardError(f"{text}: nothing was changed; use force=1", text=text)
        self.result.guarded += 1
        self.result.first_guarded = self.result.first_guarded or text

    def _apply(self, staging: Staging, difference: Difference) -> None:
        total = difference.gone + difference.changed + difference.added
        done = 0
        for count, step in ((difference.gone, self._remove), (difference.changed, self._change)):
            for start, end in _ranges(count):
                with self.lock:
                    step(staging, start, end)
                done += end - start
                self._step_done(done, total)
        known = self._present(difference.added)
        for start, end in _ranges(staging.count_added()):
            with self.lock:
                self._add(staging, start, end, known)
            done += end - start
            self._step_done(done, max(done, total))

    def _step_done(self, done: int, total: int) -> None:
        self.change.progress("apply", done, total)
        self._see_cancelled()

    def _see_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise XdpctlError(
                "the service stops before the list is whole: what was done stays, send the list"
                " again"
            )

    # --- what is there ------------------------------------------------------------

    def _forget_vanished(self, staging: Staging, ref: int, stored: list[bytes]) -> list[bytes]:
        """Forget notes whose entry is gone, so that the list's entries are written again."""
        name = BY_REF[ref].name
        if name not in self._there:
            self._there[name] = self._marks_of(name)
        marks = _marks(b"".join(_full_keys(ref, stored)), BY_REF[ref].key_size)
        missing = set(marks).difference(self._there[name])
        if not missing:
            return []
        lost = [key for key, mark in zip(stored, marks, strict=True) if mark in missing]
        with self.lock:  # a single rule may have been added since
            lost = self._absent(name, lost)
            staging.forget([(ref, key) for key in lost])
        self._see_cancelled()
        return lost

    def _absent(self, name: MapName, stored: list[bytes]) -> list[bytes]:
        ref = abi.MAPS[name].ref
        values = self.maps[name].lookup_many(b"".join(full_key(ref, key) for key in stored))
        return [key for key, value in zip(stored, values, strict=True) if value is None]

    def _marks_of(self, name: MapName, at_most: float = math.inf) -> set[int]:
        """Return the marks of a map's keys; only some of them if there are more than `at_most`."""
        opened = self.maps[name]
        found = set[int]()
        for keys, _ in opened.chunks():
            found.update(_marks(keys, opened.info.key_size))
            if len(found) > at_most:
                break
        return found

    def _present(self, added: int) -> dict[MapName, set[int]]:
        """Read maps whole if that is cheaper than looking up each new entry."""
        known: dict[MapName, set[int]] = {}
        if added >= WALK_MIN:
            for name in self.maps:
                marks = self._marks_of(name, WALK_MAX)
                if len(marks) <= WALK_MAX:
                    known[name] = marks
        return known

    def _refuse_foreign(self, staging: Staging, difference: Difference) -> None:
        known = self._present(difference.added)
        for start, end in _ranges(difference.added):
            for ref, stored in self._taken(staging.added(start, end), known):
                raise _conflict(ref, stored)
        for start, end in _ranges(difference.changed):
            for ref, stored, _, _, hits in staging.changed(start, end):
                value = self._value(ref, stored)
                if value is not None and value.hits < hits:
                    raise _conflict(ref, stored)

    def _taken(
        self,
        rows: Iterable[tuple[int, bytes, int]],
        known: Mapping[MapName, set[int]],
    ) -> list[tuple[int, bytes]]:
        """Return those new entries that are already in their map: others wrote them."""
        taken: list[tuple[int, bytes]] = []
        for ref, part in groupby(rows, itemgetter(0)):
            name = BY_REF[ref].name
            stored = [key for _, key, _ in part]
            if name in known:
                marks = _marks(b"".join(full_key(ref, key) for key in stored), BY_REF[ref].key_size)
                pairs = zip(stored, marks, strict=True)
                stored = [key for key, mark in pairs if mark in known[name]]
            absent = set(self._absent(name, stored))
            taken += [(ref, key) for key in stored if key not in absent]
        return taken

    # --- what is done -------------------------------------------------------------

    def _remove(self, staging: Staging, start: int, end: int) -> None:
        """Remove entries that are still ours, then their notes."""
        rows = staging.gone(start, end)
        for ref, part in groupby(rows, itemgetter(0)):
            opened = self.maps[BY_REF[ref].name]
            gone = [(full_key(ref, stored), hits) for _, stored, hits in part]
            values = read_values(opened, (key for key, _ in gone))
            ours = [
                key for (key, hits), value in zip(gone, values, strict=True) if goes_on(value, hits)
            ]
            removed = opened.delete_batch(b"".join(ours)) if ours else 0
            self.on_change(BY_REF[ref].name, -removed)
            self.result.removed += removed
        staging.forget([(ref, key) for ref, key, _ in rows])

    def _change(self, staging: Staging, start: int, end: int) -> None:
        """Write notes, then entries whose action changes; each keeps its counter."""
        rows = staging.changed(start, end)
        acting = [row for row in rows if row[2] != row[3]]
        lost = [row for row in acting if not self._is_ours(row)]
        staging.forget([row[:2] for row in lost])
        staging.note_changed(start, end)
        left = set(lost)
        acting = [row for row in acting if row not in left]
        for number, (ref, stored, action, _, _) in enumerate(acting):
            value = self._value(ref, stored)
            hits = 0 if value is None else value.hits
            key = full_key(ref, stored)
            try:
                self.maps[BY_REF[ref].name].update(key, abi.encode_value(RuleAction(action), hits))
            except KernelError:
                staging.note_actions((row[3], row[0], row[1]) for row in acting[number:])
                raise
        self.result.updated += len(rows) - len(lost)

    def _is_ours(self, row: tuple[int, bytes, int, int, int]) -> bool:
        ref, stored, _, _, hits = row
        return goes_on(self._value(ref, stored), hits)

    def _value(self, ref: int, stored: bytes) -> RuleValue | None:
        (value,) = read_values(self.maps[BY_REF[ref].name], [full_key(ref, stored)])
        return value

    def _add(
        self, staging: Staging, start: int, end: int, known: Mapping[MapName, set[int]]
    ) -> None:
        """Write notes, then entries; an entry without a note of ours belongs to another writer.

        An entry that dnsdist writes in the milliseconds between is overwritten: the kernel
        has no batch operation that keeps existing entries.
        """
        rows = staging.added(start, end)
        self.result.others += end - start - len(rows)  # single rules that were added in between
        theirs = self._taken(rows, known)
        staging.note_added(start, end, self.clock())
        if theirs:
            staging.forget(theirs)
            self.result.theirs += len(theirs)
            left = set(theirs)
            rows = [row for row in rows if row[:2] not in left]
        position = 0
        for ref, part in groupby(rows, itemgetter(0)):
            entries = list(part)
            self._write(staging, BY_REF[ref].name, entries, rows[position:])
            position += len(entries)

    def _write(
        self,
        staging: Staging,
        name: MapName,
        entries: list[tuple[int, bytes, int]],
        rest: list[tuple[int, bytes, int]],
    ) -> None:
        """Write one map's part of a chunk; if it is refused, forget the notes of the rest."""
        keys = b"".join(full_key(ref, key) for ref, key, _ in entries)
        values = b"".join(_VALUES[action] for _, _, action in entries)
        done = 0
        try:
            done = self.maps[name].update_batch(keys, values)
        except KernelError as error:
            done = error.done
            staging.forget([(ref, key) for ref, key, _ in rest[done:]])
            raise
        finally:
            self.on_change(name, done)
            self.result.created += done


def _marks(keys: bytes, size: int) -> list[int]:
    """Return a number for each of these keys, end to end: itself if short, or its hash."""
    if size == _SHORT:
        return memoryview(keys).cast("I").tolist()
    return [hash(keys[at : at + size]) for at in range(0, len(keys), size)]


def _full_keys(ref: int, stored: list[bytes]) -> Iterable[bytes]:
    """Return keys as the map has them."""
    return [full_key(ref, key) for key in stored] if ref == QNAMES_REF else stored


_VALUES = {int(action): abi.encode_value(action) for action in RuleAction}


def _conflict(ref: int, stored: bytes) -> ConflictError:
    target = target_of(BY_REF[ref].name, full_key(ref, stored), AnyQtype.BOTH)
    return foreign(target, "leave it out, or change it there; nothing was changed")


def _ranges(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, STEP):
        yield start, min(start + STEP, count)
