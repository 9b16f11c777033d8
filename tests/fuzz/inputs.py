"""The octets that libFuzzer writes, as a scene and a frame, and back.

Owns the form of an input, which coverage.c reads in C: so that what was found there
can be put before every engine, and the table's cases can be its seeds. An input:

    octet 0     which of CONFIGS, modulo their number (only ever add at the end)
    octet 1     1: panic, 2: a socket in slot 0 of xskmap, 4: DESTINATIONS registered; the
                three bits above, modulo their number: which of LIMITED, if there are limits
    octets 2-3  octets to which the frame is padded with zeros, modulo 2048
    octet 4     how many rules, modulo 17
    rules       kind, action; prefixes: length; names: type (2), size; the operand
    frame       what is left

A kind, its lower three bits modulo 5: address v4, v6, prefix v4, v6, name. Its bit 3: a
rule of a list; bits 4 and 5, modulo 3: the scope of a name. Both only in a configuration
with tables of our own, which take no name that is none. Its bit 7: the operand is two
octets that say where in the frame it stands. Numbers are big-endian,
octets behind the input's end are zeros, and of two rules for one entry the first holds.
"""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.entries import entry_of
from tests.fuzz.scenes import SCENES
from tests.fuzz.tape import Tape
from tests.packets import known, limits, zone_limits
from tests.packets.case import DEFAULT, KNOWN, TABLES, ZONED, Limits, Rule, Scene
from tests.packets.table import CASES
from tests.packets.xsk import DESTINATIONS
from xdpctl.abi import NAME_MAX, TABLE_LEVELS, Book, RuleAction, ZoneScope, qname_size
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from xdpctl.program.config import ProgramConfig

CORPUS = Path(__file__).with_name("corpus") / "inputs.base64"
"""One input a line."""

MOST_RULES = 16
PADDED_BELOW = 2048
LONGEST = 3000
UNUSED = b"\xa5" * 7
"""What stands behind every rule's action: nobody may read it."""

_XSK = replace(DEFAULT, xsk=XskFamily.BOTH)
_V4, _V6, _PREFIX4, _PREFIX6, _NAME, _KINDS = range(6)
_SIZES = (4, 16, 4, 16)
_PANIC, _SOCKET, _REGISTERED = 1, 2, 4
_FROM_FRAME = 0x80
_LIMITED = 3
_LISTED = 0x08
_SCOPE = 4

CONFIGS: tuple[ProgramConfig, ...] = (
    *dict.fromkeys(scene.config for scene in SCENES),
    replace(DEFAULT, tcp=False),
    replace(DEFAULT, address_ports=(853,)),
    replace(_XSK, address_ports=(853,)),
    replace(DEFAULT, addresses=(ip_network("0.0.0.0/0"),)),
    TABLES,
    replace(TABLES, any_qtype=AnyQtype.NEW),
    replace(TABLES, xsk=XskFamily.BOTH),
    KNOWN,
    ZONED,
    zone_limits.ALL,
)

LIMITED: tuple[tuple[Limits, tuple[str, ...]], ...] = (
    (known.EMPTY.limits, ()),
    (known.OVER.limits, ()),
    (known.PROVEN.limits, ()),
    (zone_limits.SPENT.limits, ()),
    (zone_limits.PLENTY.limits, ()),
    (limits.EMPTY.limits, ("192.0.2.0/31", "2001:db8:1::/48")),
    (limits.DRY.limits, ()),
    (Limits(), ()),
)
"""What limits and exempt prefixes are like; eight at most (only ever change the last ones)."""


def judged(data: bytes) -> tuple[Scene, bytes] | None:
    """Return what coverage.c makes of an input; None where that is nothing."""
    if len(data) < 5:
        return None
    tape = Tape(data)
    config = CONFIGS[tape.octet() % len(CONFIGS)]
    flags = tape.octet()
    padded = tape.word() % PADDED_BELOW
    read = [_read_rule(tape) for _ in range(tape.octet() % (MOST_RULES + 1))]
    frame = tape.rest()[:LONGEST].ljust(padded, b"\0")
    rules: dict[object, Rule] = {}
    for kind, action, extra, operand in read:
        rule = _rule(kind, action, extra, _from_frame(kind, operand, frame))
        if config.tables:
            own = _own_rule(kind, rule)
            if own is None:
                continue
            rule = own
        rules.setdefault(entry_of(rule), rule)
    scene = Scene(
        tuple(rules.values()),
        config,
        DESTINATIONS if flags & _REGISTERED else (),
        (0,) if flags & _SOCKET else (),
        bool(flags & _PANIC),
    )
    if config.limits:
        held, exempt = LIMITED[(flags >> _LIMITED) % 8 % len(LIMITED)]
        scene = replace(scene, limits=_fit(held, config), exempt=exempt)
    return scene, frame


def _fit(held: Limits, config: ProgramConfig) -> Limits:
    """Return limits of which only prefixes have spent whose length the configuration has."""

    def fit(spent: tuple[str, ...]) -> tuple[str, ...]:
        lengths = {4: config.limits4, 6: config.limits6}
        networks = ((text, ip_network(text)) for text in spent)
        return tuple(
            text for text, network in networks if network.prefixlen in lengths[network.version]
        )

    return replace(
        held,
        spent=fit(held.spent),
        second_spent=fit(held.second_spent),
        cookie_spent=fit(held.cookie_spent),
    )


_Operand = bytes | tuple[int, int]
"""Octets, or their offset in the frame and their number."""


def _read_rule(tape: Tape) -> tuple[int, int, int, _Operand]:
    """Return kind, action, prefix length or type, and operand."""
    kind, action = tape.octet(), tape.octet()
    extra = 0
    match (kind & 7) % _KINDS:
        case k if k == _NAME:
            extra = tape.word()
            size = tape.octet()
        case k:
            size = _SIZES[k]
            if k in (_PREFIX4, _PREFIX6):
                extra = tape.octet() % (size * 8 + 1)
    if kind & _FROM_FRAME:
        return kind, action, extra, (tape.word(), size)
    return kind, action, extra, bytes(tape.octet() for _ in range(size))


def _from_frame(kind: int, operand: _Operand, frame: bytes) -> bytes:
    if isinstance(operand, bytes):
        return operand
    offset, size = operand
    octets = frame[offset : offset + size].ljust(size, b"\0")
    return octets.lower() if (kind & 7) % _KINDS == _NAME else octets


def _rule(kind: int, action: int, extra: int, octets: bytes) -> Rule:
    match (kind & 7) % _KINDS:
        case k if k == _V4:
            return Rule(str(IPv4Address(octets)), action, unused=UNUSED)
        case k if k == _V6:
            return Rule(str(IPv6Address(octets)), action, unused=UNUSED)
        case k if k == _PREFIX4:
            return Rule(str(IPv4Network((octets, extra), strict=False)), action, unused=UNUSED)
        case k if k == _PREFIX6:
            return Rule(str(IPv6Network((octets, extra), strict=False)), action, unused=UNUSED)
        case _:
            return Rule(_name(octets), action, extra, unused=UNUSED)


def _own_rule(kind: int, rule: Rule) -> Rule | None:
    """Return what the rule is where there are tables of our own; None: they do not take it."""
    book = Book.LISTS if kind & _LISTED else Book.OPERATOR
    if not isinstance(rule.subject, bytes):
        own = replace(rule, book=book)
    else:
        scope = ZoneScope((kind >> _SCOPE & 3) % len(ZoneScope))
        own = replace(rule, book=book, scope=scope)
    if not own.in_tables:
        return own
    if isinstance(own.subject, bytes):
        try:
            wire = own.subject.ljust(NAME_MAX, b"\0")
            wire = wire[: qname_size(wire)].lower()
        except ValueError:
            return None
        if own.scope is not ZoneScope.SELF and _label_count(wire) > TABLE_LEVELS:
            return None
        own = replace(own, target=wire)
    return replace(own, action=RuleAction.from_byte(own.action), unused=bytes(7))


def _label_count(wire: bytes) -> int:
    count = at = 0
    while wire[at]:
        at += 1 + wire[at]
        count += 1
    return count


def _name(octets: bytes) -> bytes:
    """Return the name that a key with these octets is, or as they are if it is none."""
    key = octets.ljust(NAME_MAX, b"\0")
    try:
        size = qname_size(key)
    except ValueError:
        return octets
    return octets if key[size:].strip(b"\0") else key[:size]


def input_of(scene: Scene, frame: bytes) -> bytes | None:
    """Return an input for which `judged` gives them, None where there is none."""
    shown = (
        scene.config in CONFIGS
        and len(scene.rules) <= MOST_RULES
        and scene.destinations in ((), DESTINATIONS)
        and scene.sockets in ((), (0,))
        and len(frame) <= LONGEST
        and scene.first_buffer is None
        and not any(rule.in_tables and rule.hits for rule in scene.rules)
        and (not scene.config.limits or (scene.limits, scene.exempt) in LIMITED)
    )
    if not shown:
        return None
    flags = (
        _PANIC * scene.panic
        + _SOCKET * bool(scene.sockets)
        + _REGISTERED * bool(scene.destinations)
    )
    if scene.config.limits:
        flags += LIMITED.index((scene.limits, scene.exempt)) << _LIMITED
    head = bytes([CONFIGS.index(scene.config), flags, 0, 0, len(scene.rules)])
    return head + b"".join(_written(rule) for rule in scene.rules) + frame


def _written(rule: Rule) -> bytes:
    own = _LISTED * (rule.book is Book.LISTS) + (rule.scope << _SCOPE)
    match rule.subject:
        case bytes() as wire:
            kind, rest = _NAME, bytes([*rule.qtype.to_bytes(2, "big"), len(wire)]) + wire
        case IPv4Address() as address:
            kind, rest = _V4, address.packed
        case IPv6Address() as address:
            kind, rest = _V6, address.packed
        case IPv4Network() as network:
            kind, rest = _PREFIX4, bytes([network.prefixlen]) + network.network_address.packed
        case network:
            kind, rest = _PREFIX6, bytes([network.prefixlen]) + network.network_address.packed
    return bytes([kind | own, rule.action]) + rest


def seeds() -> Iterator[bytes]:
    """Yield the table's cases as inputs, as far as they can be."""
    for case in CASES.values():
        data = input_of(case.scene, case.frame)
        if data is not None:
            yield data


def read_corpus() -> list[bytes]:
    """Return the inputs that are kept."""
    return [base64.b64decode(line) for line in CORPUS.read_text(encoding="ascii").split()]


def write_corpus(inputs: Iterable[bytes]) -> None:
    """Keep these inputs and no others."""
    lines = sorted(base64.b64encode(data).decode("ascii") for data in set(inputs))
    CORPUS.parent.mkdir(exist_ok=True)
    CORPUS.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")
