"""Many rules at once: a list merged into an origin's rules, or put in their place.

Works by difference: entries in both lists are left alone, so they keep their counters
and are never absent. Notes are written before the map, chunk by chunk, so that a crash
at any point leaves nothing that a later start cannot put right. Maps are written with
the kernel's batch operations; what dnsdist wrote is looked for before and left alone.
Everything blocks and runs on a thread of its own; single rules get in between chunks.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import ConflictError, MapFullError, XdpctlError
from xdpctl.rules import AnyQtype, target_of, target_text
from xdpctl.staging import Difference, Staging
from xdpctl.state import full_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from xdpctl.kernel.bpf import Map
    from xdpctl.rows import Row

STEP = 10_000
"""Entries of one chunk: what is written while others wait, some 50 ms."""

WALK_MAX = 200_000
"""Entries of a map up to which it is read whole to find those of dnsdist's."""

WALK_MIN = 5_000
"""New entries below which each is looked up instead."""

_NAMES = {spec.ref: name for name, spec in abi.MAPS.items()}


@dataclass(slots=True)
class BulkResult:
    """What a bulk operation did, in entries.

    Attributes:
        theirs: left alone because dnsdist wrote them.
        others: left alone because another origin of ours has them.
        skipped: lines of origin dnsdist.
    """

    created: int = 0
    updated: int = 0
    removed: int = 0
    unchanged: int = 0
    theirs: int = 0
    others: int = 0
    skipped: int = 0


@dataclass(slots=True)
class Bulk:
    """One bulk operation.

    Args:
        maps: the rule maps, open.
        path: the state file.
        lock: held for each chunk; single writes hold it too.
        origin: whose list it is.
        replace: remove what of the origin is not in the list.
        strict: refuse the list where an entry is dnsdist's, and take over what other
            origins of ours have; else both are left alone and counted.
        on_change: called with (map, difference of entries).
        on_progress: called with (what is done, how many, of how many).
    """

    maps: Mapping[MapName, Map]
    path: Path
    lock: AbstractContextManager[object]
    origin: str
    replace: bool = False
    strict: bool = False
    on_change: Callable[[MapName, int], None] = lambda _map, _difference: None
    on_progress: Callable[[str, int, int], None] = lambda _what, _done, _total: None
    clock: Callable[[], float] = time.time
    cancelled: threading.Event = field(default_factory=threading.Event)
    result: BulkResult = field(default_factory=BulkResult)

    def run(self, chunks: Iterable[Iterable[Row]]) -> BulkResult:
        """Stage everything, compare, and apply the difference.

        Args:
            chunks: the list; an error that it raises leaves everything as it was.

        Raises:
            MapFullError: `done` says how many entries went in before; the state is
                consistent and the rest of the list is not in force.
        """
        with Staging(self.path) as staging:
            for chunk in chunks:
                staging.load(chunk)
                self._see_cancelled()
            difference = staging.compare(self.origin, replace=self.replace, take_over=self.strict)
            if self.strict:
                self._refuse_foreign(staging, difference.added)
            self.result.unchanged = difference.unchanged
            self.result.others = difference.others
            self._apply(staging, difference)
        return self.result

    def _apply(self, staging: Staging, difference: Difference) -> None:
        total = difference.gone + difference.changed + difference.added
        done = 0
        for count, step in (
            (difference.gone, self._remove),
            (difference.changed, self._change),
        ):
            for start, end in _ranges(count):
                with self.lock:
                    step(staging, start, end)
                done += end - start
                self.on_progress("apply", done, total)
                self._see_cancelled()
        known = self._known_foreign(difference.added)
        for start, end in _ranges(difference.added):
            with self.lock:
                self._add(staging, start, end, known)
            done += end - start
            self.on_progress("apply", done, total)
            self._see_cancelled()

    def _see_cancelled(self) -> None:
        if self.cancelled.is_set():
            raise XdpctlError("the bulk operation was cancelled: what was done stays")

    def _remove(self, staging: Staging, start: int, end: int) -> None:
        """Remove entries that are still ours; notes go after them."""
        rows = staging.gone(start, end)
        for ref, part in groupby(rows, itemgetter(0)):
            opened = self.maps[_NAMES[ref]]
            gone = [(full_key(ref, stored), hits) for _, stored, hits in part]
            values = opened.lookup_many(b"".join(key for key, _ in gone))
            ours = [
                key
                for (key, hits), value in zip(gone, values, strict=True)
                if value is not None and abi.decode_value(value)[1] >= hits
            ]
            removed = opened.delete_batch(b"".join(ours)) if ours else 0
            self.on_change(_NAMES[ref], -removed)
            self.result.removed += removed
        staging.forget((ref, key) for ref, key, _ in rows)

    def _change(self, staging: Staging, start: int, end: int) -> None:
        staging.note_changed(start, end, self.origin)
        for ref, stored, action, former in staging.changed(start, end):
            if action == former:
                continue
            key = full_key(ref, stored)
            value = self.maps[_NAMES[ref]].lookup(key)
            hits = 0 if value is None else abi.decode_value(value)[1]
            new = abi.encode_value(RuleAction(action), hits)
            self.maps[_NAMES[ref]].update(key, new)
        self.result.updated += end - start

    def _known_foreign(self, added: int) -> dict[MapName, frozenset[bytes]]:
        """Read maps whole where that is cheaper than looking each new entry up."""
        known: dict[MapName, frozenset[bytes]] = {}
        if added < WALK_MIN:
            return known
        for name, opened in self.maps.items():
            keys: set[bytes] = set()
            size = opened.info.key_size
            for chunk, _ in opened.chunks():
                keys.update(chunk[at : at + size] for at in range(0, len(chunk), size))
                if len(keys) > WALK_MAX:
                    break
            else:
                known[name] = frozenset(keys)
        return known

    def _refuse_foreign(self, staging: Staging, added: int) -> None:
        known = self._known_foreign(added)
        for start, end in _ranges(added):
            for ref, stored in self._theirs(staging.added(start, end), known):
                name = _NAMES[ref]
                target = target_of(name, full_key(ref, stored), AnyQtype.BOTH)
                raise ConflictError(
                    f"{target_text(target)} is an entry of dnsdist's, which counts its own"
                    " entries: leave it out, or change it there; nothing was changed"
                )

    def _theirs(
        self,
        rows: Iterable[tuple[int, bytes, int]],
        known: Mapping[MapName, frozenset[bytes]],
    ) -> list[tuple[int, bytes]]:
        """Return which of these new entries are in their map already: another's."""
        theirs: list[tuple[int, bytes]] = []
        for ref, part in groupby(rows, itemgetter(0)):
            name = _NAMES[ref]
            stored = [key for _, key, _ in part]
            full = [full_key(ref, key) for key in stored]
            if name in known:
                there: Iterable[bool] = (key in known[name] for key in full)
            else:
                values = self.maps[name].lookup_many(b"".join(full))
                there = (value is not None for value in values)
            theirs += [(ref, key) for key, taken in zip(stored, there, strict=True) if taken]
        return theirs

    def _add(
        self, staging: Staging, start: int, end: int, known: Mapping[MapName, frozenset[bytes]]
    ) -> None:
        """Write notes, then entries; an entry without a note of ours is another's."""
        rows = staging.added(start, end)
        theirs = self._theirs(rows, known)
        staging.note_added(start, end, self.origin, self.clock())
        if theirs:
            staging.forget(theirs)
            self.result.theirs += len(theirs)
            left = set(theirs)
            rows = [row for row in rows if row[:2] not in left]
        position = 0
        for ref, part in groupby(rows, itemgetter(0)):
            entries = list(part)
            position += self._write(staging, _NAMES[ref], entries, rows[position:])

    def _write(
        self,
        staging: Staging,
        name: MapName,
        entries: list[tuple[int, bytes, int]],
        rest: list[tuple[int, bytes, int]],
    ) -> int:
        """Write one map's part of a chunk; where it is full, forget the rest's notes."""
        keys = b"".join(full_key(ref, key) for ref, key, _ in entries)
        values = b"".join(_VALUES[action] for _, _, action in entries)
        try:
            done = self.maps[name].update_batch(keys, values)
        except MapFullError as error:
            self.on_change(name, error.done)
            self.result.created += error.done
            staging.forget((ref, key) for ref, key, _ in rest[error.done :])
            error.done = self.result.created
            raise
        self.on_change(name, done)
        self.result.created += done
        return done


_VALUES = {int(action): abi.encode_value(action) for action in RuleAction}


def _ranges(count: int) -> Iterator[tuple[int, int]]:
    for start in range(0, count, STEP):
        yield start, min(start + STEP, count)
