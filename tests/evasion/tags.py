"""Odd frames: VLAN tags, other ways to say what is inside, addresses and padding."""

from __future__ import annotations

from itertools import cycle, islice
from typing import TYPE_CHECKING

from tests.evasion.shape import BOTH, V4, Ask, Shape, Ts, pieces
from tests.packets.build import (
    BROADCAST_MAC,
    ETHERTYPE_IPV4,
    ETHERTYPE_IPV6,
    MULTICAST_MAC,
    QINQ,
    VLAN,
    Tag,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

OLD_QINQ = 0x9100
PRIORITY = 0xE000
"""A tag's 16 bits with the highest priority and VID 0."""

DROP_ELIGIBLE = 0x1000
MEMBER = 5
"""A VID of a real VLAN."""

PATTERNS = {
    "0x8100": (VLAN,),
    "0x88a8": (QINQ,),
    "0x9100": (OLD_QINQ,),
    "0x8100 and 0x88a8": (VLAN, QINQ),
    "0x88a8 and 0x8100": (QINQ, VLAN),
}

MIXED = {
    "priorities, mixed": (Tag(VLAN, PRIORITY), Tag(QINQ, 0), Tag(VLAN, PRIORITY)),
    "drop eligible": (Tag(VLAN, DROP_ELIGIBLE),) * 3,
    "four priorities, mixed": (Tag(QINQ, PRIORITY), Tag(VLAN, DROP_ELIGIBLE)) * 2,
}

MEMBERS = (
    (MEMBER,),
    (0, MEMBER),
    (MEMBER, 0),
    (MEMBER, MEMBER),
    (0, 0, MEMBER),
    (0, MEMBER, 0),
    (MEMBER, 0, 0),
    (MEMBER, MEMBER, 0),
    (MEMBER, 0, MEMBER),
    (0, MEMBER, MEMBER),
    (MEMBER, MEMBER, MEMBER),
    (0, 0, 0, MEMBER),
    (MEMBER, 0, 0, 0),
    (0xFFF,),
    (0, 0xFFF),
)


def _frame(
    called: str,
    build: Callable[[Ask, *Ts], bytes],
    *args: *Ts,
    versions: tuple[int, ...] = BOTH,
) -> Shape:
    return pieces(called, lambda ask: [build(ask, *args)], versions=versions)


def _tagged(called: str, tags: Sequence[Tag]) -> Shape:
    return _frame(called, lambda ask: ask.ethernet(ask.ip(ask.upper), tags=tags))


TAGS = (
    *(
        _tagged(
            f"{count} x VID 0 in {text}", [Tag(kind, 0) for kind in islice(cycle(kinds), count)]
        )
        for text, kinds in PATTERNS.items()
        for count in range(len(kinds), 9)
    ),
    *(_tagged(f"VID 0: {text}", tags) for text, tags in MIXED.items()),
    *(
        _tagged(f"VIDs {', '.join(map(str, vids))} in {kind:#x}", [Tag(kind, vid) for vid in vids])
        for vids in MEMBERS
        for kind in (VLAN, QINQ)
    ),
)


def _ethertype(ask: Ask) -> bytes:
    return (ETHERTYPE_IPV4 if ask.version == 4 else ETHERTYPE_IPV6).to_bytes(2)


def _snap(ask: Ask, organisation: bytes = b"\0\0\0", before: bytes = b"") -> bytes:
    """Return the packet in 802.3 with LLC and SNAP, behind tags if there are any."""
    inside = b"\xaa\xaa\3" + organisation + _ethertype(ask) + ask.ip(ask.upper)
    return ask.server_mac + ask.client_mac + before + len(inside).to_bytes(2) + inside


def _to(ask: Ask, mac: bytes) -> bytes:
    return ask.ethernet(ask.ip(ask.upper), destination=mac)


FRAMES = (
    _frame("LLC and SNAP", _snap),
    _frame("LLC and SNAP of another organisation", lambda ask: _snap(ask, b"\0\0\xf8")),
    _frame(
        "LLC and SNAP in a priority tag",
        lambda ask: _snap(ask, before=VLAN.to_bytes(2) + b"\0\0"),
    ),
    _frame(
        "LLC with IPv4's service access point",
        lambda ask: _llc(ask, b"\6\6\3"),
        versions=V4,
    ),
    _frame("to the broadcast MAC", lambda ask: _to(ask, BROADCAST_MAC)),
    _frame("to a multicast MAC", lambda ask: _to(ask, MULTICAST_MAC)),
    _frame("to another's MAC", lambda ask: _to(ask, bytes.fromhex("02005e000099"))),
    _frame(
        "from a group MAC",
        lambda ask: ask.ethernet(ask.ip(ask.upper), source=MULTICAST_MAC),
    ),
    *(
        _frame(
            f"padded to {size} octets",
            lambda ask, size: ask.frame(ask.upper).ljust(size, b"\0"),
            size,
        )
        for size in (128, 1400)
    ),
    *(
        _frame(
            f"EtherType {kind:#06x}",
            lambda ask, kind: ask.ethernet(ask.ip(ask.upper), ethertype=kind),
            kind,
        )
        for kind in (0x0008, 0x86DD, 0x0800, 0x8864, 0x8847)
    ),
)


def _llc(ask: Ask, header: bytes) -> bytes:
    inside = header + ask.ip(ask.upper)
    return ask.server_mac + ask.client_mac + len(inside).to_bytes(2) + inside


SHAPES = (*TAGS, *FRAMES)
