"""One function a resource: reads the request, asks the service, writes the answer.

What the service must offer is in backend.py; each handler names the part that it needs. Requests
with rules in their body are uploads.py's. Owns the handlers. Does not own routes (routes.py),
parameters (queries.py) or documents (documents.py). Called by aiohttp through routes.py.
"""

from __future__ import annotations

from contextlib import aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from xdpctl.abi import MapName
from xdpctl.errors import public
from xdpctl.http.api.documents import Detached, DetachIn, Panic, Removed, Resized, Rules, Top
from xdpctl.http.api.keys import BACKEND, EXPOSITION
from xdpctl.http.api.queries import (
    ALL_OWN,
    DeleteQuery,
    ExportQuery,
    NoQuery,
    PageQuery,
    ResizeQuery,
    TopQuery,
    map_named,
    read_query,
)
from xdpctl.http.refusals import RequestError, not_json, not_of_the_schema
from xdpctl.http.transport.body import received
from xdpctl.http.transport.keys import IN_PUBLIC
from xdpctl.rules import DNSDIST_FLUSH_WARNING, DNSDIST_ORIGIN, parse_origin, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.http.api.backend import (
        AttachedFilters,
        PanicControl,
        RuleChanges,
        RuleListing,
        ServiceState,
    )
    from xdpctl.rules import Target

DETACH_MAX = 64 * 1024
"""Bytes of a document that names interfaces."""


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
    service: ServiceState = request.app[BACKEND]
    snapshot = service.snapshot()
    if snapshot.ready:
        return web.Response(text="ready\n")
    shown = public if request.app[IN_PUBLIC] else str
    reasons = [f"{shown(reason)}\n" for reason in snapshot.reasons]
    return web.Response(status=503, text="".join(reasons))


async def status(request: web.Request) -> web.Response:
    """GET /api/v1/status: the whole service at a glance."""
    read_query(request, NoQuery)
    service: ServiceState = request.app[BACKEND]
    document = service.status()
    shown = public if request.app[IN_PUBLIC] else str
    document.reasons = [*map(shown, document.reasons)]
    document.warnings = [*map(shown, document.warnings)]
    return answer(document)


async def list_rules(request: web.Request) -> web.Response:
    """GET /api/v1/rules: a page of rules."""
    query = read_query(request, PageQuery)
    listing: RuleListing = request.app[BACKEND]
    rules, following = await listing.page(
        map_named(query.map),
        parse_origin(query.origin) if query.origin else None,
        query.cursor or None,
        query.limit,
    )
    return answer(Rules(rules, following))


async def top(request: web.Request) -> web.Response:
    """GET /api/v1/top: the rules hit most."""
    query = read_query(request, TopQuery)
    listing: RuleListing = request.app[BACKEND]
    return answer(Top(await listing.top(query.n, map_named(query.map), query.by)))


async def export(request: web.Request) -> web.StreamResponse:
    """GET /api/v1/export: rules as lines, as they come."""
    query = read_query(request, ExportQuery)
    response = web.StreamResponse(headers={"Content-Type": "text/plain; charset=utf-8"})
    listing: RuleListing = request.app[BACKEND]
    async with aclosing(listing.export(everything=query.all)) as parts:
        first = await anext(parts, b"")  # an early error can still be a problem document
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
    changes: RuleChanges = request.app[BACKEND]
    texts = [text for text in query.target if text]
    if bool(texts) == bool(query.origin):
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "choose what to remove, with target= or with origin=, not with both",
            field="target",
        )
    if texts:
        if query.map:
            raise RequestError(
                HTTPStatus.BAD_REQUEST, "map= goes with origin=: a target has one map", field="map"
            )
        targets = [parse_target(text, query.qtype) for text in texts]
        if query.force:
            return answer(await _lifted(changes, targets))
        return answer(Removed(await changes.remove(targets)))
    if query.qtype:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, "qtype= goes with target=, not with origin=", field="qtype"
        )
    origin = None if query.origin == ALL_OWN else parse_origin(query.origin)
    removed = await changes.flush(map_named(query.map), origin)
    return answer(Removed(removed, [DNSDIST_FLUSH_WARNING] if origin == DNSDIST_ORIGIN else []))


async def _lifted(changes: RuleChanges, targets: Sequence[Target]) -> Removed:
    """Remove targets of which dnsdist may have an entry: own rules first, all or none of them."""
    theirs = await changes.theirs(targets)
    own = [target for target in targets if target not in theirs]
    removed = await changes.remove(own) if own else 0
    lifted = await changes.lift(theirs) if theirs else 0
    return Removed(removed + lifted, [DNSDIST_FLUSH_WARNING] if lifted else [])


async def resize(request: web.Request) -> web.Response:
    """POST /api/v1/resize: give a shared map more room, and keep its entries."""
    query = read_query(request, ResizeQuery)
    changes: RuleChanges = request.app[BACKEND]
    kept = await changes.resize(MapName(query.map), query.entries, force=query.force)
    return answer(Resized(query.map, query.entries, kept))


async def panic(request: web.Request) -> web.Response:
    """POST /api/v1/panic: pass everything at once, until resume."""
    read_query(request, NoQuery)
    switch: PanicControl = request.app[BACKEND]
    await switch.set_panic(panic=True)
    return answer(Panic(panic=True))


async def resume(request: web.Request) -> web.Response:
    """POST /api/v1/resume: filter again."""
    read_query(request, NoQuery)
    switch: PanicControl = request.app[BACKEND]
    await switch.set_panic(panic=False)
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
    filters: AttachedFilters = request.app[BACKEND]
    return answer(Detached(await filters.detach(wanted.interfaces)))
