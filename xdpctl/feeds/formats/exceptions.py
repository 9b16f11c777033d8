"""What a list itself excepts from the zones that it blocks.

Owns which excepted names are below a zone, and which zones are below an excepted one. Every
exception has to be known before the first zone comes, because their order in a list means
nothing; zones are not kept. Names are octets as stored keys have them, without the root byte.
Called by adblock.py, dnsmasq.py and unbound.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import ZoneScope

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL, SELF = ZoneScope.ALL, ZoneScope.SELF


class Exceptions:
    """The excepted names of one list, each with what it covers."""

    def __init__(self) -> None:
        self._scopes: dict[bytes, set[ZoneScope]] = {}
        self._below: dict[bytes, list[tuple[bytes, ZoneScope]]] = {}

    def __bool__(self) -> bool:
        return bool(self._scopes)

    def add(self, octets: bytes, scope: ZoneScope) -> None:
        """Take an exception."""
        scopes = self._scopes.setdefault(octets, set())
        if scope in scopes:
            return
        scopes.add(scope)
        for above in _chain(octets):
            if above != octets or scope is SELF:
                self._below.setdefault(above, []).append((octets, scope))

    def has(self, octets: bytes, scope: ZoneScope) -> bool:
        """Return whether exactly this is excepted."""
        return scope in self._scopes.get(octets, ())

    def below(self, octets: bytes) -> Iterator[tuple[bytes, ZoneScope]]:
        """Yield what is excepted from a zone: names at or below it, zones below it."""
        yield from self._below.get(octets, ())

    def cover(self, octets: bytes, scope: ZoneScope) -> bool:
        """Return whether an excepted name or zone covers all of this name or zone."""
        own = self._scopes.get(octets, ())
        if ALL in own or scope in own:
            return True
        while octets:
            octets = octets[octets[0] + 1 :]
            above = self._scopes.get(octets)
            if above is not None and above != {SELF}:
                return True
        return False


def _chain(octets: bytes) -> Iterator[bytes]:
    """Yield a name and all that are above it, the root last."""
    yield octets
    while octets:
        octets = octets[octets[0] + 1 :]
        yield octets
