"""One question that is to be asked, a shape that asks it, and the pieces of shapes.

Everything here is about one trial: `Ask` says who asks whom for what, a `Shape` makes
frames of it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, TypeVarTuple

from tests.packets.build import (
    DNS_PORT,
    MF,
    TCP,
    UDP,
    Raw,
    Udp,
    ethernet,
    fragment,
    internet_checksum,
    ipv4,
    ipv6,
)
from tests.packets.message import name, opt, padding, query, question

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.packets.build import Extension, Upper

V4 = (4,)
V6 = (6,)
BOTH = (4, 6)

PADDING = 60
"""Octets of EDNS padding behind a question that is sent in fragments."""


@dataclass(frozen=True, slots=True)
class Syn:
    """A TCP SYN with its right checksum and 40 octets of options, all of them no-operation."""

    sport: int
    protocol: int = TCP

    def wire(self, source: str, destination: str) -> bytes:
        """Return the segment; the addresses are for the checksum."""
        options = b"\1" * 40
        words = 5 + len(options) // 4
        ports = struct.pack("!HHIIBBH", self.sport, DNS_PORT, 1, 0, words << 4, 2, 4096)
        ends = ip_address(source).packed + ip_address(destination).packed
        pseudo = ends + struct.pack("!HH", TCP, words * 4)
        checksum = internet_checksum(pseudo + ports + bytes(4) + options)
        return ports + struct.pack("!HH", checksum, 0) + options


@dataclass(frozen=True, slots=True)
class Ask:
    """Who asks whom for what, once.

    Attributes:
        version: of IP.
        source: address that asks.
        destination: address of the server.
        client_mac: of the sender.
        server_mac: of the server, or of the router before it.
        qname: what is asked for.
        port: that the answer goes to; tells trials apart.
        ident: of the DNS message and of fragments; tells trials apart too.
        protocol: UDP for a query of type A, TCP for a SYN.
    """

    version: int
    source: str
    destination: str
    client_mac: bytes
    server_mac: bytes
    qname: str
    port: int
    ident: int
    protocol: int = UDP

    @property
    def wire_name(self) -> bytes:
        """The name in wire form."""
        return name(self.qname)

    @property
    def question(self) -> bytes:
        """Name, type A and class IN."""
        return question(self.qname)

    @property
    def harmless(self) -> str:
        """A name of the same length that nobody has: the last label is another."""
        kept, _, last = self.qname.rpartition(".")
        return f"{kept}.{'q' * len(last)}"

    @property
    def query(self) -> partial[bytes]:
        """The message of the question; further fields as message.query has them."""
        return partial(query, ident=self.ident)

    def udp(self, message: bytes) -> Udp:
        """Return the datagram of a message."""
        return Udp(message, sport=self.port)

    @property
    def upper(self) -> Upper:
        """What an IP packet carries: the plain query, or a SYN."""
        return Syn(self.port) if self.protocol == TCP else self.udp(self.query(self.qname))

    @property
    def data(self) -> bytes:
        """The octets of the question to be cut into fragments, long enough for many."""
        return self.long_upper.wire(self.source, self.destination)

    @property
    def long_upper(self) -> Upper:
        """Like `upper`, but the query has padding behind its question."""
        if self.protocol == TCP:
            return Syn(self.port)
        behind = opt(options=padding(PADDING))
        return self.udp(self.query(self.qname, counts=(1, 0, 0, 1), behind=behind))

    @property
    def ipv4(self) -> partial[bytes]:
        """An IPv4 packet from source to destination; further fields as build.ipv4 has them."""
        return partial(ipv4, source=self.source, destination=self.destination)

    @property
    def ipv6(self) -> partial[bytes]:
        """The same over IPv6."""
        return partial(ipv6, source=self.source, destination=self.destination)

    @property
    def ethernet(self) -> partial[bytes]:
        """A frame from client to server; further fields as build.ethernet has them."""
        return partial(ethernet, source=self.client_mac, destination=self.server_mac)

    def ip(self, upper: Upper) -> bytes:
        """Return an ordinary packet of this ask's version."""
        return self.ipv4(upper) if self.version == 4 else self.ipv6(upper)

    def frame(self, upper: Upper) -> bytes:
        """Return an ordinary frame."""
        return self.ethernet(self.ip(upper))

    def piece(  # noqa: PLR0913 - one argument a field of the fragment
        self,
        at: int,
        octets: bytes,
        *,
        more: bool,
        protocol: int | None = None,
        before: Sequence[Extension] = (),
        ident: int | None = None,
    ) -> bytes:
        """Return the packet of one fragment.

        Args:
            at: its offset in octets, a multiple of eight.
            octets: what it carries.
            more: whether more fragments follow.
            protocol: of the whole packet, where it is not this ask's.
            before: IPv6 extension headers before the fragment header.
            ident: of the packet, where it is not this ask's.
        """
        carried = Raw(self.protocol if protocol is None else protocol, octets)
        number = self.ident if ident is None else ident
        if self.version == 4:
            return self.ipv4(carried, ident=number, flags=MF if more else 0, offset=at // 8)
        header = fragment(at // 8, more=more, ident=number)
        return self.ipv6(carried, extensions=(*before, header))

    def pieces(
        self,
        octets: bytes,
        *cuts: int,
        protocol: int | None = None,
        before: Sequence[Extension] = (),
    ) -> list[bytes]:
        """Return the frames of a packet in fragments, cut at these multiples of eight."""
        ends = (*cuts, len(octets))
        return [
            self.ethernet(
                self.piece(
                    start,
                    octets[start:end],
                    more=end < len(octets),
                    protocol=protocol,
                    before=before,
                )
            )
            for start, end in zip((0, *cuts), ends, strict=True)
        ]


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to send a question.

    Attributes:
        name: what is odd about it; unique in the table.
        frames: the frames that ask, in order.
        versions: of IP that it is for.
        any_protocol: whether it fits a SYN as well as a query.
        alone: whether it has to be sent apart: a server may lose its answers to others.
    """

    name: str
    frames: Callable[[Ask], Sequence[bytes]]
    versions: tuple[int, ...] = BOTH
    any_protocol: bool = False
    alone: bool = False


Ts = TypeVarTuple("Ts")


def shape(
    called: str,
    frames: Callable[[Ask, *Ts], Sequence[bytes]],
    *args: *Ts,
    versions: tuple[int, ...] = BOTH,
    any_protocol: bool = False,
) -> Shape:
    """Return a shape whose function takes further arguments."""
    return Shape(called, lambda ask: frames(ask, *args), versions, any_protocol)


def message(called: str, build: Callable[[Ask, *Ts], bytes], *args: *Ts) -> Shape:
    """Return the shape of one ordinary frame with an odd message."""
    return Shape(called, lambda ask: [ask.frame(ask.udp(build(ask, *args)))])


def packet(
    called: str,
    build: Callable[[Ask, *Ts], bytes],
    *args: *Ts,
    versions: tuple[int, ...] = BOTH,
) -> Shape:
    """Return the shape of one ordinary frame with an odd IP packet, of any protocol."""
    return Shape(called, lambda ask: [ask.ethernet(build(ask, *args))], versions, any_protocol=True)


def pieces(
    called: str,
    frames: Callable[[Ask, *Ts], Sequence[bytes]],
    *args: *Ts,
    versions: tuple[int, ...] = BOTH,
) -> Shape:
    """Return the shape of several frames that carry any protocol."""
    return Shape(called, lambda ask: frames(ask, *args), versions, any_protocol=True)


def in_any_order(one: Shape) -> tuple[Shape, Shape]:
    """Return a shape and its like with the frames in reverse."""

    def reverse(ask: Ask) -> Sequence[bytes]:
        return one.frames(ask)[::-1]

    return one, replace(one, name=f"{one.name}, reversed", frames=reverse)
