"""Names below a blocked zone, each in one ordinary packet: whatever labels are in front of it.

The name that is asked for has labels in front of the trial's own, which is blocked with all
that is below it. The servers' zone has a wildcard, so that they have an answer for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.evasion.messages import PLAIN, POINTERS
from tests.evasion.shape import Ask, Shape, message
from tests.packets.message import RD, labels, opcode, opt

if TYPE_CHECKING:
    from collections.abc import Callable

NAME_MAX = 255
"""Octets of a name, its root octet included."""


def _labels(count: int) -> Callable[[bytes], bytes]:
    return lambda _: labels(*[b"w"] * count)[:-1]


FRONTS: dict[str, Callable[[bytes], bytes]] = {
    **{
        f"{count} labels in front": _labels(count)
        for count in (1, 2, 3, 12, 13, 14, 15, 16, 17, 18, 31, 32, 33, 64, 100)
    },
    "as many labels in front as fit": lambda wire: b"\1w" * ((NAME_MAX - len(wire)) // 2),
    "a label of 63 octets in front": lambda _: b"\x3f" + b"w" * 63,
    "the longest labels in front that fit": lambda wire: _filled(NAME_MAX - len(wire)),
    "the zone itself in front": lambda wire: wire[:-1],
    "the zone itself in front, eight times": lambda wire: wire[:-1] * 8,
    "a label of the zone's own octets in front": lambda wire: bytes([len(wire)]) + wire,
    "capitals in front": lambda _: b"\3WWW",
    "a label with a dot in front": lambda _: b"\3a.b",
    "a label of zeros in front": lambda _: b"\4" + bytes(4),
    "a label of 0xff in front": lambda _: b"\4" + b"\xff" * 4,
    "a label that looks like a pointer in front": lambda _: b"\2\xc0\x04",
    "a label that looks like a header in front": lambda _: b"\x0c\x12\x34\1" + bytes(9),
    "an asterisk in front": lambda _: b"\1*",
}
"""What stands in front of the blocked name, from that name in wire form."""


def _filled(octets: int) -> bytes:
    """Return labels of 63 octets, and a last one, that are so many octets together."""
    whole, rest = divmod(octets, 64)
    last = bytes([rest - 1]) + b"v" * (rest - 1) if rest > 1 else b""
    return (b"\x3f" + b"w" * 63) * whole + last


def _ask(ask: Ask, front: Callable[[bytes], bytes]) -> bytes:
    return ask.query(front(ask.wire_name) + ask.wire_name)


def _ask_in_capitals(ask: Ask, front: Callable[[bytes], bytes]) -> bytes:
    return ask.query((front(ask.wire_name) + ask.wire_name).upper())


def _ask_with_edns(ask: Ask, front: Callable[[bytes], bytes]) -> bytes:
    wire = front(ask.wire_name) + ask.wire_name
    return ask.query(wire, counts=(1, 0, 0, 1), behind=opt())


def _ask_opcode(ask: Ask, front: Callable[[bytes], bytes]) -> bytes:
    return ask.query(front(ask.wire_name) + ask.wire_name, flags=RD | opcode(2))


def _in_fragments(front: Callable[[bytes], bytes], cut: int) -> Callable[[Ask], list[bytes]]:
    """Return what asks in two fragments that are cut at `cut` octets."""

    def frames(ask: Ask) -> list[bytes]:
        wire = front(ask.wire_name) + ask.wire_name
        upper = ask.udp(ask.query(wire, counts=(1, 0, 0, 1), behind=opt()))
        return ask.pieces(upper.wire(ask.source, ask.destination), cut)

    return frames


SHAPES = (
    PLAIN,
    *(message(text, _ask, front) for text, front in FRONTS.items()),
    *(message(f"{text}, in capitals", _ask_in_capitals, front) for text, front in FRONTS.items()),
    *(message(f"{text}, with EDNS", _ask_with_edns, front) for text, front in FRONTS.items()),
    *(message(f"{text}, OPCODE 2", _ask_opcode, front) for text, front in FRONTS.items()),
    *(
        Shape(f"{text}, two fragments at {cut}", _in_fragments(front, cut))
        for text, front in FRONTS.items()
        for cut in (8, 24, 32)
    ),
    *POINTERS,
)
