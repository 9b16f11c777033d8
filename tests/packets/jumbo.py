"""Cases of frames that lie in several buffers, as a card with a large MTU delivers them.

The program reads the first buffer alone: what does not lie in it is passed as `other`,
and nothing is answered. Most frames here are no longer than any other, and cut early: an
engine that can say where the first buffer ends takes any length.
"""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    MF,
    Tcp,
    Udp,
    destination_options,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
)
from tests.packets.case import (
    TABLES,
    Case,
    Result,
    Rule,
    Scene,
    allow,
    below,
    drop,
    dropped,
    listed,
    passed,
    truncate,
    zone,
)
from tests.packets.message import QR, edns_query, eights, long_name, opcode, opt, padding, query
from tests.packets.xsk import DESTINATIONS
from xdpctl.abi import Reason
from xdpctl.settings import XskFamily

NO_MATCH = passed(Reason.NO_MATCH)
OTHER = passed(Reason.OTHER)
MALFORMED = dropped(Reason.MALFORMED)

QUERY = edns_query("www.bad.example", opt(options=padding(400)))
QUESTION_END = 12 + 17 + 4
"""Octets of the message up to the end of its question."""

HEADERS = {4: 14 + 20 + 8, 6: 14 + 40 + 8}
"""Octets before the message."""


def _frame(version: int, message: bytes = QUERY) -> bytes:
    return ethernet(ipv4(Udp(message)) if version == 4 else ipv6(Udp(message)))


def _scene(first: int, *rules: Rule) -> Scene:
    return Scene(rules, TABLES, first_buffer=first)


def _case(description: str, first: int, frame: bytes, result: Result, *rules: Rule) -> Case:
    return Case(description, _scene(first, *rules), frame, result)


_BAD = (drop("www.bad.example"), zone(drop(b"\0")), listed(drop(b"\0")))

QUESTIONS = (
    *(
        _case(
            f"a question that ends where the first buffer does, v{version}",
            HEADERS[version] + QUESTION_END,
            _frame(version),
            dropped(Reason.QNAME, 0),
            *_BAD,
        )
        for version in (4, 6)
    ),
    *(
        _case(
            f"a question of which {missing} octets lie in the second buffer, v{version}",
            HEADERS[version] + QUESTION_END - missing,
            _frame(version),
            OTHER,
            *_BAD,
        )
        for version in (4, 6)
        for missing in range(1, QUESTION_END - 12 + 1)
    ),
    *(
        _case(
            f"a DNS header of which {missing} octets lie in the second buffer",
            HEADERS[4] + 12 - missing,
            _frame(4),
            OTHER,
            *_BAD,
        )
        for missing in (1, 6, 12)
    ),
    *(
        _case(
            f"a frame of {size} octets whose first buffer has {first}",
            first,
            _frame(4, edns_query("www.bad.example", opt(options=padding(size - 90)))),
            dropped(Reason.QNAME, 0),
            *_BAD,
        )
        for size, first in ((300, 128), (2000, 256), (2900, 2000))
    ),
    _case(
        "a zone's name in the first buffer",
        HEADERS[4] + QUESTION_END,
        _frame(4),
        dropped(Reason.ZONE, 0),
        below(drop("example")),
    ),
    _case(
        "a name of a list in the first buffer",
        HEADERS[6] + QUESTION_END,
        _frame(6),
        passed(Reason.LIST_NAME, 0),
        listed(zone(allow("bad.example"))),
    ),
    _case(
        "a first buffer that is longer than the frame is all of it",
        4096,
        _frame(4)[: HEADERS[4] + QUESTION_END - 1],
        NO_MATCH,
        *_BAD,
    ),
    _case(
        "a first buffer that is as long as the frame is all of it",
        HEADERS[4] + QUESTION_END - 1,
        _frame(4)[: HEADERS[4] + QUESTION_END - 1],
        NO_MATCH,
        *_BAD,
    ),
    *(
        _case(
            f"a name that cannot be read though the buffer goes on: {text}",
            HEADERS[4] + first,
            _frame(4, query(wire, behind=bytes(64))),
            NO_MATCH,
            *_BAD,
        )
        for text, wire, first in (
            ("a label of 64 octets", b"\x40" + b"a" * 64 + b"\0", 12 + 20),
            ("256 octets", long_name(256), 12 + 256),
            ("300 octets", long_name(300), 12 + 270),
        )
    ),
    _case(
        "a compression pointer in the first buffer",
        HEADERS[4] + 12 + 6,
        _frame(4, query(b"\3www\xc0\x0c", behind=bytes(64))),
        MALFORMED,
        *_BAD,
    ),
    *(
        _case(
            f"a question that nobody looks at need not be whole: {text}",
            HEADERS[4] + 20,
            _frame(4, message + bytes(64)),
            NO_MATCH,
            *_BAD,
        )
        for text, message in (
            ("a response", query("www.bad.example", flags=QR)),
            ("NOTIFY", query("www.bad.example", flags=opcode(4))),
            ("UPDATE", query("www.bad.example", flags=opcode(5))),
            ("QDCOUNT 0", query("www.bad.example", counts=(0, 0, 0, 0))),
        )
    ),
)

_V4, _V6 = _frame(4), _frame(6)
_LONG_CHAIN = ethernet(
    ipv6(Udp(QUERY), extensions=(hop_by_hop(30), destination_options(30), destination_options(30)))
)

HEADERS_CUT = (
    *(
        _case(f"{first} octets of an IPv4 frame", first, _V4, OTHER, *_BAD, drop(CLIENT4))
        for first in (14, 15, 33, 34, 35, 41)
    ),
    *(
        _case(f"{first} octets of an IPv6 frame", first, _V6, OTHER, *_BAD, drop(CLIENT6))
        for first in (14, 53, 54, 61)
    ),
    *(
        _case(
            f"a chain of extension headers that goes on behind {first} octets",
            first,
            _LONG_CHAIN,
            OTHER,
            drop("::/0"),
        )
        for first in (54, 60, 301, 302, 550, 797)
    ),
    _case(
        "a chain of extension headers that ends in the first buffer",
        54 + 3 * 248 + 8 + QUESTION_END,
        _LONG_CHAIN,
        dropped(Reason.QNAME, 0),
        *_BAD,
    ),
    _case(
        "TCP's ports in the first buffer, the rest in the second",
        14 + 20 + 4,
        ethernet(ipv4(Tcp(bytes(100)))),
        dropped(Reason.ADDR_V4, 0),
        drop(CLIENT4),
    ),
    _case(
        "TCP's ports in the second buffer",
        14 + 20 + 3,
        ethernet(ipv4(Tcp(bytes(100)))),
        OTHER,
        drop(CLIENT4),
    ),
)

SOURCES = tuple(
    _case(
        f"a source decides though the question is not in the first buffer: {text}",
        HEADERS[version] + 12,
        _frame(version),
        result,
        rule,
        *_BAD,
    )
    for text, version, rule, result in (
        ("v4, Drop", 4, drop(CLIENT4), dropped(Reason.ADDR_V4, 0)),
        ("v6, Drop of a prefix", 6, drop("2001:db8::/32"), dropped(Reason.CIDR6, 0)),
        ("v4, Pass", 4, allow(CLIENT4), passed(Reason.ADDR_V4, 0)),
        ("v6, a list's Drop", 6, listed(drop(CLIENT6)), dropped(Reason.LIST_SOURCE, 0)),
        ("v4, a list's Pass", 4, listed(allow("0.0.0.0/0")), passed(Reason.LIST_SOURCE, 0)),
    )
)

_UNANSWERABLE = dropped(Reason.UNANSWERABLE, 0)

ANSWERS = (
    *(
        _case(f"Truncate by {text} answers no such frame", first, frame, _UNANSWERABLE, rule)
        for text, first, frame, rule in (
            ("name", HEADERS[4] + QUESTION_END, _V4, truncate("www.bad.example")),
            ("zone", HEADERS[6] + QUESTION_END, _V6, zone(truncate("example"))),
            ("a list's name", 256, _V4, listed(truncate("www.bad.example"))),
            ("address", 256, _V4, truncate(CLIENT4)),
            ("address, the question cut", HEADERS[4] + 12, _V4, truncate(CLIENT4)),
            ("a list's prefix", len(_V6) - 1, _V6, listed(truncate("::/0"))),
        )
    ),
    _case(
        "Truncate by address passes a response",
        HEADERS[4] + 12,
        _frame(4, query("www.bad.example", flags=QR, behind=bytes(64))),
        passed(Reason.RESPONSE, 0),
        truncate(CLIENT4),
    ),
    _case(
        "Truncate by address passes TCP",
        100,
        ethernet(ipv4(Tcp(bytes(100)))),
        passed(Reason.ADDR_V4, 0),
        truncate(CLIENT4),
    ),
)

_FIRST4 = ethernet(ipv4(Udp(eights(QUERY)), flags=MF))
_FIRST6 = ethernet(ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True),)))
_ODD4 = ethernet(ipv4(Udp(eights(QUERY)[:-1]), flags=MF))
_SHORT4 = ethernet(ipv4(Udp(QUERY), flags=MF, total_length=20 + 8 + 16))
_CHAIN = ethernet(
    ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True), destination_options(10)))
)

FRAGMENTS = (
    *(
        _case(
            f"a first fragment's question in the first buffer and {odd} octets, v{version}",
            HEADERS[version] + more + QUESTION_END + odd,
            frame,
            dropped(Reason.QNAME, 0),
            *_BAD,
        )
        for version, frame, more in ((4, _FIRST4, 0), (6, _FIRST6, 8))
        for odd in (0, 1, 7, 8)
    ),
    *(
        _case(
            f"a first fragment's question with {missing} octets in the second buffer, v{version}",
            HEADERS[version] + more + QUESTION_END - missing,
            frame,
            OTHER,
            *_BAD,
        )
        for version, frame, more in ((4, _FIRST4, 0), (6, _FIRST6, 8))
        for missing in (1, 5, 9, QUESTION_END - 12)
    ),
    _case(
        "a first fragment of odd length is dropped, wherever its first buffer ends",
        HEADERS[4] + 56,
        _ODD4,
        dropped(Reason.FRAGMENT),
        *_BAD,
    ),
    _case(
        "a first fragment that hides its question, and ends in the first buffer",
        HEADERS[4] + 40,
        _SHORT4,
        dropped(Reason.FRAGMENT),
        *_BAD,
    ),
    _case(
        "a first fragment's UDP header that goes on in the second buffer",
        14 + 20 + 7,
        _FIRST4,
        OTHER,
        drop(CLIENT4),
    ),
    *(
        _case(
            f"a first fragment's chain that goes on behind {first} octets",
            first,
            _CHAIN,
            OTHER,
            drop(CLIENT6),
        )
        for first in (62, 63, 70, 149, 150, 157)
    ),
)

_XSK = replace(TABLES, xsk=XskFamily.BOTH)


def _xsk(first: int, *rules: Rule) -> Scene:
    return Scene(rules, _XSK, DESTINATIONS, (0,), first_buffer=first)


_EXACTLY = _frame(4, QUERY)
# The IP packet ends where the first buffer does, and the frame is padded: what an
# ineligible length would not show.
_PADDED = _frame(4, query("www.example")) + bytes(200)

SOCKETS = (
    Case("AF_XDP: no such frame", _xsk(256), _EXACTLY, passed(Reason.XSK_INELIGIBLE)),
    Case(
        "AF_XDP: no frame whose packet ends in its first buffer",
        _xsk(len(_PADDED) - 200),
        _PADDED,
        passed(Reason.XSK_INELIGIBLE),
    ),
    Case(
        "AF_XDP: an allowed name of such a frame is passed",
        _xsk(256, zone(allow("example"))),
        _EXACTLY,
        passed(Reason.ZONE, 0),
    ),
    Case("AF_XDP: a question not in the first buffer", _xsk(60), _EXACTLY, OTHER),
)

CASES = (*QUESTIONS, *HEADERS_CUT, *SOURCES, *ANSWERS, *FRAGMENTS, *SOCKETS)
