"""One function a resource: reads the request, asks the service, writes the answer.

What the service must offer is in backend.py; each handler names the part that it needs. Requests
with rules in their body are uploads.py's. Owns the handlers. Does not own routes (routes.py),
parameters (queries.py) or documents (documents.py). Called by aiohttp through routes.py.
"""

from __future__ import annotations

import time
from contextlib import aclosing, suppress
from http import HTTPStatus
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from xdpctl.abi import MapName
from xdpctl.errors import ConflictError, NotFoundError, TargetError, public
from xdpctl.http.api.documents import (
    Detached,
    DetachIn,
    HistoryOut,
    Lists,
    OriginOut,
    Origins,
    Panic,
    Reattached,
    Removed,
    Resized,
    Rules,
    Top,
)
from xdpctl.http.api.keys import BACKEND, EXPOSITION
from xdpctl.http.api.limit_documents import Proven
from xdpctl.http.api.queries import (
    ALL_OWN,
    DeleteQuery,
    ExportQuery,
    HistoryQuery,
    ListQuery,
    NoQuery,
    OriginsQuery,
    PageQuery,
    ProveQuery,
    ResizeQuery,
    TestQuery,
    TopQuery,
    map_named,
    read_query,
)
from xdpctl.http.problems import json_of
from xdpctl.http.refusals import RequestError, not_json, not_of_the_schema
from xdpctl.http.transport.body import received
from xdpctl.http.transport.keys import IN_PUBLIC
from xdpctl.rules import (
    DNSDIST_FLUSH_WARNING,
    DNSDIST_ORIGIN,
    Name,
    Question,
    parse_duration,
    parse_origin,
    parse_qtype,
    parse_target,
    target_text,
)
from xdpctl.rules.keys import LIST_PREFIX
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.http.api.backend import (
        AttachedFilters,
        LimitControl,
        ListControl,
        PacketTests,
        PanicControl,
        RuleChanges,
        RuleListing,
        ServiceState,
    )
    from xdpctl.rules import Target

NO_RULES_NAME = Name(b"\x0bxdpctl-test\x07invalid\0")
"""The name of a test of an address alone: reserved (RFC 6761), so that nobody has a rule for it."""

DETACH_MAX = 64 * 1024
"""Bytes of a document that names interfaces."""


def answer(document: object) -> web.Response:
    """Return a document as a response; a `Sentence` in it in its public form."""
    return web.Response(body=json_of(document) + b"\n", content_type="application/json")


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
    if query.target:
        if query.map or query.origin or query.cursor:
            raise RequestError(
                HTTPStatus.BAD_REQUEST,
                "target= goes with qtype= and contains= only: the rules for one target are few",
                field="target",
            )
        target = parse_target(query.target, query.qtype)
        return answer(Rules(await listing.rules_on(target, contains=query.contains), None))
    if query.qtype or query.contains:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "qtype= and contains= go with target=",
            field="qtype" if query.qtype else "contains",
        )
    rules, following = await listing.page(
        map_named(query.map),
        parse_origin(query.origin) if query.origin else None,
        query.cursor or None,
        query.limit,
        all_claims=query.all_claims,
    )
    return answer(Rules(rules, following))


async def origins(request: web.Request) -> web.Response:
    """GET /api/v1/origins: how many rules of our own each origin has."""
    query = read_query(request, OriginsQuery)
    listing: RuleListing = request.app[BACKEND]
    found = await listing.origins(map_named(query.map))
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return answer(Origins([OriginOut(origin, rules) for origin, rules in ranked]))


async def history(request: web.Request) -> web.Response:
    """GET /api/v1/history: the last changes, who asked for them, and what was removed."""
    query = read_query(request, HistoryQuery)
    listing: RuleListing = request.app[BACKEND]
    target = target_text(parse_target(query.target)) if query.target else None
    since = None if not query.since else time.time() - parse_duration(query.since)
    return answer(HistoryOut(await listing.history(target, since, query.limit)))


async def test(request: web.Request) -> web.Response:
    """GET /api/v1/test: what the program decides about a query, and which rule it is.

    The program in force is run on a packet, beside the traffic; nothing is counted.
    """
    query = read_query(request, TestQuery)
    address = parse_target(query.address)
    if not isinstance(address, IPv4Address | IPv6Address):
        raise TargetError(
            f"cannot test {shown(query.address)}: the first argument is the one address that the"
            " query comes from, then come the name and its type",
            text=query.address,
            field="address",
        )
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    if query.name and query.name.startswith((".", "*.")) and query.name != ".":
        raise TargetError(
            f"cannot test {shown(query.name)}: a query asks for one name, such as"
            f" www.{query.name.lstrip('*.')}",
            text=query.name,
            field="name",
        )
    name = Name.from_text(query.name) if query.name else NO_RULES_NAME
    qtype = parse_qtype(query.qtype or "A")
    tests: PacketTests = request.app[BACKEND]
    return answer(await tests.test(address, Question(name, qtype), query.interface))


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
        claimant = parse_origin(query.claimant) if query.claimant else None
        if query.force:
            return answer(await _lifted(changes, targets, claimant))
        removed = await changes.remove(targets, claimant)
        if claimant is not None:
            removed.warnings += _comes_back(request.app[BACKEND], claimant)
        return answer(removed)
    for field in ("qtype", "claimant"):
        if getattr(query, field):
            raise RequestError(
                HTTPStatus.BAD_REQUEST,
                f"{field}= goes with target=, not with origin=",
                field=field,
            )
    origin = None if query.origin == ALL_OWN else parse_origin(query.origin)
    flushed = await changes.flush(map_named(query.map), origin)
    warnings = [DNSDIST_FLUSH_WARNING] if origin == DNSDIST_ORIGIN else []
    if flushed and query.map in {"", *_OF_LISTS}:
        warnings += _comes_back(request.app[BACKEND], origin)
    return answer(Removed(flushed, warnings))


def _comes_back(control: ListControl, origin: str | None) -> list[str]:
    """Return the sentence about what was removed of lists that the service follows, if any.

    Args:
        control: knows the lists.
        origin: of what was removed; None: of every own origin.
    """
    if origin is not None and not origin.startswith(LIST_PREFIX):
        return []
    names = [
        listed.name
        for listed in control.lists()
        if listed.rules and origin in {None, f"{LIST_PREFIX}{listed.name}"}
    ]
    if not names:
        return []
    what = "list" if len(names) == 1 else "lists"
    which = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
    return [
        (
            f"the service follows {what} {which}: what was removed comes back"
            " with the next version of its file, a reload or a restart; to keep it away, remove its"
            " [[list]] from the settings and reload, or use `xdpctl allow`"
        )
    ]


_NAMED = 4
_OF_LISTS = {MapName.LIST_SOURCES.value, MapName.LIST_NAMES.value}


async def lists(request: web.Request) -> web.Response:
    """GET /api/v1/lists: the lists of the settings, and how each is now."""
    read_query(request, NoQuery)
    control: ListControl = request.app[BACKEND]
    found = control.lists()
    shown = public if request.app[IN_PUBLIC] else str
    for listed in found:
        listed.error = None if listed.error is None else shown(listed.error)
    return answer(Lists(found))


async def refresh_list(request: web.Request) -> web.Response:
    """POST /api/v1/lists/refresh: read a list now."""
    control: ListControl = request.app[BACKEND]
    name = read_query(request, ListQuery).name
    return answer(await control.read_list(name, accept=False))


async def accept_list(request: web.Request) -> web.Response:
    """POST /api/v1/lists/accept: take a list's version also if it shrank or is empty."""
    control: ListControl = request.app[BACKEND]
    name = read_query(request, ListQuery).name
    return answer(await control.read_list(name, accept=True))


async def _lifted(changes: RuleChanges, targets: Sequence[Target], claimant: str | None) -> Removed:
    """Remove targets of which dnsdist may have an entry: own rules first, all or none of them."""
    theirs = await changes.theirs(targets)
    own = [target for target in targets if target not in theirs]
    removed = await changes.remove(own, claimant) if own else Removed(0, [])
    for target in theirs:  # else what waits beneath would block it again
        with suppress(NotFoundError, ConflictError):
            ended = await changes.remove([target], claimant)
            removed.removed += ended.removed
    if theirs and (lifted := await changes.lift(theirs)):
        removed.removed += lifted
        removed.warnings.append(DNSDIST_FLUSH_WARNING)
    return removed


async def limits(request: web.Request) -> web.Response:
    """GET /api/v1/limits: what is limited, and what the limits do now."""
    read_query(request, NoQuery)
    control: LimitControl = request.app[BACKEND]
    document = control.limits()
    shown = public if request.app[IN_PUBLIC] else str
    document.warnings = [*map(shown, document.warnings)]
    return answer(document)


async def prove(request: web.Request) -> web.Response:
    """POST /api/v1/limits/prove: let sources count as proven, as if by a TCP connection.

    An IPv6 address proves its /56.
    """
    return await _prove(request, proven=True)


async def unprove(request: web.Request) -> web.Response:
    """POST /api/v1/limits/unprove: let sources count as unproven, until they prove themselves."""
    return await _prove(request, proven=False)


async def _prove(request: web.Request, *, proven: bool) -> web.Response:
    addresses = []
    texts = read_query(request, ProveQuery).address
    if not texts:
        raise RequestError(
            HTTPStatus.BAD_REQUEST, "name the sources with address=", field="address"
        )
    for text in texts:
        address = parse_target(text)
        if not isinstance(address, IPv4Address | IPv6Address):
            raise TargetError(
                f"cannot use {shown(text)}: a proof is of one address, not of a prefix or a name",
                text=text,
                field="address",
            )
        if proven and _is_nobody(address):
            raise TargetError(
                f"cannot use {shown(text)}: no query comes over the network from such an address",
                text=text,
                field="address",
            )
        addresses.append(address)
    control: LimitControl = request.app[BACKEND]
    return answer(Proven(await control.prove(addresses, proven=proven)))


def _is_nobody(address: IPv4Address | IPv6Address) -> bool:
    """Return whether no host can have the address as its own on a network."""
    if address == _BROADCAST:
        return True
    return address.is_unspecified or address.is_loopback or address.is_multicast


_BROADCAST = IPv4Address("255.255.255.255")


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
    changed = await switch.set_panic(panic=True)
    return answer(Panic(panic=True, changed=changed))


async def resume(request: web.Request) -> web.Response:
    """POST /api/v1/resume: filter again."""
    read_query(request, NoQuery)
    switch: PanicControl = request.app[BACKEND]
    changed = await switch.set_panic(panic=False)
    return answer(Panic(panic=False, changed=changed))


async def detach(request: web.Request) -> web.Response:
    """POST /api/v1/detach: take the program off the named interfaces, or all."""
    filters: AttachedFilters = request.app[BACKEND]
    return answer(Detached(await filters.detach(await _interfaces(request))))


async def attach(request: web.Request) -> web.Response:
    """POST /api/v1/attach: attach the program again after detach; to the named interfaces, or all.

    Interfaces that have it already are left as they are.
    """
    filters: AttachedFilters = request.app[BACKEND]
    return answer(Reattached(await filters.attach(await _interfaces(request))))


async def _interfaces(request: web.Request) -> list[str]:
    """Return the interfaces that a request names; none: all."""
    read_query(request, NoQuery)
    async with received(request, DETACH_MAX) as file:
        body = file.read()
    try:
        wanted = msgspec.json.decode(body, type=DetachIn) if body else DetachIn()
    except msgspec.ValidationError as error:
        raise not_of_the_schema(error) from error
    except ValueError as error:
        raise not_json(error) from error
    return wanted.interfaces
