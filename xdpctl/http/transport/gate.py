"""The gate of one connection: what aiohttp's protocol sees of it, and how long it lives.

It holds a head until it is whole, so an unfinished head costs only its own octets. It passes one
request at a time to aiohttp. `check`, which entrance.py calls once a second, ends a connection
whose client sends, reads or leaves too slowly.

Owns the transport and the time limits. Does not own the meaning of requests: it knows only
octets and where heads and bodies end (head.py), and protocol.py reports each answer. Made by
entrance.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, cast

from xdpctl.http.problems import wire_form
from xdpctl.http.refusals import RequestError
from xdpctl.http.transport.head import HEAD_MAX, BodyEnd, end_of_head, read_head, too_long
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

_log = logging.getLogger(__name__)

LINGER_SECONDS = 1.0
"""How long the rest of a refused request is read and discarded. A reset in this time could
destroy the answer before its client has read it."""


@dataclass(frozen=True, slots=True)
class Patience:
    """The time limits of a connection, in seconds.

    Attributes:
        head: from the first octet of a head to its end; also until that first octet.
        idle: between two requests.
        write: until the client reads again, once the buffers are full.
        close: for reading the rest of an answer after the last request.
    """

    head: float = 10.0
    idle: float = 75.0
    write: float = 10.0
    close: float = 10.0


class Stage(Enum):
    """The state of a connection."""

    NEW = auto()
    """No octet has arrived, or the TLS handshake is not complete."""
    HEAD = auto()
    REQUEST = auto()
    IDLE = auto()
    """Between two requests."""
    REFUSED = auto()
    """The gate has answered with an error, and discards everything that still arrives."""


class Gate(asyncio.Protocol):
    """One connection between its transport and aiohttp's protocol.

    Args:
        make_inner: returns aiohttp's protocol. Called for the first request: until then a
            connection costs little more than its descriptor.
        patience: the time limits.
        clock: returns the seconds of a monotonic clock.
        on_lost: called once, when the connection has ended.
    """

    def __init__(
        self,
        make_inner: Callable[[Gate], asyncio.Protocol],
        patience: Patience,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._make_inner = make_inner
        self._inner: asyncio.Protocol | None = None
        self._patience = patience
        self._clock = clock
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._ahead = bytearray()
        self._body = BodyEnd(0)
        self._answered = False
        self._blocked: float | None = None
        self._closing: float | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._lost = False
        self.broken = False
        """Whether the body is not framed correctly (HTTP/1.1)."""
        self.on_broken: Callable[[], None] = lambda: None
        self.stage = Stage.NEW
        self.since = clock()
        """When the stage began."""

    # --- for middlewares and the entrance ----------------------------------------------

    @property
    def gone(self) -> bool:
        """Whether the client has left, so that no answer is needed; any thread may read this."""
        transport = self._transport
        return self._lost or transport is None or transport.is_closing()

    @property
    def idle_since(self) -> float | None:
        """When it became idle; None while a request is processed or its answer is read."""
        if self._blocked is not None:
            return self._blocked
        return None if self.stage is Stage.REQUEST and not self._answered else self.since

    async def drained(self) -> None:
        """Wait until the client has read nearly all that was written, or has left."""
        await self._drained.wait()

    def answered(self) -> None:
        """Continue with the next request, after the answer to this one was written."""
        if self.stage is not Stage.REQUEST or self._transport is None:
            return
        self._answered = True
        if self._body.ended and not self.broken:
            self._end_request()

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def check(self) -> str:
        """End the connection if a time limit is over; return why, else an empty text."""
        now, patience = self._clock(), self._patience
        if self._transport is None or self._lost:
            return ""
        if self._blocked is not None and now - self._blocked >= patience.write:
            self.abort()
            return "its client does not read"
        if self._transport.is_closing():
            self._closing = self._closing or now
            if now - self._closing >= patience.close:
                self.abort()
            return ""
        age = now - self.since
        if self.stage is Stage.HEAD and age >= patience.head:
            self._refuse(
                RequestError(
                    HTTPStatus.REQUEST_TIMEOUT,
                    f"the head was not whole after {patience.head:g} s: send it again",
                )
            )
            return "its head does not end"
        if self.stage is Stage.NEW and age >= patience.head:
            self.abort()
            return "it asks for nothing"
        if self.stage is Stage.IDLE and age >= patience.idle:
            self._transport.close()
        if self.stage is Stage.REFUSED and age >= LINGER_SECONDS:
            self._transport.close()
        return ""

    # --- asyncio.Protocol --------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; a TLS handshake is complete by now."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Release everything, no matter which side ended the connection."""
        self._lost = True
        self._drained.set()
        self._ahead.clear()
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._on_lost()

    def pause_writing(self) -> None:
        """Note that the client reads too slowly."""
        self._blocked = self._clock()
        self._drained.clear()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._blocked = None
        self._drained.set()
        if self._inner is not None:
            self._inner.resume_writing()

    def eof_received(self) -> None:
        """Return None, which closes the connection, as aiohttp does: the client has left."""

    def data_received(self, data: bytes) -> None:
        """Receive data."""
        if self.broken or self._lost or self.stage is Stage.REFUSED:
            return
        self._ahead += data
        self._advance()

    # --- within ------------------------------------------------------------------------

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.since = self._clock()

    def _end_request(self) -> None:
        """Wait for the next head, which may already have arrived."""
        self._enter(Stage.IDLE)
        if self._transport is not None:
            self._transport.resume_reading()
        asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        """Pass data of the current request to aiohttp, or the next head."""
        try:
            if self._lost:
                return
            if self.stage is Stage.REQUEST or self._begin():
                self._go_on()
        except RequestError as error:
            event(_log, "not-http", logging.DEBUG, status=int(error.status))
            self._refuse(error)

    def _begin(self) -> bool:
        """Pass a whole head to aiohttp; return whether there was one.

        Raises:
            RequestError: it is too long or not acceptable.
        """
        while self._ahead[:2] == b"\r\n":  # RFC 9112, 2.2: empty lines before a request
            del self._ahead[:2]
        if not self._ahead or self.stage is Stage.REFUSED:
            return False
        if self.stage is not Stage.HEAD:
            self._enter(Stage.HEAD)
        end = end_of_head(self._ahead)
        if end > HEAD_MAX or (not end and len(self._ahead) > HEAD_MAX):
            raise too_long(self._ahead)
        if not end:
            return False
        head = bytes(self._ahead[:end])
        del self._ahead[:end]
        found = read_head(head)
        self._body, self._answered = BodyEnd(found.length), False
        self._enter(Stage.REQUEST)
        if self._inner is None and self._transport is not None:
            self._inner = self._make_inner(self)
            self._inner.connection_made(self._transport)
        self._hand_on(found.text)
        return True

    def _go_on(self) -> None:
        """Pass data of the body to aiohttp; wrong framing breaks the request."""
        if self._ahead and not self._body.ended:
            data = bytes(self._ahead)
            try:
                taken = self._body.take(data)
            except RequestError:
                self._break()
                return
            del self._ahead[:taken]
            self._hand_on(data[:taken])
            if self._answered and self._is_whole():
                self._end_request()
                return
        if len(self._ahead) > HEAD_MAX and self._transport is not None:
            self._transport.pause_reading()

    def _is_whole(self) -> bool:
        return self._body.ended

    def _hand_on(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)

    def _break(self) -> None:
        """Accept no more data; the reader of the body gets an error."""
        self._body = BodyEnd(0)
        self._ahead.clear()
        self.broken = True
        self.on_broken()

    def _refuse(self, error: RequestError) -> None:
        """Answer with an error, in place of aiohttp, and accept no more data."""
        if self._transport is None or self._transport.is_closing():
            return
        self._enter(Stage.REFUSED)
        self._ahead.clear()
        self._transport.write(wire_form(error))
        with contextlib.suppress(OSError):
            if self._transport.can_write_eof():
                self._transport.write_eof()
