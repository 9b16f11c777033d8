"""The live table: views, rows, the chosen row, and what is asked before anything is blocked."""

from __future__ import annotations

import json
import os
import pty
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_terminal import on_terminal
from tests.unit.cli.test_top import Keys
from xdpctl.cli import talkers
from xdpctl.cli.keyboard import Keyboard
from xdpctl.cli.talkers import ALL_BY, VIEWS, LiveTable
from xdpctl.errors import ConflictError, ServiceUnreachableError, XdpctlError

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

SIZE = (100, 24)


def row(key: str, rate: float, **actions: int) -> dict[str, Any]:
    """Return a row as the service sums it up; without actions, all of it passed."""
    packets = int(rate * 5)
    return {
        "key": key, "packets": packets, "rate": rate, "share": rate / 1000, "error": packets // 10,
        "actions": actions or {"pass": packets},
    }  # fmt: skip


SUMS: dict[str, Any] = {
    "seconds": 5.0,
    "weight": 5000,
    "lost": 3,
    "by": {
        "source": [row("192.0.2.7", 750, drop=3750), row("2001:db8::7", 250)],
        "source24": [row("192.0.2.0/24", 750)],
        "source64": [row("2001:db8::/64", 250)],
        "source48": [],
        "name": [row("a.evil.example", 3)],
        "zone2": [row(".evil.example", 750)],
        "zone3": [row(".a.evil.example", 3)],
        "type": [row("A", 900)],
        "port": [row("udp/53", 1000)],
        "source-port": [row("udp/4000", 1000)],
        "action": [row("drop", 750), row("pass", 250)],
        "reason": [row("addr-v4", 750)],
    },
}


class Calls:
    """What was posted; `failure` is raised by the next post."""

    def __init__(self) -> None:
        self.rules: list[dict[str, object]] = []
        self.failure: XdpctlError | None = None

    def __call__(self, rules: list[dict[str, object]]) -> dict[str, Any]:
        if self.failure is not None:
            raise self.failure
        self.rules += rules
        return {"warnings": ["a warning"]}


@pytest.fixture
def calls() -> Calls:
    return Calls()


@pytest.fixture
def table(calls: Calls) -> LiveTable:
    return LiveTable(calls, document=SUMS)


def press(table: LiveTable, *keys: str) -> None:
    for key in keys:
        assert table.press(key)


def shown(table: LiveTable) -> str:
    return "\n".join(table.lines(SIZE))


def test_the_first_line_says_how_much_and_what_is_done(table: LiveTable) -> None:
    first = table.lines(SIZE)[0]
    assert first == "1,000/s in 5 s  pass 25%  drop 75%  3 samples lost"


def test_a_row_has_rate_error_share_and_actions(table: LiveTable) -> None:
    (line,) = [line for line in table.lines(SIZE) if "192.0.2.7" in line]
    assert line.split() == ["750/s", "10%", "75%", "-", "100%", "-", "-", "192.0.2.7"]


@pytest.mark.parametrize(
    ("keys", "title", "first"),
    [
        ("", "SOURCE", "192.0.2.7"),
        ("s", "NETWORK", "192.0.2.0/24"),
        ("ss", "SITE", None),
        ("sss", "SOURCE", "192.0.2.7"),
        ("p", "PORT", "udp/53"),
        ("pp", "SOURCE PORT", "udp/4000"),
        ("n", "NAME", "a.evil.example"),
        ("2", "ZONE", ".evil.example"),
        ("3", "ZONE", ".a.evil.example"),
        ("t", "TYPE", "A"),
        ("a", "ACTION", "drop"),
        ("aa", "REASON", "addr-v4"),
        ("nx", "NAME", "a.evil.example"),
    ],
)
def test_keys_choose_what_is_summed_up(
    table: LiveTable, keys: str, title: str, first: str | None
) -> None:
    press(table, *keys)
    assert table.view[0] == title
    assert next((found["key"] for found in table.rows()), None) == first


def test_every_view_is_asked_for() -> None:
    used = {name for views in VIEWS.values() for _, names in views for name in names}
    assert used == set(ALL_BY)


def test_q_ends_it(table: LiveTable) -> None:
    assert not table.press("q")


def test_arrows_choose_a_row_and_escape_none(table: LiveTable) -> None:
    press(table, "down", "down", "down")
    assert table.chosen == "2001:db8::7"
    assert "> " in shown(table)
    press(table, "up", "up", "up")
    assert table.chosen == "192.0.2.7"
    press(table, "escape")
    assert table.chosen is None


def test_a_row_that_is_gone_leaves_the_first(table: LiveTable) -> None:
    press(table, "down")
    table.document = {**SUMS, "by": {"source": [row("192.0.2.9", 5)]}}
    press(table, "down")
    assert table.chosen == "192.0.2.9"


def test_b_asks_before_it_blocks(table: LiveTable, calls: Calls) -> None:
    press(table, "down", "down", "b")
    assert "block 2001:db8::7 for 10 minutes? [y/N]" in shown(table)
    assert calls.rules == []
    press(table, "y")
    assert calls.rules == [
        {
            "target": "2001:db8::7",
            "origin": "cli",
            "expires_in": 600,
            "reason": "blocked in top --live",
        }
    ]
    assert "2001:db8::7 is blocked for 10 minutes; a warning" in shown(table)


@pytest.mark.parametrize("key", ["n", "q", "escape", "b", "x"])
def test_any_other_answer_is_no(table: LiveTable, calls: Calls, key: str) -> None:
    press(table, "b", key)
    assert calls.rules == []
    assert table.question is None


def test_a_allows_a_chosen_row_and_else_shows_actions(table: LiveTable, calls: Calls) -> None:
    press(table, "down", "a", "y")
    assert calls.rules[0]["action"] == "pass"
    assert "expires_in" not in calls.rules[0]
    press(table, "escape", "a")
    assert table.view[0] == "ACTION"


def test_a_zone_can_be_blocked(table: LiveTable, calls: Calls) -> None:
    press(table, "2", "b", "y")
    assert calls.rules[0]["target"] == ".evil.example"


@pytest.mark.parametrize("key", ["t", "p"])
def test_what_is_no_target_cannot_be_blocked(table: LiveTable, calls: Calls, key: str) -> None:
    press(table, key, "b")
    assert table.question is None
    assert "only sources, names and zones" in shown(table)
    press(table, "y")
    assert calls.rules == []


def test_a_refusal_is_shown(table: LiveTable, calls: Calls) -> None:
    calls.failure = ConflictError("it is dnsdist's")
    press(table, "b", "y")
    assert "it is dnsdist's" in shown(table)


def test_a_long_sentence_is_shown_whole(table: LiveTable, calls: Calls) -> None:
    """A refusal ended before what helps."""
    sentence = (
        "192.0.2.7 covers something of this host: nothing was changed; use --force if you mean it"
    )
    calls.failure = ConflictError(sentence)
    press(table, "b", "y")
    assert sentence in " ".join(table.lines((60, 24)))


def test_who_is_allowed_stays_so_and_the_question_says_it(table: LiveTable) -> None:
    press(table, "down", "a")
    assert "allow 192.0.2.7 until you unblock it" in shown(table)


def test_the_table_says_what_the_same_key_shows_next(table: LiveTable) -> None:
    assert "s again: networks, /24 and /64" in shown(table)
    press(table, "s", "s")
    assert "s again: addresses" in shown(table)
    assert "no IPv6 packets came within that time" in shown(table)
    press(table, "n")
    assert "again" not in shown(table)


def test_names_from_packets_write_no_control_characters(table: LiveTable) -> None:
    table.document = {**SUMS, "by": {"source": [row("\x1b[2J", 5)]}}
    assert "\x1b" not in shown(table)


def test_a_screen_is_no_larger_than_the_terminal(table: LiveTable) -> None:
    table.document = {**SUMS, "by": {"source": [row(f"192.0.2.{n}", n) for n in range(200)]}}
    lines = table.lines((40, 12))
    assert len(lines) <= 12
    assert max(map(len, lines)) <= 40


LONG = "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff"
NAMELESS = ".".join(["\\255" * 63] * 3 + ["\\255" * 53, "example"])
"""The longest text that a name of 255 octets can have."""


def test_the_key_is_whole_in_80_columns(table: LiveTable) -> None:
    table.document = {**SUMS, "by": {"source": [row(LONG, 123_456, drop=5, truncate=7)]}}
    (line,) = [line for line in table.lines((80, 24)) if "123,456" in line]
    assert line.split() == ["123,456/s", "10%", "12346%", "<1%", "<1%", LONG]


def test_the_keys_of_the_keyboard_are_whole_in_80_columns(table: LiveTable) -> None:
    assert table.lines((80, 24))[1] == talkers.KEYS


@pytest.mark.parametrize("size", [(20, 4), (30, 3), (25, 6)])
def test_a_small_terminal_has_rate_and_key_of_the_first_row(
    table: LiveTable, size: tuple[int, int]
) -> None:
    lines = table.lines(size)
    assert len(lines) <= size[1]
    (line,) = [line for line in lines if "192.0.2.7" in line]
    assert line.split()[0] == "750/s"


def test_the_chosen_row_is_in_sight(table: LiveTable) -> None:
    table.document = {**SUMS, "by": {"source": [row(f"192.0.2.{n}", 99 - n) for n in range(50)]}}
    press(table, *["down"] * 40)
    assert any(line.startswith(">") and "192.0.2.39" in line for line in table.lines((80, 12)))


@pytest.mark.parametrize("size", [(80, 24), (20, 5), (20, 8), (200, 3)])
@pytest.mark.parametrize("target", ["192.0.2.7", LONG, NAMELESS])
def test_a_question_ends_with_its_answers(
    table: LiveTable, target: str, size: tuple[int, int]
) -> None:
    """However long the target is: its begin and its end are shown."""
    table.document = {**SUMS, "by": {"name": [row(target, 3)]}}
    press(table, "n", "b")
    lines = table.lines(size)
    assert len(lines) <= size[1]
    text = "".join(lines[1:])
    assert text.startswith(f"block {target[:3]}")
    assert f"{target[-3:]} for 10 minutes? [y/N]" in text


def test_before_the_first_samples_it_waits() -> None:
    assert LiveTable(Calls()).lines(SIZE)[0] == "waiting for the first samples"


# --- on a terminal ------------------------------------------------------------------------------


STREAM = f"event: talkers\ndata: {json.dumps(SUMS)}\n\n".encode()
STOPS = b'event: end\ndata: {"detail": "the service stops"}\n\n'


class Slow(Keys):
    """Keys that are pressed once something is on the screen."""

    def wait(self, seconds: float) -> str:
        time.sleep(0.2)
        return super().wait(seconds)


def test_the_verb_draws_what_the_stream_brings(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("GET", "/api/v1/live", STREAM + STOPS)
    monkeypatch.setattr(talkers, "Keyboard", lambda _stream: Slow(["", "n", "", "q"]))
    monkeypatch.setattr(talkers, "AGAIN_SECONDS", 60)
    shown = on_terminal(cli, "top", "--live", "--source", "192.0.2.0/24")
    assert shown.status == 0
    (request,) = service.requests
    asked = dict(request.query)
    assert (asked["samples"], asked["snapshots"], asked["source"]) == ("1", "0", "192.0.2.0/24")
    assert asked["by"] == ",".join(ALL_BY)
    assert "trying again; the stream has ended: the service stops" in shown.output


def test_a_service_that_restarts_does_not_end_it(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("GET", "/api/v1/live", STREAM + STOPS)
    monkeypatch.setattr(talkers, "Keyboard", lambda _stream: Slow([*[""] * 9, "q"]))
    monkeypatch.setattr(talkers, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(talkers, "AGAIN_SECONDS", 0.01)
    assert on_terminal(cli, "top", "--live").status == 0
    assert len(service.requests) > 1


def test_a_stream_that_is_opened_again_by_itself_asks_nobody_to_do_it(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("GET", "/api/v1/live", STREAM)
    moved = service.path.with_name("moved")

    class Moving(Slow):
        def wait(self, seconds: float) -> str:
            key = super().wait(seconds)
            if key == "move":
                service.path.rename(moved)
            elif key == "q":
                moved.rename(service.path)
            return key if key == "q" else ""

    monkeypatch.setattr(talkers, "Keyboard", lambda _stream: Moving(["", "move", "", "", "q"]))
    monkeypatch.setattr(talkers, "AGAIN_SECONDS", 0.5)
    monkeypatch.setenv("COLUMNS", "200")
    output = on_terminal(cli, "top", "--live").output
    assert "trying again; the stream has ended: it was not read for ten seconds" in output
    assert "trying again; no service answers: it is being restarted, or has ended\n" in output
    assert "run the verb again" not in output
    assert "start one with" not in output


def test_a_service_that_was_never_there_does(
    cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(talkers, "Keyboard", lambda _stream: Slow([""] * 99))
    with pytest.raises(ServiceUnreachableError):
        on_terminal(cli, "top", "--live")


def test_where_no_sums_come_any_more_the_last_ones_are_not_shown(table: LiveTable) -> None:
    table.document, table.trouble = None, "the stream has ended"
    assert table.lines(SIZE)[0] == "trying again; the stream has ended"
    assert "192.0.2.7" not in shown(table)
    press(table, "b")
    assert table.question is None


def test_arrow_keys_and_escape_are_keys() -> None:
    controller, terminal = pty.openpty()
    with (
        os.fdopen(terminal) as stream,
        os.fdopen(controller, "wb", buffering=0) as typist,
        Keyboard(stream) as keyboard,
    ):
        for typed, key in ((b"\x1b[A", "up"), (b"\x1bOB", "down"), (b"\x1b", "escape")):
            typist.write(typed)
            assert keyboard.wait(5.0) == key


def test_a_terminal_that_is_closed_ends_it() -> None:
    controller, terminal = pty.openpty()
    with os.fdopen(terminal) as stream, Keyboard(stream) as keyboard:
        os.close(controller)
        assert keyboard.wait(5.0) == "q"
    assert not keyboard.works
