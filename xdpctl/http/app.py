"""The application: routes, the access of a listener, and problem documents for all errors.

listeners.py makes one for each listener, and imports this module late. Owns the order of
middlewares. Does not own sockets (listeners.py) or routes (api/routes.py).
"""

from __future__ import annotations

import asyncio
import logging
from http import HTTPStatus
from socket import AF_UNIX
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.errors import XdpctlError
from xdpctl.http import landing
from xdpctl.http.abandonment import AbandonedError
from xdpctl.http.api.keys import BACKEND, EXPOSITION
from xdpctl.http.api.openapi import PATH as DESCRIPTION
from xdpctl.http.api.routes import ROUTES
from xdpctl.http.problems import SERVER, from_error, problem
from xdpctl.http.transport.access import PAGE_PREFIX, Access
from xdpctl.http.transport.auth import guard
from xdpctl.http.transport.body import later
from xdpctl.http.transport.entrance import Entrance
from xdpctl.http.transport.gate import Patience
from xdpctl.http.transport.keys import IN_PUBLIC, SPOOL, STOPPING
from xdpctl.http.transport.limits import in_turn, limited
from xdpctl.http.transport.protocol import Connection, pace
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from xdpctl.http.api.backend import Backend
    from xdpctl.http.static import StaticPage
    from xdpctl.http.transport.gate import Gate
    from xdpctl.http.transport.spare import Spare
    from xdpctl.http.transport.token import Token
    from xdpctl.status.metrics import Exposition

_log = logging.getLogger(__name__)

SHUTDOWN_SECONDS = 0.3

CONTROL_PATIENCE = Patience(write=600.0)
"""`xdpctl export | less` reads on only when a person turns the page. If the control socket is
full, such a connection is closed before one whose request is in progress."""


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document."""
    try:
        return await handler(request)
    except Exception as error:
        if request.writer.output_size:
            raise  # the answer has begun: only a broken connection shows that it failed
        if isinstance(error, AbandonedError):
            raise
        if isinstance(error, XdpctlError):
            return from_error(error, in_public=request.app[IN_PUBLIC])
        if isinstance(error, web.HTTPException):  # aiohttp's own errors
            return problem(
                HTTPStatus(error.status),
                f"cannot answer {request.method} {shown(request.path)}: {error.reason}",
            )
        _log.exception("request-failed")  # the client gets a sentence, the log the traceback
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "internal error of the service: see its log, and report it",
        )


async def _name_server(_request: web.Request, response: web.StreamResponse) -> None:
    """Replace aiohttp's Server header, which has versions."""
    response.headers["Server"] = SERVER


async def _nowhere(request: web.Request) -> web.Response:
    """Answer a request that no route matches: unknown path, or wrong method."""
    methods = [route.method for route in ROUTES if route.path == request.path]
    if not methods:
        return problem(
            HTTPStatus.NOT_FOUND,
            f"no such path: {shown(request.path)}; {DESCRIPTION} lists the paths",
        )
    if "GET" in methods:
        methods.append("HEAD")
    return problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        f"{request.path} does not support {request.method}: use {', '.join(methods)}",
        headers={"Allow": ", ".join(methods)},
    )


def make_app(  # noqa: PLR0913 - what a listener has
    backend: Backend,
    exposition: Exposition,
    access: Access,
    *,
    token: Callable[[], Token | None] = lambda: None,
    spool: Path | None = None,
    page: StaticPage | None = None,
) -> web.Application:
    """Return the application for one kind of listener.

    Args:
        backend: the service behind the API.
        exposition: its metrics.
        access: what clients of the listener may do without a token.
        token: returns the listener's current token, or None.
        spool: directory for long bodies while they are processed; None: the system's.
        page: the web page; None: `/` has links instead.
    """
    turns = [] if access is Access.EVERYTHING else [in_turn()]
    app = web.Application(middlewares=[pace, *turns, guard(access, token), limited(), _errors])
    app.on_response_prepare.append(_name_server)
    app[BACKEND] = backend
    app[EXPOSITION] = exposition
    app[SPOOL] = spool
    app[STOPPING] = asyncio.Event()
    app[IN_PUBLIC] = access is not Access.EVERYTHING
    if page is not None:
        for method in ("GET", "HEAD"):
            app.router.add_route(method, landing.PATH, page.index, expect_handler=later)
            app.router.add_route(
                method, f"{PAGE_PREFIX}{{name:.+}}", page.file, expect_handler=later
            )
    for route in ROUTES:
        if page is not None and route.path == landing.PATH:
            continue
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, route.path, route.handler, expect_handler=later)
    app.router.add_route("*", "/{path:.*}", _nowhere, expect_handler=later)
    return app


class Serving:
    """An application on a bound socket.

    Args:
        runner: of the application.
        entrance: accepts its connections.
    """

    def __init__(self, runner: web.AppRunner, entrance: Entrance) -> None:
        self._runner = runner
        self._entrance = entrance

    async def stop(self) -> None:
        """Accept no further connection, let running requests end for a moment, then stop."""
        self._runner.app[STOPPING].set()
        await self._entrance.stop()
        if self._runner.server is not None:
            await self._runner.server.shutdown(SHUTDOWN_SECONDS)
        await self._runner.cleanup()


async def serve_on(
    app: web.Application,
    bound: socket.socket,
    spare: Spare,
    tls: ssl.SSLContext | None = None,
) -> Serving:
    """Begin to answer requests on a bound socket."""
    runner = web.AppRunner(app)
    await runner.setup()
    loop = asyncio.get_running_loop()

    def make_protocol(gate: Gate) -> asyncio.Protocol:
        if runner.server is None:
            raise RuntimeError("the runner has been cleaned up")
        return Connection.behind(gate, runner.server, loop)

    patience = CONTROL_PATIENCE if bound.family == AF_UNIX else Patience()
    entrance = Entrance(bound, make_protocol, spare, patience, tls)
    entrance.start()
    return Serving(runner, entrance)
