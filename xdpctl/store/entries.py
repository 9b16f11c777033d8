"""What is in the rule maps, and whose it is.

Owns when an entry is ours, and is the one place in store/ where the 16 bytes of a value are
decoded. Reads only. The maps are the truth for what is blocked; an
entry without a valid note is dnsdist's. A note is valid while its entry is there and the
entry's counter has not gone backwards (then another wrote it again). What is in our own
tables is always ours, and the keys of its entries are those of the notes. Everything blocks.
Used by the rest of store/; pages.py, top.py, export.py and overlap.py are views of it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import RULE_PLACES, TABLES, Book
from xdpctl.errors import ConflictError
from xdpctl.process.clock import boot_clock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    keys_at,
    keys_of,
    map_of,
    target_text,
)
from xdpctl.rules.keys import full_key
from xdpctl.store.state import place_in_order
from xdpctl.store.tables.table import RuleTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xdpctl.abi import MapName, RuleAction, RuleValue
    from xdpctl.rules import Target
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import Note, State

    Place: TypeAlias = tuple[MapName, bytes]

NOTES_AT_ONCE = 2_000
"""Notes read at a time: some 20 ms and 1 MB."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a rule map, and our note of it where it is ours.

    `key` is as in the map. `note` None means that dnsdist (or another) wrote it.
    """

    map: MapName
    key: bytes
    action: RuleAction
    hits: int
    note: Note | None

    @property
    def origin(self) -> str:
        """Whose it is, as `list` shows it."""
        return DNSDIST_ORIGIN if self.note is None else self.note.origin

    @property
    def expires_in(self) -> int | None:
        """Whole seconds until it goes by itself, at least 0; None: it stays."""
        if self.note is None or self.note.expires is None:
            return None
        return max(0, math.ceil(self.note.expires - boot_clock()))


@dataclass(frozen=True, slots=True)
class Slot:
    """A place in a rule map with its value and our note, each None where there is none.

    The note need not be valid (`is_ours`).
    """

    map: MapName
    key: bytes
    value: RuleValue | None
    note: Note | None

    @property
    def is_ours(self) -> bool:
        """Whether there is an entry, and it is ours."""
        return owns(self.note, self.value)


def read_values(rules: RuleMap, keys: Iterable[bytes]) -> list[RuleValue | None]:
    """Return what the entries of these keys hold; None for each that is not there."""
    return [_decoded(octets) for octets in rules.lookup_many(b"".join(keys))]


def read_stored(rules: RuleMap, ref: int, stored: Sequence[bytes]) -> list[RuleValue | None]:
    """Return the same for keys as the state file stores them; `ref`: the map's number."""
    if isinstance(rules, RuleTable):
        return [_decoded(octets) for octets in rules.values(stored)]
    return read_values(rules, (full_key(ref, key) for key in stored))


def whole_map(rules: RuleMap, ref: int) -> Callable[[Sequence[bytes]], list[RuleValue | None]]:
    """Read a map whole, and return a function that answers as `read_stored` does.

    A million entries cost no call each. Equal values are one object.
    """
    found = dict[bytes, bytes]()
    shared: dict[bytes, bytes] = {}
    for keys, values in rules.chunks():
        for key, octets in _raw(rules, keys, values):
            found[key] = shared.setdefault(octets, octets)
    return lambda stored: [_decoded(found.get(full_key(ref, key))) for key in stored]


def pairs_in(
    rules: RuleMap, keys: bytes, values: bytes, numbers: Iterable[int] | None = None
) -> Iterator[tuple[bytes, RuleValue]]:
    """Yield (key, value) of keys and values that a map gave end to end.

    Args:
        rules: the map.
        keys: as `Map.chunks` and `Map.part` give them.
        values: as many, likewise.
        numbers: of the entries that are wanted, from 0; None: all.
    """
    for key, octets in _raw(rules, keys, values, numbers):
        yield key, abi.decode_value(octets)


def _raw(
    rules: RuleMap, keys: bytes, values: bytes, numbers: Iterable[int] | None = None
) -> Iterator[tuple[bytes, bytes]]:
    """Yield (key, octets of the value) likewise."""
    size, value_size = rules.info.key_size, rules.info.value_size
    for number in range(len(keys) // size) if numbers is None else numbers:
        at = number * value_size
        yield keys[number * size : (number + 1) * size], values[at : at + value_size]


def _decoded(octets: bytes | None) -> RuleValue | None:
    return None if octets is None else abi.decode_value(octets)


def owns(note: Note | None, value: RuleValue | None) -> bool:
    """Return whether a note is valid for the entry with this value."""
    if note is None or value is None:
        return False
    return note.map in TABLES or goes_on(value, note.hits)


def goes_on(value: RuleValue | None, hits: int) -> bool:
    """Return whether an entry with this value can be one that had so many hits before."""
    return value is not None and value.hits >= hits


def foreign(target: Target, helps: str) -> ConflictError:
    """Return the error of a rule whose entry is dnsdist's; `helps` says what to do."""
    text = target_text(target)
    return ConflictError(
        f"{text} is an entry of dnsdist's, which keeps its own count: {helps}", text=text
    )


def places_of(target: Target, any_qtype: AnyQtype, book: Book = Book.OPERATOR) -> list[Place]:
    """Return where a rule for a target may be in a book, first the place that we write to.

    Raises:
        TargetError: it cannot be written.
    """
    return [(map_of(target, book), key) for key in keys_of(target, any_qtype, book)]


def places_at(target: Target, any_qtype: AnyQtype, book: Book = Book.OPERATOR) -> list[Place]:
    """Return where a rule for a target may be found in a book; none: no rule there can mean it."""
    return [(map_of(target, book), key) for key in keys_at(target, any_qtype, book)]


def _by_map(places: Iterable[Place]) -> dict[MapName, list[bytes]]:
    found: dict[MapName, list[bytes]] = {}
    for name, key in places:
        found.setdefault(name, []).append(key)
    return found


class Entries:
    """The entries of the rule maps with the notes about them.

    Attributes:
        maps: the maps of rules, open: the five shared ones and our own tables.
        state: the notes, open.
    """

    def __init__(self, maps: Mapping[MapName, RuleMap], state: State) -> None:
        self.maps = maps
        self.state = state

    def pairs(
        self, name: MapName, choose: Callable[[bytes], Iterable[int]] | None = None
    ) -> Iterator[tuple[bytes, RuleValue]]:
        """Yield (key, value) of a map; an entry that moves in between may come twice.

        Args:
            name: the map.
            choose: given some keys end to end, returns the numbers of those that are wanted;
                None: all are.
        """
        for keys, values in self.maps[name].chunks():
            numbers = None if choose is None else choose(keys)
            yield from pairs_in(self.maps[name], keys, values, numbers)

    def behind(self, name: MapName, after: bytes, count: int) -> dict[bytes, RuleValue]:
        """Return the first `count` entries of a map behind a key, in the order of their keys."""
        rules = self.maps[name]
        found = {
            key: octets
            for keys, values in rules.chunks()
            for key, octets in _raw(rules, keys, values)
            if key > after
        }
        return {key: abi.decode_value(found[key]) for key in heapq.nsmallest(count, found)}

    def entries(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of one map or all, of one origin or all, each once."""
        for name in RULE_PLACES if map_name is None else (map_name,):
            found = self._of_table(name) if name in TABLES else self._of_map(name)
            for entry in found:
                if origin is None or entry.origin == origin:
                    yield entry

    def _of_map(self, name: MapName) -> Iterator[Entry]:
        seen: set[int] = set()
        for keys, blob in self.maps[name].chunks():
            values = {
                key: value
                for key, value in pairs_in(self.maps[name], keys, blob)
                if hash(key) not in seen
            }
            seen.update(map(hash, values))
            yield from self.with_notes(name, values)

    def _of_table(self, name: MapName) -> Iterator[Entry]:
        after = b""
        while notes := self.state.page(name, after, NOTES_AT_ONCE):
            after = place_in_order(notes[-1])
            yield from self.noted(notes)

    def noted(self, notes: Sequence[Note]) -> Iterator[Entry]:
        """Yield the entries of these notes, where they are still ours."""
        for name, part in groupby(notes, attrgetter("map")):
            some = list(part)
            values = read_values(self.maps[name], [note.key for note in some])
            for note, value in zip(some, values, strict=True):
                if value is not None and owns(note, value):
                    yield Entry(name, note.key, *value, note)

    def values(self, places: Iterable[Place]) -> dict[Place, RuleValue | None]:
        """Return the values of exactly these keys."""
        return {
            (name, key): value
            for name, keys in _by_map(places).items()
            for key, value in zip(keys, read_values(self.maps[name], keys), strict=True)
        }

    def slots(self, places: Iterable[Place]) -> dict[Place, Slot]:
        """Return what is at these places: values and notes, valid or not."""
        found: dict[Place, Slot] = {}
        for name, keys in _by_map(places).items():
            notes = self.state.get_many(name, keys)
            for key, value in zip(keys, read_values(self.maps[name], keys), strict=True):
                found[name, key] = Slot(name, key, value, notes.get(key))
        return found

    def with_notes(self, name: MapName, values: Mapping[bytes, RuleValue]) -> list[Entry]:
        """Return entries of one map, given by key and value, with our valid notes."""
        notes = self.state.get_many(name, list(values))
        entries = []
        for key, value in values.items():
            note = notes.get(key)
            entries.append(Entry(name, key, *value, note if owns(note, value) else None))
        return entries
