"""`list`: every rule on a line, page by page, for people and for programs."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from xdpctl.cli.main import find
from xdpctl.cli.verb import Session

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

RULES = "/api/v1/rules"


def listed(target: str, **fields: object) -> dict[str, Any]:
    """Return a rule as the service lists it."""
    plain = {
        "qtype": None,
        "action": "drop",
        "hits": 0,
        "origin": "cli",
        "reason": "",
        "expires_in": None,
        "created": None,
        "map": "addr-v4",
        "wildcard": None,
    }
    return {"target": target, **plain, **fields}


ADDRESS = listed("192.0.2.1", hits=1234, reason="too many")
NAME = listed("bad.example", map="qnames", qtype="AAAA", action="truncate", origin="dnsdist")
WILDCARD = listed("xn--bcher-kva.example", map="qnames", wildcard=65535, expires_in=90)


class Terminal(io.StringIO):
    """A terminal of 80 columns."""

    def isatty(self) -> bool:
        return True


def on_terminal(cli: CommandLine, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> list[str]:
    """Return the lines that a terminal of 80 columns shows."""
    monkeypatch.setenv("COLUMNS", "80")
    verb, terminal = find("list"), Terminal()
    parsed = verb.parser().parse_args(["--control", str(cli.control), *arguments])
    assert verb.run(parsed, Session(terminal, io.StringIO(), {})) == 0
    return terminal.getvalue().splitlines()


def test_rules_are_shown_in_aligned_columns(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": [ADDRESS, NAME, WILDCARD], "next": None})

    assert cli("list").output.splitlines() == [
        "TARGET                 TYPE  ACTION    HITS  ORIGIN   EXPIRY  REASON",
        "192.0.2.1              -     drop      1234  cli      -       too many",
        "bad.example            AAAA  truncate     0  dnsdist  -",
        "xn--bcher-kva.example  *     drop         0  cli      1m 30s",
    ]


def test_a_terminal_shows_u_labels_beside_the_a_labels(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("GET", RULES, {"rules": [WILDCARD], "next": None})

    assert "xn--bcher-kva.example (bücher.example)  *" in on_terminal(cli, monkeypatch)[1]


@pytest.mark.parametrize("mark", [".", "*."])
def test_a_zone_is_shown_with_its_mark_and_its_type(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch, mark: str
) -> None:
    zones = [
        listed(f"{mark}xn--bcher-kva.example", map="zones", wildcard=65535),
        listed(f"{mark}evil.example", map="list-names", qtype="TXT", origin="list:x"),
        listed("192.0.2.0/24", map="list-sources", origin="list:x"),
    ]
    service.answer("GET", RULES, {"rules": zones, "next": None})
    shown = [line.split() for line in on_terminal(cli, monkeypatch)[1:]]

    assert shown[0][:3] == [f"{mark}xn--bcher-kva.example", f"({mark}bücher.example)", "*"]
    assert [line[:2] for line in shown[1:]] == [
        [f"{mark}evil.example", "TXT"],
        ["192.0.2.0/24", "-"],
    ]


@pytest.mark.parametrize("name", ["zones", "list-sources", "list-names"])
def test_the_maps_of_our_own_can_be_chosen(
    cli: CommandLine, service: FakeService, name: str
) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})
    cli("list", "--map", name)

    assert ("map", name) in service.requests[0].query


def test_an_a_label_that_is_none_is_left_alone(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = listed("xn--0.example", map="qnames", wildcard=65535)
    service.answer("GET", RULES, {"rules": [rule], "next": None})

    assert on_terminal(cli, monkeypatch)[1].startswith("xn--0.example  *")


def test_a_terminal_shows_thousands_and_cuts_the_reason(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = listed("192.0.2.1", hits=1234567, reason="because " * 20)
    service.answer("GET", RULES, {"rules": [rule], "next": None})
    line = on_terminal(cli, monkeypatch)[1]

    assert "1,234,567" in line
    assert (len(line), line[-1]) == (80, "…")


def test_a_reason_cannot_write_to_the_terminal(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": [listed("192.0.2.1", reason="\x1b[2J")], "next": None})

    assert "\x1b" not in cli("list").output


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "no rules: nothing is blocked"), (["--origin", "cli"], "no rules match")],
)
def test_a_terminal_is_told_that_there_is_nothing(
    cli: CommandLine,
    service: FakeService,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    said: str,
) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})

    assert on_terminal(cli, monkeypatch, *arguments) == [said]


def test_a_program_is_told_nothing_where_there_is_nothing(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})

    assert cli("list").output == ""


def test_map_and_origin_are_asked_for(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})
    cli("list", "--map", "cidr6", "--origin", "file:x")

    assert dict(service.requests[0].query) == {
        "map": "cidr6",
        "origin": "file:x",
        "limit": "10000",
    }


@pytest.mark.parametrize("pages", [[[]], [[ADDRESS]], [[ADDRESS, NAME], [WILDCARD]], [[], [NAME]]])
def test_json_is_one_document_whatever_the_pages(
    cli: CommandLine, service: FakeService, pages: list[list[dict[str, Any]]]
) -> None:
    for number, page in enumerate(pages, 1):
        following = str(number) if number < len(pages) else None
        service.answer("GET", RULES, {"rules": page, "next": following})

    assert json.loads(cli("list", "--json").output) == {
        "rules": [rule for page in pages for rule in page]
    }


def test_a_refusal_leaves_no_half_document(cli: CommandLine, service: FakeService) -> None:
    service.refuse("GET", RULES, 422, detail="cannot take 'x' as an origin")
    result = cli("list", "--json", "--origin", "x")

    assert result.status == 1
    assert json.loads(result.output) == {
        "error": {"code": "failed", "sentence": "cannot take 'x' as an origin"}
    }
