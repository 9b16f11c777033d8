"""A service that is none: canned answers on a unix socket, and what was asked of it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "pid": 4711,
    "ready": True,
    "reasons": [],
    "panic": False,
    "started": 1_000_000.0,
    "interfaces": [
        {
            "name": "eth0",
            "index": 2,
            "state": "attached",
            "mode": "native",
            "program_id": 42,
            "tag": "0011223344556677",
            "reattached": 0,
            "queues": 4,
            "xskmap": None,
            "counters": [],
        }
    ],
    "maps": [],
    "destinations": [],
    "warnings": [],
}


@dataclass(frozen=True)
class Request:
    """One request as it arrived; its body as JSON says, or text where it is plain text."""

    method: str
    path: str
    query: list[tuple[str, str]]
    body: Any


@dataclass
class FakeService:
    """Answers by (method, path); the last one given is repeated."""

    path: Path
    answers: dict[tuple[str, str], list[tuple[int, Any]]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)

    def answer(self, method: str, path: str, document: object, status: int = 200) -> None:
        """Add an answer; bytes are sent as they are."""
        self.answers.setdefault((method, path), []).append((status, document))

    def refuse(self, method: str, path: str, status: int, **problem: object) -> None:
        """Add a problem document (RFC 9457)."""
        document = {"type": "about:blank", "title": "Refused", "status": status, **problem}
        self.answer(method, path, document, status)

    def take(self, request: Request) -> tuple[int, Any]:
        """Note a request and return its answer."""
        self.requests.append(request)
        prepared = self.answers.get((request.method, request.path))
        if not prepared:
            return 404, {"title": "Not Found", "status": 404, "detail": "no answer was prepared"}
        return prepared.pop(0) if len(prepared) > 1 else prepared[0]


@contextmanager
def running(path: Path) -> Iterator[FakeService]:
    """Serve on a socket at `path` until the block ends."""
    service = FakeService(path)

    class Handler(BaseHTTPRequestHandler):
        def handle_one(self) -> None:
            parts = urlsplit(self.path)
            try:
                body: Any = self.read_body().decode()
            except ValueError:  # the client left in the middle: there was no request
                self.close_connection = True
                return
            if self.headers.get_content_type() != "text/plain" or not body:
                body = json.loads(body or "null")
            request = Request(self.command, parts.path, parse_qsl(parts.query), body)
            status, document = service.take(request)
            content = document if isinstance(document, bytes) else json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = do_DELETE = handle_one  # noqa: N815 - the standard library's names

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    path.parent.mkdir(parents=True, exist_ok=True)
    with ThreadingUnixStreamServer(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield service
        finally:
            server.shutdown()
            thread.join()
            path.unlink()
