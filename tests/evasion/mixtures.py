"""An odd message in an odd packet: two oddities that are looked at in different places."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.evasion.messages import pointer
from tests.evasion.shape import V4, V6, Ask, shape
from tests.packets.build import QINQ, VLAN, Tag, destination_options, fragment, hop_by_hop
from tests.packets.message import RD, opcode, opt, padding

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.packets.build import Udp

MESSAGES: dict[str, Callable[[Ask], bytes]] = {
    "capitals": lambda ask: ask.query(ask.qname.upper()),
    "a pointer": lambda ask: ask.query(
        ask.wire_name[:-1] + pointer(4), counts=(1, 0, 0, 1), behind=opt(options=padding(60))
    ),
    "OPCODE 2": lambda ask: ask.query(ask.qname, flags=RD | opcode(2)),
    "QDCOUNT 0": lambda ask: ask.query(ask.qname, counts=(0, 0, 0, 0)),
}


def _fragmented(ask: Ask, upper: Udp, cut: int) -> list[bytes]:
    return ask.pieces(upper.wire(ask.source, ask.destination), cut)


CARRIERS: dict[str, tuple[tuple[int, ...], Callable[[Ask, Udp], list[bytes]]]] = {
    "two priority tags": (
        (4, 6),
        lambda ask, upper: [ask.ethernet(ask.ip(upper), tags=(Tag(QINQ, 0), Tag(VLAN, 0)))],
    ),
    "four priority tags": (
        (4, 6),
        lambda ask, upper: [ask.ethernet(ask.ip(upper), tags=(Tag(VLAN, 0),) * 4)],
    ),
    "IPv4 options": (V4, lambda ask, upper: [ask.ethernet(ask.ipv4(upper, options=b"\1" * 8))]),
    "three extension headers": (
        V6,
        lambda ask, upper: [
            ask.ethernet(
                ask.ipv6(
                    upper,
                    extensions=(hop_by_hop(), fragment(ident=ask.ident), destination_options()),
                )
            )
        ],
    ),
    "fragments at 16": ((4, 6), lambda ask, upper: _fragmented(ask, upper, 16)),
    "fragments at 40": ((4, 6), lambda ask, upper: _fragmented(ask, upper, 40)),
}


def _mixed(
    ask: Ask, build: Callable[[Ask], bytes], carry: Callable[[Ask, Udp], list[bytes]]
) -> list[bytes]:
    return carry(ask, ask.udp(build(ask)))


SHAPES = tuple(
    shape(f"{text} in {what}", _mixed, build, carry, versions=versions)
    for text, build in MESSAGES.items()
    for what, (versions, carry) in CARRIERS.items()
)
