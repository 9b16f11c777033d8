"""The listeners, control socket and TCP: bound first, served last.

Sockets are bound and secret files are read before anything is attached, so that an error there
stops the start. app.py, which answers requests, is imported after that: aiohttp is half of the
service's imports, and filtering does not need it. Owns the sockets and the two applications. Does
not own access rules (transport/access.py). Made by service/resources.py.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Self

from xdpctl.errors import ListenError
from xdpctl.http.transport.access import Access
from xdpctl.http.transport.binding import bind_control, bind_tcp
from xdpctl.http.transport.secrets import Secrets
from xdpctl.http.transport.spare import Spare
from xdpctl.http.transport.tls import load_into
from xdpctl.process.log import event
from xdpctl.process.modules import import_parts_of

if TYPE_CHECKING:
    import socket
    import ssl
    from pathlib import Path

    from xdpctl.http.api.backend import Backend
    from xdpctl.http.app import Serving
    from xdpctl.http.transport.token import Token
    from xdpctl.settings import Listen
    from xdpctl.status.metrics import Exposition

_log = logging.getLogger(__name__)


class Listeners:
    """The bound sockets, later served. An async context manager that closes them.

    Args:
        control: path of the unix socket; mode 0660.
        control_gid: group that can use it, or None.
        listen: address of the TCP listener, or None.
        secrets: of the TCP listener.
        spool: directory for long bodies while they are processed; None: the system's.
        page: whether the TCP listener has the web page; None: on loopback.
    """

    def __init__(  # noqa: PLR0913 - what an operator sets
        self,
        control: Path,
        control_gid: int | None,
        listen: Listen | None,
        secrets: Secrets | None = None,
        spool: Path | None = None,
        *,
        page: bool | None = None,
    ) -> None:
        self._control_path = control
        self._control_gid = control_gid
        self._listen = listen
        self._secrets = secrets or Secrets()
        self._spool = spool
        self._page = page
        self._control: socket.socket | None = None
        self._tcp: socket.socket | None = None
        self._token: Token | None = None
        self._stamp: tuple[object, ...] = ()
        self._tls: ssl.SSLContext | None = None
        self._serving: list[Serving] = []
        self._spare = Spare()

    def bind(self) -> None:
        """Read the secrets and bind both; blocking, short.

        Raises:
            ListenError: a port or path is in use or not permitted, or a secret file is not
                usable; then nothing is bound.
        """
        if self._listen is not None:
            self._read_secrets()
            self._tcp = bind_tcp(self._listen)
        try:
            self._control = bind_control(self._control_path, self._control_gid)
        except ListenError:
            self._close_tcp()
            raise

    def _read_secrets(self) -> bool:
        """Load the current content of the secret files; on any error nothing changes.

        Returns:
            Whether a file is another one, or was written, since they were read before.
        """
        files = self._secrets
        former, stamp = self._stamp, files.stamp()
        token, fresh = files.read()
        if files.tls_cert and files.tls_key and self._tls is not None:
            load_into(self._tls, files.tls_cert, files.tls_key)
        else:
            self._tls = fresh
        self._token, self._stamp = token, stamp
        return stamp != former

    async def reload(self) -> bool:
        """Load a new token or certificate from the same files (SIGHUP); tell if one is new.

        Open connections keep the former certificate, but not the former token.

        Raises:
            ListenError: a file is not usable; the former secrets stay in use.
        """
        if self._tcp is not None:
            return await asyncio.to_thread(self._read_secrets)
        return False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        self.close()

    async def stop(self) -> None:
        """Accept no further request; running ones get a moment to end."""
        serving, self._serving = self._serving, []
        await asyncio.gather(*(listener.stop() for listener in serving))

    def close(self) -> None:
        """Close what was bound and remove the control socket."""
        if self._control is not None:
            try:
                self._control_path.unlink(missing_ok=True)
            except OSError as error:  # the next service takes over the socket
                event(
                    _log,
                    "control-left",
                    logging.WARNING,
                    path=self._control_path,
                    error=error.strerror,
                )
            self._control.close()
            self._control = None
        self._close_tcp()

    def _close_tcp(self) -> None:
        if self._tcp is not None:
            self._tcp.close()
            self._tcp = None

    @property
    def address(self) -> str | None:
        """HOST:PORT to which the TCP listener is bound."""
        if self._tcp is None or self._listen is None:
            return None
        return str(replace(self._listen, port=self._tcp.getsockname()[1]))

    async def serve(self, backend: Backend, exposition: Exposition) -> None:
        """Begin to answer requests."""
        import_application()
        from xdpctl.http.app import make_app, serve_on  # noqa: PLC0415 - see above
        from xdpctl.http.static import StaticPage  # noqa: PLC0415 - the same

        if self._control is not None:
            app = make_app(backend, exposition, Access.EVERYTHING, spool=self._spool)
            self._serving.append(await serve_on(app, self._control, self._spare))
        if self._tcp is not None and self._listen is not None:
            is_local = self._listen.host.is_loopback
            access = Access.READS if is_local else Access.PUBLIC
            has_page = is_local if self._page is None else self._page
            app = make_app(
                backend,
                exposition,
                access,
                token=lambda: self._token,
                spool=self._spool,
                page=await asyncio.to_thread(StaticPage.read) if has_page else None,
            )
            self._serving.append(await serve_on(app, self._tcp, self._spare, self._tls))
            event(
                _log,
                "listening",
                address=self.address,
                access=access.name.lower(),
                tls=self._tls is not None,
                writes="with the token" if self._token else "refused",
            )


def import_application() -> None:
    """Import app.py and all it needs. Blocks for a tenth of a second."""
    import_parts_of("aiohttp", __version__="")  # which is in a header that app.py replaces
    import_module("xdpctl.http.app")
