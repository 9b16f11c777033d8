"""Claims that follow dnsdist's blocks, in the store: made, prolonged, ended, waiting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_store import Ledger
from xdpctl.abi import MapName, RuleAction
from xdpctl.store.dynamic import ORIGIN, WALK_MAX, Wish, WishState

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.store.dynamic import WishesSettled

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
V4, PREFIX, NAME = "198.51.100.7", "198.51.100.0/24", "www.evil.example"


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Ledger:
    return Ledger(monkeypatch, tmp_path)


def wish(
    ledger: Ledger, *texts: str, seconds: float = 30.0, prolongs: bool = False
) -> WishesSettled:
    """Ask for claims."""
    end = ledger.boot + seconds
    wishes = {ledger.place(text): Wish(DROP, "why", end, prolongs) for text in texts}
    return ledger.store.dynamic.settle(dict(wishes))


def end(ledger: Ledger, *texts: str) -> WishesSettled:
    """End claims."""
    return ledger.store.dynamic.settle(dict.fromkeys(map(ledger.place, texts)))


def test_a_claim_is_made_with_its_end_and_its_origin(ledger: Ledger) -> None:
    settled = wish(ledger, V4, PREFIX)
    assert set(settled.states.values()) == {WishState.IN_FORCE}
    assert ledger.shown() == {V4: (DROP, 0, ORIGIN), PREFIX: (DROP, 0, ORIGIN)}
    ledger.pass_time(31)
    ledger.store.expire()
    assert ledger.shown() == {}


def test_a_zone_is_claimed_in_our_own_tables(ledger: Ledger) -> None:
    ledger.put(".other.example")  # so that there are tables
    assert wish(ledger, ".evil.example").states
    assert ledger.shown(ORIGIN) == {".evil.example": (DROP, 0, ORIGIN)}


def test_a_prolonged_claim_keeps_its_counter(ledger: Ledger) -> None:
    wish(ledger, V4)
    ledger.hit(V4, 7)
    wish(ledger, V4, seconds=90.0, prolongs=True)
    ledger.pass_time(60)
    ledger.store.expire()
    assert ledger.shown() == {V4: (DROP, 7, ORIGIN)}


def test_one_that_somebody_ended_is_not_prolonged(ledger: Ledger) -> None:
    settled = wish(ledger, V4, prolongs=True)
    assert settled.states == {ledger.place(V4): WishState.ENDED}
    assert ledger.shown() == {}


def test_an_ended_claim_is_told_with_its_hits(ledger: Ledger) -> None:
    wish(ledger, V4)
    ledger.hit(V4, 7)
    settled = end(ledger, V4, PREFIX)  # there is none of the second: no error
    assert [(note.origin, hits) for note, hits in settled.ended] == [(ORIGIN, 7)]
    assert ledger.shown() == {}


def test_a_claim_waits_behind_dnsdists_entry_and_takes_its_place(ledger: Ledger) -> None:
    ledger.dnsdist(V4, 5)
    place = ledger.place(V4)
    assert wish(ledger, V4).states == {place: WishState.BEHIND_DNSDIST}
    dynamic = ledger.store.dynamic
    assert (dynamic.foreign([place]), dynamic.gone([place])) == ({place}, False)
    assert wish(ledger, V4, seconds=60.0, prolongs=True).states == {place: WishState.BEHIND_DNSDIST}
    ledger.vanish(V4)
    assert dynamic.gone([place])
    ledger.store.look_beneath()
    assert ledger.shown() == {V4: (DROP, 0, ORIGIN)}
    assert dynamic.foreign([place]) == set()


def test_an_operators_rule_is_in_force_before_it(ledger: Ledger) -> None:
    ledger.put(V4, PASS)
    place = ledger.place(V4)
    assert wish(ledger, V4).states == {place: WishState.BEHIND_OTHERS}
    end(ledger, V4)
    assert ledger.shown() == {V4: (PASS, 0, "cli")}


def test_a_full_map_refuses_its_own_claims_only(ledger: Ledger) -> None:
    many = [f"198.51.{number}.0/24" for number in range(ledger.room + 2)]
    settled = wish(ledger, *many, V4)
    refused = [place for place, state in settled.states.items() if state is WishState.REFUSED]
    assert len(refused) == 2
    assert list(settled.refused) == [MapName.CIDR4]
    assert len(ledger.shown(ORIGIN)) == ledger.room + 1
    assert ledger.agrees()


def test_entries_of_dnsdists_that_are_hit_often_are_found(ledger: Ledger) -> None:
    ledger.dnsdist(V4, 5)
    ledger.dnsdist("198.51.100.8", 5)
    ledger.dnsdist(NAME, 0, TRUNCATE)
    ledger.dnsdist("198.51.100.9", 0, PASS)
    ledger.put("198.51.100.10")
    dynamic = ledger.store.dynamic
    assert dynamic.hot(10) == {}  # the first look
    ledger.boot += 2
    for text, hits in ((V4, 25), ("198.51.100.8", 14), (NAME, 20), ("198.51.100.9", 99)):
        ledger.hit(text, hits)
    ledger.hit("198.51.100.10", 99)
    assert dynamic.hot(10) == {ledger.place(V4): DROP, ledger.place(NAME): TRUNCATE}
    ledger.boot += 2
    assert dynamic.hot(10) == {}


def test_a_large_map_is_not_walked(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xdpctl.store.dynamic.WALK_MAX", 1)
    assert WALK_MAX > 1
    ledger.dnsdist(V4, 5)
    ledger.dnsdist("198.51.100.8", 5)
    ledger.store.dynamic.hot(10)
    ledger.boot += 1
    ledger.hit(V4, 500)
    assert ledger.store.dynamic.hot(10) == {}


def test_a_start_finds_the_claims_that_go_on(ledger: Ledger) -> None:
    wish(ledger, V4, seconds=60.0)
    wish(ledger, PREFIX, seconds=5.0)
    ledger.put("198.51.100.10")
    ledger.put("198.51.100.11")
    wish(ledger, "198.51.100.11", seconds=60.0)  # waits behind the operator's
    ledger.restart()
    ledger.boot += 10
    found = [note.key for part in ledger.store.dynamic.former() for note in part]
    assert found == [ledger.place(text)[1] for text in (V4, "198.51.100.11")]
    assert ledger.store.dynamic.hits([ledger.place(V4), ledger.place("203.0.113.1")]) == {
        ledger.place(V4): 0
    }


def test_what_a_start_finds_is_read_without_a_look_at_other_origins(ledger: Ledger) -> None:
    """Both tables have an index of these claims alone."""
    ledger.put(V4)
    ledger.dnsdist("192.0.2.9")
    wish(ledger, V4, PREFIX, NAME, "192.0.2.9")
    plans: list[str] = []
    ledger.state._connection.set_trace_callback(plans.append)
    found = {note.key for part in ledger.store.dynamic.former() for note in part}
    ledger.state._connection.set_trace_callback(None)
    assert found == {ledger.place(text)[1] for text in (V4, PREFIX, NAME, "192.0.2.9")}
    for query in {text for text in plans if "_dynamic" in text}:
        (plan, *_) = ledger.state._connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert "_dynamic ((map,key)>" in plan[3]
    assert len(plans) == 4
