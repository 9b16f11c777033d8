"""Which of several claims is in force, and what comes into force when one ends."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_store import CrashError, Ledger
from xdpctl.abi import Book, MapName, RuleAction, decode_value
from xdpctl.errors import ConflictError, KernelError, MapFullError, NotFoundError
from xdpctl.rules import AnyQtype, Rule, parse_target
from xdpctl.rules.rules import ClaimClass, class_of
from xdpctl.store import bulk, difference, matching, sorting
from xdpctl.store.claims import RANK_SQL, rank
from xdpctl.store.state import Note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
A, B, NAME, ZONE = "192.0.2.1", "192.0.2.2", "www.example", ".evil.example"
CLI, API, FILE, APP, OTHER = "cli", "api", "file:x", "app:jail", "app:other"
ONE, TWO, THREE = "list:one", "list:two", "list:three"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    monkeypatch.setattr(bulk, "STEP", 2)
    monkeypatch.setattr(matching, "WALK_STEP", 2)
    monkeypatch.setattr(sorting, "RUN", 3)
    monkeypatch.setattr(sorting, "PART", 2)
    monkeypatch.setattr(difference, "FEW", 2)
    ledger = Ledger(monkeypatch, tmp_path)
    yield ledger
    ledger.state.close()


def claims(ledger: Ledger, text: str = A) -> list[tuple[str, RuleAction]]:
    """Return origin and action of each claim on a target, the one in force first."""
    dnsdist, found = ledger.store.claims_on(parse_target(text))
    theirs = [] if dnsdist is None else [("dnsdist", dnsdist)]
    return theirs + [(claim.origin, claim.action) for claim in found]


def in_force(ledger: Ledger, text: str = A, book: Book = Book.OPERATOR) -> tuple[str, int]:
    """Return the origin of what is in force at a place, and its counter."""
    name, key = ledger.place(text, book)
    (found,) = (e for e in ledger.store.entries(name) if e.key == key)
    value = ledger.value(text, book)
    assert value is not None
    assert decode_value(value)[0] == found.action
    return found.origin, found.hits


# --- which one -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        # the highest class
        ([(APP, PASS, None), (CLI, DROP, 10)], CLI),
        ([(APP, DROP, None), (API, TRUNCATE, 10)], API),
        ([(APP, TRUNCATE, None), (FILE, TRUNCATE, None)], FILE),
        ([("dynamic", PASS, None), (APP, TRUNCATE, 10)], APP),
        ([("dnsdist-dynamic", DROP, None), ("dynamic", PASS, 10)], "dynamic"),
        # within a class Pass, then Drop, then Truncate
        ([(CLI, DROP, None), (API, PASS, 10)], API),
        ([(CLI, TRUNCATE, None), (FILE, DROP, 10)], FILE),
        ([(APP, TRUNCATE, None), (OTHER, DROP, 10)], OTHER),
        # of equals the one that ends last
        ([(CLI, DROP, 10), (API, DROP, 20)], API),
        ([(CLI, DROP, 20), (API, DROP, 10)], CLI),
        ([(APP, DROP, 600), (OTHER, DROP, None)], OTHER),
        ([(CLI, PASS, 10), (API, PASS, 20)], API),
        # of equals in everything the one that was first
        ([(CLI, DROP, None), (API, DROP, None)], CLI),
        ([(OTHER, DROP, None), (APP, DROP, None)], OTHER),
    ],
)
def test_of_several_claims_the_strongest_is_in_force(
    ledger: Ledger, said: list[tuple[str, RuleAction, int | None]], wanted: str
) -> None:
    for origin, action, seconds in said:
        rule = Rule(parse_target(A), action, "", origin, expires_in=seconds)
        ledger.store.put([rule])
    assert in_force(ledger)[0] == wanted
    assert len(claims(ledger)) == len(said)


@pytest.mark.parametrize("lists", [[ONE, TWO, THREE], [THREE, ONE, TWO]])
def test_an_implied_pass_of_one_list_is_before_the_drop_of_another(
    ledger: Ledger, lists: list[str]
) -> None:
    for origin in lists:
        ledger.bulk([f"{ZONE} action={'pass' if origin == TWO else 'drop'}"], origin)
    assert in_force(ledger, ZONE, Book.LISTS)[0] == TWO
    ledger.bulk([], TWO, replace=True)
    assert in_force(ledger, ZONE, Book.LISTS)[0] in {ONE, THREE}
    assert ledger.value(ZONE, Book.LISTS) == bytes(8) + b"\1" + bytes(7)


origins = st.sampled_from([CLI, API, FILE, APP, OTHER, ONE, TWO, "dynamic", "dnsdist-dynamic"])
ends = st.sampled_from([None, 1.5, 2.0, 1e9])
some_claims = st.builds(
    lambda action, origin, end: Note(MapName.ADDR_V4, bytes(4), action, origin, "", 0.0, end),
    st.sampled_from(RuleAction),
    origins,
    ends,
)


@given(first=some_claims, second=some_claims)
def test_sqlite_orders_claims_as_python_does(first: Note, second: Note) -> None:
    with sqlite3.connect(":memory:") as connection:
        for table, claim in (("a", first), ("b", second)):
            connection.execute(f"CREATE TABLE {table} (origin TEXT, action INTEGER, expires REAL)")
            values = (claim.origin, claim.action, claim.expires)
            connection.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", values)  # noqa: S608
        query = f"SELECT {RANK_SQL.format('a')} < {RANK_SQL.format('b')} FROM a, b"  # noqa: S608
        assert bool(connection.execute(query).fetchone()[0]) == (rank(first) < rank(second))


def test_each_origin_has_a_class() -> None:
    found = {origin: class_of(origin) for origin in (CLI, API, FILE, APP, "dynamic", ONE)}
    operator, program, dynamic, listed = ClaimClass
    assert list(found.values()) == [operator, operator, operator, program, dynamic, listed]


# --- when one ends -------------------------------------------------------------------------


def expires(ledger: Ledger) -> None:
    ledger.pass_time(60)
    ledger.store.expire()


def starts_after_the_end(ledger: Ledger) -> None:
    ledger.pass_time(60)
    ledger.restart()


ENDS: dict[str, Callable[[Ledger], object]] = {
    "expiry": expires,
    "unblock": lambda ledger: ledger.store.remove([parse_target(A)]),
    "flush": lambda ledger: ledger.store.flush(None, CLI),
    "a list's new version": lambda ledger: ledger.bulk([], CLI, replace=True),
    "a start after the end": starts_after_the_end,
    "a reboot after the end": lambda ledger: ledger.reboot(60),
}


@pytest.mark.parametrize("how", ENDS)
def test_when_a_claim_ends_the_next_is_in_force_and_counts_from_0(ledger: Ledger, how: str) -> None:
    ledger.put(A, TRUNCATE, origin=APP)
    ledger.put(A, origin=OTHER, expires_in=10_000)
    ledger.put(A, PASS, expires_in=60)
    ledger.hit(A, 41)
    ENDS[how](ledger)
    assert claims(ledger) == [(OTHER, DROP), (APP, TRUNCATE)]
    assert in_force(ledger) == (OTHER, 0)
    assert ledger.agrees()


def test_a_claim_that_waits_ends_without_a_touch_of_the_map(ledger: Ledger) -> None:
    ledger.put(A, PASS)
    ledger.put(A, origin=APP, expires_in=60)
    ledger.hit(A, 41)
    ledger.kernel.faults.calls.clear()
    ledger.pass_time(60)
    assert ledger.store.next_expiry() == 0
    ledger.store.expire()
    assert (claims(ledger), in_force(ledger)) == ([(CLI, PASS)], (CLI, 41))
    assert "map.update" not in ledger.kernel.faults.calls


def test_an_origin_ends_and_changes_its_own_claim_alone(ledger: Ledger) -> None:
    for origin in (CLI, APP, OTHER):
        ledger.put(A, origin=origin, reason=origin)
    ledger.store.remove([parse_target(A)], APP)
    with pytest.raises(NotFoundError, match=r"of origin app:jail, but cli and app:other have one"):
        ledger.store.remove([parse_target(A)], APP)
    ledger.put(A, PASS, origin=OTHER, reason="again")
    assert claims(ledger) == [(CLI, DROP), (OTHER, PASS)]
    _, found = ledger.store.claims_on(parse_target(A))
    assert [claim.reason for claim in found] == [CLI, "again"]


def test_unblock_ends_all_claims_of_the_operator_and_says_who_has_one(ledger: Ledger) -> None:
    for origin in (CLI, API, FILE, APP):
        ledger.put(A, origin=origin)
    ledger.bulk([A], ONE)
    result = ledger.store.remove([parse_target(A)])
    (left,) = result.left
    assert result.removed == 3
    assert [claim.origin for claim in left.claims] == [APP, ONE]
    assert claims(ledger) == [(APP, DROP), (ONE, DROP)]


def test_an_operators_claim_is_before_a_lists_which_stays(ledger: Ledger) -> None:
    ledger.bulk([NAME], ONE)
    ledger.put(NAME, PASS, expires_in=60)
    assert claims(ledger, NAME) == [(CLI, PASS), (ONE, DROP)]
    shown = ledger.store.standings.of(list(ledger.store.entries()))
    assert [(each.entry.origin, each.is_in_force) for each in shown] == [(CLI, True), (ONE, False)]
    expires(ledger)
    assert claims(ledger, NAME) == [(ONE, DROP)]
    (listed,) = ledger.store.standings.of(list(ledger.store.entries()))
    assert listed.is_in_force


# --- saying it again -----------------------------------------------------------------------


def test_what_is_not_said_again_stays_as_it_was(ledger: Ledger) -> None:
    target = parse_target(A)
    ledger.put(A, expires_in=3600, reason="ticket 4711")
    again = Rule(target, PASS, keeps_reason=True, keeps_end=True)
    (said,) = ledger.store.put([again]).rules
    assert said.former is not None
    assert (said.claim.reason, said.claim.expires) == ("ticket 4711", ledger.boot + 3600)
    assert (said.former.action, said.claim.action, said.is_in_force) == (DROP, PASS, True)
    (said,) = ledger.store.put([Rule(target, keeps_reason=True)]).rules
    assert (said.claim.reason, said.claim.expires) == ("ticket 4711", None)


def test_a_rule_that_is_not_in_force_says_which_is(ledger: Ledger) -> None:
    ledger.put(A, PASS, origin=API)
    (said,) = ledger.store.put([Rule(parse_target(A))]).rules
    assert not said.is_in_force
    assert isinstance(said.in_force, Note)
    assert said.in_force.origin == API


def test_a_rule_that_takes_anothers_place_says_whose(ledger: Ledger) -> None:
    ledger.bulk([A], ONE)
    (said,) = ledger.store.put([Rule(parse_target(A), PASS)]).rules
    assert said.displaced is not None
    assert (said.is_in_force, said.displaced.origin) == (True, ONE)


def test_a_lists_rule_that_an_operator_is_before_says_so(ledger: Ledger) -> None:
    ledger.put(A, PASS)
    (said,) = ledger.store.put([Rule(parse_target(A), origin=ONE)]).rules
    assert isinstance(said.in_force, Note)
    assert (said.is_in_force, said.in_force.origin) == (False, CLI)


def test_a_rule_that_waits_for_dnsdist_says_so(ledger: Ledger) -> None:
    ledger.dnsdist(A, action=PASS)
    (said,) = ledger.store.put([Rule(parse_target(A), origin=APP)], beneath=True).rules
    assert (said.is_in_force, said.in_force) == (False, PASS)


@pytest.mark.parametrize("few", [0, 5_000])
def test_a_lists_claims_behind_an_operators_are_found_among_few_and_among_many(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr("xdpctl.store.standing.FEW", few)
    every = [A, "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", NAME, ZONE]
    ledger.bulk([*every, B], ONE)
    ledger.bulk([text for text in every if text != A])
    ledger.dnsdist(A)
    shown = ledger.store.standings.of(list(ledger.store.entries()))
    listed = {
        ledger.text(each.entry.map, each.entry.key): each.is_in_force
        for each in shown
        if each.entry.origin == ONE
    }
    assert listed == {**dict.fromkeys(every, False), B: True}
    for each in shown:
        origins = {claim.origin for claim in each.claims}
        is_both = ledger.text(each.entry.map, each.entry.key) not in {A, B}
        assert origins == ({ONE, FILE} if is_both else {ONE})


# --- dnsdist -------------------------------------------------------------------------------


def test_a_list_and_a_program_wait_for_dnsdists_entry_and_an_operator_is_refused(
    ledger: Ledger,
) -> None:
    ledger.dnsdist(A, hits=3)
    assert ledger.bulk([A]).theirs == 1
    ledger.store.put([Rule(parse_target(A), origin=APP)], beneath=True)
    with pytest.raises(ConflictError):
        ledger.put(A)
    assert claims(ledger) == [("dnsdist", DROP), (FILE, DROP), (APP, DROP)]
    assert ledger.store.look_beneath() == 0
    ledger.vanish(A)
    assert ledger.store.look_beneath() == 1
    assert in_force(ledger) == (FILE, 0)


def test_a_claim_made_before_dnsdists_entry_stays_and_waits(ledger: Ledger) -> None:
    ledger.put(A, reason="mine", expires_in=3600)
    ledger.hit(A, 9)
    ledger.store.settle()
    ledger.dnsdist(A, hits=1, action=TRUNCATE)
    ledger.store.settle()
    assert claims(ledger) == [("dnsdist", TRUNCATE), (CLI, DROP)]
    ledger.vanish(A)
    ledger.store.look_beneath()
    (note,) = ledger.state.notes(MapName.ADDR_V4).values()
    assert (note.reason, note.expires) == ("mine", ledger.boot + 3600)
    assert in_force(ledger) == (CLI, 0)


def test_what_waits_beneath_is_in_force_after_a_reboot_that_dnsdists_entry_did_not_survive(
    ledger: Ledger,
) -> None:
    ledger.dnsdist(A)
    ledger.bulk([A, B])
    ledger.reboot(10)
    assert ledger.shown() == {A: (DROP, 0, FILE), B: (DROP, 0, FILE)}


def test_in_a_new_map_that_dnsdist_was_first_in_our_claims_wait(ledger: Ledger) -> None:
    ledger.put(A)
    ledger.put(A, origin=APP)
    ledger.reboot(10, before=lambda: ledger.dnsdist(A))
    assert claims(ledger) == [("dnsdist", DROP), (CLI, DROP), (APP, DROP)]
    ledger.vanish(A)
    ledger.store.look_beneath()
    assert claims(ledger) == [(CLI, DROP), (APP, DROP)]


def test_a_flush_of_dnsdists_entries_lets_claims_into_force(ledger: Ledger) -> None:
    ledger.dnsdist(A)
    ledger.bulk([A])
    assert ledger.store.flush(None, "dnsdist") == 1
    assert in_force(ledger) == (FILE, 0)


def test_a_name_waits_for_dnsdists_wildcard_of_either_type(ledger: Ledger) -> None:
    ledger.store.any_qtype = AnyQtype.LEGACY
    name, key = MapName.QNAMES, ledger.place(NAME)[1]
    ledger.any_qtype = AnyQtype.LEGACY
    ledger.dnsdist(NAME)
    ledger.any_qtype = ledger.store.any_qtype = AnyQtype.BOTH
    ledger.store.put([Rule(parse_target(NAME), origin=APP)], beneath=True)
    assert ledger.store.look_beneath() == 0
    assert claims(ledger, NAME) == [("dnsdist", DROP), (APP, DROP)]
    assert key not in ledger.entries(name)
    ledger.entries(name).clear()
    assert ledger.store.look_beneath() == 1


def test_what_waits_costs_no_look_where_nothing_waits(ledger: Ledger) -> None:
    ledger.bulk([A, B, NAME])
    ledger.kernel.faults.calls.clear()
    ledger.store.look_beneath()
    assert not ledger.kernel.faults.calls


# --- refusals ------------------------------------------------------------------------------


def test_a_claim_that_a_full_map_refuses_leaves_the_others_as_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = Ledger(monkeypatch, tmp_path, room=1)
    ledger.dnsdist(A)
    ledger.bulk([A])
    ledger.vanish(A)
    ledger.dnsdist(B)
    assert ledger.store.look_beneath() == 0
    assert claims(ledger) == [(FILE, DROP)]
    with pytest.raises(MapFullError):
        ledger.put(A, PASS)
    assert claims(ledger) == [(FILE, DROP)]
    ledger.vanish(B)
    assert ledger.store.look_beneath() == 1
    assert in_force(ledger) == (FILE, 0)
    ledger.state.close()


def test_a_claim_that_a_map_refuses_to_put_in_anothers_place_is_not_recorded(
    ledger: Ledger,
) -> None:
    ledger.put(A, origin=APP)
    ledger.hit(A, 4)
    ledger.kernel.faults.set("map.update", errno.EPERM)
    with pytest.raises(KernelError):
        ledger.put(A, PASS)
    assert (claims(ledger), in_force(ledger)) == ([(APP, DROP)], (APP, 4))


# --- crashes -------------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Ledger], object]] = {
    "a stronger claim": lambda ledger: ledger.put(A, PASS, origin=API),
    "a weaker claim": lambda ledger: ledger.put(A, TRUNCATE, origin=FILE),
    "another action": lambda ledger: ledger.put(A, PASS),
    "an end": ENDS["expiry"],
    "unblock": ENDS["unblock"],
    "a flush of all": lambda ledger: ledger.store.flush(None, None),
    "a flush": ENDS["flush"],
    "a list": lambda ledger: ledger.bulk([A, B, NAME, f"{ZONE} action=pass"], FILE),
    "a list that replaces": lambda ledger: ledger.bulk([B], CLI, replace=True),
    "a list's list": lambda ledger: ledger.bulk([ZONE, A, B], TWO, replace=True),
    "a list's end": lambda ledger: ledger.bulk([B], ONE, replace=True),
    "dnsdist's end": lambda ledger: ledger.store.look_beneath(),
}


def every_claim(ledger: Ledger) -> dict[str, list[tuple[str, RuleAction]]]:
    """Return all claims on all targets; only the first is in an order."""
    found = {}
    for text in (A, B, NAME, ZONE):
        first, *others = claims(ledger, text) or [("", PASS)]
        found[text] = [first, *sorted(others)]
    return found


def populated(ledger: Ledger) -> None:
    """Make claims of every kind."""
    ledger.put(A, TRUNCATE, origin=APP)
    ledger.put(A, origin=OTHER)
    ledger.put(A, expires_in=60)
    ledger.put(B, PASS, expires_in=60)
    ledger.bulk([B], FILE)
    ledger.bulk([ZONE, f"{A} action=pass", B], ONE)
    ledger.bulk([ZONE, A], TWO)
    ledger.bulk([ZONE], THREE)
    ledger.put(ZONE, PASS)
    ledger.put(ZONE, origin=APP)
    ledger.dnsdist(NAME)
    ledger.bulk([NAME], FILE)
    ledger.vanish(NAME)  # and nobody has looked yet


def crash_at(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the process end before the write of this number, to a map, a table or the state."""
    left = [number]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if not left[0]:
                raise CrashError
            left[0] -= 1
            return real(*arguments, **named)

        return call

    for opened in ledger.maps.values():
        for write in ("update", "update_batch", "delete", "delete_batch"):
            monkeypatch.setattr(opened, write, counted(getattr(opened, write)))
    engine = ledger.tables()
    for write in ("put", "remove"):
        monkeypatch.setattr(engine, write, counted(getattr(engine, write)))
    for kind in ("State", "Staging"):
        module = "xdpctl.store.state" if kind == "State" else "xdpctl.store.difference"
        method = "transaction" if kind == "State" else "_working"
        owner = __import__(module, fromlist=[kind])
        real = getattr(getattr(owner, kind), method)
        monkeypatch.setattr(getattr(owner, kind), method, counted(real))


@pytest.mark.parametrize("number", range(12))
@pytest.mark.parametrize("how", CHANGES)
def test_after_a_crash_at_any_write_claims_are_as_before_or_as_after_and_the_strongest_in_force(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, number: int
) -> None:
    clean = Ledger(monkeypatch, tmp_path / "clean")
    populated(clean)
    before = every_claim(clean)
    CHANGES[how](clean)
    clean.store.look_beneath()
    after = every_claim(clean)
    clean.state.close()
    ledger = Ledger(monkeypatch, tmp_path / "crashed")
    populated(ledger)
    with monkeypatch.context() as patch:
        crash_at(ledger, patch, number)
        with contextlib.suppress(CrashError):
            CHANGES[how](ledger)
    ledger.restart()
    found = every_claim(ledger)
    for text, there in found.items():
        both = before[text], after[text]
        each = {claim for claims in both for claim in claims}
        assert set(there) <= each | {("", PASS)}, text
        assert {c for c in both[0] if c in both[1]} <= set(there), text
    again = ledger.store.standings.of(list(ledger.store.entries()))
    for standing in again:
        note = standing.entry.note
        if note is None:
            continue
        its = [c for c in standing.claims if (c.map, c.key) == (note.map, note.key)]
        assert rank(note) == min(map(rank, its))
        assert standing.entry.action == note.action
    assert ledger.agrees()
    assert ledger.state.unsettled(10) == []
    ledger.state.close()
