"""Rules of both books made from a tape, and names and sources that they are about or nearly.

Names are the beginnings, counted from the root, of a few long names, now and then with
one label another: so that rules of many depths are about one name, and the rest about its
neighbours. Sources are a few addresses and those that differ from them in one bit.
"""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import TYPE_CHECKING

from tests.fuzz.tape import Tape
from tests.packets.build import CLIENT4, CLIENT6
from tests.packets.case import TABLES, Rule, Scene
from tests.packets.message import AAAA, ANY, A, labels
from tests.packets.xsk import DESTINATIONS
from xdpctl.abi import NAME_MAX, WILDCARD_QTYPE, Book, RuleAction, ZoneScope
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from xdpctl.program.config import ProgramConfig

SETS = 256
"""Sets of rules that `table_scene` knows."""

DEEPEST = 16
MOST_RULES = 40
_OCTETS_OF_A_SET = 16 * MOST_RULES

_CHAINS: tuple[tuple[bytes, ...], ...] = (
    (b"example", b"bad", b"www", b"a", b"b", b"c"),
    tuple(bytes([ord("a") + at % 16]) for at in range(127)),
    (b"eightoct", b"nineoctet", b"sevenoc", b"x" * 16, b"x" * 17, b"x" * 15, b"\0", b"y" * 63),
    (b"l" * 63, b"l" * 63, b"l" * 63, b"l" * 61),
    (b"\0" * 8, b"\0" * 7, b"\xff" * 8, b"\0a", b"a\0", b"\1a", b"a"),
)
"""Labels from the root on."""

_DEPTHS = (2, 1, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8, 12, 15, 16, 16, 17, 18, 30, 64, 127, 0)
_SOURCES: dict[int, tuple[str, ...]] = {
    4: (CLIENT4, "203.0.113.77", "10.255.0.1"),
    6: (CLIENT6, "2001:db8:66::77", "fd00::ffff:1"),
}
_LENGTHS: dict[int, tuple[int, ...]] = {
    4: (24, 8, 9, 16, 20, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 0),
    6: (48, 16, 29, 32, 47, 48, 49, 56, 63, 64, 65, 96, 112, 126, 127, 128, 0),
}

_CONFIGS: tuple[ProgramConfig, ...] = (
    TABLES,
    TABLES,
    replace(TABLES, any_qtype=AnyQtype.NEW),
    replace(TABLES, any_qtype=AnyQtype.LEGACY, tcp=False),
    replace(TABLES, ports=(53, 5353), address_ports=(443, 853)),
    replace(TABLES, xsk=XskFamily.BOTH),
)


def name_from(tape: Tape) -> bytes:
    """Return a lower-case name in wire form."""
    chain = tape.pick(_CHAINS)
    parts = list(chain[: tape.pick(_DEPTHS)])
    if parts and not tape.below(4):
        at = tape.below(len(parts))
        label = parts[at]
        parts[at] = tape.pick((b"-" + label[1:], label[:-1] + b"-", label + b"\0", b"other"))[:63]
    while len(labels(*parts)) > NAME_MAX:
        parts.pop()
    return labels(*reversed(parts))


def source_from(tape: Tape, version: int) -> str:
    """Return an address."""
    address = ip_address(tape.pick(_SOURCES[version]))
    number = int(address)
    if tape.below(4):
        number ^= 1 << tape.below(address.max_prefixlen)
    return str(IPv4Address(number) if version == 4 else IPv6Address(number))


def rule_from(tape: Tape) -> Rule:
    """Return a rule of either book, about a source, a name or a zone."""
    book = tape.pick((Book.OPERATOR, Book.LISTS))
    action = tape.pick((RuleAction.DROP, RuleAction.PASS, RuleAction.TRUNCATE))
    if not tape.below(4):
        version = tape.pick((4, 6))
        target = source_from(tape, version)
        if tape.below(3):
            length = tape.pick(_LENGTHS[version])
            target = str(ip_network(f"{target}/{length}", strict=False))
        return Rule(target, action, book=book)
    scope = tape.pick((ZoneScope.ALL, ZoneScope.SELF, ZoneScope.BELOW))
    target_name = name_from(tape)
    if target_name == b"\0" and tape.below(8):  # what is about every name hides the others
        target_name = name_from(tape)
    if scope is not ZoneScope.SELF:
        target_name = labels(*_split(target_name)[-DEEPEST:])
    in_tables = book is Book.LISTS or scope is not ZoneScope.SELF
    every = (WILDCARD_QTYPE, WILDCARD_QTYPE, WILDCARD_QTYPE, A)
    qtype = tape.pick((*every, AAAA) if in_tables else (*every, ANY))
    return Rule(target_name, action, qtype, book=book, scope=scope)


def rules_from(tape: Tape) -> tuple[Rule, ...]:
    """Return up to MOST_RULES rules, no two of one entry."""
    rules: dict[object, Rule] = {}
    for _ in range(1 + tape.below(MOST_RULES)):
        rule = rule_from(tape)
        rules.setdefault((rule.book, rule.scope, rule.subject, rule.qtype), rule)
    return tuple(rules.values())


@cache
def table_scene(number: int) -> Scene:
    """Return one of SETS scenes with tables of our own: always the same one."""
    octets = random.Random(f"rules {number}").randbytes(_OCTETS_OF_A_SET)
    config = _CONFIGS[number % len(_CONFIGS)]
    there = DESTINATIONS if config.xsk else ()
    return Scene(rules_from(Tape(octets)), config, there, (0,) if config.xsk else ())


def _split(wire: bytes) -> list[bytes]:
    parts, at = [], 0
    while wire[at]:
        parts.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return parts
