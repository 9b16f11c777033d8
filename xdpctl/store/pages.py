"""The rules page by page, with a cursor that stays good while entries come and go.

Owns cursors and the order of a page. Reads only; everything blocks. Called by
service/operations.py for the API.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xdpctl.abi import RULE_PLACES, TABLES, MapName
from xdpctl.errors import TargetError
from xdpctl.rules import DNSDIST_ORIGIN
from xdpctl.store.entries import Entry, pairs_in
from xdpctl.store.state import place_in_order

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from xdpctl.abi import RuleValue
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.store.entries import Entries

TRIES = (MapName.CIDR4, MapName.CIDR6)

_SCAN_MAX = 2_000
"""Entries that one page looks at while it searches for one origin's: some 20 ms."""

_BUCKETS_MAX = 1 << 32

_WAITING = _BUCKETS_MAX - 2
"""The bucket of a cursor behind one origin's rules, among its claims that wait."""


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
            TargetError: it is not a cursor.
        """
        try:
            name, bucket, after = text.split(":")
            cursor = cls(MapName(name), int(bucket), bytes.fromhex(after))
            if cursor.map not in RULE_PLACES or str(cursor) != text:
                raise ValueError(text)  # noqa: TRY301 - joined with what the conversions raise
            if not 0 <= cursor.bucket < _BUCKETS_MAX - 1:
                raise ValueError(text)  # noqa: TRY301 - the same
        except ValueError:
            raise TargetError(
                f"{text!r} is not a cursor: use `next` of the page before",
                text=text,
                field="cursor",
            ) from None
        return cursor

    def __str__(self) -> str:
        return f"{self.map}:{self.bucket}:{self.after.hex()}"


class Pages:
    """Pages of the rule maps.

    Args:
        entries: of the maps and the notes.
        maps: the shared rule maps.
    """

    def __init__(self, entries: Entries, maps: Mapping[MapName, Map]) -> None:
        self._entries = entries
        self._maps = maps

    def page(
        self,
        map_name: MapName | None,
        origin: str | None,
        after: Cursor | None,
        limit: int,
        *,
        waiting: bool = False,
    ) -> tuple[list[Entry], Cursor | None]:
        """Return at most `limit` entries behind a cursor, and the next cursor.

        A page may be shorter than `limit` and still have a next one. With `waiting`, the entries
        of an origin are also those behind which a claim of it waits.
        """
        names: tuple[MapName, ...] = RULE_PLACES if map_name is None else (map_name,)
        if after is not None:
            names = names[names.index(after.map) :] if after.map in names else ()
        found: list[Entry] = []
        scanned = 0
        for name in names:
            cursor: Cursor | None = after if after and after.map == name else Cursor(name)
            while cursor is not None:
                if len(found) >= limit or scanned >= _SCAN_MAX:
                    return found, cursor
                if origin is not None and cursor.bucket == _WAITING:
                    part, looked_at, cursor = self._part_behind(cursor, origin, limit - len(found))
                    found += part
                else:
                    place = cursor
                    part, looked_at, cursor = self._part(cursor, origin, limit - len(found))
                    found += [entry for entry in part if origin is None or entry.origin == origin]
                    if cursor is None and waiting and origin not in {None, DNSDIST_ORIGIN}:
                        cursor = Cursor(place.map, _WAITING)
                scanned += looked_at
        return found, None

    def _part_behind(
        self, cursor: Cursor, origin: str, limit: int
    ) -> tuple[list[Entry], int, Cursor | None]:
        """Return entries behind which a claim of this origin waits."""
        state = self._entries.state
        claims = state.waiting_page(cursor.map, cursor.after, limit, origin)
        keys = [claim.key for claim in claims]
        values = self._entries.values((cursor.map, key) for key in keys)
        there = {key: value for key in keys if (value := values[cursor.map, key]) is not None}
        following = replace(cursor, after=place_in_order(claims[-1])) if claims else None
        entries = self._entries.with_notes(cursor.map, there)
        return entries, len(claims), following if len(claims) == limit else None

    def _part(
        self, cursor: Cursor, origin: str | None, limit: int
    ) -> tuple[list[Entry], int, Cursor | None]:
        """Return entries of one map behind a cursor, how many were looked at, where to read on."""
        if origin is not None and origin != DNSDIST_ORIGIN:
            return self._part_of_ours(cursor, origin, limit)
        name = cursor.map
        if name in TABLES:
            return self._part_of_table(cursor, limit)
        if name in TRIES:
            values = self._entries.behind(name, cursor.after, limit + 1)
            following = None
            if len(values) > limit:
                values.popitem()
                following = replace(cursor, after=next(reversed(values)))
        else:
            values, following = self._buckets(cursor, limit)
        return self._entries.with_notes(name, values), len(values), following

    def _buckets(self, cursor: Cursor, limit: int) -> tuple[dict[bytes, RuleValue], Cursor | None]:
        """Return entries of a hash map behind a cursor, and where to read on.

        Whole buckets, because a bucket has no order of its own; a bucket that is larger than
        the page is divided by key.
        """
        name = cursor.map
        following: Cursor | None
        if cursor.after and (values := self._bucket(name, cursor.bucket)) is not None:
            following = Cursor(name, cursor.bucket + 1)
            values = {key: value for key, value in values.items() if key > cursor.after}
        else:
            keys, blob, bucket = self._maps[name].part(cursor.bucket, limit)
            values = dict(pairs_in(self._maps[name], keys, blob))
            following = None if bucket is None else Cursor(name, bucket)
            if len(values) > limit:  # one bucket alone
                cursor = Cursor(name, self._bucket_of(name, cursor.bucket, bucket, values))
        if len(values) <= limit:
            return values, following
        keys_in_order = sorted(values)[:limit]
        return {key: values[key] for key in keys_in_order}, replace(cursor, after=keys_in_order[-1])

    def _bucket(self, name: MapName, bucket: int) -> dict[bytes, RuleValue] | None:
        """Return the entries of a bucket; None if it is empty."""
        keys, blob, _ = self._maps[name].part(bucket, 1)
        behind, _, _ = self._maps[name].part(bucket + 1, 1)
        return None if keys == behind else dict(pairs_in(self._maps[name], keys, blob))

    def _bucket_of(
        self, name: MapName, start: int, end: int | None, values: Collection[bytes]
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
        notes, following = self._entries.state.page_of(origin, cursor.map, cursor.after, limit)
        entries = list(self._entries.noted(notes))
        looked_at = len(notes) if len(notes) == limit or following is None else _SCAN_MAX
        return entries, looked_at, None if following is None else replace(cursor, after=following)

    def _part_of_table(self, cursor: Cursor, limit: int) -> tuple[list[Entry], int, Cursor | None]:
        notes = self._entries.state.page(cursor.map, cursor.after, limit)
        entries = list(self._entries.noted(notes))
        if len(notes) < limit:
            return entries, len(notes), None
        return entries, len(notes), replace(cursor, after=place_in_order(notes[-1]))
