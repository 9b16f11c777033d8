"""Two and more fragments of one query or SYN: clean, doubled, overlapping, lying.

A lie is octets that the filter may read and the server never sees: behind the IP length, or
in the last octets of a first fragment whose length is no multiple of eight (Linux cuts those
off and takes them from the next fragment).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import TYPE_CHECKING

from tests.evasion.shape import V4, V6, Ask, in_any_order, pieces, shape
from tests.packets.build import (
    DF,
    MF,
    QINQ,
    RESERVED,
    VLAN,
    Extension,
    Raw,
    Tag,
    Udp,
    fragment,
    hop_by_hop,
)
from tests.packets.message import QR, RD, TXT, header, opcode, opt, padding, query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

UDP_HEADER = 8
NAME_AT = 20
"""Where the name begins in a datagram: behind the headers of UDP and DNS."""

CUTS = (8, 16, 24, 32, 40, 48)


def _doubled(ask: Ask, numbers: Sequence[int]) -> list[bytes]:
    """Return the pieces of a packet cut at 24 and 40, by their numbers."""
    pieces = ask.pieces(ask.data, 24, 40)
    return [pieces[number] for number in numbers]


CLEAN = (
    *(
        either
        for cut in CUTS
        for either in in_any_order(
            pieces(f"two fragments at {cut}", lambda ask, cut: ask.pieces(ask.data, cut), cut)
        )
    ),
    *(
        pieces(
            f"fragments {', '.join(map(str, order))} of three",
            _doubled,
            order,
        )
        for order in permutations(range(3))
    ),
    *(
        pieces(text, _doubled, order)
        for text, order in {
            "the first of three twice": (0, 0, 1, 2),
            "the first of three again at the end": (1, 0, 2, 0),
            "the middle of three twice": (0, 1, 1, 2),
            "the last of three twice": (0, 2, 2, 1),
        }.items()
    ),
    *in_any_order(
        pieces(
            "fragments of eight octets each",
            lambda ask: ask.pieces(ask.data, *range(8, len(ask.data), 8)),
        )
    ),
)


def _ended_by_nothing(ask: Ask) -> list[bytes]:
    whole = ask.data.ljust((len(ask.data) + 7) // 8 * 8, b"\0")
    return [
        ask.ethernet(ask.piece(0, whole, more=True)),
        ask.ethernet(ask.piece(len(whole), b"", more=False)),
    ]


def _begun_by_nothing(ask: Ask) -> list[bytes]:
    return [
        ask.ethernet(ask.piece(0, b"", more=True)),
        ask.ethernet(ask.piece(0, ask.data, more=False)),
    ]


EMPTY = (
    *in_any_order(pieces("an empty first fragment", _begun_by_nothing)),
    *in_any_order(pieces("an empty last fragment", _ended_by_nothing)),
    *(
        pieces(
            f"a first fragment of {size} octets, of the header alone",
            lambda ask, size: [
                ask.ethernet(ask.piece(0, ask.data[:size], more=True)),
                ask.ethernet(ask.piece(8, ask.data[8:], more=False)),
            ],
            size,
        )
        for size in (1, 4, 7)
    ),
)


def _lying(ask: Ask) -> bytes:
    """Return the octets of the harmless question."""
    return replace(ask, qname=ask.harmless).data


def _overlapping(ask: Ask, order: Iterable[int], *, first_lies: bool) -> list[bytes]:
    """Return three fragments of which the first two overlap, and one of those lies."""
    behind = opt(options=padding(60))
    told = ask.query(ask.qname, counts=(1, 0, 0, 1), behind=behind)
    checksum = {"checksum": 0} if ask.version == 4 else {}  # whatever is kept, v4 takes it
    true = Udp(told, sport=ask.port, **checksum).wire(ask.source, ask.destination)
    lie = true[:NAME_AT] + _lying(ask)[NAME_AT:]
    one, other = (lie, true) if first_lies else (true, lie)
    pieces = (
        ask.piece(0, one[:40], more=True),
        ask.piece(16, other[16:40], more=True),
        ask.piece(40, true[40:], more=False),
    )
    return [ask.ethernet(pieces[number]) for number in order]


def _two_firsts(ask: Ask, *, lie_first: bool) -> list[bytes]:
    """Return a first fragment, another in its place, and the rest."""
    true, lie = ask.data, ask.data[:NAME_AT] + _lying(ask)[NAME_AT:]
    firsts = (lie, true) if lie_first else (true, lie)
    return [
        *(ask.ethernet(ask.piece(0, octets[:40], more=True)) for octets in firsts),
        ask.ethernet(ask.piece(40, true[40:], more=False)),
    ]


OVERLAPS = (
    *(
        shape(
            f"overlap {order}, the {text} lies",
            lambda ask, order, first: _overlapping(ask, order, first_lies=first),
            order,
            first,
        )
        for order in permutations(range(3))
        for text, first in (("first", True), ("second", False))
    ),
    shape("a lie before the first fragment", lambda ask: _two_firsts(ask, lie_first=True)),
    shape("a lie behind the first fragment", lambda ask: _two_firsts(ask, lie_first=False)),
)


def _odd(ask: Ask, rest: int) -> list[bytes]:
    """Return a first fragment of 8 k + rest octets with a whole question, whose end lies.

    The octets behind 8 k are harmless ones: letters of the name, the type, or what the
    length of the name brings there. The second fragment has the right ones.
    """
    true = ask.data
    end = NAME_AT + len(ask.question)
    size = end + (rest - end) % 8
    cut = size - rest
    lie = bytearray(true[:size])
    for at in range(cut, end - 5):  # before the root octet
        lie[at] = ord("z")
    for at, octet in zip((end - 4, end - 3), TXT.to_bytes(2), strict=True):
        if at >= cut:
            lie[at] = octet
    return [
        ask.ethernet(ask.piece(0, bytes(lie), more=True)),
        ask.ethernet(ask.piece(cut, true[cut:], more=False)),
    ]


ODD = (
    *(
        either
        for rest in range(1, 8)
        for either in in_any_order(
            shape(
                f"a first fragment of 8 k + {rest} octets, the {rest} lie",
                _odd,
                rest,
            )
        )
    ),
    *(
        either
        for size in (9, 13, 20, 23, 28, 31, 47)
        for either in in_any_order(
            pieces(
                f"a first fragment of {size} octets",
                lambda ask, size: [
                    ask.ethernet(ask.piece(0, ask.data[:size], more=True)),
                    ask.ethernet(ask.piece(size // 8 * 8, ask.data[size // 8 * 8 :], more=False)),
                ],
                size,
            )
        )
    ),
)

LIES: dict[str, Callable[[Ask], bytes]] = {
    "a harmless name": lambda ask: query(ask.harmless, ident=ask.ident),
    "a response": lambda ask: header(ask.ident, QR, 0, 0, 0, 0),
    "NOTIFY": lambda ask: query(ask.harmless, ident=ask.ident, flags=RD | opcode(4)),
    "no question": lambda ask: query(ask.harmless, ident=ask.ident, counts=(0, 0, 0, 0)),
    "nothing but zeros": lambda _: bytes(64),
}


def _behind(ask: Ask, cut: int, lie: bytes) -> list[bytes]:
    """Return a first fragment of `cut` octets with the rest of a lie behind its IP length."""
    true = ask.data
    trailer = (bytes(UDP_HEADER) + lie)[cut:]
    resumed = cut // 8 * 8
    return [
        ask.ethernet(ask.piece(0, true[:cut], more=True)) + trailer,
        ask.ethernet(ask.piece(resumed, true[resumed:], more=False)),
    ]


def _other_port_behind(ask: Ask) -> list[bytes]:
    """Return an empty first fragment with a whole datagram to another port behind it."""
    first, second = _begun_by_nothing(ask)
    other = Udp(query(ask.harmless), dport=9999).wire(ask.source, ask.destination)
    return [first + other, second]


BEHIND = (
    *(
        either
        for text, lie in LIES.items()
        for cut in (8, 12, 16, 20, 24, 27, 32)
        for either in in_any_order(
            shape(
                f"{text} behind the IP length, {cut} octets",
                lambda ask, cut, lie: _behind(ask, cut, lie(ask)),
                cut,
                lie,
            )
        )
    ),
    *in_any_order(pieces("another port behind the IP length", _other_port_behind)),
    *in_any_order(
        pieces(
            "trailers behind clean fragments",
            lambda ask: [frame + b"trailer" for frame in ask.pieces(ask.data, 48)],
        )
    ),
)

TAGGED = (
    *(
        pieces(
            f"two fragments at 48, {' and '.join(str(tag.ethertype) for tag in tags)} VID 0",
            lambda ask, tags: [
                ask.ethernet(ask.piece(0, ask.data[:48], more=True), tags=tags),
                ask.ethernet(ask.piece(48, ask.data[48:], more=False), tags=tags),
            ],
            tags,
        )
        for tags in (
            (Tag(VLAN, 0),),
            (Tag(QINQ, 0), Tag(VLAN, 0)),
            (Tag(VLAN, 0),) * 3,
            (Tag(QINQ, 0),) * 4,
        )
    ),
    *(
        pieces(
            f"two fragments at 48, only the {text} in three tags",
            lambda ask, tagged: [
                ask.ethernet(
                    ask.piece(0, ask.data[:48], more=True), tags=(Tag(VLAN, 0),) * 3 * tagged
                ),
                ask.ethernet(
                    ask.piece(48, ask.data[48:], more=False),
                    tags=(Tag(VLAN, 0),) * 3 * (not tagged),
                ),
            ],
            tagged,
        )
        for text, tagged in (("first", True), ("second", False))
    ),
)


def _with_fields(ask: Ask, cut: int, fields: dict[str, int | bytes]) -> list[bytes]:
    """Return two IPv4 fragments whose first has further fields."""
    first = Raw(ask.protocol, ask.data[:cut])
    return [
        ask.ethernet(ask.ipv4(first, **{"ident": ask.ident, "flags": MF} | fields)),
        ask.ethernet(ask.piece(cut, ask.data[cut:], more=False)),
    ]


FIELDS: dict[str, dict[str, int | bytes]] = {
    "DF": {"flags": MF | DF},
    "the reserved flag": {"flags": MF | RESERVED},
    "40 octets of options": {"options": b"\1" * 40},
    "a wrong checksum": {"checksum": 0x1111},
    "a total length of nothing": {"total_length": 0},
    "a total length of 65535": {"total_length": 65535},
    "a total length of its header": {"total_length": 20},
    "time to live 1": {"ttl": 1},
    "another type of service": {"tos": 3},
}

IPV4 = tuple(
    pieces(
        f"two fragments at {cut}, the first with {text}",
        _with_fields,
        cut,
        fields,
        versions=V4,
    )
    for cut in (8, 48)
    for text, fields in FIELDS.items()
)


def _payload_length(ask: Ask, cut: int, length: int) -> list[bytes]:
    """Return two fragments behind hop-by-hop whose first claims another payload length."""
    first, second = (ask.data[:cut], ask.data[cut:])
    headers = (hop_by_hop(), fragment(more=True, ident=ask.ident))
    return [
        ask.ethernet(ask.ipv6(Raw(ask.protocol, first), payload_length=length, extensions=headers)),
        ask.ethernet(ask.piece(cut, second, more=False)),
    ]


def _fragment_header(ask: Ask, octets: bytes, fields: int, kind: int, reserved: int) -> bytes:
    """Return a frame with a fragment header that is written by hand."""
    rest = bytes([reserved]) + fields.to_bytes(2) + ask.ident.to_bytes(4)
    return ask.ethernet(ask.ipv6(Raw(kind, octets), extensions=(Extension(44, rest),)))


def _by_hand(
    ask: Ask, cut: int, *, kinds: tuple[int, int], reserved: int = 0, bits: int = 0
) -> list[bytes]:
    first, second = kinds
    return [
        _fragment_header(ask, ask.data[:cut], bits | 1, first or ask.protocol, reserved),
        _fragment_header(ask, ask.data[cut:], cut | bits, second or ask.protocol, reserved),
    ]


IPV6 = (
    *(
        pieces(
            f"two fragments at {cut}, the first's payload length {length}",
            _payload_length,
            cut,
            length,
            versions=V6,
        )
        for cut in (8, 48)
        for length in (0, 7, 16, 23, 24, 65535)
    ),
    *(
        either
        for cut in (8, 48)
        for either in in_any_order(
            pieces(
                f"two fragments at {cut} behind hop-by-hop",
                lambda ask, cut: ask.pieces(ask.data, cut, before=(hop_by_hop(),)),
                cut,
                versions=V6,
            )
        )
    ),
    *(
        either
        for kinds in ((0, 60), (0, 6), (0, 59), (0, 44), (60, 0), (58, 0), (59, 0), (136, 0))
        for either in in_any_order(
            pieces(
                f"two fragments at 48, next headers {kinds[0] or 'right'}, {kinds[1] or 'right'}",
                lambda ask, kinds: _by_hand(ask, 48, kinds=kinds),
                kinds,
                versions=V6,
            )
        )
    ),
    pieces(
        "two fragments at 8 with reserved bits",
        lambda ask: _by_hand(ask, 8, kinds=(0, 0), reserved=255, bits=6),
        versions=V6,
    ),
    pieces(
        "two fragments at 48 with reserved bits",
        lambda ask: _by_hand(ask, 48, kinds=(0, 0), reserved=255, bits=6),
        versions=V6,
    ),
)

SHAPES = (*CLEAN, *EMPTY, *OVERLAPS, *ODD, *BEHIND, *TAGGED, *IPV4, *IPV6)
