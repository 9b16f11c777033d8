"""A list merged by difference: what it may touch, what it leaves behind when it is cut short."""

from __future__ import annotations

import contextlib
import errno
import threading
from typing import TYPE_CHECKING, cast
from unittest.mock import patch

import pytest

from tests.support.fake_store import GARBAGE, CrashError, Ledger
from xdpctl.abi import Book, MapName, RuleAction, decode_value
from xdpctl.errors import (
    ConflictError,
    EmptyListError,
    KernelError,
    MapFullError,
    ShrunkListError,
    StateError,
    TargetError,
    WideListError,
    XdpctlError,
)
from xdpctl.rules import AnyQtype, key_of, map_of, parse_target
from xdpctl.rules.keys import stored_place
from xdpctl.rules.reach import LIST_MAX, Reach
from xdpctl.store import bulk, difference, matching, sorting
from xdpctl.store.change import Change
from xdpctl.store.difference import Staging
from xdpctl.store.matching import Notes
from xdpctl.store.source import RuleSource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.fake_kernel import FakeMap
    from xdpctl.rules.keys import Row

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
A, B, C, D = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"
EACH_MAP = [A, "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]


@pytest.fixture(params=["few", "walked", "too many to walk"])
def looking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each way in which what others wrote is found."""
    way: str = request.param
    monkeypatch.setattr(bulk, "WALK_MIN", 5_000 if way == "few" else 1)
    monkeypatch.setattr(bulk, "WALK_MAX", 0 if way == "too many to walk" else 200_000)
    return way


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


# --- merging ---------------------------------------------------------------------------


def test_a_list_is_in_its_maps_and_its_origins(ledger: Ledger) -> None:
    result = ledger.bulk(EACH_MAP)
    assert (result.created, ledger.shown()) == (5, dict.fromkeys(EACH_MAP, (DROP, 0, "file:x")))


def test_new_entries_have_no_garbage_behind_their_action(ledger: Ledger) -> None:
    ledger.bulk([A])
    assert ledger.value(A) == bytes(8) + b"\x01" + bytes(7)


def test_what_a_list_makes_and_removes_is_told_map_by_map(ledger: Ledger) -> None:
    ledger.bulk([*EACH_MAP, B])
    ledger.bulk([A], replace=True)
    assert sum(ledger.changes.values()) == ledger.changes[MapName.ADDR_V4] == 1


def test_a_list_adds_to_its_origins_rules(ledger: Ledger) -> None:
    ledger.bulk([A])
    assert ledger.bulk([B]).created == 1
    assert set(ledger.shown()) == {A, B}


def test_a_list_that_replaces_removes_what_is_not_in_it(ledger: Ledger) -> None:
    ledger.bulk([A, B, C, "www.example"])
    result = ledger.bulk([B, D], replace=True)
    assert (result.created, result.removed, result.unchanged) == (1, 3, 1)
    assert set(ledger.shown()) == {B, D} == set(ledger.noted())


def test_an_empty_list_that_replaces_removes_all(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    assert ledger.bulk([], replace=True).removed == 2
    assert (ledger.shown(), ledger.noted()) == ({}, {})


def test_a_list_that_may_not_be_empty_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    with pytest.raises(EmptyListError, match="it has no rule"):
        ledger.bulk(["# nothing"], replace=True, may_be_empty=False)
    assert set(ledger.shown()) == {A, B} == set(ledger.noted())


@pytest.mark.parametrize(
    ("lines", "is_refused"),
    [([C, D], False), ([A, A, A], True), ([A, B], False), ([C], True), ([], True)],
)
def test_a_list_that_lost_more_than_it_may_is_refused_and_changes_nothing(
    ledger: Ledger, lines: list[str], *, is_refused: bool
) -> None:
    """The number of rules is compared, not which they are; one that comes twice counts once."""
    four = [A, B, "www.example", "10.0.0.0/8"]
    ledger.bulk(four)
    if is_refused:
        with pytest.raises(ShrunkListError, match=r"rules?, and 4 are in force"):
            ledger.bulk(lines, replace=True, max_shrink=0.5)
        assert set(ledger.shown()) == set(four) == set(ledger.noted())
    else:
        ledger.bulk(lines, replace=True, max_shrink=0.5)
        assert set(ledger.shown()) == set(lines)


def test_a_list_that_covers_too_much_is_refused_and_changes_nothing(ledger: Ledger) -> None:
    """An accepted one is what a later one is compared with."""
    origin, wide = "list:x", [f"{number}.0.0.0/8" for number in range(129)]
    ledger.bulk(wide[:128], origin=origin, replace=True, cover_max=LIST_MAX)
    with pytest.raises(WideListError, match=r"as much as 129 prefixes of /8; 128 are the most"):
        ledger.bulk(wide, origin=origin, replace=True, cover_max=LIST_MAX)
    assert len(ledger.shown()) == 128 == len(ledger.noted())
    accepted = ledger.bulk(wide, origin=origin, replace=True)
    assert accepted.reach == Reach(129.0)
    ledger.bulk([*wide, A], origin=origin, replace=True, cover_max=LIST_MAX, covered=accepted.reach)
    assert len(ledger.shown()) == 130


def test_an_empty_list_that_adds_does_nothing(ledger: Ledger) -> None:
    ledger.bulk([A])
    assert ledger.bulk(["# nothing", ""]).unchanged == 0
    assert set(ledger.shown()) == {A}


@pytest.mark.parametrize("replace", [False, True])
def test_what_is_in_both_lists_keeps_its_counter_and_is_never_absent(
    ledger: Ledger, *, replace: bool
) -> None:
    ledger.bulk([A, B, C, "www.example", "10.0.0.0/8"])
    for text in (A, "www.example", "10.0.0.0/8"):
        ledger.hit(text, 41)
    ledger.kernel.faults.calls.clear()
    result = ledger.bulk([A, "www.example", "10.0.0.0/8", B, C], replace=replace)
    assert (result.unchanged, ledger.value(A)) == (5, bytes([41]) + bytes(7) + b"\1" + bytes(7))
    assert not {"map.update", "map.delete", "map.update_batch", "map.delete_batch"} & set(
        ledger.kernel.faults.calls
    )


def test_a_change_of_the_action_keeps_the_counter(ledger: Ledger) -> None:
    ledger.bulk([A, "10.0.0.0/8"])
    for text in (A, "10.0.0.0/8"):
        ledger.hit(text, 41)
    result = ledger.bulk([f"{text} action=pass" for text in (A, "10.0.0.0/8")])
    assert result.updated == 2
    assert ledger.shown() == dict.fromkeys((A, "10.0.0.0/8"), (PASS, 41, "file:x"))


def test_a_change_of_the_reason_touches_no_map(ledger: Ledger) -> None:
    ledger.bulk([A])
    ledger.kernel.faults.calls.clear()
    assert ledger.bulk([f'{A} reason="a flood"']).updated == 1
    assert "map.update" not in ledger.kernel.faults.calls
    (note,) = ledger.state.notes(MapName.ADDR_V4).values()
    assert note.reason == "a flood"


def test_a_rule_keeps_the_time_of_its_making(ledger: Ledger) -> None:
    ledger.bulk([A])
    made = ledger.wall
    ledger.pass_time(60)
    ledger.bulk([f"{A} action=pass", B])
    notes = ledger.state.notes(MapName.ADDR_V4)
    assert [notes[ledger.place(text)[1]].created for text in (A, B)] == [made, made + 60]


def test_a_list_may_give_its_rules_an_end_and_take_it_back(ledger: Ledger) -> None:
    ledger.bulk([f"{A} for=10m"])
    assert ledger.store.next_expiry() == 600.0
    assert ledger.bulk([A], replace=True).updated == 1
    assert ledger.store.next_expiry() is None


def test_what_a_list_that_adds_does_not_say_stays_as_it_was(ledger: Ledger) -> None:
    ledger.bulk([f"{A} for=10m reason=flood"])
    assert ledger.bulk([A]).unchanged == 1
    assert ledger.bulk([f"{A} action=pass"]).updated == 1
    (note,) = ledger.state.notes(MapName.ADDR_V4).values()
    assert (note.action, note.reason, note.expires) == (PASS, "flood", ledger.boot + 600)


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("before", [[], [A], [f"{A} for=5m"], [B], [f"{B} action=pass for=5m", A]])
def test_a_line_takes_an_end_away_and_the_result_says_so(
    ledger: Ledger, before: list[str], *, replace: bool
) -> None:
    """Whatever stood in the file before it, and whether the list adds or replaces."""
    ledger.bulk([f"{A} for=10m reason=flood"])
    result = ledger.bulk([*before, f"{A} for=forever"], replace=replace)
    notes = ledger.state.notes(MapName.ADDR_V4)
    assert notes[ledger.place(A)[1]].expires is None
    assert (result.updated, result.ends_removed) == (1, 1)


def test_a_new_rule_of_a_line_that_says_forever_has_no_end(ledger: Ledger) -> None:
    result = ledger.bulk([f'{A} for=forever reason=""', f"{B} for=forever"])
    notes = ledger.state.notes(MapName.ADDR_V4).values()
    assert {(note.expires, note.reason) for note in notes} == {(None, "")}
    assert (result.created, result.ends_removed) == (2, 0)
    assert ledger.bulk([f'{A} for=forever reason=""', f"{B} for=forever"]).unchanged == 2


def test_a_line_takes_the_end_of_a_claim_away_that_waits(ledger: Ledger) -> None:
    ledger.bulk([f"{A} origin=cli"], origin="cli")
    ledger.bulk([f"{A} for=10m"], origin="app:jail")
    result = ledger.bulk([f"{A} for=forever"], origin="app:jail")
    name, key = ledger.place(A)
    (waiting,) = ledger.state.waiting_at(name, [key])[key]
    assert (waiting.origin, waiting.expires) == ("app:jail", None)
    assert result.ends_removed == 1


def test_a_line_takes_a_reason_away(ledger: Ledger) -> None:
    ledger.bulk([f"{A} for=10m reason=flood"])
    assert ledger.bulk([f'{A} reason=""']).updated == 1
    (note,) = ledger.state.notes(MapName.ADDR_V4).values()
    assert (note.reason, note.expires) == ("", ledger.boot + 600)


def test_of_an_entry_that_comes_twice_the_last_line_counts(ledger: Ledger) -> None:
    result = ledger.bulk([f"{A} action=pass", B, f"{A} reason=last"])
    assert (result.created, ledger.shown()[A]) == (2, (DROP, 0, "file:x"))


@pytest.mark.parametrize(
    ("lines", "action"),
    [
        ([A, f"{A} action=pass"], PASS),
        ([f"{A} action=pass", A], DROP),
        ([A, f"{A} action=pass", A], DROP),
        ([B, f"{A} action=pass", A, f"{A} action=truncate"], TRUNCATE),
    ],
)
def test_so_it_is_when_the_list_comes_again(
    ledger: Ledger, lines: list[str], action: RuleAction
) -> None:
    ledger.bulk([A, B])
    ledger.bulk(lines)
    assert ledger.shown()[A][0] is action


def test_each_line_may_name_its_own_origin(ledger: Ledger) -> None:
    ledger.bulk([A, f"{B} origin=api", f"{C} origin=list:y"])
    assert ledger.noted() == {A: "file:x", B: "api", C: "list:y"}


def test_a_line_of_another_origin_is_a_claim_of_that_one(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    result = ledger.bulk([A, f"{B} origin=api"], replace=True)
    assert (result.others, result.removed, ledger.noted()) == (1, 1, {A: "file:x", B: "api"})


def test_one_list_may_have_two_claims_on_a_target(ledger: Ledger) -> None:
    ledger.bulk([f"{A} origin=app:jail", A, f"{B} origin=api", f"{B} action=pass"])
    assert ledger.shown() == {A: (DROP, 0, "file:x"), B: (PASS, 0, "file:x")}
    ledger.bulk([], replace=True)
    assert ledger.shown() == {A: (DROP, 0, "app:jail"), B: (DROP, 0, "api")}


def test_progress_goes_from_nothing_to_all(ledger: Ledger) -> None:
    told: list[tuple[str, int, int]] = []
    ledger.bulk([A, B, C], on_progress=lambda *now: told.append(now))
    ledger.bulk([C, D], replace=True, on_progress=lambda *now: told.append(now))
    assert told == [("apply", 2, 3), ("apply", 3, 3), ("apply", 2, 3), ("apply", 3, 3)]


# --- what is not the list's ------------------------------------------------------------


@pytest.mark.parametrize("replace", [False, True])
def test_other_origins_rules_are_left_alone_and_counted(ledger: Ledger, *, replace: bool) -> None:
    ledger.put(A, PASS, origin="api", reason="its own")
    ledger.put(D, origin="api")
    result = ledger.bulk([A, B], replace=replace)
    assert (result.others, result.created, result.removed) == (1, 1, 0)
    assert ledger.noted() == {A: "api", B: "file:x", D: "api"}
    assert ledger.shown()[A][0] is PASS


def test_a_strict_list_leaves_what_other_origins_have_likewise(ledger: Ledger) -> None:
    ledger.put(A, PASS, origin="cli")
    ledger.hit(A, 5)
    result = ledger.bulk([A, B], "api", strict=True)
    assert (result.updated, result.created, result.others) == (0, 1, 1)
    assert ledger.shown() == {A: (PASS, 5, "cli"), B: (DROP, 0, "api")}


@pytest.mark.usefixtures("looking")
@pytest.mark.parametrize("replace", [False, True])
def test_dnsdists_entries_are_left_as_they_are_and_counted(
    ledger: Ledger, *, replace: bool
) -> None:
    for text in EACH_MAP:
        ledger.dnsdist(text, hits=3, action=TRUNCATE)
    before = {text: ledger.value(text) for text in EACH_MAP}
    result = ledger.bulk([*EACH_MAP, B, C], replace=replace)
    assert (result.theirs, result.created) == (5, 2)
    assert {text: ledger.value(text) for text in EACH_MAP} == before
    assert set(ledger.noted()) == {B, C}
    assert GARBAGE in (ledger.value(A) or b"")


@pytest.mark.usefixtures("looking")
def test_a_strict_list_is_refused_for_one_entry_of_dnsdists(ledger: Ledger) -> None:
    ledger.dnsdist(C)
    ledger.put(A, PASS)
    with pytest.raises(ConflictError, match=r"192\.0\.2\.3 is an entry of dnsdist's"):
        ledger.bulk([A, B, C, D], "api", strict=True)
    assert ledger.shown() == {A: (PASS, 0, "cli"), C: (DROP, 0, "dnsdist")}
    assert set(ledger.noted()) == {A}


def test_an_entry_that_dnsdist_wrote_anew_is_not_changed(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    ledger.hit(A, 9)
    ledger.store.settle()
    ledger.dnsdist(A, hits=2)
    result = ledger.bulk([f"{A} action=pass", f"{B} action=pass"])
    assert (result.updated, ledger.shown()) == (
        1,
        {A: (DROP, 2, "dnsdist"), B: (PASS, 0, "file:x")},
    )
    assert set(ledger.noted()) == {B}


def test_nor_by_a_strict_list_which_is_refused(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    ledger.hit(A, 9)
    ledger.store.settle()
    ledger.dnsdist(A, hits=2)
    with pytest.raises(ConflictError):
        ledger.bulk([f"{B} action=pass", f"{A} action=pass"], strict=True)
    assert ledger.shown()[B][0] is DROP


def test_nor_removed(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    ledger.hit(A, 9)
    ledger.store.settle()
    ledger.dnsdist(A, hits=2)
    assert ledger.bulk([], replace=True).removed == 1
    assert ledger.shown() == {A: (DROP, 2, "dnsdist")}


@pytest.mark.parametrize("few", [0, bulk.LOOK_UP_MAX])
def test_what_vanished_from_the_map_is_written_again(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(bulk, "LOOK_UP_MAX", few)
    ledger.bulk([*EACH_MAP, B, C])
    for text in EACH_MAP:
        ledger.hit(text, 4)
        ledger.vanish(text)
    result = ledger.bulk([*EACH_MAP, B, C], replace=True)
    assert (result.created, result.unchanged) == (5, 2)
    assert set(ledger.shown()) == {*EACH_MAP, B, C}


@pytest.mark.parametrize("few", [0, bulk.LOOK_UP_MAX])
def test_what_vanished_and_is_not_in_the_list_is_forgotten(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(bulk, "LOOK_UP_MAX", few)
    ledger.bulk([A, B])
    ledger.vanish(A)
    ledger.bulk([B], replace=True)
    assert set(ledger.noted()) == {B}


# --- single rules during a change -------------------------------------------------------


def between_chunks(action: Callable[[], object]) -> Callable[[str, int, int], None]:
    """Do something once, behind the first chunk."""
    done: list[None] = []

    def once(*_: object) -> None:
        if not done:
            done.append(None)
            action()

    return once


ALL = [f"192.0.2.{number}" for number in range(1, 10)]
LAST = ALL[-1]


def test_a_rule_that_came_meanwhile_stays_as_it_came(ledger: Ledger) -> None:
    come = between_chunks(lambda: ledger.put(LAST, PASS, origin="api"))
    result = ledger.bulk(ALL, on_progress=come)
    assert (result.created, result.others) == (8, 1)
    assert ledger.shown()[LAST] == (PASS, 0, "api")


def test_a_rule_that_was_taken_over_meanwhile_is_not_removed(ledger: Ledger) -> None:
    ledger.bulk(ALL)
    come = between_chunks(lambda: ledger.put(LAST, PASS, origin="api"))
    ledger.bulk([], replace=True, on_progress=come)
    assert ledger.shown() == {LAST: (PASS, 0, "api")}
    assert set(ledger.noted()) == {LAST}


def test_a_rule_that_was_taken_over_meanwhile_is_not_changed(ledger: Ledger) -> None:
    ledger.bulk(ALL)
    come = between_chunks(lambda: ledger.put(LAST, PASS, origin="api"))
    ledger.bulk([f"{text} action=truncate" for text in ALL], on_progress=come)
    assert ledger.shown()[LAST] == (PASS, 0, "api")


def test_a_rule_that_went_meanwhile_is_written_again_and_ours(ledger: Ledger) -> None:
    ledger.bulk(ALL)
    go = between_chunks(lambda: ledger.store.remove([ledger.target(*ledger.place(LAST))]))
    result = ledger.bulk([f"{text} action=truncate" for text in ALL], on_progress=go)
    assert ledger.shown() == dict.fromkeys(ALL, (TRUNCATE, 0, "file:x"))
    assert (result.created, result.updated) == (1, 8)


def test_what_dnsdist_writes_meanwhile_is_seen_where_few_are_added(ledger: Ledger) -> None:
    result = ledger.bulk(ALL, on_progress=between_chunks(lambda: ledger.dnsdist(LAST, hits=1)))
    assert (result.theirs, ledger.shown()[LAST]) == (1, (DROP, 1, "dnsdist"))


def test_what_dnsdist_takes_back_meanwhile_is_ours_then(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "WALK_MIN", 1)
    ledger.dnsdist(LAST)
    result = ledger.bulk(ALL, on_progress=between_chunks(lambda: ledger.vanish(LAST)))
    assert (result.theirs, ledger.shown()[LAST]) == (0, (DROP, 0, "file:x"))


def test_a_single_rule_gets_its_turn_between_two_chunks(ledger: Ledger) -> None:
    """Threads that wait are next, however quickly the list comes back for more."""
    single: list[int] = []
    chunk = 0

    waiting = threading.Thread(target=ledger.put, args=(D,))
    target = parse_target(D)
    name, key = map_of(target), key_of(target, AnyQtype.BOTH)

    def next_chunk(*_: object) -> None:
        nonlocal chunk
        if not single and ledger.maps[name].lookup(key) is not None:
            single.append(chunk)
        chunk += 1

    class Watched:
        """The store's lock; the single rule comes while the first chunk is worked on."""

        def __enter__(self) -> None:
            lock.__enter__()
            if not waiting.ident:
                waiting.start()
                while not lock._door.locked():
                    pass

        def __exit__(self, *_: object) -> None:
            lock.__exit__()

    lock = ledger.store._lock
    work = bulk.Bulk(
        ledger.maps,
        ledger.state.path,
        Watched(),
        Change(
            source=ledger.parts([f"198.51.100.{n}" for n in range(40)], "file:x", 50),
            origin="file:x",
            progress=next_chunk,
        ),
    )
    work.run()
    waiting.join()
    assert single[0] <= 2


# --- what a small change reads --------------------------------------------------------------


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    """Rules in maps that have room for many more, as the service knows."""
    ledger = Ledger(monkeypatch, tmp_path, room=5_000)
    monkeypatch.setattr(ledger.store, "_entries", lambda _name: 100)
    ledger.bulk([f"10.0.0.{number}" for number in range(100)])
    ledger.put("www.example")
    yield ledger
    ledger.state.close()


@pytest.mark.parametrize("replace", [False, True])
def test_a_small_change_reads_no_map_and_no_more_notes_than_its_own(
    large: Ledger, *, replace: bool
) -> None:
    """Not by time: by the calls, and by how SQLite finds notes."""
    lines = ["10.0.0.1 action=pass", A, "*.new.example", "www.example"]
    origin = "app:small" if replace else "file:x"
    large.kernel.faults.calls.clear()
    with patch.object(Notes, "of_map", side_effect=AssertionError("all notes are read")):
        result = large.bulk(lines, origin=origin, replace=replace)
    assert result.created + result.updated + result.others == 4
    assert not {"map.chunks", "map.part"} & set(large.kernel.faults.calls)


def test_a_map_that_may_lack_room_is_counted_for_a_small_change_too(large: Ledger) -> None:
    large.store._entries = lambda _name: 4_990
    large.kernel.faults.calls.clear()
    large.bulk([A, B])
    assert "map.chunks" in large.kernel.faults.calls


def test_what_vanished_of_a_small_list_is_written_again(large: Ledger) -> None:
    large.vanish("10.0.0.7")
    assert large.bulk(["10.0.0.7", "10.0.0.8"]).created == 1
    assert "10.0.0.7" in large.shown()


# --- cut short --------------------------------------------------------------------------


def test_a_line_that_is_wrong_leaves_everything_as_it_was(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    with pytest.raises(TargetError, match=r"^line 5: .*300\.1\.1\.1"):
        ledger.bulk([A, C, "", "# comment", "300.1.1.1"], replace=True)
    assert set(ledger.shown()) == {A, B} == set(ledger.noted())


@pytest.mark.usefixtures("looking")
def test_a_map_that_others_fill_says_how_many_went_in_and_the_notes_are_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bulk, "STEP", 4)
    monkeypatch.setattr(bulk.Bulk, "_refuse_overflow", lambda *_: None)  # there was room then
    ledger = Ledger(monkeypatch, tmp_path, room=6)
    ledger.dnsdist("203.0.113.1")
    with pytest.raises(MapFullError) as caught:
        ledger.bulk([*ALL, "www.example"])
    assert (caught.value.done, caught.value.map_name) == (5, "addr-v4")
    assert len(ledger.shown("file:x")) == len(ledger.noted()) == 5
    assert ledger.changes[MapName.ADDR_V4] == 5
    ledger.state.close()


def numbered(count: int, first: int = 0) -> list[str]:
    """Return so many addresses."""
    return [f"198.51.100.{number}" for number in range(first, first + count)]


CAPACITY = {
    "one more than there is room for": (numbered(5), numbered(2, 5), False, False),
    "exactly as many": (numbered(4), numbered(2, 4), False, True),
    "far more": ([], numbered(200), False, False),
    "what is there already needs no room": (numbered(6), numbered(6), False, True),
    "what goes makes room": (numbered(6), numbered(6, 6), True, True),
    "not enough goes": (numbered(6), numbered(7, 3), True, False),
}
"""Rules before, lines of the list, replace; whether six entries are enough."""


@pytest.mark.parametrize(("before", "lines", "replace", "fits"), CAPACITY.values(), ids=CAPACITY)
def test_a_list_goes_in_whole_or_not_at_all(
    ledger_of_six: Ledger,
    before: list[str],
    lines: list[str],
    replace: bool,  # noqa: FBT001 - the case
    fits: bool,  # noqa: FBT001 - the case
) -> None:
    ledger_of_six.bulk(before)
    if fits:
        ledger_of_six.bulk(lines, replace=replace)
        assert set(ledger_of_six.shown()) >= set(lines)
        return
    with pytest.raises(MapFullError, match=r"nothing was changed; .*xdpctl resize addr-v4="):
        ledger_of_six.bulk(lines, replace=replace)
    assert set(ledger_of_six.shown()) == set(before) == set(ledger_of_six.noted())


def test_what_dnsdist_has_is_left_out_and_needs_no_room(ledger_of_six: Ledger) -> None:
    for text in numbered(3):
        ledger_of_six.dnsdist(text)
    result = ledger_of_six.bulk(numbered(6))
    assert (result.created, result.theirs) == (3, 3)


@pytest.fixture
def ledger_of_six(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(monkeypatch, tmp_path, room=6)
    yield made
    made.state.close()


def test_a_write_that_is_refused_forgets_what_is_not_in(ledger: Ledger) -> None:
    ledger.kernel.faults.set("map.update_batch", errno.EPERM)
    with pytest.raises(KernelError):
        ledger.bulk(ALL)
    assert (ledger.shown(), ledger.noted()) == ({}, {})


def test_a_change_that_is_refused_is_asked_for_again_by_the_next_list(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    ledger.kernel.faults.set("map.update", errno.EPERM)
    with pytest.raises(KernelError):
        ledger.bulk([f"{A} action=pass", f"{B} action=pass"])
    assert ledger.agrees()
    assert ledger.bulk([f"{A} action=pass", f"{B} action=pass"]).updated == 2


def test_a_removal_that_is_refused_leaves_rules_ours(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    ledger.kernel.faults.set("map.delete_batch", errno.EPERM)
    with pytest.raises(KernelError):
        ledger.bulk([], replace=True)
    assert set(ledger.shown("file:x")) == {A, B}


def test_a_state_that_cannot_be_written_leaves_the_map_alone(ledger: Ledger) -> None:
    def close_it() -> None:
        ledger.state._connection.execute("DROP TABLE note")

    with pytest.raises(StateError):
        ledger.bulk([B, C, D], on_progress=between_chunks(close_it))
    assert len(ledger.entries(MapName.ADDR_V4)) == 2


def test_no_room_for_the_list_itself_is_an_error_of_ours(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Staging, rows: object) -> None:
        self._connection.execute("PRAGMA temp.max_page_count = 2")
        load(self, rows)  # type: ignore[arg-type]

    many = [f"198.51.100.{n}" for n in range(64)]
    ledger.bulk(many, part=64)
    load = Staging.load
    monkeypatch.setattr(Staging, "load", full)
    with pytest.raises(StateError, match="have room"):
        ledger.bulk([f"{target} reason={'x' * 200}" for target in many], part=64)


def test_a_cancelled_list_stops_at_a_chunk_and_says_so(ledger: Ledger) -> None:
    with pytest.raises(XdpctlError, match="send the list again"):
        ledger.bulk(ALL, on_progress=lambda *_: ledger.store.cancel())
    assert len(ledger.shown()) == 2
    assert ledger.agrees()


CALLS = ["map.update_batch", "map.delete_batch", "map.update", "map.lookup", "map.chunks"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("number", range(6))
def test_after_a_crash_at_any_call_maps_and_notes_agree_and_the_list_can_be_sent_again(
    ledger: Ledger, call: str, number: int, *, replace: bool
) -> None:
    before = [A, B, C, f"{D} action=pass", "www.example", "10.0.0.0/8"]
    after = [A, f"{B} action=truncate", f"{D} action=drop", "10.0.0.0/8 action=pass", *ALL[4:]]
    ledger.bulk(before)
    ledger.put("203.0.113.1", origin="api")
    ledger.dnsdist("203.0.113.2", hits=5)
    crash_at(ledger, call, number)
    with contextlib.suppress(CrashError):
        ledger.bulk(after, replace=replace)
    ledger.kernel.faults.clear()
    ledger.restart()
    assert ledger.agrees()
    others = {text: ledger.shown()[text] for text in ("203.0.113.1", "203.0.113.2")}
    assert others == {"203.0.113.1": (DROP, 0, "api"), "203.0.113.2": (DROP, 5, "dnsdist")}
    assert ledger.shown("dnsdist").keys() == {"203.0.113.2"}
    ledger.bulk(after, replace=replace)
    wanted = {A: DROP, B: TRUNCATE, D: DROP, "10.0.0.0/8": PASS} | dict.fromkeys(ALL[4:], DROP)
    if not replace:
        wanted |= {C: DROP, "www.example": DROP}
    found = ledger.shown("file:x")
    assert {text: action for text, (action, _, _) in found.items()} == wanted


def crash_at(ledger: Ledger, call: str, number: int) -> None:
    """Let the process end at the call of this number."""
    faults = ledger.kernel.faults
    real = faults.check
    seen: list[None] = []

    def check(name: str) -> None:
        if name == call:
            if len(seen) == number:
                raise CrashError
            seen.append(None)
        real(name)

    faults.__dict__["check"] = check
    faults.__dict__["clear"] = lambda: faults.__dict__.pop("check", None)


def test_what_a_batch_wrote_before_it_was_refused_is_ours(ledger: Ledger) -> None:
    table = cast("FakeMap", ledger.maps[MapName.ADDR_V4])

    def half(keys: bytes, values: bytes, flags: int = 0) -> int:
        del values, flags
        table.state.entries[keys[:4]] = bytes(8) + b"\1" + bytes(7)
        error = KernelError("cannot write", errno.EPERM)
        error.done = 1
        raise error

    table.__dict__["update_batch"] = half
    with pytest.raises(KernelError) as caught:
        ledger.bulk(ALL)
    assert (caught.value.done, len(ledger.noted()), len(ledger.shown("file:x"))) == (1, 1, 1)
    value = next(iter(ledger.entries(MapName.ADDR_V4).values()))
    assert decode_value(value) == (DROP, 0)


# --- a part of a list ---------------------------------------------------------------------


class Part(RuleSource):
    """Lines that say something about some places only."""

    size = position = 0
    descriptors = ()

    def __init__(self, ledger: Ledger, lines: list[str], among: list[str]) -> None:
        self._rows = ledger.parts(lines, "list:x", 3)
        places = (stored_place(parse_target(text), AnyQtype.BOTH, Book.LISTS) for text in among)
        self.among = list(places)

    def __iter__(self) -> Iterator[Iterator[Row]]:
        yield iter(())
        yield from self._rows


def test_a_part_of_a_list_replaces_only_what_it_is_about(ledger: Ledger) -> None:
    """Also where it has more rows than SQLite compares of a whole one."""
    ledger.bulk([A, B, C, "www.example"], "list:x")
    ledger.bulk([B], "list:y")
    ledger.hit(B, 5, Book.LISTS)
    source = Part(ledger, [B, D, "a.example", "b.example"], [A, B, D, "a.example", "b.example"])
    result = ledger.store.bulk(Change(source=source, origin="list:x", replace=True))

    assert (result.created, result.removed, result.unchanged) == (3, 1, 1)
    noted = {text for text, origin in ledger.noted().items() if origin == "list:x"}
    assert noted == {B, C, D, "www.example", "a.example", "b.example"}


def test_a_claim_that_waits_ends_with_a_part_too(ledger: Ledger) -> None:
    ledger.bulk([A, B], "list:a")
    ledger.bulk([A, B], "list:x")
    source = Part(ledger, [], [A])
    ledger.store.bulk(Change(source=source, origin="list:x", replace=True))
    ledger.bulk([], "list:a", replace=True)

    assert set(ledger.noted()) == {B}
