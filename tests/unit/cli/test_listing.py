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

    assert shown[2][:3] == [f"{mark}xn--bcher-kva.example", f"({mark}bücher.example)", "*"]
    assert [line[:2] for line in shown[:2]] == [
        ["192.0.2.0/24", "-"],
        [f"{mark}evil.example", "TXT"],
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


def test_a_program_gets_only_the_titles_where_there_is_nothing(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})

    assert cli("list").output == "TARGET  TYPE  ACTION  HITS  ORIGIN  EXPIRY  REASON\n"


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


# --- one target, order, limit -----------------------------------------------------------------

MIXED = [
    listed("www.evil.example", map="qnames", hits=5, expires_in=90),
    listed("203.0.113.9", hits=1),
    listed("192.0.2.66", hits=70, expires_in=10),
    listed("192.0.2.1", hits=5),
    listed("2001:db8::/32", map="cidr6"),
    listed("192.0.2.0/24", map="cidr4", hits=5, expires_in=3600),
    listed("evil.example", map="qnames"),
    listed(".example", map="zones"),
]
BY_TARGET = [
    "192.0.2.0/24", "192.0.2.1", "192.0.2.66", "203.0.113.9", "2001:db8::/32", ".example",
    "evil.example", "www.evil.example",
]  # fmt: skip


def targets(output: str) -> list[str]:
    return [line.split()[0] for line in output.splitlines()[1:]]


@pytest.mark.parametrize(
    ("arguments", "order"),
    [
        ([], BY_TARGET),
        (["--sort", "target"], BY_TARGET),
        (
            ["--sort", "hits"],
            [
                "192.0.2.66", "192.0.2.0/24", "192.0.2.1", "www.evil.example", "203.0.113.9",
                "2001:db8::/32", ".example", "evil.example",
            ],
        ),
        (["--sort", "hits", "--limit", "2"], ["192.0.2.66", "192.0.2.0/24"]),
        (["--sort", "expiry", "--limit", "3"], ["192.0.2.66", "www.evil.example", "192.0.2.0/24"]),
        (["--limit", "1"], ["192.0.2.0/24"]),
    ],
)  # fmt: skip
def test_rules_come_in_the_order_that_is_asked_for(
    cli: CommandLine, service: FakeService, arguments: list[str], order: list[str]
) -> None:
    service.answer("GET", RULES, {"rules": MIXED, "next": None})
    assert targets(cli("list", *arguments).output) == order


def test_by_rate_each_rule_has_its_rate(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": MIXED, "next": None})
    ranked = [{**MIXED[1], "rate": 20038.0}, {**MIXED[4], "rate": 0.5}]
    service.answer("GET", "/api/v1/top", {"rules": ranked})
    output = cli("list", "--sort", "rate", "--limit", "3").output
    assert [line.split()[:4:3] for line in output.splitlines()[1:]] == [
        ["20,038/s", "drop"], ["0.5/s", "drop"], ["0/s", "drop"],
    ]  # fmt: skip
    assert [line.split()[1] for line in output.splitlines()[1:]] == [
        "203.0.113.9", "2001:db8::/32", "192.0.2.66",
    ]  # fmt: skip
    assert dict(service.requests[-1].query) == {"n": "1000", "by": "rate"}


def test_several_pages_are_sorted_together(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": MIXED[:4], "next": "c"})
    service.answer("GET", RULES, {"rules": MIXED[4:], "next": None})
    assert targets(cli("list", "--sort", "target").output) == BY_TARGET


def test_several_pages_are_written_as_they_come(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": MIXED[:2], "next": "c"})
    service.answer("GET", RULES, {"rules": MIXED[2:], "next": None})
    assert targets(cli("list").output) == [rule["target"] for rule in MIXED]


def test_a_limit_ends_the_reading(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", RULES, {"rules": MIXED[:2], "next": "c"})
    service.answer("GET", RULES, {"rules": MIXED[2:4], "next": "d"})
    service.answer("GET", RULES, {"rules": MIXED[4:], "next": None})
    assert len(json.loads(cli("list", "--limit", "3", "--json").output)["rules"]) == 3
    assert len(service.requests) == 2


@pytest.mark.parametrize("number", ["0", "-1", "x", "1.5"])
def test_a_limit_that_cannot_be_is_a_usage_error(cli: CommandLine, number: str) -> None:
    assert cli("list", f"--limit={number}").status == 2


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (["192.0.2.66"], {"target": "192.0.2.66"}),
        (["192.0.2.66", "--contains"], {"target": "192.0.2.66", "contains": "1"}),
        (["a.example", "--qtype", "TXT"], {"target": "a.example", "qtype": "TXT"}),
    ],
)
def test_the_rules_for_a_target_are_asked_for(
    cli: CommandLine, service: FakeService, arguments: list[str], query: dict[str, str]
) -> None:
    service.answer("GET", RULES, {"rules": [MIXED[2]], "next": None})
    assert targets(cli("list", *arguments).output) == ["192.0.2.66"]
    assert dict(service.requests[0].query) == query


def test_the_rules_for_a_target_stay_the_most_exact_first(
    cli: CommandLine, service: FakeService
) -> None:
    exact = [MIXED[2], MIXED[5]]
    service.answer("GET", RULES, {"rules": exact, "next": None})
    output = cli("list", "192.0.2.66", "--contains").output
    assert targets(output) == ["192.0.2.66", "192.0.2.0/24"]


def test_origin_and_map_choose_among_the_rules_for_a_target(
    cli: CommandLine, service: FakeService
) -> None:
    rules = [listed("192.0.2.1"), listed("192.0.2.1", map="list-sources", origin="list:x")]
    service.answer("GET", RULES, {"rules": rules, "next": None})
    for chosen in (["--origin", "list:x"], ["--map", "list-sources"]):
        found = json.loads(cli("list", "192.0.2.1", *chosen, "--json").output)["rules"]
        assert [rule["origin"] for rule in found] == ["list:x"]


def test_a_target_without_a_rule_says_what_contains_it(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("GET", RULES, {"rules": [], "next": None})
    service.answer("GET", RULES, {"rules": [MIXED[5]], "next": None})
    assert on_terminal(cli, monkeypatch, "192.0.2.77") == [
        "there is no rule for 192.0.2.77",
        "but 192.0.2.0/24 (drop) contains it: `--contains` shows more",
    ]


@pytest.mark.parametrize("arguments", [["--contains"], ["--qtype", "A"]])
def test_contains_and_type_need_a_target(cli: CommandLine, arguments: list[str]) -> None:
    result = cli("list", *arguments)
    assert result.status == 2
    assert "TARGET" in result.errors


def test_a_long_name_does_not_wrap_every_line(
    cli: CommandLine, service: FakeService, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = listed(".".join(["a" * 60] * 3), map="qnames")
    service.answer("GET", RULES, {"rules": [ADDRESS, long], "next": None})
    assert max(len(line) for line in on_terminal(cli, monkeypatch)) < 130
