"""The limits as abi.h describes them, word by word, in Python: the first model.

Owns the arithmetic of limit-cells and flood, modulo 2^64, written from the text of abi.h and
not from the C, with which it shares nothing. What it holds after each packet must be octet for
octet what the filter's maps hold. One CPU; the clock is given. What the limits are for is
limit_buckets.py's: the second model.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

from xdpctl.abi import (
    FLOOD_BATCH,
    FLOOD_MOST_SHIFT,
    FLOOD_SHARE_STEPS,
    FLOOD_TIME_SHIFT,
    LIMIT_TAG_MASK,
    LIMIT_WORDS,
    Reason,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.abi import LimitValues

PLAIN, PROVEN, COOKIE = range(3)
X, Y = range(2)
SPREAD: Final = 0x9E3779B97F4A7C15
MODULUS: Final = 1 << 64
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Secrets:
    """What decides where accounts are: factors (5), mix, salts (3)."""

    factors: tuple[int, ...]
    mix: int
    salts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """The word of a prefix, and what it has spent.

    Attributes:
        place: number of the word in limit-cells.
        is_own: whether it has the prefix's tag.
        price: of the packet.
    """

    place: int
    tag: int
    is_own: bool
    spent: int
    price: int


@dataclass(slots=True)
class Words:
    """The two maps and one CPU's tickets.

    Attributes:
        values: the live part of `limits`.
        lengths4, lengths6: of the prefixes that have accounts, level by level.
        sets: in limit-cells.
        cells, until, tickets: as the maps and the scratch hold them.
    """

    values: LimitValues
    secrets: Secrets
    lengths4: tuple[int, ...]
    lengths6: tuple[int, ...]
    sets: int
    flood: bool = False
    cells: list[int] = field(init=False)
    until: list[int] = field(default_factory=lambda: [0, 0])
    tickets: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self.cells = [0] * (self.sets * LIMIT_WORDS)

    def packet(
        self, source: Address, ticks: int, *, proven: bool = False, cookie: bool = False
    ) -> Reason | None:
        """Let a query come in; return why it is refused, None where it goes on."""
        limited = self.flood and self.values.flood_prices[X]
        ticket = X if limited else None
        shift = 0
        refusal = Reason.LIMIT
        may_try = True
        if limited and not self._has_ticket(X, ticks):
            ticket = Y
            may_try = proven and bool(self.values.flood_prices[Y]) and self._has_ticket(Y, ticks)
            if may_try:
                shift = self.share(ticks)
            if shift or not may_try:
                refusal = Reason.UNPROVEN
        if may_try and self._goes_on(source, PLAIN, ticks, shift, ticket):
            return None
        if cookie:
            free = X if ticket == X else None
            return None if self._goes_on(source, COOKIE, ticks, 0, free) else Reason.LIMIT
        if may_try and proven and self._goes_on(source, PROVEN, ticks, shift, ticket):
            return None
        return refusal

    def share(self, ticks: int) -> int:
        """Return the shift of a proven source's prices."""
        room = self.values.flood_rooms[Y]
        return min(self._given_out(Y, ticks) * FLOOD_SHARE_STEPS // room, FLOOD_SHARE_STEPS)

    def _goes_on(
        self, source: Address, account: int, ticks: int, shift: int, ticket: int | None
    ) -> bool:
        """Take the packet's price from an account and the total, if each level has room."""
        read: list[Read] = []
        if self.values.clock:
            now = ticks * self.values.clock % MODULUS & ~LIMIT_TAG_MASK
            for level in self._levels(source):
                read.append(self._read(source, account, level, now, shift))
                if read[-1].spent + read[-1].price > self.values.room:
                    return False
            for found in read:
                self._pay(found, now)
        if ticket is not None:
            self._take(ticket, ticks)
        return True

    def _levels(self, source: Address) -> Iterator[int]:
        yield from range(len(self.lengths4 if source.version == 4 else self.lengths6))

    def place(self, source: Address, account: int, level: int) -> tuple[int, int]:
        """Return the number of the prefix's set, and its tag."""
        length = (self.lengths4 if source.version == 4 else self.lengths6)[level]
        prefix = ip_network((source, length), strict=False).network_address
        octets = prefix.packed
        words = [int.from_bytes(octets[at : at + 4], "big") for at in range(0, len(octets), 4)]
        factors = self.secrets.factors[:1] if source.version == 4 else self.secrets.factors[1:]
        h = self.secrets.salts[account] + level * SPREAD
        h += sum(word * factor for word, factor in zip(words, factors, strict=True))
        h %= MODULUS
        h ^= h >> 32
        h = h * self.secrets.mix % MODULUS
        return h >> 40 & (self.sets - 1), h >> 16 & LIMIT_TAG_MASK

    def spend(
        self, prefix: IPv4Network | IPv6Network, now: int, spent: int, account: int = PLAIN
    ) -> None:
        """Let an account of a prefix have spent so much."""
        lengths = self.lengths4 if prefix.version == 4 else self.lengths6
        level = lengths.index(prefix.prefixlen)
        number, tag = self.place(prefix.network_address, account, level)
        free = self.cells.index(0, number * LIMIT_WORDS, (number + 1) * LIMIT_WORDS)
        self.cells[free] = (now + spent) % MODULUS | tag

    def _read(self, source: Address, account: int, level: int, now: int, shift: int) -> Read:
        prices = self.values.prices[account != PLAIN]
        price = (prices.v4 if source.version == 4 else prices.v6)[level] << shift
        number, tag = self.place(source, account, level)
        spent: list[tuple[int, int]] = []
        for place in range(number * LIMIT_WORDS, (number + 1) * LIMIT_WORDS):
            word = self.cells[place]
            ahead = ((word & ~LIMIT_TAG_MASK) - now) % MODULUS
            ahead = 0 if ahead > self.values.most else ahead
            if word & LIMIT_TAG_MASK == tag:
                return Read(place, tag, is_own=True, spent=ahead, price=price)
            spent.append((ahead, place))
        least, place = min(spent)
        return Read(place, tag, is_own=False, spent=least, price=price)

    def _pay(self, found: Read, now: int) -> None:
        if found.is_own and found.spent > self.values.room // 2:
            self.cells[found.place] = (self.cells[found.place] + found.price) % MODULUS
        else:
            time = (now + found.spent + found.price) % MODULUS
            self.cells[found.place] = time | found.tag

    def _given_out(self, bucket: int, ticks: int) -> int:
        """Return how far ahead of the clock the bucket is."""
        ahead = (self.until[bucket] - (ticks << FLOOD_TIME_SHIFT)) % MODULUS
        price, room = self.values.flood_prices[bucket], self.values.flood_rooms[bucket]
        return 0 if ahead > room + (price << FLOOD_MOST_SHIFT) else ahead

    def _has_ticket(self, bucket: int, ticks: int) -> bool:
        if self.tickets[bucket]:
            return True
        price, room = self.values.flood_prices[bucket], self.values.flood_rooms[bucket]
        return self._given_out(bucket, ticks) + price <= room

    def _take(self, bucket: int, ticks: int) -> None:
        if not self.tickets[bucket]:
            start = (ticks << FLOOD_TIME_SHIFT) % MODULUS + self._given_out(bucket, ticks)
            self.until[bucket] = (start + self.values.flood_prices[bucket]) % MODULUS
            self.tickets[bucket] = FLOOD_BATCH
        self.tickets[bucket] -= 1
