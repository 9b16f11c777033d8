"""Odd IPv4 and IPv6 headers, each in one packet, before a query or a SYN."""

from __future__ import annotations

import struct
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

from tests.evasion.shape import V4, V6, Ask, packet
from tests.packets.build import (
    DESTINATION_KIND,
    DF,
    RESERVED,
    ROUTING_KIND,
    Extension,
    Raw,
    authentication,
    destination_options,
    fragment,
    hop_by_hop,
    routing,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

OPTIONS = {
    "one word of no-operation": b"\1" * 4,
    "ten words of no-operation": b"\1" * 40,
    "ten words of end-of-list": bytes(40),
    "no-operation behind end-of-list": b"\0\1\1\1",
    "a router alert": b"\x94\4\0\0",
    "a record route": b"\7\x0b\4" + bytes(8) + b"\1",
    "a timestamp": b"\x44\x0c\5\0" + bytes(8),
    "record route and timestamp": b"\7\x0b\4" + bytes(8) + b"\1" + b"\x44\x0c\5\0" + bytes(8),
    "a loose source route at its end": b"\x83\7\x08" + b"\xc0\0\2\x01" + b"\1",
    "a strict source route at its end": b"\x89\7\x08" + b"\xc0\0\2\x01" + b"\1",
    "a security label": b"\x82\x0b" + bytes(9) + b"\1",
    "a stream identifier": b"\x88\4\0\1",
    "an option nobody knows": b"\x9e\4\0\0",
    "an option of length 0": b"\x9e\0\0\0",
    "an option that runs over the header": b"\x9e\x28\0\0",
}

IPV4 = (
    *(
        packet(
            f"IPv4 options: {text}",
            lambda ask, options: ask.ipv4(ask.upper, options=options),
            options,
            versions=V4,
        )
        for text, options in OPTIONS.items()
    ),
    packet("IPv4 checksum wrong", lambda ask: ask.ipv4(ask.upper, checksum=0x1111), versions=V4),
    packet("IPv4 checksum 0", lambda ask: ask.ipv4(ask.upper, checksum=0), versions=V4),
    *(
        packet(
            f"IPv4 total length {length}",
            lambda ask, length: ask.ipv4(ask.upper, total_length=length),
            length,
            versions=V4,
        )
        for length in (0, 19, 20, 27, 28, 36, 400, 65535)
    ),
    packet("IPv4 flag: reserved", lambda ask: ask.ipv4(ask.upper, flags=RESERVED), versions=V4),
    packet(
        "IPv4 flags: reserved, DF",
        lambda ask: ask.ipv4(ask.upper, flags=RESERVED | DF),
        versions=V4,
    ),
    packet("IPv4 flag: DF", lambda ask: ask.ipv4(ask.upper, flags=DF), versions=V4),
    packet("IPv4 type of service 255", lambda ask: ask.ipv4(ask.upper, tos=255), versions=V4),
    *(
        packet(
            f"IPv4 time to live {ttl}",
            lambda ask, ttl: ask.ipv4(ask.upper, ttl=ttl),
            ttl,
            versions=V4,
        )
        for ttl in (0, 1, 255)
    ),
    packet("IPv4 identification 0", lambda ask: ask.ipv4(ask.upper, ident=0), versions=V4),
)


def _chain(called: str, *extensions: Extension) -> tuple[str, Sequence[Extension]]:
    return called, extensions


def _routing(kind: int, left: int, units: int = 2) -> Extension:
    """Return a routing header of any type with so many segments left."""
    return Extension(ROUTING_KIND, bytes([units, kind, left]) + bytes(4 + units * 8))


HOME_ADDRESS = Extension(
    DESTINATION_KIND,
    bytes([2]) + b"\1\2\0\0" + b"\xc9\x10" + IPv6Address("2001:db8::1").packed,
)
"""Destination options with Mobile IPv6's home address."""

JUMBO = Extension(0, b"\0\xc2\4" + struct.pack("!I", 100))
"""Hop-by-hop with a jumbo payload that is none."""

CHAINS = (
    *(
        _chain(f"{count} x destination options", *[destination_options()] * count)
        for count in range(1, 9)
    ),
    _chain("destination options of 128 octets", destination_options(15)),
    _chain("destination options of 1,024 octets", destination_options(127)),
    _chain("destination options that claim too much", destination_options(claims=9)),
    _chain("a home address", HOME_ADDRESS),
    _chain("hop-by-hop", hop_by_hop()),
    _chain("hop-by-hop of 512 octets", hop_by_hop(63)),
    _chain("hop-by-hop twice", hop_by_hop(), hop_by_hop()),
    _chain("hop-by-hop behind destination options", destination_options(), hop_by_hop()),
    _chain("hop-by-hop with a jumbo payload", JUMBO),
    *(
        _chain(f"routing of type {kind}, {left} left", _routing(kind, left))
        for kind in (0, 2, 3, 4)
        for left in (0, 1)
    ),
    _chain("routing without addresses", routing(0)),
    _chain("six routing headers", *[routing()] * 6),
    _chain("AH", authentication()),
    _chain("an atomic fragment", fragment()),
    _chain("an atomic fragment behind hop-by-hop", hop_by_hop(), fragment(ident=2)),
    _chain("an atomic fragment before options", fragment(ident=3), destination_options()),
    *(
        _chain(f"{count} atomic fragments", *(fragment(ident=9 + at) for at in range(count)))
        for count in range(2, 8)
    ),
    _chain(
        "all kinds in order",
        hop_by_hop(),
        destination_options(),
        routing(),
        fragment(ident=4),
        destination_options(1),
    ),
    _chain("no next header before UDP", Extension(59, bytes(7))),
    *(
        _chain(f"header {kind} before UDP", Extension(kind, bytes(7)))
        for kind in (1, 4, 33, 41, 47, 50, 108, 132, 135, 136, 139, 140, 253, 254, 255)
    ),
)


def _other_protocol(number: int, ask: Ask) -> bytes:
    """Return a packet under another protocol number: what UDP's octets are then is unknown."""
    carried = Raw(number, ask.upper.wire(ask.source, ask.destination))
    return ask.ipv4(carried) if ask.version == 4 else ask.ipv6(carried)


def _tunnelled(ask: Ask) -> bytes:
    """Return the packet in another of its own version."""
    carried = Raw(4 if ask.version == 4 else 41, ask.ip(ask.upper))
    return ask.ipv4(carried) if ask.version == 4 else ask.ipv6(carried)


IPV6 = (
    *(
        packet(
            f"IPv6: {text}",
            lambda ask, extensions: ask.ipv6(ask.upper, extensions=extensions),
            extensions,
            versions=V6,
        )
        for text, extensions in CHAINS
    ),
    *(
        packet(
            f"IPv6 payload length {length}",
            lambda ask, length: ask.ipv6(ask.upper, payload_length=length),
            length,
            versions=V6,
        )
        for length in (0, 7, 8, 20, 400, 65535)
    ),
    packet(
        "IPv6 payload length 0 behind hop-by-hop",
        lambda ask: ask.ipv6(ask.upper, payload_length=0, extensions=(hop_by_hop(),)),
        versions=V6,
    ),
    packet(
        "IPv6 traffic class 255", lambda ask: ask.ipv6(ask.upper, traffic_class=255), versions=V6
    ),
    packet("IPv6 flow label", lambda ask: ask.ipv6(ask.upper, flow_label=0xFFFFF), versions=V6),
    *(
        packet(
            f"IPv6 hop limit {limit}",
            lambda ask, limit: ask.ipv6(ask.upper, hop_limit=limit),
            limit,
            versions=V6,
        )
        for limit in (0, 1, 255)
    ),
)

MAPPED = "::ffff:192.0.2.66"
"""An IPv4 address as IPv6 has it."""

EITHER = (
    packet(
        "from an IPv4-mapped source", lambda ask: ask.ipv6(ask.upper, source=MAPPED), versions=V6
    ),
    packet(
        "to the broadcast address",
        lambda ask: ask.ipv4(ask.upper, destination="192.0.2.255"),
        versions=V4,
    ),
    *(
        packet(
            f"under protocol {number}",
            lambda ask, number: _other_protocol(number, ask),
            number,
        )
        for number in (0, 43, 44, 51, 60, 136)
    ),
    packet("in a tunnel", _tunnelled),
    packet("octets behind the datagram", lambda ask: ask.ip(_longer(ask, b"junkjunk"))),
    packet("a trailer behind the packet", lambda ask: ask.ip(ask.upper) + b"trailer"),
)


def _longer(ask: Ask, octets: bytes) -> Raw:
    return Raw(ask.protocol, ask.upper.wire(ask.source, ask.destination) + octets)


SHAPES = (*IPV4, *IPV6, *EITHER)
