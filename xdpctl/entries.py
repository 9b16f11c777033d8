"""What is in the rule maps, and whose it is: by key, page by page, the most hit, as lines.

Reads only. The maps are the truth for what is blocked; an entry without a valid note is
dnsdist's. A note is valid while its entry is there and the entry's counter has not gone
backwards (then another wrote it anew). Used by the store and, through it, by the API.
Everything blocks.
"""

from __future__ import annotations

import heapq
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import TargetError
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Rule,
    format_rule_line,
    keys_of,
    map_of,
    target_of,
)
from xdpctl.state import Note, place_in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from xdpctl.kernel.bpf import Map
    from xdpctl.rules import Target
    from xdpctl.state import State

    Place: TypeAlias = tuple[MapName, bytes]
    Counters: TypeAlias = dict[tuple[MapName, bytes], int]

TRIES = (MapName.CIDR4, MapName.CIDR6)

NOTES_AT_ONCE = 2_000
"""Notes read at a time: some 20 ms and 1 MB."""

_SCAN_MAX = 8_192
"""Entries that one page looks at while it searches for one origin's."""


def boot_clock() -> float:
    """Return seconds of CLOCK_BOOTTIME, which goes on while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


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
            if MapName(name) not in abi.RULE_MAPS or not bucket.isascii():
                raise ValueError(text)  # noqa: TRY301 - joined with what the conversions raise
            return cls(MapName(name), int(bucket) & 0xFFFFFFFF, bytes.fromhex(after))
        except ValueError:
            raise TargetError(
                f"{text!r} is no cursor: take `next` of the page before", text=text, field="cursor"
            ) from None

    def __str__(self) -> str:
        return f"{self.map}:{self.bucket}:{self.after.hex()}"


def owns(note: Note | None, value: bytes | None) -> bool:
    """Return whether a note is valid for the entry with this value."""
    return note is not None and value is not None and abi.decode_value(value)[1] >= note.hits


def places_of(target: Target, any_qtype: AnyQtype) -> list[Place]:
    """Return where a rule for a target may stand, the place we write to first."""
    return [(map_of(target), key) for key in keys_of(target, any_qtype)]


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

    def pairs(self, name: MapName) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of a map; one that moves meanwhile may come twice."""
        opened = self._maps[name]
        key_size, value_size = opened.info.key_size, opened.info.value_size
        for keys, values in opened.chunks():
            yield from zip(_split(keys, key_size), _split(values, value_size), strict=True)

    def entries(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> Iterator[Entry]:
        """Yield the entries of one map or all, of one origin or all, each once."""
        for name in abi.RULE_MAPS if map_name is None else (map_name,):
            seen: set[bytes] = set()
            for key, value in self.pairs(name):
                if key not in seen:
                    seen.add(key)
                    entry = self._entry(name, key, value)
                    if origin is None or entry.origin == origin:
                        yield entry

    def values(self, places: Iterable[Place]) -> dict[Place, bytes | None]:
        """Return the values of exactly these keys."""
        by_map: dict[MapName, list[bytes]] = {}
        for name, key in places:
            by_map.setdefault(name, []).append(key)
        return {
            (name, key): value
            for name, keys in by_map.items()
            for key, value in zip(keys, self._maps[name].lookup_many(b"".join(keys)), strict=True)
        }

    def _entry(self, name: MapName, key: bytes, value: bytes) -> Entry:
        note = self._state.get(name, key)
        action, hits = abi.decode_value(value)
        return Entry(name, key, action, hits, note if owns(note, value) else None)

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
                part, cursor = self._part(cursor, origin, limit - len(found))
                scanned += len(part)
                found += [one for one in part if origin is None or one.origin == origin]
        return found, None

    def _part(
        self, cursor: Cursor, origin: str | None, limit: int
    ) -> tuple[list[Entry], Cursor | None]:
        """Return entries of one map behind a cursor, and where to read on in it."""
        if origin is not None and origin != DNSDIST_ORIGIN:
            return self._part_of_ours(cursor, origin, limit)
        name, opened = cursor.map, self._maps[cursor.map]
        following: int | None = None
        if name in TRIES:
            pairs = list(dict(self.pairs(name)).items())
        else:
            keys, values, following = opened.part(cursor.bucket, max(limit, 64))
            pairs = list(
                zip(
                    _split(keys, opened.info.key_size),
                    _split(values, opened.info.value_size),
                    strict=True,
                )
            )
        pairs = sorted(pair for pair in pairs if pair[0] > cursor.after)
        entries = [self._entry(name, key, value) for key, value in pairs[:limit]]
        if len(pairs) > limit:
            return entries, replace(cursor, after=pairs[limit - 1][0])
        return entries, None if following is None else Cursor(name, following)

    def _part_of_ours(
        self, cursor: Cursor, origin: str, limit: int
    ) -> tuple[list[Entry], Cursor | None]:
        notes = self._state.page(cursor.map, cursor.after, limit, origin)
        values = self.values((note.map, note.key) for note in notes)
        entries = []
        for note in notes:
            value = values[note.map, note.key]
            if value is not None and owns(note, value):
                action, hits = abi.decode_value(value)
                entries.append(Entry(note.map, note.key, action, hits, note))
        if len(notes) < limit:
            return entries, None
        return entries, replace(cursor, after=place_in_order(notes[-1]))

    # --- the most hit -------------------------------------------------------------

    def counters(self, map_name: MapName | None) -> Counters:
        """Return the counters that are not 0."""
        found: Counters = {}
        for name in abi.RULE_MAPS if map_name is None else (map_name,):
            size = abi.MAPS[name].key_size
            for keys, values in self._maps[name].chunks():
                hits = memoryview(values).cast("Q")[::2].tolist()
                for number, count in enumerate(hits):
                    if count:
                        found[name, keys[number * size : (number + 1) * size]] = count
        return found

    def top(
        self, count: int, counters: Counters, before: Counters | None, seconds: float
    ) -> list[TopEntry]:
        """Return the entries hit most, all in all or since `before`.

        Args:
            count: how many at most.
            counters: of now.
            before: of `seconds` ago; None: since ever.
            seconds: between the two.
        """
        if before is None:
            best = heapq.nlargest(count, ((hits, *place) for place, hits in counters.items()))
        else:
            gains = (
                (hits - before.get(place, 0), *place)
                for place, hits in counters.items()
                if hits > before.get(place, 0)
            )
            best = heapq.nlargest(count, gains)
        values = self.values((name, key) for _, name, key in best)
        return [
            TopEntry(self._entry(name, key, value), None if before is None else gain / seconds)
            for gain, name, key in best
            if (value := values[name, key]) is not None
        ]

    # --- as lines -----------------------------------------------------------------

    def lines(self, any_qtype: AnyQtype, *, everything: bool) -> Iterator[str]:
        """Yield the lines of `export`: our rules, and with `everything` dnsdist's too."""
        for name in abi.RULE_MAPS:
            after, notes = b"", [_NO_NOTE]
            while notes:
                notes = self._state.page(name, after, NOTES_AT_ONCE)
                for note in notes:
                    after = place_in_order(note)
                    if line := _line(note, any_qtype):
                        yield line
            if everything:
                for entry in self.entries(name, DNSDIST_ORIGIN):
                    stand_in = Note(name, entry.key, entry.action, DNSDIST_ORIGIN, "", 0)
                    if line := _line(stand_in, any_qtype):
                        yield line


_NO_NOTE = Note(MapName.ADDR_V4, b"", RuleAction.PASS, "", "", 0)


def _line(note: Note, any_qtype: AnyQtype) -> str:
    """Return a note as a rule's line, or nothing where no packet can match its key."""
    try:
        target = target_of(note.map, note.key, any_qtype)
    except TargetError:
        return ""
    expires = None if note.expires is None else max(1, math.ceil(note.expires - boot_clock()))
    return format_rule_line(Rule(target, note.action, note.reason, note.origin, expires_in=expires))


def _split(data: bytes, size: int) -> Iterator[bytes]:
    return (data[start : start + size] for start in range(0, len(data), size))
