"""Who may do what on which listener.

The control socket allows everything: its file mode decides who can connect. On TCP the right token
allows everything. Without it, a loopback listener allows reads but those of clients' traffic, and
any other address only metrics, health and the static page at `/`. A request without permission is
rejected before its body is read (auth.py). Owns these rules. Does not own the token (token.py).
Called by auth.py.
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC_PATHS = frozenset({"/", "/metrics", "/healthz", "/readyz"})

PAGE_PREFIX = "/page/"
"""Of the files of the web page, which hold no data."""

TOKEN_PATHS = frozenset({"/api/v1/live", "/api/v1/samples"})
"""Reads that show who asks what: they need the token on loopback, too."""

_READS = frozenset({"GET", "HEAD"})
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


class Access(Enum):
    """What a listener allows without a token."""

    EVERYTHING = auto()
    READS = auto()
    PUBLIC = auto()


def allowed(access: Access, method: str, path: str) -> bool:
    """Return whether a request needs no token."""
    if access is Access.EVERYTHING:
        return True
    if method not in _READS:
        return False
    if path in PUBLIC_PATHS or path.startswith(PAGE_PREFIX):
        return True
    return access is Access.READS and path not in TOKEN_PATHS


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sent the request for a page of another site.

    Such a page cannot read the answers, but each of its requests takes effect. `none` means
    that a person typed the address. A browser that does not send Sec-Fetch-Site is recognised
    by an Origin other than the requested host.
    """
    site = headers.get("Sec-Fetch-Site")
    if site is not None and site.strip().lower() not in {"same-origin", "none"}:
        return True
    origin = headers.get("Origin")
    if origin is None:
        return False
    host = origin.strip().lower().partition("://")[2]
    return not host or host != headers.get("Host", "").strip().lower()


def is_local(host: str) -> bool:
    """Return whether a Host header is one of this machine: an address, localhost or empty.

    An attacker's name can resolve to a loopback address, and the attacker's page in a browser
    could then read the answers (DNS rebinding). Such a request has that name as its host.
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
