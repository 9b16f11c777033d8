"""Receives a request's whole body, without blocking the loop and in little memory.

A small body stays in memory; a thread writes a large one to a file without a name. `100 Continue`
is sent only when a handler wants the body. http/api/rule_lists.py reads what is in it. Called by
the handlers. Owns the limits of a body.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import tempfile
import time
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

from aiohttp import web
from aiohttp.client_exceptions import ClientError
from aiohttp.http import HttpVersion11

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
"""Octets a second at which a body must arrive on average, after STALLED_SECONDS."""


async def later(_request: web.Request) -> None:
    """Accept an `Expect` header; `received` sends `100 Continue` if the body is wanted."""


@contextlib.asynccontextmanager
async def received(request: web.Request, longest: int = BODY_MAX) -> AsyncIterator[IO[bytes]]:
    """Yield the whole body, at most `longest` bytes, as a file positioned at its start.

    The file is closed at the end of the block.

    Raises:
        RequestError: the body is compressed, too long, incomplete or stalled, or the disk is
            full.
    """
    _refuse_unwanted(request, longest)
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").strip():
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0  # the response itself has not started
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
    """Reject a body that its headers show to be unusable."""
    coding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if coding not in {"", "identity"}:
        raise RequestError(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "cannot read a compressed body: send it uncompressed, without Content-Encoding",
        )
    if (request.content_length or 0) > longest:
        raise _too_long(longest)


def _too_long(longest: int) -> RequestError:
    return RequestError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"cannot accept a body of more than {longest:,} bytes: send it in several requests",
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
            f"the body stopped for {STALLED_SECONDS:g} s or arrived too slowly: send it again",
        ) from None
    except (web.RequestPayloadError, ClientError, ConnectionError) as error:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "the body is incomplete or not valid HTTP/1.1: send it again",
        ) from error


def _refuse_dribble(size: int, seconds: float) -> None:
    """Raise TimeoutError if a body arrives too slowly."""
    if size < (seconds - STALLED_SECONDS) * RATE_MIN:
        raise TimeoutError


def _spool(directory: Path | None) -> IO[bytes]:
    """Make a file without a name; blocks."""
    try:
        return tempfile.TemporaryFile(dir=directory)
    except OSError as error:
        raise _no_room(error) from error


def _write(file: IO[bytes], data: bytearray) -> None:
    """Write a part and everything buffered before it; blocks."""
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        raise _no_room(error) from error


def _no_room(error: OSError) -> RequestError:
    return RequestError(
        HTTPStatus.INSUFFICIENT_STORAGE,
        f"cannot store the body while it is processed: {error.strerror or error}; make room on"
        " the disk of --state",
    )
