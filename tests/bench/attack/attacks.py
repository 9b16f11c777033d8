"""Who attacks, and with what: eight attacks (docs/under-attack-results.md shows how each went)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Final

QUIET: Final = IPv4Network("198.18.0.0/18")
"""The quiet clients are its first 10,000 addresses, each in its /24 with 255 others."""

QUIET_CLIENTS: Final = 10_000
RESOLVERS: Final = tuple(IPv4Address("198.19.0.1") + 256 * number for number in range(50))
"""Each has a /24 of its own. The first two are real Unbounds."""

ZONE: Final = "house.example"
NAMES: Final = 10_000
"""That exist in the zone: n0000000.house.example and so on."""


class Sources(IntEnum):
    """Where packets say that they come from (attack.bpf.c)."""

    ONE = 0
    NEAR = 1
    FAR = 2
    ANY = 3
    LISTED = 4


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        key: short name. `label`: what a table says.
        sources: of its packets. `random`: whether each asks for another name below the zone.
        rate: packets a second, of the fastest that the site is asked for.
        pulse: seconds on and seconds off; None: always on.
        relayed: random names a second that clients of the real resolvers ask for.
    """

    key: str
    label: str
    sources: Sources
    random: bool = False
    rate: float = 1.0
    pulse: tuple[float, float] | None = None
    relayed: int = 0


ATTACKS: Final = (
    Attack("one", "one source", Sources.ONE),
    Attack("near", "5,000 bots in 40 /24s", Sources.NEAR),
    Attack("far", "5,000 bots in 5,000 /24s", Sources.FAR),
    Attack("spoofed", "uniformly spoofed, one name", Sources.ANY),
    Attack("spoofed-names", "uniformly spoofed, random names", Sources.ANY, random=True),
    Attack(
        "resolvers",
        "random names through honest resolvers",
        Sources.LISTED,
        random=True,
        rate=0.05,
        relayed=200,
    ),
    Attack("spoofed-resolvers", "spoofed: the resolvers' addresses", Sources.LISTED),
    Attack("pulses", "5,000 bots, pulses of 2 s", Sources.FAR, pulse=(2.0, 2.0)),
)


def listed(attack: Attack) -> tuple[IPv4Address, ...]:
    """Return the addresses that an attack's packets come from, where they are listed."""
    if attack.sources is Sources.ONE:
        return (IPv4Address("203.0.113.7"),)
    return RESOLVERS if attack.sources is Sources.LISTED else ()


def name(number: int) -> str:
    """Return a name that exists."""
    return f"n{number:07}.{ZONE}"
