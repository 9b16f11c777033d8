"""What this host has published, in the state file; and the claims that the service makes itself."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.store.published import PublishedRecord, PublishedTable
from xdpctl.store.state import Note, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FULL = PublishedRecord(
    zone="rpz.example",
    target="192.0.2.1",
    action=RuleAction.DROP,
    origin="dnsdist-dynamic",
    created=1000.5,
    ends=2000.25,
    there=RuleAction.TRUNCATE,
    there_ends=1500.0,
    sent=RuleAction.PASS,
    leaving=True,
)
LEAST = PublishedRecord(
    zone="rpz.example", target=".x", action=RuleAction.PASS, origin="cli", created=1.0
)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with State.open(tmp_path / "state.db") as state:
        yield state


def test_records_outlive_the_service(state: State) -> None:
    PublishedTable.open(state).write([FULL, LEAST])
    assert PublishedTable.open(state).read() == [LEAST, FULL]


def test_a_record_takes_the_place_of_its_former_self(state: State) -> None:
    table = PublishedTable.open(state)
    table.write([FULL, LEAST])
    table.write([replace(FULL, ends=None)], [LEAST.key, ("rpz.example", "never")])
    assert table.read() == [replace(FULL, ends=None)]


def test_the_service_s_own_claims_are_found_by_an_index(state: State) -> None:
    notes = [
        Note(
            MapName.ADDR_V4,
            abi.encode_addr_v4(IPv4Address(number)),
            RuleAction.DROP,
            origin,
            "",
            1.0,
            expires=9.0,
        )
        for number, origin in enumerate(("cli", "dnsdist-dynamic", "dynamic", "list:x"))
    ]
    state.put(notes)
    assert state.made_by_itself(10) == notes[1:3]
    assert state.made_by_itself(1) == notes[1:2]
    (plan,) = state.select(
        "EXPLAIN QUERY PLAN SELECT map FROM note WHERE origin IN ('dynamic', 'dnsdist-dynamic')", ()
    )
    assert "note_dynamic" in plan[-1]
