"""What is in the rule maps, and whose it is: by key, page by page, the most hit, as lines.

Reads only. The maps are the truth for what is blocked; an entry without a valid note is
dnsdist's. A note is valid while its entry is there and the entry's counter has not gone
backwards (then another wrote it anew). Used by the store and, through it, by the API.
Everything blocks.
"""

from __future__ import annotations

import heapq
import math
import socket
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction, RuleValue
from xdpctl.errors import ConflictError, TargetError
from xdpctl.process.clock import boot_clock
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    Rule,
    format_rule_line,
    keys_of,
    map_of,
    target_of,
    target_text,
)
from xdpctl.rules.keys import full_key, stored_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.store.state import Note, State

    Place: TypeAlias = tuple[MapName, bytes]
    Counters: TypeAlias = dict[MapName, dict[bytes, int]]

TRIES = (MapName.CIDR4, MapName.CIDR6)

NOTES_AT_ONCE = 2_000
"""Notes read at a time: some 20 ms and 1 MB."""

_SCAN_MAX = 2_000
"""Entries that one page looks at while it searches for one origin's: some 20 ms."""

_BUCKETS_MAX = 1 << 32

_ANY = IPv4Address(0)
_LINES_KEPT = 1_000


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


@dataclass(frozen=True, slots=True)
class TopEntry:
    """An entry that is hit much; `rate` in hits a second where it was measured."""

    entry: Entry
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page ended: in which map, in which part of it, behind which key.

    `bucket` is the kernel's position in a hash map. It names a place, not a number of
    entries, so that entries which come and go neither repeat nor hide others.
    """

    map: MapName
    bucket: int = 0
    after: bytes = b""

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Return the cursor of a text that `str` gave.

        Raises:
            TargetError: it is none.
        """
        try:
            name, bucket, after = text.split(":")
            cursor = cls(MapName(name), int(bucket), bytes.fromhex(after))
            if cursor.map not in abi.RULE_MAPS or str(cursor) != text:
                raise ValueError(text)  # noqa: TRY301 - joined with what the conversions raise
            if not 0 <= cursor.bucket < _BUCKETS_MAX - 1:
                raise ValueError(text)  # noqa: TRY301 - the same
        except ValueError:
            raise TargetError(
                f"{text!r} is no cursor: take `next` of the page before", text=text, field="cursor"
            ) from None
        return cursor

    def __str__(self) -> str:
        return f"{self.map}:{self.bucket}:{self.after.hex()}"


def read_values(rules: Map, keys: Iterable[bytes]) -> list[RuleValue | None]:
    """Return what the entries of these keys hold; None for each that is not there."""
    return [
        None if value is None else abi.decode_value(value)
        for value in rules.lookup_many(b"".join(keys))
    ]


def owns(note: Note | None, value: RuleValue | None) -> bool:
    """Return whether a note is valid for the entry with this value."""
    return note is not None and goes_on(value, note.hits)


def goes_on(value: RuleValue | None, hits: int) -> bool:
    """Return whether an entry with this value can be one that had so many hits before."""
    return value is not None and value.hits >= hits


def foreign(target: Target, helps: str) -> ConflictError:
    """Return the error of a rule whose entry is dnsdist's; `helps` says what to do."""
    return ConflictError(
        f"{target_text(target)} is an entry of dnsdist's, which counts its own entries: {helps}"
    )


def places_of(target: Target, any_qtype: AnyQtype) -> list[Place]:
    """Return where a rule for a target may stand, the place we write to first."""
    return [(map_of(target), key) for key in keys_of(target, any_qtype)]


def _by_map(places: Iterable[Place]) -> dict[MapName, list[bytes]]:
    found: dict[MapName, list[bytes]] = {}
    for name, key in places:
        found.setdefault(name, []).append(key)
    return found


class Entries:
    """The entries of the rule maps with the notes about them.

    Args:
        maps: the five rule maps, open.
        state: the notes, open.
    """

    def __init__(self, maps: Mapping[MapName, Map], state: State) -> None:
        self._maps = maps
        self._state = state

    # --- all of them --------------------------------------------------------------

    def chunks(self, name: MapName) -> Iterator[tuple[bytes, bytes]]:
        """Yield (keys, values) of a map, each end to end, some thousand at a time."""
        return self._maps[name].chunks()

    def pairs(self, name: MapName) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of a map; one that moves meanwhile may come twice."""
        for keys, values in self._maps[name].chunks():
            yield from self._pairs(name, keys, values)

    def _pairs(self, name: MapName, keys: bytes, values: bytes) -> Iterator[tuple[bytes, bytes]]:
        info = self._maps[name].info
        return zip(_split(keys, info.key_size), _split(values, info.value_size), strict=True)

    def entries(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of one map or all, of one origin or all, each once."""
        for name in abi.RULE_MAPS if map_name is None else (map_name,):
            seen: set[int] = set()
            for keys, blob in self._maps[name].chunks():
                new = [
                    (key, value)
                    for key, value in self._pairs(name, keys, blob)
                    if hash(key) not in seen
                ]
                seen.update(hash(key) for key, _ in new)
                values = {key: abi.decode_value(value) for key, value in new}
                for entry in self.with_notes(name, values):
                    if origin is None or entry.origin == origin:
                        yield entry

    def values(self, places: Iterable[Place]) -> dict[Place, RuleValue | None]:
        """Return the values of exactly these keys."""
        return {
            (name, key): value
            for name, keys in _by_map(places).items()
            for key, value in zip(keys, read_values(self._maps[name], keys), strict=True)
        }

    def slots(self, places: Iterable[Place]) -> dict[Place, Slot]:
        """Return what is at these places: values and notes, valid or not."""
        found: dict[Place, Slot] = {}
        for name, keys in _by_map(places).items():
            notes = self._state.get_many(name, keys)
            for key, value in zip(keys, read_values(self._maps[name], keys), strict=True):
                found[name, key] = Slot(name, key, value, notes.get(key))
        return found

    def with_notes(self, name: MapName, values: Mapping[bytes, RuleValue]) -> list[Entry]:
        """Return entries of one map, given by key and value, with our valid notes."""
        notes = self._state.get_many(name, list(values))
        entries = []
        for key, value in values.items():
            note = notes.get(key)
            entries.append(Entry(name, key, *value, note if owns(note, value) else None))
        return entries

    # --- a page -------------------------------------------------------------------

    def page(
        self, map_name: MapName | None, origin: str | None, after: Cursor | None, limit: int
    ) -> tuple[list[Entry], Cursor | None]:
        """Return at most `limit` entries behind a cursor, and the next cursor.

        A page may be shorter than `limit` and still have a next one.
        """
        names: tuple[MapName, ...] = abi.RULE_MAPS if map_name is None else (map_name,)
        if after is not None:
            names = names[names.index(after.map) :] if after.map in names else ()
        found: list[Entry] = []
        scanned = 0
        for name in names:
            cursor: Cursor | None = after if after and after.map == name else Cursor(name)
            while cursor is not None:
                if len(found) >= limit or scanned >= _SCAN_MAX:
                    return found, cursor
                part, looked_at, cursor = self._part(cursor, origin, limit - len(found))
                scanned += looked_at
                found += [one for one in part if origin is None or one.origin == origin]
        return found, None

    def _part(
        self, cursor: Cursor, origin: str | None, limit: int
    ) -> tuple[list[Entry], int, Cursor | None]:
        """Return entries of one map behind a cursor, how many were looked at, where to read on."""
        if origin is not None and origin != DNSDIST_ORIGIN:
            return self._part_of_ours(cursor, origin, limit)
        name = cursor.map
        if name in TRIES:
            values = dict(self.pairs(name))
            keys = heapq.nsmallest(limit + 1, (key for key in values if key > cursor.after))
            more = keys[limit - 1] if len(keys) > limit else None
            following = None if more is None else replace(cursor, after=more)
            values = {key: values[key] for key in keys[:limit]}
        else:
            values, following = self._buckets(cursor, limit)
        found = {key: abi.decode_value(value) for key, value in values.items()}
        return self.with_notes(name, found), len(found), following

    def _buckets(self, cursor: Cursor, limit: int) -> tuple[dict[bytes, bytes], Cursor | None]:
        """Return entries of a hash map behind a cursor, and where to read on.

        Whole buckets, as the order within one is nobody's; but one that is larger than
        the page is divided, by key.
        """
        name = cursor.map
        following: Cursor | None
        if cursor.after and (values := self._bucket(name, cursor.bucket)) is not None:
            following = Cursor(name, cursor.bucket + 1)
            values = {key: value for key, value in values.items() if key > cursor.after}
        else:
            keys, blob, bucket = self._maps[name].part(cursor.bucket, limit)
            values = dict(self._pairs(name, keys, blob))
            following = None if bucket is None else Cursor(name, bucket)
            if len(values) > limit:  # one bucket alone
                cursor = Cursor(name, self._bucket_of(name, cursor.bucket, bucket, values))
        if len(values) <= limit:
            return values, following
        keys_in_order = sorted(values)[:limit]
        return {key: values[key] for key in keys_in_order}, replace(cursor, after=keys_in_order[-1])

    def _bucket(self, name: MapName, bucket: int) -> dict[bytes, bytes] | None:
        """Return one bucket's entries; None where it is empty (others behind it are given)."""
        keys, blob, _ = self._maps[name].part(bucket, 1)
        behind, _, _ = self._maps[name].part(bucket + 1, 1)
        return None if keys == behind else dict(self._pairs(name, keys, blob))

    def _bucket_of(
        self, name: MapName, start: int, end: int | None, values: Mapping[bytes, bytes]
    ) -> int:
        """Find the bucket of entries that lie in one, not before `start`."""
        low, high = start, _BUCKETS_MAX if end is None else end
        while high - low > 1:
            middle = (low + high) // 2
            keys, _, _ = self._maps[name].part(middle, 1)
            there = keys[: self._maps[name].info.key_size] in values
            low, high = (middle, high) if there else (low, middle)
        return low

    def _part_of_ours(
        self, cursor: Cursor, origin: str, limit: int
    ) -> tuple[list[Entry], int, Cursor | None]:
        notes, following = self._state.page_of(origin, cursor.map, cursor.after, limit)
        values = self.values((note.map, note.key) for note in notes)
        entries = []
        for note in notes:
            value = values[note.map, note.key]
            if value is not None and owns(note, value):
                entries.append(Entry(note.map, note.key, *value, note))
        looked_at = len(notes) if len(notes) == limit or following is None else _SCAN_MAX
        return entries, looked_at, None if following is None else replace(cursor, after=following)

    # --- the most hit -------------------------------------------------------------

    def counters(self, map_name: MapName | None) -> Counters:
        """Return the counters that are not 0."""
        return {
            name: {stored_key(abi.MAPS[name].ref, key): hits for hits, key in self._hit(name)}
            for name in (abi.RULE_MAPS if map_name is None else (map_name,))
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
                for name in (abi.RULE_MAPS if map_name is None else (map_name,))
                for gain, key in self._gains(name, None if before is None else before[name])
            ),
        )
        values = self.values((name, key) for _, name, key in best)
        found = []
        for gain, name, key in dict.fromkeys(best):  # a walk may give an entry twice
            if (value := values[name, key]) is not None:
                (entry,) = self.with_notes(name, {key: value})
                found.append(TopEntry(entry, None if before is None else gain / seconds))
        return found

    def _gains(
        self, name: MapName, before: Mapping[bytes, int] | None
    ) -> Iterator[tuple[int, bytes]]:
        if before is None:
            yield from self._hit(name)
            return
        ref = abi.MAPS[name].ref
        for hits, key in self._hit(name):
            gain = hits - before.get(stored_key(ref, key), 0)
            if gain > 0:
                yield gain, key

    def _hit(self, name: MapName) -> Iterator[tuple[int, bytes]]:
        """Yield (counter, key) of the entries whose counter is not 0."""
        size = abi.MAPS[name].key_size
        for keys, values in self._maps[name].chunks():
            hits = memoryview(values).cast("Q")[::2].tolist()
            for number, count in enumerate(hits):
                if count:
                    yield count, keys[number * size : (number + 1) * size]

    # --- as lines -----------------------------------------------------------------

    def lines(
        self, any_qtype: AnyQtype, *, everything: bool, at_once: bool = False
    ) -> Iterator[str]:
        """Yield the lines of `export`: our rules, and with `everything` dnsdist's too.

        Args:
            any_qtype: how a name without a type is written.
            everything: dnsdist's too.
            at_once: read each map whole, for which there is time and memory, rather than
                each of our entries in a call of its own.
        """
        text = _Lines(any_qtype)
        for name in abi.RULE_MAPS:
            ref, after = abi.MAPS[name].ref, b""
            known = self._whole(name) if at_once else None
            while rows := self._state.rows(name, after, NOTES_AT_ONCE):
                after = rows[-1][1]
                keys = [full_key(ref, row[1]) for row in rows]
                values = (
                    self._maps[name].lookup_many(b"".join(keys))
                    if known is None
                    else [known.get(key) for key in keys]
                )
                for row, value in zip(rows, values, strict=True):
                    _, stored, _, origin, reason, _, expires, noted = row
                    if value is None:
                        continue
                    action, hits = _UNHIT.get(value) or abi.decode_value(value)
                    if hits >= noted:
                        yield from text.of(name, stored, action, origin, reason, expires)
            if everything:
                for entry in self.entries(name, DNSDIST_ORIGIN):
                    stored = stored_key(ref, entry.key)
                    yield from text.of(name, stored, entry.action, DNSDIST_ORIGIN, "", None)

    def _whole(self, name: MapName) -> dict[bytes, bytes]:
        """Read a map whole; equal values are one object."""
        opened, found = self._maps[name], dict[bytes, bytes]()
        one_of: dict[bytes, bytes] = {}
        for keys, values in opened.chunks():
            each = _split(values, opened.stored_size)
            found.update(
                zip(
                    _split(keys, opened.info.key_size),
                    (one_of.setdefault(value, value) for value in each),
                    strict=True,
                )
            )
        return found


_UNHIT = {abi.encode_value(action): RuleValue(action, 0) for action in RuleAction}


class _Lines:
    """Lines of rules: what stands behind the target is written once and kept."""

    def __init__(self, any_qtype: AnyQtype) -> None:
        self._any_qtype = any_qtype
        self._kept: dict[tuple[RuleAction, str, str, int | None], str] = {}

    def of(  # noqa: PLR0913, PLR0917 - the columns of a note, by the million
        self,
        name: MapName,
        stored: bytes,
        action: RuleAction,
        origin: str,
        reason: str,
        expires: float | None,
    ) -> tuple[str, ...]:
        """Return the line of a rule, none where no packet matches its key."""
        expires_in = None if expires is None else max(1, math.ceil(expires - boot_clock()))
        try:
            target = self._target(name, stored)
        except TargetError:
            return ()
        if isinstance(target, Question):  # with a type, perhaps
            rule = Rule(target, action, reason, origin, expires_in=expires_in)
            return (format_rule_line(rule),)
        options = action, origin, reason, expires_in
        rest = self._kept.get(options)
        if rest is None:
            rule = Rule(_ANY, action, reason, origin, expires_in=expires_in)
            rest = format_rule_line(rule).removeprefix(str(_ANY))
            if len(self._kept) < _LINES_KEPT:
                self._kept[options] = rest
        return (f"{target}{rest}",)

    def _target(self, name: MapName, stored: bytes) -> Target | str:
        if name is MapName.ADDR_V4:
            return socket.inet_ntoa(stored[:: abi.ADDR_V4_STEP])
        return target_of(name, full_key(abi.MAPS[name].ref, stored), self._any_qtype)


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
