"""Event streams (text/event-stream): what is sent until the client leaves.

Owns the form of a stream, for how long a client may not read, and how a stream ends. Does not own
what is in it (service/live.py). Called by aiohttp through routes.py.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from xdpctl.errors import public
from xdpctl.http.api.keys import BACKEND
from xdpctl.http.api.live_documents import EndOut
from xdpctl.http.api.queries import LiveQuery, read_query
from xdpctl.http.transport.auth import STILL_ALLOWED
from xdpctl.http.transport.keys import IN_PUBLIC, STOPPING
from xdpctl.http.transport.protocol import drained

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from xdpctl.http.api.backend import LiveView

READ_SECONDS = 10.0
"""How long a client may not read, once its buffers are full, before it is let go."""

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy (nginx) hands each event on at once
}

STOPS = "the service stops: connect again when it is back"
NOT_ALLOWED = "the token of this stream is not the service's token any more: use the new one"


class EventStream:
    """An answer that goes on.

    Args:
        request: what is answered.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._allowed = STILL_ALLOWED.get()
        self.response = web.StreamResponse(headers=_HEADERS)

    async def send(self, name: str, *documents: object) -> bool:
        """Send events of one name, all in one piece; tell whether the client may have more.

        Raises:
            ConnectionError: the client has left, or has not read for `READ_SECONDS`.
        """
        if not self._allowed():
            return False
        parts = [
            b"event: %b\ndata: %b\n\n"
            % (name.encode(), msgspec.json.encode(document, enc_hook=public))
            for document in documents
        ]
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self.response.write(b"".join(parts))
                await drained(self._request)
        except TimeoutError as error:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from error
        return True

    async def serve(self, *sources: Coroutine[None, None, None]) -> web.StreamResponse:
        """Send what sources send, until one ends, the client leaves, or the service stops.

        A source ends when `send` says that the client may have no more.
        """
        try:
            await self.response.prepare(self._request)
        except BaseException:
            for source in sources:
                source.close()
            raise
        stopping = self._request.app[STOPPING]
        tasks = [asyncio.create_task(source, name="stream") for source in sources]
        stop = asyncio.create_task(stopping.wait(), name="stream stop")
        try:
            done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
        for task in done:
            task.result()
        end = EndOut(STOPS if stopping.is_set() else NOT_ALLOWED)
        await self.response.write(b"event: end\ndata: %b\n\n" % msgspec.json.encode(end))
        await self.response.write_eof()
        return self.response


async def live(request: web.Request) -> web.StreamResponse:
    """GET /api/v1/live: what the service sees, an event `snapshot` a second, as it goes on.

    A stream of events (text/event-stream); the data of a `snapshot` is a `LiveOut`. The last event
    is `end`, whose data say why. A client that does not read for ten seconds is let go.
    """
    read_query(request, LiveQuery)
    stream = EventStream(request)
    if request.method == "HEAD":
        await stream.response.prepare(request)
        return stream.response
    return await stream.serve(_snapshots(request, stream))


async def _snapshots(request: web.Request, stream: EventStream) -> None:
    view: LiveView = request.app[BACKEND]
    shown = public if request.app[IN_PUBLIC] else str
    async with aclosing(view.live()) as snapshots:
        async for snapshot in snapshots:
            state = snapshot.state
            state.reasons = [*map(shown, state.reasons)]
            state.warnings = [*map(shown, state.warnings)]
            if not await stream.send("snapshot", snapshot):
                return
