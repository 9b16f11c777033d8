"""Routes and listeners: the same handlers on the control socket and on TCP.

Sockets are bound early, before anything is attached, so that a port in use stops the
start; they are served last. A control socket left by a dead service is taken over,
one of a live service is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import stat
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Self

import msgspec
from aiohttp import web

from xdpctl.errors import ListenError, XdpctlError
from xdpctl.http import handlers
from xdpctl.http.auth import Access, guard
from xdpctl.http.handlers import DESK, EXPOSITION
from xdpctl.http.problems import from_error, from_validation, problem
from xdpctl.log import event

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from xdpctl.http.handlers import Desk
    from xdpctl.metrics import Exposition
    from xdpctl.settings import Listen

_log = logging.getLogger(__name__)

IPV4 = 4

_ROUTES = (
    web.get("/metrics", handlers.metrics),
    web.get("/healthz", handlers.healthz),
    web.get("/readyz", handlers.readyz),
    web.get("/api/v1/status", handlers.status),
    web.get("/api/v1/rules", handlers.list_rules),
    web.post("/api/v1/rules", handlers.post_rules),
    web.delete("/api/v1/rules", handlers.delete_rules),
    web.post("/api/v1/panic", handlers.panic),
    web.post("/api/v1/resume", handlers.resume),
    web.post("/api/v1/detach", handlers.detach),
)


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem document."""
    try:
        return await handler(request)
    except XdpctlError as error:
        return from_error(error)
    except msgspec.ValidationError as error:
        return from_validation(error)
    except msgspec.DecodeError as error:
        return problem(HTTPStatus.BAD_REQUEST, f"the body is not JSON: {error}")
    except web.HTTPException as error:
        return problem(
            HTTPStatus(error.status),
            f"{request.method} {request.path}: {error.reason}; see /api/v1/status",
            headers={"Allow": error.headers["Allow"]} if "Allow" in error.headers else None,
        )
    except Exception:  # noqa: BLE001 - the last resort: the sentence, not a traceback
        _log.exception("request-failed")
        return problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "the service met an error of its own: see its log and report it",
        )


def make_app(desk: Desk, exposition: Exposition, access: Access) -> web.Application:
    """Return the application for one kind of listener."""
    app = web.Application(middlewares=[guard(access), _errors], client_max_size=handlers.BODY_MAX)
    app[DESK] = desk
    app[EXPOSITION] = exposition
    app.add_routes(_ROUTES)
    return app


class Listeners:
    """The bound sockets, later served. An async context manager that closes them.

    Args:
        control: path of the unix socket; mode 0660.
        control_gid: group that may use it, or None.
        listen: address of the TCP listener, or None.
    """

    def __init__(self, control: Path, control_gid: int | None, listen: Listen | None) -> None:
        self._control_path = control
        self._control_gid = control_gid
        self._listen = listen
        self._control: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._runners: list[web.AppRunner] = []

    def bind(self) -> None:
        """Bind both; blocking, short.

        Raises:
            ListenError: a port or path is in use or may not be used; nothing is bound.
        """
        if self._listen is not None:
            self._tcp = _bind_tcp(self._listen)
        try:
            self._control = _bind_control(self._control_path, self._control_gid)
        except ListenError:
            self._close_tcp()
            raise

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
            runner = await self._run(make_app(desk, exposition, Access.EVERYTHING))
            await web.SockSite(runner, self._control).start()
        if self._tcp is not None and self._listen is not None:
            access = Access.READS if self._listen.host.is_loopback else Access.PUBLIC
            runner = await self._run(make_app(desk, exposition, access))
            await web.SockSite(runner, self._tcp).start()
            event(_log, "listening", address=self.address, access=access.name.lower())

    async def _run(self, app: web.Application) -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.3)
        self._runners.append(runner)
        await runner.setup()
        return runner


def _bind_tcp(listen: Listen) -> socket.socket:
    family = socket.AF_INET if listen.host.version == IPV4 else socket.AF_INET6
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(listen.host), listen.port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ListenError(
            f"cannot listen on {listen}: {error.strerror or error}; choose another --listen, or"
            " none"
        ) from error
    return listener


def _bind_control(path: Path, gid: int | None) -> socket.socket:
    """Bind the control socket, taking over one that a dead service left."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    bound = False
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if path.is_socket():
            _refuse_alive(path)
            path.unlink()
        listener.bind(str(path))
        bound = True
        if gid is not None:
            os.chown(path, -1, gid)
            _let_in(path.parent, gid)
        path.chmod(0o660)
        listener.listen(128)  # nobody can connect before
    except ListenError:
        listener.close()
        raise
    except OSError as error:
        listener.close()
        if bound:
            path.unlink(missing_ok=True)
        reason = (
            "something that is no socket is there"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        raise ListenError(
            f"cannot make the control socket {path}: {reason}; choose another --control"
        ) from error
    return listener


def _let_in(directory: Path, gid: int) -> None:
    """Give a directory that only owner and group may enter to the group.

    One that everybody may enter (/run, /tmp) stays as it is.
    """
    found = directory.stat()
    if not found.st_mode & stat.S_IXOTH and found.st_gid != gid:
        os.chown(directory, -1, gid)


def _refuse_alive(path: Path) -> None:
    if _is_alive(path):
        raise ListenError(
            f"another service answers on the control socket {path}: stop it, or choose another"
            " --control"
        )


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True
