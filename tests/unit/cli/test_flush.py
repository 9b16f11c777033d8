"""`flush`: asked for, confirmed, done; dnsdist's with its warning."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_terminal import on_terminal
from xdpctl.cli.verbs.flush import OWN
from xdpctl.errors import TargetError
from xdpctl.rules import parse_origin

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

RULES = "/api/v1/rules"
ORIGINS = [
    {"origin": origin, "rules": rules}
    for origin, rules in (
        *(("list:x", 210_000), ("file:y", 6), ("cli", 3)),
        *(("api", 2), ("app:a", 1), ("app:b", 1)),
    )
]


@pytest.fixture
def removing(service: FakeService) -> FakeService:
    """A service that removes 1,234 rules."""
    service.answer("DELETE", RULES, {"removed": 1234})
    service.answer("GET", "/api/v1/origins", {"origins": ORIGINS})
    return service


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        ([], [("origin", "*")]),
        (["--map", "cidr4"], [("origin", "*"), ("map", "cidr4")]),
        (["--origin", "file:x"], [("origin", "file:x")]),
        (["--origin", "api", "--map", "qnames"], [("origin", "api"), ("map", "qnames")]),
    ],
)
def test_what_is_to_go_is_asked_for(
    cli: CommandLine, removing: FakeService, arguments: list[str], query: list[tuple[str, str]]
) -> None:
    result = cli("flush", "--yes", *arguments)

    assert (result.status, result.output, result.errors) == (0, "1,234 rules removed\n", "")
    assert [request.query for request in removing.requests] == [query]


def test_every_origin_of_ours_is_no_origins_name() -> None:
    with pytest.raises(TargetError):
        parse_origin(OWN)


def test_without_a_terminal_it_must_be_meant(cli: CommandLine, removing: FakeService) -> None:
    result = cli("flush")

    assert (result.status, result.output) == (2, "")
    assert "use --yes" in result.errors
    assert removing.requests == []


@pytest.mark.parametrize(
    ("arguments", "question"),
    [
        (
            [],
            (
                "remove 210,013 rules (list:x 210,000, file:y 6, cli 3, api 2, 2 other origins 2)"
                " in every map? [y/N] "
            ),
        ),
        (
            ["--origin", "cli", "--map", "qnames"],
            "remove 3 rules (cli 3) in qnames? [y/N] ",
        ),
        (["--origin", "file:none"], "remove 0 rules in every map? [y/N] "),
    ],
)
def test_a_terminal_is_asked(
    cli: CommandLine, removing: FakeService, arguments: list[str], question: str
) -> None:
    shown = on_terminal(cli, "flush", *arguments, typed="Y\n")

    assert (shown.status, shown.output, shown.errors) == (0, "1,234 rules removed\n", question)
    assert [request.method for request in removing.requests] == ["GET", "DELETE"]


@pytest.mark.parametrize("typed", ["", "\n", "n\n", "yess\n", "nein\n"])
def test_everything_but_a_yes_is_a_no(cli: CommandLine, removing: FakeService, typed: str) -> None:
    shown = on_terminal(cli, "flush", typed=typed)

    assert (shown.status, shown.output) == (1, "nothing was removed\n")
    assert "DELETE" not in {request.method for request in removing.requests}


def test_a_yes_given_before_is_not_asked_for(cli: CommandLine, removing: FakeService) -> None:
    assert on_terminal(cli, "flush", "--yes").errors == ""
    assert len(removing.requests) == 1


def test_dnsdists_own_come_with_the_warning_before_the_question(
    cli: CommandLine, removing: FakeService
) -> None:
    errors = on_terminal(cli, "flush", "--origin", "dnsdist", typed="n\n").errors

    assert errors.index("does not lower the count") < errors.index("[y/N]")
    assert removing.requests == []


def test_dnsdists_own_come_with_the_warning_in_a_script_too(
    cli: CommandLine, removing: FakeService
) -> None:
    result = cli("flush", "--origin", "dnsdist", "--yes")

    assert result.errors.startswith("xdpctl: warning: dnsdist keeps its own count of its entries")
    assert [request.query for request in removing.requests] == [[("origin", "dnsdist")]]


def test_the_warning_comes_once(cli: CommandLine, service: FakeService) -> None:
    service.answer(
        "DELETE", RULES, {"removed": 1, "warnings": ["dnsdist keeps its own count of its entries"]}
    )
    result = cli("flush", "--origin", "dnsdist", "--yes")

    assert result.errors.count("dnsdist keeps its own count of its entries") == 1


def test_an_origin_that_cannot_be_is_refused(cli: CommandLine, removing: FakeService) -> None:
    result = cli("flush", "--origin", "nonsense", "--yes")

    assert (result.status, result.output) == (1, "")
    assert "'nonsense'" in result.errors
    assert removing.requests == []


def test_warnings_of_the_service_go_to_standard_error(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("DELETE", RULES, {"removed": 1, "warnings": ["careful"]})
    result = cli("flush", "--yes")

    assert (result.output, result.errors) == ("1 rule removed\n", "xdpctl: warning: careful\n")


@pytest.mark.usefixtures("removing")
def test_json_is_the_answer_of_the_service(cli: CommandLine) -> None:
    assert json.loads(cli("flush", "--yes", "--json").output) == {"removed": 1234}
