"""Who may do what on which listener.

The control socket has everything: its file mode says who reaches it. A TCP listener
has GETs on loopback, and only metrics and health on any other address; writes over
TCP need a token, which this version does not have.
"""

from __future__ import annotations

from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.http.problems import problem

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

PUBLIC_PATHS = frozenset({"/metrics", "/healthz", "/readyz"})
_READS = frozenset({"GET", "HEAD"})


class Access(Enum):
    """What a listener gives to whoever reaches it."""

    EVERYTHING = auto()
    READS = auto()
    PUBLIC = auto()


def allowed(access: Access, method: str, path: str) -> bool:
    """Return whether a request needs no token."""
    if access is Access.EVERYTHING:
        return True
    if method not in _READS:
        return False
    return access is Access.READS or path in PUBLIC_PATHS


def guard(access: Access) -> Middleware:
    """Return the middleware that refuses, before the body is read, what needs a token."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if allowed(access, request.method, request.path):
            return await handler(request)
        return problem(
            HTTPStatus.UNAUTHORIZED,
            f"{request.method} {request.path} is not served here without a token:"
            " use the control socket",
            headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
        )

    return check
