"""Pages of rules, and cursors."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import fake_kernel
from tests.support.fake_kernel import FakeBpf, FakeKernel
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, encode_value
from xdpctl.errors import TargetError
from xdpctl.store import pages as pages_module
from xdpctl.store import state as state_module
from xdpctl.store.entries import Entries
from xdpctl.store.pages import Cursor, Pages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.fake_kernel import FakeMap
    from tests.support.fake_store import Ledger
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.store.state import Note, State

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
EACH_MAP = ["192.0.2.1", "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]


def page(
    ledger: Ledger,
    limit: int,
    after: Cursor | None = None,
    *,
    name: MapName | None = None,
    origin: str | None = None,
) -> tuple[list[str], Cursor | None]:
    """Return a page's targets, and the cursor as it comes back from a client."""
    found, following = ledger.store.pages.page(name, origin, after, limit)
    texts = [ledger.text(entry.map, entry.key) for entry in found]
    return texts, None if following is None else Cursor.parse(str(following))


def pages(
    ledger: Ledger,
    limit: int,
    *,
    name: MapName | None = None,
    origin: str | None = None,
    between: Callable[[], object] = lambda: None,
) -> list[str]:
    """Return all targets, page by page."""
    texts, cursor = page(ledger, limit, name=name, origin=origin)
    while cursor is not None:
        between()
        more, cursor = page(ledger, limit, cursor, name=name, origin=origin)
        assert len(more) <= limit
        texts += more
    return texts


def fill(ledger: Ledger, count: int = 90) -> list[str]:
    """Put entries into all maps, ours and dnsdist's in turn."""
    texts = [f"192.0.2.{n}" for n in range(count)] + [f"2001:db8::{n + 1:x}" for n in range(count)]
    texts += [f"198.51.100.{n}/32" for n in range(20)] + [f"n{n}.example" for n in range(count)]
    ledger.bulk(texts[::2], part=1000)
    for text in texts[1::2]:
        ledger.dnsdist(text)
    return texts


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 64, 100, 1000])
def test_pages_of_any_length_have_each_entry_once(ledger: Ledger, limit: int) -> None:
    texts = fill(ledger)
    assert sorted(pages(ledger, limit)) == sorted(texts)


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("origin", ["file:x", "dnsdist", "api"])
def test_pages_of_one_origin_have_its_entries_only(ledger: Ledger, limit: int, origin: str) -> None:
    texts = fill(ledger)
    wanted = {"file:x": texts[::2], "dnsdist": texts[1::2], "api": []}
    assert sorted(pages(ledger, limit, origin=origin)) == sorted(wanted[origin])


@pytest.mark.parametrize("name", RULE_MAPS)
def test_pages_of_one_map_have_its_entries_only(ledger: Ledger, name: MapName) -> None:
    texts = [text for text in fill(ledger) if ledger.place(text)[0] is name]
    assert sorted(pages(ledger, 7, name=name)) == sorted(texts)


def test_an_empty_map_is_one_empty_page(ledger: Ledger) -> None:
    assert page(ledger, 10) == ([], None)


def test_a_cursor_of_a_map_that_is_not_asked_for_is_the_end(ledger: Ledger) -> None:
    fill(ledger)
    assert page(ledger, 10, Cursor(MapName.ADDR_V4), name=MapName.QNAMES) == ([], None)


@pytest.mark.parametrize("origin", ["file:x", "dnsdist"])
def test_a_page_looks_at_so_many_entries_only_and_says_where_to_go_on(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, origin: str
) -> None:
    """What is asked for may be few among a million."""
    monkeypatch.setattr(pages_module, "_SCAN_MAX", 20)
    monkeypatch.setattr(state_module, "SCAN_MAX", 20)
    ledger.bulk([f"192.0.2.{n}" for n in range(200)], "list:y", part=1000)
    ledger.bulk([f"203.0.113.{n}" for n in range(3)])
    ledger.dnsdist("203.0.113.9")
    ledger.kernel.faults.calls.clear()
    texts, following = page(ledger, 100, origin=origin)
    assert len(texts) < 100
    assert following is not None
    assert len(ledger.kernel.faults.calls) < 100
    wanted = {
        "file:x": [f"203.0.113.{n}" for n in range(3)],
        "dnsdist": ["203.0.113.9"],
    }
    assert sorted(pages(ledger, 100, origin=origin)) == wanted[origin]


def test_a_rule_that_is_another_s_now_is_on_its_page(ledger: Ledger) -> None:
    ledger.bulk(["192.0.2.1", "192.0.2.2"])
    ledger.hit("192.0.2.1", 5)
    ledger.store.settle()
    ledger.dnsdist("192.0.2.1", hits=1)
    ledger.vanish("192.0.2.2")
    assert pages(ledger, 5, origin="file:x") == []
    assert pages(ledger, 5, origin="dnsdist") == ["192.0.2.1"]


class Moving:
    """Entries that come and go between pages, some that stay."""

    def __init__(self, buckets: int, staying: Sequence[int], limit: int) -> None:
        self.kernel = FakeKernel()
        bpf = FakeBpf(self.kernel)
        self.maps: dict[MapName, Map] = {
            name: bpf.create_map(MAPS[name], 999) for name in RULE_MAPS
        }
        self.table = cast("FakeMap", self.maps[MapName.ADDR_V4]).state.entries
        self.staying = {bytes([0, 0, 0, n]) for n in staying}
        self.limit = limit
        for key in self.staying:
            self.table[key] = encode_value(DROP)
        self.buckets = buckets

    def come(self, number: int) -> None:
        self.table[bytes([1, 0, 0, number])] = encode_value(DROP)

    def go(self, number: int) -> None:
        self.table.pop(bytes([1, 0, 0, number]), None)


class NoNotes:
    """A state in which nothing is ours."""

    def get_many(self, _name: MapName, _keys: Sequence[bytes]) -> dict[bytes, Note]:
        return {}


@settings(max_examples=150)
@given(
    buckets=st.sampled_from([1, 3, 16]),
    staying=st.lists(st.integers(0, 255), max_size=30, unique=True),
    limits=st.lists(st.integers(1, 9), min_size=1, max_size=4),
    moves=st.lists(st.tuples(st.booleans(), st.integers(0, 30)), max_size=60),
    tries=st.booleans(),
)
def test_what_is_there_all_the_time_is_on_one_page_whatever_comes_and_goes(
    buckets: int,
    staying: list[int],
    limits: list[int],
    moves: list[tuple[bool, int]],
    *,
    tries: bool,
) -> None:
    moving = Moving(buckets, staying, 3)
    listed = Pages(Entries(moving.maps, cast("State", NoNotes())), moving.maps)
    name = MapName.ADDR_V4
    if tries:  # read whole, in the order of keys
        name = MapName.CIDR4
        table = cast("FakeMap", moving.maps[name]).state.entries
        moving.staying = {bytes(4) + key for key in moving.staying}
        table |= dict.fromkeys(moving.staying, encode_value(DROP))
    found: list[bytes] = []
    cursor: Cursor | None = None
    turn = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_kernel, "_BUCKETS", buckets)
        while turn == 0 or cursor is not None:
            for come, number in moves[turn * 5 : turn * 5 + 5]:
                (moving.come if come else moving.go)(number)
            entries, cursor = listed.page(name, None, cursor, limits[turn % len(limits)])
            cursor = None if cursor is None else Cursor.parse(str(cursor))
            assert len(entries) <= limits[turn % len(limits)]
            found += [entry.key for entry in entries if entry.key in moving.staying]
            turn += 1
    assert sorted(found) == sorted(moving.staying)


# --- cursors -------------------------------------------------------------------------------


@given(st.sampled_from(RULE_MAPS), st.integers(0, 2**32 - 2), st.binary(max_size=258))
def test_a_cursor_is_read_as_it_was_written(name: MapName, bucket: int, after: bytes) -> None:
    cursor = Cursor(name, bucket, after)
    assert Cursor.parse(str(cursor)) == cursor


@given(
    st.text()
    | st.builds(
        "{}:{}:{}".format,
        st.sampled_from([*RULE_MAPS, "xskmap", ""]),
        st.integers() | st.text(max_size=3),
        st.text("0123456789abcdef ", max_size=8),
    )
)
def test_any_other_text_is_no_cursor_or_the_one_that_it_writes(text: str) -> None:
    try:
        written = str(Cursor.parse(text))
    except TargetError as error:
        written = error.text if error.field == "cursor" else ""
    assert written == text
