"""Which dynamic claims are worth a record."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdpctl.abi import RuleAction
from xdpctl.feeds.publish.claims import ClaimedRecord, ClaimedRecords, follow
from xdpctl.rules import AnyQtype, Name, key_of, map_of, parse_target
from xdpctl.store.published import MOST, PublishedRecord
from xdpctl.store.state import Note, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ZONE = Name.from_text("rpz.example")
NOW, BOOT = 1_000_000.0, 500.0
DROP, TRUNCATE = RuleAction.DROP, RuleAction.TRUNCATE


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as state:
        yield state


def note(text: str, qtype: str | None = None, *, made: float = NOW, left: float | None) -> Note:
    """Return a claim that the service made at `made`, with seconds left."""
    target = parse_target(text, qtype)
    key = key_of(target, AnyQtype.NEW)
    expires = None if left is None else BOOT + left
    return Note(map_of(target), key, DROP, "dnsdist-dynamic", "", made, expires)


def test_a_claim_of_more_than_a_minute_is_published_record_by_record(state: State) -> None:
    state.put(
        [
            note("192.0.2.1", left=61),
            note("192.0.2.2", left=60),
            note("192.0.2.3", made=NOW - 55, left=10),
            note("192.0.2.0/24", left=None),
            note(".evil.example", left=3600),
            note("typed.example", "TXT", left=3600),
        ]
    )
    claims = ClaimedRecords(state, lambda: AnyQtype.NEW, lambda: NOW, lambda: BOOT)
    for _ in range(2):
        assert claims.read(ZONE) == {
            "192.0.2.1": ClaimedRecord(DROP, "dnsdist-dynamic", NOW, NOW + 61),
            "192.0.2.3": ClaimedRecord(DROP, "dnsdist-dynamic", NOW - 55, NOW + 10),
            "192.0.2.0/24": ClaimedRecord(DROP, "dnsdist-dynamic", NOW, None),
            "evil.example": ClaimedRecord(DROP, "dnsdist-dynamic", NOW, NOW + 3600),
            "*.evil.example": ClaimedRecord(DROP, "dnsdist-dynamic", NOW, NOW + 3600),
        }


def record(target: str, **fields: object) -> PublishedRecord:
    values = {"action": DROP, "origin": "dynamic", "created": NOW, **fields}
    return PublishedRecord(zone="rpz.example", target=target, **values)  # type: ignore[arg-type]


def test_records_follow_their_claims() -> None:
    own = {
        each.key: each
        for each in (
            record("gone.example"),
            record("longer.example"),
            record("other.example"),
            record("back.example", leaving=True),
            record("mine.example", origin="cli"),
        )
    }
    claimed = {
        ("rpz.example", name): ClaimedRecord(action, "dynamic", NOW, NOW + 90)
        for name, action in (
            ("longer.example", DROP),
            ("other.example", TRUNCATE),
            ("back.example", DROP),
            ("mine.example", TRUNCATE),
            ("new.example", DROP),
            ("elsewhere.example", DROP),
        )
    }
    followed = follow(claimed, own, {("rpz.example", "elsewhere.example")})
    assert followed.changed == [
        record("gone.example", leaving=True),
        record("other.example", action=TRUNCATE, ends=NOW + 90),
        record("back.example", ends=NOW + 90),
        record("new.example", ends=NOW + 90),
    ]
    assert followed.prolonged == [record("longer.example", ends=NOW + 90)]
    assert followed.skipped == 0


def test_there_is_room_for_so_many() -> None:
    claimed = {
        ("rpz.example", f"n{number}.example"): ClaimedRecord(DROP, "dynamic", NOW, None)
        for number in range(MOST + 3)
    }
    followed = follow(claimed, {}, ())
    assert (len(followed.changed), followed.skipped) == (MOST, 3)
