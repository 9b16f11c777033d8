"""Lists as lines: taken in whole, told of while it works, written out as they come."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from xdpctl.errors import KernelError, MapFullError
from xdpctl.feeds.bounded import LINE_MAX, PART
from xdpctl.http.api import uploads

if TYPE_CHECKING:
    from tests.support.fake_backend import Site

IMPORT = "/api/v1/import?origin=file:x"
EXPORT = "/api/v1/export"


@pytest.fixture
def _eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is told, however soon it comes after another."""
    monkeypatch.setattr(uploads, "PROGRESS_SECONDS", 0.0)


@pytest.fixture
def _silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """No step is told, however slow the machine."""
    monkeypatch.setattr(uploads, "PROGRESS_SECONDS", 3_600.0)


def lines_of(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in body.splitlines()]


# --- import ---------------------------------------------------------------------------


async def test_lines_become_rows_of_the_origin(api: Site) -> None:
    text = b'# a list\n192.0.2.1\n\n2001:db8::/32 action=truncate reason="a b"\r\na.example qtype=A'
    answer = await api.ask("POST", IMPORT, text)
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    (line,) = lines_of(answer.body)
    assert line["result"]["created"] == 3
    (bulk,) = api.backend.bulks
    assert (bulk.origin, bulk.replace, bulk.strict) == ("file:x", False, False)
    assert [(row[2], row[3], row[5]) for row in bulk.kept] == [
        (1, "", "file:x"),
        (2, "a b", "file:x"),
        (1, "", "file:x"),
    ]


@pytest.mark.parametrize(("text", "replaces"), [("1", True), ("0", False), ("true", True)])
async def test_replace_is_handed_on(api: Site, text: str, *, replaces: bool) -> None:
    await api.ask("POST", f"{IMPORT}&replace={text}", b"192.0.2.1")
    assert api.backend.bulks[0].replace is replaces


async def test_lines_of_dnsdists_are_skipped_and_counted(api: Site) -> None:
    text = b"192.0.2.1 origin=dnsdist\n192.0.2.2 origin=dnsdist\n192.0.2.3\n"
    (line,) = lines_of((await api.ask("POST", IMPORT, text)).body)
    assert (line["result"]["created"], line["result"]["skipped"]) == (1, 2)


@pytest.mark.parametrize("text", [None, b"", b"\n", b"# nothing\n"])
async def test_an_empty_list_is_a_list(api: Site, text: bytes | None) -> None:
    (line,) = lines_of((await api.ask("POST", IMPORT, text)).body)
    assert line["result"]["created"] == 0


@pytest.mark.parametrize(("origin", "warned"), [("file:x", True), ("list:x", False)])
async def test_implied_rules_of_an_operators_import_are_warned_of(
    api: Site, origin: str, *, warned: bool
) -> None:
    text = b"address=/evil.example/\nserver=/good.evil.example/192.0.2.1\n"
    answer = await api.ask("POST", f"/api/v1/import?origin={origin}", text)
    *_, line = lines_of(answer.body)  # behind lines about progress, where it takes long
    assert line["result"]["created"] == 2
    assert any("1 implied rule lets pass" in said for said in line["result"]["warnings"]) is warned


@pytest.mark.parametrize("size", [PART - 1, PART, PART + 1, 3 * PART])
async def test_lines_are_whole_wherever_a_part_ends(api: Site, size: int) -> None:
    text = b"".join(b"10.%d.%d.%d\n" % (n >> 16, n >> 8 & 255, n & 255) for n in range(size // 8))
    await api.ask("POST", IMPORT, text[:size].rpartition(b"\n")[0])
    assert api.backend.bulks[0].rows == text[:size].count(b"\n")


@pytest.mark.usefixtures("_silent")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"192.0.2.1\n\n300.1.1.1\n", "line 3"),
        (b"192.0.2.1\n" * 20_000 + b"300.1.1.1\n" * 300, "line 20001"),
        (b"192.0.2.1 ttl=5", "ttl=5"),
        (b"192.0.2.1\nb\xfcro.example\n", "line 2"),
        (b"x" * 2 * LINE_MAX, "line 1 is longer than"),
    ],
)
async def test_a_line_that_cannot_be_is_422_and_named(api: Site, text: bytes, said: str) -> None:
    answer = await api.ask("POST", IMPORT, text)
    assert answer.problem["status"] == 422
    assert said in answer.problem["detail"]


@pytest.mark.parametrize(
    ("query", "status"),
    [("", 400), ("?origin=me", 422), ("?origin=dnsdist", 422), ("?origin=api&replace=2", 422)],
)
async def test_an_import_names_an_origin_of_our_own(api: Site, query: str, status: int) -> None:
    answer = await api.ask("POST", f"/api/v1/import{query}", b"192.0.2.1")
    assert answer.problem["status"] == status
    assert api.backend.bulks == []


@pytest.mark.usefixtures("_eager")
async def test_progress_comes_before_the_result(api: Site) -> None:
    api.backend.progress = [("apply", 1, 2), ("apply", 2, 2)]
    body = (await api.ask("POST", IMPORT, b"192.0.2.1\n192.0.2.2\n")).body
    *progress, last = lines_of(body)
    assert [line["progress"] for line in progress] == [
        {"what": "read", "done": 20, "total": 20},
        {"what": "apply", "done": 1, "total": 2},
        {"what": "apply", "done": 2, "total": 2},
    ]
    assert last["result"]["created"] == 2


async def test_progress_is_told_a_few_times_a_second_at_most(api: Site) -> None:
    api.backend.progress = [("apply", done, 5_000) for done in range(5_000)]
    assert len(lines_of((await api.ask("POST", IMPORT, b"192.0.2.1")).body)) < 50


@pytest.mark.usefixtures("_eager")
async def test_what_fails_after_progress_ends_in_a_problem(api: Site) -> None:
    api.backend.progress = [("apply", 1, 2)]
    api.backend.failure = MapFullError("cannot write", 7, map_name="cidr4", capacity=8)
    answer = await api.ask("POST", IMPORT, b"10.0.0.0/8\n")
    assert answer.status == 200
    problem = lines_of(answer.body)[-1]["problem"]
    assert (problem["status"], problem["map"], problem["done"]) == (507, "cidr4", 0)


async def test_what_fails_at_once_has_its_own_status(api: Site) -> None:
    api.backend.failure = MapFullError("cannot write", 7, map_name="cidr4", capacity=8)
    assert (await api.ask("POST", IMPORT, b"10.0.0.0/8\n")).problem["status"] == 507


@pytest.mark.usefixtures("_eager")
async def test_an_import_goes_on_when_nobody_listens_any_more(api: Site) -> None:
    api.backend.progress = [("apply", done, 300) for done in range(300)]
    async with api.connection() as (reader, writer):
        writer.write(
            b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n192.0.2.1\n"
            % IMPORT.encode()
        )
        await reader.readexactly(1)  # it has begun
    while not api.backend.bulks or api.backend.bulks[0].rows != 1:  # noqa: ASYNC110 - a thread's doing
        await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "said",
    [
        b"Content-Length: 100\r\n\r\n192.0.2.1\n",
        b"Transfer-Encoding: chunked\r\n\r\na\r\n192.0.2.1\n\r\n",
    ],
)
async def test_a_list_that_breaks_off_changes_nothing(api: Site, said: bytes) -> None:
    async with api.connection() as (reader, writer):
        writer.write(b"POST %s&replace=1 HTTP/1.1\r\nHost: x\r\n%s" % (IMPORT.encode(), said))
        writer.write_eof()
        await reader.read()
    assert api.backend.bulks == []


# --- export ---------------------------------------------------------------------------


async def test_an_export_is_text_as_it_comes(api: Site) -> None:
    parts = (b"192.0.2.1 action=drop origin=api\n", b"192.0.2.2 action=drop origin=api\n")
    api.backend.parts = parts
    answer = await api.ask("GET", EXPORT)
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.body == b"".join(parts)


async def test_an_empty_export_is_empty(api: Site) -> None:
    api.backend.parts = ()
    assert (await api.ask("GET", EXPORT)).body == b""


@pytest.mark.parametrize(
    ("query", "everything"), [("", False), ("?all=1", True), ("?all=0", False)]
)
async def test_dnsdists_come_where_all_is_asked_for(
    api: Site, query: str, *, everything: bool
) -> None:
    await api.ask("GET", EXPORT + query)
    assert api.backend.asked == [("export", everything)]


async def test_an_export_that_cannot_begin_is_a_problem(api: Site) -> None:
    api.backend.parts = (KernelError("cannot read", 1),)
    assert (await api.ask("GET", EXPORT)).problem["status"] == 500


async def test_an_export_that_fails_on_the_way_breaks_off(
    api: Site, caplog: pytest.LogCaptureFixture
) -> None:
    """A whole answer with an error in it would be taken for a list."""
    caplog.set_level(logging.ERROR)
    api.backend.parts = (b"192.0.2.1 action=drop origin=api\n", KernelError("cannot read", 1))
    with pytest.raises(aiohttp.ClientPayloadError):
        await api.ask("GET", EXPORT)
    assert "cannot read" in caplog.text


async def test_a_client_that_goes_away_is_no_line_in_the_log(
    api: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    api.backend.parts = [b"x" * 2**20] * 50
    async with api.connection() as (reader, writer):
        writer.write(b"GET /api/v1/export HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.read(1)
        writer.transport.abort()
    await api.listeners.stop()
    assert caplog.text == ""
