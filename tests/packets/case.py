"""What a case of the packet table says: a scene, a frame, and what must come of it.

A `Scene` is everything the program can see beside the frame. A `Result` is everything
it does: verdict, the one (reason, action) that counts, the answer, the rule whose
counter gained one. Engines (tests/engines/) turn the one into the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from tests.packets.message import name
from xdpctl.abi import WILDCARD_QTYPE, Book, PacketAction, Reason, RuleAction, ZoneScope
from xdpctl.program.config import ProgramConfig
from xdpctl.rules import AnyQtype


class Verdict(IntEnum):
    """`enum xdp_action` of linux/bpf.h."""

    ABORTED = 0
    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry: of the five rule maps, as bytes somebody put there, or of our own tables.

    Attributes:
        target: an address, a prefix, or a name (octets: its wire form, taken as it is).
        action: the action byte, any of 0..255; in our own tables a RuleAction.
        qtype: names only.
        hits: the counter's value beforehand; in our own tables 56 bits.
        unused: the seven bytes behind the action; our own tables have none.
        book: whose rule it is.
        scope: names only; which names it is about.
    """

    target: str | bytes
    action: int = RuleAction.DROP
    qtype: int = WILDCARD_QTYPE
    hits: int = 0
    unused: bytes = bytes(7)
    book: Book = Book.OPERATOR
    scope: ZoneScope = ZoneScope.SELF

    @property
    def subject(self) -> Subject:
        """The target as a value; a name in wire form."""
        return _subject(self.target)

    @property
    def in_tables(self) -> bool:
        """Whether it is in our own tables and not in the five rule maps."""
        return self.book is Book.LISTS or self.scope is not ZoneScope.SELF


Subject = IPv4Address | IPv6Address | IPv4Network | IPv6Network | bytes


@cache
def _subject(target: str | bytes) -> Subject:
    if isinstance(target, bytes):
        return target
    try:
        return ip_network(target) if "/" in target else ip_address(target)
    except ValueError:
        return name(target)


def drop(target: str | bytes, qtype: int = WILDCARD_QTYPE) -> Rule:
    """Return a Drop rule."""
    return Rule(target, RuleAction.DROP, qtype)


def truncate(target: str | bytes, qtype: int = WILDCARD_QTYPE) -> Rule:
    """Return a Truncate rule."""
    return Rule(target, RuleAction.TRUNCATE, qtype)


def allow(target: str | bytes, qtype: int = WILDCARD_QTYPE) -> Rule:
    """Return a Pass rule."""
    return Rule(target, RuleAction.PASS, qtype)


def zone(rule: Rule) -> Rule:
    """Return the rule about a name as one about it and every name below it (`.name`)."""
    return replace(rule, scope=ZoneScope.ALL)


def below(rule: Rule) -> Rule:
    """Return the rule about a name as one about every name below it (`*.name`)."""
    return replace(rule, scope=ZoneScope.BELOW)


def listed(rule: Rule) -> Rule:
    """Return the rule as one of a list."""
    return replace(rule, book=Book.LISTS)


DEFAULT = ProgramConfig(
    ports=(53,),
    address_ports=(),
    addresses=(),
    tcp=True,
    any_qtype=AnyQtype.BOTH,
    xsk=None,
)
"""The service without any option."""

TABLES = replace(DEFAULT, tables=True)
"""The same with our own tables, as the first rule for them makes it."""


LIMITS = replace(DEFAULT, limits4=(32, 24), limits6=(64, 48), flood=True, exempt=True)
"""The same with limits by source and in total, and exempt prefixes."""


KNOWN = replace(LIMITS, proven=True, cookies=True)
"""The same where proven sources and DNS cookies count."""


ZONED = replace(DEFAULT, zone_limits=True, heavy=True)
"""The same with limits of zones, where names are also counted by their ends."""


@dataclass(frozen=True, slots=True)
class LimitedZone:
    """A zone with a limit.

    Attributes:
        name: as text.
        records: (owner, type) of its records; None: its names are not known.
        spent: whether its account has no room for a packet.
    """

    name: str
    records: tuple[tuple[str, int], ...] | None = None
    spent: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What the limits' maps hold, while no time passes.

    Attributes:
        spent: prefixes whose account has no room for a packet.
        second_spent, cookie_spent: the same of the accounts of proven sources and of cookies.
        x_left: whether a ticket of the limit in total is left.
        slip: 1, or 0: whether what is limited is answered.
        dry_run: whether it goes on all the same.
        y_left: whether a ticket for proven sources is left.
        proven: addresses of proven sources.
        cookie_keys: secrets of cookies, 16 octets each.
        now: Unix time, modulo 2^32.
        zones: those with a limit.
    """

    spent: tuple[str, ...] = ()
    second_spent: tuple[str, ...] = ()
    cookie_spent: tuple[str, ...] = ()
    x_left: bool = True
    slip: int = 1
    dry_run: bool = False
    y_left: bool = True
    proven: tuple[str, ...] = ()
    cookie_keys: tuple[bytes, ...] = ()
    now: int = 0
    zones: tuple[LimitedZone, ...] = ()


@dataclass(frozen=True, slots=True)
class Scene:
    """What the program can see beside the frame.

    Attributes:
        destinations: (address, port) in xsk-destinations-v4 and -v6.
        sockets: slots of xskmap that hold a socket; every frame comes in on queue 0.
        panic: the control map's word.
        first_buffer: octets of a longer frame that its first buffer holds, and the program
            can read; None: all of it.
        exempt: the exempt prefixes.
        limits: of a configuration with limits.
    """

    rules: tuple[Rule, ...] = ()
    config: ProgramConfig = DEFAULT
    destinations: tuple[tuple[str, int], ...] = ()
    sockets: tuple[int, ...] = ()
    panic: bool = False
    first_buffer: int | None = None
    exempt: tuple[str, ...] = ()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a frame.

    Attributes:
        answer: the frame afterwards, None where it is octet for octet as it came in.
        hit: index in the scene's rules of the one whose counter gained one.
    """

    verdict: Verdict
    reason: Reason
    action: PacketAction
    answer: bytes | None = None
    hit: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """One row of the table; the description is a claim."""

    description: str
    scene: Scene
    frame: bytes
    expected: Result


def passed(reason: Reason, hit: int | None = None) -> Result:
    """Return: to the kernel's stack, unchanged."""
    return Result(Verdict.PASS, reason, PacketAction.PASS, None, hit)


def dropped(reason: Reason, hit: int | None = None) -> Result:
    """Return: gone, unchanged."""
    return Result(Verdict.DROP, reason, PacketAction.DROP, None, hit)


def answered(reason: Reason, answer: bytes, hit: int | None = None) -> Result:
    """Return: sent back as this frame."""
    return Result(Verdict.TX, reason, PacketAction.TRUNCATE, answer, hit)


def redirected(reason: Reason = Reason.REDIRECT, hit: int | None = None) -> Result:
    """Return: to the AF_XDP socket, unchanged."""
    return Result(Verdict.REDIRECT, reason, PacketAction.REDIRECT, None, hit)
