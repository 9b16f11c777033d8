"""The web page: the files below page/, read once, and the headers that they are served with.

The files are static: they hold no data and need no token. What they show comes through the API. A
browser may load nothing from elsewhere, and nothing may show the page inside another one. Owns the
files and their headers. Does not own `/`, which is landing.py's where there is no page. Called by
http/app.py.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.http.problems import problem
from xdpctl.rules.names import shown

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "page"

INDEX = "index.html"

_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
"""What is served; licences and checksums are not."""

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'"
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file of the page.

    Attributes:
        body: its bytes.
        content_type: its media type, without parameters.
        etag: changes when the file does.
    """

    body: bytes
    content_type: str
    etag: str

    def answer(self, request: web.Request) -> web.Response:
        """Return the file, or 304 if the browser has it."""
        known = request.headers.get("If-None-Match", "")
        if self.etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}:
            return web.Response(status=304, headers={**_HEADERS, "ETag": self.etag})
        return web.Response(
            body=self.body,
            content_type=self.content_type,
            charset="utf-8",
            headers={**_HEADERS, "ETag": self.etag},
        )


class StaticPage:
    """The files by their paths below PAGE_PREFIX."""

    def __init__(self, files: Mapping[str, StaticFile]) -> None:
        self._files = files

    @classmethod
    def read(cls, folder: Path = FOLDER) -> StaticPage:
        """Read the files; they are a hundred kilobytes. Blocks."""
        return cls(
            {
                str(path.relative_to(folder)): _file(path)
                for path in folder.rglob("*")
                if path.suffix in _TYPES
            }
        )

    async def index(self, request: web.Request) -> web.Response:
        """GET /: the page."""
        return self._files[INDEX].answer(request)

    async def file(self, request: web.Request) -> web.Response:
        """GET /page/NAME: a file of it."""
        found = self._files.get(request.match_info["name"])
        if found is None:
            return problem(HTTPStatus.NOT_FOUND, f"the page has no file {shown(request.path)}")
        return found.answer(request)


def _file(path: Path) -> StaticFile:
    body = path.read_bytes()
    return StaticFile(body, _TYPES[path.suffix], f'"{hashlib.sha256(body).hexdigest()[:32]}"')
