"""`lists`: a row a list; `lists refresh` and `lists accept` read one now."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest

from xdpctl.cli.verbs.importing import FORMATS
from xdpctl.http.api.queries import ImportQuery
from xdpctl.settings import ListFormat

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

LISTS = "/api/v1/lists"


def listed(**fields: object) -> dict[str, Any]:
    """Return a list as the service shows it."""
    return {
        "name": "ads.txt",
        "file": "/l/ads.txt",
        "format": "hosts",
        "rules": 1_234,
        "left_out": 2,
        "last_success": time.time() - 7_260,
        "next": time.time() + 30.9,
        "serial": None,
        "error": None,
        **fields,
    }


def test_each_list_is_a_row(cli: CommandLine, service: FakeService) -> None:
    bad = listed(
        name="bad.txt", format="auto", rules=None, left_out=0, last_success=None, error="no, no"
    )
    service.answer("GET", LISTS, {"lists": [listed(), bad]})
    head, first, second = cli("lists").output.splitlines()

    assert head.split() == [
        "NAME",
        "FORMAT",
        "RULES",
        "LEFT",
        "OUT",
        "AGE",
        "NEXT",
        "LOOK",
        "ERROR",
    ]
    assert first.split() == ["ads.txt", "hosts", "1,234", "2", "2h", "1m", "30s", "-"]
    assert second.split() == ["bad.txt", "auto", "-", "0", "-", "30s", "no,", "no"]


def test_a_zone_has_a_serial_and_is_as_old_as_its_last_confirmation(
    cli: CommandLine, service: FakeService
) -> None:
    confirmed = {"zone": "rpz.example", "contact": time.time() - 3 * 86_400 - 60}
    zone = listed(name="z", format="rpz", file=None, serial=2026_11_30, **confirmed)
    service.answer("GET", LISTS, {"lists": [listed(), zone]})
    head, first, second = cli("lists").output.splitlines()

    assert "SERIAL" in head
    assert first.split()[4:6] == ["-", "2h"]
    assert second.split()[4:6] == ["20261130", "3d"]


def test_what_a_list_leaves_out_is_below_the_table(cli: CommandLine, service: FakeService) -> None:
    kinds = {"cosmetic rules": 1_200, "patterns": 1}
    service.answer("GET", LISTS, {"lists": [listed(left_out_kinds=kinds), listed(name="b.txt")]})
    *_, last = cli("lists").output.splitlines()
    assert last == "ads.txt leaves out 1,200 cosmetic rules, 1 pattern"


def test_a_list_that_is_read_says_what_it_leaves_out(
    cli: CommandLine, service: FakeService
) -> None:
    service.answer("POST", f"{LISTS}/refresh", listed(left_out_kinds={"patterns": 2}))
    output = cli("lists", "refresh", "ads.txt").output
    assert output.endswith("2 entries left out (2 patterns)\n")


def test_one_rule_is_a_rule(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", f"{LISTS}/refresh", listed(rules=1, left_out=0))
    assert cli("lists", "refresh", "ads.txt").output == "ads.txt: 1 rule in force, read as hosts\n"


def test_without_lists_that_is_said(cli: CommandLine, service: FakeService) -> None:
    service.answer("GET", LISTS, {"lists": []})
    assert "no [[list]]" in cli("lists").output


def test_json_is_the_document(cli: CommandLine, service: FakeService) -> None:
    document = {"lists": [listed()]}
    service.answer("GET", LISTS, document)
    assert json.loads(cli("lists", "--json").output) == document


@pytest.mark.parametrize("what", ["refresh", "accept"])
def test_a_list_is_read_now(cli: CommandLine, service: FakeService, what: str) -> None:
    service.answer("POST", f"{LISTS}/{what}", listed())
    result = cli("lists", what, "ads.txt")

    assert (result.status, result.errors) == (0, "")
    assert result.output == ("ads.txt: 1,234 rules in force, read as hosts, 2 entries left out\n")
    assert service.requests[0].query == [("name", "ads.txt")]


def test_a_version_that_is_not_used_fails_with_its_sentence(
    cli: CommandLine, service: FakeService
) -> None:
    service.refuse("POST", f"{LISTS}/refresh", 422, detail="cannot use list ads.txt")
    result = cli("lists", "refresh", "ads.txt")

    assert (result.status, result.output, result.errors) == (
        1,
        "",
        "xdpctl: cannot use list ads.txt\n",
    )


@pytest.mark.parametrize("arguments", [["accept"], ["refresh"], ["nonsense"]])
def test_what_cannot_be_meant_is_a_usage_error(
    cli: CommandLine, service: FakeService, arguments: list[str]
) -> None:
    assert cli("lists", *arguments).status == 2
    assert service.requests == []


def test_the_verb_and_the_api_know_every_format() -> None:
    every = [form.value for form in ListFormat]
    (named,) = (field for field in msgspec.structs.fields(ImportQuery) if field.name == "format")
    assert list(FORMATS) == every
    assert list(get_args(get_args(named.type)[0])) == every
