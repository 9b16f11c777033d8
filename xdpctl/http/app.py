"""The application: routes, what a listener lets pass, every error as a problem document.

Made once for each listener by listeners.py, which imports this module late.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.errors import XdpctlError
from xdpctl.http.access import Access
from xdpctl.http.auth import guard
from xdpctl.http.body import later
from xdpctl.http.keys import DESK, EXPOSITION, IN_PUBLIC, SPOOL
from xdpctl.http.openapi import PATH as DESCRIPTION
from xdpctl.http.problems import from_error, problem
from xdpctl.http.protocol import Runner
from xdpctl.http.routes import ROUTES
from xdpctl.names import shown

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from xdpctl.http.handlers import Desk
    from xdpctl.http.token import Token
    from xdpctl.metrics import Exposition

_log = logging.getLogger(__name__)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document."""
    try:
        return await handler(request)
    except Exception as error:
        if request.writer.output_size:
            raise  # in the middle of an answer: only breaking off says that it is not whole
        if isinstance(error, XdpctlError):
            return from_error(error, in_public=request.app[IN_PUBLIC])
        _log.exception("request-failed")  # the last resort: the sentence, not a traceback
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "the service met an error of its own: see its log and report it",
        )


async def _nowhere(request: web.Request) -> web.Response:
    """Answer what no route takes: there is no such path, or not with this method."""
    methods = [route.method for route in ROUTES if route.path == request.path]
    if not methods:
        return problem(
            HTTPStatus.NOT_FOUND,
            f"there is nothing at {shown(request.path)}: {DESCRIPTION} says what there is",
        )
    if "GET" in methods:
        methods.append("HEAD")
    return problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"{request.path} has no {request.method}: it has {', '.join(methods)}",
        headers={"Allow": ", ".join(methods)},
    )


def make_app(
    desk: Desk,
    exposition: Exposition,
    access: Access,
    *,
    token: Callable[[], Token | None] = lambda: None,
    spool: Path | None = None,
) -> web.Application:
    """Return the application for one kind of listener.

    Args:
        desk: the service behind the API.
        exposition: its metrics.
        access: what whoever reaches the listener may do.
        token: gives the token that is in force there, or None.
        spool: directory for long bodies while they are worked on; None: the system's.
    """
    app = web.Application(middlewares=[guard(access, token), _errors])
    app[DESK] = desk
    app[EXPOSITION] = exposition
    app[SPOOL] = spool
    app[IN_PUBLIC] = access is not Access.EVERYTHING
    for route in ROUTES:
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, route.path, route.handler, expect_handler=later)
    app.router.add_route("*", "/{path:.*}", _nowhere, expect_handler=later)
    return app


async def serve_on(
    app: web.Application, bound: socket.socket, tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Begin to answer on a bound socket; the runner's `cleanup` ends it."""
    runner = Runner(app, shutdown_timeout=0.3)
    try:
        await runner.setup()
        await web.SockSite(runner, bound, ssl_context=tls).start()
    except BaseException:
        await runner.cleanup()
        raise
    return runner
