"""The gate of one connection: what aiohttp's protocol sees of it, and for how long it lives.

A head is held here until it is whole, so that one that never ends costs its own octets and
no more; one request at a time goes on to aiohttp; who sends, reads or leaves too slowly is
cut off by `check`, which entrance.py calls once a second. Knows bytes, not requests:
protocol.py tells it when one has been answered.
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
"""How long what a refused request still sends is thrown away, so that its client does
not lose the answer to a reset."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many seconds a connection may take for each step.

    Attributes:
        head: from its first octet to its end; also from the connection to that octet.
        idle: between two requests.
        write: for the client to read on, once the buffers are full.
        close: to take what is left of an answer after the last request.
    """

    head: float = 10.0
    idle: float = 75.0
    write: float = 10.0
    close: float = 10.0


class Stage(Enum):
    """What a connection is at."""

    NEW = auto()
    """No octet came, or TLS is not agreed on."""
    HEAD = auto()
    REQUEST = auto()
    IDLE = auto()
    """Between two requests."""
    REFUSED = auto()
    """An answer has been written here, and what still comes is thrown away."""


class Gate(asyncio.Protocol):
    """One connection between its transport and aiohttp's protocol.

    Args:
        make_inner: gives aiohttp's protocol, once there is a request for it: until then a
            connection costs little more than its descriptor.
        patience: what the client is given.
        clock: seconds that never go back.
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
        """Whether the body is not framed as HTTP/1.1 wants it."""
        self.on_broken: Callable[[], None] = lambda: None
        self.stage = Stage.NEW
        self.since = clock()
        """When the stage began."""

    # --- what middlewares and the entrance ask -----------------------------------------

    @property
    def gone(self) -> bool:
        """Whether nobody waits for an answer any more; any thread may ask."""
        transport = self._transport
        return self._lost or transport is None or transport.is_closing()

    @property
    def idle_since(self) -> float | None:
        """Since when it only takes room; None: a request is worked on, or its answer read."""
        if self._blocked is not None:
            return self._blocked
        return None if self.stage is Stage.REQUEST and not self._answered else self.since

    async def drained(self) -> None:
        """Wait until the client has taken nearly all that was written, or has gone."""
        await self._drained.wait()

    def answered(self) -> None:
        """Go on to the next request: this one's answer is written."""
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
        """Cut the connection off where its time is over; return why, or an empty text."""
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
        """Begin; with TLS it is agreed on by now."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """End, whoever ended it."""
        self._lost = True
        self._drained.set()
        self._ahead.clear()
        if self._inner is not None:
            self._inner.connection_lost(exc)
        self._on_lost()

    def pause_writing(self) -> None:
        """Note that the client reads slower than it is written to."""
        self._blocked = self._clock()
        self._drained.clear()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        """Note that it has read on."""
        self._blocked = None
        self._drained.set()
        if self._inner is not None:
            self._inner.resume_writing()

    def eof_received(self) -> None:
        """Take a client that sends no more for one that has gone, as aiohttp does."""

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        if self.broken or self._lost or self.stage is Stage.REFUSED:
            return
        self._ahead += data
        self._advance()

    # --- within ------------------------------------------------------------------------

    def _enter(self, stage: Stage) -> None:
        self.stage = stage
        self.since = self._clock()

    def _end_request(self) -> None:
        """Wait for the next head, which may be there already."""
        self._enter(Stage.IDLE)
        if self._transport is not None:
            self._transport.resume_reading()
        asyncio.get_running_loop().call_soon(self._advance)

    def _advance(self) -> None:
        """Hand on what belongs to the request that is worked on, or the next head."""
        try:
            if self._lost:
                return
            if self.stage is Stage.REQUEST or self._begin():
                self._go_on()
        except RequestError as error:
            event(_log, "not-http", logging.DEBUG, status=int(error.status))
            self._refuse(error)

    def _begin(self) -> bool:
        """Hand on a head if there is a whole one; return whether there was.

        Raises:
            RequestError: it is too long or cannot be taken.
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
        """Hand on what is the body's; one that is badly framed breaks the request."""
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
        """Take nothing more; who reads the body hears that it is not whole."""
        self._body = BodyEnd(0)
        self._ahead.clear()
        self.broken = True
        self.on_broken()

    def _refuse(self, error: RequestError) -> None:
        """Answer in aiohttp's place, and take nothing more."""
        if self._transport is None or self._transport.is_closing():
            return
        self._enter(Stage.REFUSED)
        self._ahead.clear()
        self._transport.write(wire_form(error))
        with contextlib.suppress(OSError):
            if self._transport.can_write_eof():
                self._transport.write_eof()
