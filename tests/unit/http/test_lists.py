"""The lists of the settings over HTTP: how each is, and reading one now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_backend import FakeBackend, site
from xdpctl.errors import ListError, NotFoundError, Sentence
from xdpctl.feeds.versions import GoodVersion, ListView

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.fake_backend import Site

GOOD = ListView("ads.txt", "/l/ads.txt", "hosts", GoodVersion("hosts", 7, 2, 1_000.5), 1_060.0, "")
REFUSED = ListView(
    "bad.txt", "/l/bad.txt", "auto", None, 1_060.0, Sentence("line 1: s3cret", "line 1")
)


async def test_each_list_says_how_it_is(api: Site) -> None:
    api.backend.views = (GOOD, REFUSED)
    assert (await api.ask("GET", "/api/v1/lists")).json() == {
        "lists": [
            {
                "name": "ads.txt",
                "file": "/l/ads.txt",
                "format": "hosts",
                "rules": 7,
                "left_out": 2,
                "last_success": 1_000.5,
                "next": 1_060.0,
                "serial": None,
                "error": None,
            },
            {
                "name": "bad.txt",
                "file": "/l/bad.txt",
                "format": "auto",
                "rules": None,
                "left_out": 0,
                "last_success": None,
                "next": 1_060.0,
                "serial": None,
                "error": "line 1: s3cret",
            },
        ]
    }


async def test_what_is_left_out_is_told_by_kind(api: Site) -> None:
    good = GoodVersion("hosts", 7, 2, 1_000.5, kinds={"zones in the place of a name": 2})
    api.backend.views = (ListView("ads.txt", "/l/ads.txt", "hosts", good, 1_060.0, ""),)
    (listed,) = (await api.ask("GET", "/api/v1/lists")).json()["lists"]
    assert listed["left_out_kinds"] == {"zones in the place of a name": 2}


async def test_in_public_an_error_quotes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path, backend=FakeBackend(views=(REFUSED,))) as served:
        answer = await served.ask("GET", "/api/v1/lists", tcp=True)
    assert answer.json()["lists"][0]["error"] == "line 1"


@pytest.mark.parametrize(("verb", "accept"), [("refresh", False), ("accept", True)])
async def test_a_list_is_read_now(api: Site, verb: str, *, accept: bool) -> None:
    api.backend.views = (GOOD,)
    answer = await api.ask("POST", f"/api/v1/lists/{verb}?name=ads.txt")
    assert (answer.status, answer.json()["rules"]) == (200, 7)
    assert api.backend.asked == [("read_list", "ads.txt", accept)]


@pytest.mark.parametrize(
    ("failure", "status"),
    [(NotFoundError("there is no list 'x'"), 404), (ListError("it is empty"), 422)],
)
async def test_a_list_that_is_not_there_or_not_used_is_a_problem(
    api: Site, failure: Exception, status: int
) -> None:
    api.backend.failure = failure
    answer = await api.ask("POST", "/api/v1/lists/accept?name=x")
    assert (answer.problem["status"], answer.problem["detail"]) == (status, str(failure))


async def test_a_request_names_its_list(api: Site) -> None:
    assert (await api.ask("POST", "/api/v1/lists/accept")).problem["status"] == 400
    assert api.backend.asked == []
