"""The middleware that checks requests against the access of their listener (access.py).

Owns the order of the checks and their sentences, and whether a request is still allowed. Does not
own the rules. Called by http/app.py.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.http.problems import problem
from xdpctl.http.transport.access import Access, allowed, is_cross_site, is_local
from xdpctl.http.transport.few import Few
from xdpctl.process.caller import CALLER, NOBODY, Caller, peer_of
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from xdpctl.http.transport.token import Token


def _always() -> bool:
    return True


STILL_ALLOWED: ContextVar[Callable[[], bool]] = ContextVar("still_allowed", default=_always)
"""Returns whether the request would be allowed now, too; for answers that go on for long."""


def guard(access: Access, token: Callable[[], Token | None] = lambda: None) -> Middleware:
    """Return the middleware that rejects a request without permission before its body is read.

    Args:
        access: of the listener.
        token: returns the current token, or None.
    """
    refused = Few("token-refused")

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if is_cross_site(request.headers):
            return _closing(
                HTTPStatus.FORBIDDEN,
                "a browser sent this request for a page of another site: open the service's own"
                " address, or send the request without a browser",
            )
        if access is Access.EVERYTHING:
            CALLER.set(_peer(request))
            return await handler(request)
        known = token()
        given = request.headers.get("Authorization")
        if known is not None and known.matches(given):
            CALLER.set(Caller(token=known.name, address=request.remote))
            STILL_ALLOWED.set(lambda: (now := token()) is not None and now.matches(given))
            return await handler(request)
        CALLER.set(Caller(address=request.remote))
        if given is not None and known is not None:
            refused.note(address=request.remote, method=request.method, path=request.path)
        host = request.headers.get("Host", "")
        if access is Access.READS and not is_local(host):
            return _closing(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this service is not available under the name {shown(host)}: use its address,"
                " localhost, or a token",
            )
        if allowed(access, request.method, request.path):
            return await handler(request)
        if known is None:
            helps = "the service has no --token-file: use the control socket"
        elif given is None:
            helps = "send it as Authorization: Bearer, or use the control socket"
        else:
            helps = "the token in the request is wrong"
        return _closing(
            HTTPStatus.UNAUTHORIZED,
            f"{request.method} {shown(request.path)} needs the token on this listener: {helps}",
            {"WWW-Authenticate": "Bearer"},
        )

    return check


def _peer(request: web.Request) -> Caller:
    """Return the process at the other end of the control socket."""
    transport = request.transport
    connection = None if transport is None else transport.get_extra_info("socket")
    with suppress(OSError):
        if connection is not None:
            return replace(peer_of(connection), agent=request.headers.get("User-Agent"))
    return NOBODY


def _closing(
    status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Return an error that closes the connection: nothing more of it is read."""
    refusal = problem(status, detail, headers=headers)
    refusal.force_close()
    return refusal
