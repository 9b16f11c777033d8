"""What `block`, `unblock` and `list --all-claims` say about claims."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from xdpctl.cli.claims import SENTENCES_MAX, about_left, about_made

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

RULES = "/api/v1/rules"


def claim(origin: str = "cli", **fields: object) -> dict[str, Any]:
    """Return a claim as the API shows it."""
    kind = "list" if origin.startswith("list:") else "operator"
    plain = {"action": "drop", "reason": "", "expires_in": None, "in_force": False}
    return {"origin": origin, "class": kind, **plain, **fields}


def made(**fields: object) -> dict[str, Any]:
    """Return what came of a rule for 192.0.2.1, which is new and in force."""
    plain = {"was": None, "claim": claim(), "in_force": None, "displaced": None}
    return {"target": "192.0.2.1", "qtype": None, **plain, **fields}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (made(), []),
        (
            made(was=claim(), claim=claim()),
            ["192.0.2.1: as it was: drop, without end"],
        ),
        (
            made(
                was=claim(expires_in=3600, reason="why"),
                claim=claim(expires_in=3600, reason="why", action="pass"),
            ),
            ["192.0.2.1: now pass (was drop)"],
        ),
        (
            made(was=claim(expires_in=3600), claim=claim()),
            ["192.0.2.1: now without end (was ends in 1h 0m)"],
        ),
        (
            made(was=claim(reason="a"), claim=claim(reason="b", expires_in=60)),
            ["192.0.2.1: now ends in 1m 0s (was without end) and reason 'b' (was reason 'a')"],
        ),
        (
            made(in_force=claim("api", action="pass")),
            [
                "192.0.2.1 stays allowed: the claim of api (pass) is in force, that of cli waits",
            ],
        ),
        (
            made(in_force=claim("dnsdist"), claim=claim("api")),
            [
                (
                    "192.0.2.1 stays dropped: the claim of dnsdist (drop) is in force, that of api"
                    " waits"
                ),
            ],
        ),
        (
            made(displaced=claim("list:a", expires_in=90)),
            ["192.0.2.1: the claim of list:a (drop, ends in 1m 30s) waits now"],
        ),
        (
            made(target="a.example", qtype="AAAA", was=claim(), claim=claim()),
            ["a.example (type AAAA): as it was: drop, without end"],
        ),
    ],
)
def test_what_changed_and_who_is_before_it_is_said(rule: dict[str, Any], said: list[str]) -> None:
    assert list(about_made([rule])) == said


def test_who_still_has_a_claim_is_said() -> None:
    left = {
        "target": "192.0.2.1",
        "qtype": None,
        "claims": [claim("app:jail", in_force=True, expires_in=120), claim("list:a")],
    }
    assert list(about_left([left])) == [
        "192.0.2.1 is still claimed by app:jail (drop, ends in 2m 0s, in force) and list:a (drop)"
    ]


def test_very_many_sentences_have_an_end() -> None:
    again = [made(was=claim(), claim=claim())] * (SENTENCES_MAX + 3)
    said = list(about_made(again))
    assert (len(said), said[-1]) == (SENTENCES_MAX + 1, "and 3 more rules like these")


def test_all_claims_are_shown_with_their_class_and_which_is_in_force(
    cli: CommandLine, service: FakeService
) -> None:
    rule = {
        "target": "192.0.2.1",
        "qtype": None,
        "action": "pass",
        "hits": 7,
        "origin": "cli",
        "reason": "",
        "expires_in": None,
        "created": 1.0,
        "map": "addr-v4",
        "wildcard": None,
        "claims": [claim(action="pass", in_force=True), claim("list:a", reason="SBL1")],
    }
    service.answer("GET", RULES, {"rules": [rule], "next": None})

    lines = cli("list", "--all-claims").output.splitlines()
    assert [line.split() for line in lines] == [
        ["TARGET", "TYPE", "ACTION", "HITS", "ORIGIN", "CLASS", "IN", "FORCE", "EXPIRY", "REASON"],
        ["192.0.2.1", "-", "pass", "7", "cli", "operator", "yes", "-"],
        ["192.0.2.1", "-", "drop", "-", "list:a", "list", "waits", "-", "SBL1"],
    ]
    assert ("all_claims", "1") in service.requests[0].query


def test_one_origins_claims_are_shown_alone(cli: CommandLine, service: FakeService) -> None:
    rule = {"target": "192.0.2.1", "map": "addr-v4", "hits": 0}
    rule["claims"] = [claim(in_force=True), claim("list:a")]
    service.answer("GET", RULES, {"rules": [rule], "next": None})

    lines = cli("list", "--all-claims", "--origin", "list:a").output.splitlines()
    assert [line.split()[4] for line in lines[1:]] == ["list:a"]


@pytest.mark.parametrize(
    ("was", "said"),
    [
        (None, "drop: 192.0.2.1, without end\n"),
        (claim(expires_in=600), "drop: 192.0.2.1, without end; 1 rule changed\n"),
        (claim(), "drop: 192.0.2.1, without end; nothing to change\n"),
    ],
)
def test_a_rule_counts_as_changed_only_if_it_says_something_else(
    cli: CommandLine, service: FakeService, was: dict[str, Any] | None, said: str
) -> None:
    counts = {"created": int(was is None), "updated": int(was is not None), "warnings": []}
    service.answer("POST", RULES, {**counts, "rules": [made(was=was)]})
    assert cli("block", "192.0.2.1", "--for", "forever").output.startswith(said)


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["--origin", "app:jail"], {"origin": "app:jail"}),
        (["--for", "forever"], {"expires_in": None}),
        (["--for", "10m"], {"expires_in": 600}),
        (["--reason", ""], {"reason": ""}),
    ],
)
def test_only_what_is_said_is_sent(
    cli: CommandLine, service: FakeService, arguments: list[str], sent: dict[str, object]
) -> None:
    service.answer("POST", RULES, {"created": 1, "updated": 0, "warnings": []})
    assert cli("block", "192.0.2.1", *arguments).status == 0
    plain = {"target": "192.0.2.1", "qtype": None, "action": "drop", "origin": "cli"}
    assert service.requests[0].body == [plain | sent]


def test_an_origin_that_cannot_be_is_refused_before_anything_is_sent(
    cli: CommandLine, service: FakeService
) -> None:
    for origin in ("jail", "dnsdist", "dynamic", "app:"):
        result = cli("block", "192.0.2.1", "--origin", origin)
        assert result.status in {1, 2}
        assert "origin" in result.errors
    assert service.requests == []
