"""What a generation of our own tables must do, whoever made it: one test for fake and kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdpctl.abi import ACTION_RENEW, TABLES, Book, MapName, RuleAction
from xdpctl.errors import TableFullError
from xdpctl.rules import AnyQtype
from xdpctl.rules.keys import place_of
from xdpctl.store.tables.tables import ClosedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.store.tables.engine import Engine, Generation

PASS, DROP, TRUNCATE = (int(action) for action in RuleAction)
BOOK = 0x1234


def key(text: str, qtype: str | None = None, book: Book = Book.LISTS) -> bytes:
    """Return the stored key of a target."""
    return place_of(text, qtype, AnyQtype.BOTH, book)[1]


NAMES = [
    *(key(text) for text in ("evil.example", ".evil.example", "*.evil.example", ".", "*.")),
    *(key(text, "AAAA") for text in ("evil.example", ".evil.example", "*.evil.example")),
    key(".".join(["a"] * 127)),
    key(f".{'.'.join(['label'] * 16)}"),
    key(f"{'x' * 63}.{'y' * 63}.{'z' * 63}.{'w' * 61}"),
]
SOURCES = [
    key(text)
    for text in (
        *("192.0.2.1", "192.0.2.1/32", "192.0.2.0/24", "0.0.0.0/0", "10.0.0.0/8"),
        *("2001:db8::1", "2001:db8::1/128", "2001:db8::/32", "2001:db8::/48", "::/0"),
    )
]
EACH = {MapName.ZONES: NAMES[1:3], MapName.LIST_SOURCES: SOURCES, MapName.LIST_NAMES: NAMES}


class TablesContract:
    """The tests. A subclass gives the generations and lets packets hit their entries."""

    def make(self, room: int = 16, former: Engine | None = None) -> Generation:
        """Return a generation without entries."""
        raise NotImplementedError

    def hit_all(self, generation: Generation, hits: int) -> None:
        """Let each entry have been hit so often more."""
        raise NotImplementedError

    @pytest.fixture
    def made(self) -> Generation:
        return self.make()

    @pytest.mark.parametrize("name", TABLES)
    def test_what_is_put_is_found_and_nothing_else_is(
        self, made: Generation, name: MapName
    ) -> None:
        keys = EACH[name]
        for number, one in enumerate(keys):
            assert made.put(name, [one], [DROP]) == 1
            found = made.look_up(name, keys)
            assert found == [DROP] * (number + 1) + [None] * (len(keys) - number - 1)
            assert made.count(name) == number + 1

    @pytest.mark.parametrize("name", TABLES)
    def test_another_claims_entry_has_its_action_and_counts_from_0(
        self, made: Generation, name: MapName
    ) -> None:
        keys = EACH[name]
        made.put(name, keys, [DROP] * len(keys))
        self.hit_all(made, 7)
        assert made.put(name, keys[:1], [DROP | ACTION_RENEW]) == 0
        assert made.put(name, keys[1:2], [TRUNCATE | ACTION_RENEW]) == 0
        found = made.look_up(name, keys)
        assert found == [DROP, TRUNCATE, *[7 << 8 | DROP] * (len(keys) - 2)]
        assert made.count(name) == len(keys)

    def test_a_name_in_one_book_is_not_in_the_other(self, made: Generation) -> None:
        made.put(MapName.ZONES, [NAMES[1]], [PASS])
        assert made.look_up(MapName.LIST_NAMES, [NAMES[1]]) == [None]
        made.put(MapName.LIST_NAMES, [NAMES[1]], [DROP])
        assert made.look_up(MapName.ZONES, [NAMES[1]]) == [PASS]
        assert made.remove(MapName.ZONES, [NAMES[1]]) == 1
        assert made.look_up(MapName.LIST_NAMES, [NAMES[1]]) == [DROP]

    @pytest.mark.parametrize("name", TABLES)
    def test_another_action_leaves_the_counter(self, made: Generation, name: MapName) -> None:
        keys = EACH[name]
        made.put(name, keys, [DROP] * len(keys))
        self.hit_all(made, 5)
        for action in (TRUNCATE, PASS, DROP, DROP):
            assert made.put(name, keys, [action] * len(keys)) == 0
            assert made.look_up(name, keys) == [5 << 8 | action] * len(keys)

    def test_of_a_key_that_comes_twice_the_last_action_counts(self, made: Generation) -> None:
        one = SOURCES[0]
        assert made.put(MapName.LIST_SOURCES, [one, one, one], [PASS, TRUNCATE, DROP]) == 1
        assert made.look_up(MapName.LIST_SOURCES, [one]) == [DROP]

    @pytest.mark.parametrize("name", TABLES)
    def test_what_is_removed_is_gone_with_its_counter(
        self, made: Generation, name: MapName
    ) -> None:
        keys = EACH[name]
        made.put(name, keys, [DROP] * len(keys))
        self.hit_all(made, 5)
        assert made.remove(name, [*keys[1:], keys[1]]) == len(keys) - 1
        assert made.look_up(name, keys) == [5 << 8 | DROP] + [None] * (len(keys) - 1)
        assert made.count(name) == 1
        made.put(name, keys[1:], [DROP] * (len(keys) - 1))
        assert made.look_up(name, keys[1:]) == [DROP] * (len(keys) - 1)

    def test_what_was_removed_is_counted_for_maps_that_share_a_table(
        self, made: Generation
    ) -> None:
        for name, keys in EACH.items():
            made.put(name, keys, [DROP] * len(keys))
        made.remove(MapName.ZONES, [*NAMES[:3], NAMES[1]])
        made.remove(MapName.LIST_NAMES, NAMES[:4])
        made.remove(MapName.LIST_SOURCES, SOURCES[:5])
        assert {name: made.removed(name) for name in TABLES} == {
            MapName.ZONES: 6,
            MapName.LIST_NAMES: 6,
            MapName.LIST_SOURCES: 5,
        }

    def test_nothing_is_asked_for_nothing(self, made: Generation) -> None:
        for name in TABLES:
            assert made.look_up(name, []) == []
            assert made.put(name, [], []) == 0
            assert made.remove(name, []) == 0

    @pytest.mark.parametrize("name", [MapName.LIST_SOURCES, MapName.LIST_NAMES])
    def test_a_full_table_takes_what_it_can_and_nothing_behind_it(
        self, made: Generation, name: MapName
    ) -> None:
        many = [
            key(f"10.{n >> 8 & 255}.{n & 255}.1" if name is MapName.LIST_SOURCES else f".z{n}.x")
            for n in range(10_000)
        ]
        room = made.room(name)
        with pytest.raises(TableFullError) as full:
            made.put(name, many, [DROP] * len(many))
        done = full.value.done
        assert room <= done == full.value.created == made.count(name) < len(many)
        assert made.look_up(name, many) == [DROP] * done + [None] * (len(many) - done)
        assert made.room(name) <= 0
        other = MapName.LIST_NAMES if name is MapName.LIST_SOURCES else MapName.LIST_SOURCES
        assert made.room(other) > 0

    def test_names_and_zones_share_their_room(self, made: Generation) -> None:
        before = made.room(MapName.ZONES)
        made.put(MapName.LIST_NAMES, NAMES, [DROP] * len(NAMES))
        assert made.room(MapName.ZONES) == made.room(MapName.LIST_NAMES) == before - len(NAMES)

    def test_the_next_generation_takes_the_counters_over(self, made: Generation) -> None:
        for name, keys in EACH.items():
            made.put(name, keys, [DROP] * len(keys))
        self.hit_all(made, 7)
        following = self.make(1_000, made)
        for name, keys in EACH.items():
            following.put(name, keys[:-1], [TRUNCATE] * (len(keys) - 1))
        self.hit_all(following, 3)
        following.add_hits_of(made)
        for name, keys in EACH.items():
            expected: Sequence[int | None] = [*[10 << 8 | TRUNCATE] * (len(keys) - 1), None]
            assert following.look_up(name, keys) == expected

    def test_the_mark_is_what_was_written_last(self, made: Generation) -> None:
        seen = [made.marked]
        for dirty in (True, False):
            made.mark(dirty=dirty)
            seen.append(made.marked)
        assert seen == [False, True, False]

    def test_what_is_closed_is_not_read(self, made: Generation) -> None:
        made.close()
        made.close()
        with pytest.raises(ClosedError):
            made.look_up(MapName.ZONES, [NAMES[1]])
        with pytest.raises(ClosedError):
            made.put(MapName.ZONES, [NAMES[1]], [DROP])
