"""Notes and maps brought into agreement: at the start, in turns all the time, when flushed."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.fake_store import CrashError, Ledger
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import MapFrozenError
from xdpctl.rules import parse_target
from xdpctl.store import reconcile
from xdpctl.store import store as store_module

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fake_kernel import FakeMap

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
A, B, C = "192.0.2.1", "192.0.2.2", "192.0.2.3"
EACH_MAP = [A, "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]
MANY = [f"192.0.2.{number}" for number in range(50)]


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    monkeypatch.setattr(reconcile, "NOTES_AT_ONCE", 4)
    monkeypatch.setattr(store_module, "NOTES_AT_ONCE", 4)
    ledger = Ledger(monkeypatch, tmp_path)
    yield ledger
    ledger.state.close()


# --- all the time ------------------------------------------------------------------------


def test_settling_goes_round_all_notes_in_turns(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each turn looks at the next few; no note is left out for ever."""
    monkeypatch.setattr(reconcile, "SETTLE_AT_ONCE", 10)
    ledger.bulk([*MANY, *EACH_MAP[1:]], part=100)
    for text in [*MANY, *EACH_MAP[1:]]:
        ledger.vanish(text)
    left = []
    for _ in range(6):
        ledger.store.settle()
        left.append(len(ledger.noted()))
    assert left[0] > left[1] > left[2] > left[3]
    assert left[-1] == 0


def test_settling_looks_at_all_where_there_are_few(ledger: Ledger) -> None:
    ledger.bulk([*MANY, *EACH_MAP], part=100)
    for text in EACH_MAP:
        ledger.vanish(text)
    ledger.store.settle()
    assert set(ledger.noted()) == set(MANY) - {A}


def test_between_the_steps_of_settling_others_get_their_turn(ledger: Ledger) -> None:
    ledger.bulk(MANY, part=100)
    for _ in islice(ledger.store.settling(), 3):
        ledger.put(C)  # takes the lock that a step holds
    assert sum(1 for _ in ledger.store.settling()) > len(MANY) // 4


def test_notes_that_come_while_it_settles_are_not_lost(ledger: Ledger) -> None:
    ledger.bulk(MANY[:20], part=100)
    steps = ledger.store.settling()
    next(steps)
    ledger.bulk(MANY, part=100)
    for _ in steps:
        pass
    assert set(ledger.noted()) == set(MANY) == set(ledger.shown("file:x"))


def test_an_action_that_a_crash_left_behind_is_taken_over_from_the_map(ledger: Ledger) -> None:
    """The map is the truth, and the change that was not made can be asked for again."""
    ledger.bulk([A])
    ledger.state.saw_action([(PASS, *ledger.place(A))])
    ledger.restart()
    assert ledger.agrees()
    assert ledger.shown() == {A: (DROP, 0, "file:x")}


# --- at start ----------------------------------------------------------------------------


def test_after_a_reboot_a_list_is_in_force_again(ledger: Ledger) -> None:
    ledger.bulk([*EACH_MAP, *(f"{text} action=truncate" for text in MANY)], part=100)
    ledger.hit("www.example", 9)
    ledger.store.settle()
    ledger.reboot(60)
    assert ledger.shown()["www.example"] == (DROP, 0, "file:x")
    assert ledger.shown()[B] == (TRUNCATE, 0, "file:x")
    assert len(ledger.shown()) == 54
    assert ledger.agrees()


def test_after_a_reboot_what_dnsdist_wrote_first_is_its(ledger: Ledger) -> None:
    ledger.bulk(MANY, part=100)
    ledger.reboot(60, before=lambda: ledger.dnsdist(A, action=PASS))
    assert ledger.shown()[A] == (PASS, 0, "dnsdist")
    assert len(ledger.noted()) == 49


def test_smaller_maps_take_what_they_can_and_it_is_said_once_what_is_lost(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    ledger.bulk(MANY, part=100)
    ledger.room = 17
    with caplog.at_level(logging.ERROR):
        ledger.reboot(60)
    assert len(ledger.shown()) == len(ledger.noted()) == 17
    (record,) = [r for r in caplog.records if "rules-lost" in r.getMessage()]
    assert record.levelno == logging.ERROR
    assert "33" in str(record.__dict__)


def test_a_clock_that_was_moved_but_not_the_notes_is_not_moved_twice(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash between the two would give every rule another hour."""
    ledger.bulk([f"{A} for=1h"])
    real = ledger.state.__class__.rebase_expiry

    def crash_behind(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        raise CrashError

    monkeypatch.setattr(ledger.state.__class__, "rebase_expiry", crash_behind)
    with pytest.raises(CrashError):
        ledger.reboot(600)
    monkeypatch.undo()
    monkeypatch.setattr("xdpctl.store.reconcile.boot_id", lambda: ledger.boot_id)
    ledger.restart()
    assert ledger.store.next_expiry() == pytest.approx(3000)


# --- flush ---------------------------------------------------------------------------------


def filled(ledger: Ledger) -> None:
    ledger.bulk([*MANY, *EACH_MAP], part=100)
    for text in ("203.0.113.1", "mail.example"):
        ledger.put(text, origin="api")
        ledger.dnsdist(text.replace("1", "2").replace("mail", "other"), hits=2)


def test_a_flush_takes_all_our_own_and_nothing_of_dnsdists(ledger: Ledger) -> None:
    filled(ledger)
    assert ledger.store.flush(None, None) == 56
    assert set(ledger.shown()) == {"203.0.223.2", "other.example"}
    assert ledger.noted() == {}


def test_a_flush_of_one_origin_takes_its_rules_only(ledger: Ledger) -> None:
    filled(ledger)
    assert ledger.store.flush(None, "api") == 2
    assert "api" not in ledger.noted().values()
    assert len(ledger.shown()) == 56


def test_a_flush_of_one_map_leaves_the_others(ledger: Ledger) -> None:
    filled(ledger)
    assert ledger.store.flush(MapName.QNAMES, None) == 2
    assert ledger.store.flush(MapName.QNAMES, None) == 0
    assert set(ledger.shown("dnsdist")) == {"203.0.223.2", "other.example"}


def test_a_flush_of_dnsdists_takes_what_we_did_not_write(ledger: Ledger) -> None:
    filled(ledger)
    assert ledger.store.flush(None, "dnsdist") == 2
    assert ledger.shown("dnsdist") == {}
    assert len(ledger.shown()) == 56 == sum(ledger.changes.values()) + 2


def test_what_is_anothers_now_is_not_flushed_with_ours(ledger: Ledger) -> None:
    ledger.bulk([A, B])
    ledger.hit(A, 5)
    ledger.store.settle()
    ledger.dnsdist(A, hits=1)
    assert ledger.store.flush(None, None) == 1
    assert ledger.shown() == {A: (DROP, 1, "dnsdist")}


def test_few_of_an_origin_among_many_are_all_flushed(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xdpctl.store.state.SCAN_MAX", 3)
    filled(ledger)
    ledger.store.remove([parse_target(MANY[7])])
    ledger.put(MANY[7], origin="api")
    assert ledger.store.flush(None, "api") == 3


# --- frozen maps -------------------------------------------------------------------------


def freeze(ledger: Ledger, *names: MapName) -> None:
    for name in names:
        cast("FakeMap", ledger.maps[name]).state.frozen = True


def test_a_rule_in_a_frozen_map_stays_and_the_others_expire(
    ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    for text in EACH_MAP:
        ledger.put(text, expires_in=10)
    freeze(ledger, MapName.ADDR_V4)
    ledger.pass_time(11)

    for _ in range(3):
        ledger.store.expire()

    assert ledger.shown() == {A: (DROP, 0, "cli")}
    assert ledger.store.next_expiry() is None
    assert [one.message for one in caplog.records if one.levelno >= logging.WARNING] == [
        "map-frozen"
    ]


def test_a_start_on_a_frozen_map_writes_nothing_and_forgets_nothing(ledger: Ledger) -> None:
    ledger.put(A, expires_in=10)
    ledger.put(B)
    ledger.put("www.example", expires_in=10)
    freeze(ledger, *ledger.maps)
    ledger.pass_time(11)

    ledger.restart()
    ledger.store.settle()

    assert set(ledger.shown()) == set(ledger.noted()) == {A, B, "www.example"}


def test_our_rules_wait_for_the_next_map_where_another_frozen_one_was_put(
    ledger: Ledger,
) -> None:
    """What the pins' owner put in the place of ours has none of our entries."""
    ledger.bulk([A, B])
    ledger.reboot(60, before=lambda: freeze(ledger, *ledger.maps))
    ledger.store.settle()
    assert ledger.shown() == {}
    assert set(ledger.noted()) == {A, B}

    ledger.reboot(60)
    assert set(ledger.shown()) == {A, B}
    assert ledger.agrees()


def test_a_write_to_a_frozen_map_says_so_and_leaves_no_note(ledger: Ledger) -> None:
    ledger.put(A)
    freeze(ledger, MapName.ADDR_V4)
    said = "the map .* is frozen: .* remove the pin"
    with pytest.raises(MapFrozenError, match=said):
        ledger.put(B)
    with pytest.raises(MapFrozenError, match=said):
        ledger.bulk([C])
    with pytest.raises(MapFrozenError, match=said):
        ledger.store.remove([parse_target(A)])
    assert set(ledger.shown()) == set(ledger.noted()) == {A}


def test_flush_empties_the_maps_that_are_not_frozen(ledger: Ledger) -> None:
    ledger.bulk(EACH_MAP)
    freeze(ledger, MapName.ADDR_V4)
    with pytest.raises(MapFrozenError) as caught:
        ledger.store.flush(None, None)
    assert caught.value.done == len(EACH_MAP) - 1
    assert set(ledger.shown()) == {A}


def test_rules_without_room_are_a_sentence_until_there_is_room(ledger: Ledger) -> None:
    ledger.bulk(MANY, part=100)
    ledger.room = 8
    ledger.reboot(60)
    (said,) = ledger.store.lost
    assert "42 of our rules are not in force" in said
    ledger.room = 64
    ledger.reboot(60)
    assert ledger.store.lost == ()
