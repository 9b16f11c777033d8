"""One function a resource: reads the request, asks the service, writes the answer.

What the service must offer is `Desk`; service.py implements it, tests fake it.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import msgspec
from aiohttp import web

from xdpctl.abi import MapName
from xdpctl.errors import TargetError
from xdpctl.http.problems import problem
from xdpctl.http.schema import (
    RULE_MAP_NAMES,
    Detached,
    DetachIn,
    Panic,
    Put,
    Removed,
    RuleIn,
    RuleOut,
    Rules,
    Status,
)
from xdpctl.rules import parse_origin, parse_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from multidict import MultiMapping

    from xdpctl.metrics import Exposition
    from xdpctl.rules import Rule, Target
    from xdpctl.snapshot import Snapshot
    from xdpctl.store import PutResult

BODY_MAX = 256 * 2**20
"""Bytes of a request's body: two million rules with reasons."""

PAGE_MAX = 10_000
"""Rules of a page, also where no limit is asked for: the loop writes it as JSON."""


class Desk(Protocol):
    """What the handlers ask of the service; none of it blocks the loop."""

    def snapshot(self) -> Snapshot:
        """Return what was last seen."""

    def status(self) -> Status:
        """Return the whole service as a document."""

    async def put(self, rules: Sequence[Rule], *, force: bool) -> PutResult:
        """Make or update rules."""

    async def remove(self, targets: Sequence[Target]) -> int:
        """Remove own rules."""

    async def page(
        self, map_name: MapName | None, origin: str | None, after: str | None, limit: int
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules behind a cursor, and the next cursor."""

    async def set_panic(self, *, panic: bool) -> None:
        """Pass everything, or end that."""

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Take the program off."""


DESK: web.AppKey[Desk] = web.AppKey("desk")
EXPOSITION: web.AppKey[Exposition] = web.AppKey("exposition")


def _answer(document: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(document), content_type="application/json")


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
    return web.Response(status=503, text="".join(f"{reason}\n" for reason in snapshot.reasons))


async def status(request: web.Request) -> web.Response:
    """GET /api/v1/status."""
    return _answer(request.app[DESK].status())


async def list_rules(request: web.Request) -> web.Response:
    """GET /api/v1/rules?map=&origin=&limit=&cursor=: a page of rules."""
    query = request.query
    _known(query, {"map", "origin", "limit", "cursor"})
    rules, following = await request.app[DESK].page(
        _map(query.get("map")),
        parse_origin(query["origin"]) if query.get("origin") else None,
        query.get("cursor") or None,
        _limit(query.get("limit")),
    )
    return _answer(Rules(rules, following))


async def post_rules(request: web.Request) -> web.Response:
    """POST /api/v1/rules: one rule or a list; all or nothing on bad input."""
    _known(request.query, {"force"})
    force = request.query.get("force", "0")
    if force not in {"0", "1"}:
        raise TargetError(f"force must be 0 or 1, not {force!r}", text=force, field="force")
    rules = await asyncio.to_thread(_rules, await request.read())
    result = await request.app[DESK].put(rules, force=force == "1")
    return _answer(Put(result.created, result.updated, list(result.warnings)))


async def delete_rules(request: web.Request) -> web.Response:
    """DELETE /api/v1/rules?target=&qtype=: own rules, `target` repeatable."""
    query = request.query
    _known(query, {"target", "qtype"}, repeatable="target")
    if not query.get("target"):
        return problem(
            HTTPStatus.BAD_REQUEST, "say what to remove with target=", extra={"field": "target"}
        )
    targets = [parse_target(text, query.get("qtype")) for text in query.getall("target")]
    return _answer(Removed(await request.app[DESK].remove(targets)))


async def panic(request: web.Request) -> web.Response:
    """POST /api/v1/panic: pass everything at once, until resume."""
    await request.app[DESK].set_panic(panic=True)
    return _answer(Panic(panic=True))


async def resume(request: web.Request) -> web.Response:
    """POST /api/v1/resume: filter again."""
    await request.app[DESK].set_panic(panic=False)
    return _answer(Panic(panic=False))


async def detach(request: web.Request) -> web.Response:
    """POST /api/v1/detach: take the program off the named interfaces, or all."""
    body = await request.read()
    wanted = msgspec.json.decode(body, type=DetachIn) if body else DetachIn()
    return _answer(Detached(await request.app[DESK].detach(wanted.interfaces)))


def _rules(body: bytes) -> list[Rule]:
    """Return the rules of a document: one, or a list. Blocks: it may be a million."""
    given = (
        msgspec.json.decode(body, type=list[RuleIn])
        if body.lstrip()[:1] == b"["
        else [msgspec.json.decode(body, type=RuleIn)]
    )
    return [rule.rule() for rule in given]


def _known(query: MultiMapping[str], names: set[str], repeatable: str = "") -> None:
    for name in query:
        if name not in names:
            raise TargetError(
                f"there is no parameter {name!r} here: {', '.join(sorted(names))}",
                text=name,
                field=name,
            )
        if name != repeatable and len(query.getall(name)) > 1:
            raise TargetError(
                f"{name!r} is given twice: say which one", text=query.getall(name)[1], field=name
            )


def _map(text: str | None) -> MapName | None:
    if not text:
        return None
    if text not in RULE_MAP_NAMES:
        raise TargetError(
            f"there is no rule map {text!r}: {', '.join(RULE_MAP_NAMES)}", text=text, field="map"
        )
    return MapName(text)


def _limit(text: str | None) -> int:
    if not text:
        return PAGE_MAX
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= PAGE_MAX:
        raise TargetError(
            f"limit must be a number from 1 to {PAGE_MAX}, not {text!r}", text=text, field="limit"
        )
    return int(text)
