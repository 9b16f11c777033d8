"""`block`, `allow`, `unblock`: what is sent, what is said, and nothing on bad input."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

RULES = "/api/v1/rules"


def put(created: int = 1, updated: int = 0, *warnings: str) -> dict[str, Any]:
    """Return the answer to a POST of rules."""
    return {"created": created, "updated": updated, "warnings": list(warnings)}


def rule(target: str, **fields: object) -> dict[str, object]:
    """Return a rule as the command line sends it."""
    plain = {"qtype": None, "action": "drop", "origin": "cli"}
    return {"target": target, **plain, **fields}


@pytest.mark.parametrize(
    ("arguments", "sent"),
    [
        (["block", "192.0.2.1"], [rule("192.0.2.1")]),
        (["block", "2001:DB8::/32"], [rule("2001:db8::/32")]),
        (["block", "Bad.Example."], [rule("bad.example")]),
        (["block", "bücher.example"], [rule("xn--bcher-kva.example")]),
        (["block", "a.example", "--qtype", "28"], [rule("a.example", qtype="AAAA")]),
        (["block", "a.example", "--qtype", "any"], [rule("a.example", qtype="ANY")]),
        (["block", "a.example", "--action", "truncate"], [rule("a.example", action="truncate")]),
        (["block", "192.0.2.1", "--reason", "why not"], [rule("192.0.2.1", reason="why not")]),
        (["block", "192.0.2.1", "192.0.2.0/24"], [rule("192.0.2.1"), rule("192.0.2.0/24")]),
        (["block", "a.example", "A.EXAMPLE"], [rule("a.example")]),
        (["allow", "192.0.2.1"], [rule("192.0.2.1", action="pass")]),
        (["block", ".Evil.Example."], [rule(".evil.example")]),
        (["block", "*.evil.example"], [rule("*.evil.example")]),
        (["block", r"\042.evil.example"], [rule(r"\042.evil.example")]),
        (["block", "evil.example", "--zone"], [rule(".evil.example")]),
        (["block", "--zone", "a.example", ".a.example"], [rule(".a.example")]),
        (["allow", "lan", "--zone"], [rule(".lan", action="pass")]),
        (["block", "mx", "--zone"], [rule(".mx")]),
        (["block", "a.example", "lan", "--zone"], [rule(".a.example"), rule(".lan")]),
        (["block", "a.example", ".mx", "--zone"], [rule(".a.example"), rule(".mx")]),
        (["allow", ".bücher.example", "--qtype", "A"],
         [rule(".xn--bcher-kva.example", qtype="A", action="pass")]),
    ],
)  # fmt: skip
def test_targets_are_sent_as_the_rules_that_they_mean(
    cli: CommandLine, service: FakeService, arguments: list[str], sent: list[dict[str, object]]
) -> None:
    service.answer("POST", RULES, put())
    result = cli(*arguments)

    assert (result.status, result.errors) == (0, "")
    assert service.requests[0].body == sent


def test_what_was_made_and_changed_is_said(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", RULES, put(3, 1))
    result = cli("block", "192.0.2.1", "192.0.2.0/24", "A.example", ".b.example")

    assert result.output == (
        "drop: 192.0.2.1, 192.0.2.0/24, a.example (every type), .b.example (every type);"
        " 1 rule changed\n"
    )


def test_a_type_is_said_with_its_name(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", RULES, put())
    result = cli("block", "amplify.example", "--qtype", "txt", "--action", "truncate")

    assert result.output == "truncate: amplify.example (TXT)\n"


def test_of_many_rules_the_first_ten_are_named(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", RULES, put(12))
    result = cli("block", *(f"192.0.2.{n}" for n in range(12)))

    assert result.output.startswith("drop: 192.0.2.0, 192.0.2.1,")
    assert result.output.endswith(", 192.0.2.9 and 2 more\n")


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["TXT"], "--qtype TXT"),
        (["txt"], "--qtype TXT"),
        (["type65"], "--qtype TYPE65"),
        (["for", "10m"], "--for"),
        (["10m"], "--for 10m"),
        (["truncate"], "--action truncate"),
        (["drop"], "--action drop"),
        (["-"], "xdpctl import -"),
        (["AS64500"], "prefixes"),
        (["blocklist"], "'blocklist.'"),
        (["localhost"], "'localhost.'"),
    ],
)
@pytest.mark.parametrize("verb", ["block", "allow", "unblock"])
def test_a_single_word_is_no_target_and_what_was_meant_is_said(
    cli: CommandLine, service: FakeService, verb: str, words: list[str], meant: str
) -> None:
    result = cli(verb, "amplify.example", *words)

    assert (result.status, result.output) == (1, "")
    assert meant in result.errors
    assert repr(words[0]) in result.errors
    assert service.requests == []


@pytest.mark.parametrize(
    ("words", "meant", "written"),
    [
        (["txt"], "--qtype TXT", "'.txt'"),
        (["type65"], "--qtype TYPE65", "'.type65'"),
        (["for", "10m"], "--for", "'.for'"),
        (["10m"], "--for 10m", "'.10m'"),
        (["drop"], "--action drop", "'.drop'"),
    ],
)
@pytest.mark.parametrize("verb", ["block", "allow", "unblock"])
def test_with_zone_a_type_or_time_beside_a_name_is_no_zone_of_its_own(  # noqa: PLR0913, PLR0917 - a table
    cli: CommandLine, service: FakeService, verb: str, words: list[str], meant: str, written: str
) -> None:
    result = cli(verb, "amplify.example", *words, "--zone")

    assert (result.status, result.output) == (1, "")
    assert meant in result.errors
    assert written in result.errors
    assert service.requests == []


@pytest.mark.parametrize(
    ("word", "target"), [("localhost.", "localhost"), (".lan", ".lan"), ("*.lan", "*.lan")]
)
def test_a_dot_makes_a_word_a_name_or_zone(
    cli: CommandLine, service: FakeService, word: str, target: str
) -> None:
    service.answer("POST", RULES, put())

    assert cli("block", word).status == 0
    assert service.requests[0].body == [rule(target)]


def test_a_request_that_changed_nothing_is_said(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", RULES, put(0, 0))

    assert cli("block", "192.0.2.1").output == "drop: 192.0.2.1; nothing to change\n"


def test_warnings_of_the_service_go_to_standard_error(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("POST", RULES, put(1, 0, "it does not help"))
    result = cli("allow", "192.0.2.0/24")

    assert (result.status, result.errors) == (0, "xdpctl: warning: it does not help\n")


def test_json_is_the_answer_of_the_service(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", RULES, put(1, 0, "careful"))
    result = cli("block", "192.0.2.1", "--json")

    assert json.loads(result.output) == put(1, 0, "careful")
    assert result.errors == ""


@pytest.mark.parametrize(("option", "query"), [([], []), (["--force"], [("force", "1")])])
def test_force_is_passed_on(
    cli: CommandLine, service: FakeService, option: list[str], query: list[tuple[str, str]]
) -> None:
    service.answer("POST", RULES, put())
    cli("block", "0.0.0.0/0", *option)

    assert service.requests[0].query == query


@pytest.mark.parametrize(
    "bad",
    [
        ["block", "192.0.2.1", "300.1.1.1"],
        ["block", "10.0.0.0/33"],
        ["block", "10.0.0.1/8"],
        ["block", "a..example"],
        ["block", "a.*.example"],
        ["block", "*evil.example"],
        ["block", "--zone", "192.0.2.1"],
        ["unblock", "--zone", "*.evil.example"],
        ["block", "--only-addresses", ".evil.example"],
        ["block", "." + "a." * 16 + "example"],
        ["block", "192.0.2.1", "--qtype", "A"],
        ["block", "a.example", "--qtype", "NONSENSE"],
        ["block", "192.0.2.1", "--reason", "x\ny"],
        ["allow", "300.1.1.1"],
        ["unblock", "192.0.2.1", "300.1.1.1"],
    ],
)
def test_a_target_that_cannot_be_is_refused_before_anything_is_sent(
    cli: CommandLine, service: FakeService, bad: list[str]
) -> None:
    result = cli(*bad)

    assert (result.status, result.output) == (1, "")
    assert repr(bad[-1]) in result.errors
    assert service.requests == []


@pytest.mark.parametrize("verb", ["block", "allow"])
def test_a_rule_may_have_an_end(cli: CommandLine, service: FakeService, verb: str) -> None:
    service.answer("POST", RULES, put())
    result = cli(verb, "192.0.2.1", "--for", "1h30m")

    assert service.requests[0].body[0]["expires_in"] == 5400
    assert result.output.endswith(": 192.0.2.1, for 1h30m\n")


@pytest.mark.parametrize("bad", ["", "0s", "-1s", "10", "10 m", "1m1h", "11y", "3651d"])
def test_an_end_that_cannot_be_is_refused_before_anything_is_sent(
    cli: CommandLine, service: FakeService, bad: str
) -> None:
    result = cli("block", "192.0.2.1", f"--for={bad}")

    assert (result.status, result.output) == (1, "")
    assert repr(bad) in result.errors
    assert service.requests == []


def test_a_refusal_of_the_service_is_its_sentence(cli: CommandLine, service: FakeService) -> None:
    service.refuse("POST", RULES, 409, detail="192.0.2.1 is an entry of dnsdist's")
    result = cli("block", "192.0.2.1")

    assert (result.status, result.output, result.errors) == (
        1,
        "",
        "xdpctl: 192.0.2.1 is an entry of dnsdist's\n",
    )


def test_several_targets_are_removed_by_one_request(cli: CommandLine, service: FakeService) -> None:
    service.answer("DELETE", RULES, {"removed": 2})
    result = cli("unblock", "a.example", "B.example", "a.example", "--qtype", "aaaa")

    assert (result.status, result.output) == (0, "2 rules removed\n")
    assert [request.query for request in service.requests] == [
        [("target", "a.example"), ("target", "b.example"), ("qtype", "AAAA")]
    ]


def test_nothing_to_remove_is_a_failure(cli: CommandLine, service: FakeService) -> None:
    service.refuse("DELETE", RULES, 404, detail="there is no rule for a.example")
    result = cli("unblock", "a.example")

    assert (result.status, result.output, result.errors) == (
        1,
        "",
        "xdpctl: there is no rule for a.example\n",
    )


def test_a_script_may_remove_what_is_gone(cli: CommandLine, service: FakeService) -> None:
    service.refuse("DELETE", RULES, 404, detail="there is no rule for a.example")
    service.answer("DELETE", RULES, {"removed": 1})
    result = cli("unblock", "--missing-ok", "a.example", "b.example", "--qtype", "A")

    assert (result.status, result.output, result.errors) == (0, "1 rule removed\n", "")
    assert [request.query for request in service.requests] == [
        [("target", "a.example"), ("qtype", "A")],
        [("target", "b.example"), ("qtype", "A")],
    ]


def test_a_script_is_still_told_of_other_refusals(cli: CommandLine, service: FakeService) -> None:
    service.refuse("DELETE", RULES, 409, detail="it is dnsdist's")

    assert cli("unblock", "--missing-ok", "192.0.2.1").status == 1


def test_the_removed_are_counted_in_json(cli: CommandLine, service: FakeService) -> None:
    service.answer("DELETE", RULES, {"removed": 1})

    found = json.loads(cli("unblock", "a.example", "--json").output)
    assert found == {"removed": 1, "left": []}


MANY = [f"{'x' * 60}.{number}.example" for number in range(200)]


def test_very_many_targets_are_removed_in_parts_that_a_server_takes(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("DELETE", RULES, {"removed": 100})
    cli("unblock", *MANY)

    assert [target for request in service.requests for _, target in request.query] == MANY
    assert all(
        sum(len(f"&target={target}") for _, target in request.query) <= 6100
        for request in service.requests
    )


def test_a_refusal_after_a_part_says_what_is_gone(cli: CommandLine, service: FakeService) -> None:
    service.answer("DELETE", RULES, {"removed": 85})
    service.refuse("DELETE", RULES, 404, detail="there is no rule for it")
    result = cli("unblock", *MANY)

    assert result.status == 1
    assert result.errors == (
        "xdpctl: warning: 85 rules had been removed before this error\n"
        "xdpctl: there is no rule for it\n"
    )


@pytest.mark.parametrize(
    ("verb", "said"),
    [
        ("panic", "every packet passes now, until `xdpctl resume`\n"),
        ("resume", "filtering again\n"),
    ],
)
def test_panic_and_resume_say_what_is_now(
    cli: CommandLine, service: FakeService, verb: str, said: str
) -> None:
    service.answer("POST", f"/api/v1/{verb}", {"panic": verb == "panic"})
    result = cli(verb)

    assert (result.status, result.output) == (0, said)


def test_panic_prints_the_answer_as_json(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", "/api/v1/panic", {"panic": True})

    assert json.loads(cli("panic", "--json").output) == {"panic": True}


@pytest.mark.parametrize("verb", ["block", "allow", "unblock"])
@pytest.mark.parametrize("target", ["--force", "-h", "@file", "bad.example", "$f2bV_ip"])
def test_under_addresses_a_name_is_refused_behind_the_dashes(
    cli: CommandLine, verb: str, target: str
) -> None:
    with cli.service() as service:
        result = cli(verb, "--only-addresses", "--", "192.0.2.1", target)

    assert (result.status, service.requests) == (1, [])
    assert f"cannot use {target!r} with --only-addresses" in result.errors


def test_under_addresses_an_address_is_a_target(cli: CommandLine) -> None:
    with cli.service() as service:
        service.answer("POST", RULES, {"created": 2, "updated": 0, "warnings": []})
        result = cli("block", "--only-addresses", "--", "192.0.2.1", "2001:db8::/32")

    assert (result.status, len(service.requests[0].body)) == (0, 2)


@pytest.mark.parametrize("more", [[], ["--missing-ok"]])
def test_unblock_force_is_passed_on_and_its_warning_shown(
    cli: CommandLine, service: FakeService, more: list[str]
) -> None:
    service.answer("DELETE", RULES, {"removed": 1, "warnings": ["it counts"]})
    result = cli("unblock", "192.0.2.1", "--force", *more)

    assert ("force", "1") in service.requests[0].query
    assert (result.output, "it counts" in result.errors) == ("1 rule removed\n", True)
