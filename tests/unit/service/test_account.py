"""The account: a log line and a row of history for each change, and who asked for it."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import sqlite3
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_host import INTERFACE, FakeHost, dnsdist_writes, rule
from tests.support.fake_tables import FakeEngine
from tests.unit.service.test_operations import INTERFACES, Office, rows
from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import (
    ConflictError,
    KernelError,
    MapFullError,
    NotFoundError,
    StateError,
    XdpctlError,
    no_room,
)
from xdpctl.process.caller import CALLER, Caller
from xdpctl.rules import AnyQtype, Rule, parse_target
from xdpctl.service.account import Account
from xdpctl.store.bulk import BulkResult
from xdpctl.store.change import Change
from xdpctl.store.history import BY_ITSELF, MOST, OF_LISTS, History, HistoryRow
from xdpctl.store.published import PublishedRecord
from xdpctl.store.state import State
from xdpctl.store.tally import EACH, Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from xdpctl.rules.keys import Row

OPERATOR = Caller(uid=1000, pid=os.getpid())
"""An operator whose process is this one, so that its command is known."""


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(FakeHost(monkeypatch, tmp_path))
    CALLER.set(OPERATOR)
    async with office.stack:
        yield office


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def told(lines: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Return the fields of the account's lines, without those that are None, with the event."""
    return [
        {"event": line.getMessage()}
        | {key: value for key, value in vars(line)["xdpctl_fields"].items() if value is not None}
        for line in lines.records
        if line.name == "xdpctl.service.account"
    ]


async def history(office: Office, **wanted: object) -> list[dict[str, Any]]:
    """Return the rows of the history without what is None, and without time and who."""
    chosen: dict[str, Any] = {"target": None, "since": None, "limit": MOST} | wanted
    found = await office.operations.history(**chosen)
    return [
        {
            name: value
            for name in one.__struct_fields__
            if (value := getattr(one, name)) is not None and name not in {"time", "who"}
        }
        for one in found
    ]


def listed(*texts: str) -> list[list[Row]]:
    """Return a list of rules as a change has it, of origin file:x."""
    return [rows([rule(text) for text in texts])]


def hit(office: Office, text: str, times: int, action: RuleAction = RuleAction.DROP) -> None:
    """Let the kernel count hits of a rule."""
    dnsdist_writes(office.shared.rule_maps(), parse_target(text), times, action=action)


# --- what is written down ---------------------------------------------------------------------


async def test_a_block_is_one_line_and_one_row(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    await office.operations.put([rule("192.0.2.1")], force=False)
    assert await history(office) == [
        {"verb": "block", "target": "192.0.2.1", "action": "drop", "origin": "cli", "count": 1}
    ]
    (line,) = told(lines)
    assert line["event"] == "rule-blocked"
    assert (line["target"], line["uid"], line["pid"]) == ("192.0.2.1", 1000, os.getpid())


@pytest.mark.parametrize(
    ("action", "verb"),
    [
        (RuleAction.DROP, "block"),
        (RuleAction.TRUNCATE, "block"),
        (RuleAction.PASS, "allow"),
    ],
)
async def test_the_verb_says_what_the_rule_does(
    office: Office, action: RuleAction, verb: str
) -> None:
    await office.operations.put([rule("www.example", action, "TXT")], force=False)
    (row,) = await history(office)
    assert (row["verb"], row["qtype"]) == (verb, "TXT")


async def test_an_unblock_says_how_often_the_rule_had_been_hit(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("192.0.2.2")], force=False)
    hit(office, "192.0.2.1", 7)
    await office.operations.remove([parse_target("192.0.2.1")])
    assert (await history(office))[-1] == {
        "verb": "unblock", "target": "192.0.2.1", "action": "drop", "origin": "cli", "count": 1,
        "hits": 7,
    }  # fmt: skip
    assert told(lines)[-1]["hits"] == 7


async def test_what_was_refused_is_not_written_down(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.9"))
    for attempt in (
        office.operations.put([rule("192.0.2.9")], force=False),
        office.operations.put([rule("192.0.2.53")], force=False),
        office.operations.remove([parse_target("192.0.2.77")]),
    ):
        with suppress(ConflictError, NotFoundError):
            await attempt
    assert await history(office) == []
    assert told(lines) == []


async def test_an_expiry_is_the_services_own_with_its_hits(office: Office) -> None:
    brief = Rule(parse_target("192.0.2.1"), RuleAction.DROP, expires_in=0)
    await office.operations.put([brief], force=False)
    hit(office, "192.0.2.1", 3)
    await office.operations.expire()
    (_, row) = await office.operations.history(None, None, MOST)
    assert (row.verb, row.target, row.hits) == ("expire", "192.0.2.1", 3)
    assert (row.who.uid, row.who.pid, row.who.command) == (None, None, None)


async def test_a_flush_is_one_row_with_all_hits(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("192.0.2.2")], force=False)
    hit(office, "192.0.2.1", 3)
    hit(office, "192.0.2.2", 4)
    await office.operations.flush(None, "cli")
    assert (await history(office))[-1] == {
        "verb": "flush", "origin": "cli", "count": 2, "hits": 7,
    }  # fmt: skip


async def test_a_flush_of_a_map_names_it(office: Office) -> None:
    await office.operations.flush(MapName.CIDR4, None)
    assert await history(office) == [
        {"verb": "flush", "count": 0, "hits": 0, "detail": "map cidr4"}
    ]


async def test_panic_resume_detach_and_attach_are_written_down(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    for panic in (False, True, True, False, False):
        await office.operations.set_panic(panic=panic)
    await office.operations.detach(["eth1"])
    await office.operations.attach([])
    assert [row["verb"] for row in await history(office)] == ["panic", "resume", "detach", "attach"]
    assert [line["event"] for line in told(lines)] == [
        "panic", "resumed", "detached", "attached-again",
    ]  # fmt: skip
    assert (await history(office))[-1]["detail"] == "eth1"


async def test_a_detach_of_nothing_is_not_written_down(office: Office) -> None:
    await office.operations.detach([])
    await office.operations.detach([])
    (row,) = await history(office)
    assert (row["count"], row["detail"]) == (2, ", ".join(INTERFACES))


# --- many at once -----------------------------------------------------------------------------


async def test_an_import_of_many_is_one_row_with_counts(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    await office.operations.bulk(Change(source=listed("192.0.2.1", "192.0.2.2"), origin="file:x"))
    await office.operations.bulk(Change(source=listed("192.0.2.2"), origin="file:x", replace=True))
    assert await history(office) == [
        {"verb": "import", "origin": "file:x", "count": 2, "detail": "2 made"},
        {"verb": "replace", "origin": "file:x", "count": 1, "hits": 0, "detail": "1 removed"},
    ]
    assert [line["count"] for line in told(lines)] == [2, 1]


async def test_what_a_list_removes_is_counted_with_its_hits(office: Office) -> None:
    CALLER.set(Caller())
    change = Change(source=listed("192.0.2.1"), origin="file:x", replace=True)
    await office.operations.bulk(change)
    hit(office, "192.0.2.1", 9)
    await office.operations.bulk(Change(source=(), origin="file:x", replace=True))
    assert [(row["verb"], row.get("hits")) for row in await history(office)] == [
        ("list", None), ("list", 9),
    ]  # fmt: skip


async def test_a_list_that_changed_nothing_is_no_change(office: Office) -> None:
    await office.operations.bulk(Change(source=(), origin="file:x", replace=True))
    assert await history(office) == []


async def test_more_rules_in_one_request_than_are_named_are_one_row(office: Office) -> None:
    many = [rule(f"n{number}.example") for number in range(EACH + 1)]
    office.account.made(OPERATOR, many)
    assert await history(office) == [{"verb": "block", "origin": "cli", "count": EACH + 1}]
    office.account.made(OPERATOR, many[1:])
    assert len(await history(office)) == EACH + 1


# --- who --------------------------------------------------------------------------------------


async def test_the_row_says_uid_pid_and_command(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1")], force=False)
    (row,) = await office.operations.history(None, None, MOST)
    assert (row.who.uid, row.who.pid) == (1000, os.getpid())
    assert row.who.command
    assert row.who.token is None


async def test_the_row_names_the_token_but_does_not_hold_it(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    CALLER.set(Caller(token="api", address="192.0.2.200"))  # noqa: S106 - a file's name
    await office.operations.put([rule("192.0.2.1")], force=False)
    (row,) = await office.operations.history(None, None, MOST)
    assert (row.who.token, row.who.address, row.who.uid) == ("api", "192.0.2.200", None)
    assert told(lines)[-1]["by_token"] == "api"  # noqa: S105 - the same


# --- what the history is asked ----------------------------------------------------------------


async def test_the_history_of_a_target_has_only_its_changes(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("192.0.2.2")], force=False)
    await office.operations.remove([parse_target("192.0.2.1")])
    rows_of_it = await history(office, target="192.0.2.1")
    assert [row["verb"] for row in rows_of_it] == ["block", "unblock"]


async def test_the_history_since_a_time_has_only_what_was_later(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1")], force=False)
    (row,) = await office.operations.history(None, None, MOST)
    assert await history(office, since=row.time + 0.001) == []
    assert len(await history(office, since=row.time)) == 1


async def test_the_last_changes_come_in_their_order(office: Office) -> None:
    for number in range(5):
        await office.operations.put([rule(f"192.0.2.{number}")], force=False)
    assert [row["target"] for row in await history(office, limit=2)] == ["192.0.2.3", "192.0.2.4"]


async def test_only_the_last_ten_thousand_are_kept(office: Office) -> None:
    kept = History(office.state)
    kept.add(HistoryRow(time=float(number), verb="panic") for number in range(MOST + 5))
    found = kept.last()
    assert (len(found), found[0].time, found[-1].time) == (MOST, 5.0, float(MOST + 4))


async def test_a_busy_list_does_not_push_out_what_people_did(office: Office) -> None:
    """Nor what else the service did by itself."""
    kept, root = History(office.state), Caller(0, 7, "xdpctl", None, None)
    kept.add([HistoryRow(time=1.0, verb="block", who=root), HistoryRow(time=2.0, verb="attach")])
    for _ in range(3):
        kept.add(HistoryRow(time=3.0, verb="list", origin="list:x") for _ in range(MOST))
    verbs = [row.verb for row in kept.last()]
    assert (len(verbs), verbs[:2]) == (MOST, ["block", "attach"])
    kept.add(HistoryRow(time=4.0, verb="expire") for _ in range(MOST))
    counts = Counter(row.verb for row in kept.last())
    assert counts == {"block": 1, "list": OF_LISTS, "expire": MOST - OF_LISTS - 1}
    kept.add(HistoryRow(time=5.0, verb="block", who=root) for _ in range(MOST))
    counts = Counter(row.verb for row in kept.last())
    assert counts == {"list": OF_LISTS, "expire": BY_ITSELF - OF_LISTS, "block": MOST - BY_ITSELF}


def test_the_history_outlives_the_state_being_closed(tmp_path: Path) -> None:
    row = HistoryRow(
        time=1.5, verb="unblock", who=Caller(0, 7, "xdpctl", None, None), target="192.0.2.1",
        qtype=None, action="drop", origin="cli", count=1, hits=2**40, reason="a flood",
        detail="for 5 s",
    )  # fmt: skip
    with State.open(tmp_path / "state.db") as state:
        History.open(state).add([row])
    with State.open(tmp_path / "state.db") as state:
        assert History.open(state).last() == [row]


def test_a_state_file_of_an_earlier_version_gets_the_table(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db"):
        pass
    with sqlite3.connect(tmp_path / "state.db") as connection:
        connection.execute("DROP TABLE IF EXISTS history")
    with State.open(tmp_path / "state.db") as state:
        assert History.open(state).last() == []


# --- failures ---------------------------------------------------------------------------------


async def test_a_change_is_made_and_logged_although_the_history_cannot_be_written(
    office: Office, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: History, _rows: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(History, "add", refuse)
    for text in ("192.0.2.1", "192.0.2.2"):
        await office.operations.put([rule(text)], force=False)
    assert set(await office.listed()) == {"192.0.2.1", "192.0.2.2"}
    events = [line["event"] for line in told(lines)]
    assert events == ["rule-blocked", "history-unwritten", "rule-blocked"]


async def test_a_panic_is_logged_although_the_state_cannot_be_written(
    office: Office, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise StateError("the disk is full")

    monkeypatch.setattr(State, "set_meta", refuse)
    with pytest.raises(StateError):
        await office.operations.set_panic(panic=True)
    assert office.panics() == [True, True]
    assert [line["event"] for line in told(lines)] == ["panic"]


async def test_a_client_that_left_is_still_named_by_its_uid(office: Office) -> None:
    CALLER.set(Caller(uid=1000, pid=2**22 + 1))  # no process has this number
    await office.operations.put([rule("192.0.2.1")], force=False)
    (row,) = await office.operations.history(None, None, MOST)
    assert (row.who.uid, row.who.command) == (1000, None)


async def test_zones_and_their_hits_are_written_down_too(office: Office) -> None:
    office.store.tables.use(FakeEngine())
    await office.operations.put([rule(".evil.example")], force=False)
    await office.operations.remove([parse_target(".evil.example")])
    found = await history(office)
    assert [(row["verb"], row["target"]) for row in found] == [
        ("block", ".evil.example"), ("unblock", ".evil.example"),
    ]  # fmt: skip
    assert found[-1]["hits"] == 0


async def test_records_that_are_published_are_written_down(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    records = [
        PublishedRecord(
            zone="z.example",
            target=f"n{number}.example",
            action=RuleAction.DROP,
            origin="cli",
            created=0.0,
        )
        for number in range(EACH + 1)
    ]
    office.account.published(OPERATOR, "publish", records[:1], "in z.example, for 10m")
    office.account.published(OPERATOR, "unpublish", records, "in z.example: ended")

    one, many = await history(office)
    assert (one["verb"], one["target"], one["action"]) == ("publish", "n0.example", "drop")
    assert (many["verb"], "target" in many, many["count"]) == ("unpublish", False, EACH + 1)
    assert [line["event"] for line in told(lines)] == ["record-published", "record-unpublished"]


async def test_a_transfer_of_a_zone_and_the_limit_of_a_watched_one_are_written_down(
    office: Office, lines: pytest.LogCaptureFixture
) -> None:
    office.account.transferred(".example.com", "axfr, serial 7, 3 names", 3)
    office.account.limited("zone-limited", ".example.com: names that are many", 0, kept=True)
    office.account.limited("zone-free", ".example.com: no attack", 0, kept=True)

    found = await history(office, target=".example.com")
    assert [(row["verb"], row["count"], row["detail"]) for row in found] == [
        ("transfer", 3, "axfr, serial 7, 3 names")
    ]
    assert [line["event"] for line in told(lines)] == ["zone-names", "zone-limited", "zone-free"]
    assert told(lines)[0]["count"] == 3


async def test_two_requests_at_once_are_both_written_down(office: Office) -> None:
    await asyncio.gather(
        *(office.operations.put([rule(f"192.0.2.{n}")], force=False) for n in (1, 2, 3))
    )
    assert {row["target"] for row in await history(office)} == {f"192.0.2.{n}" for n in (1, 2, 3)}


def test_the_names_of_the_interfaces_are_as_expected() -> None:
    assert INTERFACES[0] == INTERFACE


async def test_rules_are_counted_by_origin(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("www.example")], force=False)
    await office.operations.bulk(Change(source=listed("192.0.2.9"), origin="file:x"))
    assert await office.operations.origins(None) == {"cli": 2, "file:x": 1}
    assert await office.operations.origins(MapName.QNAMES) == {"cli": 1}


def breaks_off(
    *results: BulkResult, error: XdpctlError
) -> Callable[[Change, Callable[[BulkResult], None]], BulkResult]:
    """Return a `Store.bulk` that takes these steps and then fails."""

    def bulk(_: Change, step: Callable[[BulkResult], None]) -> BulkResult:
        for result in results:
            step(result)
        raise error

    return bulk


BREAKS = {
    "a full map": (no_room("addr-v4", wanted=9, free=8, capacity=8), "E2BIG"),
    "the end of the service": (
        XdpctlError("the service stops before the list is whole: send it again"),
        "the service stops before the list is whole",
    ),
}


@pytest.mark.parametrize(("error", "why"), BREAKS.values(), ids=BREAKS)
async def test_a_change_that_broke_off_is_written_down_with_what_was_done(
    office: Office,
    lines: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: XdpctlError,
    why: str,
) -> None:
    steps = BulkResult(removed=2, removed_hits=7), BulkResult(created=8, removed=2, removed_hits=7)
    monkeypatch.setattr(office.store, "bulk", breaks_off(*steps, error=error))
    with pytest.raises(type(error)):
        await office.operations.bulk(Change(source=listed("192.0.2.1"), origin="file:x"))
    told_of = {"origin": "file:x", "count": 10, "hits": 7}
    detail = f"broke off: {why}; 8 made, 2 removed"
    assert await history(office) == [{"verb": "import", "detail": detail} | told_of]
    (line,) = told(lines)
    assert (line["event"], line["detail"], line["count"]) == ("rules-imported", detail, 10)


async def test_while_a_change_is_made_the_history_says_how_far_it_is(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[HistoryRow] = []

    def bulk(_: Change, step: Callable[[BulkResult], None]) -> BulkResult:
        for made in (4000, 8000):
            step(BulkResult(created=made))
        seen.extend(office.account.last(target=None, since=None, limit=MOST))
        return BulkResult(created=9000)

    monkeypatch.setattr(office.store, "bulk", bulk)
    await office.operations.bulk(Change(source=listed("192.0.2.1"), origin="file:x"))
    assert [(row.count, row.detail) for row in seen] == [(8000, "under way: 8000 made")]
    (row,) = await history(office)
    assert (row["count"], row["detail"]) == (9000, "9000 made")


def test_a_change_that_a_kill_cut_short_is_in_the_history_of_the_next_start(tmp_path: Path) -> None:
    with State.open(tmp_path / "state.db") as state:
        history = History.open(state)
        account = Account(history, lambda: AnyQtype.BOTH)
        change = Change(source=(), origin="list:x", replace=True)
        account.merging(Caller(uid=0), change, BulkResult(created=4000, removed=3))
    with State.open(tmp_path / "state.db") as state:
        rows = History.open(state).last()
    assert [(row.verb, row.count, row.detail) for row in rows] == [
        ("replace", 4003, "cut short when the service ended: 4000 made, 3 removed"),
    ]


async def test_a_flush_that_broke_off_is_written_down_with_what_went(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flush(
        _map: MapName | None, _origin: str | None, _tally: Tally, step: Callable[[int], None]
    ) -> int:
        step(3)
        raise KernelError("cannot delete entries of map qnames", errno.EPERM)

    monkeypatch.setattr(office.store, "flush", flush)
    with pytest.raises(KernelError):
        await office.operations.flush(None, "file:x")
    assert await history(office) == [
        {"verb": "flush", "origin": "file:x", "count": 3, "detail": "broke off: EPERM"}
    ]


async def test_a_list_that_does_not_fit_changes_nothing_and_is_no_change(office: Office) -> None:
    many = listed(*(f"192.0.2.{number}" for number in range(20)))  # there is room for eight
    with pytest.raises(MapFullError):
        await office.operations.bulk(Change(source=many, origin="file:x"))
    assert await history(office) == []


async def test_a_change_that_broke_off_before_its_first_rule_is_none(office: Office) -> None:
    await office.operations.put([rule(f"192.0.2.{number}") for number in range(8)], force=False)
    before = len(await history(office))
    with pytest.raises(MapFullError):
        await office.operations.put([rule("192.0.2.77")], force=False)
    assert len(await history(office)) == before
