"""Who may do what on which listener.

The control socket has everything: its file mode says who reaches it. On TCP the right
token gives everything; without one a loopback listener has reads, any other address
only metrics and health. Whoever lacks a right hears so before his body is read (auth.py).
"""

from __future__ import annotations

import ipaddress
import re
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC_PATHS = frozenset({"/metrics", "/healthz", "/readyz"})

_READS = frozenset({"GET", "HEAD"})
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::[0-9]*)?")


class Access(Enum):
    """What a listener gives to whoever reaches it."""

    EVERYTHING = auto()
    READS = auto()
    PUBLIC = auto()


def allowed(access: Access, method: str, path: str) -> bool:
    """Return whether a request needs no token."""
    if access is Access.EVERYTHING:
        return True
    if method not in _READS:
        return False
    return access is Access.READS or path in PUBLIC_PATHS


def is_cross_site(headers: Mapping[str, str]) -> bool:
    """Return whether a browser sent a request for a page of another site.

    Such a page reads no answer, but each of its requests costs one. `none` is what a person
    typed; a browser that does not say is known by an Origin that is not the host asked.
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
