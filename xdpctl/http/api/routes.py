"""The one table of routes: what is served, and what openapi.json says of it.

Owns paths, methods and their descriptions. Does not own handlers (handlers.py, uploads.py). Called
by http/app.py.
"""

from __future__ import annotations

from functools import cache
from http import HTTPStatus
from typing import Any

from aiohttp import web

from xdpctl.http import landing
from xdpctl.http.api import handlers, publishing, streams, uploads
from xdpctl.http.api.documents import (
    Detached,
    DetachIn,
    HistoryOut,
    ListOut,
    Lists,
    Merged,
    Origins,
    Panic,
    Put,
    Reattached,
    Removed,
    Resized,
    RuleIn,
    Rules,
    Status,
    Tested,
    Top,
)
from xdpctl.http.api.limit_documents import LimitsOut, Proven
from xdpctl.http.api.live_documents import EndOut, LiveOut
from xdpctl.http.api.openapi import (
    OF_A_BODY,
    OF_A_LONG_READ,
    OF_A_QUERY,
    PATH,
    Content,
    Route,
    openapi,
)
from xdpctl.http.api.publish_documents import Published, PublishedList, PublishIn, Unpublished
from xdpctl.http.api.queries import (
    DeleteQuery,
    ExportQuery,
    HistoryQuery,
    ImportQuery,
    ListQuery,
    LiveQuery,
    OriginsQuery,
    PageQuery,
    PostQuery,
    ProveQuery,
    PublishQuery,
    PutQuery,
    ResizeQuery,
    SamplesQuery,
    TestQuery,
    TopQuery,
    UnpublishQuery,
)
from xdpctl.http.api.sample_documents import SampleOut, TalkersOut

_TEXT = Content(media=("text/plain",))
_LINES = Content(
    media=("text/plain",),
    example='192.0.2.1 action=drop for=10m reason="a flood" origin=api\n',
)
_EVENTS = Content(
    media=("text/event-stream",),
    example='event: end\ndata: {"detail": "the service stops: connect again when it is back"}\n\n',
    parts=(LiveOut, TalkersOut, SampleOut, EndOut),
)
_RULES = "/api/v1/rules"
_PUBLISHED = "/api/v1/published"


async def description(_request: web.Request) -> web.Response:
    """GET /api/v1/openapi.json: this document."""
    return web.Response(body=_document(), content_type="application/json")


@cache
def _document() -> bytes:
    return openapi(ROUTES) + b"\n"


ROUTES = (
    Route("GET", landing.PATH, landing.landing, Content(media=("text/html",))),
    Route(
        "GET",
        "/metrics",
        handlers.metrics,
        Content(media=("text/plain", "application/openmetrics-text")),
    ),
    Route("GET", "/healthz", handlers.healthz, _TEXT),
    Route(
        "GET",
        "/readyz",
        handlers.readyz,
        _TEXT,
        others={HTTPStatus.SERVICE_UNAVAILABLE: "Why it is not ready, a reason a line"},
    ),
    Route("GET", "/api/v1/status", handlers.status, Content(Status), OF_A_QUERY),
    Route("GET", _RULES, handlers.list_rules, Content(Rules), OF_A_LONG_READ, PageQuery),
    Route(
        "POST",
        _RULES,
        uploads.post_rules,
        Content(Put),
        (*OF_A_BODY, HTTPStatus.CONFLICT),
        PostQuery,
        Content(RuleIn | list[RuleIn]),
    ),
    Route(
        "PUT",
        _RULES,
        uploads.put_rules,
        Content(Merged),
        OF_A_BODY,
        PutQuery,
        Content(list[RuleIn]),
    ),
    Route(
        "DELETE",
        _RULES,
        handlers.delete_rules,
        Content(Removed),
        (
            *OF_A_QUERY,
            HTTPStatus.NOT_FOUND,
            HTTPStatus.CONFLICT,
            HTTPStatus.SERVICE_UNAVAILABLE,
        ),
        DeleteQuery,
    ),
    Route(
        "GET",
        "/api/v1/origins",
        handlers.origins,
        Content(Origins),
        OF_A_LONG_READ,
        OriginsQuery,
    ),
    Route(
        "GET",
        "/api/v1/history",
        handlers.history,
        Content(HistoryOut),
        OF_A_LONG_READ,
        HistoryQuery,
    ),
    Route(
        "GET",
        "/api/v1/test",
        handlers.test,
        Content(Tested),
        (*OF_A_LONG_READ, HTTPStatus.NOT_FOUND),
        TestQuery,
    ),
    Route("GET", "/api/v1/top", handlers.top, Content(Top), OF_A_LONG_READ, TopQuery),
    Route(
        "GET",
        "/api/v1/live",
        streams.live,
        _EVENTS,
        (*OF_A_LONG_READ, HTTPStatus.TOO_MANY_REQUESTS),
        LiveQuery,
    ),
    Route(
        "GET",
        "/api/v1/samples",
        streams.samples,
        Content(TalkersOut),
        (*OF_A_LONG_READ, HTTPStatus.TOO_MANY_REQUESTS),
        SamplesQuery,
    ),
    Route("GET", "/api/v1/export", handlers.export, _LINES, OF_A_LONG_READ, ExportQuery),
    Route(
        "POST",
        "/api/v1/import",
        uploads.import_rules,
        Content(uploads.ImportLine, (uploads.LINES_TYPE,)),
        (*OF_A_BODY, HTTPStatus.CONFLICT),
        ImportQuery,
        _LINES,
        optional=True,
    ),
    Route("GET", "/api/v1/lists", handlers.lists, Content(Lists), OF_A_QUERY),
    Route(
        "POST",
        "/api/v1/lists/refresh",
        handlers.refresh_list,
        Content(ListOut),
        (*OF_A_QUERY, HTTPStatus.NOT_FOUND),
        ListQuery,
    ),
    Route(
        "POST",
        "/api/v1/lists/accept",
        handlers.accept_list,
        Content(ListOut),
        (*OF_A_QUERY, HTTPStatus.NOT_FOUND),
        ListQuery,
    ),
    Route("GET", _PUBLISHED, publishing.published, Content(PublishedList), OF_A_LONG_READ),
    Route(
        "POST",
        _PUBLISHED,
        publishing.publish,
        Content(Published),
        (*OF_A_BODY, HTTPStatus.CONFLICT, HTTPStatus.BAD_GATEWAY),
        PublishQuery,
        Content(PublishIn),
    ),
    Route(
        "DELETE",
        _PUBLISHED,
        publishing.unpublish,
        Content(Unpublished),
        (*OF_A_QUERY, HTTPStatus.NOT_FOUND, HTTPStatus.BAD_GATEWAY),
        UnpublishQuery,
    ),
    Route("GET", "/api/v1/limits", handlers.limits, Content(LimitsOut), OF_A_QUERY),
    Route(
        "POST",
        "/api/v1/limits/prove",
        handlers.prove,
        Content(Proven),
        (*OF_A_QUERY, HTTPStatus.CONFLICT),
        ProveQuery,
    ),
    Route(
        "POST",
        "/api/v1/limits/unprove",
        handlers.unprove,
        Content(Proven),
        (*OF_A_QUERY, HTTPStatus.CONFLICT),
        ProveQuery,
    ),
    Route(
        "POST",
        "/api/v1/resize",
        handlers.resize,
        Content(Resized),
        (*OF_A_QUERY, HTTPStatus.CONFLICT),
        ResizeQuery,
    ),
    Route("POST", "/api/v1/panic", handlers.panic, Content(Panic), OF_A_QUERY),
    Route("POST", "/api/v1/resume", handlers.resume, Content(Panic), OF_A_QUERY),
    Route(
        "POST",
        "/api/v1/detach",
        handlers.detach,
        Content(Detached),
        (*OF_A_BODY, HTTPStatus.NOT_FOUND),
        body=Content(DetachIn),
        optional=True,
    ),
    Route(
        "POST",
        "/api/v1/attach",
        handlers.attach,
        Content(Reattached),
        (*OF_A_BODY, HTTPStatus.NOT_FOUND),
        body=Content(DetachIn),
        optional=True,
    ),
    Route("GET", PATH, description, Content(dict[str, Any])),
)
