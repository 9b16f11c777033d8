"""Where a request's head and body end, and which heads are refused before they are parsed.

aiohttp parses what passes here. Its versions differ in what they let through and in what
they do with it (an exception, a second request in the queue without a bound); so one
request at a time is cut out here, by the strict reading of RFC 9112. Pure: no sockets, no
time. Called by gate.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

from xdpctl.http.refusals import RequestError

HEAD_MAX = 32 * 1024
"""Octets of a whole head: request line and all headers."""

FIRST_LINE_MAX = 8190
"""Octets of the request line; aiohttp's bound."""

_LINE_MAX = 1024
"""Octets of the line before a chunk."""

_END = re.compile(rb"\n\r?\n")
_REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_TARGET = re.compile(rb"(/.*)")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n")

NOT_HTTP = (
    "cannot read the request as HTTP/1.1: its first line or a header is too long or has bytes"
    " that may not be there"
)


@dataclass(frozen=True, slots=True)
class Head:
    """A head, and where its request ends.

    Attributes:
        text: its octets, but for an `Upgrade`: no other protocol is spoken here, and aiohttp
            would take what follows for one.
        length: octets of the body; None: it comes in chunks.
    """

    text: bytes
    length: int | None


def end_of_head(data: bytes | bytearray) -> int:
    """Return the octets of the head that `data` begins with; 0: it has not ended."""
    found = _END.search(data, 0, HEAD_MAX + 4)
    return found.end() if found else 0


def too_long(data: bytes | bytearray) -> RequestError:
    """Return the error of a head without an end: of its first line, or of its headers."""
    if data.find(b"\n", 0, FIRST_LINE_MAX) < 0:
        return _bad()
    return RequestError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"cannot take a head of more than {HEAD_MAX:,} bytes: send fewer or shorter headers",
    )


def read_head(head: bytes) -> Head:
    """Return where the request of this whole head ends.

    Raises:
        RequestError: it is not HTTP/1.1, or not for this server.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None or not head.endswith(b"\r\n\r\n"):
        raise _bad()
    _refuse_target(request[1], request[2])
    given: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _bad()
        given.setdefault(field[1].lower(), []).append(field[2].rstrip(b" \t"))
    hosts = len(given.get(b"host", ()))
    if hosts > 1 or (not hosts and request[3] == b"1"):
        raise _bad()
    if b"upgrade" in given:
        lines = [line for line in lines if not line.lower().startswith(b"upgrade:")]
        head = b"\r\n".join((first, *lines, b"", b""))
    return Head(head, _length(given.get(b"content-length"), given.get(b"transfer-encoding")))


def _length(lengths: list[bytes] | None, codings: list[bytes] | None) -> int | None:
    """Return the length of a body by its headers' values; None: it comes in chunks.

    Raises:
        RequestError: they can be read in two ways.
    """
    if codings:
        if lengths or len(codings) > 1 or codings[0].lower() != b"chunked":
            raise _bad()
        return None
    if lengths is None:
        return 0
    if len(lengths) > 1 or not _LENGTH.fullmatch(lengths[0]):
        raise _bad()
    return int(lengths[0])


def _refuse_target(method: bytes, target: bytes) -> None:
    """Refuse a proxy's requests, and those for a server as a whole.

    Raises:
        RequestError: the target is not a path.
    """
    if method == b"CONNECT":
        raise RequestError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "cannot connect to another host: this is not a proxy; ask for a path of this service",
        )
    if _TARGET.fullmatch(target) is None:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "cannot take the request's target: it is not a path that begins with /;"
            " /api/v1/openapi.json lists the paths",
        )


def _bad() -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, NOT_HTTP)


class BodyEnd:
    """How much of what arrives is still of one request's body.

    Args:
        length: octets; None: it comes in chunks.

    Attributes:
        ended: whether the whole body was seen.
    """

    def __init__(self, length: int | None) -> None:
        self._left = length or 0
        self._chunked = length is None
        self._line = b""
        self._trailing = False
        self._trailers = 0
        self.ended = length == 0

    def take(self, data: bytes) -> int:
        """Return how many octets of `data`, from its beginning, are the body's.

        Raises:
            RequestError: the chunks are not framed as they must be.
        """
        taken = 0
        while taken < len(data) and not self.ended:
            if self._left:
                part = min(self._left, len(data) - taken)
                self._left -= part
                taken += part
                self.ended = not self._chunked and not self._left
                continue
            found = data.find(b"\n", taken)
            end = found + 1 or len(data)
            self._line += data[taken:end]
            taken = end
            if len(self._line) > _LINE_MAX:
                raise _bad()
            if found >= 0:
                self._read_line()
        return taken

    def _read_line(self) -> None:
        """Take the line before a chunk with its CRLF, or one of the trailers."""
        line, self._line = self._line, b""
        if self._trailing:
            self._trailers += len(line)
            self.ended = line == b"\r\n"
            if self._trailers > HEAD_MAX:
                raise _bad()
            return
        size = _SIZE.fullmatch(line)
        if size is None:
            raise _bad()
        chunk = int(size[1], 16)
        if chunk:
            self._left = chunk + 2  # the CRLF behind it
        else:
            self._trailing = True
