"""`limits`, `prove` and `unprove`: what is read at 3 a.m., on 80 columns."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from xdpctl.cli.verbs.limits import report

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

LIMITS = "/api/v1/limits"
NOW = 1_000_000.0
ACTING = {
    "reason": "unproven",
    "rate": 1_234_567.0,
    "since": NOW - 3_700,
    "dropped": 0,
    "truncated": 98_765_432_100,
    "passed": 0,
}
WARNING = (
    "the table of --rate-limit has 1,024 words, but 200,000 queries a second may pass, which takes"
    " 8,192; honest sources will be limited too: use --rate-limit-table 8192"
)


def document(**fields: object) -> dict[str, Any]:
    """Return what the service says where everything is configured and quiet."""
    return {
        "rate_limit": {
            "rate": 50,
            "burst": 125,
            "prefixes": "32:1,24:32",
            "prefixes6": "64:1,48:8",
            "table": 65_536,
            "load": 0.0312,
        },
        "flood_limit": {"limit": 100_000, "proven": 100_000},
        "proven": {
            "sources": 1_234,
            "room": 32_768,
            "proof": "socket",
            "factor": 8,
            "lifetime": 86_400,
            "found": 5_000,
            "missed": 12,
        },
        "cookies": {"secrets": 1, "good": 7, "bad": 2},
        "slip": 1,
        "dry_run": False,
        "exempt": ["192.0.2.10/32"],
        "acting": [],
        "tcp": [{"port": 53, "up": True}, {"port": 5353, "up": None}],
        "warnings": [],
        **fields,
    }


NOTHING: dict[str, Any] = {
    "rate_limit": None,
    "flood_limit": None,
    "proven": None,
    "cookies": None,
    "exempt": [],
}


def lines(**fields: object) -> list[str]:
    """Return the lines for such a document."""
    return list(report(document(**fields), now=NOW, width=80))


@pytest.mark.parametrize(
    ("fields", "first"),
    [
        ({}, "QUIET: no limit acts"),
        ({"acting": [ACTING]}, "LIMITING: unproven, 1,234,567/s now, for 1h 1m"),
        (
            {"acting": [ACTING], "dry_run": True},
            "LIMITING in a dry run: everything passes: unproven, 1,234,567/s now, for 1h 1m",
        ),
        (
            {"off": "panic is on: every packet passes", "acting": [ACTING]},
            "OFF: panic is on: every packet passes",
        ),
        ({"dry_run": True}, "QUIET: no limit acts, and they are in a dry run: everything passes"),
        (NOTHING, "NO LIMITS: set --rate-limit, --flood-limit, or --zone-limit"),
    ],
)
def test_the_first_line_says_whether_a_limit_acts(fields: dict[str, object], first: str) -> None:
    assert lines(**fields)[0] == first


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"acting": [ACTING, ACTING | {"reason": "limit"}], "warnings": [WARNING]},
        NOTHING,
        {"exempt": [f"2001:db8:{n:x}::/48" for n in range(40)], "dry_run": True},
    ],
)
def test_no_line_is_longer_than_80_columns(fields: dict[str, object]) -> None:
    assert max(map(len, lines(**fields))) <= 80


def test_every_fact_is_there() -> None:
    text = " ".join(" ".join(lines(acting=[ACTING], warnings=[WARNING])).split())
    for fact in (
        "50 queries/s, 125 at one moment",
        "accounts of /32, /24 x32 and /64, /48 x8",
        "3% of 65,536 words in use",
        "100,000 queries/s, and 100,000 more of proven",
        "1,234 of at most 32,768 sources",
        "5,000 connections found, 12 not",
        "7 good, 2 bad; 1 secret",
        "answered with TC=1",
        "192.0.2.10/32",
        "port 53 answers",
        "98,765,432,100",
        "--rate-limit-table 8192",
    ):
        assert fact in text, fact
    assert "5353" not in text, "nobody has asked that port"


@pytest.mark.parametrize(
    ("zone", "words"),
    [
        (
            {"in_force": True, "primaries": ["192.0.2.53"], "serial": 7, "names": 12},
            "500 queries/s for names that do not exist; 12 names exist (serial 7)",
        ),
        ({"in_force": True}, "its names are not known, every one below it counts"),
        ({"primaries": ["192.0.2.53"]}, "names that do not exist; NOT IN FORCE"),
        ({"watch": True}, "watched, not limited now"),
        (
            {"watch": True, "in_force": True, "ends": NOW + 540},
            "attacked, so limited for 9m 0s more at least",
        ),
    ],
)
def test_each_own_zone_is_a_line(zone: dict[str, object], words: str) -> None:
    shown = " ".join(" ".join(lines(zones=[{"zone": ".example.com", "limit": 500} | zone])).split())
    assert ".example.com" in shown
    assert words in shown


def test_a_server_that_does_not_answer_stands_out() -> None:
    assert "port 53 DOES NOT ANSWER" in "\n".join(lines(tcp=[{"port": 53, "up": False}]))


@pytest.mark.parametrize(
    ("slip", "words"), [(0, "dropped (slip 0)"), (1, "answered with TC=1"), (3, "one of 3 is")]
)
def test_the_slip_is_said_in_words(slip: int, words: str) -> None:
    assert words in "\n".join(lines(slip=slip))


def test_the_verb_shows_the_report_or_the_document(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", LIMITS, document(acting=[ACTING | {"since": time.time() - 5}]))
    assert cli("limits").output.startswith("LIMITING: unproven")
    assert json.loads(cli("limits", "--json").output)["slip"] == 1


def test_the_document_says_whom_limits_refuse_most_in_calm_too(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", LIMITS, document())
    assert json.loads(cli("limits", "--json").output)["limited_most"] == []


@pytest.mark.parametrize(
    ("verb", "changed", "said"),
    [
        ("prove", 2, "2 of 2 sources are proven"),
        ("prove", 1, "1 of 2 sources are proven; 1 were proven already"),
        ("unprove", 2, "2 of 2 sources are no longer proven"),
        ("unprove", 0, "0 of 2 sources are no longer proven; 2 were not proven"),
    ],
)
def test_prove_and_unprove_send_the_addresses(
    cli: CommandLine, service: FakeService, verb: str, changed: int, said: str
) -> None:
    service.answer("POST", f"{LIMITS}/{verb}", {"changed": changed})
    assert cli(verb, "192.0.2.1", "2001:db8::1").output == f"{said}\n"
    assert service.requests[-1].query == [
        ("address", "192.0.2.1"),
        ("address", "2001:db8::1"),
    ]


def test_who_is_limited_most_is_known_from_samples(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", LIMITS, document(acting=[ACTING]))
    rows = [{"key": "192.0.2.66", "rate": 1234.0, "packets": 1234}]
    service.answer("GET", "/api/v1/samples", {"by": {"source": rows}})
    shown = [line.split() for line in cli("limits").output.splitlines()]
    assert ["192.0.2.66", "1,234/s", "unproven"] in shown
    assert dict(service.requests[-1].query)["reason"] == "unproven"
    most = json.loads(cli("limits", "--json").output)["limited_most"]
    assert most == [{"reason": "unproven", "source": "192.0.2.66", "rate": 1234.0}]


def test_without_samples_limits_are_shown_all_the_same(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("GET", LIMITS, document(acting=[ACTING]))
    service.refuse(
        "GET", "/api/v1/samples", 503, detail="no packets are sampled", code="no-samples"
    )
    done = cli("limits")
    assert done.output.startswith("LIMITING: unproven")
    assert "limited most" not in done.output
    assert [request.path for request in service.requests] == [LIMITS, "/api/v1/samples"]


def test_status_and_test_say_that_a_limit_acts(cli: CommandLine, service: FakeService) -> None:
    service.answer(
        "GET",
        "/api/v1/test",
        {"verdict": "truncate", "reason": "limit", "limit": "limit", "target": None},
    )
    assert cli("test", "192.0.2.1").output.startswith(
        "truncate: no rule matches, and this source is over --rate-limit\n"
    )
    service.answer(
        "GET",
        "/api/v1/test",
        {"verdict": "pass", "reason": "unproven", "limit": "unproven", "target": None},
    )
    cli("test", "192.0.2.1")
    assert "it passes, as limits are in a dry run" in cli("test", "192.0.2.1").output
    service.answer("GET", "/api/v1/status", {"ready": True, "limits": [ACTING]})
    assert "limit unproven acts: 1,234,567/s for " in cli("status").output
