"""A request's body: taken in whole, without holding the loop and in little memory.

A small body stays in memory, a large one goes to a file without a name, on a thread.
Nothing is asked for (`100 Continue`) before a handler has seen that it wants it. What
is in the body is http/api/rule_lists.py's. Called by the handlers.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
import time
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from aiohttp import ClientError, HttpVersion11, web

from xdpctl.http.refusals import RequestError
from xdpctl.http.transport.keys import SPOOL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

BODY_MAX = 256 * 2**20
"""Bytes of a request's body: two million rules with reasons."""

MEMORY_MAX = 2**20
"""Bytes of a body that stay in memory, and of one write to the file."""

STALLED_SECONDS = 60.0
"""How long the next part of a body may take."""

RATE_MIN = 1024
"""Octets a second that a body must bring on average, once STALLED_SECONDS are over."""


async def later(_request: web.Request) -> None:
    """Take an `Expect` header: `received` asks for the body, where it is wanted at all."""


@contextlib.asynccontextmanager
async def received(request: web.Request, longest: int = BODY_MAX) -> AsyncIterator[IO[bytes]]:
    """Give the whole body, at most `longest` bytes, as a file at its start.

    The file is gone with the block.

    Raises:
        RequestError: compressed, too long, broken off, stalled, or there is no room.
    """
    _refuse_unwanted(request, longest)
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").strip():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the response itself has not begun
    with contextlib.ExitStack() as stack:
        file: IO[bytes] = stack.enter_context(io.BytesIO())
        part, size, spooled = bytearray(), 0, False
        async for data in _arriving(request):
            size += len(data)
            if size > longest:
                raise _too_long(longest)
            part += data
            if len(part) >= MEMORY_MAX:
                if not spooled:
                    directory = request.app[SPOOL]
                    file = stack.enter_context(await asyncio.to_thread(_spool, directory))
                    spooled = True
                await asyncio.to_thread(_write, file, part)
                part = bytearray()
        if spooled:
            await asyncio.to_thread(_write, file, part)
        else:
            file.write(part)
        file.seek(0)
        yield file


def _refuse_unwanted(request: web.Request, longest: int) -> None:
    """Refuse by the header alone."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "cannot read a compressed body: send it as it is, without Content-Encoding",
        )
    if (request.content_length or 0) > longest:
        raise _too_long(longest)


def _too_long(longest: int) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"cannot take a body of more than {longest:,} bytes: send it in several requests",
    )


async def _arriving(request: web.Request) -> AsyncIterator[bytes]:
    began, size = time.monotonic(), 0
    try:
        while True:
            async with asyncio.timeout(STALLED_SECONDS):
                data = await request.content.readany()
            if not data:
                return
            size += len(data)
            _refuse_dribble(size, time.monotonic() - began)
            yield data
    except TimeoutError:
        raise RequestError(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body stopped for {STALLED_SECONDS:g} s, or came too slowly, and was given up:"
            " send it again",
        ) from None
    except (web.RequestPayloadError, ClientError, ConnectionError) as error:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "the body broke off or is not framed as HTTP/1.1 wants it: send it again",
        ) from error


def _refuse_dribble(size: int, seconds: float) -> None:
    """Raise TimeoutError where a body comes so slowly that it only takes room."""
    if size < (seconds - STALLED_SECONDS) * RATE_MIN:
        raise TimeoutError


def _spool(directory: Path | None) -> IO[bytes]:
    """Make a file without a name; blocks."""
    try:
        return tempfile.TemporaryFile(dir=directory)
    except OSError as error:
        raise _no_room(error) from error


def _write(file: IO[bytes], data: bytearray) -> None:
    """Write a part and what is buffered before it; blocks."""
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> RequestError:
    return RequestError(
        HTTPStatus.INSUFFICIENT_STORAGE,
        f"cannot keep the body while it is worked on: {error.strerror or error}; see that the"
        " disk of --state has room",
    )
