"""Cases of first fragments: rules still decide, and nobody hides a name in a later one."""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    DF,
    MF,
    Raw,
    Tag,
    Tcp,
    Udp,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
)
from tests.packets.case import (
    DEFAULT,
    Case,
    Scene,
    allow,
    drop,
    dropped,
    passed,
    truncate,
)
from tests.packets.message import QR, RD, edns_query, long_name, opcode, opt, padding, query
from xdpctl.abi import Reason

NO_MATCH = passed(Reason.NO_MATCH)
HIDDEN = dropped(Reason.FRAGMENT)

OPEN = Scene()
NAMED = Scene(rules=(drop("www.bad.example"), truncate("tc.example"), allow("ok.example")))
QUERY = query("www.bad.example")
LONG = edns_query("www.bad.example", opt(options=padding(100)))


def _first4(message: bytes, source: str = CLIENT4, dport: int = 53) -> bytes:
    return ethernet(ipv4(Udp(message, dport=dport), source=source, flags=MF))


def _first6(message: bytes, source: str = CLIENT6, dport: int = 53) -> bytes:
    chain = (fragment(more=True),)
    return ethernet(ipv6(Udp(message, dport=dport), source=source, extensions=chain))


WHOLE = (
    Case(
        "a first fragment with a whole dropped question, v4",
        NAMED,
        _first4(LONG[:48]),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a first fragment with a whole dropped question, v6",
        NAMED,
        _first6(LONG[:48]),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a first fragment with a whole question and nothing more",
        NAMED,
        _first4(QUERY),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a first fragment with a whole question of no rule, v4",
        NAMED,
        _first4(query("good.example")),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole question of no rule, v6",
        NAMED,
        _first6(query("good.example")),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole allowed question",
        NAMED,
        _first4(query("ok.example")),
        passed(Reason.QNAME, 2),
    ),
    Case(
        "a first fragment with a whole truncated question, v4",
        NAMED,
        _first4(query("tc.example")),
        dropped(Reason.UNANSWERABLE, 1),
    ),
    Case(
        "a first fragment with a whole truncated question, v6",
        NAMED,
        _first6(query("tc.example")),
        dropped(Reason.UNANSWERABLE, 1),
    ),
    Case(
        "a first fragment with a whole question but QDCOUNT 0",
        NAMED,
        _first4(query("www.bad.example", counts=(0, 0, 0, 0))),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole question of another OPCODE",
        NAMED,
        _first4(query("www.bad.example", flags=opcode(4))),
        NO_MATCH,
    ),
    Case(
        "a first fragment with DF",
        NAMED,
        ethernet(ipv4(Udp(QUERY), flags=MF | DF)),
        dropped(Reason.QNAME, 0),
    ),
)

_KINDS = {
    "header only": QUERY[:12],
    "name cut": QUERY[:20],
    "without its root octet": QUERY[:28],
    "type cut": QUERY[:30],
    "class cut": QUERY[:-1],
    "QDCOUNT 0": query("www.bad.example", counts=(0, 0, 0, 0))[:20],
    "QDCOUNT 2": query("www.bad.example", counts=(2, 0, 0, 0))[:20],
    "OPCODE 4": query("www.bad.example", flags=opcode(4))[:20],
    "OPCODE 15": query("www.bad.example", flags=opcode(15))[:20],
    "QDCOUNT 0, OPCODE 5": query("www.bad.example", flags=opcode(5), counts=(0, 1, 1, 0))[:20],
    "compression pointer": query(b"\3www\xc0\x14", behind=bytes(20)),
    "label of 64": query(b"\x40" + b"a" * 64 + b"\0"),
    "name of 256 octets": query(long_name(256)),
    "name of 257 octets": query(long_name(257)),
    "name of 300 octets": query(long_name(300)),
}

HIDING = (
    *(
        Case(f"a first fragment without its question ({text}), v4", OPEN, _first4(message), HIDDEN)
        for text, message in _KINDS.items()
    ),
    *(
        Case(f"a first fragment without its question ({text}), v6", OPEN, _first6(message), HIDDEN)
        for text, message in _KINDS.items()
    ),
    *(
        Case(
            f"a whole packet without its question ({text})",
            OPEN,
            ethernet(ipv4(Udp(message))),
            NO_MATCH,
        )
        for text, message in _KINDS.items()
    ),
    *(
        Case(
            f"an atomic fragment without its question ({text})",
            OPEN,
            ethernet(ipv6(Udp(message), extensions=(fragment(),))),
            NO_MATCH,
        )
        for text, message in _KINDS.items()
    ),
    *(
        Case(
            f"a response's first fragment ({text})",
            OPEN,
            _first4(message[:2] + b"\x81" + message[3:]),
            NO_MATCH,
        )
        for text, message in _KINDS.items()
    ),
    Case(
        "a hidden name in a VLAN",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:20]), flags=MF), tags=(Tag(),)),
        HIDDEN,
    ),
    Case(
        "a hidden name behind IP options",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:20]), flags=MF, options=bytes(8))),
        HIDDEN,
    ),
    Case(
        "a hidden name behind hop-by-hop",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:20]), extensions=(hop_by_hop(), fragment(more=True)))),
        HIDDEN,
    ),
    Case(
        "a hidden name behind an atomic fragment inside a first one",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:20]), extensions=(fragment(more=True), fragment()))),
        HIDDEN,
    ),
    Case(
        "a hidden name behind a first fragment inside an atomic one",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:20]), extensions=(fragment(), fragment(more=True)))),
        HIDDEN,
    ),
    Case(
        "a hidden name to the second port",
        Scene(config=replace(DEFAULT, ports=(53, 5353))),
        _first4(QUERY[:20], dport=5353),
        HIDDEN,
    ),
    Case(
        "a hidden name to an --address-port",
        Scene(config=replace(DEFAULT, address_ports=(853,))),
        _first4(QUERY[:20], dport=853),
        NO_MATCH,
    ),
    Case(
        "a hidden name to another port", OPEN, _first4(QUERY[:20], dport=54), passed(Reason.OTHER)
    ),
    Case("a first fragment of TCP", OPEN, ethernet(ipv4(Tcp(), flags=MF)), NO_MATCH),
    Case(
        "a first fragment of TCP, v6",
        OPEN,
        ethernet(ipv6(Tcp(), extensions=(fragment(more=True),))),
        NO_MATCH,
    ),
    Case(
        "a first fragment of which even the UDP header is cut",
        OPEN,
        ethernet(ipv4(Raw(17, bytes(4)), flags=MF)),
        passed(Reason.OTHER),
    ),
    Case(
        "a first fragment of ICMP",
        OPEN,
        ethernet(ipv4(Raw(1, bytes(8)), flags=MF)),
        passed(Reason.OTHER),
    ),
)

_ADDRESSES = Scene(
    rules=(
        drop("192.0.2.1"),
        allow("192.0.2.2"),
        truncate("192.0.2.3"),
        drop("2001:db8:1::/64"),
        allow("2001:db8:2::/64"),
        truncate("2001:db8:3::/64"),
    )
)

BY_ADDRESS = (
    Case(
        "a hidden name from a dropped address",
        _ADDRESSES,
        _first4(QUERY[:20], "192.0.2.1"),
        dropped(Reason.ADDR_V4, 0),
    ),
    Case(
        "a hidden name from an allowed address",
        _ADDRESSES,
        _first4(QUERY[:20], "192.0.2.2"),
        passed(Reason.ADDR_V4, 1),
    ),
    Case(
        "a hidden name from a truncated address",
        _ADDRESSES,
        _first4(QUERY[:20], "192.0.2.3"),
        dropped(Reason.UNANSWERABLE, 2),
    ),
    Case(
        "a whole question in a first fragment from a truncated address",
        _ADDRESSES,
        _first4(QUERY, "192.0.2.3"),
        dropped(Reason.UNANSWERABLE, 2),
    ),
    Case(
        "a response's first fragment from a truncated address",
        _ADDRESSES,
        _first4(query("a.example", flags=QR | RD), "192.0.2.3"),
        passed(Reason.RESPONSE, 2),
    ),
    Case(
        "NOTIFY's first fragment from a truncated address",
        _ADDRESSES,
        _first4(query("a.example", flags=opcode(4)), "192.0.2.3"),
        passed(Reason.OPCODE, 2),
    ),
    Case(
        "NOTIFY's first fragment with a hidden name from a truncated address",
        _ADDRESSES,
        _first4(query("a.example", flags=opcode(4))[:14], "192.0.2.3"),
        passed(Reason.OPCODE, 2),
    ),
    Case(
        "a hidden name from an unknown address",
        _ADDRESSES,
        _first4(QUERY[:20], "192.0.2.4"),
        HIDDEN,
    ),
    Case(
        "a hidden name from a dropped prefix",
        _ADDRESSES,
        _first6(QUERY[:20], "2001:db8:1::1"),
        dropped(Reason.CIDR6, 3),
    ),
    Case(
        "a hidden name from an allowed prefix",
        _ADDRESSES,
        _first6(QUERY[:20], "2001:db8:2::1"),
        passed(Reason.CIDR6, 4),
    ),
    Case(
        "a hidden name from a truncated prefix",
        _ADDRESSES,
        _first6(QUERY[:20], "2001:db8:3::1"),
        dropped(Reason.UNANSWERABLE, 5),
    ),
    Case(
        "a hidden name from an unknown prefix",
        _ADDRESSES,
        _first6(QUERY[:20], "2001:db8:4::1"),
        HIDDEN,
    ),
)

CASES = (*WHOLE, *HIDING, *BY_ADDRESS)
