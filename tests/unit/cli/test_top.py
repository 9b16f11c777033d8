"""`top`: one table for a program, a table that is drawn again for a person."""

from __future__ import annotations

import itertools
import json
import os
import pty
import termios
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.support.fake_service import STATUS
from tests.support.fake_terminal import on_terminal
from tests.unit.cli.test_listing import listed
from xdpctl.cli.keyboard import Keyboard
from xdpctl.cli.render import shown_rate
from xdpctl.cli.verbs import top
from xdpctl.errors import ServiceUnreachableError
from xdpctl.samples.talkers import By

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

TOP = "/api/v1/top"
STATUS_PATH = "/api/v1/status"


def hit(target: str, rate: float | None, **fields: object) -> dict[str, Any]:
    """Return a rule as the service ranks it."""
    return {**listed(target, **fields), "rate": rate}


RANKED = {"rules": [hit("192.0.2.1", 1234.5, hits=99999), hit("192.0.2.2", 0.25, hits=3)]}


@pytest.fixture
def sleeps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that would have been slept; the fourth sleep is ended by Ctrl-C."""
    slept: list[float] = []
    monkeypatch.setattr("time.monotonic", lambda: 7.0)

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        if len(slept) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr("time.sleep", sleep)
    return slept


def test_a_program_gets_one_table(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TOP, RANKED)
    result = cli("top")

    assert (result.status, result.errors) == (0, "")
    assert result.output.splitlines() == [
        "  RATE   HITS  TARGET     TYPE  ACTION  ORIGIN  REASON",
        "1234/s  99999  192.0.2.1  -     drop    cli",
        " 0.2/s      3  192.0.2.2  -     drop    cli",
    ]


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ([], {"n": "10", "by": "rate"}),
        (
            ["-n", "3", "--by", "hits", "--map", "qnames"],
            {"n": "3", "by": "hits", "map": "qnames"},
        ),
    ],
)
def test_number_map_and_order_are_asked_for(
    cli: CommandLine, service: FakeService, arguments: list[str], query: dict[str, str]
) -> None:
    service.answer("GET", TOP, RANKED)
    cli("top", *arguments)

    assert dict(service.requests[0].query) == query


@pytest.mark.parametrize("number", ["0", "-1", "1001", "x", "1.5", "٣"])
def test_a_number_that_cannot_be_is_a_usage_error(
    cli: CommandLine, service: FakeService, number: str
) -> None:
    result = cli("top", f"-n{number}")

    assert result.status == 2
    assert "number from 1 to 1000" in result.errors
    assert service.requests == []


def test_json_is_the_answer_of_the_service(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TOP, RANKED)

    assert json.loads(cli("top", "--json").output) == RANKED


def test_a_rate_that_is_not_known_is_a_dash(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TOP, {"rules": [hit("192.0.2.1", None)]})

    assert "\n   -     0  192.0.2.1" in cli("top", "--by", "hits").output


def test_nothing_to_show_is_a_line_of_titles(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TOP, {"rules": []})

    result = cli("top")
    assert result.status == 0
    assert result.output == "RATE  HITS  TARGET  TYPE  ACTION  ORIGIN  REASON\n"


def test_a_terminal_is_drawn_again_every_second_until_ctrl_c(
    cli: CommandLine, service: FakeService, sleeps: list[float]
) -> None:
    service.answer("GET", TOP, RANKED)
    shown = on_terminal(cli, "top")

    assert shown.status == 0
    assert sleeps == [1.0] * 4
    assert shown.output.count("99,999") == 4


def test_a_measurement_that_took_its_second_is_not_waited_for_again(
    cli: CommandLine,
    service: FakeService,
    sleeps: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seconds = itertools.count(0, 2)
    monkeypatch.setattr("xdpctl.cli.verbs.top.time.monotonic", lambda: float(next(seconds)))
    service.answer("GET", TOP, RANKED)
    on_terminal(cli, "top")

    assert sleeps == [0.0] * 4


def test_each_table_is_drawn_over_the_one_before(
    cli: CommandLine, service: FakeService, sleeps: list[float]
) -> None:
    service.answer("GET", TOP, RANKED)
    service.answer("GET", TOP, {"rules": []})
    service.answer("GET", STATUS_PATH, STATUS)
    service.answer("GET", TOP, RANKED)
    _, *later = on_terminal(cli, "top").output.split("\x1b[J")

    assert sleeps
    assert [part.rpartition("\n")[2] for part in later] == [
        "\x1b[3A\r",
        "\x1b[1A\r",
        "\x1b[3A\r",
        "\r",
    ]


def test_a_table_is_no_longer_than_the_terminal(
    cli: CommandLine, service: FakeService, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINES", "5")
    monkeypatch.setenv("COLUMNS", "80")
    service.answer("GET", TOP, {"rules": [hit(f"192.0.2.{n}", n) for n in range(50)]})
    first = on_terminal(cli, "top", "-n", "50").output.split("\x1b[J")[1]

    assert sleeps
    assert first.count("\n") == 4


@pytest.mark.parametrize(
    ("rate", "shown"),
    [(None, "-"), (0, "0/s"), (0.04, "0.0/s"), (9.96, "10.0/s"), (1e6, "1,000,000/s")],
)
def test_small_rates_have_a_tenth(rate: float | None, shown: str) -> None:
    assert shown_rate(rate) == shown


def test_a_refusal_is_its_sentence(cli: CommandLine, service: FakeService) -> None:
    service.refuse("GET", TOP, 500, detail="it cannot be")

    assert (cli("top").status, cli("top").errors) == (1, "xdpctl: it cannot be\n")


# --- true sentences, keys ---------------------------------------------------------------------


def with_rules(**entries: int) -> dict[str, Any]:
    """Return a status whose maps have so many entries."""
    maps = [
        {"name": name.replace("_", "-"), "entries": number, "capacity": 1024}
        for name, number in entries.items()
    ]
    return {**STATUS, "maps": maps}


@pytest.mark.parametrize(
    ("arguments", "maps", "said"),
    [
        ([], {"qnames": 12, "cidr4": 3}, "was hit within the last second; 15 rules are in force"),
        ([], {"qnames": 1}, "1 rule is in force"),
        (["--by", "hits"], {"qnames": 2}, "no rule was hit since it was made; 2 rules"),
        (["--map", "qnames"], {"qnames": 2, "cidr4": 3}, "no rule in qnames was hit"),
        (["--map", "qnames"], {"qnames": 2, "cidr4": 3}, "; 2 rules are in force"),
        ([], {"qnames": 0, "xsk_destinations_v4": 2}, "no rules: nothing is blocked"),
        (["--map", "qnames"], {"cidr4": 3}, "no rules in qnames: nothing is blocked by them"),
    ],
)
def test_a_terminal_is_told_the_truth_when_no_rule_was_hit(  # noqa: PLR0913, PLR0917 - the case
    cli: CommandLine,
    service: FakeService,
    sleeps: list[float],
    arguments: list[str],
    maps: dict[str, int],
    said: str,
) -> None:
    service.answer("GET", TOP, {"rules": []})
    service.answer("GET", STATUS_PATH, with_rules(**maps))
    assert said in on_terminal(cli, "top", *arguments).output
    assert sleeps


def test_a_line_is_no_wider_than_the_terminal(
    cli: CommandLine, service: FakeService, sleeps: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    service.answer("GET", TOP, {"rules": [hit("a" * 60 + ".example", 3, reason="x" * 50)]})
    screen = on_terminal(cli, "top").output.split("\x1b[J")[1]
    assert sleeps
    assert max(len(line) for line in screen.splitlines()) <= 40


class Keys:
    """A keyboard on which these keys are pressed, one a second."""

    works = True

    def __init__(self, pressed: list[str]) -> None:
        self.pressed = pressed

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Do nothing."""

    def wait(self, seconds: float) -> str:
        assert seconds <= 1
        return self.pressed.pop(0)


def press(monkeypatch: pytest.MonkeyPatch, *keys: str) -> list[str]:
    pressed = list(keys)
    monkeypatch.setattr(top, "Keyboard", lambda _stream: Keys(pressed))
    return pressed


def test_q_ends_it_and_s_changes_the_order(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = press(monkeypatch, "", "s", "x", "s", "q")
    service.answer("GET", TOP, RANKED)
    shown = on_terminal(cli, "top")
    assert (shown.status, left) == (0, [])
    ranked = [request for request in service.requests if request.path == TOP]
    assert [dict(request.query)["by"] for request in ranked] == [
        "rate", "rate", "hits", "hits", "rate",
    ]  # fmt: skip
    assert "sorted by rate; keys: q quits, s sorts by hits" in shown.output
    assert "sorted by hits; keys: q quits, s sorts by rate" in shown.output


def test_limits_that_act_and_zones_that_are_asked_for_much_are_above_the_rules(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    press(monkeypatch, "q")
    service.answer("GET", TOP, RANKED)
    proposal = "xdpctl block .victim.com --action truncate --for 10m"
    heavy = {"zone": ".victim.com", "rate": 5000.0, "propose": proposal}
    acting = {"reason": "limit", "rate": 7.0, "since": 0, "passed": 0}
    service.answer("GET", "/api/v1/limits", {"acting": [acting], "heavy": [heavy]})
    monkeypatch.setenv("COLUMNS", "120")
    _, first, second, titles, *_ = on_terminal(cli, "top").output.split("\x1b[J")[1].splitlines()
    assert first.startswith("limit limit acts: 7.0/s for ")
    assert second == f".victim.com is asked for 5,000/s: try {proposal}"
    assert titles.split()[0] == "RATE"
    assert cli("top").output.splitlines()[:2] == [first, second], "in a pipe, too"


def test_a_service_that_restarts_does_not_end_it(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    press(monkeypatch, "", "", "q")
    service.answer("GET", TOP, RANKED)
    gone = ServiceUnreachableError("no service answers")
    answers: Iterator[dict[str, Any] | Exception] = iter([RANKED, gone, RANKED])

    def ask(*_: object) -> dict[str, Any]:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(top, "_ask", ask)
    output = on_terminal(cli, "top").output
    assert "no service answers: it is being restarted, or has ended; trying again" in output
    assert output.count("192.0.2.1") == 2


def test_a_service_that_was_never_there_does(cli: CommandLine) -> None:
    with pytest.raises(ServiceUnreachableError):
        on_terminal(cli, "top")


def test_keys_are_read_one_by_one_and_the_terminal_is_left_as_it_was() -> None:
    controller, terminal = pty.openpty()
    with os.fdopen(terminal) as stream, os.fdopen(controller, "wb", buffering=0) as typist:
        before = termios.tcgetattr(terminal)
        with Keyboard(stream) as keyboard:
            assert keyboard.works
            assert termios.tcgetattr(terminal) != before
            assert not keyboard.wait(0.0)
            typist.write(b"Qs")
            assert [keyboard.wait(5.0), keyboard.wait(5.0)] == ["q", "s"]
        assert termios.tcgetattr(terminal) == before


def test_what_is_no_terminal_is_a_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    with open(os.devnull) as stream, Keyboard(stream) as keyboard:  # noqa: PTH123 - not a file of ours
        assert not keyboard.works
        assert not keyboard.wait(0.5)
    assert slept == [0.5]


# --- everything, not only rules ---------------------------------------------------------------

SAMPLES = "/api/v1/samples"
SUMS = {
    "seconds": 5.0,
    "weight": 500,
    "lost": 0,
    "by": {
        "name": [
            {"key": "a.example", "packets": 400, "rate": 80.0, "share": 0.8, "error": 9,
             "actions": {"drop": 300, "pass": 100}},
        ]
    },
}  # fmt: skip


def test_live_for_a_program_is_one_table(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", SAMPLES, SUMS)
    result = cli("top", "--live", "name", "--source", "192.0.2.0/24", "--seconds", "2")
    assert result.output.splitlines() == [
        "RATE/S  PACKETS  ERROR  SHARE%  PASS  DROP  TRUNCATE  REDIRECT  KEY",
        "  80.0      400      9    80.0   100   300         0         0  a.example",
    ]
    assert dict(service.requests[0].query) == {
        "source": "192.0.2.0/24", "seconds": "2", "n": "10", "by": "name",
    }  # fmt: skip


def test_live_json_has_every_dimension(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", SAMPLES, SUMS)
    assert json.loads(cli("top", "--live", "--json").output) == SUMS
    asked = dict(service.requests[0].query)["by"].split(",")
    assert asked == [*top.LIVE_BY]
    assert set(asked) == set(By)


def test_a_filter_without_live_is_a_usage_error(cli: CommandLine, service: FakeService) -> None:
    result = cli("top", "--source", "192.0.2.1")
    assert result.status == 2
    assert "--live" in result.errors
    assert service.requests == []
