"""Cases of first fragments: rules still decide, and nobody hides a name in a later one.

Nor a chain of headers, a port, or octets that other fragments go on from elsewhere. What
shapes are tried are those of an attack on seven real servers, and their neighbours.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    DF,
    MF,
    Extension,
    Raw,
    Tag,
    Tcp,
    Udp,
    authentication,
    destination_options,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
    pad,
)
from tests.packets.case import DEFAULT, Case, Scene, allow, drop, dropped, passed, truncate
from tests.packets.message import QR, RD, edns_query, eights, long_name, opcode, opt, padding, query
from xdpctl.abi import Reason

NO_MATCH = passed(Reason.NO_MATCH)
HIDDEN = dropped(Reason.FRAGMENT)
QNAME = dropped(Reason.QNAME, 0)
TRUNCATED = dropped(Reason.UNANSWERABLE, 2)

OPEN = Scene()
EVERYBODY = Scene(rules=(allow("0.0.0.0/0"), allow("::/0")))
NAMED = Scene(rules=(drop("www.bad.example"), truncate("tc.example"), allow("ok.example")))
QUERY = query("www.bad.example")
LONG = edns_query("www.bad.example", opt(options=padding(100)))
OTHER = passed(Reason.OTHER)
MALFORMED = dropped(Reason.MALFORMED)


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
        _first4(eights(QUERY)),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a first fragment with a whole question of no rule, v4",
        NAMED,
        _first4(eights(query("good.example"))),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole question of no rule, v6",
        NAMED,
        _first6(eights(query("good.example"))),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole allowed question",
        NAMED,
        _first4(eights(query("ok.example"))),
        passed(Reason.QNAME, 2),
    ),
    Case(
        "a first fragment with a whole truncated question, v4",
        NAMED,
        _first4(eights(query("tc.example"))),
        dropped(Reason.UNANSWERABLE, 1),
    ),
    Case(
        "a first fragment with a whole truncated question, v6",
        NAMED,
        _first6(eights(query("tc.example"))),
        dropped(Reason.UNANSWERABLE, 1),
    ),
    Case(
        "a first fragment with a whole question but QDCOUNT 0",
        NAMED,
        _first4(eights(query("www.bad.example", counts=(0, 0, 0, 0)))),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole question of another OPCODE",
        NAMED,
        _first4(eights(query("www.bad.example", flags=opcode(4)))),
        NO_MATCH,
    ),
    Case(
        "a first fragment with a whole dropped question of OPCODE 2",
        NAMED,
        _first4(eights(query("www.bad.example", flags=opcode(2)))),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a first fragment with DF",
        NAMED,
        ethernet(ipv4(Udp(eights(QUERY)), flags=MF | DF)),
        dropped(Reason.QNAME, 0),
    ),
)

_KINDS = {
    "label cut": query(b"\4" + b"a" * 4)[:16],
    "name cut": QUERY[:24],
    "without its root octet": query(long_name(21))[:-5],
    "type not there": query(long_name(20))[:-4],
    "type cut": query(long_name(19))[:-3],
    "class not there": query(long_name(18 + 8))[:-2],
    "class cut": query(long_name(17))[:-1],
    "QDCOUNT 0": query("www.bad.example", counts=(0, 0, 0, 0))[:24],
    "QDCOUNT 2": query("www.bad.example", counts=(2, 0, 0, 0))[:24],
    "OPCODE 4": query("www.bad.example", flags=opcode(4))[:24],
    "OPCODE 15": query("www.bad.example", flags=opcode(15))[:24],
    "QDCOUNT 0, OPCODE 5": query("www.bad.example", flags=opcode(5), counts=(0, 1, 1, 0))[:24],
    "half a compression pointer": query(b"\3www" + b"\6abcdef" + b"\xc0")[:24],
    "compression pointer, QDCOUNT 0": eights(query(b"\3www\xc0\x14", counts=(0, 0, 0, 0))),
    "compression pointer, OPCODE 4": eights(query(b"\3www\xc0\x14", flags=opcode(4))),
    "compression pointer, OPCODE 5": eights(query(b"\3www\xc0\x14", flags=opcode(5))),
    "label of 64": eights(query(b"\x40" + b"a" * 64 + b"\0")),
    "length of 0xbf": eights(query(b"\xbf" + b"a" * 191 + b"\0")),
    "name of 256 octets": eights(query(long_name(256))),
    "name of 257 octets": eights(query(long_name(257))),
    "name of 300 octets": eights(query(long_name(300))),
    "compression pointer behind 255 octets": eights(query(long_name(256)[:-1] + b"\xc0\x0c")),
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
        ethernet(ipv4(Udp(QUERY[:24]), flags=MF), tags=(Tag(),)),
        HIDDEN,
    ),
    Case(
        "a hidden name behind IP options",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:24]), flags=MF, options=bytes(8))),
        HIDDEN,
    ),
    Case(
        "a hidden name behind hop-by-hop",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:24]), extensions=(hop_by_hop(), fragment(more=True)))),
        HIDDEN,
    ),
    Case(
        "a hidden name behind an atomic fragment inside a first one",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:24]), extensions=(fragment(more=True), fragment()))),
        HIDDEN,
    ),
    Case(
        "a hidden name behind a first fragment inside an atomic one",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:24]), extensions=(fragment(), fragment(more=True)))),
        HIDDEN,
    ),
    Case(
        "a hidden name to the second port",
        Scene(config=replace(DEFAULT, ports=(53, 5353))),
        _first4(QUERY[:24], dport=5353),
        HIDDEN,
    ),
    Case(
        "a hidden name to an --address-port",
        Scene(config=replace(DEFAULT, address_ports=(853,))),
        _first4(QUERY[:24], dport=853),
        NO_MATCH,
    ),
    Case(
        "a hidden name to another port", OPEN, _first4(QUERY[:24], dport=54), passed(Reason.OTHER)
    ),
    Case("a first fragment of TCP", OPEN, ethernet(ipv4(Tcp(bytes(4)), flags=MF)), NO_MATCH),
    Case(
        "a first fragment of TCP, v6",
        OPEN,
        ethernet(ipv6(Tcp(bytes(4)), extensions=(fragment(more=True),))),
        NO_MATCH,
    ),
    Case(
        "a first fragment of which even the UDP header is cut",
        OPEN,
        ethernet(ipv4(Raw(17, bytes(4)), flags=MF)),
        HIDDEN,
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
        _first4(QUERY[:24], "192.0.2.1"),
        dropped(Reason.ADDR_V4, 0),
    ),
    Case(
        "a hidden name from an allowed address",
        _ADDRESSES,
        _first4(QUERY[:24], "192.0.2.2"),
        passed(Reason.ADDR_V4, 1),
    ),
    Case(
        "a hidden name from a truncated address",
        _ADDRESSES,
        _first4(QUERY[:24], "192.0.2.3"),
        dropped(Reason.UNANSWERABLE, 2),
    ),
    Case(
        "a whole question in a first fragment from a truncated address",
        _ADDRESSES,
        _first4(eights(QUERY), "192.0.2.3"),
        dropped(Reason.UNANSWERABLE, 2),
    ),
    Case(
        "a response's first fragment from a truncated address",
        _ADDRESSES,
        _first4(eights(query("a.example", flags=QR | RD)), "192.0.2.3"),
        passed(Reason.RESPONSE, 2),
    ),
    Case(
        "NOTIFY's first fragment from a truncated address",
        _ADDRESSES,
        _first4(eights(query("a.example", flags=opcode(4))), "192.0.2.3"),
        passed(Reason.OPCODE, 2),
    ),
    Case(
        "NOTIFY's first fragment with a hidden name from a truncated address",
        _ADDRESSES,
        _first4(query("a.example", flags=opcode(4))[:16], "192.0.2.3"),
        passed(Reason.OPCODE, 2),
    ),
    Case(
        "a hidden name from an unknown address",
        _ADDRESSES,
        _first4(QUERY[:24], "192.0.2.4"),
        HIDDEN,
    ),
    Case(
        "a hidden name from a dropped prefix",
        _ADDRESSES,
        _first6(QUERY[:24], "2001:db8:1::1"),
        dropped(Reason.CIDR6, 3),
    ),
    Case(
        "a hidden name from an allowed prefix",
        _ADDRESSES,
        _first6(QUERY[:24], "2001:db8:2::1"),
        passed(Reason.CIDR6, 4),
    ),
    Case(
        "a hidden name from a truncated prefix",
        _ADDRESSES,
        _first6(QUERY[:24], "2001:db8:3::1"),
        dropped(Reason.UNANSWERABLE, 5),
    ),
    Case(
        "a hidden name from an unknown prefix",
        _ADDRESSES,
        _first6(QUERY[:24], "2001:db8:4::1"),
        HIDDEN,
    ),
)

_POINTED = eights(query(b"\3www\xc0\x0c"))

POINTERS = tuple(
    Case(f"a first fragment with a compression pointer, {text}", scene, frame, expected)
    for text, scene, frame, expected in (
        ("v4", OPEN, _first4(_POINTED), MALFORMED),
        ("v6", OPEN, _first6(_POINTED), MALFORMED),
        ("beside names", NAMED, _first4(_POINTED), MALFORMED),
        ("at its end", OPEN, _first4(query(b"\1a" + b"\xc0\x0c")[:16]), MALFORMED),
        (
            "half of it behind the IP length",
            OPEN,
            ethernet(ipv4(Udp(query(b"\2ab" + b"\xc0\x0c")), flags=MF, total_length=44)),
            HIDDEN,
        ),
        (
            "all of it behind the IP length",
            OPEN,
            ethernet(ipv4(Udp(query(b"\3abc" + b"\xc0\x0c")), flags=MF, total_length=44)),
            HIDDEN,
        ),
        ("of a response", OPEN, _first4(eights(query(b"\xc0\x0c", flags=QR))), NO_MATCH),
        (
            "to an --address-port",
            Scene(config=replace(DEFAULT, address_ports=(853,))),
            _first4(_POINTED, dport=853),
            NO_MATCH,
        ),
        ("from a truncated address", _ADDRESSES, _first4(_POINTED, "192.0.2.3"), TRUNCATED),
        (
            "from an allowed address",
            _ADDRESSES,
            _first4(_POINTED, "192.0.2.2"),
            passed(Reason.ADDR_V4, 1),
        ),
    )
)

_NO_TCP = Scene(config=replace(DEFAULT, tcp=False))
_ADDRESS_PORT = Scene(config=replace(DEFAULT, address_ports=(853,)))
_EIGHTS = eights(QUERY)


def _ragged(size: int) -> tuple[bytes, bytes]:
    """Return frames of first fragments with a whole question and so many octets of data."""
    message = QUERY.ljust(size - 8, b"\0")
    return _first4(message), _first6(message)


LENGTHS = (
    *(
        Case(
            f"a first fragment of {size} octets, v{version}",
            NAMED,
            frame,
            dropped(Reason.QNAME, 0) if size % 8 == 0 else HIDDEN,
        )
        for size in range(41, 57)
        for version, frame in zip((4, 6), _ragged(size), strict=True)
    ),
    *(
        Case(f"a first fragment of odd length {text}", scene, frame, expected)
        for text, scene, frame, expected in (
            ("without any rule", OPEN, _first4(query("good.example")), HIDDEN),
            ("without any rule, v6", OPEN, _first6(query("good.example")), HIDDEN),
            ("of a response", OPEN, _first4(query("a.example", flags=QR)), HIDDEN),
            ("of UPDATE", OPEN, _first4(query("a.example", flags=opcode(5))), HIDDEN),
            ("from an allowed address", _ADDRESSES, _first4(QUERY, "192.0.2.2"), HIDDEN),
            ("from a dropped address", _ADDRESSES, _first4(QUERY, "192.0.2.1"), HIDDEN),
            ("from a truncated address", _ADDRESSES, _first4(QUERY, "192.0.2.3"), HIDDEN),
            ("with under 12 octets of DNS", OPEN, _first4(QUERY[:11]), HIDDEN),
            ("with no octet of DNS but one", OPEN, _first4(QUERY[:1]), HIDDEN),
            ("with a compression pointer", OPEN, _first4(query(b"\xc0\x0c")), HIDDEN),
            ("of TCP", OPEN, ethernet(ipv4(Tcp(), flags=MF)), HIDDEN),
            (
                "of TCP, v6",
                OPEN,
                ethernet(ipv6(Tcp(), extensions=(fragment(more=True),))),
                HIDDEN,
            ),
            ("of TCP with --no-tcp", _NO_TCP, ethernet(ipv4(Tcp(), flags=MF)), OTHER),
            ("to an --address-port", _ADDRESS_PORT, _first4(QUERY, dport=853), HIDDEN),
            (
                "of TCP to an --address-port",
                _ADDRESS_PORT,
                ethernet(ipv4(Tcp(dport=853), flags=MF)),
                HIDDEN,
            ),
            ("to another port", NAMED, _first4(QUERY, dport=54), OTHER),
            ("of ICMP", OPEN, ethernet(ipv4(Raw(1, bytes(9)), flags=MF)), OTHER),
            ("in a VLAN", NAMED, ethernet(ipv4(Udp(QUERY), flags=MF), tags=(Tag(),)), HIDDEN),
            (
                "behind IP options",
                NAMED,
                ethernet(ipv4(Udp(QUERY), flags=MF, options=bytes(4))),
                HIDDEN,
            ),
            (
                "behind hop-by-hop",
                NAMED,
                ethernet(ipv6(Udp(QUERY), extensions=(hop_by_hop(), fragment(more=True)))),
                HIDDEN,
            ),
            (
                "with options behind the fragment header",
                NAMED,
                ethernet(ipv6(Udp(QUERY), extensions=(fragment(more=True), destination_options()))),
                HIDDEN,
            ),
            (
                "by four octets of AH behind the fragment header",
                NAMED,
                ethernet(ipv6(Udp(_EIGHTS), extensions=(fragment(more=True), authentication(1)))),
                HIDDEN,
            ),
            (
                "inside an atomic one",
                NAMED,
                ethernet(ipv6(Udp(QUERY), extensions=(fragment(), fragment(more=True)))),
                HIDDEN,
            ),
        )
    ),
    *(
        Case(f"a first fragment of eights {text}", NAMED, frame, dropped(Reason.QNAME, 0))
        for text, frame in (
            (
                "behind four octets of IP options",
                ethernet(ipv4(Udp(_EIGHTS), flags=MF, options=bytes(4))),
            ),
            (
                "behind AH of 12 octets",
                ethernet(ipv6(Udp(_EIGHTS), extensions=(authentication(1), fragment(more=True)))),
            ),
            (
                "by four octets of AH behind the fragment header",
                ethernet(
                    ipv6(
                        Udp(_EIGHTS + bytes(4)),
                        extensions=(fragment(more=True), authentication(1)),
                    )
                ),
            ),
        )
    ),
    Case(
        "an atomic fragment of odd length",
        NAMED,
        ethernet(ipv6(Udp(QUERY), extensions=(fragment(),))),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "the name's last octets are cut off by the kernel, others stand in the second fragment",
        Scene(rules=(drop("x.bad.example"),)),
        _first4(query("x.bad.examzzz")),
        HIDDEN,
    ),
)

_SHORT = 28 + 16
"""IPv4's total length of a first fragment with the UDP header and 16 octets of DNS."""


def _ends4(message: bytes, total: int, source: str = CLIENT4) -> bytes:
    return ethernet(ipv4(Udp(message), source=source, flags=MF, total_length=total))


def _ends6(message: bytes, payload: int, source: str = CLIENT6) -> bytes:
    return ethernet(
        ipv6(
            Udp(message),
            source=source,
            payload_length=payload,
            extensions=(fragment(more=True),),
        )
    )


def _ends4_to(port: int, total: int = 28) -> bytes:
    return ethernet(ipv4(Udp(_EIGHTS, dport=port), flags=MF, total_length=total))


def _icmp(total: int) -> bytes:
    return ethernet(ipv4(Raw(1, bytes(16)), flags=MF, total_length=total))


def _tcp(total: int, port: int = 53) -> bytes:
    return ethernet(ipv4(Tcp(bytes(4), dport=port), flags=MF, total_length=total))


def _cut_by_length(data: int) -> bytes:
    """Return a first fragment with options and a query, and data of so many octets by length."""
    chain = (fragment(more=True), destination_options())
    return ethernet(ipv6(Udp(_EIGHTS), payload_length=data, extensions=chain))


ENDS = (
    *(
        Case(
            f"of a first fragment {octets} octets lie before its IP length, v{version}",
            NAMED,
            frame,
            MALFORMED if octets == 8 else dropped(Reason.QNAME, 0) if octets >= 48 else HIDDEN,
        )
        for octets in range(65)
        for version, frame in (
            (4, _ends4(LONG[:56], 20 + octets)),
            (6, _ends6(LONG[:56], 8 + octets)),
        )
        if octets < 8 or octets % 8 == 0 or octets in {9, 19, 20, 23, 25, 39}
        if octets != 16
    ),
    *(
        Case(f"a first fragment's IP length {text}", scene, frame, expected)
        for text, scene, frame, expected in (
            ("of 0, v4", NAMED, _ends4(_EIGHTS, 0), HIDDEN),
            ("of its header's own, v4", NAMED, _ends4(_EIGHTS, 20), HIDDEN),
            ("of 0, v6", NAMED, _ends6(_EIGHTS, 0), HIDDEN),
            ("of the fragment header's own, v6", NAMED, _ends6(_EIGHTS, 8), HIDDEN),
            ("in the middle of the fragment header, v6", NAMED, _ends6(_EIGHTS, 4), HIDDEN),
            ("beyond the frame, v4", NAMED, _ends4(_EIGHTS, 1500), dropped(Reason.QNAME, 0)),
            ("beyond the frame, v6", NAMED, _ends6(_EIGHTS, 1500), dropped(Reason.QNAME, 0)),
            ("beyond a frame of odd length", NAMED, _ends4(QUERY, 1500), HIDDEN),
            ("of eights in a frame of odd length", NAMED, _ends4(LONG[:61], 68), QNAME),
            ("of odd length in a frame of eights", NAMED, _ends4(LONG[:64], 67), HIDDEN),
            ("before padding", NAMED, pad(_first4(_EIGHTS), 100), QNAME),
            ("before one octet of padding, v6", NAMED, _first6(_EIGHTS) + b"\0", QNAME),
            (
                "before a harmless rest of the question",
                OPEN,
                _ends4(LONG[:16], _SHORT) + b"exemple\0\0\1\0\1",
                HIDDEN,
            ),
            (
                "before a harmless rest of the question, v6",
                OPEN,
                _ends6(LONG[:16], 8 + 24) + b"exemple\0\0\1\0\1",
                HIDDEN,
            ),
            (
                "before a header that says response, truncated source",
                _ADDRESSES,
                _ends4(b"\x12\x34\x80" + bytes(9), 28, "192.0.2.3"),
                MALFORMED,
            ),
            (
                "before a header that says response, truncated prefix",
                _ADDRESSES,
                _ends6(b"\x12\x34\x80" + bytes(9), 16, "2001:db8:3::1"),
                MALFORMED,
            ),
            (
                "behind the type, before the class",
                NAMED,
                _ends4(query("tc.example.abc")[:32], 20 + 8 + 24),
                HIDDEN,
            ),
            ("to another port", OPEN, _ends4_to(54), OTHER),
            ("with ports behind it to another port", OPEN, _ends4_to(54, 22), HIDDEN),
            ("with ports behind it of ICMP", OPEN, _icmp(22), OTHER),
            ("in the ports of TCP", OPEN, _tcp(23), HIDDEN),
            ("behind the ports of TCP", OPEN, _tcp(24), HIDDEN),
            ("behind eight octets of TCP", OPEN, _tcp(28), NO_MATCH),
            ("in the ports of TCP with --no-tcp", _NO_TCP, _tcp(23), HIDDEN),
            ("behind the ports of TCP with --no-tcp", _NO_TCP, _tcp(24), OTHER),
            ("in the ports of TCP to another port", OPEN, _tcp(23, 80), HIDDEN),
            ("behind the ports of TCP to another port", OPEN, _tcp(24, 80), OTHER),
        )
    ),
    Case(
        "whole packets do not end by their IP length",
        NAMED,
        ethernet(ipv4(Udp(QUERY), total_length=30)),
        QNAME,
    ),
    Case(
        "atomic fragments do not end by their IP length",
        NAMED,
        ethernet(ipv6(Udp(QUERY), payload_length=12, extensions=(fragment(),))),
        QNAME,
    ),
)

_CHAIN = b"\0" + b"\1\4" + bytes(4)
"""What is behind the next-header octet of a destination options header of 8 octets."""


def _cut_chain(kind: int, data: bytes, *, before: tuple[Extension, ...] = ()) -> bytes:
    """Return a first fragment whose data begins with a header of this kind."""
    return ethernet(ipv6(Raw(kind, data), extensions=(*before, fragment(more=True))))


_OPTIONS = bytes([60]) + _CHAIN
_LAST_OPTIONS = bytes([17]) + _CHAIN
_SIX = (fragment(more=True), *[destination_options()] * 5)

CHAINS = (
    *(
        Case(f"a first fragment with {text}{whose}", scene, frame, expected)
        for whose, scene in (("", OPEN), (", from who is allowed", EVERYBODY))
        for text, frame, expected in (
            ("a whole option header, the next one elsewhere", _cut_chain(60, _OPTIONS), HIDDEN),
            (
                "two whole option headers, the next one elsewhere",
                _cut_chain(60, _OPTIONS * 2),
                HIDDEN,
            ),
            ("a whole option header, UDP elsewhere", _cut_chain(60, _LAST_OPTIONS), HIDDEN),
            (
                "an option header that is cut",
                _cut_chain(60, bytes([60, 1]) + _CHAIN[1:]),
                HIDDEN,
            ),
            (
                "an option header that is cut, of 24 octets before UDP",
                _cut_chain(60, bytes([17, 2]) + _CHAIN[1:]),
                HIDDEN,
            ),
            ("half an option header", _cut_chain(60, _OPTIONS[:4]), HIDDEN),
            ("a whole routing header, options elsewhere", _cut_chain(43, _OPTIONS), HIDDEN),
            (
                "hop-by-hop before, the chain elsewhere",
                _cut_chain(60, _OPTIONS, before=(hop_by_hop(),)),
                HIDDEN,
            ),
            ("AH, the rest elsewhere", _cut_chain(51, bytes([17, 4]) + bytes(22)), HIDDEN),
            ("AH that is cut", _cut_chain(51, bytes([17, 9]) + bytes(22)), HIDDEN),
            ("no data at all, before options", _cut_chain(60, b""), HIDDEN),
            ("no data at all, before UDP", _cut_chain(17, b""), HIDDEN),
            ("no data at all, before ICMPv6", _cut_chain(58, b""), OTHER),
            ("seven octets of UDP", _cut_chain(17, bytes(7)), HIDDEN),
            ("three octets of TCP", _cut_chain(6, bytes(3)), HIDDEN),
            ("a nested fragment header that is cut", _cut_chain(44, bytes(7)), HIDDEN),
            (
                "a nested first fragment, UDP elsewhere",
                _cut_chain(44, bytes([17, 0, 0, 1]) + bytes(4)),
                HIDDEN,
            ),
            (
                "a nested later fragment",
                _cut_chain(44, bytes([17, 0, 0, 9]) + bytes(4)),
                passed(Reason.FRAGMENT),
            ),
            (
                "whole options before ICMPv6",
                _cut_chain(60, bytes([58]) + _CHAIN + bytes(8)),
                OTHER,
            ),
            (
                "six whole headers, UDP elsewhere",
                ethernet(ipv6(Raw(17), extensions=_SIX)),
                HIDDEN,
            ),
            (
                "six whole headers, a seventh elsewhere",
                ethernet(ipv6(Raw(60), extensions=_SIX)),
                MALFORMED,
            ),
            (
                "seven whole headers",
                ethernet(ipv6(Udp(_EIGHTS), extensions=(*_SIX, destination_options()))),
                MALFORMED,
            ),
            (
                "ten headers, all but one elsewhere",
                _cut_chain(60, _OPTIONS),
                HIDDEN,
            ),
            (
                "options of 8 octets that its IP length cuts off",
                _cut_by_length(8),
                HIDDEN,
            ),
            (
                "half of the options behind its IP length",
                _cut_by_length(12),
                HIDDEN,
            ),
            ("the UDP header behind its IP length", _cut_by_length(16), HIDDEN),
            ("half of the UDP header behind its IP length", _cut_by_length(20), HIDDEN),
        )
    ),
    Case(
        "a nested later fragment behind a first one's IP length",
        OPEN,
        ethernet(
            ipv6(
                Raw(44, bytes([17, 0, 0, 9]) + bytes(20)),
                payload_length=8,
                extensions=(fragment(more=True),),
            )
        ),
        HIDDEN,
    ),
    Case(
        "seven headers, of which six lie before the IP length",
        OPEN,
        ethernet(
            ipv6(
                Udp(_EIGHTS),
                payload_length=48,
                extensions=(*_SIX, destination_options()),
            )
        ),
        MALFORMED,
    ),
    Case(
        "seven headers, of which five lie before the IP length",
        OPEN,
        ethernet(
            ipv6(
                Udp(_EIGHTS),
                payload_length=40,
                extensions=(*_SIX, destination_options()),
            )
        ),
        HIDDEN,
    ),
    Case(
        "an option header that is cut, destined elsewhere",
        Scene(config=replace(DEFAULT, addresses=(ip_network("192.0.2.0/24"),))),
        _cut_chain(60, _OPTIONS),
        HIDDEN,
    ),
    *(
        Case(
            f"an IPv4 first fragment with {size} octets of {text}, destined elsewhere",
            Scene(config=replace(DEFAULT, addresses=(ip_network("192.0.2.0/24"),))),
            ethernet(ipv4(Raw(number, bytes(size)), flags=MF)),
            HIDDEN if size < least else OTHER,
        )
        for text, number, least in (("UDP", 17, 8), ("TCP", 6, 4))
        for size in (0, 1, 3, 4, 7, 8, 16)
    ),
    Case(
        "an option header that is cut, of no fragment",
        OPEN,
        ethernet(ipv6(Raw(60, bytes([60, 1]) + _CHAIN[1:]), extensions=())),
        OTHER,
    ),
    Case(
        "an option header that is cut, in an atomic fragment",
        OPEN,
        ethernet(ipv6(Raw(60, bytes([60, 1]) + _CHAIN[1:]), extensions=(fragment(),))),
        OTHER,
    ),
)

CASES = (*WHOLE, *HIDING, *BY_ADDRESS, *POINTERS, *LENGTHS, *ENDS, *CHAINS)
