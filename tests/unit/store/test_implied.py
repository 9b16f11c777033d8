"""An implied rule ends the search within its own list: the rules of other lists still apply."""

from __future__ import annotations

import contextlib
import struct
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_store import CrashError, Ledger
from tests.support.fake_tables import crashing_after
from xdpctl.abi import Book, MapName, RuleAction, ZoneScope, decode_value
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.rpz import RpzLines
from xdpctl.rules import AnyQtype, Rule, parse_target
from xdpctl.rules.keys import LIST_NAMES_REF, REFS, Row, name_in, name_place, stored_key
from xdpctl.rules.lines import LineReader
from xdpctl.rules.names import Name
from xdpctl.rules.rules import IMPLIED
from xdpctl.store import bulk, difference, implied, matching, sorting
from xdpctl.store.change import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.store.bulk import BulkResult

    Lists: TypeAlias = dict[str, list[Row]]
    """The rows of each list, by its origin."""

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
ZONE, OTHER, THIRD = "list:zone", "list:other", "list:third"
HEAD = "$TTL 60\n$ORIGIN rpz.invalid.\n@ SOA ns root 1 60 60 60 60\n@ NS ns\n"
HOLE = "*.a.evil.example"
"""What the reader of `ZONE` adds: a name of the zone hides what is below it."""
RPZ = ["*.evil.example CNAME rpz-drop.", "a.evil.example CNAME rpz-drop."]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    monkeypatch.setattr(bulk, "STEP", 2)
    monkeypatch.setattr(matching, "WALK_STEP", 2)
    monkeypatch.setattr(sorting, "RUN", 3)
    monkeypatch.setattr(sorting, "PART", 2)
    monkeypatch.setattr(difference, "FEW", 2)
    monkeypatch.setattr(difference, "IMPLIED_AT_ONCE", 2)
    monkeypatch.setattr(implied, "CLAIMS_AT_ONCE", 2)
    ledger = Ledger(monkeypatch, tmp_path)
    yield ledger
    ledger.state.close()


def rpz_rows(records: Iterable[str], origin: str) -> list[Row]:
    """Return the rows of a response policy zone with these records."""
    lines = (HEAD + "".join(f"{record}\n" for record in records)).splitlines(keepends=True)
    reader = RpzLines(origin, DROP, AnyQtype.BOTH, LeftOut())
    reader.look(lines, 1)
    return [*reader.rows(lines, 1), *reader.end()]


def rows_of(lines: list[str], origin: str) -> list[Row]:
    """Return the rows of a list of targets where it is the third, else of a zone."""
    if origin != THIRD:
        return rpz_rows(lines, origin)
    return list(LineReader(origin, AnyQtype.BOTH, 0.0).rows(lines, 1))


def load(ledger: Ledger, rows: list[Row], origin: str) -> BulkResult:
    """Make a list's rules exactly these."""
    return ledger.store.bulk(Change(source=[rows], origin=origin, replace=True))


def load_rpz(ledger: Ledger, records: Iterable[str] = RPZ, origin: str = ZONE) -> BulkResult:
    return load(ledger, rpz_rows(records, origin), origin)


def action(ledger: Ledger, text: str = HOLE) -> RuleAction | None:
    """Return what the table does at a place, not what the notes say."""
    value = ledger.value(text, Book.LISTS)
    return None if value is None else decode_value(value)[0]


# --- one list beside another ---------------------------------------------------------------


def test_where_no_other_list_has_a_rule_it_lets_pass(ledger: Ledger) -> None:
    load_rpz(ledger)
    ledger.bulk(["other.evil.example", ".else.invalid", "x.a.evil.example"], OTHER)
    assert action(ledger) is PASS


@pytest.mark.parametrize("first", [ZONE, OTHER])
@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (".evil.example", DROP),  # above, longer than nothing
        ("*.evil.example", DROP),  # where the zone itself has its rule
        (".evil.example action=truncate", TRUNCATE),
        (".evil.example action=pass", PASS),
        (".a.evil.example", DROP),  # as long, for the name and below
        ("*.a.evil.example", DROP),  # the same place
        ("*.a.evil.example action=truncate", TRUNCATE),
        ("*.a.evil.example action=pass", PASS),
        ("a.evil.example", PASS),  # not for what is below
        (".b.evil.example", PASS),  # beside
        (".x.a.evil.example", PASS),  # below: its name is longer, so it decides itself
    ],
)
def test_it_does_what_the_longest_zone_of_another_list_does(
    ledger: Ledger, first: str, other: str, expected: RuleAction
) -> None:
    for origin in (first, ZONE if first == OTHER else OTHER):
        if origin == ZONE:
            load_rpz(ledger)
        else:
            ledger.bulk([other], OTHER)
    assert action(ledger) is expected
    assert ledger.agrees()


@pytest.mark.parametrize("first", [ZONE, OTHER])
def test_another_lists_rule_for_one_type_still_applies(ledger: Ledger, first: str) -> None:
    for origin in (first, ZONE if first == OTHER else OTHER):
        if origin == ZONE:
            load_rpz(ledger)
        else:
            ledger.bulk([".evil.example qtype=A", ".evil.example qtype=MX action=pass"], OTHER)
    octets = Name.from_text("x.a.evil.example").wire.rstrip(b"\0")
    a, aaaa = (by_the_table(ledger, octets, qtype) for qtype in TYPES)
    assert (a, aaaa) == (DROP, PASS)
    assert ledger.agrees()
    ledger.bulk([], OTHER, replace=True)
    assert by_the_table(ledger, octets, TYPES[0]) is PASS
    assert action(ledger) is PASS
    assert len(ledger.entries(MapName.LIST_NAMES)) == len(rpz_rows(RPZ, ZONE))


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([".evil.example", ".a.evil.example action=pass"], PASS),  # the longer one
        ([".evil.example action=pass", ".a.evil.example"], DROP),
        (
            [".evil.example action=truncate", "*.evil.example"],
            DROP,
        ),  # of equals Pass, Drop, Truncate
        ([".evil.example action=pass", "*.evil.example"], PASS),
    ],
)
def test_of_two_other_lists_the_longer_zone_decides_then_the_stronger_action(
    ledger: Ledger, others: list[str], expected: RuleAction
) -> None:
    ledger.bulk([others[0]], OTHER)
    load_rpz(ledger)
    ledger.bulk([others[1]], THIRD)
    assert action(ledger) is expected


def test_an_implied_rule_of_another_list_is_not_a_rule_of_it(ledger: Ledger) -> None:
    load_rpz(ledger)
    load_rpz(ledger, origin=OTHER)
    assert action(ledger) is PASS


def test_an_implied_rule_of_another_list_hides_what_that_list_has_above(ledger: Ledger) -> None:
    ledger.bulk([".invalid"], THIRD)
    load_rpz(ledger, ["*.evil.example CNAME .", "b.a.evil.example CNAME ."])
    load_rpz(ledger, ["*.evil.example CNAME .", "a.evil.example CNAME ."], OTHER)
    assert action(ledger, "*.b.a.evil.example") is PASS
    ledger.bulk([".evil.example"], THIRD, replace=True)
    assert action(ledger, "*.b.a.evil.example") is DROP


def test_an_empty_non_terminal_does_what_another_list_says_of_it(ledger: Ledger) -> None:
    load_rpz(ledger, ["*.evil.example CNAME .", "b.a.evil.example CNAME ."])
    assert action(ledger, "a.evil.example") is PASS
    ledger.bulk(["a.evil.example", ".a.evil.example action=pass"], OTHER)
    assert action(ledger, "a.evil.example") is DROP
    ledger.bulk([".evil.example"], OTHER, replace=True)
    assert action(ledger, "a.evil.example") is DROP
    ledger.bulk([".a.evil.example action=pass"], OTHER, replace=True)
    assert action(ledger, "a.evil.example") is PASS


# --- coming and going ----------------------------------------------------------------------


def end_by_bulk(ledger: Ledger) -> None:
    ledger.bulk([], OTHER, replace=True)


def end_by_flush(ledger: Ledger) -> None:
    ledger.store.flush(None, OTHER)


def end_by_verb(ledger: Ledger) -> None:
    ledger.store.remove([parse_target(".evil.example")], OTHER)


def end_by_time(ledger: Ledger) -> None:
    ledger.pass_time(60)
    ledger.store.expire()


@pytest.mark.parametrize("end", [end_by_bulk, end_by_flush, end_by_verb, end_by_time])
def test_when_the_other_lists_zone_ends_it_lets_pass_again(ledger: Ledger, end: object) -> None:
    load_rpz(ledger)
    ledger.bulk([".evil.example for=1m"], OTHER)
    seen = [action(ledger)]
    end(ledger)  # type: ignore[operator]  # one of the functions above
    assert [*seen, action(ledger)] == [DROP, PASS]
    assert ledger.agrees()


def test_a_single_rule_of_another_list_acts_at_once(ledger: Ledger) -> None:
    load_rpz(ledger)
    ledger.store.put([Rule(parse_target(".evil.example"), TRUNCATE, "", OTHER)])
    assert action(ledger) is TRUNCATE


def test_time_that_is_over_while_the_service_is_down_counts_at_the_start(ledger: Ledger) -> None:
    load_rpz(ledger)
    ledger.bulk([".evil.example for=1m"], OTHER)
    ledger.pass_time(60)
    ledger.restart()
    assert action(ledger) is PASS


def test_it_waits_behind_another_claim_and_still_follows(ledger: Ledger) -> None:
    """The claim in force goes: the one that waited has the right action by then."""
    ledger.bulk([f"{HOLE} action=pass"], OTHER)
    load_rpz(ledger)
    ledger.bulk([".evil.example"], THIRD)
    assert action(ledger) is PASS
    ledger.bulk([], OTHER, replace=True)
    assert action(ledger) is DROP


def test_its_counter_goes_on_when_its_action_changes(ledger: Ledger) -> None:
    load_rpz(ledger)
    ledger.hit(HOLE, 7, Book.LISTS)
    ledger.bulk([".evil.example"], OTHER)
    assert ledger.value(HOLE, Book.LISTS) == b"\7" + bytes(7) + b"\1" + bytes(7)


@pytest.mark.parametrize(
    "other", [".evil.example", ".evil.example action=pass", "*.a.evil.example"]
)
def test_a_list_that_comes_again_changes_nothing(ledger: Ledger, other: str) -> None:
    ledger.bulk([other], OTHER)
    load_rpz(ledger)
    changes = dict(ledger.changes)
    again = load_rpz(ledger)
    assert (again.created, again.updated, again.removed) == (0, 0, 0)
    assert ledger.changes == changes


def test_what_was_exported_is_decided_again_where_it_is_imported(ledger: Ledger) -> None:
    """Also lines of several lists in one change."""
    reader = LineReader("cli", AnyQtype.BOTH, ledger.boot)
    lines = [f'{HOLE} action=drop origin={ZONE} reason="{IMPLIED}"']
    ledger.store.bulk(Change(source=[reader.rows(lines, 1)], origin="cli"))
    assert action(ledger) is PASS
    lines += [f".evil.example action=truncate origin={OTHER}"]
    ledger.store.bulk(Change(source=[reader.rows(lines, 1)], origin="cli"))
    assert action(ledger) is TRUNCATE


def test_an_operators_rule_with_the_same_reason_is_left_alone(ledger: Ledger) -> None:
    ledger.put(HOLE, PASS, reason=IMPLIED)
    ledger.bulk([".evil.example"], OTHER)
    assert action(ledger) is None
    value = ledger.value(HOLE)
    assert value is not None
    assert decode_value(value)[0] is PASS


@pytest.mark.parametrize("origin", ["cli", THIRD])
def test_a_rule_that_comes_while_a_list_is_worked_in_leaves_the_look_to_the_list(
    ledger: Ledger, origin: str
) -> None:
    load_rpz(ledger)
    rules = [f".{number}.invalid" for number in range(4)]

    def put(what: str, done: int, _total: int) -> None:
        if (what, done) == ("apply", 2):
            ledger.store.put([Rule(parse_target(".mine.example"), DROP, "", origin)])

    ledger.bulk([*rules, ".evil.example"], OTHER, on_progress=put)
    assert action(ledger) is DROP
    assert action(ledger, ".3.invalid") is DROP


# --- cut short -----------------------------------------------------------------------------


@pytest.mark.parametrize("goes_on", [False, True])
@pytest.mark.parametrize("writes", range(5))
def test_a_change_that_is_cut_short_is_made_good(
    ledger: Ledger, writes: int, *, goes_on: bool
) -> None:
    """SIGKILL between any two writes, of the service or of the process that works on a list."""
    load_rpz(ledger)
    engine = ledger.tables()
    assert engine is not None
    rules = [".evil.example", ".one.invalid", ".two.invalid"]
    with crashing_after(engine, writes, CrashError()), contextlib.suppress(CrashError):
        ledger.bulk(rules, OTHER, replace=True)
    if goes_on:
        ledger.store.settle()
        ledger.store.bulk(Change(source=[], origin=THIRD))
    else:
        ledger.restart()
    has_zone = action(ledger, ".evil.example") is DROP
    assert action(ledger) is (DROP if has_zone else PASS)
    assert ledger.agrees()
    ledger.bulk(rules, OTHER, replace=True)
    assert action(ledger) is DROP


def test_a_state_file_of_a_version_without_the_index_is_extended(ledger: Ledger) -> None:
    load_rpz(ledger)
    with ledger.state.transaction() as connection:
        connection.execute("DROP INDEX note_implied")
        connection.execute("DROP INDEX waiting_implied")
    ledger.restart()
    ledger.bulk([".evil.example"], OTHER)
    assert action(ledger) is DROP


# --- beside a model ------------------------------------------------------------------------

labels = st.sampled_from("ab")
names = st.lists(labels, max_size=3).map(lambda found: ".".join([*found, "x", "example"]))
owners = st.one_of(names, names.map("*.{}".format))
policies = st.sampled_from(["rpz-drop.", "rpz-drop.", "rpz-tcp-only.", "rpz-passthru."])
zones = st.dictionaries(owners, policies, max_size=5).map(
    lambda found: [f"{owner} CNAME {policy}" for owner, policy in found.items()]
)
plain = st.dictionaries(
    st.tuples(st.sampled_from(["", ".", "*."]), names, st.sampled_from(["", " qtype=A"])),
    st.sampled_from(["drop", "truncate", "pass"]),
    max_size=4,
).map(
    lambda found: [
        f"{mark}{name}{qtype} action={action}" for (mark, name, qtype), action in found.items()
    ]
)
steps = st.lists(
    st.one_of(st.tuples(st.sampled_from([ZONE, OTHER]), zones), st.tuples(st.just(THIRD), plain)),
    min_size=1,
    max_size=6,
)
"""Two response policy zones and a list of targets, each in several versions."""
ASKED = [
    Name.from_text(".".join([*found, "x", "example"])).wire.rstrip(b"\0")
    for count in range(5)
    for found in product("abc", repeat=count)
]


def places_for(octets: bytes, qtype: bytes) -> Iterator[list[bytes]]:
    """Yield the places that match a query, as PACKETS.md has it: of a zone its type first."""

    def both(*scopes: ZoneScope) -> Iterator[list[bytes]]:
        here = [name_place(octets, scope, AnyQtype.BOTH, Book.LISTS)[1] for scope in scopes]
        yield [key[:1] + qtype + key[3:] for key in here]
        yield here

    yield from both(ZoneScope.SELF)
    scopes = [ZoneScope.ALL]
    while True:
        yield from both(*scopes)
        if not octets:
            return
        octets, scopes = octets[octets[0] + 1 :], [ZoneScope.ALL, ZoneScope.BELOW]


def by_the_model(lists: Lists, octets: bytes, qtype: bytes) -> RuleAction:
    """Search each list by itself, and take the longest of what they find."""
    found: list[tuple[int, int]] = []
    for rows in lists.values():
        rules = {key: (action, reason) for _, key, action, reason, _, _ in rows}
        for number, places in enumerate(places_for(octets, qtype)):
            here = [rules[place] for place in places if place in rules]
            if here:
                found += [(number, action) for action, reason in here if reason != IMPLIED]
                break
    return RuleAction(min(found)[1]) if found else PASS


def by_the_table(ledger: Ledger, octets: bytes, qtype: bytes) -> RuleAction:
    """Search the one table in which all lists are."""
    ref = REFS[MapName.LIST_NAMES]
    rules = {
        stored_key(ref, key): decode_value(value)[0]
        for key, value in ledger.entries(MapName.LIST_NAMES).items()
    }
    for places in places_for(octets, qtype):
        here = [rules[place] for place in places if place in rules]
        if here:
            return min(here)
    return PASS


TYPES = [struct.pack("=H", qtype) for qtype in (1, 28)]
"""A, which some rules are for, and AAAA."""


@settings(max_examples=60, deadline=None)
@given(steps=steps)
def test_all_lists_in_one_table_do_what_each_by_itself_would(
    steps: list[tuple[str, list[str]]],
) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as directory:
        patch.setattr(implied, "CLAIMS_AT_ONCE", 2)
        ledger = Ledger(patch, Path(directory), room=512)
        lists: Lists = {}
        for origin, records in steps:
            lists[origin] = rows_of(records, origin)
            load(ledger, lists[origin], origin)
            for octets, qtype in product(ASKED, TYPES):
                found = by_the_table(ledger, octets, qtype)
                assert found is by_the_model(lists, octets, qtype), name_in(
                    LIST_NAMES_REF, b"\0\xff\xff" + octets
                )
        again = load(ledger, lists[origin], origin)
        assert (again.created, again.updated, again.removed) == (0, 0, 0)
        ledger.state.close()
