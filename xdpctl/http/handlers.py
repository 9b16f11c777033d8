"""One function a resource: reads the request, asks the service, writes the answer.

What the service must offer is `Desk`; desk.py implements it, tests fake it. Requests
with rules in their body are loads.py's.
"""

from __future__ import annotations

from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec
from aiohttp import web

from xdpctl.errors import public
from xdpctl.http.body import received
from xdpctl.http.keys import DESK, EXPOSITION, IN_PUBLIC
from xdpctl.http.queries import (
    ALL_OWN,
    DeleteQuery,
    ExportQuery,
    NoQuery,
    PageQuery,
    TopQuery,
    map_named,
    read_query,
)
from xdpctl.http.refusals import RequestError, not_json, not_of_the_schema
from xdpctl.http.schema import (
    Detached,
    DetachIn,
    Panic,
    Removed,
    RuleOut,
    Rules,
    Status,
    Top,
    TopRule,
)
from xdpctl.rules import DNSDIST_ORIGIN, parse_origin, parse_target

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Sequence

    from xdpctl.abi import MapName
    from xdpctl.bulk import BulkResult
    from xdpctl.entries import TopEntry
    from xdpctl.rows import Row
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.snapshot import Snapshot
    from xdpctl.store import PutResult

DETACH_MAX = 64 * 1024
"""Bytes of a document that names interfaces."""

_FLUSHED = (
    "a running dnsdist does not notice that entries of its own are gone: it goes on counting"
    " them until it is restarted, and says so for each that expires"
)


class Desk(Protocol):
    """What the handlers ask of the service; none of it blocks the loop."""

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""

    def snapshot(self) -> Snapshot:
        """Return what was last seen."""

    def status(self) -> Status:
        """Return the whole service as a document."""

    async def put(self, rules: Sequence[Rule], *, force: bool) -> PutResult:
        """Make or update rules."""

    async def remove(self, targets: Sequence[Target]) -> int:
        """Remove own rules."""

    async def bulk(  # noqa: PLR0913 - what a list may ask for
        self,
        chunks: Iterable[Iterable[Row]],
        origin: str,
        *,
        replace: bool,
        strict: bool = False,
        force: bool = False,
        on_progress: Callable[[str, int, int], None] = ...,
    ) -> BulkResult:
        """Merge a list into an origin's rules; `chunks` is read on another thread."""

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove one origin's rules, or all our own."""

    async def page(
        self, map_name: MapName | None, origin: str | None, after: str | None, limit: int
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules behind a cursor, and the next cursor."""

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopEntry]:
        """Return the entries hit most."""

    def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
        """Yield the lines of an export in parts."""

    async def set_panic(self, *, panic: bool) -> None:
        """Pass everything, or end that."""

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Take the program off."""


def answer(document: object) -> web.Response:
    """Return a document as a response; a `Sentence` in it in its public form."""
    body = msgspec.json.encode(document, enc_hook=public)
    return web.Response(body=body, content_type="application/json")


async def metrics(request: web.Request) -> web.Response:
    """GET /metrics: the families of CONTRACT.md."""
    body, content_type = request.app[EXPOSITION].render(request.headers.get("Accept", ""))
    return web.Response(body=body, headers={"Content-Type": content_type})


async def healthz(_request: web.Request) -> web.Response:
    """GET /healthz: the process lives and its loop turns."""
    return web.Response(text="ok\n")


async def readyz(request: web.Request) -> web.Response:
    """GET /readyz: attached and maps sound, else 503 with the reasons."""
    snapshot = request.app[DESK].snapshot()
    if snapshot.ready:
        return web.Response(text="ready\n")
    said = public if request.app[IN_PUBLIC] else str
    reasons = [f"{said(reason)}\n" for reason in snapshot.reasons]
    return web.Response(status=503, text="".join(reasons))


async def status(request: web.Request) -> web.Response:
    """GET /api/v1/status: the whole service at a glance."""
    read_query(request, NoQuery)
    document = request.app[DESK].status()
    said = public if request.app[IN_PUBLIC] else str
    document.reasons = [*map(said, document.reasons)]
    document.warnings = [*map(said, document.warnings)]
    return answer(document)


async def list_rules(request: web.Request) -> web.Response:
    """GET /api/v1/rules: a page of rules."""
    query = read_query(request, PageQuery)
    rules, following = await request.app[DESK].page(
        map_named(query.map),
        parse_origin(query.origin) if query.origin else None,
        query.cursor or None,
        query.limit,
    )
    return answer(Rules(rules, following))


async def top(request: web.Request) -> web.Response:
    """GET /api/v1/top: the rules hit most."""
    query = read_query(request, TopQuery)
    desk = request.app[DESK]
    found = await desk.top(query.n, map_named(query.map), query.by)
    return answer(Top([TopRule.ranked(one, desk.any_qtype) for one in found]))


async def export(request: web.Request) -> web.StreamResponse:
    """GET /api/v1/export: rules as lines, as they come."""
    query = read_query(request, ExportQuery)
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    async with aclosing(request.app[DESK].export(everything=query.all)) as parts:
        first = await anext(parts, b"")  # what is wrong at once can still be a problem document
        await response.prepare(request)
        if request.method == "GET":
            await response.write(first)
            async for part in parts:
                await response.write(part)
    await response.write_eof()
    return response


async def delete_rules(request: web.Request) -> web.Response:
    """DELETE /api/v1/rules: own rules by target, or those of an origin."""
    query = read_query(request, DeleteQuery)
    named = [text for text in query.target if text]
    if bool(named) == bool(query.origin):
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "say what to remove, with target= or with origin=, and not with both",
            field="target",
        )
    if named:
        if query.map:
            raise RequestError(
                HTTPStatus.BAD_REQUEST, "map= goes with origin=: a target has one map", field="map"
            )
        targets = [parse_target(text, query.qtype) for text in named]
        return answer(Removed(await request.app[DESK].remove(targets)))
    if query.qtype:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, "qtype= goes with target=, not with origin=", field="qtype"
        )
    origin = None if query.origin == ALL_OWN else parse_origin(query.origin)
    removed = await request.app[DESK].flush(map_named(query.map), origin)
    return answer(Removed(removed, [_FLUSHED] if origin == DNSDIST_ORIGIN else []))


async def panic(request: web.Request) -> web.Response:
    """POST /api/v1/panic: pass everything at once, until resume."""
    read_query(request, NoQuery)
    await request.app[DESK].set_panic(panic=True)
    return answer(Panic(panic=True))


async def resume(request: web.Request) -> web.Response:
    """POST /api/v1/resume: filter again."""
    read_query(request, NoQuery)
    await request.app[DESK].set_panic(panic=False)
    return answer(Panic(panic=False))


async def detach(request: web.Request) -> web.Response:
    """POST /api/v1/detach: take the program off the named interfaces, or all."""
    read_query(request, NoQuery)
    async with received(request, DETACH_MAX) as file:
        body = file.read()
    try:
        wanted = msgspec.json.decode(body, type=DetachIn) if body else DetachIn()
    except msgspec.ValidationError as error:
        raise not_of_the_schema(error) from error
    except ValueError as error:
        raise not_json(error) from error
    return answer(Detached(await request.app[DESK].detach(wanted.interfaces)))
