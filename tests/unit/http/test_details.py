"""Small things of HTTP: whole numbers, lists of values, the last newline, the page at `/`."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_backend import site
from xdpctl.http.api.documents import whole
from xdpctl.http.api.openapi import PATH

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.fake_backend import Site

RULES = "/api/v1/rules"


@pytest.fixture
async def public() -> AsyncIterator[Site]:
    """A service that also listens on TCP, without a token."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(Path(name)) as served:
            yield served


# --- numbers ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", ["600", "600.0", "6e2", "6.0E+2", "600.000"])
async def test_a_whole_number_is_an_integer_however_it_is_written(api: Site, number: str) -> None:
    body = f'{{"target": "192.0.2.9", "expires_in": {number}, "hits": {number}}}'.encode()
    assert (await api.ask("POST", RULES, body)).status == 200
    ((_, (rule,), _),) = api.backend.asked
    assert rule.expires_in == 600


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"target": "a.example", "qtype": 65}', "expected text or null, got a whole number"),
        ('{"target": 1.5}', "expected text, got a number"),
        ('{"target": []}', "expected text, got a list"),
        ('{"target": {}}', "expected text, got an object"),
        ('{"target": true}', "expected text, got true or false"),
        ("5", "expected a list, got a whole number"),
    ],
)
async def test_a_value_of_another_type_is_named_in_the_words_of_json(
    api: Site, body: str, said: str
) -> None:
    answer = await api.ask("POST", RULES, body.encode())
    assert answer.status == 422
    assert said in answer.problem["detail"]


@pytest.mark.parametrize("number", ["600.0", "6e2"])
async def test_the_same_holds_in_a_long_list_and_a_put(api: Site, number: str) -> None:
    rule = f'{{"target": "192.0.2.9", "expires_in": {number}}}'
    assert (await api.ask("PUT", f"{RULES}?origin=api", f"[{rule}]".encode())).status == 200
    assert (await api.ask("POST", RULES, f"[{','.join([rule] * 1_001)}]".encode())).status == 200
    assert [call.rows for call in api.backend.bulks] == [1, 1_001]


@pytest.mark.parametrize(
    "number", ["600.5", "0", "0.0", "-1", '"600"', "true", "[600]", "{}", "1e300", "315360001"]
)
async def test_what_is_no_whole_number_in_range_is_refused_with_its_field(
    api: Site, number: str
) -> None:
    body = f'{{"target": "192.0.2.9", "expires_in": {number}}}'.encode()
    answer = await api.ask("POST", RULES, body)
    assert (answer.status, answer.problem["field"]) == (422, "expires_in")
    assert "whole number" in answer.problem["detail"]
    assert not api.backend.asked


async def test_the_schema_says_integer_with_its_bounds(api: Site) -> None:
    document: dict[str, Any] = (await api.ask("GET", PATH)).json()
    found = document["components"]["schemas"]["RuleIn"]["properties"]["expires_in"]["anyOf"]
    assert {"type": "integer", "minimum": 1, "maximum": 315_360_000}.items() <= found[0].items()


def test_a_number_without_a_bound_may_be_any_integer() -> None:
    assert whole(int, 0.0) == 0


# --- words ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("/api/v1/rules?map=nonsense", ["addr-v4", "list-names"]),
        ("/api/v1/top?by=nonsense", ["rate", "hits"]),
    ],
)
async def test_a_wrong_word_in_a_query_is_answered_with_the_right_ones(
    api: Site, path: str, values: list[str]
) -> None:
    detail = (await api.ask("GET", path)).problem["detail"]
    assert all(value in detail for value in ["nonsense", *values])


@pytest.mark.parametrize("word", ["block", "Drop", "", "a\nb"])
async def test_a_wrong_word_in_a_body_is_answered_with_the_right_ones(api: Site, word: str) -> None:
    answer = await api.ask("POST", RULES, {"target": "192.0.2.9", "action": word})
    assert (answer.status, answer.problem["field"]) == (422, "action")
    assert "is not one of pass, drop, truncate" in answer.problem["detail"]


# --- bodies and headers -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/api/v1/status", None),
        ("GET", RULES, None),
        ("GET", PATH, None),
        ("GET", "/nowhere", None),
        ("POST", RULES, {"target": "192.0.2.9"}),
        ("POST", RULES, {"target": "300.1.1.1"}),
        ("POST", "/api/v1/detach", None),
    ],
)
async def test_a_json_body_ends_with_a_newline(
    api: Site, method: str, path: str, body: object
) -> None:
    answer = await api.ask(method, path, body)
    assert answer.body.endswith(b"}\n")
    assert not answer.body.endswith(b"\n\n")


@pytest.mark.parametrize("path", ["/", "/metrics", "/healthz", RULES, "/nowhere", "/api/v1/export"])
async def test_the_server_header_has_no_version(api: Site, path: str) -> None:
    assert (await api.ask("GET", path)).headers["Server"] == "xdpctl"


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nA b: c\r\n\r\n"])
async def test_an_answer_to_what_is_not_http_has_none_either(api: Site, sent: bytes) -> None:
    answer = await api.raw(sent)
    assert b" 400 " in answer.partition(b"\r\n")[0]
    assert b"aiohttp" not in answer
    assert b"Python/" not in answer


# --- the links at / where the web page is not -------------------------------------------------


async def test_every_link_is_served(api: Site) -> None:
    page = await api.ask("GET", "/")
    links = re.findall(r'href="([^"]+)"', page.body.decode())
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/metrics" in links
    for link in links:
        assert (await api.ask("GET", link)).status == 200, link


async def test_what_is_there_loads_nothing_and_says_no_version(api: Site) -> None:
    page = await api.ask("GET", "/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert b"<script" not in page.body
    assert not re.search(rb"[0-9]+\.[0-9]+\.[0-9]+", page.body)


async def test_there_are_no_other_methods(public: Site) -> None:
    assert (await public.ask("DELETE", "/")).status == 405
