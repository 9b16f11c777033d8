"""IPv6 extension headers in fragments: the chain, or what follows it, is cut.

The first fragment then ends inside the chain, or right behind a whole header, and the port
and the question are elsewhere; RFC 7112 forbids that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.evasion.shape import V6, Ask, Shape, Ts, in_any_order, pieces
from tests.packets.build import (
    Extension,
    Raw,
    Udp,
    authentication,
    destination_options,
    fragment,
    hop_by_hop,
    routing,
)
from tests.packets.message import query

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IPV6_HEADER = 40

OPTION = destination_options()
LONG_OPTION = destination_options(2)
MANY = 10

CHAINS: dict[str, tuple[Extension, ...]] = {
    "an option": (OPTION,),
    "two options": (OPTION, OPTION),
    "three options": (OPTION,) * 3,
    "an option of 24 octets": (LONG_OPTION,),
    "an option of 24 octets and another": (LONG_OPTION, OPTION),
    "routing": (routing(0),),
    "routing and an option": (routing(0), OPTION),
    "an option and routing": (OPTION, routing(0)),
    "AH and an option": (authentication(0), authentication(2), OPTION),
    "hop-by-hop behind the fragment header": (hop_by_hop(), OPTION),
    "no next header": (Extension(59, bytes(7)), OPTION),
    "mobility": (Extension(135, bytes(7)), OPTION),
    "HIP": (Extension(139, bytes(7)), OPTION),
    "an atomic fragment": (fragment(ident=5), OPTION),
    "two atomic fragments": (fragment(ident=5), fragment(ident=6)),
    "ten options": (OPTION,) * MANY,
}


def _octets(ask: Ask, chain: Sequence[Extension]) -> tuple[int, bytes, int]:
    """Return the first header's kind, the octets from there on, and how many are the chain."""
    packet: bytes = ask.ipv6(ask.long_upper, extensions=chain)[IPV6_HEADER:]
    upper = len(ask.long_upper.wire(ask.source, ask.destination))
    return chain[0].kind, packet, len(packet) - upper


def _cut(
    ask: Ask, chain: Sequence[Extension], *cuts: int, before: Sequence[Extension] = ()
) -> list[bytes]:
    kind, packet, _ = _octets(ask, chain)
    return ask.pieces(packet, *cuts, protocol=kind, before=before)


def _shape(
    called: str, frames: Callable[[Ask, *Ts], list[bytes]], *args: *Ts
) -> tuple[Shape, Shape]:
    return in_any_order(pieces(called, frames, *args, versions=V6))


def _length(chain: Sequence[Extension]) -> int:
    return sum(1 + len(extension.rest) for extension in chain)


TWO = tuple(
    shape
    for text, chain in CHAINS.items()
    for cut in range(8, min(_length(chain), 80) + 9, 8)
    for shape in _shape(f"{text}, cut at {cut}", _cut, chain, cut)
)

PAIR = (OPTION, OPTION)

THREE = (
    *_shape("two options, cut at 8 and 24", lambda ask: _cut(ask, PAIR, 8, 24)),
    *_shape("two options, cut at 8 and 16", lambda ask: _cut(ask, PAIR, 8, 16)),
    *_shape("two options, cut at 16 and 24", lambda ask: _cut(ask, PAIR, 16, 24)),
    *_shape(
        "two options in pieces of eight octets",
        lambda ask: _cut(ask, PAIR, *range(8, len(_octets(ask, PAIR)[1]), 8)),
    ),
)

BEHIND = tuple(
    shape
    for text, before in {
        "hop-by-hop": (hop_by_hop(),),
        "an option": (OPTION,),
        "routing": (routing(0),),
        "hop-by-hop, an option and routing": (hop_by_hop(), OPTION, routing(0)),
        "five options": (OPTION,) * 5,
        "six options": (OPTION,) * 6,
        "an atomic fragment": (fragment(ident=7),),
    }.items()
    for cut in (8, 16, 24)
    for shape in _shape(
        f"two options, cut at {cut}, behind {text}",
        lambda ask, before, cut: _cut(ask, PAIR, cut, before=before),
        before,
        cut,
    )
)


def _harmless_behind(ask: Ask, cut: int, port: int) -> list[bytes]:
    """Return two options cut at `cut`, behind the first IP length the rest of a harmless packet."""
    first, second = _cut(ask, PAIR, cut)
    other = Udp(query(ask.harmless), sport=ask.port, dport=port)
    harmless: bytes = ask.ipv6(other, extensions=PAIR)[IPV6_HEADER:]
    return [first + harmless[cut:], second]


def _claiming(ask: Ask, cut: int) -> list[bytes]:
    """Return an option header that claims more than the first fragment holds."""
    chain = (destination_options(4),)
    return _cut(ask, chain, cut)


def _odd(ask: Ask, size: int) -> list[bytes]:
    kind, packet, _ = _octets(ask, PAIR)
    return [
        ask.ethernet(ask.piece(0, packet[:size], more=True, protocol=kind)),
        ask.ethernet(ask.piece(8, packet[8:], more=False, protocol=kind)),
    ]


LYING = (
    *(
        shape
        for cut in (8, 16)
        for port in (53, 9999)
        for shape in _shape(
            f"two options, cut at {cut}, behind the IP length a harmless query to port {port}",
            _harmless_behind,
            cut,
            port,
        )
    ),
    *(
        shape
        for size in (9, 12, 15)
        for shape in _shape(
            f"two options, a first fragment of {size} octets",
            _odd,
            size,
        )
    ),
    *(
        shape
        for cut in (8, 24)
        for shape in _shape(f"an option of 40 octets, cut at {cut}", _claiming, cut)
    ),
)


INNER, OUTER = 0x1_0000, 0x2_0000
"""Added to the numbers of fragments inside fragments."""


def _nested(ask: Ask, inner_cut: int, outer_cut: int) -> list[bytes]:
    """Return fragments of fragments: each inner one is cut again."""
    frames = []
    data, numbers = ask.data, iter(range(2))
    for at, octets, more in ((0, data[:inner_cut], True), (inner_cut, data[inner_cut:], False)):
        header = fragment(at // 8, more=more, ident=ask.ident + INNER)
        inside: bytes = ask.ipv6(Raw(ask.protocol, octets), extensions=(header,))[IPV6_HEADER:]
        ident = ask.ident + OUTER * (1 + next(numbers))
        for start, end in ((0, outer_cut), (outer_cut, len(inside))):
            piece = ask.piece(
                start, inside[start:end], more=end < len(inside), protocol=44, ident=ident
            )
            frames.append(ask.ethernet(piece))
    return frames


def _first_of_one(ask: Ask, chain: Sequence[Extension]) -> list[bytes]:
    """Return fragment headers of which only the outermost has a second fragment."""
    kind, packet, _ = _octets(ask, chain)
    return ask.pieces(packet, len(packet) // 8 * 8, protocol=kind)


NESTED = (
    *(
        shape
        for inner in (8, 24, 48)
        for outer in (8, 16)
        for shape in _shape(
            f"fragments at {inner} of which each is cut at {outer}",
            _nested,
            inner,
            outer,
        )
    ),
    *_shape(
        "an atomic fragment whole in the first fragment",
        lambda ask: _first_of_one(ask, (fragment(ident=8),)),
    ),
    *_shape(
        "options and an atomic fragment whole in the first fragment",
        lambda ask: _first_of_one(ask, (OPTION, fragment(ident=8), OPTION)),
    ),
)

SHAPES = (*TWO, *THREE, *BEHIND, *LYING, *NESTED)
