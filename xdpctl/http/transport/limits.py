"""How many of the requests that take long are worked on at once, of each listener.

A page of rules and `top` walk the kernel's maps, an export is a process: some readers must
not keep all others waiting. A request beyond the limit is answered with 503 at once, and
its place is held until its answer has been read, which bounds what waits in memory.
"""

from __future__ import annotations

import asyncio
import contextlib
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.http.problems import problem
from xdpctl.http.transport.protocol import write_out

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp.typedefs import Handler, Middleware

READS_MAX = 4
"""Pages of rules and rankings at once."""

EXPORTS_MAX = 1

RETRY_SECONDS = 1
"""What `Retry-After` says."""


class Places:
    """A number of places, taken and given back on the loop.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._taken = 0

    @contextlib.contextmanager
    def take(self) -> Iterator[bool]:
        """Hold one for the block; gives False where all are taken."""
        free = self._taken < self.count
        self._taken += free
        try:
            yield free
        finally:
            self._taken -= free


def in_turn() -> Middleware:
    """Return the middleware that begins one request of a listener in each turn of the loop.

    So what another listener is asked for, a panic on the control socket, waits for one
    answer of this one at most wherever it waits, and not for all that came with it.
    """
    turn = asyncio.Lock()

    @web.middleware
    async def wait(request: web.Request, handler: Handler) -> web.StreamResponse:
        async with turn:
            await asyncio.sleep(0)
        return await handler(request)

    return wait


def limited() -> Middleware:
    """Return the middleware that bounds the long reads of one listener."""
    reads, exports = Places(READS_MAX), Places(EXPORTS_MAX)
    places = {"/api/v1/rules": reads, "/api/v1/top": reads, "/api/v1/export": exports}

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        wanted = places.get(request.path) if request.method in {"GET", "HEAD"} else None
        if wanted is None:
            return await handler(request)
        with wanted.take() as free:
            if not free:
                return problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{request.path} is busy: it answers {wanted.count} at once on this listener;"
                    f" try again in {RETRY_SECONDS} s",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
            response = await handler(request)
            await write_out(request, response)
            return response

    return limit
