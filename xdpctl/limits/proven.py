"""The table of proven sources, read and written from outside the program (xdp/proven.h).

Owns the place and the form of a source in limit-proven, as its only reader in Python. Does not own
the map's pin, or who is proven when: the program, the operator's `prove` and `unprove`, and the
service, which takes its own addresses out. Called by service/. Nothing here blocks for long: the
table is memory that the program writes to, too.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING

from xdpctl.abi import decode_proven_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

WORDS = 8
"""Of a line."""

_TIME_BITS = 24
_TIME_MASK = (1 << _TIME_BITS) - 1
_TICK_SHIFT = 8
_TAG_MASK = (1 << 40) - 1
_U32 = (1 << 32) - 1
_U64 = (1 << 64) - 1


def lifetime_units(seconds: float, ticks_per_second: int) -> int:
    """Return a lifetime as the program takes it, in 256 ticks; at most half of what it counts."""
    units = round(seconds * ticks_per_second) >> _TICK_SHIFT
    return max(1, min(units, (1 << _TIME_BITS - 1) - 1))


class ProvenSources:
    """The table.

    Args:
        lines: the memory of limit-proven.
        limits: the value of limits, whose secrets say where a source is.
        ticks: gives the kernel's ticks.
        lifetime: gives how long a proof lasts, in 256 ticks.
    """

    def __init__(
        self,
        lines: memoryview,
        limits: bytes,
        ticks: Callable[[], int],
        lifetime: Callable[[], int],
    ) -> None:
        self._words = lines.cast("B").cast("Q")
        self._secrets = decode_proven_secrets(limits)
        self._ticks = ticks
        self._lifetime = lifetime

    def prove(self, address: IPv4Address | IPv6Address) -> None:
        """Write that a source is proven from now on: an IPv6 one with its whole /56.

        It takes the place of its own word, or of the oldest of its line.
        """
        line, tag = self._place(address)
        own = [number for number in line if self._words[number] >> _TIME_BITS == tag]
        place = own[0] if own else max(line, key=self._age_of)
        self._words[place] = tag << _TIME_BITS | self._now()

    def unprove(self, address: IPv4Address | IPv6Address) -> bool:
        """Take a source out; tell whether it was proven."""
        line, tag = self._place(address)
        was_proven = False
        for number in line:
            if self._words[number] >> _TIME_BITS == tag:
                was_proven = was_proven or self._age_of(number) < self._lifetime()
                self._words[number] = 0
        return was_proven

    def unprove_all(self, addresses: Iterable[IPv4Address | IPv6Address]) -> int:
        """Take sources out; return how many of them were proven."""
        return sum([self.unprove(address) for address in addresses])

    def unprove_own(self, addresses: Iterable[IPv4Address | IPv6Address]) -> None:
        """Take this host's addresses out, which only a connection within it proves.

        Its IPv6 addresses stay: their /56 is one source, and has neighbours in it.
        """
        self.unprove_all(address for address in addresses if isinstance(address, IPv4Address))

    def is_proven(self, address: IPv4Address | IPv6Address) -> bool:
        """Tell whether a source is proven now."""
        line, tag = self._place(address)
        return any(
            self._words[number] >> _TIME_BITS == tag and self._age_of(number) < self._lifetime()
            for number in line
        )

    def count(self) -> int:
        """Return how many sources are proven now. Takes some milliseconds for 32,768."""
        now, lifetime = self._now(), self._lifetime()
        return sum(_age(word, now) < lifetime for word in self._words if word)

    def _place(self, address: IPv4Address | IPv6Address) -> tuple[range, int]:
        """Return the numbers of the words of a source's line, and its tag."""
        secrets = self._secrets
        if isinstance(address, IPv6Address):
            prefix = int(address) >> 72
            sum_ = (prefix & _U32) * secrets.keys[1] + (prefix >> 32) * secrets.keys[2]
        else:
            sum_ = int(address) * secrets.keys[0]
        sum_ = sum_ + secrets.keys[3] & _U64
        mixed = (sum_ ^ sum_ >> 32) * secrets.mix & _U64
        first = (mixed >> secrets.shift) * WORDS
        return range(first, first + WORDS), mixed >> 1 & _TAG_MASK | 1

    def _now(self) -> int:
        return self._ticks() >> _TICK_SHIFT & _TIME_MASK

    def _age_of(self, number: int) -> int:
        """Return the age of a word; one that is empty is older than all."""
        word = self._words[number]
        return _age(word, self._now()) if word else 1 << _TIME_BITS


def _age(word: int, now: int) -> int:
    """Return the age of a word; a program that writes meanwhile may be one unit ahead."""
    return max(0, (now + 1 - word & _TIME_MASK) - 1)
