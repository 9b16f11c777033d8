"""Asks a dnsdist's web server for its dynamic blocks.

Owns the request, the head of the answer and the bounds: time, octets. Does not own what the body
says (document.py). The key goes into the request and nowhere else. Runs on the loop, which only
receives: 64 KiB a step.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import DnsdistError, ForeignFileError
from xdpctl.kernel.provenance import read_secret, why_unread

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.settings import DnsdistSettings

KEY_MAX = 4_096
_STEP = 65_536
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: [^\r\n]*)?\r?\n")
_LENGTH = re.compile(rb"\ncontent-length:[ \t]*([0-9]{1,15})[ \t]*\r?\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\ntransfer-encoding:", re.IGNORECASE)
_VISIBLE = re.compile(rb"[\x21-\x7e]+")

_REFUSALS = {
    401: "it does not accept the key; is it the apiKey of setWebserverConfig, in key-file?",
    403: "it does not accept this address or key; see acl and apiKey of setWebserverConfig",
    404: "it has no dynamic blocks at this address; is it dnsdist's web server?",
}


@dataclass(frozen=True, slots=True)
class AnswerBounds:
    """What one answer may take.

    Attributes:
        connect: seconds until the connection is there.
        seconds: altogether.
        octets: of the body; 100,000 blocks are 10 to 12 million.
        head: octets of the head.
    """

    connect: float = 3.0
    seconds: float = 15.0
    octets: int = 64 << 20
    head: int = 32_768


@dataclass(frozen=True, slots=True)
class ApiKey:
    """The key, which is never shown."""

    secret: bytes = field(repr=False)


def read_api_key(path: Path) -> ApiKey:
    """Return the key in a file, without surrounding white space. Blocks.

    Raises:
        DnsdistError: the file is unreadable, others can read or change it, or it is not one key.
    """
    tried = f"cannot use key-file {path}"
    try:
        secret = read_secret(path, "choose another key", KEY_MAX + 2).strip()
    except ForeignFileError as error:
        raise DnsdistError(f"{tried}: {error.sentence}") from error
    except (OSError, ValueError) as error:
        helps = "write the API key of dnsdist's web server into it, mode 0600"
        raise DnsdistError(f"{tried}: {why_unread(error, helps)}") from error
    if not 0 < len(secret) <= KEY_MAX or not _VISIBLE.fullmatch(secret):
        raise DnsdistError(
            f"{tried}: it must hold one key of at most {KEY_MAX} visible ASCII characters, and"
            " nothing else"
        )
    return ApiKey(secret)


async def fetch(settings: DnsdistSettings, key: ApiKey | None, bounds: AnswerBounds) -> bytes:
    """Return the document of all dynamic blocks.

    Raises:
        DnsdistError: it is not to be had; half a sentence that says why, and what helps.
    """
    try:
        async with asyncio.timeout(bounds.seconds):
            return await _exchange(settings, key, bounds)
    except TimeoutError as error:
        raise DnsdistError(
            f"the answer is not whole after {bounds.seconds:g} seconds; is dnsdist overloaded?"
        ) from error
    except OSError as error:
        raise DnsdistError(f"the connection broke: {_reason(error)}") from error


async def _exchange(settings: DnsdistSettings, key: ApiKey | None, bounds: AnswerBounds) -> bytes:
    host, port = settings.address
    try:
        async with asyncio.timeout(bounds.connect):
            reader, writer = await asyncio.open_connection(host, port, limit=_STEP)
    except TimeoutError as error:
        raise DnsdistError(
            f"nothing answers within {bounds.connect:g} seconds; check the url and firewalls"
        ) from error
    except (OSError, UnicodeError) as error:
        raise DnsdistError(
            f"no connection: {_reason(error)}; does dnsdist run, with webserver() at this address?"
        ) from error
    try:
        writer.write(_request(settings, key))
        await writer.drain()
        body = await read_answer(reader, bounds)
    finally:
        writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return body


def _request(settings: DnsdistSettings, key: ApiKey | None) -> bytes:
    """Return the request; of version 1.0, so that the body comes as it is."""
    lines = [
        b"GET /jsonstat?command=dynblocklist HTTP/1.0",
        b"Host: " + settings.url.removeprefix("http://").encode("ascii"),
        b"Accept: application/json",
        b"Connection: close",
    ]
    if key is not None:
        lines.append(b"X-API-Key: " + key.secret)
    return b"\r\n".join([*lines, b"", b""])


async def read_answer(reader: asyncio.StreamReader, bounds: AnswerBounds) -> bytes:
    """Return the body of an answer; raises as `fetch`."""
    return await _body(reader, await _head(reader, bounds), bounds)


async def _head(reader: asyncio.StreamReader, bounds: AnswerBounds) -> bytes:
    """Return the head of an answer that has a body of use."""
    head = b""
    while not head.endswith((b"\n\r\n", b"\n\n")):
        try:
            line = await reader.readline()
        except ValueError as error:  # longer than the reader's limit
            raise DnsdistError(_NOT_HTTP) from error
        head += line
        if not line or len(head) > bounds.head:
            raise DnsdistError(_NOT_HTTP)
    status = _STATUS.match(head)
    if status is None:
        raise DnsdistError(_NOT_HTTP)
    number = int(status[1])
    if number != 200:  # noqa: PLR2004 - OK
        raise DnsdistError(_REFUSALS.get(number, f"it answers with HTTP status {number}"))
    if _CHUNKED.search(head):
        raise DnsdistError("it answers in a form that dnsdist does not use; ask dnsdist itself")
    return head


async def _body(reader: asyncio.StreamReader, head: bytes, bounds: AnswerBounds) -> bytes:
    length = _LENGTH.search(head)
    wanted = None if length is None else int(length[1])
    most = f"the answer has more than {bounds.octets:,} octets"
    if wanted is not None and wanted > bounds.octets:
        raise DnsdistError(most)
    body = bytearray()
    while wanted is None or len(body) < wanted:
        step = _STEP if wanted is None else min(_STEP, wanted - len(body))
        part = await reader.read(step)
        if not part:
            break
        body += part
        if len(body) > bounds.octets:
            raise DnsdistError(most)
    if wanted is not None and len(body) < wanted:
        raise DnsdistError("the connection ended before the answer was whole")
    return bytes(body)


_NOT_HTTP = "it does not speak HTTP; is it dnsdist's web server?"


def _reason(error: Exception) -> str:
    """Return the reason of an error of a connection, in one line."""
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())
