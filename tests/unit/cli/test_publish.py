"""`publish` and `unpublish`: what is sent, and what is said."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.support.command_line import CommandLine
    from tests.support.fake_service import FakeService

PATH = "/api/v1/published"
DONE = {"published": ["evil.example", "*.evil.example"], "changed": ["192.0.2.1"], "same": []}


def test_targets_are_published(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", PATH, DONE)
    result = cli("publish", "192.0.2.1", ".Evil.example", "--zone", "rpz.example", "--for", "10m")

    assert result.status == 0
    assert result.output == (
        "rpz.example: drop evil.example, *.evil.example, 192.0.2.1, for 10m; 1 changed\n"
    )
    (request,) = service.requests
    assert request.query == []
    assert request.body == {
        "zone": "rpz.example",
        "targets": ["192.0.2.1", ".evil.example"],
        "action": "drop",
        "expires_in": 600,
    }


def test_many_targets_are_several_updates(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", PATH, {"published": ["x"], "changed": [], "same": []})
    cli(
        "publish", *(f"192.0.2.{number}" for number in range(120)), "--zone", "z.example", "--force"
    )

    assert [len(each.body["targets"]) for each in service.requests] == [50, 50, 20]
    assert service.requests[0].query == [("force", "1")]


def test_what_another_has_published_is_said(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", PATH, {"published": [], "changed": [], "same": ["192.0.2.1"]})
    result = cli("publish", "192.0.2.1", "--zone", "rpz.example")

    assert (result.status, result.output) == (0, "")
    assert "192.0.2.1: another has published the same" in result.errors


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["a.example", "--zone", "z.example", "--qtype", "A"], "blocks every type"),
        (["a.example"], "without --zone"),
        (["--zone", "z.example"], "without a target"),
        (["a.example", "--zone", "z.example", "--for", "soon"], "as a duration"),
        (["300.1.1.1", "--zone", "z.example"], "above 255"),
    ],
)
def test_what_makes_no_sense_is_refused(
    cli: CommandLine, service: FakeService, arguments: list[str], sentence: str
) -> None:
    result = cli("publish", *arguments)
    assert result.status in {1, 2}
    assert sentence in result.errors
    assert service.requests == []


def test_a_refusal_is_its_sentence(cli: CommandLine, service: FakeService) -> None:
    service.refuse("POST", PATH, 502, detail="cannot publish in z.example: it refuses the update")
    result = cli("publish", "a.example", "--zone", "z.example")
    assert result.status == 1
    assert result.errors == "xdpctl: cannot publish in z.example: it refuses the update\n"


def test_records_are_removed(cli: CommandLine, service: FakeService) -> None:
    service.answer("DELETE", PATH, {"removed": 2, "warnings": ["a.example: it was not there"]})
    result = cli("unpublish", "192.0.2.1", "a.example", "--zone", "rpz.example")

    assert (result.status, result.output) == (0, "rpz.example: 2 records removed\n")
    assert "a.example: it was not there" in result.errors
    assert service.requests[0].query == [
        ("zone", "rpz.example"), ("target", "192.0.2.1"), ("target", "a.example"),
    ]  # fmt: skip


def test_what_was_not_published_may_be_missing(cli: CommandLine, service: FakeService) -> None:
    service.refuse("DELETE", PATH, 404, detail="cannot remove a.example: not published")
    removing = ["unpublish", "a.example", "b.example", "--zone", "z.example"]
    assert cli(*removing).status == 1
    result = cli(*removing, "--missing-ok")

    assert (result.status, result.output) == (0, "z.example: 0 records removed\n")
    assert len(service.requests) == 3


def test_without_an_end_records_stay(cli: CommandLine, service: FakeService) -> None:
    service.answer("POST", PATH, {"published": ["a.example"], "changed": [], "same": []})
    result = cli("publish", "a.example", "--zone", "z.example", "--for", "forever")

    assert result.output == "z.example: drop a.example\n"
    assert service.requests[0].body["expires_in"] is None


def test_what_is_published_is_a_table(cli: CommandLine, service: FakeService) -> None:
    record = {"zone": "z.example", "action": "drop", "origin": "cli", "leaving": False}
    service.answer(
        "GET",
        PATH,
        {
            "published": [
                {**record, "target": "192.0.2.1", "there": True, "expires_in": 90},
                {**record, "target": "a.example", "there": False, "expires_in": None},
                {**record, "target": "b.example", "there": True, "leaving": True, "expires_in": 1},
            ],
            "zones": [
                {
                    "zone": "z.example",
                    "waiting": 1,
                    "error": "192.0.2.53: it refuses",
                    "next": time.time() + 60.9,
                }
            ],
        },
    )
    result = cli("publish", "--list")
    assert [line.split() for line in result.output.splitlines()] == [
        ["ZONE", "TARGET", "ACTION", "ORIGIN", "ENDS", "IN", "AT", "THE", "PRIMARY"],
        ["z.example", "192.0.2.1", "drop", "cli", "1m", "30s", "yes"],
        ["z.example", "a.example", "drop", "cli", "-", "not", "yet"],
        ["z.example", "b.example", "drop", "cli", "1s", "to", "be", "removed"],
    ]
    assert "cannot update z.example: 192.0.2.53: it refuses; the next try is in 1m" in result.errors
    assert json.loads(cli("publish", "--list", "--json").output)["zones"][0]["waiting"] == 1


@pytest.mark.parametrize(
    ("zones", "said"),
    [
        ([], "nothing can be published: no [[list]] of the settings has the key zone\n"),
        ([{"zone": "z.example"}], "nothing is published by this host\n"),
    ],
)
def test_nothing_is_said_in_words(
    cli: CommandLine, service: FakeService, zones: list[object], said: str
) -> None:
    service.answer("GET", PATH, {"published": [], "zones": zones})
    assert cli("publish").output == said
