"""What the limits are for: exact token buckets by prefix, the second model.

Owns rational numbers and dictionaries without end: nothing collides, nothing is rounded, and
time is in seconds. It knows nothing of words, tags, prices or ticks, and shares nothing with
the C or with limit_words.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fractions import Fraction
    from ipaddress import IPv4Network, IPv6Network

Address = IPv4Address | IPv6Address


@dataclass(slots=True)
class Bucket:
    """Tokens that come in at a rate and are at most `burst`.

    Attributes:
        rate: tokens a second.
        burst: room.
        tokens, since: what there was at a time in seconds.
    """

    rate: Fraction
    burst: Fraction
    tokens: Fraction
    since: Fraction

    def at(self, now: Fraction) -> Fraction:
        """Return the tokens at a time."""
        return min(self.burst, self.tokens + (now - self.since) * self.rate)

    def take(self, now: Fraction) -> None:
        """Take one token."""
        self.tokens, self.since = self.at(now) - 1, now


@dataclass(slots=True)
class Buckets:
    """A limit by source.

    Attributes:
        rate, burst: of the smallest prefix.
        levels4, levels6: (length, how many times the rate and burst).
        known: of each prefix, its bucket.
    """

    rate: Fraction
    burst: Fraction
    levels4: tuple[tuple[int, int], ...] = ((32, 1), (24, 32))
    levels6: tuple[tuple[int, int], ...] = ((64, 1), (48, 8))
    known: dict[IPv4Network | IPv6Network, Bucket] = field(default_factory=dict)

    def allows(self, source: Address, now: Fraction) -> bool:
        """Return whether every prefix of the source has a token."""
        return all(bucket.at(now) >= 1 for bucket in self._of(source, now))

    def take(self, source: Address, now: Fraction) -> None:
        """Take a token from each."""
        for bucket in self._of(source, now):
            bucket.take(now)

    def packet(self, source: Address, now: Fraction) -> bool:
        """Let a query come in; return whether it goes on."""
        goes_on = self.allows(source, now)
        if goes_on:
            self.take(source, now)
        return goes_on

    def _of(self, source: Address, now: Fraction) -> list[Bucket]:
        found = []
        for length, times in self.levels4 if source.version == 4 else self.levels6:
            prefix = ip_network((source, length), strict=False)
            if prefix not in self.known:
                burst = self.burst * times  # every prefix has more room in the same measure
                self.known[prefix] = Bucket(self.rate * times, burst, burst, now)
            found.append(self.known[prefix])
        return found
