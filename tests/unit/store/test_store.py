"""Whose an entry is, what changes it, and what a crash or a full map leaves behind."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import settings

from tests.support.fake_host import FakeHost, dnsdist_writes, rule
from tests.support.fake_kernel import FakeBpf, FakeKernel, FakeMap
from tests.support.store_model import PLENTY, Rulebook
from xdpctl.abi import (
    MAPS,
    RULE_MAPS,
    MapName,
    RuleAction,
    decode_qname,
    decode_value,
    encode_qname,
)
from xdpctl.errors import (
    ConflictError,
    KernelError,
    MapFullError,
    NotFoundError,
    StateError,
    TargetError,
)
from xdpctl.rules import AnyQtype, Name, Question, Rule, key_of, map_of, parse_target
from xdpctl.store.overlap import WARNINGS_MAX
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target

ADDRESS = parse_target("192.0.2.1")
OTHER = parse_target("192.0.2.2")
WIDE = parse_target("198.51.100.0/24")
NARROW = parse_target("198.51.100.0/28")
NAME = Question(Name.from_text("www.example"))
ROOM_FOR = 8


class Book:
    """A store on five fake maps, which can be opened again as after a restart."""

    def __init__(self, host: FakeHost, any_qtype: AnyQtype = AnyQtype.BOTH) -> None:
        self.host = host
        self.any_qtype = any_qtype
        self.maps = host.rule_maps(ROOM_FOR)
        self.changes: list[tuple[MapName, int]] = []
        self.now = 1000.0
        self.open()

    def open(self) -> None:
        """Open state and store, as at the start of a service."""
        self.state = State.open(self.host.directory / "state.db")
        self.store = Store(
            self.maps,
            self.state,
            self.any_qtype,
            on_change=lambda name, difference: self.changes.append((name, difference)),
            clock=lambda: self.now,
        )

    def restart(self) -> None:
        """Start again on the same maps."""
        self.state.close()
        self.open()
        self.store.reconcile()

    def reboot(self) -> None:
        """Lose the maps; make new ones, in which nothing is yet."""
        self.state.close()
        self.maps = self.host.rule_maps(ROOM_FOR)
        self.open()

    def value(self, target: Target) -> tuple[RuleAction, int] | None:
        """Return action and counter as the map has them."""
        state = cast("FakeMap", self.maps[map_of(target)]).state
        found = state.entries.get(key_of(target, self.store.any_qtype))
        return None if found is None else decode_value(found)

    def hit(self, target: Target, hits: int) -> None:
        """Let a rule's counter be this."""
        found = self.value(target)
        assert found is not None
        dnsdist_writes(self.maps, target, hits, self.any_qtype, found[0])

    def origins(self) -> dict[str, str]:
        """Return the origin of each entry, by its key in hex."""
        return {entry.key.hex(): entry.origin for entry in self.store.entries()}

    def origin(self, target: Target) -> str:
        """Return the origin of one entry."""
        return self.origins()[key_of(target, self.store.any_qtype).hex()]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


@pytest.fixture
def book(host: FakeHost) -> Iterator[Book]:
    book = Book(host)
    book.store.reconcile()
    yield book
    book.state.close()


class RulebookOnFakes(Rulebook):
    """The model on maps in memory, whose tries find shorter prefixes."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = FakeKernel()

    def make_maps(self) -> dict[MapName, Map]:
        bpf = FakeBpf(self.kernel)
        made: dict[MapName, Map] = {name: bpf.create_map(MAPS[name], PLENTY) for name in RULE_MAPS}
        return made


TestAnySequence = RulebookOnFakes.TestCase
TestAnySequence.settings = settings(max_examples=100, stateful_step_count=30)


# --- making, changing, removing --------------------------------------------------------


@pytest.mark.parametrize("target", [ADDRESS, WIDE, NAME, parse_target("2001:db8::1")])
def test_a_new_rule_is_in_its_map_and_ours(book: Book, target: Target) -> None:
    result = book.store.put([Rule(target, RuleAction.TRUNCATE)])
    assert (result.created, result.updated) == (1, 0)
    assert (book.value(target), book.origin(target)) == ((RuleAction.TRUNCATE, 0), "cli")


def test_a_new_entry_has_no_garbage_behind_its_action(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    key = key_of(ADDRESS, AnyQtype.BOTH)
    assert book.maps[MapName.ADDR_V4].lookup(key) == bytes(8) + b"\x01" + bytes(7)


def test_a_change_of_the_action_keeps_the_counter(book: Book) -> None:
    book.store.put([Rule(ADDRESS), Rule(WIDE)])
    for target in (ADDRESS, WIDE):
        book.hit(target, 41)
    result = book.store.put([Rule(t, RuleAction.PASS) for t in (ADDRESS, WIDE)])
    assert (result.created, result.updated) == (0, 2)
    assert [book.value(target) for target in (ADDRESS, WIDE)] == [(RuleAction.PASS, 41)] * 2


def test_packets_counted_while_a_rule_changes_are_kept(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    afterwards(book.state, "write_claims", lambda: book.hit(ADDRESS, 7))
    book.store.put([Rule(ADDRESS, RuleAction.PASS)])
    assert book.value(ADDRESS) == (RuleAction.PASS, 7)


def test_a_change_of_the_reason_alone_does_not_touch_the_map(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.host.kernel.faults.set("map.update", errno.EPERM)
    book.store.put([Rule(ADDRESS, reason="a flood")])
    (entry,) = book.store.entries()
    assert entry.note is not None
    assert (entry.note.reason, entry.origin) == ("a flood", "cli")


def test_a_changed_rule_keeps_the_time_of_its_making(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.now = 2000.0
    book.store.put([Rule(ADDRESS, RuleAction.PASS), Rule(OTHER)])
    made = {e.key: e.note.created for e in book.store.entries() if e.note is not None}
    assert sorted(made.values()) == [1000.0, 2000.0]


def test_a_rule_made_again_after_its_entry_vanished_is_new(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.maps[MapName.ADDR_V4].delete(key_of(ADDRESS, AnyQtype.BOTH))
    book.now = 2000.0
    assert book.store.put([Rule(ADDRESS)]).created == 1
    (entry,) = book.store.entries()
    assert entry.note is not None
    assert entry.note.created == 2000.0


def test_a_removed_rule_is_gone_from_map_and_state(book: Book) -> None:
    book.store.put([Rule(ADDRESS), Rule(NAME)])
    assert book.store.remove([ADDRESS, NAME]).removed == 2
    assert (list(book.store.entries()), book.state.notes(MapName.ADDR_V4)) == ([], {})


def test_an_address_and_its_longest_prefix_are_two_rules(book: Book) -> None:
    book.store.put([Rule(ADDRESS), rule("192.0.2.1/32")])
    book.store.remove([ADDRESS])
    assert [entry.map for entry in book.store.entries()] == [MapName.CIDR4]


def test_what_is_not_there_is_not_removed_and_nothing_else_is(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    with pytest.raises(NotFoundError, match=r"no rule for 192\.0\.2\.2"):
        book.store.remove([ADDRESS, OTHER])
    assert book.value(ADDRESS) is not None


def test_a_rule_given_twice_is_removed_once(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    assert book.store.remove([ADDRESS, ADDRESS]).removed == 1


def test_a_rule_that_vanished_while_it_was_removed_is_no_error(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    instead(book.maps[MapName.ADDR_V4], "delete", lambda _key: False)
    book.changes.clear()
    assert (book.store.remove([ADDRESS]).removed, book.changes) == (1, [])


def test_of_a_rule_given_twice_the_last_reason_counts(book: Book) -> None:
    result = book.store.put([Rule(ADDRESS, reason="first"), Rule(ADDRESS, reason="last")])
    (entry,) = book.store.entries()
    assert entry.note is not None
    assert (result.created, entry.note.reason) == (1, "last")


def test_a_request_that_contradicts_itself_changes_nothing(book: Book) -> None:
    with pytest.raises(TargetError, match=r"192\.0\.2\.1 is given twice") as caught:
        book.store.put([Rule(OTHER), Rule(ADDRESS), Rule(ADDRESS, RuleAction.PASS)])
    assert (caught.value.text, list(book.store.entries())) == ("192.0.2.1", [])


def test_a_request_of_nothing_does_nothing(book: Book) -> None:
    result = book.store.put([])
    assert (result.created, result.updated, book.store.remove([]).removed) == (0, 0, 0)


def test_own_writes_are_told_one_by_one(book: Book) -> None:
    book.store.put([Rule(ADDRESS), Rule(WIDE)])
    book.store.put([Rule(ADDRESS, RuleAction.PASS)])
    book.store.remove([ADDRESS])
    assert book.changes == [(MapName.ADDR_V4, 1), (MapName.CIDR4, 1), (MapName.ADDR_V4, -1)]


# --- whose an entry is -------------------------------------------------------------------


@pytest.mark.parametrize("target", [ADDRESS, WIDE, NAME])
def test_what_dnsdist_wrote_is_listed_as_its(book: Book, target: Target) -> None:
    dnsdist_writes(book.maps, target, hits=3)
    (entry,) = book.store.entries()
    assert (entry.origin, entry.hits, entry.action) == ("dnsdist", 3, RuleAction.DROP)


@pytest.mark.parametrize("target", [ADDRESS, WIDE, NAME])
def test_what_dnsdist_wrote_is_not_blocked_by_us(book: Book, target: Target) -> None:
    dnsdist_writes(book.maps, target, hits=3)
    with pytest.raises(ConflictError, match="is an entry of dnsdist's"):
        book.store.put([Rule(OTHER), Rule(target, RuleAction.PASS)])
    assert (book.value(target), book.value(OTHER)) == ((RuleAction.DROP, 3), None)


@pytest.mark.parametrize("target", [ADDRESS, WIDE, NAME])
def test_what_dnsdist_wrote_is_not_unblocked_by_us(book: Book, target: Target) -> None:
    book.store.put([Rule(OTHER)])
    dnsdist_writes(book.maps, target)
    with pytest.raises(ConflictError):
        book.store.remove([OTHER, target])
    assert book.value(target) is not None
    assert book.value(OTHER) is not None


def test_a_counter_that_went_backwards_makes_the_entry_anothers(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.hit(ADDRESS, 10)
    book.store.settle()
    book.hit(ADDRESS, 2)
    assert book.origin(ADDRESS) == "dnsdist"
    assert book.store.remove([ADDRESS]).removed == 1
    assert book.value(ADDRESS) == (RuleAction.DROP, 2)


def test_the_counter_is_looked_at_when_a_rule_changes(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.hit(ADDRESS, 10)
    book.store.put([Rule(ADDRESS, reason="again")])
    book.hit(ADDRESS, 2)
    assert book.origin(ADDRESS) == "dnsdist"


def test_a_note_of_anothers_entry_is_forgotten_for_good(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.hit(ADDRESS, 10)
    book.store.settle()
    book.hit(ADDRESS, 2)
    book.store.settle()
    book.hit(ADDRESS, 50)
    assert book.origin(ADDRESS) == "dnsdist"


def test_a_counter_that_grew_keeps_the_entry_ours(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    for hits in (1, 5, 5, 2**40):
        book.hit(ADDRESS, hits)
        book.store.settle()
    assert book.origin(ADDRESS) == "cli"


def test_what_vanished_is_forgotten_so_that_a_later_entry_is_dnsdists(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.maps[MapName.ADDR_V4].delete(key_of(ADDRESS, AnyQtype.BOTH))
    book.store.settle()
    dnsdist_writes(book.maps, ADDRESS)
    assert book.origin(ADDRESS) == "dnsdist"


def test_what_dnsdist_writes_while_we_do_is_its_and_a_conflict(book: Book) -> None:
    afterwards(book.state, "write_claims", lambda: dnsdist_writes(book.maps, ADDRESS, hits=1))
    with pytest.raises(ConflictError):
        book.store.put([Rule(ADDRESS, RuleAction.PASS)])
    assert (book.value(ADDRESS), book.origin(ADDRESS)) == ((RuleAction.DROP, 1), "dnsdist")


# --- tries -------------------------------------------------------------------------------


def test_a_shorter_prefix_is_not_taken_for_a_longer_one(book: Book) -> None:
    dnsdist_writes(book.maps, WIDE, hits=9)
    assert book.store.put([Rule(NARROW)]).created == 1
    assert (book.value(WIDE), book.value(NARROW)) == ((RuleAction.DROP, 9), (RuleAction.DROP, 0))


def test_a_shorter_prefix_is_not_removed_for_a_longer_one(book: Book) -> None:
    book.store.put([Rule(WIDE)])
    with pytest.raises(NotFoundError):
        book.store.remove([NARROW])
    assert book.value(WIDE) is not None


def test_a_longer_prefix_keeps_its_own_counter(book: Book) -> None:
    book.store.put([Rule(WIDE), Rule(NARROW)])
    book.hit(WIDE, 100)
    book.hit(NARROW, 5)
    book.store.put([Rule(NARROW, RuleAction.TRUNCATE)])
    assert book.value(NARROW) == (RuleAction.TRUNCATE, 5)


# --- names: which type is every type --------------------------------------------------------


def name_key(qtype: int) -> bytes:
    return encode_qname(NAME.name.wire, qtype)


@pytest.mark.parametrize(
    ("mode", "qtype"), [(AnyQtype.BOTH, 65535), (AnyQtype.NEW, 65535), (AnyQtype.LEGACY, 255)]
)
def test_a_name_without_type_is_written_as_its_modes_wildcard(
    host: FakeHost, mode: AnyQtype, qtype: int
) -> None:
    book = Book(host, mode)
    book.store.put([Rule(NAME)])
    assert [entry.key for entry in book.store.entries()] == [name_key(qtype)]
    book.state.close()


@pytest.mark.parametrize("change", ["put", "remove"])
def test_the_wildcard_of_dnsdist_1_9_is_dnsdists_rule_for_that_name(
    book: Book, change: str
) -> None:
    dnsdist_writes(book.maps, NAME, any_qtype=AnyQtype.LEGACY)
    changes: dict[str, Callable[[], object]] = {
        "put": lambda: book.store.put([Rule(NAME, RuleAction.PASS)]),
        "remove": lambda: book.store.remove([NAME]),
    }
    with pytest.raises(ConflictError):
        changes[change]()


def test_a_type_beside_dnsdists_wildcard_is_a_rule_of_its_own(book: Book) -> None:
    dnsdist_writes(book.maps, NAME)
    assert book.store.put([rule("www.example", qtype="A")]).created == 1


def test_our_wildcard_of_another_mode_is_changed_where_it_stands(book: Book) -> None:
    book.store.any_qtype = AnyQtype.LEGACY
    book.store.put([Rule(NAME)])
    book.store.any_qtype = AnyQtype.BOTH
    assert book.store.put([Rule(NAME, RuleAction.PASS)]).updated == 1
    assert [entry.key for entry in book.store.entries()] == [name_key(255)]


def test_our_wildcards_of_both_modes_are_removed_together(book: Book) -> None:
    for mode in (AnyQtype.LEGACY, AnyQtype.NEW):
        book.store.any_qtype = mode
        book.store.put([Rule(NAME)])
    book.store.any_qtype = AnyQtype.BOTH
    assert (book.store.remove([NAME]).removed, list(book.store.entries())) == (2, [])


def types_of(book: Book) -> list[tuple[int, str, tuple[RuleAction, int]]]:
    """Return type, origin, action and counter of each entry for NAME."""
    return sorted(
        (decode_qname(one.key)[1], one.origin, (one.action, one.hits))
        for one in book.store.entries(MapName.QNAMES)
    )


@pytest.fixture
def in_both(book: Book) -> Book:
    """A book of mode `both` with a name of any type, hit seven times, and one of type A."""
    book.store.adopt(AnyQtype.BOTH)
    book.store.put([Rule(NAME), rule("www.example", qtype="A")])
    book.hit(NAME, 7)
    return book


HIT = (RuleAction.DROP, 7)
OF_TYPE_A = (1, "cli", (RuleAction.DROP, 0))


def test_before_another_mode_is_in_force_a_name_is_there_for_both(in_both: Book) -> None:
    for _ in range(2):
        in_both.store.prepare_for(AnyQtype.LEGACY)
        assert types_of(in_both) == [OF_TYPE_A, (255, "cli", HIT), (65535, "cli", HIT)]


def test_in_another_mode_a_name_is_there_as_it_was_with_its_counter(in_both: Book) -> None:
    in_both.store.prepare_for(AnyQtype.LEGACY)
    in_both.store.adopt(AnyQtype.LEGACY)
    assert types_of(in_both) == [OF_TYPE_A, (255, "cli", HIT)]
    in_both.store.prepare_for(AnyQtype.NEW)
    in_both.store.adopt(AnyQtype.NEW)
    assert types_of(in_both) == [OF_TYPE_A, (65535, "cli", HIT)]


def test_a_mode_that_finds_all_that_was_changes_nothing(in_both: Book) -> None:
    before = types_of(in_both)
    in_both.store.prepare_for(AnyQtype.NEW)
    in_both.store.adopt(AnyQtype.NEW)
    assert types_of(in_both) == before


def test_what_dnsdist_wrote_for_the_other_mode_stays_dnsdists(in_both: Book) -> None:
    dnsdist_writes(in_both.maps, NAME, any_qtype=AnyQtype.LEGACY)
    in_both.store.prepare_for(AnyQtype.LEGACY)
    in_both.store.adopt(AnyQtype.LEGACY)
    assert [one[:2] for one in types_of(in_both)] == [(1, "cli"), (255, "dnsdist")]


def test_a_rule_for_queries_of_type_any_is_none_for_all(book: Book) -> None:
    """With 65535 the type 255 is ANY, which is no name of any type to be rewritten."""
    book.store.adopt(AnyQtype.NEW)
    book.store.put([rule("www.example", qtype="ANY")])
    book.store.prepare_for(AnyQtype.LEGACY)
    book.store.adopt(AnyQtype.LEGACY)
    assert [one[0] for one in types_of(book)] == [255]


def test_rules_for_one_type_that_comes_to_mean_every_type_are_counted_in_the_log(
    book: Book, caplog: pytest.LogCaptureFixture
) -> None:
    book.store.adopt(AnyQtype.NEW)
    book.store.put(
        [rule("www.example", qtype="ANY"), rule("a.example"), rule("a.example", qtype="ANY")]
    )
    for mode, warned in ((AnyQtype.BOTH, 1), (AnyQtype.NEW, 0)):
        caplog.clear()
        book.store.prepare_for(mode)
        assert [one.getMessage() for one in caplog.records].count("names-widened") == warned


def test_a_full_map_leaves_what_the_former_mode_finds(in_both: Book) -> None:
    others = [Rule(Question(Name.from_text(f"n{n}.example"))) for n in range(ROOM_FOR - 2)]
    in_both.store.put(others)
    before = types_of(in_both)
    with pytest.raises(MapFullError):
        in_both.store.prepare_for(AnyQtype.LEGACY)
    assert types_of(in_both) == before


def test_a_type_that_is_every_type_in_this_mode_is_refused_before_anything(book: Book) -> None:
    with pytest.raises(TargetError, match="blocks every type"):
        book.store.put([Rule(ADDRESS), rule("www.example", qtype="ANY")])
    assert book.value(ADDRESS) is None


# --- full maps and refused writes ---------------------------------------------------------


def addresses(count: int) -> list[Rule]:
    return [rule(f"192.0.2.{number}") for number in range(100, 100 + count)]


def test_of_several_rules_for_which_a_map_has_no_room_none_is_made(book: Book) -> None:
    book.store.put([Rule(ADDRESS, RuleAction.PASS)])
    with pytest.raises(MapFullError) as caught:
        book.store.put([*addresses(ROOM_FOR), Rule(NAME)])
    assert (caught.value.done, caught.value.map_name) == (0, "addr-v4")
    assert len(book.origins()) == len(book.state.notes(MapName.ADDR_V4)) == 1
    assert book.value(ADDRESS) == (RuleAction.PASS, 0)


def test_that_refusal_says_how_many_there_are_what_fits_and_what_makes_room(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    with pytest.raises(MapFullError) as caught:
        book.store.put(addresses(ROOM_FOR + 3))
    for part in (
        f"cannot add {ROOM_FOR + 3} entries to addr-v4",
        f"room for {ROOM_FOR - 1} more of {ROOM_FOR}",
        "nothing was changed",
        "xdpctl resize addr-v4=",
    ):
        assert part in caught.value.sentence


def test_rules_that_changed_before_a_map_was_full_are_as_they_were(book: Book) -> None:
    book.store.put([Rule(ADDRESS, RuleAction.PASS, reason="first"), Rule(OTHER, origin="app:a")])
    book.hit(ADDRESS, 5)
    book.hit(OTHER, 7)
    changed = [Rule(ADDRESS, reason="second"), Rule(OTHER, RuleAction.PASS)]
    with pytest.raises(MapFullError):
        book.store.put([*changed, *addresses(ROOM_FOR)])
    assert book.value(ADDRESS) == (RuleAction.PASS, 5)
    assert book.value(OTHER) == (RuleAction.DROP, 7)
    notes = book.state.notes(MapName.ADDR_V4).values()
    assert {(note.origin, note.reason) for note in notes} == {("cli", "first"), ("app:a", "")}
    assert not book.state.has_waiting()


def test_what_cannot_be_taken_back_stays_with_its_note(book: Book) -> None:
    book.host.kernel.faults.set("map.delete", errno.EPERM, times=1)
    with pytest.raises(MapFullError) as caught:
        book.store.put(addresses(ROOM_FOR + 1))
    assert caught.value.done == ROOM_FOR
    assert len(book.origins()) == len(book.state.notes(MapName.ADDR_V4)) == ROOM_FOR
    assert set(book.origins().values()) == {"cli"}


def test_the_count_of_entries_is_right_behind_a_refusal(book: Book) -> None:
    with pytest.raises(MapFullError):
        book.store.put(addresses(ROOM_FOR + 3))
    assert sum(difference for _, difference in book.changes) == 0


def test_a_refused_change_leaves_the_former_note(book: Book) -> None:
    book.store.put([Rule(ADDRESS, reason="first")])
    book.host.kernel.faults.set("map.update", errno.EPERM)
    with pytest.raises(KernelError):
        book.store.put([Rule(ADDRESS, RuleAction.PASS, reason="second")])
    (entry,) = book.store.entries()
    assert entry.note is not None
    assert (entry.note.reason, entry.note.action, entry.action) == (
        "first",
        RuleAction.DROP,
        RuleAction.DROP,
    )


def test_a_state_that_cannot_be_written_leaves_the_map_alone(book: Book) -> None:
    book.state._connection.execute("DROP TABLE note")
    with pytest.raises(StateError):
        book.store.put([Rule(ADDRESS)])
    assert book.value(ADDRESS) is None


def test_a_rule_whose_removal_is_refused_stays_ours(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.host.kernel.faults.set("map.delete", errno.EPERM)
    with pytest.raises(KernelError):
        book.store.remove([ADDRESS])
    assert book.origin(ADDRESS) == "cli"


# --- restarts, crashes, reboots ---------------------------------------------------------------


def test_notes_are_written_before_the_map(book: Book) -> None:
    calls: list[str] = []
    afterwards(book.state, "write_claims", lambda: calls.append("noted"))
    afterwards(book.maps[MapName.ADDR_V4], "update", lambda: calls.append("written"))
    book.store.put([Rule(ADDRESS)])
    assert calls == ["noted", "written"]


def test_a_note_whose_entry_a_crash_prevented_is_forgotten_at_start(book: Book) -> None:
    crash_at(book.maps[MapName.ADDR_V4], "update")
    with pytest.raises(CrashError):
        book.store.put([Rule(ADDRESS)])
    book.maps[MapName.ADDR_V4] = reopened(book.maps[MapName.ADDR_V4])
    book.restart()
    assert book.state.notes(MapName.ADDR_V4) == {}


def test_an_entry_deleted_before_a_crash_is_forgotten_at_start(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    instead(book.state, "write_claims", raise_crash)
    with pytest.raises(CrashError):
        book.store.remove([ADDRESS])
    book.restart()
    assert (book.value(ADDRESS), book.state.notes(MapName.ADDR_V4)) == (None, {})


def test_our_rules_are_ours_after_a_restart(book: Book) -> None:
    book.store.put([Rule(ADDRESS), Rule(WIDE), Rule(NAME)])
    book.hit(ADDRESS, 5)
    book.restart()
    assert set(book.origins().values()) == {"cli"}
    assert book.value(ADDRESS) == (RuleAction.DROP, 5)


def test_what_vanished_while_we_were_away_is_not_written_again(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.maps[MapName.ADDR_V4].delete(key_of(ADDRESS, AnyQtype.BOTH))
    book.restart()
    assert (book.value(ADDRESS), book.state.notes(MapName.ADDR_V4)) == (None, {})


def test_in_new_maps_our_rules_are_written_again_with_empty_counters(book: Book) -> None:
    book.store.put([Rule(ADDRESS, RuleAction.TRUNCATE), Rule(WIDE, origin="api"), Rule(NAME)])
    book.hit(ADDRESS, 5)
    book.store.settle()
    book.reboot()
    book.store.reconcile()
    assert book.value(ADDRESS) == (RuleAction.TRUNCATE, 0)
    assert [book.origin(target) for target in (ADDRESS, WIDE, NAME)] == ["cli", "api", "cli"]


def test_in_new_maps_what_dnsdist_wrote_first_is_its(book: Book) -> None:
    book.store.put([Rule(ADDRESS, RuleAction.PASS), Rule(OTHER)])
    book.reboot()
    dnsdist_writes(book.maps, ADDRESS)
    book.store.reconcile()
    assert (book.value(ADDRESS), book.origin(ADDRESS)) == ((RuleAction.DROP, 0), "dnsdist")
    assert book.origin(OTHER) == "cli"


def test_dnsdists_own_entries_are_not_written_into_new_maps(book: Book) -> None:
    dnsdist_writes(book.maps, ADDRESS)
    book.reboot()
    book.store.reconcile()
    assert book.value(ADDRESS) is None


def test_a_crash_while_rules_are_written_again_loses_and_gives_away_none(book: Book) -> None:
    book.store.put(addresses(4))
    book.reboot()
    crash_at(book.maps[MapName.ADDR_V4], "update", after=2)
    with pytest.raises(CrashError):
        book.store.reconcile()
    book.maps[MapName.ADDR_V4] = reopened(book.maps[MapName.ADDR_V4])
    book.restart()
    assert list(book.origins().values()) == ["cli"] * 4


def test_what_dnsdist_writes_while_rules_are_written_again_is_its(book: Book) -> None:
    book.store.put([Rule(ADDRESS, RuleAction.PASS)])
    book.reboot()
    afterwards(book.state, "saw_hits", lambda: dnsdist_writes(book.maps, ADDRESS))
    book.store.reconcile()
    assert (book.value(ADDRESS), book.origin(ADDRESS)) == ((RuleAction.DROP, 0), "dnsdist")


def test_new_maps_that_are_smaller_take_what_they_can(book: Book) -> None:
    book.store.put(addresses(ROOM_FOR))
    book.reboot()
    for number in range(3):
        dnsdist_writes(book.maps, parse_target(f"203.0.113.{number}"))
    book.store.reconcile()
    assert sorted(book.origins().values()) == ["cli"] * (ROOM_FOR - 3) + ["dnsdist"] * 3
    assert len(book.state.notes(MapName.ADDR_V4)) == ROOM_FOR - 3


def test_a_refusal_while_rules_are_written_again_stops_the_start(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    book.reboot()
    book.host.kernel.faults.set("map.update", errno.EPERM)
    with pytest.raises(KernelError):
        book.store.reconcile()


# --- looking -----------------------------------------------------------------------------------


def test_entries_are_of_one_map_where_that_is_asked(book: Book) -> None:
    book.store.put([Rule(ADDRESS), Rule(WIDE)])
    assert [entry.map for entry in book.store.entries(MapName.CIDR4)] == [MapName.CIDR4]


def test_entries_are_of_one_origin_where_that_is_asked(book: Book) -> None:
    book.store.put([Rule(ADDRESS), Rule(OTHER, origin="api")])
    dnsdist_writes(book.maps, WIDE)
    found = {origin: len(list(book.store.entries(origin=origin))) for origin in ORIGINS}
    assert found == {"cli": 1, "api": 1, "dnsdist": 1, "file:x": 0}


ORIGINS = ("cli", "api", "dnsdist", "file:x")


def test_an_entry_that_a_walk_gives_twice_is_listed_once(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    table = book.maps[MapName.ADDR_V4]
    once = list(table.chunks())
    instead(table, "chunks", lambda: iter(once * 2))
    assert len(list(book.store.entries())) == 1


def test_an_action_byte_that_means_nothing_is_listed_as_pass(book: Book) -> None:
    book.maps[MapName.ADDR_V4].update(key_of(ADDRESS, AnyQtype.BOTH), bytes(8) + b"\x07" * 8)
    assert [entry.action for entry in book.store.entries()] == [RuleAction.PASS]


# --- allow rules that do not help --------------------------------------------------------------


@pytest.mark.parametrize(
    ("allowed", "dropped", "text"),
    [
        ("192.0.2.0/24", "192.0.2.1", "192.0.2.1"),
        ("192.0.2.0/24", "192.0.2.0/28", "192.0.2.0/28"),
        ("192.0.2.1/32", "192.0.2.1", "192.0.2.1"),
        ("0.0.0.0/0", "192.0.2.1", "192.0.2.1"),
        ("2001:db8::/32", "2001:db8::1", "2001:db8::1"),
        ("2001:db8::/32", "2001:db8:1::/48", "2001:db8:1::/48"),
    ],
)
def test_an_allow_rule_under_a_more_exact_drop_is_said_to_be_useless(
    book: Book, allowed: str, dropped: str, text: str
) -> None:
    book.store.put([rule(dropped)])
    (warning,) = book.store.put([rule(allowed, RuleAction.PASS)]).warnings
    assert f"allowing {allowed} does not help {text}:" in warning


def test_an_allowed_name_under_a_dropped_type_is_said_to_be_useless(book: Book) -> None:
    book.store.put([rule("www.example", qtype="A")])
    (warning,) = book.store.put([rule("www.example", RuleAction.PASS)]).warnings
    assert "does not help www.example" in warning


def test_the_warning_names_who_drops(book: Book) -> None:
    dnsdist_writes(book.maps, ADDRESS)
    (warning,) = book.store.put([rule("192.0.2.0/24", RuleAction.PASS)]).warnings
    assert "(origin dnsdist)" in warning


@pytest.mark.parametrize(
    ("allowed", "other", "action"),
    [
        ("192.0.2.0/24", "198.51.100.1", RuleAction.DROP),
        ("192.0.2.0/28", "192.0.2.0/24", RuleAction.DROP),
        ("192.0.2.1", "192.0.2.0/24", RuleAction.DROP),
        ("192.0.2.0/24", "192.0.2.1", RuleAction.PASS),
        ("192.0.2.0/24", "2001:db8::1", RuleAction.DROP),
        ("www.example", "mail.example", RuleAction.DROP),
    ],
)
def test_an_allow_rule_that_helps_has_no_warning(
    book: Book, allowed: str, other: str, action: RuleAction
) -> None:
    book.store.put([rule(other, action)])
    assert book.store.put([rule(allowed, RuleAction.PASS)]).warnings == ()


def test_a_drop_rule_has_no_warning(book: Book) -> None:
    book.store.put([Rule(ADDRESS)])
    assert book.store.put([rule("192.0.2.0/24")]).warnings == ()


def test_a_key_that_is_no_name_does_not_stop_the_warnings(book: Book) -> None:
    book.store.put([rule("www.example", qtype="A")])
    book.maps[MapName.QNAMES].update(b"\xff" * 258, bytes(8) + b"\x01" + bytes(7))
    assert len(book.store.put([rule("www.example", RuleAction.PASS)]).warnings) == 1


def test_warnings_have_an_end(host: FakeHost) -> None:
    book = Book(host)
    for name, opened in host.rule_maps(64).items():
        book.maps[name].become(opened)
    book.store.put(addresses(WARNINGS_MAX + 5))
    warnings = book.store.put([rule("192.0.2.0/24", RuleAction.PASS)]).warnings
    assert len(warnings) == WARNINGS_MAX + 1
    assert "there are more" in warnings[-1]
    book.state.close()


def test_a_store_may_be_used_from_another_thread_than_it_was_made_on(book: Book) -> None:
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(book.store.put([Rule(ADDRESS)]).created))
    thread.start()
    thread.join()
    assert done == [1]


# --- what comes in between -----------------------------------------------------------------------


def afterwards(thing: object, call: str, action: Callable[[], object]) -> None:
    """Let something happen right after each use of a method."""
    real: Callable[..., object] = getattr(thing, call)

    def both(*arguments: object, **named: object) -> object:
        result = real(*arguments, **named)
        action()
        return result

    setattr(thing, call, both)


def instead(thing: object, call: str, other: Callable[..., object]) -> None:
    """Put another function in a method's place."""
    setattr(thing, call, other)


class CrashError(Exception):
    """Stands for the end of the process: nothing of ours may catch it."""


def raise_crash(*_: object, **_named: object) -> None:
    raise CrashError


def crash_at(opened: Map, call: str, after: int = 0) -> None:
    """Let a map's call end the process, after some that go well."""
    real: Callable[..., object] = getattr(opened, call)
    done: list[None] = []

    def maybe(*arguments: object) -> object:
        if len(done) == after:
            raise CrashError
        done.append(None)
        return real(*arguments)

    setattr(opened, call, maybe)


def reopened(opened: Map) -> Map:
    """Return the same map as another process opens it."""
    fake = cast("FakeMap", opened)
    return FakeMap(fake.kernel, fake.state, fake.label)


def test_the_maps_of_the_book_are_all_rule_maps(book: Book) -> None:
    maps: Mapping[MapName, Map] = book.maps
    assert tuple(maps) == RULE_MAPS
