"""The rules that are hit most, ever or within some time.

Owns the comparison of counters. Reads only; everything blocks. Called by
service/operations.py for the API.
"""

from __future__ import annotations

import heapq
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import RULE_PLACES
from xdpctl.rules.keys import REFS, full_key, stored_key
from xdpctl.store.tables.table import RuleTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.abi import MapName
    from xdpctl.store.entries import Entries, Entry

_TICKS = 1_000_000
_TICK_BITS = 32
_TICK_MASK = (1 << _TICK_BITS) - 1

_ROUNDS = 2
"""How often a walk gives one entry at most, in nearly all cases."""


@dataclass(frozen=True, slots=True)
class TopEntry:
    """An entry that is hit much; `rate` in hits a second where it was measured."""

    entry: Entry
    rate: float | None = None


@dataclass(slots=True)
class Walk:
    """The counters of a map, each with the moment at which it was read.

    To read a million takes seconds on a busy machine, so that one moment for all of them would make
    rates several times too high.

    Attributes:
        began, ended: seconds of a monotonic clock.
        read: of each key the counter and, in the lowest bits, microseconds since `began`: one
            number, as there may be a million.
    """

    began: float
    ended: float = 0.0
    read: dict[bytes, int] = field(default_factory=dict)

    def add(self, key: bytes, hits: int, now: float) -> None:
        """Note a counter."""
        ticks = min(int((now - self.began) * _TICKS), _TICK_MASK)
        self.read[key] = hits << _TICK_BITS | ticks

    def rate(self, key: bytes, hits: int, now: float, since: float) -> float:
        """Return the hits a second of a key until now.

        Args:
            key: of the entry.
            hits: its counter now.
            now: seconds of the clock.
            since: for how long the second walk goes on. Where the first one found no hits, it was
                at the entry after as long a time.
        """
        packed = self.read.get(key)
        if packed is None:
            before, then = 0, min(self.began + since, self.ended)
        else:
            before, then = packed >> _TICK_BITS, self.began + (packed & _TICK_MASK) / _TICKS
        return (hits - before) / max(now - then, 1 / _TICKS)


Counters: TypeAlias = dict["MapName", Walk]


class MostHit:
    """The entries of the rule maps by their counters.

    Args:
        entries: of the maps and the notes.
        clock: seconds of a monotonic clock.
    """

    def __init__(self, entries: Entries, clock: Callable[[], float] = time.monotonic) -> None:
        self._entries = entries
        self._clock = clock

    def counters(self, map_name: MapName | None) -> Counters:
        """Return the counters that are not 0."""
        return {
            name: self._walk(name) for name in (RULE_PLACES if map_name is None else (map_name,))
        }

    def top(self, count: int, map_name: MapName | None, before: Counters | None) -> list[TopEntry]:
        """Return the entries hit most, all in all or since `before`.

        Args:
            count: how many at most.
            map_name: only this map's.
            before: of some time ago; None: since ever.
        """
        best = heapq.nlargest(
            _ROUNDS * count,
            (
                (gain, name, key)
                for name in (RULE_PLACES if map_name is None else (map_name,))
                for gain, key in self._gains(name, None if before is None else before[name])
            ),
        )
        gains: dict[tuple[MapName, bytes], float] = {}
        for gain, name, key in best:
            gains.setdefault((name, full_key(REFS[name], key)), gain)
        hit = [*gains][:count]
        values = self._entries.values(hit)
        found = []
        for name, key in hit:
            if (value := values[name, key]) is not None:
                (entry,) = self._entries.with_notes(name, {key: value})
                found.append(TopEntry(entry, None if before is None else gains[name, key]))
        return found

    def _walk(self, name: MapName) -> Walk:
        walk = Walk(self._clock())
        for hits, key in self._hit(name):
            walk.add(key, hits, self._clock())
        walk.ended = self._clock()
        return walk

    def _gains(self, name: MapName, before: Walk | None) -> Iterator[tuple[float, bytes]]:
        if before is None:
            yield from self._hit(name)
            return
        began = self._clock()
        for hits, key in self._hit(name):
            now = self._clock()
            rate = before.rate(key, hits, now, now - began)
            if rate > 0:
                yield rate, key

    def _hit(self, name: MapName) -> Iterator[tuple[int, bytes]]:
        """Yield (counter, stored key) of the entries whose counter is not 0."""
        opened = self._entries.maps[name]
        if isinstance(opened, RuleTable):
            yield from opened.hits()
            return
        ref, size = REFS[name], opened.info.key_size
        for keys, values in opened.chunks():
            hits = memoryview(values).cast("Q")[::2].tolist()
            for number, count in enumerate(hits):
                if count:
                    yield count, stored_key(ref, keys[number * size : (number + 1) * size])
