"""How much of the address space the prefixes of a list cover together.

The guard looks at one rule: it holds back a prefix that is too short, but 256 prefixes of /8 are
the whole of IPv4. A list covers at most `LIST_MAX`, half of IPv4 and half of the global unicast
addresses of IPv6 (2000::/3), unless an operator accepts it; the clients that a list exempts from
every rule are at most `EXEMPT_MAX`, some times the largest private network. Pure. Called by
store/bulk.py and feeds/.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import TABLE_EXACT
from xdpctl.errors import WideListError
from xdpctl.rules.guard import SHORTEST
from xdpctl.rules.keys import LIST_SOURCES_REF, Block

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ipaddress import IPv4Network, IPv6Network

    from xdpctl.rules.keys import Rows

_V4, _V6 = 4, 6
_BUCKET_BITS = 8
_BUCKETS = 1 << _BUCKET_BITS
"""Into how many buckets each of the shortest prefixes is divided: /16 within /8, /24 within /16."""

_LEAST = {_V4: 24, _V6: 48}
"""Longer prefixes are not counted: a list has too few of them to cover much."""


class Reach(NamedTuple):
    """What is covered, counted in the shortest prefixes that the guard lets pass: /8 and /16."""

    v4: float = 0.0
    v6: float = 0.0

    def beside(self, other: Reach) -> Reach:
        """Return what both cover, if they have nothing in common."""
        return Reach(self.v4 + other.v4, self.v6 + other.v6)

    def or_more(self, other: Reach) -> Reach:
        """Return the larger one, by IP version."""
        return Reach(max(self.v4, other.v4), max(self.v6, other.v6))

    def beyond(self, most: Reach) -> str:
        """Return what is more than `most`, as a part of a sentence; empty: nothing."""
        for version, now, allowed in ((_V4, self.v4, most.v4), (_V6, self.v6, most.v6)):
            if now > allowed:
                length = SHORTEST[version]
                return (
                    f"as much as {_text(now)} prefixes of /{length}; {_text(allowed)} are the most"
                )
        return ""


NO_REACH = Reach()
LIST_MAX = Reach(128.0, 4096.0)
EXEMPT_MAX = Reach(4.0, 4.0)


class ReachMeter:
    """Adds up prefixes, whatever their action.

    Those within one bucket, /16 (IPv6: /24), count at most as that; up to there, what lies within
    another one counts twice. Takes no more memory than the prefixes, whatever they cover.
    """

    def __init__(self) -> None:
        self._whole: dict[int, dict[int, int]] = {_V4: {}, _V6: {}}
        """By IP version and shortest prefix: a bit for each of its buckets that is covered."""

        self._parts: dict[int, dict[int, int]] = {_V4: {}, _V6: {}}
        """By IP version and bucket: how much of it, in prefixes of `_LEAST`."""

    @property
    def reach(self) -> Reach:
        """What was added so far."""
        return Reach(self._covered(_V4), self._covered(_V6))

    def _covered(self, version: int) -> float:
        whole = self._whole[version]
        full = 1 << (_LEAST[version] - SHORTEST[version])
        covered = sum(map(int.bit_count, whole.values())) * (full // _BUCKETS)
        for bucket, part in self._parts[version].items():
            if not whole.get(bucket // _BUCKETS, 0) >> bucket % _BUCKETS & 1:
                covered += min(part, full // _BUCKETS)
        return covered / full

    def passing(self, rows: Iterable[Rows]) -> Iterator[Rows]:
        """Yield rows, and add the prefixes of lists among them."""
        for part in rows:
            if isinstance(part, Block):
                if part.ref == LIST_SOURCES_REF:
                    self._add_keys(part.keys)
            elif part[0] == LIST_SOURCES_REF:
                self._add_keys(part[1:2])
            yield part

    def _add_keys(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            if (length := key[1]) != TABLE_EXACT:
                self.add(key[0], int.from_bytes(key[2:6].ljust(4, b"\0")), length)

    def add(self, version: int, start: int, length: int) -> None:
        """Add a prefix by the first 32 bits of its address."""
        shortest, least = SHORTEST[version], _LEAST[version]
        first, whole = start >> (32 - shortest), self._whole[version]
        if length > least:
            return
        if length <= shortest:
            every = (1 << _BUCKETS) - 1
            whole.update(dict.fromkeys(range(first, first + (1 << shortest - length)), every))
            return
        bits = shortest + _BUCKET_BITS
        bucket = start >> (32 - bits)
        if length <= bits:
            covered = (1 << (1 << bits - length)) - 1
            whole[first] = whole.get(first, 0) | covered << bucket % _BUCKETS
        else:
            parts = self._parts[version]
            parts[bucket] = parts.get(bucket, 0) + (1 << least - length)


def reach_of(networks: Iterable[IPv4Network | IPv6Network]) -> Reach:
    """Return what some prefixes cover together."""
    meter = ReachMeter()
    for network in networks:
        first = int.from_bytes(network.network_address.packed[:4])
        meter.add(network.version, first, network.prefixlen)
    return meter.reach


def refuse_wide(what: str, reach: Reach, most: Reach) -> None:
    """Refuse a list of which `what` covers too much.

    Raises:
        WideListError: it does.
    """
    if beyond := reach.beyond(most):
        raise WideListError(f"{what} {beyond}")


def _text(number: float) -> str:
    """Return a number, rounded up, so that one that is too large never looks as if it were not."""
    return f"{math.ceil(10 * number) / 10:,.1f}".removesuffix(".0")
