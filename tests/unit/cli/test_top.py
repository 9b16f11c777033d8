"""`top`: one table for a program, a table that is drawn again for a person."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_terminal import on_terminal
from tests.unit.cli.test_listing import listed
from xdpctl.cli.verbs.top import _rate

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

TOP = "/api/v1/top"


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


def test_nothing_to_show_is_no_table(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", TOP, {"rules": []})

    assert (cli("top").status, cli("top").output) == (0, "")


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
    [(None, "-"), (0, "0/s"), (0.04, "0.0/s"), (9.96, "10.0/s"), (1e6, "1000000/s")],
)
def test_small_rates_have_a_tenth(rate: float | None, shown: str) -> None:
    assert _rate(rate) == shown


def test_a_refusal_is_its_sentence(cli: CommandLine, service: FakeService) -> None:
    service.refuse("GET", TOP, 500, detail="it cannot be")

    assert (cli("top").status, cli("top").errors) == (1, "xdpctl: it cannot be\n")
