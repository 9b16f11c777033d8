"""Our own tables under the store: zones and what lists claim, without a kernel."""

from __future__ import annotations

import errno
import itertools
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_store import CrashError, Ledger
from tests.support.fake_tables import FakeEngine, crashing_after
from xdpctl.abi import TABLES, Book, MapName, RuleAction, decode_value, encode_value
from xdpctl.errors import ConflictError, KernelError, NotFoundError, TableFullError, TargetError
from xdpctl.kernel.bpf.libbpf import BPF_EXIST, BPF_NOEXIST
from xdpctl.rules import AnyQtype, Rule, key_of, parse_target
from xdpctl.rules.keys import REFS, stored_key
from xdpctl.store import bulk, difference, matching, sorting
from xdpctl.store.tables import restoring
from xdpctl.store.tables.tables import ClosedError, Tables

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.rules import Target

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
LIST = "list:feed"
EACH_KIND = [
    A,
    "2001:db8::1",
    "198.51.100.0/24",
    "2001:db8:1::/48",
    "www.example",
    ".evil.example",
    "*.evil.example",
]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    monkeypatch.setattr(bulk, "STEP", 2)
    monkeypatch.setattr(matching, "WALK_STEP", 2)
    monkeypatch.setattr(sorting, "RUN", 3)
    monkeypatch.setattr(sorting, "PART", 2)
    monkeypatch.setattr(difference, "FEW", 2)
    monkeypatch.setattr(restoring, "ROWS_AT_ONCE", 2)
    ledger = Ledger(monkeypatch, tmp_path)
    yield ledger
    ledger.state.close()


def engine_of(ledger: Ledger) -> FakeEngine:
    """Return the generation that is read, which is there."""
    engine = ledger.tables()
    assert engine is not None
    return engine


def listed(ledger: Ledger, origin: str | None = None) -> dict[tuple[MapName, str], RuleAction]:
    """Return what `list` says, by map and target."""
    return {
        (entry.map, ledger.text(entry.map, entry.key)): entry.action
        for entry in ledger.store.entries(origin=origin)
    }


# --- which map -----------------------------------------------------------------------------


def test_what_a_list_claims_is_in_tables_of_our_own_and_nothing_of_it_in_the_shared_maps(
    ledger: Ledger,
) -> None:
    assert ledger.bulk(EACH_KIND, origin=LIST).created == len(EACH_KIND)
    assert listed(ledger) == {
        **{(MapName.LIST_SOURCES, text): DROP for text in EACH_KIND[:4]},
        **{(MapName.LIST_NAMES, text): DROP for text in EACH_KIND[4:]},
    }


def test_a_zone_of_an_operator_is_in_zones_and_all_else_of_his_in_the_shared_maps(
    ledger: Ledger,
) -> None:
    ledger.bulk(EACH_KIND, origin="file:x")
    found = listed(ledger)
    assert found[MapName.ZONES, ".evil.example"] is DROP
    assert {name for name, _ in found} == {
        *(MapName.ADDR_V4, MapName.ADDR_V6, MapName.CIDR4, MapName.CIDR6, MapName.QNAMES),
        MapName.ZONES,
    }


def test_an_operator_and_a_list_each_have_a_rule_for_one_target(ledger: Ledger) -> None:
    ledger.bulk([".evil.example", A], origin=LIST)
    ledger.put(".evil.example", PASS)
    ledger.put(A, PASS)
    assert listed(ledger) == {
        (MapName.LIST_NAMES, ".evil.example"): DROP,
        (MapName.LIST_SOURCES, A): DROP,
        (MapName.ZONES, ".evil.example"): PASS,
        (MapName.ADDR_V4, A): PASS,
    }


def test_one_request_may_have_both_rules_of_a_target(ledger: Ledger) -> None:
    target = parse_target(".evil.example")
    ledger.store.put([Rule(target, PASS, "", "cli"), Rule(target, DROP, "", LIST)])
    assert sorted(listed(ledger).values()) == [PASS, DROP]


def test_a_list_may_claim_what_is_dnsdists(ledger: Ledger) -> None:
    ledger.dnsdist(A)
    result = ledger.bulk([A], origin=LIST)
    assert (result.created, result.theirs, result.shadowed) == (1, 0, 1)
    assert set(listed(ledger)) == {(MapName.ADDR_V4, A), (MapName.LIST_SOURCES, A)}


def test_unblock_ends_the_operators_claim_and_that_of_a_list_only_by_its_name(
    ledger: Ledger,
) -> None:
    ledger.bulk([A, ".evil.example"], origin=LIST)
    ledger.put(A, PASS)
    (left,) = ledger.store.remove([parse_target(A)]).left
    assert [claim.origin for claim in left.claims] == [LIST]
    with pytest.raises(
        NotFoundError, match=r"192\.0\.2\.1 that is the operator's .* list:feed has"
    ):
        ledger.store.remove([parse_target(A)])
    assert (MapName.LIST_SOURCES, A) in listed(ledger)
    ledger.store.remove([parse_target(A), parse_target(".evil.example")], LIST)
    assert listed(ledger) == {}
    with pytest.raises(NotFoundError, match=r"there is no rule for \.evil\.example"):
        ledger.store.remove([parse_target(".evil.example")])


def test_unblock_of_what_is_dnsdists_leaves_a_lists_rule(ledger: Ledger) -> None:
    ledger.dnsdist(A)
    ledger.bulk([A], origin=LIST)
    with pytest.raises(ConflictError):
        ledger.store.remove([parse_target(A)])
    assert (MapName.LIST_SOURCES, A) in listed(ledger)


# --- room ----------------------------------------------------------------------------------


def test_nothing_is_made_as_long_as_there_is_neither_a_zone_nor_a_lists_rule(
    ledger: Ledger,
) -> None:
    ledger.put(A)
    ledger.bulk([B, "www.example"])
    ledger.restart()
    ledger.store.settle()
    assert (ledger.growth.asked, ledger.tables()) == ([], None)


def test_the_first_zone_asks_for_room_before_it_is_noted(ledger: Ledger) -> None:
    ledger.growth.failure = KernelError("cannot create map name-table", errno.ENOMEM)
    with pytest.raises(KernelError, match="cannot create map name-table"):
        ledger.put(".evil.example")
    assert (ledger.growth.asked, ledger.noted()) == ([{MapName.ZONES: 1}], {})
    ledger.growth.failure = None
    ledger.put(".evil.example")
    assert listed(ledger) == {(MapName.ZONES, ".evil.example"): DROP}


def test_a_list_asks_for_all_its_room_at_once_and_before_anything_is_changed(
    ledger: Ledger,
) -> None:
    ledger.bulk([A], origin=LIST)
    ledger.growth.asked.clear()
    ledger.growth.failure = KernelError("cannot create map name-table", errno.ENOMEM)
    with pytest.raises(KernelError):
        ledger.bulk([*EACH_KIND[1:], B], origin=LIST, replace=True)
    assert ledger.growth.asked == [{MapName.LIST_SOURCES: 4, MapName.LIST_NAMES: 3}]
    assert listed(ledger) == {(MapName.LIST_SOURCES, A): DROP}


def test_room_that_another_took_is_made_again_and_the_list_goes_on(ledger: Ledger) -> None:
    ledger.growth.room = 4
    ledger.bulk(EACH_KIND[4:], origin=LIST)
    engine = engine_of(ledger)
    room, ledger.growth.asked = engine.size, []
    many = [f".zone{number}.example" for number in range(20)]

    def lie(name: MapName) -> int:
        return 10**6 if len(ledger.growth.asked) < 2 else FakeEngine.room(engine, name)

    engine.room = lie  # type: ignore[method-assign]
    put = engine.put

    def full(name: MapName, stored: list[bytes], actions: list[int]) -> int:
        for number, key in enumerate(stored):
            if len(engine.entries) >= room:
                error = TableFullError(name, room)
                error.done = error.created = number
                raise error
            put(name, [key], [actions[number]])
        return len(stored)

    engine.put = full  # type: ignore[assignment, method-assign]
    result = ledger.bulk(many, origin=LIST)
    assert (result.created, result.others) == (len(many), 0)
    assert ledger.tables() is not engine
    assert len(listed(ledger)) == len(many) + len(EACH_KIND[4:])
    assert ledger.agrees()


def test_a_rule_that_finds_no_room_twice_is_refused_and_leaves_no_note(ledger: Ledger) -> None:
    ledger.put(".evil.example")
    engine_of(ledger).size = 1
    ledger.growth.failure = None
    ledger.store._reserve = lambda _more: None
    with pytest.raises(TableFullError, match=r"its table is full at 1 entries.*try again"):
        ledger.put(".other.example")
    assert set(ledger.noted()) == {".evil.example"}


# --- as rules ------------------------------------------------------------------------------


def test_a_list_that_comes_again_changes_nothing(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    engine = engine_of(ledger)
    engine.runs.clear()
    result = ledger.bulk(EACH_KIND, origin=LIST, replace=True)
    assert (result.unchanged, result.created, result.removed) == (len(EACH_KIND), 0, 0)
    assert engine.runs == {}


def test_a_lists_rule_that_changes_its_action_keeps_its_counter(ledger: Ledger) -> None:
    ledger.bulk([A, ".evil.example"], origin=LIST)
    for text in (A, ".evil.example"):
        ledger.hit(text, 7, Book.LISTS)
    lines = [f"{A} action=truncate", ".evil.example action=drop", B]
    assert ledger.bulk(lines, origin=LIST, replace=True).updated == 1
    assert ledger.value(A, Book.LISTS) == b"\x07" + bytes(7) + b"\x02" + bytes(7)
    found = {ledger.text(e.map, e.key): (e.action, e.hits) for e in ledger.store.entries()}
    assert found == {A: (TRUNCATE, 7), B: (DROP, 0), ".evil.example": (DROP, 7)}


def test_what_is_no_longer_in_a_list_goes(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    assert ledger.bulk([A], origin=LIST, replace=True).removed == len(EACH_KIND) - 1
    assert listed(ledger) == {(MapName.LIST_SOURCES, A): DROP}
    assert ledger.changes[MapName.LIST_SOURCES] == 1
    assert ledger.changes[MapName.LIST_NAMES] == 0


def test_of_two_lists_that_claim_one_target_the_first_is_in_force_and_then_the_other(
    ledger: Ledger,
) -> None:
    ledger.bulk([A], origin="list:one")
    ledger.hit(A, 7, Book.LISTS)
    result = ledger.bulk([A], origin="list:other")
    assert (result.created, result.others) == (0, 1)
    ledger.bulk([], origin="list:one", replace=True)
    (entry,) = ledger.store.entries()
    assert (entry.origin, entry.hits) == ("list:other", 0)


def test_a_zone_of_one_type_is_another_rule_than_that_of_every_type(ledger: Ledger) -> None:
    ledger.bulk([".evil.example", ".evil.example qtype=AAAA action=pass"], origin=LIST)
    assert sorted(entry.action for entry in ledger.store.entries()) == [PASS, DROP]


def test_flush_takes_one_table_alone(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    ledger.put(".zone.example")
    assert ledger.store.flush(MapName.ZONES, None) == 1
    assert len(listed(ledger)) == len(EACH_KIND)
    assert ledger.store.flush(MapName.LIST_NAMES, LIST) == 3
    assert ledger.store.flush(None, None) == 4
    assert (listed(ledger), ledger.noted()) == ({}, {})


def test_flush_of_what_is_dnsdists_leaves_our_own_tables(ledger: Ledger) -> None:
    ledger.bulk([A], origin=LIST)
    ledger.dnsdist(A)
    assert ledger.store.flush(None, "dnsdist") == 1
    assert listed(ledger) == {(MapName.LIST_SOURCES, A): DROP}


def test_a_rule_in_a_table_ends_when_its_time_is_over(ledger: Ledger) -> None:
    ledger.bulk([f"{A} for=1m", ".evil.example for=2m", B], origin=LIST)
    ledger.put(".zone.example", expires_in=60)
    ledger.pass_time(61)
    assert ledger.store.expire() == {MapName.ZONES: 1, MapName.LIST_SOURCES: 1}
    assert {text for _, text in listed(ledger)} == {".evil.example", B}


def test_the_pages_of_all_maps_have_each_entry_once(ledger: Ledger) -> None:
    ledger.bulk([*EACH_KIND, B, C], origin=LIST)
    ledger.bulk(EACH_KIND, origin="file:x")
    for size in (1, 2, 5, 100):
        found, cursor = [], None
        while True:
            page, cursor = ledger.store.pages.page(None, None, cursor, size)
            found += [(entry.map, entry.key) for entry in page]
            if cursor is None:
                break
        assert len(found) == len(set(found)) == 2 * len(EACH_KIND) + 2


def test_the_pages_of_one_list_have_its_rules_only(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    ledger.bulk(EACH_KIND, origin="file:x")
    page, _ = ledger.store.pages.page(None, LIST, None, 100)
    assert {entry.map for entry in page} == {MapName.LIST_SOURCES, MapName.LIST_NAMES}


def test_the_rules_hit_most_are_found_in_tables_too(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    ledger.hit(A, 3, Book.LISTS)
    before = ledger.store.most_hit.counters(None)
    ledger.hit(".evil.example", 9, Book.LISTS)
    top = ledger.store.most_hit.top(2, None, None)
    assert [ledger.text(e.entry.map, e.entry.key) for e in top] == [".evil.example", A]
    (gained,) = ledger.store.most_hit.top(2, MapName.LIST_NAMES, before)
    assert gained.rate is not None


def test_what_is_exported_can_be_imported_into_the_same_books(ledger: Ledger) -> None:
    ledger.bulk([*EACH_KIND, ".evil.example qtype=A"], origin=LIST)
    ledger.bulk(EACH_KIND, origin="file:x")
    export = ledger.store.export(everything=False)
    lines = b"".join(iter(export.part, b"")).decode().splitlines()
    before = listed(ledger)
    ledger.store.flush(None, None)
    ledger.bulk(lines, origin="cli")
    assert listed(ledger) == before


# --- types that mean every type in another mode --------------------------------------------


def claimed(ledger: Ledger) -> dict[tuple[MapName, Target], list[str]]:
    """Return whose claims there are on each entry's target, as `list --all-claims` has it."""
    found = ledger.store.standings.of(list(ledger.store.entries()))
    return {
        (each.entry.map, ledger.target(each.entry.map, each.entry.key)): [
            claim.origin for claim in each.claims
        ]
        for each in found
    }


def test_what_is_for_type_65535_only_is_beside_what_lists_have_for_every_type(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As --any-qtype 255 has it: our own tables have no rule for that type alone."""
    ledger = Ledger(monkeypatch, tmp_path, any_qtype=AnyQtype.LEGACY)
    ledger.bulk(["www.example", ".example"], origin=LIST)
    target = parse_target("www.example", "TYPE65535")
    ledger.store.put([Rule(target, PASS)])
    assert claimed(ledger)[MapName.QNAMES, target] == ["cli"]
    assert ledger.store.remove([target]).removed == 1
    name, key = MapName.QNAMES, key_of(target, AnyQtype.LEGACY)
    ledger.entries(name)[key] = encode_value(DROP)
    assert claimed(ledger)[MapName.QNAMES, target] == []
    with pytest.raises(ConflictError, match="dnsdist"):
        ledger.store.remove([target])
    ledger.state.close()


def test_rules_for_type_any_of_another_mode_are_listed_and_can_be_removed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = Ledger(monkeypatch, tmp_path, any_qtype=AnyQtype.NEW)
    zone, name = parse_target(".evil.example", "ANY"), parse_target("www.example", "ANY")
    ledger.store.put([Rule(zone), Rule(zone, origin=LIST), Rule(name, origin=LIST)])
    ledger.any_qtype = AnyQtype.BOTH
    ledger.restart()
    assert claimed(ledger) == {
        (MapName.ZONES, zone): ["cli", LIST],
        (MapName.LIST_NAMES, zone): ["cli", LIST],
        (MapName.LIST_NAMES, name): [LIST],
    }
    assert ledger.store.remove([zone]).removed == 1
    assert ledger.store.remove([zone, name], LIST).removed == 2
    for target in (zone, name):
        with pytest.raises(TargetError, match="blocks every type"):
            ledger.store.remove([target])
    ledger.state.close()


# --- durability ----------------------------------------------------------------------------


def test_a_restart_takes_the_tables_over_as_they_are(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    ledger.hit(A, 5, Book.LISTS)
    engine = engine_of(ledger)
    engine.runs.clear()
    ledger.restart()
    assert (ledger.tables(), engine.runs) == (engine, {})
    assert ledger.value(A, Book.LISTS) == b"\x05" + bytes(7) + b"\x01" + bytes(7)


def test_after_a_reboot_the_tables_are_filled_from_the_notes(ledger: Ledger) -> None:
    ledger.bulk([*EACH_KIND, f"{B} for=1m"], origin=LIST)
    ledger.put(".zone.example", PASS)
    before = listed(ledger)
    del before[MapName.LIST_SOURCES, B]
    ledger.reboot(down=100)
    assert listed(ledger) == before
    assert not engine_of(ledger).dirty


@pytest.mark.parametrize("writes", range(8))
def test_a_list_that_is_cut_short_is_whole_or_absent_entry_by_entry_after_a_restart(
    ledger: Ledger, writes: int
) -> None:
    """SIGKILL between any two entries: no note without its entry is left, nor the reverse."""
    ledger.bulk([".first.example"], origin=LIST)
    with crashing_after(engine_of(ledger), writes, CrashError()), pytest.raises(CrashError):
        ledger.bulk([*EACH_KIND, B], origin=LIST)
    assert engine_of(ledger).dirty
    ledger.restart()
    assert ledger.agrees()
    assert {*ledger.noted()} == {text for _, text in listed(ledger)}
    assert not engine_of(ledger).dirty
    ledger.bulk([*EACH_KIND, B, ".first.example"], origin=LIST, replace=True)
    assert len(listed(ledger)) == len(EACH_KIND) + 2


@pytest.mark.parametrize("origin", [None, LIST])
def test_a_removal_that_is_cut_short_between_entry_and_note_leaves_both_or_neither(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, origin: str | None
) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    with monkeypatch.context() as patch:
        patch.setattr(ledger.state, "forget", _crash)
        patch.setattr(ledger.state, "forget_keys", _crash)
        with pytest.raises(CrashError):
            ledger.store.flush(MapName.LIST_NAMES, origin)
    assert engine_of(ledger).count(MapName.LIST_NAMES) == 0
    ledger.restart()
    assert ledger.agrees()
    assert len(listed(ledger)) == len(ledger.noted()) == len(EACH_KIND)


def test_a_change_cut_short_is_put_right_at_the_next_look_where_the_service_goes_on(
    ledger: Ledger,
) -> None:
    """As when a process that works on a list is killed in its turn."""
    ledger.bulk([A], origin=LIST)
    with crashing_after(engine_of(ledger), 1, CrashError()), pytest.raises(CrashError):
        ledger.bulk(EACH_KIND, origin=LIST)
    tables = ledger.store.tables
    seen = [tables.unsure]
    ledger.store.settle()
    seen.append(tables.unsure)
    assert seen == [True, False]
    assert not engine_of(ledger).dirty
    assert ledger.agrees()


def test_entries_without_a_note_are_noticed_at_the_start(ledger: Ledger) -> None:
    """A state file of yesterday: the tables have what it does not know."""
    ledger.bulk(EACH_KIND, origin=LIST)
    target = parse_target(".unknown.example")
    key = stored_key(REFS[MapName.ZONES], ledger.place(".unknown.example")[1])
    engine_of(ledger).put(MapName.ZONES, [key], [int(DROP)])
    ledger.restart()
    assert ledger.store.tables.nameless
    assert target not in {ledger.target(e.map, e.key) for e in ledger.store.entries()}


def test_a_lists_rules_of_a_former_version_move_from_the_shared_maps_without_a_gap(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("xdpctl.rules.lines.book_of", lambda _origin: Book.OPERATOR)
        ledger.bulk([A, B, "www.example"], origin=LIST)
    assert {name for name, _ in listed(ledger)} == {MapName.ADDR_V4, MapName.QNAMES}
    gaps: list[str] = []

    def look(what: str, _done: int, _total: int) -> None:
        if what == "apply":
            blocked = {text for _, text in listed(ledger)}
            gaps.extend({A, B, "www.example"} - blocked)

    ledger.bulk([A, B, "www.example"], origin=LIST, replace=True, on_progress=look)
    assert {name for name, _ in listed(ledger)} == {MapName.LIST_SOURCES, MapName.LIST_NAMES}
    assert gaps == []


def _crash(*_: object) -> None:
    raise CrashError


def test_what_the_tables_refuse_is_not_noted_and_nothing_is_unsure(ledger: Ledger) -> None:
    """As where the kernel does not let us run the program that writes to them."""
    ledger.put(".evil.example")
    engine_of(ledger).failure = KernelError("cannot test program xdpctl_table", errno.EPERM)
    with pytest.raises(KernelError, match="cannot test program xdpctl_table"):
        ledger.put(".other.example")
    assert (set(ledger.noted()), ledger.store.tables.unsure) == ({".evil.example"}, False)
    engine_of(ledger).failure = KernelError("cannot test program xdpctl_table", errno.EPERM)
    with pytest.raises(KernelError, match="cannot test program xdpctl_table"):
        ledger.bulk(EACH_KIND, origin=LIST)
    ledger.store.settle()
    assert ledger.agrees()
    assert set(ledger.noted()) == {".evil.example"}


# --- two generations -----------------------------------------------------------------------


def test_what_is_written_while_the_tables_grow_is_in_both_generations(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    before, grown = engine_of(ledger), FakeEngine()
    ledger.store.tables.use(before, grown)
    filling = restoring.fill(grown, ledger.state)
    next(filling)
    ledger.bulk([".new.example", *EACH_KIND[1:]], origin=LIST, replace=True)
    ledger.put(".zone.example", PASS)
    ledger.store.remove([parse_target(EACH_KIND[1])], LIST)
    for _ in filling:
        ledger.put(".more.example")
    assert {place: action for place, (_, action) in grown.entries.items()} == {
        place: action for place, (_, action) in before.entries.items()
    }


def test_a_next_generation_that_refuses_is_given_up_and_the_present_one_goes_on(
    ledger: Ledger,
) -> None:
    ledger.put(".evil.example")
    before, grown = engine_of(ledger), FakeEngine(0)
    ledger.store.tables.use(before, grown)
    ledger.put(".other.example")
    assert ledger.store.tables.engines() == (before,)
    assert len(listed(ledger)) == 2


def test_who_reads_a_generation_that_is_closed_reads_the_next(ledger: Ledger) -> None:
    ledger.put(".evil.example")
    tables = ledger.store.tables
    before, grown = engine_of(ledger), FakeEngine()
    grown.entries = dict(before.entries)
    key = next(key for _, key in grown.entries)
    look_up = before.look_up

    def moved(name: MapName, stored: list[bytes]) -> list[int | None]:
        tables.use(grown)
        before.closed = True
        return look_up(name, stored)

    before.look_up = moved  # type: ignore[assignment, method-assign]
    assert tables.look_up(MapName.ZONES, [key]) == [int(DROP)]


def test_a_closed_generation_without_a_next_one_is_an_error_of_its_own(ledger: Ledger) -> None:
    ledger.put(".evil.example")
    engine_of(ledger).closed = True
    with pytest.raises(ClosedError):
        ledger.store.tables.look_up(MapName.ZONES, [b""])


# --- as a map ------------------------------------------------------------------------------


def test_a_table_keeps_the_flags_of_a_map(ledger: Ledger) -> None:
    ledger.put(".evil.example")
    table = ledger.store.tables.maps[MapName.ZONES]
    (key,) = ledger.entries(MapName.ZONES)
    _, other = ledger.place(".other.example")
    value = b"\x09" + bytes(7) + b"\x02" + bytes(7)
    with pytest.raises(KernelError) as there:
        table.update(key, value, BPF_NOEXIST)
    with pytest.raises(KernelError) as absent:
        table.update(other, value, BPF_EXIST)
    assert (there.value.errno, absent.value.errno) == (errno.EEXIST, errno.ENOENT)
    table.update(key, value, BPF_EXIST)
    found = table.lookup(key)
    assert found is not None
    assert decode_value(found) == (TRUNCATE, 0)  # the counter is the table's own
    assert table.delete(key)
    assert not table.delete(key)


def test_a_table_that_is_not_there_is_empty(ledger: Ledger) -> None:
    for name, table in ledger.store.tables.maps.items():
        assert table.is_empty()
        assert table.info.max_entries == 0
        assert list(table.chunks()) == []
        assert TABLES[name].key_size == table.info.key_size
    name, key = ledger.place(A, Book.LISTS)
    assert ledger.store.tables.maps[name].lookup(key) is None


def test_the_capacity_of_a_table_is_what_is_in_it_and_what_finds_room(ledger: Ledger) -> None:
    ledger.bulk(EACH_KIND, origin=LIST)
    assert ledger.store.tables.maps[MapName.LIST_SOURCES].info.max_entries == 64
    assert ledger.store.tables.count(MapName.LIST_NAMES) == 3
    assert ledger.store.tables.capacity(MapName.LIST_NAMES) == 64


def test_lacking_counts_the_maps_of_one_table_together(ledger: Ledger) -> None:
    tables = Tables(ledger.state)
    assert tables.lacks({MapName.ZONES: 1})
    tables.use(FakeEngine(3))
    for zones, names in itertools.product(range(4), repeat=2):
        lacking = tables.lacks({MapName.ZONES: zones, MapName.LIST_NAMES: names})
        assert lacking == (zones + names > 3)
    assert not tables.lacks({MapName.LIST_SOURCES: 3})
    assert not tables.lacks({MapName.ADDR_V4: 10})


def test_an_action_that_a_crash_kept_from_its_entry_is_written_at_the_start(
    ledger: Ledger,
) -> None:
    ledger.bulk([A, B], origin=LIST)
    ledger.hit(A, 7, Book.LISTS)
    with crashing_after(engine_of(ledger), 0, CrashError()), pytest.raises(CrashError):
        ledger.bulk([f"{A} action=truncate", B], origin=LIST, replace=True)
    ledger.restart()
    assert ledger.value(A, Book.LISTS) == b"\x07" + bytes(7) + b"\x02" + bytes(7)
    assert ledger.agrees()
