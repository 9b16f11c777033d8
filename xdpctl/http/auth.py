"""Who may do what on which listener.

The control socket has everything: its file mode says who reaches it. On TCP the right
token gives everything; without one a loopback listener has reads, any other address
only metrics and health. Whoever lacks a right hears so before his body is read.
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import stat
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from xdpctl.errors import ListenError
from xdpctl.http.problems import problem
from xdpctl.names import shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler, Middleware

PUBLIC_PATHS = frozenset({"/metrics", "/healthz", "/readyz"})
TOKEN_MIN, TOKEN_MAX = 8, 4096
"""Characters of a token; `openssl rand -hex 32` gives 64."""

_READS = frozenset({"GET", "HEAD"})
_VISIBLE = re.compile(rb"[\x21-\x7e]+")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


class Access(Enum):
    """What a listener gives to whoever reaches it."""

    EVERYTHING = auto()
    READS = auto()
    PUBLIC = auto()


class Token:
    """A bearer token (RFC 6750), which can be compared and not be seen."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def __repr__(self) -> str:
        return "Token([hidden])"

    def matches(self, authorization: str | None) -> bool:
        """Return whether an Authorization header carries it, in constant time."""
        scheme, _, given = (authorization or "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        found = given.strip(" ").encode("utf-8", "surrogateescape")
        return hmac.compare_digest(found, self._secret)


def read_token(path: Path) -> Token:
    """Return the token in a file; blank space around it is not part of it. Blocks.

    Raises:
        ListenError: unreadable, readable by others, or not one word that can be a token.
    """
    tried = f"cannot use --token-file {path}"
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise ListenError(f"{tried}: it is not a regular file; write the token into one")
            if status.st_mode & stat.S_IRWXO:
                raise ListenError(
                    f"{tried}: its mode {stat.S_IMODE(status.st_mode):04o} lets everybody on this"
                    f" machine use it; chmod o= {path}, and choose another token"
                )
            secret = file.read(TOKEN_MAX + 3).strip()
    except OSError as error:
        raise ListenError(
            f"{tried}: {error.strerror or error}; write a token into it, mode 0600"
        ) from error
    if not TOKEN_MIN <= len(secret) <= TOKEN_MAX or not _VISIBLE.fullmatch(secret):
        raise ListenError(
            f"{tried}: it must hold one token of {TOKEN_MIN} to {TOKEN_MAX} visible ASCII"
            f" characters and nothing else; `openssl rand -hex 32` gives one"
        )
    return Token(secret)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe that nobody writes must not stop a start


def allowed(access: Access, method: str, path: str) -> bool:
    """Return whether a request needs no token."""
    if access is Access.EVERYTHING:
        return True
    if method not in _READS:
        return False
    return access is Access.READS or path in PUBLIC_PATHS


def is_local(host: str) -> bool:
    """Return whether a Host header can come from somebody who means this machine.

    A browser can be led to a loopback address under a name of an attacker's, and the
    attacker's page then reads the answers (DNS rebinding). Such a request names that
    host; one that was meant names an address, localhost, or nothing.
    """
    found = _HOST.fullmatch(host.strip())
    if found is None:
        return False
    name = found[1].lower()
    if name in {"", "localhost", "localhost."}:
        return True
    try:
        ipaddress.ip_address(name.strip("[]").partition("%")[0])
    except ValueError:
        return False
    return True


def guard(access: Access, token: Callable[[], Token | None] = lambda: None) -> Middleware:
    """Return the middleware that refuses, before the body is read, what needs a token.

    Args:
        access: of the listener.
        token: gives the token that is in force, or None.
    """

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        if access is Access.EVERYTHING:
            return await handler(request)
        known = token()
        given = request.headers.get("Authorization")
        if known is not None and known.matches(given):
            return await handler(request)
        host = request.headers.get("Host", "")
        if access is Access.READS and not is_local(host):
            return _closing(
                HTTPStatus.MISDIRECTED_REQUEST,
                f"this is not served under the name {shown(host)}: use the address, localhost,"
                " or a token",
            )
        if allowed(access, request.method, request.path):
            return await handler(request)
        if known is None:
            helps = "the service has no --token-file: use the control socket"
        elif given is None:
            helps = "send Authorization: Bearer with it, or use the control socket"
        else:
            helps = "the one that was sent is not it"
        return _closing(
            HTTPStatus.UNAUTHORIZED,
            f"{request.method} {shown(request.path)} is not served here without the token: {helps}",
            {"WWW-Authenticate": "Bearer"},
        )

    return check


def _closing(
    status: HTTPStatus, detail: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Return a refusal that ends the connection: what else it carries is not wanted."""
    refusal = problem(status, detail, headers=headers)
    refusal.force_close()
    return refusal
