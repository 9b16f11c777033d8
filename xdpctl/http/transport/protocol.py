"""aiohttp's end of a connection, and the middleware that paces it.

The gate (gate.py) passes one request at a time to a connection. The middleware tells the gate
when the answer has been written, and lets handlers ask whether the client is still connected. A
request that aiohttp's parser refuses is answered with a problem document and never quoted,
because it may contain a token. Does not own time limits (gate.py). Called by http/app.py.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from xdpctl.http.abandonment import CLIENT_GONE, AbandonedError, refuse_abandoned
from xdpctl.http.problems import SERVER, from_error, problem
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
    """One connection. Never logs the content of a request that is not HTTP."""

    gate: Gate | None = None

    @classmethod
    def behind(cls, gate: Gate, server: web.Server, loop: asyncio.AbstractEventLoop) -> Connection:
        """Return a connection behind a gate, for the server of an application's runner."""
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
        """Answer a request that aiohttp's parser could not read; leave other errors to aiohttp.

        Raises:
            ConnectionError: the client left during an answer, which is not logged.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            failure = super().handle_error(request, status, exc, message)
            failure.headers["Server"] = SERVER
            return failure
        event(_log, "not-http", logging.DEBUG, client=request.remote)
        refusal = problem(HTTPStatus.BAD_REQUEST, NOT_HTTP)
        refusal.force_close()
        return refusal


@web.middleware
async def pace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer a request completely, then let the gate pass on the next one.

    A request whose client has left is not processed.
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
            request.protocol.force_close()  # its rest cannot be read
        gate.answered()
    return response


def _nothing() -> None:
    """Do nothing, because no handler reads the body any more."""


async def write_out(request: web.Request, response: web.StreamResponse) -> None:
    """Write an answer, and wait until its client has read all but some kilobytes of it.

    Raises:
        ConnectionError: the client has left.
    """
    await response.prepare(request)
    await response.write_eof()
    await drained(request)


async def drained(request: web.Request) -> None:
    """Wait until a client has read all but some kilobytes of what was written, or has left."""
    gate = getattr(request.protocol, "gate", None)
    if gate is not None:
        await gate.drained()
