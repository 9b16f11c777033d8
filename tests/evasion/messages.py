"""Odd DNS messages and UDP headers, each in one ordinary packet."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from tests.evasion.shape import Ask, Shape, Ts, message, shape
from tests.packets.build import Checksum, Udp
from tests.packets.message import (
    AA,
    AAAA,
    AD,
    ANY,
    CD,
    COOKIE,
    NS,
    QR,
    RA,
    RD,
    TC,
    TXT,
    Z,
    labels,
    name,
    opcode,
    opt,
    padding,
    question,
    record,
)

if TYPE_CHECKING:
    from collections.abc import Callable

HEADER = 12
"""Octets of a DNS header."""

PLAIN = message("plain", lambda ask: ask.query(ask.qname))

POINTER = 0xC0


def pointer(at: int, high: int = POINTER) -> bytes:
    """Return a compression pointer to an octet of the message."""
    return bytes([high | at >> 8, at & 0xFF])


def _mixed(text: str) -> str:
    return "".join(letter.upper() if at % 2 else letter for at, letter in enumerate(text))


LETTERS = (
    message("in capitals", lambda ask: ask.query(ask.qname.upper())),
    message("in mixed case", lambda ask: ask.query(_mixed(ask.qname))),
    message("dots inside one label", lambda ask: ask.query(labels(ask.qname.encode()))),
)


def _ends_in_header(at: int) -> Callable[[Ask], bytes]:
    """Return the query whose root octet is a pointer to an octet of the header."""
    return lambda ask: ask.query(ask.wire_name[:-1] + pointer(at))


def _forward(ask: Ask) -> bytes:
    """Return the query whose name stands behind the question."""
    return ask.query(pointer(HEADER + 6), behind=ask.wire_name)


def _twice_forward(ask: Ask) -> bytes:
    behind = pointer(HEADER + 8) + ask.wire_name
    return ask.query(pointer(HEADER + 6), behind=behind)


def _rest_behind(ask: Ask) -> bytes:
    """Return the query of which only the first label stands in the question."""
    first = 1 + ask.wire_name[0]
    at = HEADER + first + 2 + 4
    return ask.query(ask.wire_name[:first] + pointer(at), behind=ask.wire_name[first:])


def _rest_in_opt(ask: Ask) -> bytes:
    """Return the query whose last labels stand in an EDNS option."""
    first = 1 + ask.wire_name[0]
    at = HEADER + first + 2 + 4 + 11 + 4
    rest = ask.wire_name[first:]
    padded = b"\0\x0c" + len(rest).to_bytes(2) + rest
    cut = ask.wire_name[:first] + pointer(at)
    return ask.query(cut, counts=(1, 0, 0, 1), behind=opt(options=padded))


def _owner(ask: Ask) -> bytes:
    """Return the query whose name is the owner of an additional record."""
    behind = record(ask.wire_name, 1, b"\1\2\3\4")
    return ask.query(pointer(HEADER + 6), counts=(1, 0, 0, 1), behind=behind)


def _second_of_two(ask: Ask) -> bytes:
    """Return two questions of which the first points to the second's name."""
    behind = question(ask.qname)
    return ask.query(pointer(HEADER + 6), counts=(2, 0, 0, 0), behind=behind)


POINTERS = (
    *(
        message(f"root is a pointer to the header's octet {at}", _ends_in_header(at))
        for at in range(HEADER)
    ),
    *(
        message(
            f"root is a pointer to octet {at} of an ID with zeros",
            lambda ask, at: query_of(ask, pointer(at), ident=0x1200 if at else 0x0012),
            at,
        )
        for at in (0, 1)
    ),
    message(
        "root is a pointer to the zero flags",
        lambda ask: ask.query(ask.wire_name[:-1] + pointer(2), flags=0),
    ),
    *(
        message(
            f"root is a pointer to the zero octet {at}, with EDNS",
            lambda ask, at: ask.query(
                ask.wire_name[:-1] + pointer(at), counts=(1, 0, 0, 1), behind=opt()
            ),
            at,
        )
        for at in (4, 6, 8)
    ),
    message(
        "root is a pointer to a zero octet, of type TXT",
        lambda ask: ask.query(ask.wire_name[:-1] + pointer(4), TXT),
    ),
    message(
        "root is a pointer to a zero octet, nothing behind",
        lambda ask: ask.query(ask.wire_name[:-1] + pointer(4))[:-4],
    ),
    message(
        "root is a pointer to a root octet behind the question",
        lambda ask: ask.query(
            ask.wire_name[:-1] + pointer(HEADER + len(ask.wire_name) + 5), behind=b"\0"
        ),
    ),
    message(
        "root is a pointer to its own second octet's zero",
        lambda ask: ask.query(
            ask.wire_name[:-1] + pointer(HEADER + len(ask.wire_name) + 1), behind=b""
        ),
    ),
    message("name is a pointer forward", _forward),
    message("name is a pointer to a pointer", _twice_forward),
    message("rest of the name behind the question", _rest_behind),
    message("rest of the name in an EDNS option", _rest_in_opt),
    message("name is the owner of an additional record", _owner),
    message("name is that of the second question", _second_of_two),
    message("name is a pointer to itself", lambda ask: ask.query(pointer(HEADER))),
)


def query_of(ask: Ask, ending: bytes, ident: int) -> bytes:
    """Return a query with another ID, whose root octet is replaced by `ending`."""
    return replace(ask, ident=ident).query(ask.wire_name[:-1] + ending)


COUNTS = (
    *(
        message(
            f"QDCOUNT {count}, one question",
            lambda ask, count: ask.query(ask.qname, counts=(count, 0, 0, 0)),
            count,
        )
        for count in (0, 2, 3, 255, 256, 257, 0xFFFF)
    ),
    message(
        "QDCOUNT 2, a harmless question behind",
        lambda ask: ask.query(ask.qname, counts=(2, 0, 0, 0), behind=question(ask.harmless)),
    ),
    message(
        "QDCOUNT 2, a harmless question before",
        lambda ask: ask.query(ask.harmless, counts=(2, 0, 0, 0), behind=ask.question),
    ),
    message(
        "QDCOUNT 2, the question twice",
        lambda ask: ask.query(ask.qname, counts=(2, 0, 0, 0), behind=ask.question),
    ),
    message(
        "QDCOUNT 1, a harmless question before it uncounted",
        lambda ask: ask.query(ask.harmless, behind=ask.question),
    ),
    message(
        "ANCOUNT 1 and an answer",
        lambda ask: ask.query(
            ask.qname, counts=(1, 1, 0, 0), behind=record(ask.wire_name, 1, b"\1\2\3\4")
        ),
    ),
    message(
        "NSCOUNT 1 and an authority",
        lambda ask: ask.query(
            ask.qname, counts=(1, 0, 1, 0), behind=record(ask.wire_name, NS, b"\0")
        ),
    ),
    *(
        message(
            f"{text} 1 and no record",
            lambda ask, counts: ask.query(ask.qname, counts=counts),
            counts,
        )
        for text, counts in {
            "ANCOUNT": (1, 1, 0, 0),
            "NSCOUNT": (1, 0, 1, 0),
            "ARCOUNT": (1, 0, 0, 1),
        }.items()
    ),
)

FLAGS = (
    *(
        message(
            f"OPCODE {number}",
            lambda ask, number: ask.query(ask.qname, flags=RD | opcode(number)),
            number,
        )
        for number in range(1, 16)
    ),
    *(
        message(f"flags: {text}", lambda ask, flags: ask.query(ask.qname, flags=flags), flags)
        for text, flags in {
            "none": 0,
            "QR": QR,
            "QR and AA": QR | AA,
            "TC": TC | RD,
            "AA": AA | RD,
            "RA": RA | RD,
            "Z": Z | RD,
            "AD and CD": AD | CD | RD,
            "RCODE 5": RD | 5,
            "RCODE 15": RD | 15,
            "all but QR and OPCODE": 0x07FF,
        }.items()
    ),
)

TYPES = (
    *(
        message(f"class {number}", lambda ask, number: ask.query(ask.qname, qclass=number), number)
        for number in (0, 2, 3, 4, 254, 255, 0x8001, 0xFFFF)
    ),
    *(
        message(f"type {number}", lambda ask, number: ask.query(ask.qname, number), number)
        for number in (0, 6, TXT, AAAA, ANY, 41, 46, 249, 250, 251, 252, 65535)
    ),
)

LABELS = (
    *(
        message(
            f"label type {octet:#x} before the name",
            lambda ask, octet: ask.query(bytes([octet]) + ask.wire_name),
            octet,
        )
        for octet in (0x40, 0x41, 0x80, 0xBF)
    ),
    message("a root octet before the name", lambda ask: ask.query(b"\0" + ask.wire_name)),
    message(
        "no root octet behind the name",
        lambda ask: ask.query(ask.wire_name[:-1]),
    ),
    message("the question cut in its type", lambda ask: ask.query(ask.qname)[:-3]),
    message("the question cut in its class", lambda ask: ask.query(ask.qname)[:-1]),
)

EDNS = (
    *(
        message(
            f"EDNS {text}",
            lambda ask, behind: ask.query(ask.qname, counts=(1, 0, 0, 1), behind=behind),
            behind,
        )
        for text, behind in {
            "bare": opt(),
            "version 1": opt(version=1),
            "version 255": opt(version=255),
            "of size 0": opt(0),
            "with all flags": opt(flags=0xFFFF),
            "with a cookie": opt(options=COOKIE),
            "with 1000 octets of padding": opt(options=padding(1000)),
            "with a client subnet": opt(options=b"\0\x08\0\7\0\1\x18\0\xc0\0\2"),
            "with an option of an unknown code": opt(options=b"\xff\xee\0\4abcd"),
            "of which the options are cut": opt(options=padding(20), length=40),
        }.items()
    ),
    message(
        "EDNS twice",
        lambda ask: ask.query(ask.qname, counts=(1, 0, 0, 2), behind=opt() + opt()),
    ),
    message(
        "EDNS as an answer",
        lambda ask: ask.query(ask.qname, counts=(1, 1, 0, 0), behind=opt()),
    ),
    message(
        "EDNS of an owner that is no root",
        lambda ask: ask.query(
            ask.qname, counts=(1, 0, 0, 1), behind=record(name("opt.example"), 41, b"")
        ),
    ),
    message("junk behind the question", lambda ask: ask.query(ask.qname, behind=b"junk" * 8)),
    message(
        "1,200 octets of zeros behind the question",
        lambda ask: ask.query(ask.qname, behind=bytes(1200)),
    ),
)


def _header(called: str, build: Callable[[Ask, bytes, *Ts], Udp], *args: *Ts) -> Shape:
    """Return the shape of an odd UDP header before the plain message."""
    return shape(called, lambda ask: [ask.frame(build(ask, ask.query(ask.qname), *args))])


UDP_HEADERS = (
    *(
        _header(
            f"UDP length {length}",
            lambda ask, text, length: Udp(text, sport=ask.port, length=length),
            length,
        )
        for length in (0, 7, 8, 500, 65535)
    ),
    *(
        _header(
            f"UDP length leaves out {octets} octets",
            lambda ask, text, octets: Udp(
                text + bytes(octets), sport=ask.port, length=8 + len(text), checksum=0
            ),
            octets,
        )
        for octets in (1, 30)
    ),
    _header("UDP checksum 0", lambda ask, text: Udp(text, sport=ask.port, checksum=0)),
    _header("UDP checksum wrong", lambda ask, text: Udp(text, sport=ask.port, checksum=0x4141)),
    _header(
        "UDP checksum half done",
        lambda ask, text: Udp(text, sport=ask.port, checksum=Checksum.HALF_DONE),
    ),
    *(
        _header(f"from port {port}", lambda _, text, port: Udp(text, sport=port), port)
        for port in (7, 53, 853)
    ),
)

PORT_ZERO = replace(
    _header("from port 0", lambda _, text: Udp(text, sport=0)),
    alone=True,  # Knot and BIND send a batch of answers, which ends at one that cannot be sent
)

SHAPES = (
    PLAIN,
    *LETTERS,
    *POINTERS,
    *COUNTS,
    *FLAGS,
    *TYPES,
    *LABELS,
    *EDNS,
    *UDP_HEADERS,
    PORT_ZERO,
)
