"""HTTP over the control socket: each call returns an answer or raises one of our errors.

The only module of the command line that opens a socket. It uses only the standard
library, so that a verb starts fast. Owns the API's paths for rules and the shape of its
errors (RFC 9457). Does not interpret answers; that is up to the verbs, which call it.
Every method blocks.
"""

from __future__ import annotations

import contextlib
import errno
import grp
import http.client
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from xdpctl.errors import (
    ConflictError,
    NotFoundError,
    ServiceUnreachableError,
    UsageError,
    XdpctlError,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Query = Mapping[str, str] | Sequence[tuple[str, str]]

AGAIN = "; run the verb again"
"""What helps where a stream has broken; who opens it again by itself leaves it out."""

PAGE = 10_000
"""Rules in one page: the most that the service gives, because it walks its maps for each page."""

_TIMEOUT_SECONDS = 30.0
_LONG_TIMEOUT_SECONDS = 600.0  # the service sends nothing while it compares a million rules
_PART = 64 * 1024
_PATH_MAX = 107  # sun_path has 108 bytes with the zero at its end, unix(7)
_TEXT_SHOWN = 80  # of longer text the sentence itself quotes the start
_UCRED = struct.Struct("=3i")  # pid, uid, gid: unix(7)
_BUSY_TRIES = 20
_BUSY_SECONDS = 0.5


class _BusyError(XdpctlError):
    """The service already answers as many reads as it can at once."""


_BUSY = "busy"
"""The code of a refusal with 503 that is over soon; a frozen map and missing samples are not."""

_ERRORS: dict[int, type[XdpctlError]] = {
    404: NotFoundError,
    409: ConflictError,
}


class _UnixConnection(http.client.HTTPConnection):
    """An HTTP connection over a unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path instead of a host.

        Blocks, with the time-out of the kernel: a non-blocking connect(2) would fail at once
        (EAGAIN) when the queue of the socket is full, instead of waiting.

        Raises:
            TimeoutError: the queue was full for the whole time-out.
        """
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        seconds = float(self.timeout or 0)
        limit = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            self.sock.connect(str(self._path))
        except BlockingIOError as error:
            raise TimeoutError(errno.ETIMEDOUT, "the queue of the socket stayed full") from error
        self.sock.settimeout(self.timeout)


class Client:
    """The service behind a control socket.

    Args:
        path: the socket.
        timeout: a call fails after this many seconds without any data.
    """

    def __init__(self, path: Path, timeout: float = _TIMEOUT_SECONDS) -> None:
        self.path = path
        self._timeout = timeout

    def get(self, path: str, query: Query | None = None) -> dict[str, Any]:
        """Return the document at `path`; errors as in `call`.

        While the service is busy with other reads, it tries again for some seconds.
        """
        for _ in range(_BUSY_TRIES):
            try:
                return self.call("GET", path, query)
            except _BusyError:
                time.sleep(_BUSY_SECONDS)
        return self.call("GET", path, query)

    def post(self, path: str, body: object = None, query: Query | None = None) -> dict[str, Any]:
        """Send `body` as JSON and return the answer; errors as in `call`."""
        return self.call("POST", path, query, body)

    def delete(self, path: str, query: Query) -> dict[str, Any]:
        """Delete the rules that `query` selects and return the answer; errors as in `call`."""
        return self.call("DELETE", path, query)

    def rules(self, query: Mapping[str, str]) -> Iterator[list[dict[str, Any]]]:
        """Yield the rules that `query` selects, page by page; errors as in `call`."""
        cursor: str | None = None
        while True:
            page = {**query, "limit": str(PAGE), **({} if cursor is None else {"cursor": cursor})}
            answer = self.get("/api/v1/rules", page)
            yield answer.get("rules", [])
            cursor = answer.get("next")
            if cursor is None:
                return

    def call(
        self,
        method: str,
        path: str,
        query: Query | None = None,
        body: object = None,
    ) -> dict[str, Any]:
        """Make one call.

        Raises:
            ServiceUnreachableError: nobody listens on the socket.
            NotFoundError, ConflictError: 404 and 409.
            XdpctlError: everything else, also a missing permission.
        """
        headers = {"Accept": "application/json"}
        content = None
        if method == "POST":
            content = b"" if body is None else json.dumps(body).encode()
            headers["Content-Type"] = "application/json"
        with self._calling(method, _target(path, query), content, headers) as response:
            return self._answer(response.status, response.read())

    def upload(self, path: str, query: Query, parts: Iterable[bytes]) -> Iterator[dict[str, Any]]:
        """Send text in parts, and yield the documents of the answer, one for each line.

        Args:
            path: the path to post to.
            query: its parameters.
            parts: sent one by one; an error from it ends the call.

        Raises:
            As `call`.
        """
        headers = {"Accept": "application/x-ndjson", "Content-Type": "text/plain; charset=utf-8"}
        with self._calling(
            "POST", _target(path, query), parts, headers, timeout=_LONG_TIMEOUT_SECONDS
        ) as response:
            if response.status >= http.client.BAD_REQUEST:
                self._answer(response.status, response.read())
            while line := response.readline():
                document = self._document(response.status, line)
                if isinstance(problem := document.get("problem"), dict):
                    raise _error(int(problem.get("status") or 0), problem)
                yield document

    def download(self, path: str, query: Query) -> Iterator[bytes]:
        """Yield the text at `path` in parts; errors as in `call`."""
        headers = {"Accept": "text/plain"}
        with self._calling(
            "GET", _target(path, query), None, headers, timeout=_LONG_TIMEOUT_SECONDS
        ) as response:
            if response.status >= http.client.BAD_REQUEST:
                self._answer(response.status, response.read())
            while part := response.read(_PART):
                yield part
            if response.length:  # bytes are missing, which read() does not report
                raise http.client.IncompleteRead(b"", response.length)

    def events(self, path: str, query: Query) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name and the document of each event of a stream, as they come.

        The service sends something every second, and last the event `end` with the reason.

        Raises:
            As `call`. XdpctlError: the service has ended the stream.
        """
        headers = {"Accept": "text/event-stream"}
        with (
            self._calling("GET", _target(path, query), None, headers) as response,
            contextlib.closing(response),
        ):
            if response.status >= http.client.BAD_REQUEST:
                self._answer(response.status, response.read())
            try:
                yield from self._events_of(response)
            except (http.client.IncompleteRead, ConnectionError) as error:
                raise XdpctlError(
                    "the stream has ended: it was not read for ten seconds, or the service was"
                    f" killed{AGAIN}"
                ) from error

    def _events_of(
        self, response: http.client.HTTPResponse
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        name = ""
        while line := response.readline():
            field, _, value = line.rstrip(b"\n").partition(b": ")
            if field == b"event":
                name = value.decode()
            elif field == b"data":
                document = self._document(response.status, value)
                if name == "end":
                    raise XdpctlError(f"the stream has ended: {document.get('detail')}")
                yield name, document
        raise http.client.IncompleteRead(b"")

    @contextlib.contextmanager
    def _calling(
        self,
        method: str,
        target: str,
        content: bytes | Iterable[bytes] | None,
        headers: dict[str, str],
        *,
        timeout: float | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """Make one call and give the answer, before its body is read.

        Raises:
            ServiceUnreachableError: nobody listens on the socket.
            XdpctlError: no permission, no answer, or an incomplete answer.
        """
        headers["Connection"] = "close"
        headers["User-Agent"] = "xdpctl"
        patience = max(self._timeout, timeout or 0) if timeout else self._timeout
        with contextlib.closing(_UnixConnection(self.path, patience)) as connection:
            self._connect(connection)
            try:
                # The service may refuse, and close the connection, before it has read everything.
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.request(
                        method,
                        target,
                        content,
                        headers,
                        encode_chunked=not isinstance(content, bytes | None),
                    )
                yield connection.getresponse()
            except TimeoutError as error:
                raise XdpctlError(
                    f"the service on {self.path} accepted the call but did not answer within"
                    f" {patience:g} s: see its log, and restart it if it hangs"
                ) from error
            except (http.client.HTTPException, OSError) as error:
                raise XdpctlError(
                    f"the service on {self.path} closed the connection before its answer was"
                    f" complete ({type(error).__name__}): see its log"
                ) from error

    def process(self) -> int | None:
        """Return the number that the service's process has here; None: it is not visible here.

        The service's own number (status) may be one of another PID namespace.

        Raises:
            As `call`.
        """
        with contextlib.closing(_UnixConnection(self.path, self._timeout)) as connection:
            self._connect(connection)
            raw = connection.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        return int(_UCRED.unpack(raw)[0]) or None

    def _connect(self, connection: _UnixConnection) -> None:
        if self.path == Path():
            raise UsageError("cannot use an empty path as the control socket: see --control")
        if len(os.fsencode(self.path)) > _PATH_MAX:
            raise UsageError(
                f"cannot use {self.path} as the control socket: the path of a socket can have at"
                f" most {_PATH_MAX} bytes"
            )
        try:
            connection.connect()
        except PermissionError as error:
            raise XdpctlError(
                f"cannot talk to the service on {self.path}: permission denied;"
                f" {_who_may(self.path)}"
            ) from error
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise ServiceUnreachableError(
                f"no service answers on {self.path} ({error.strerror}): start one with"
                " `xdpctl --interface NAME`, or give its socket with --control or XDPCTL_CONTROL"
            ) from error
        except OSError as error:
            raise XdpctlError(
                f"cannot talk to the service on {self.path}: {error.strerror or error}"
            ) from error

    def _answer(self, status: int, content: bytes) -> dict[str, Any]:
        document = self._document(status, content)
        if status < http.client.BAD_REQUEST:
            return document
        raise _error(status, document)

    def _document(self, status: int, content: bytes) -> dict[str, Any]:
        try:
            document = json.loads(content)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise XdpctlError(
                f"the program that answers on {self.path} is not xdpctl (HTTP {status}): give the"
                " service's own socket with --control or XDPCTL_CONTROL"
            )
        return document


def _target(path: str, query: Query | None) -> str:
    if not query:
        return path
    try:
        return f"{path}?{urlencode(query)}"
    except UnicodeEncodeError as error:
        raise UsageError(
            f"cannot use {error.object!r}: it is not UTF-8; write an octet of a name as a backslash"
            " and three digits, as in \\255.example"
        ) from error


def _error(status: int, problem: Mapping[str, Any]) -> XdpctlError:
    code = problem.get("code")
    kind = _BusyError if code == _BUSY else _ERRORS.get(status, XdpctlError)
    error = kind(_sentence(status, problem))
    if isinstance(code, str):
        error.code = code
    return error


def _sentence(status: int, problem: Mapping[str, Any]) -> str:
    """Return the sentence of a problem document, with the offending text."""
    detail = problem.get("detail") or problem.get("title") or "no reason given"
    sentence = str(detail) if problem.get("detail") else f"the service refused ({status}: {detail})"
    text = problem.get("text")
    if isinstance(text, str) and 0 < len(text) <= _TEXT_SHOWN and text not in sentence:
        field = problem.get("field") or "text"
        sentence = f"{sentence} ({field}: {text})"
    done = problem.get("done")
    if status == http.client.INSUFFICIENT_STORAGE and isinstance(done, int) and done:
        entries = "entry was" if done == 1 else "entries were"
        sentence = f"{sentence}; {done:,} {entries} written before"
    return sentence


def _who_may(path: Path) -> str:
    """Return who can use a socket, as the end of a sentence."""
    for place, bit in ((path, stat.S_IWGRP), (path.parent, stat.S_IXGRP)):
        try:
            found = place.stat()
        except OSError:
            continue
        if found.st_gid == 0 or not found.st_mode & bit:
            break
        try:
            name = grp.getgrgid(found.st_gid).gr_name
        except KeyError:
            name = str(found.st_gid)
        return f"only root and the members of group {name} can use it"
    return "only root can use it, or the group that the service's --control-group gives it to"
