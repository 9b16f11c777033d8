"""Rules over maps: add, change, remove, list, and whose an entry is.

The maps are the truth for what is blocked; the state (state.py) holds notes about
the entries that we wrote. An entry without a valid note is dnsdist's: it is shown,
never changed. A note is valid while its entry is there and the entry's counter has
not gone backwards (then another wrote it anew).

Every method blocks; the service calls them on one thread of their own.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import ConflictError, KernelError, MapFullError, NotFoundError, TargetError
from xdpctl.log import event
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
from xdpctl.state import Note, boot_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xdpctl.kernel.bpf import Map
    from xdpctl.rules import Target
    from xdpctl.state import State

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2

_log = logging.getLogger(__name__)


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
    """

    def __init__(
        self,
        maps: Mapping[MapName, Map],
        state: State,
        any_qtype: AnyQtype,
        *,
        on_change: Callable[[MapName, int], None] = lambda _map, _difference: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._maps = maps
        self._state = state
        self.any_qtype = any_qtype
        self._on_change = on_change
        self._clock = clock

    # --- at start -----------------------------------------------------------------

    def reconcile(self) -> None:
        """Make notes and maps agree, once, before the filter is attached.

        In the map that the notes were written for, what vanished is forgotten. In
        a new map (reboot, bpffs mounted anew) our rules are written again; where
        another was there first, the entry is theirs.
        """
        boot = boot_id()
        for name, rule_map in self._maps.items():
            identity = f"{boot}:{rule_map.info.id}"
            fact = f"map:{name}"
            notes = self._state.notes(name)
            entries = dict(self._pairs(rule_map)) if notes else {}
            if self._state.get_meta(fact) == identity:
                self._forget_lost(name, notes, entries)
            else:
                self._write_again(name, rule_map, notes, entries)
                self._state.set_meta(fact, identity)

    def settle(self) -> None:
        """Forget notes whose entry vanished or became another's; keep the counters."""
        for name, rule_map in self._maps.items():
            if notes := self._state.notes(name):
                entries = dict(self._pairs(rule_map))
                self._forget_lost(name, notes, entries)

    def _forget_lost(
        self, name: MapName, notes: dict[bytes, Note], entries: dict[bytes, bytes]
    ) -> None:
        lost = [(name, key) for key, note in notes.items() if not _owns(note, entries.get(key))]
        if lost:
            self._state.forget(lost)
            event(_log, "rules-forgotten", map=name, count=len(lost), why="no longer ours")
        seen = [
            (hits, name, key)
            for key, note in notes.items()
            if key in entries and (hits := abi.decode_value(entries[key])[1]) > note.hits
        ]
        if seen:
            self._state.saw_hits(seen)

    def _write_again(
        self,
        name: MapName,
        rule_map: Map,
        notes: dict[bytes, Note],
        entries: dict[bytes, bytes],
    ) -> None:
        theirs = [key for key in notes if key in entries]
        ours = [key for key in notes if key not in entries]
        self._state.forget((name, key) for key in theirs)
        self._state.saw_hits((0, name, key) for key in ours)
        written = 0
        try:
            for key in ours:
                rule_map.update(key, abi.encode_value(notes[key].action), BPF_ANY)
                written += 1
        except MapFullError as error:
            self._state.forget((name, key) for key in ours[written:])
            event(_log, "rules-lost", logging.ERROR, map=name, error=error.sentence)
        if notes:
            event(_log, "rules-restored", map=name, count=written, taken_over=len(theirs))

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
        planned: dict[tuple[MapName, bytes], Rule] = {}
        for rule in rules:
            place = map_of(rule.target), key_of(rule.target, self.any_qtype)
            if place in planned and planned[place].action != rule.action:
                text = target_text(rule.target)
                raise TargetError(
                    f"{text} is given twice with different actions; say which one", text=text
                )
            planned[place] = rule
        existing = {place: self._value(*place) for place in planned}
        old_notes = {place: self._state.get(*place) for place in planned}
        for place, value in existing.items():
            if value is not None and not _owns(old_notes[place], value):
                raise _conflict(planned[place].target)
        now = self._clock()
        self._state.put(
            Note(
                place[0],
                place[1],
                rule.action,
                rule.origin,
                rule.reason,
                _created(old_notes[place], existing[place], now),
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
            if isinstance(error, MapFullError):
                error.done = done
            raise
        created = sum(value is None for value in existing.values())
        return PutResult(created, len(planned) - created, tuple(self._useless(planned.values())))

    def _write(self, place: tuple[MapName, bytes], action: RuleAction, value: bytes | None) -> None:
        name, key = place
        rule_map = self._maps[name]
        if value is None:
            rule_map.update(key, abi.encode_value(action), BPF_NOEXIST)
            self._on_change(name, 1)
        elif abi.decode_value(value)[0] != action:
            current = rule_map.lookup(key) if name not in _TRIES else value
            rule_map.update(key, abi.encode_value(action, _hits(current)), BPF_ANY)

    def _undo_notes(
        self,
        places: list[tuple[MapName, bytes]],
        old_notes: dict[tuple[MapName, bytes], Note | None],
    ) -> None:
        self._state.forget(place for place in places if old_notes[place] is None)
        self._state.put(note for place in places if (note := old_notes[place]) is not None)

    def remove(self, targets: Iterable[Target]) -> int:
        """Remove our own rules; returns how many entries went.

        Raises:
            NotFoundError: one target has no entry; nothing was removed.
            ConflictError: one target's entry is dnsdist's; nothing was removed.
        """
        places: dict[tuple[MapName, bytes], None] = {}
        for target in targets:
            place = map_of(target), key_of(target, self.any_qtype)
            value = self._value(*place)
            if value is None:
                raise self._nothing_there(target)
            if not _owns(self._state.get(*place), value):
                raise _conflict(target)
            places[place] = None
        for name, key in places:
            if self._maps[name].delete(key):
                self._on_change(name, -1)
        self._state.forget(places)
        return len(places)

    def _nothing_there(self, target: Target) -> Exception:
        """Explain a miss: dnsdist up to 1.9 writes the wildcard as type 255."""
        if (
            isinstance(target, Question)
            and target.qtype is None
            and self.any_qtype is AnyQtype.BOTH
            and self._value(
                MapName.QNAMES, abi.encode_qname(target.name.wire, abi.LEGACY_WILDCARD_QTYPE)
            )
            is not None
        ):
            return _conflict(target)
        return NotFoundError(f"there is no rule for {target_text(target)}: see `xdpctl list`")

    # --- looking ------------------------------------------------------------------

    def entries(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of one map or all, of one origin or all, each once."""
        for name in abi.RULE_MAPS if map_name is None else (map_name,):
            notes = self._state.notes(name)
            for key, value in dict(self._pairs(self._maps[name])).items():
                note = notes.get(key)
                action, hits = abi.decode_value(value)
                entry = Entry(name, key, action, hits, note if _owns(note, value) else None)
                if origin is None or entry.origin == origin:
                    yield entry

    def count(self, name: MapName) -> int:
        """Return how many entries a rule map has now."""
        key_size = abi.MAPS[name].key_size
        return sum(len(keys) // key_size for keys, _ in self._maps[name].chunks())

    def truncate_rules(self) -> bool:
        """Return whether any entry truncates (clients then need TCP)."""
        return any(entry.action is RuleAction.TRUNCATE for entry in self.entries())

    def _pairs(self, rule_map: Map) -> Iterator[tuple[bytes, bytes]]:
        key_size, value_size = rule_map.info.key_size, rule_map.info.value_size
        for keys, values in rule_map.chunks():
            for index in range(len(keys) // key_size):
                yield (
                    bytes(keys[index * key_size : (index + 1) * key_size]),
                    bytes(values[index * value_size : (index + 1) * value_size]),
                )

    def _value(self, name: MapName, key: bytes) -> bytes | None:
        """Return the value of exactly this key: a trie's look-up finds shorter prefixes too."""
        value = self._maps[name].lookup(key)
        if value is None or name not in _TRIES:
            return value
        return dict(self._pairs(self._maps[name])).get(key)

    def _useless(self, rules: Iterable[Rule]) -> Iterator[str]:
        """Yield a sentence for each allow rule that a more exact Drop overrides."""
        for rule in rules:
            if rule.action is not RuleAction.PASS:
                continue
            for name in _MORE_EXACT.get(map_of(rule.target), ()):
                for entry in self.entries(name):
                    if entry.action is not RuleAction.DROP:
                        continue
                    try:
                        other = target_of(name, entry.key, self.any_qtype)
                    except TargetError:
                        continue
                    if other != rule.target and _covers(rule.target, other):
                        yield (
                            f"allowing {target_text(rule.target)} does not help"
                            f" {target_text(other)}: that more exact rule"
                            f" (origin {entry.origin}) drops"
                        )


_TRIES = (MapName.CIDR4, MapName.CIDR6)

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


def _owns(note: Note | None, value: bytes | None) -> bool:
    return note is not None and value is not None and abi.decode_value(value)[1] >= note.hits


def _hits(value: bytes | None) -> int:
    return 0 if value is None else abi.decode_value(value)[1]


def _created(note: Note | None, value: bytes | None, now: float) -> float:
    return note.created if note is not None and value is not None else now


def _conflict(target: Target) -> ConflictError:
    return ConflictError(
        f"{target_text(target)} is an entry of dnsdist's, which counts its own entries:"
        " change it there (rmDynBlock, unblock), or remove it with"
        " `xdpctl flush --origin dnsdist` before you add your own"
    )
