"""Limits how many slow requests run at once on each listener.

A page of rules and `top` walk the kernel's maps, an export is a process, and a test loads a
program: a few readers must not make all others wait. A request beyond the limit gets 503 at once.
A request keeps its place until its client has read the answer, which bounds the answers in
memory. Does not own connections (admission.py). Called by http/app.py.
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

TESTS_MAX = 1
"""Tests of a packet at once; each has the kernel verify the program."""

STREAMS_MAX = 16
"""Live streams at once."""

RETRY_SECONDS = 1
"""The value of `Retry-After`."""


class Places:
    """A number of places, taken and returned on the loop.

    Args:
        count: how many.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._taken = 0

    @contextlib.contextmanager
    def take(self) -> Iterator[bool]:
        """Hold a place for the block; yields False if all are taken."""
        free = self._taken < self.count
        self._taken += free
        try:
            yield free
        finally:
            self._taken -= free


def in_turn() -> Middleware:
    """Return the middleware that begins one request of a listener in each turn of the loop.

    So a request on another listener, such as a panic on the control socket, waits for at most
    one answer of this listener, not for all requests that arrived together.
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
    places = {
        "/api/v1/rules": reads,
        "/api/v1/top": reads,
        "/api/v1/history": reads,
        "/api/v1/origins": reads,
        "/api/v1/export": exports,
        "/api/v1/test": Places(TESTS_MAX),
        "/api/v1/live": Places(STREAMS_MAX),
        "/api/v1/samples": Places(READS_MAX),
    }

    @web.middleware
    async def limit(request: web.Request, handler: Handler) -> web.StreamResponse:
        wanted = places.get(request.path) if request.method in {"GET", "HEAD"} else None
        if wanted is None:
            return await handler(request)
        with wanted.take() as free:
            if not free:
                return problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"{request.path} is busy: this listener answers {wanted.count} at once;"
                    f" try again in {RETRY_SECONDS} s",
                    headers={"Retry-After": str(RETRY_SECONDS)},
                )
            response = await handler(request)
            await write_out(request, response)
            return response

    return limit
