"""What is published in zones over HTTP: listed, added, removed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from xdpctl.abi import RuleAction
from xdpctl.errors import ConflictError, PublishError
from xdpctl.feeds.publish.views import PublishZoneView
from xdpctl.rules import parse_target
from xdpctl.store.published import PublishedRecord

if TYPE_CHECKING:
    from tests.support.fake_backend import Site

PUBLISHED = "/api/v1/published"
WANTED = {"zone": "rpz.example", "targets": ["192.0.2.1", ".Evil.example"], "expires_in": 600}


async def test_records_and_zones_are_listed(api: Site) -> None:
    api.backend.publications = [
        PublishedRecord(
            zone="rpz.example",
            target=target,
            action=RuleAction.TRUNCATE,
            origin="cli",
            created=1000.0,
            ends=ends,
            there=there,
        )
        for target, ends, there in (
            ("b.example", None, None),
            ("a.example", time.time() + 59.5, RuleAction.TRUNCATE),
        )
    ]
    api.backend.publish_zones = [
        PublishZoneView("rpz.example", "block", ("192.0.2.53",), 1, 1, "gone", 7.0, {"done": 3})
    ]
    assert (await api.ask("GET", PUBLISHED)).json() == {
        "published": [
            {
                "zone": "rpz.example",
                "target": target,
                "action": "truncate",
                "origin": "cli",
                "there": there,
                "leaving": False,
                "created": 1000.0,
                "expires_in": left,
            }
            for target, there, left in (("a.example", True, 60), ("b.example", False, None))
        ],
        "zones": [
            {
                "zone": "rpz.example",
                "list": "block",
                "primaries": ["192.0.2.53"],
                "records": 1,
                "waiting": 1,
                "error": "gone",
                "next": 7.0,
                "results": {"done": 3},
            }
        ],
    }


async def test_targets_are_published(api: Site) -> None:
    found = await api.ask("POST", f"{PUBLISHED}?force=1", WANTED)
    assert found.json()["published"] == ["192.0.2.1", ".evil.example"]
    targets = [parse_target("192.0.2.1"), parse_target(".evil.example")]
    assert api.backend.asked == [("publish", "rpz.example", targets, RuleAction.DROP, 600, True)]


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"targets": []}, 422, "targets"),
        ({"targets": ["300.1.1.1"]}, 422, "target"),
        ({"qtype": "A"}, 422, "qtype"),
        ({"action": "reject"}, 422, "action"),
        ({"expires_in": 0}, 422, "expires_in"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    api: Site, change: dict[str, object], status: int, field: str
) -> None:
    found = await api.ask("POST", PUBLISHED, WANTED | change)
    assert (found.status, found.problem["field"]) == (status, field)
    assert api.backend.asked == []


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (ConflictError("cannot publish: another's"), 409, "conflict"),
        (PublishError("cannot publish: it refuses", "refused"), 502, "publish"),
    ],
)
async def test_what_the_primary_says_is_the_answer(
    api: Site, failure: Exception, status: int, code: str
) -> None:
    api.backend.failure = failure
    found = await api.ask("POST", PUBLISHED, WANTED)
    assert (found.status, found.problem["code"]) == (status, code)
    assert found.problem["detail"] == str(failure)


async def test_targets_are_removed(api: Site) -> None:
    query = "zone=rpz.example&target=192.0.2.1&target=a.example"
    found = await api.ask("DELETE", f"{PUBLISHED}?{query}")
    assert found.json() == {"removed": 2, "warnings": ["it was not there any more"]}
    targets = [parse_target("192.0.2.1"), parse_target("a.example")]
    assert api.backend.asked == [("unpublish", "rpz.example", targets)]


@pytest.mark.parametrize("query", ["", "?zone=rpz.example", "?target=a.example"])
async def test_a_removal_names_zone_and_target(api: Site, query: str) -> None:
    assert (await api.ask("DELETE", PUBLISHED + query)).status == 400
    assert api.backend.asked == []
