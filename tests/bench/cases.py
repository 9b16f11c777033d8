"""The packets that are timed, and the rules that decide them.

Every rule of every case is in the maps at once, among hundreds that match nothing
(population.py), as on a server that is in use: no case is quick because a map is empty,
but for those that are about that (`bare_cases`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.packets.build import Tag, Udp, destination_options, ethernet, ipv4, ipv6
from tests.packets.message import edns_query, labels, long_name, opt, query
from xdpctl.abi import PacketAction, Reason, RuleAction
from xdpctl.rules import Rule, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME_17 = "www.example.com"
"""17 octets in wire form."""

NAME_106 = long_name(106)

MOST_LABELS = labels(*[b"w"] * 127)
"""255 octets in as many labels as fit: the name that takes longest to read."""

_MOST_LABELS_BLOCKED = labels(*[b"b"] * 127)


@dataclass(frozen=True, slots=True)
class Case:
    """One packet and what must become of it, so that nothing else is timed by mistake."""

    name: str
    frame: bytes
    reason: Reason
    action: PacketAction


def rules() -> Iterator[Rule]:
    """Yield the rules of the cases; population.py has the others."""
    drop, truncate = RuleAction.DROP, RuleAction.TRUNCATE
    for text, action in (
        ("192.0.2.66", drop),
        ("192.0.2.67", truncate),
        ("198.51.100.0/24", drop),
        ("dropped.example.com", drop),
        ("2001:db8::66", drop),
        ("truncated.example.com", truncate),
        ("b." * 127, drop),
    ):
        yield Rule(parse_target(text), action)


def cases() -> Iterator[Case]:
    """Yield what issue 2 asks for, in its order."""
    plain = Udp(query(NAME_17))
    no_match = (Reason.NO_MATCH, PacketAction.PASS)
    yield Case("not DNS", v4(Udp(query(NAME_17), dport=5353)), Reason.OTHER, PacketAction.PASS)
    yield Case("drop by address", v4(plain, "192.0.2.66"), Reason.ADDR_V4, PacketAction.DROP)
    yield Case("drop by prefix", v4(plain, "198.51.100.7"), Reason.CIDR4, PacketAction.DROP)
    yield Case(
        "drop by name", v4(Udp(query("dropped.example.com"))), Reason.QNAME, PacketAction.DROP
    )
    yield Case("pass, name of 17 octets", v4(plain), *no_match)
    yield Case("pass, name of 106 octets", v4(Udp(query(NAME_106))), *no_match)
    yield Case(
        "IPv6, drop by address",
        v6(plain, "2001:db8::66"),
        Reason.ADDR_V6,
        PacketAction.DROP,
    )
    yield Case("IPv6, pass, name of 17 octets", v6(plain), *no_match)
    by_address = Reason.ADDR_V4, PacketAction.TRUNCATE
    yield Case("TC=1 answer by address", v4(plain, "192.0.2.67"), *by_address)
    truncated = Reason.QNAME, PacketAction.TRUNCATE
    yield Case("TC=1 answer", v4(Udp(query("truncated.example.com"))), *truncated)
    with_edns = Udp(edns_query("truncated.example.com", opt()))
    yield Case("TC=1 answer, EDNS", v4(with_edns), *truncated)
    yield Case("IPv6, TC=1 answer, EDNS", v6(with_edns), *truncated)


def slowest_cases() -> Iterator[Case]:
    """Yield the packets that cost most, which somebody may send on purpose.

    As many labels as fit, behind as many headers as are read; and such a name that has a rule
    and is therefore looked up. The shorter ones beside them are those of `cases`.
    """
    unknown, blocked = (Udp(query(name)) for name in (MOST_LABELS, _MOST_LABELS_BLOCKED))
    headers = [destination_options() for _ in range(6)]
    tags = (Tag(), Tag())
    no_match = (Reason.NO_MATCH, PacketAction.PASS)
    dropped = (Reason.QNAME, PacketAction.DROP)
    yield Case("pass, name of 127 labels", v4(unknown), *no_match)
    yield Case("drop by name of 127 labels", v4(blocked), *dropped)
    for text, upper, result in (
        ("worst that passes", unknown, no_match),
        ("worst that is dropped", blocked, dropped),
    ):
        packet = ipv6(upper, source="2001:db8::1", extensions=headers)
        yield Case(text, ethernet(packet, tags=tags), *result)


def bare_cases() -> Iterator[Case]:
    """Yield what is timed over maps without an entry."""
    plain = Udp(query(NAME_17))
    no_match = (Reason.NO_MATCH, PacketAction.PASS)
    yield Case("pass, all maps empty", v4(plain), *no_match)
    yield Case("IPv6, pass, all maps empty", v6(plain), *no_match)


def v4(upper: Udp, source: str = "192.0.2.1") -> bytes:
    """Return a frame from a client that no rule names, or from `source`."""
    return ethernet(ipv4(upper, source=source))


def v6(upper: Udp, source: str = "2001:db8::1") -> bytes:
    """Return a frame from a client that no rule names, or from `source`."""
    return ethernet(ipv6(upper, source=source))
