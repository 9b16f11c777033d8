"""Finds where a request's head and body end, and rejects malformed heads before aiohttp.

aiohttp parses the requests that pass these checks. Its versions differ in what they accept and in
how they fail (an exception, or an unbounded queue of further requests). So this module reads RFC
9112 strictly and passes on one request at a time. Pure: no sockets, no time. Called by gate.py.
Owns these checks.
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
_PATH = re.compile(rb"/.*")
_URL = re.compile(  # absolute-form: scheme, authority without user info, path and query
    rb"(?i:https?)://((?:\[[0-9A-Za-z:.%_~-]+\]|[0-9A-Za-z.%_~!$&'()*+,;=-]+)(?::[0-9]*)?)"
    rb"((?:[/?].*)?)"
)
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_LENGTH = re.compile(rb"[0-9]{1,15}")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,12})[ \t]*(?:;[^\r\n]*)?\r\n")

NOT_HTTP = (
    "cannot read the request as HTTP/1.1: its first line or a header is too long or contains"
    " bytes that are not allowed there"
)


@dataclass(frozen=True, slots=True)
class Head:
    """A head, and where its request ends.

    Attributes:
        text: its octets as aiohttp gets them. `Upgrade` headers are removed: the service
            speaks no other protocol, and aiohttp would read what follows as one. A URL as the
            target is split into the path and the `Host` header.
        length: octets of the body; None if it comes in chunks.
    """

    text: bytes
    length: int | None


def end_of_head(data: bytes | bytearray) -> int:
    """Return the length of the head at the beginning of `data`; 0 if it has not ended."""
    found = _END.search(data, 0, HEAD_MAX + 4)
    return found.end() if found else 0


def too_long(data: bytes | bytearray) -> RequestError:
    """Return the error for a head that is too long: its first line, or its headers."""
    if data.find(b"\n", 0, FIRST_LINE_MAX) < 0:
        return _bad()
    return RequestError(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        f"cannot accept a head of more than {HEAD_MAX:,} bytes: send fewer or shorter headers",
    )


def read_head(head: bytes) -> Head:
    """Return the head as aiohttp gets it, and where its request ends.

    Raises:
        RequestError: the head is not valid HTTP/1.1, or asks for a proxy.
    """
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    request = _REQUEST.fullmatch(first)
    if request is None or not head.endswith(b"\r\n\r\n"):
        raise _bad()
    path, authority = _read_target(request[1], request[2])
    given: dict[bytes, list[bytes]] = {}
    for line in lines:
        field = _FIELD.fullmatch(line)
        if field is None:
            raise _bad()
        given.setdefault(field[1].lower(), []).append(field[2].rstrip(b" \t"))
    hosts = len(given.get(b"host", ()))
    if hosts > 1 or (not hosts and request[3] == b"1"):
        raise _bad()
    if authority:  # RFC 9112, 3.2.2: it replaces the Host header
        first = b"%s %s HTTP/1.%s" % (request[1], path, request[3])
        lines = [b"Host: " + authority, *_without(b"host:", lines)]
    if b"upgrade" in given:
        lines = _without(b"upgrade:", lines)
    if authority or b"upgrade" in given:
        head = b"\r\n".join((first, *lines, b"", b""))
    return Head(head, _length(given.get(b"content-length"), given.get(b"transfer-encoding")))


def _without(name: bytes, lines: list[bytes]) -> list[bytes]:
    return [line for line in lines if not line.lower().startswith(name)]


def _length(lengths: list[bytes] | None, codings: list[bytes] | None) -> int | None:
    """Return the length of a body from its headers; None if it comes in chunks.

    Raises:
        RequestError: the headers are ambiguous.
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


def _read_target(method: bytes, target: bytes) -> tuple[bytes, bytes]:
    """Return a request's path with its query, and the authority of its URL or nothing.

    Whether that authority is one of this service is decided by auth.py, as for `Host`.

    Raises:
        RequestError: the target is neither a path nor a URL (RFC 9112, 3.2.1 and 3.2.2), or
            the method is CONNECT.
    """
    if method == b"CONNECT":
        raise RequestError(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "cannot connect to another host: this is not a proxy; request a path of this service",
        )
    if _PATH.fullmatch(target):
        return target, b""
    url = _URL.fullmatch(target)
    if url is None:
        raise RequestError(
            HTTPStatus.BAD_REQUEST,
            "cannot use the request target: it is neither a path that begins with / nor an"
            " http URL; /api/v1/openapi.json lists the paths",
        )
    return url[2] if url[2].startswith(b"/") else b"/" + url[2], url[1]


def _bad() -> RequestError:
    return RequestError(HTTPStatus.BAD_REQUEST, NOT_HTTP)


class BodyEnd:
    """Finds the end of one request's body in the data that arrives.

    Args:
        length: octets; None if the body comes in chunks.

    Attributes:
        ended: whether the whole body has arrived.
    """

    def __init__(self, length: int | None) -> None:
        self._left = length or 0
        self._chunked = length is None
        self._line = b""
        self._trailing = False
        self._trailers = 0
        self.ended = length == 0

    def take(self, data: bytes) -> int:
        """Return how many octets at the beginning of `data` belong to the body.

        Raises:
            RequestError: the chunks are not framed correctly.
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
        """Read the line before a chunk, CRLF included, or a trailer line."""
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
            self._left = chunk + 2  # with the CRLF after it
        else:
            self._trailing = True
