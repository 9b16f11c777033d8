"""The application, and the listeners that serve it: control socket and TCP.

Sockets are bound and files of secrets read early, before anything is attached, so that
what is wrong there stops the start; they are served last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

from aiohttp import web

from xdpctl.errors import ListenError, XdpctlError
from xdpctl.http.auth import Access, guard, read_token
from xdpctl.http.binding import bind_control, bind_tcp
from xdpctl.http.body import later
from xdpctl.http.keys import DESK, EXPOSITION, SPOOL
from xdpctl.http.openapi import PATH as DESCRIPTION
from xdpctl.http.problems import from_error, problem
from xdpctl.http.protocol import Runner
from xdpctl.http.routes import ROUTES
from xdpctl.http.tls import load_into, server_context
from xdpctl.log import event
from xdpctl.names import shown

if TYPE_CHECKING:
    import socket
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from xdpctl.http.auth import Token
    from xdpctl.http.handlers import Desk
    from xdpctl.metrics import Exposition
    from xdpctl.settings import Listen

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
            return from_error(error)
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
    for route in ROUTES:
        for method in ("GET", "HEAD") if route.method == "GET" else (route.method,):
            app.router.add_route(method, route.path, route.handler, expect_handler=later)
    app.router.add_route("*", "/{path:.*}", _nowhere, expect_handler=later)
    return app


@dataclass(frozen=True, slots=True)
class Secrets:
    """The files that protect the TCP listener: of its token, and of TLS."""

    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def read(self) -> tuple[Token | None, ssl.SSLContext | None]:
        """Return what the files hold; blocks.

        Raises:
            ListenError: one is not fit.
        """
        token = read_token(self.token_file) if self.token_file else None
        if self.tls_cert and self.tls_key:
            return token, server_context(self.tls_cert, self.tls_key)
        return token, None


class Listeners:
    """The bound sockets, later served. An async context manager that closes them.

    Args:
        control: path of the unix socket; mode 0660.
        control_gid: group that may use it, or None.
        listen: address of the TCP listener, or None.
        secrets: of the TCP listener.
        spool: directory for long bodies while they are worked on; None: the system's.
    """

    def __init__(
        self,
        control: Path,
        control_gid: int | None,
        listen: Listen | None,
        secrets: Secrets | None = None,
        spool: Path | None = None,
    ) -> None:
        self._control_path = control
        self._control_gid = control_gid
        self._listen = listen
        self._secrets = secrets or Secrets()
        self._spool = spool
        self._control: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._token: Token | None = None
        self._tls: ssl.SSLContext | None = None
        self._runners: list[web.AppRunner] = []

    def bind(self) -> None:
        """Read the secrets and bind both; blocking, short.

        Raises:
            ListenError: a port or path is in use or may not be used, or a file of secrets
                is not fit; nothing is bound.
        """
        if self._listen is not None:
            self._read_secrets()
            self._tcp = bind_tcp(self._listen)
        try:
            self._control = bind_control(self._control_path, self._control_gid)
        except ListenError:
            self._close_tcp()
            raise

    def _read_secrets(self) -> None:
        """Take over what the files of secrets hold now; on any error nothing changes."""
        files = self._secrets
        token, fresh = files.read()
        if files.tls_cert and files.tls_key and self._tls is not None:
            load_into(self._tls, files.tls_cert, files.tls_key)
        else:
            self._tls = fresh
        self._token = token

    async def reload(self) -> None:
        """Take over another token or certificate in the same files (SIGHUP).

        Connections that stand go on with the former certificate, not with the former token.

        Raises:
            ListenError: a file is not fit; what was in force stays.
        """
        if self._tcp is not None:
            await asyncio.to_thread(self._read_secrets)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self.close()

    async def stop(self) -> None:
        """Answer no further request; those under way get a moment to end."""
        runners, self._runners = self._runners, []
        await asyncio.gather(*(runner.cleanup() for runner in runners))

    def close(self) -> None:
        """Close what was bound and remove the control socket."""
        if self._control is not None:
            with contextlib.suppress(FileNotFoundError):
                self._control_path.unlink()
            self._control.close()
            self._control = None
        self._close_tcp()

    def _close_tcp(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None

    @property
    def address(self) -> str | None:
        """HOST:PORT that the TCP listener really has."""
        if self._tcp is None or self._listen is None:
            return None
        return str(replace(self._listen, port=self._tcp.getsockname()[1]))

    async def serve(self, desk: Desk, exposition: Exposition) -> None:
        """Begin to answer."""
        if self._control is not None:
            app = make_app(desk, exposition, Access.EVERYTHING, spool=self._spool)
            await web.SockSite(await self._run(app), self._control).start()
        if self._tcp is not None and self._listen is not None:
            access = Access.READS if self._listen.host.is_loopback else Access.PUBLIC
            app = make_app(desk, exposition, access, token=lambda: self._token, spool=self._spool)
            site = web.SockSite(await self._run(app), self._tcp, ssl_context=self._tls)
            await site.start()
            event(
                _log,
                "listening",
                address=self.address,
                access=access.name.lower(),
                tls=self._tls is not None,
                writes="with the token" if self._token else "refused",
            )

    async def _run(self, app: web.Application) -> web.AppRunner:
        runner = Runner(app, shutdown_timeout=0.3)
        self._runners.append(runner)
        await runner.setup()
        return runner
