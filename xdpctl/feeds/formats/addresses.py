"""The addresses in a list, in any spelling.

Owns what counts as an address in a line, and which addresses lead nowhere, so that a hosts file or
a server's setting blocks a name with them. `::0` and `0:0:0:0:0:0:0:1` are `::` and `::1` (RFC
4291, 2.2). Called by detection.py and by the formats.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

_NOWHERE = frozenset(map(ip_address, ("0.0.0.0", "0.0.0.1", "127.0.0.1", "::", "::1")))  # noqa: S104 - not bound to
_ZERO = "0"
"""0.0.0.0, as inet_aton(3) reads it; some hosts files have it."""


@lru_cache(maxsize=256)
def is_address(text: str) -> bool:
    """Return whether this can be the address in a line of a hosts file."""
    if text == _ZERO:
        return True
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=256)
def leads_nowhere(text: str) -> bool:
    """Return whether this is an address that a list uses to block a name."""
    if text == _ZERO:
        return True
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        address = address.ipv4_mapped or address
    return address in _NOWHERE


def is_source(text: str) -> bool:
    """Return whether this is an address or prefix, also one with host bits."""
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True
