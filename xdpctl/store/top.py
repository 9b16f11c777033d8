"""The rules that are hit most, ever or within some time.

Owns the comparison of counters. Reads only; everything blocks. Called by
service/operations.py for the API.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import RULE_PLACES
from xdpctl.rules.keys import REFS, full_key, stored_key
from xdpctl.store.tables.table import RuleTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdpctl.abi import MapName
    from xdpctl.store.entries import Entries, Entry

    Counters: TypeAlias = dict[MapName, dict[bytes, int]]


@dataclass(frozen=True, slots=True)
class TopEntry:
    """An entry that is hit much; `rate` in hits a second where it was measured."""

    entry: Entry
    rate: float | None = None


class MostHit:
    """The entries of the rule maps by their counters.

    Args:
        entries: of the maps and the notes.
    """

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    def counters(self, map_name: MapName | None) -> Counters:
        """Return the counters that are not 0."""
        return {
            name: {key: hits for hits, key in self._hit(name)}
            for name in (RULE_PLACES if map_name is None else (map_name,))
        }

    def top(
        self, count: int, map_name: MapName | None, before: Counters | None, seconds: float
    ) -> list[TopEntry]:
        """Return the entries hit most, all in all or since `before`.

        Args:
            count: how many at most.
            map_name: only this map's.
            before: of `seconds` ago; None: since ever.
            seconds: between then and now.
        """
        best = heapq.nlargest(
            count,
            (
                (gain, name, key)
                for name in (RULE_PLACES if map_name is None else (map_name,))
                for gain, key in self._gains(name, None if before is None else before[name])
            ),
        )
        hit = [
            (gain, name, full_key(REFS[name], key))
            for gain, name, key in dict.fromkeys(best)  # a walk may give an entry twice
        ]
        values = self._entries.values((name, key) for _, name, key in hit)
        found = []
        for gain, name, key in hit:
            if (value := values[name, key]) is not None:
                (entry,) = self._entries.with_notes(name, {key: value})
                found.append(TopEntry(entry, None if before is None else gain / seconds))
        return found

    def _gains(
        self, name: MapName, before: Mapping[bytes, int] | None
    ) -> Iterator[tuple[int, bytes]]:
        if before is None:
            yield from self._hit(name)
            return
        for hits, key in self._hit(name):
            gain = hits - before.get(key, 0)
            if gain > 0:
                yield gain, key

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
