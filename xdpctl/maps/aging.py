"""Which of dnsdist's entries are older than the process that holds the map now.

dnsdist ends its own blocks, from its memory. What a former process left in a pinned map, nobody
ends. An entry is stale if it was in the map at a time when none of the map's present holders had
it open: the present ones cannot have written it. While nobody holds a map, all are stale.

What happened before the service saw it is not guessed at: entries that were in a map when a start
found it held are its holder's. Where not every process can be seen, nobody is certain to hold a
map, and nothing is concluded from it: the answer is "unknown". So that a restart of the service
forgets nothing, stale entries are noted in the state. Owns these decisions. Does not own who holds
a map (holders.py) or the entries (store/theirs.py). Called by service/stale_entries.py, on a
thread; everything blocks.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.process.clock import boot_clock, boot_id
from xdpctl.store.reconcile import RESIZED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from xdpctl.abi import MapName
    from xdpctl.maps.holders import Holder, Holders
    from xdpctl.store.state import State
    from xdpctl.store.theirs import Lifted, TheirEntries

WALK_SECONDS = 2.0
"""While nobody holds a map, wait between two walks for entries that came without a holder."""

LOOK_SHARE = 0.01
"""Part of the time that looks at entries may take at most: many are looked at more rarely."""

_FACT = "stale:"


@dataclass(slots=True)
class _Age:
    """What is known of one map.

    Attributes:
        number: the map's id.
        before: by present holder, the entries that it cannot have written: counters by key.
        orphans: the entries that were there while nobody held the map; None: somebody does.
        walk_at: when to walk through the map again, in seconds of CLOCK_BOOTTIME.
        note_at: when to look again which stale entries are still there, likewise.
        changed: there may be others than those that were looked at last.
        since: by stale key, the seconds of CLOCK_BOOTTIME at which it was found stale.
        noted: the keys that the state has; None: of another map.
        is_unknown: nobody is seen to hold the map, but not every process can be seen.
    """

    number: int
    before: dict[Holder, dict[bytes, int]] = field(default_factory=dict)
    orphans: dict[bytes, int] | None = None
    walk_at: float = 0.0
    note_at: float = 0.0
    changed: bool = True
    since: dict[bytes, float] = field(default_factory=dict)
    noted: frozenset[bytes] | None = frozenset()
    is_unknown: bool = False

    def stale(self) -> dict[bytes, int]:
        """Return the counters of stale entries by key."""
        if self.orphans is not None:
            return self.orphans
        first, *others = self.before.values() or ({},)
        return {key: hits for key, hits in first.items() if all(key in them for them in others)}


class Aging:
    """The age of dnsdist's entries.

    Args:
        theirs: the entries.
        holders: looks at processes.
        state: keeps what is stale.
        ids: returns the id of each shared rule map.
        clock: seconds of CLOCK_BOOTTIME.
    """

    def __init__(
        self,
        theirs: TheirEntries,
        holders: Holders,
        state: State,
        ids: Callable[[], Mapping[MapName, int]],
        *,
        clock: Callable[[], float] = boot_clock,
    ) -> None:
        self._theirs = theirs
        self._holders = holders
        self._state = state
        self._ids = ids
        self._clock = clock
        self._ages: dict[MapName, _Age] = {}

    @property
    def counts(self) -> dict[MapName, int | None]:
        """How many entries of each map are stale; None: unknown."""
        return {
            name: None if age.is_unknown and not age.since else len(age.since)
            for name, age in self._ages.items()
        }

    @property
    def present(self) -> frozenset[Holder]:
        """Who holds one of the maps, as far as it can be seen."""
        return frozenset(holder for age in self._ages.values() for holder in age.before)

    def look(self) -> None:
        """Look who holds the maps now, and which entries have become stale.

        Raises:
            KernelError, StateError: a map or the state cannot be read or written.
        """
        ids = self._ids()
        sighting = self._holders.look(ids.values())
        for name, number in ids.items():
            age = self._age_of(name, number)
            present = sighting.of(number)
            age.is_unknown = not present and not sighting.whole and not age.before
            if present:
                self._held(name, age, present)
            elif not age.is_unknown:
                self._left(name, age)
            if age.changed or self._clock() >= age.note_at:
                self._note(name, age)

    def _age_of(self, name: MapName, number: int) -> _Age:
        """Return what is known of the map with this id; `resize` makes another of the same."""
        age = self._ages.get(name)
        if age is not None and age.number != number and self._is_resized(name, number):
            age.number, age.noted = number, None
        elif age is None or age.number != number:
            age = self._ages[name] = self._begun(name, number)
        return age

    def _is_resized(self, name: MapName, number: int) -> bool:
        return self._state.get_meta(f"{RESIZED}{name}") == f"{boot_id()}:{number}"

    def _held(self, name: MapName, age: _Age, present: frozenset[Holder]) -> None:
        """Let new holders have written nothing of what was there while nobody held the map.

        A map that changed hands between two looks was held by nobody for a moment: what is in
        it now is taken for older. A new holder beside a former one may have written anything.
        """
        if age.orphans is None and age.before and not age.before.keys() & present:
            age.orphans = self._theirs.all_in(name)
        age.changed |= present != age.before.keys()
        for holder in present - age.before.keys():
            age.before[holder] = dict(age.orphans or {})
        for holder in age.before.keys() - present:
            del age.before[holder]
        age.orphans = None

    def _left(self, name: MapName, age: _Age) -> None:
        """Take what is in a map that nobody holds for what its former holders left."""
        begun = self._clock()
        if age.orphans is None or begun >= age.walk_at:
            age.orphans = self._theirs.all_in(name)
            age.changed = True
            ended = self._clock()
            age.walk_at = ended + max(WALK_SECONDS, (ended - begun) / LOOK_SHARE)
        age.before.clear()

    def _note(self, name: MapName, age: _Age) -> None:
        """Drop what is gone or was written again; note what is stale since when."""
        begun = self._clock()
        stale = age.stale()
        standing = self._theirs.still_in(name, stale)
        gone = stale.keys() - standing.keys()
        for seen in (age.orphans or {}, *age.before.values()):
            for key in gone:
                seen.pop(key, None)
            seen.update(standing)
        now = self._clock()
        age.since = {key: age.since.get(key, now) for key in standing}
        if age.noted is None or age.noted != standing.keys():
            self._write(name, age, standing)
        age.changed = False
        age.note_at = now + (self._clock() - begun) / LOOK_SHARE

    def _begun(self, name: MapName, number: int) -> _Age:
        """Return what the state knows of a map: what is stale in it, whoever holds it now."""
        text = self._state.get_meta(f"{_FACT}{name}")
        found = json.loads(text) if text else {}
        if found.get("map") != f"{boot_id()}:{number}":
            return _Age(number)
        entries = {bytes.fromhex(key): (hits, since) for key, hits, since in found["entries"]}
        age = _Age(number, noted=frozenset(entries))
        age.orphans = {key: hits for key, (hits, _) in entries.items()}
        age.since = {key: since for key, (_, since) in entries.items()}
        return age

    def _write(self, name: MapName, age: _Age, standing: Mapping[bytes, int]) -> None:
        entries = [(key.hex(), hits, age.since[key]) for key, hits in standing.items()]
        fact = {"map": f"{boot_id()}:{age.number}", "entries": entries}
        self._state.set_meta(f"{_FACT}{name}", json.dumps(fact, separators=(",", ":")))
        age.noted = frozenset(standing)

    def end(self, seconds: float) -> Iterator[Lifted]:
        """Remove entries that have been stale for so long; yield each.

        Raises:
            KernelError: a map cannot be written.
        """
        now = self._clock()
        for name, age in self._ages.items():
            stale = age.stale()
            due = {
                key: stale[key]
                for key, since in age.since.items()
                if key in stale and now - since >= seconds
            }
            if due:
                yield from self._theirs.remove(name, due)
                self._note(name, age)
