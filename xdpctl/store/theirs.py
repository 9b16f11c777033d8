"""dnsdist's entries: listing, removing some, lifting one.

dnsdist keeps its own count of what it wrote (DNSDIST.md), so its entries are removed only when
they are asked for by target, or when the process that wrote them is gone (maps/aging.py). An entry
is one that was seen before if its counter has not gone backwards. Owns these writes. Does not own
whose an entry is (entries.py). Made by store.py; everything blocks, in steps between which others
get their turn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import RULE_MAPS, RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import DNSDIST_ORIGIN, target_of, target_text
from xdpctl.store.entries import NOTES_AT_ONCE, goes_on, places_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager

    from xdpctl.abi import MapName
    from xdpctl.rules import AnyQtype, Target
    from xdpctl.store.entries import Entries, Place, Slot


@dataclass(frozen=True, slots=True)
class Lifted:
    """An entry of dnsdist's that was removed: target as text, action, and its counter then."""

    map: MapName
    target: str
    action: RuleAction
    hits: int


class TheirEntries:
    """The entries of the shared maps that we did not write.

    Args:
        listing: all entries.
        alone: keeps others from writing for the time of a block.
        any_qtype: how a name without a type is written now.
        on_change: called with (map, difference of entries) after each removal.
    """

    def __init__(
        self,
        listing: Entries,
        alone: Callable[[], AbstractContextManager[None]],
        any_qtype: Callable[[], AnyQtype],
        on_change: Callable[[MapName, int], None],
    ) -> None:
        self._listing = listing
        self._alone = alone
        self._any_qtype = any_qtype
        self._on_change = on_change

    def all_in(self, name: MapName) -> dict[bytes, int]:
        """Return the counters of all of them in a map, by key."""
        entries = self._listing.entries(name, DNSDIST_ORIGIN)
        return {entry.key: entry.hits for entry in entries}

    def still_in(self, name: MapName, seen: Mapping[bytes, int]) -> dict[bytes, int]:
        """Return the counters of those that are what was seen, by key.

        Args:
            name: the map.
            seen: their counters when they were last seen, by key.
        """
        return {
            slot.key: slot.value.hits
            for slots in self._pages(name, seen)
            for slot in slots
            if slot.value is not None and _is_same(slot, seen[slot.key])
        }

    def remove(self, name: MapName, seen: Mapping[bytes, int]) -> Iterator[Lifted]:
        """Remove those that are what was seen; yield each that went.

        Raises:
            KernelError: the map cannot be written.
        """
        keys = list(seen)
        for at in range(0, len(keys), NOTES_AT_ONCE):
            page = [(name, key) for key in keys[at : at + NOTES_AT_ONCE]]
            with self._alone():
                slots = self._listing.slots(page).values()
                gone = self._delete(slot for slot in slots if _is_same(slot, seen[slot.key]))
            yield from gone

    def lift(self, targets: Iterable[Target]) -> list[Lifted]:
        """Remove dnsdist's entries for targets, if there are any; return those that went.

        Raises:
            KernelError: a map cannot be written.
        """
        with self._alone():
            return self._delete(
                slot for target in targets for slot in self._slots_for(target) if _is_same(slot, 0)
            )

    def has(self, target: Target) -> bool:
        """Return whether dnsdist has an entry for a target."""
        return any(_is_same(slot, 0) for slot in self._slots_for(target))

    def _slots_for(self, target: Target) -> Iterable[Slot]:
        places: list[Place] = places_of(target, self._any_qtype())
        return self._listing.slots(place for place in places if place[0] in RULE_MAPS).values()

    def _pages(self, name: MapName, keys: Iterable[bytes]) -> Iterator[Iterable[Slot]]:
        listed = list(keys)
        for at in range(0, len(listed), NOTES_AT_ONCE):
            page = ((name, key) for key in listed[at : at + NOTES_AT_ONCE])
            yield self._listing.slots(page).values()

    def _delete(self, slots: Iterable[Slot]) -> list[Lifted]:
        gone = []
        for slot in slots:
            if slot.value is not None and self._listing.maps[slot.map].delete(slot.key):
                self._on_change(slot.map, -1)
                gone.append(Lifted(slot.map, self._text(slot), slot.value.action, slot.value.hits))
        return gone

    def _text(self, slot: Slot) -> str:
        try:
            return target_text(target_of(slot.map, slot.key, self._any_qtype()))
        except TargetError as error:
            return error.text


def _is_same(slot: Slot, hits: int) -> bool:
    """Return whether an entry is dnsdist's and has not been written again since."""
    return not slot.is_ours and goes_on(slot.value, hits)
