"""The claims of all origins on the targets of some entries, and which of them is in force.

An entry of the operator's book is asked before that of the lists' book for the same target, so
the claims of both are put together here, with dnsdist's entry before all. Owns that order of
the two books. Does not own the order within a place (claims.py). Reads only; everything blocks.
Used for what the API and `list` show.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import RULE_MAPS, Book, MapName
from xdpctl.errors import TargetError
from xdpctl.rules import book_of, target_of
from xdpctl.store.claims import rank
from xdpctl.store.entries import Entry, places_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from xdpctl.abi import RuleAction
    from xdpctl.rules import AnyQtype
    from xdpctl.store.entries import Entries, Place, Slot
    from xdpctl.store.state import Note

FEW = 5_000
"""Entries before those of lists up to which it is found out once where they are."""

LISTED = (MapName.LIST_SOURCES, MapName.LIST_NAMES)
_OPERATORS = (*RULE_MAPS, MapName.ZONES)


@dataclass(frozen=True, slots=True)
class Standing:
    """An entry and all that is said about its target.

    Attributes:
        entry: the entry.
        dnsdist: the action of dnsdist's entry for the target, or None.
        claims: of all origins, the strongest first.
        is_in_force: whether the entry decides; a list's does not where an operator, a program or
            dnsdist has one.
    """

    entry: Entry
    dnsdist: RuleAction | None
    claims: tuple[Note, ...]
    is_in_force: bool


class Standings:
    """What is said about the targets of entries.

    Args:
        entries: of the maps and the notes.
        any_qtype: gives how a name without a type is written.
    """

    def __init__(self, entries: Entries, any_qtype: Callable[[], AnyQtype]) -> None:
        self._entries = entries
        self._any_qtype = any_qtype

    def of(self, found: Sequence[Entry]) -> list[Standing]:
        """Return entries of any maps with the claims on their targets."""
        others = self._others(found)
        places = [(entry.map, entry.key) for entry in found]
        every = [*places, *(place for each in others for place in each)]
        slots = self._entries.slots(place for each in others for place in each)
        waiting = self._waiting(every)
        return [
            self._standing(entry, [slots[place] for place in its_others], waiting)
            for entry, its_others in zip(found, others, strict=True)
        ]

    def _others(self, found: Sequence[Entry]) -> list[list[Place]]:
        """Return for each entry where the other book has its target, if there is anything."""
        there = {
            books: any(not self._entries.maps[name].is_empty() for name in books)
            for books in (LISTED, _OPERATORS)
        }
        if not any(there.values()):
            return [[] for _ in found]
        listed = there[_OPERATORS] and any(entry.map in LISTED for entry in found)
        before = self._before_lists() if listed else set()
        return [
            self._other(entry)
            if (before is None or (entry.map, entry.key) in before)
            or (entry.map not in LISTED and there[LISTED])
            else []
            for entry in found
        ]

    def _before_lists(self) -> set[Place] | None:
        """Return where lists' claims would be that an entry is before; None if they are many."""
        found: set[Place] = set()
        mode = self._any_qtype()
        for name in _OPERATORS:
            for keys, _ in self._entries.maps[name].chunks():
                size = self._entries.maps[name].info.key_size
                for at in range(0, len(keys), size):
                    with contextlib.suppress(TargetError):
                        target = target_of(name, keys[at : at + size], mode)
                        found.update(places_at(target, mode, Book.LISTS))
                if len(found) > FEW:
                    return None
        return found

    def _other(self, entry: Entry) -> list[Place]:
        mode = self._any_qtype()
        try:
            target = target_of(entry.map, entry.key, mode)
        except TargetError:
            return []
        book = book_of("cli" if entry.map in LISTED else "list:")
        return places_at(target, mode, book)

    def _waiting(self, places: Iterable[Place]) -> dict[Place, list[Note]]:
        found: dict[Place, list[Note]] = {}
        by_map: dict[MapName, list[bytes]] = {}
        for name, key in places:
            by_map.setdefault(name, []).append(key)
        for name, keys in by_map.items():
            there = self._entries.state.waiting_at(name, keys)
            found |= {(name, key): claims for key, claims in there.items()}
        return found

    @staticmethod
    def _standing(
        entry: Entry, others: Sequence[Slot], waiting: dict[Place, list[Note]]
    ) -> Standing:
        dnsdist = entry.action if entry.note is None else None
        if not others and not waiting:
            claims = () if entry.note is None else (entry.note,)
            return Standing(entry, dnsdist, claims, is_in_force=True)
        in_force = [] if entry.note is None else [entry.note]
        waits = list(waiting.get((entry.map, entry.key), ()))
        is_in_force = True
        for slot in others:
            if slot.value is not None and not slot.is_ours:
                dnsdist = slot.value.action
            if slot.value is not None and slot.is_ours and slot.note is not None:
                in_force.append(slot.note)
            if slot.value is not None and entry.map in LISTED:
                is_in_force = False
            waits += waiting.get((slot.map, slot.key), ())
        forced = {(claim.map, claim.key, claim.origin) for claim in in_force}
        waits = [claim for claim in waits if (claim.map, claim.key, claim.origin) not in forced]
        found = [*in_force, *waits]
        if len(found) > 1:
            found.sort(key=rank)  # stable: of equals the one in force
        return Standing(entry, dnsdist, tuple(found), is_in_force)
