"""Lists, pages and exports on the kernel's own maps: batches, buckets, full maps."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import rule_maps
from xdpctl.abi import RULE_MAPS, MapName, RuleAction, encode_value
from xdpctl.errors import MapFullError
from xdpctl.rules import AnyQtype, key_of, map_of, parse_target, target_of, target_text
from xdpctl.rules.lines import LineReader
from xdpctl.store.change import Change
from xdpctl.store.export import lines_of
from xdpctl.store.pages import Cursor
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.store.bulk import BulkResult

pytestmark = pytest.mark.root

ROOM = 512
DROP, PASS = RuleAction.DROP, RuleAction.PASS


@pytest.fixture
def maps() -> Iterator[dict[MapName, Map]]:
    with rule_maps(ROOM) as maps:
        yield maps


@pytest.fixture
def store(maps: dict[MapName, Map], tmp_path: Path) -> Iterator[Store]:
    with State.open(tmp_path / "state.db") as state:
        store = Store(maps, state, AnyQtype.BOTH)
        store.reconcile()
        yield store


def load(store: Store, lines: Sequence[str], *, replace: bool = False) -> BulkResult:
    """Import lines in parts of 100."""
    reader = LineReader("file:x", store.any_qtype, 0.0)
    parts = (reader.rows(lines[at : at + 100], at + 1) for at in range(0, len(lines), 100))
    return store.bulk(Change(source=parts, origin="file:x", replace=replace))


def write(maps: dict[MapName, Map], text: str, hits: int = 0) -> None:
    """Write an entry as another would, with garbage behind the action."""
    target = parse_target(text)
    value = encode_value(DROP, hits)[:9] + b"garbage"
    maps[map_of(target)].update(key_of(target, AnyQtype.BOTH), value)


def shown(store: Store, origin: str | None = None) -> dict[str, tuple[RuleAction, int]]:
    """Return action and counter of each target."""
    return {
        target_text(target_of(e.map, e.key, AnyQtype.BOTH)): (e.action, e.hits)
        for e in store.entries(origin=origin)
    }


EACH = [
    *(f"192.0.2.{n}" for n in range(250)),
    *(f"2001:db8::{n:x}" for n in range(1, 250)),
    *(f"198.51.100.{n}/32" for n in range(120)),
    *("198.51.100.0/24", "198.51.100.0/25", "0.0.0.0/0"),
    *(f"2001:db8:{n:x}::/48" for n in range(1, 120)),
    *(f"n{n}.example" for n in range(250)),
]


def test_a_list_goes_into_all_maps_and_out_again(store: Store) -> None:
    assert load(store, EACH).created == len(EACH)
    assert shown(store) == dict.fromkeys(EACH, (DROP, 0))
    result = load(store, EACH[::2], replace=True)
    assert (result.removed, result.unchanged) == (len(EACH) // 2, len(EACH[::2]))
    assert set(shown(store)) == set(EACH[::2])


def test_what_is_in_both_lists_keeps_its_counter(store: Store, maps: dict[MapName, Map]) -> None:
    load(store, EACH)
    for text in EACH[::7]:
        write(maps, text, hits=41)
    load(store, [*EACH[::7], "203.0.113.1"], replace=True)
    assert shown(store) == dict.fromkeys(EACH[::7], (DROP, 41)) | {"203.0.113.1": (DROP, 0)}


def test_anothers_entries_are_left_as_they_are_prefixes_too(
    store: Store, maps: dict[MapName, Map]
) -> None:
    theirs = [*EACH[::9], "198.51.100.0/26"]
    for text in theirs:
        write(maps, text, hits=3)
    result = load(store, EACH)
    assert (result.theirs, result.created) == (len(EACH[::9]), len(EACH) - len(EACH[::9]))
    assert shown(store, "dnsdist") == dict.fromkeys(theirs, (DROP, 3))
    assert load(store, [], replace=True).removed == len(EACH)
    assert set(shown(store)) == set(theirs)


@pytest.mark.parametrize(
    "name_of", ["198.18.{}.{}".format, "198.18.{}.{}/32".format, "n{}.n{}.example".format]
)
def test_a_list_that_does_not_fit_changes_nothing_and_one_that_does_fills_the_map(
    store: Store, maps: dict[MapName, Map], name_of: Callable[[int, int], str]
) -> None:
    lines = [name_of(n // 200, n % 200) for n in range(ROOM + 88)]
    write(maps, name_of(250, 1))
    with pytest.raises(MapFullError) as caught:
        load(store, lines)
    assert caught.value.done == 0 == len(shown(store, "file:x"))
    assert load(store, lines[88:-1], replace=True).theirs == 0
    assert set(shown(store, "file:x")) == set(lines[88:-1])


@pytest.mark.parametrize("limit", [1, 2, 5, 64, 200])
@pytest.mark.parametrize("name", RULE_MAPS)
def test_pages_have_each_entry_once_while_others_come_and_go(
    store: Store, maps: dict[MapName, Map], name: MapName, limit: int
) -> None:
    chosen = random.Random(limit)
    staying = [text for text in EACH if map_of(parse_target(text)) is name][:100]
    load(store, staying)
    moving = {
        MapName.ADDR_V4: "203.0.113.{}",
        MapName.ADDR_V6: "2001:db8:ffff::{}",
        MapName.CIDR4: "203.0.113.{}/32",
        MapName.CIDR6: "2001:db8:ffff::{}/128",
        MapName.QNAMES: "m{}.example",
    }[name]
    found: list[str] = []
    cursor: Cursor | None = Cursor(name)
    while cursor is not None:
        for _ in range(limit):
            text = moving.format(chosen.randrange(1, 100))
            if chosen.random() < 0.5:
                write(maps, text)
            else:
                maps[name].delete(key_of(parse_target(text), AnyQtype.BOTH))
        entries, cursor = store.pages.page(name, None, cursor, limit)
        assert len(entries) <= limit
        found += [target_text(target_of(e.map, e.key, AnyQtype.BOTH)) for e in entries]
        cursor = None if cursor is None else Cursor.parse(str(cursor))
    counts = {text: found.count(text) for text in staying}
    assert counts == dict.fromkeys(staying, 1)


@pytest.mark.parametrize("limit", [1, 3, 100])
def test_pages_of_all_maps_end_and_have_all(store: Store, limit: int) -> None:
    load(store, EACH)
    found: list[str] = []
    cursor: Cursor | None = None
    while not found or cursor is not None:
        entries, cursor = store.pages.page(None, None, cursor, limit)
        found += [target_text(target_of(e.map, e.key, AnyQtype.BOTH)) for e in entries]
    assert sorted(found) == sorted(EACH)


def test_an_export_goes_into_new_maps_as_the_same_rules(store: Store) -> None:
    load(store, [f'{text} action=pass reason="a b"' for text in EACH])
    first = list(lines_of(store.listing, store.any_qtype, everything=True))
    assert store.flush(None, None) == len(EACH)
    load(store, first)
    assert list(lines_of(store.listing, store.any_qtype, everything=True)) == first


def test_the_most_hit_are_found(store: Store, maps: dict[MapName, Map]) -> None:
    load(store, EACH)
    for hits, text in enumerate(EACH[::50], 1):
        write(maps, text, hits)
    top = store.most_hit.top(3, None, None)
    assert [e.entry.hits for e in top] == [len(EACH[::50]) - n for n in range(3)]
