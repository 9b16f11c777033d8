"""What comes before a request is one: bytes that are not HTTP.

aiohttp quotes them in its log and in its answer, and among them may be a token. Here
they are answered with a problem document and quoted nowhere. Used by the listeners.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from aiohttp import web

from xdpctl.http.problems import problem
from xdpctl.log import event

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

_log = logging.getLogger(__name__)

LINGER_SECONDS = 1.0
"""How long what a refused request still sends is thrown away, so that its client does
not lose the answer to a reset."""

_OPTIONS: dict[str, Any] = {
    "access_log": None,
    "auto_decompress": False,
    "lingering_time": LINGER_SECONDS,
}


class _Connection(web.RequestHandler):
    """One connection; says nothing of what was sent where it is not HTTP."""

    __slots__ = ()

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what aiohttp's parser could not read; all else is aiohttp's.

        Raises:
            ConnectionError: the client went away in the middle of an answer, which is his
                right and not worth a line in the log.
        """
        if isinstance(exc, ConnectionError):
            raise exc
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        event(_log, "not-http", logging.DEBUG, client=request.remote)
        refusal = problem(
            HTTPStatus.BAD_REQUEST,
            "cannot read the request as HTTP/1.1: its first line or a header is too long or has"
            " bytes that may not be there",
        )
        refusal.force_close()
        return refusal


class _Server(web.Server):
    """Makes a connection's protocol."""

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, **_OPTIONS)


class Runner(web.AppRunner):
    """Runs an application on connections of our own."""

    __slots__ = ()

    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **_OPTIONS)
