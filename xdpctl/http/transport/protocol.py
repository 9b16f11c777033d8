"""aiohttp's end of a connection, and the middleware that paces it.

The gate (gate.py) hands one request at a time to a connection; the middleware here tells it
when that one's answer has been written, and the rest whether its client is still there.
What aiohttp's parser refuses is answered with a problem document, and quoted nowhere: among
it may be a token. Used by http/app.py.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from xdpctl.http.abandonment import CLIENT_GONE, AbandonedError, refuse_abandoned
from xdpctl.http.problems import from_error, problem
from xdpctl.http.transport.gate import LINGER_SECONDS
from xdpctl.http.transport.head import NOT_HTTP
from xdpctl.process.log import event

if TYPE_CHECKING:
    import asyncio

    from aiohttp.typedefs import Handler
    from aiohttp.web_request import BaseRequest

    from xdpctl.http.transport.gate import Gate

_log = logging.getLogger(__name__)

_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "lingering_time": LINGER_SECONDS,
}


class Connection(web.RequestHandler):
    """One connection; says nothing of what was sent where it is not HTTP."""

    gate: Gate | None = None

    @classmethod
    def behind(cls, gate: Gate, server: web.Server, loop: asyncio.AbstractEventLoop) -> Connection:
        """Return one behind a gate, for a server of an application's runner."""
        connection = cls(server, loop=loop, **_OPTIONS)
        connection.gate = gate
        return connection

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp's parser could not read; all else is aiohttp's.

        Raises:
            ConnectionError: the client left in the middle of an answer. That is no error, and
                nothing is logged.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        event(_log, "not-http", logging.DEBUG, client=request.remote)
        refusal = problem(HTTPStatus.BAD_REQUEST, NOT_HTTP)
        refusal.force_close()
        return refusal


@web.middleware
async def pace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request whole, then let the gate hand on the next.

    One whose client has gone is not begun.
    """
    gate = getattr(request.protocol, "gate", None)
    if gate is None:
        return await handler(request)
    CLIENT_GONE.set(lambda: gate.gone)
    gate.on_broken = lambda: request.content.set_exception(web.RequestPayloadError("bad chunk"))
    try:
        if gate.broken:
            gate.on_broken()
        refuse_abandoned(lambda: gate.gone)
        response = await handler(request)
        await write_out(request, response)
    except AbandonedError as error:
        event(_log, "abandoned", logging.DEBUG, method=request.method)
        return from_error(error)
    finally:
        gate.on_broken = _nothing
        if gate.broken and request.protocol is not None:
            request.protocol.force_close()  # nothing more of it can be read
        gate.answered()
    return response


def _nothing() -> None:
    """Do nothing: nobody reads the body."""


async def write_out(request: web.Request, response: web.StreamResponse) -> None:
    """Write an answer, and wait until its client has taken it but for some kilobytes.

    Raises:
        ConnectionError: the client has gone.
    """
    await response.prepare(request)
    await response.write_eof()
    gate = getattr(request.protocol, "gate", None)
    if gate is not None:
        await gate.drained()
