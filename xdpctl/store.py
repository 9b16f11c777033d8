"""Rules over maps: add, change, remove, list, and whose an entry is.

The maps are the truth for what is blocked; the state (state.py) holds notes about
the entries that we wrote. An entry without a valid note is dnsdist's: it is shown,
never changed. A note is valid while its entry is there and the entry's counter has
not gone backwards (then another wrote it anew).

Every method blocks; the service calls them on one thread of their own.
"""

from __future__ import annotations

import errno
import logging
import time
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from itertools import islice
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import ConflictError, KernelError, MapFullError, NotFoundError, TargetError
from xdpctl.log import event
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    Rule,
    keys_of,
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

    _Place: TypeAlias = tuple[MapName, bytes]

BPF_ANY, BPF_NOEXIST, BPF_EXIST = 0, 1, 2

WARNINGS_MAX = 20
"""Sentences that one request is answered with at most."""

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
            known = self._state.get_meta(fact)
            notes = self._state.notes(name)
            entries = self._noted(rule_map, notes)
            if known == identity:
                self._forget_lost(name, notes, entries)
                continue
            if known != identity + _RESTORING:
                theirs = [(name, key) for key in entries]
                self._state.forget(theirs)
                self._state.saw_hits((0, name, key) for key in notes if key not in entries)
                self._state.set_meta(fact, identity + _RESTORING)
                notes = {key: note for key, note in notes.items() if key not in entries}
                entries = {}
                if theirs:
                    event(_log, "rules-taken-over", map=name, count=len(theirs))
            self._write_again(name, rule_map, [key for key in notes if key not in entries], notes)
            self._state.set_meta(fact, identity)

    def settle(self) -> None:
        """Forget notes whose entry vanished or became another's; keep the counters."""
        for name, rule_map in self._maps.items():
            if notes := self._state.notes(name):
                self._forget_lost(name, notes, self._noted(rule_map, notes))

    def _forget_lost(
        self, name: MapName, notes: Mapping[bytes, Note], entries: Mapping[bytes, bytes]
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
        self, name: MapName, rule_map: Map, keys: list[bytes], notes: Mapping[bytes, Note]
    ) -> None:
        written = 0
        try:
            for key in keys:
                try:
                    rule_map.update(key, abi.encode_value(notes[key].action), BPF_NOEXIST)
                except KernelError as error:
                    if error.errno != errno.EEXIST:
                        raise
                    self._state.forget([(name, key)])  # written by dnsdist since we looked
                written += 1
        except MapFullError as error:
            self._state.forget((name, key) for key in keys[written:])
            event(_log, "rules-lost", logging.ERROR, map=name, error=error.sentence)
        if keys:
            event(_log, "rules-restored", map=name, count=written)

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
        values = self._values(asked)
        planned: dict[_Place, Rule] = {}
        for target, rule in asked.items():
            standing = self._own_places(target, values)
            planned[standing[0] if standing else _places(target, self.any_qtype)[0]] = rule
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
                raise _conflict(planned[places[done]].target) from error
            raise
        created = sum(value is None for value in existing.values())
        return PutResult(
            created, len(planned) - created, tuple(_some(self._useless(planned.values())))
        )

    def _write(self, place: _Place, action: RuleAction, value: bytes | None) -> None:
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
        places: list[_Place],
        old_notes: dict[_Place, Note | None],
    ) -> None:
        self._state.forget(place for place in places if old_notes[place] is None)
        self._state.put(note for place in places if (note := old_notes[place]) is not None)

    def remove(self, targets: Iterable[Target]) -> int:
        """Remove our own rules; returns how many entries went.

        Raises:
            NotFoundError: one target has no entry; nothing was removed.
            ConflictError: one target's entry is dnsdist's; nothing was removed.
        """
        wanted = list(targets)
        values = self._values(wanted)
        places: dict[_Place, None] = {}
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

    def _own_places(self, target: Target, values: Mapping[_Place, bytes | None]) -> list[_Place]:
        """Return where our rule for a target stands; empty where nothing does.

        A name without a type may have two entries: dnsdist up to 1.9 writes another
        wildcard type than we do, and so do we under another --any-qtype.

        Raises:
            ConflictError: an entry for it is dnsdist's.
        """
        standing = [place for place in _places(target, self.any_qtype) if values[place] is not None]
        for place in standing:
            if not _owns(self._state.get(*place), values[place]):
                raise _conflict(target)
        return standing

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

    def _noted(self, rule_map: Map, notes: Mapping[bytes, Note]) -> dict[bytes, bytes]:
        """Return those entries of a map that there are notes of."""
        if not notes:
            return {}
        return {key: value for key, value in self._pairs(rule_map) if key in notes}

    def _values(self, targets: Iterable[Target]) -> dict[_Place, bytes | None]:
        """Return the values of exactly the keys under which rules for targets may stand.

        A trie's look-up may find a shorter prefix: where it finds anything, the trie
        is walked, once.
        """
        values = {
            (name, key): self._maps[name].lookup(key)
            for target in targets
            for name, key in _places(target, self.any_qtype)
        }
        for trie in _TRIES:
            found = {key for (name, key), value in values.items() if name == trie and value}
            if found:
                exact = {k: value for k, value in self._pairs(self._maps[trie]) if k in found}
                values |= {(trie, key): exact.get(key) for key in found}
        return values

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


_RESTORING = " restoring"
"""Behind a map's identity while our rules are being written into it: what has a note
then is ours, also after a crash."""

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


def _some(warnings: Iterator[str]) -> Iterator[str]:
    """Yield the first warnings, and that there are more."""
    yield from islice(warnings, WARNINGS_MAX)
    if next(warnings, None) is not None:
        yield "and there are more allow rules that a more exact rule overrides"


def _places(target: Target, any_qtype: AnyQtype) -> list[_Place]:
    return [(map_of(target), key) for key in keys_of(target, any_qtype)]


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
