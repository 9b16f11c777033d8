"""Cases of PACKETS.md, "Rules", as far as the question's name and type decide."""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    DF,
    QINQ,
    SERVER4,
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
    routing,
)
from tests.packets.case import DEFAULT, Case, Result, Rule, Scene, allow, drop, dropped, passed
from tests.packets.message import (
    AAAA,
    ANY,
    NS,
    QR,
    RD,
    TXT,
    A,
    edns_query,
    labels,
    long_name,
    name,
    opcode,
    opt,
    query,
)
from xdpctl.abi import Reason
from xdpctl.rules import AnyQtype

NO_MATCH = passed(Reason.NO_MATCH)


def _hit(index: int = 0) -> Result:
    return dropped(Reason.QNAME, index)


def _v4(message: bytes) -> bytes:
    return ethernet(ipv4(Udp(message)))


def _v6(message: bytes) -> bytes:
    return ethernet(ipv6(Udp(message)))


def _rules(*rules: Rule) -> Scene:
    return Scene(rules=rules)


_BAD = _rules(drop("www.bad.example"), drop("typed.example", AAAA))
BAD_QUERY = query("www.bad.example")

WHOLE_NAMES = (
    Case("a dropped name, v4", _BAD, _v4(BAD_QUERY), _hit()),
    Case("a dropped name, v6", _BAD, _v6(BAD_QUERY), _hit()),
    Case("a name's subdomain is another name", _BAD, _v4(query("a.www.bad.example")), NO_MATCH),
    Case("a name's parent is another name", _BAD, _v4(query("bad.example")), NO_MATCH),
    Case("a name's beginning is another name", _BAD, _v4(query("www.bad.exampl")), NO_MATCH),
    Case("a name that goes on is another name", _BAD, _v4(query("www.bad.example2")), NO_MATCH),
    Case(
        "a name with another top is another name", _BAD, _v4(query("www.bad.example.org")), NO_MATCH
    ),
    Case("where labels end matters", _BAD, _v4(query("wwwb.ad.example")), NO_MATCH),
    Case(
        "a dot in a label is none between labels",
        _BAD,
        _v4(query(labels(b"www.bad", b"example"))),
        NO_MATCH,
    ),
    Case("the root has no rule here", _BAD, _v4(query("")), NO_MATCH),
    Case("the root", _rules(drop(b"\0")), _v4(query("")), _hit()),
    Case("the root's rule is nobody else's", _rules(drop(b"\0")), _v4(query("example")), NO_MATCH),
    Case("one label of one octet", _rules(drop("x")), _v4(query("x")), _hit()),
    Case(
        "127 labels of one octet",
        _rules(drop(b"\1a" * 127 + b"\0")),
        _v4(query(b"\1a" * 127 + b"\0")),
        _hit(),
    ),
    Case(
        "127 labels, the last one another",
        _rules(drop(b"\1a" * 127 + b"\0")),
        _v4(query(b"\1a" * 126 + b"\1b\0")),
        NO_MATCH,
    ),
    *(
        Case(
            f"a name of {octets} octets",
            _rules(drop(long_name(octets))),
            _v4(query(long_name(octets))),
            _hit(),
        )
        for octets in (63, 64, 65, 67, 127, 128, 129, 191, 192, 193, 253, 254, 255)
    ),
    *(
        Case(
            f"a name of {octets} octets, v6",
            _rules(drop(long_name(octets))),
            _v6(query(long_name(octets))),
            _hit(),
        )
        for octets in (17, 100, 255)
    ),
    *(
        Case(
            f"a name of {octets} octets is none",
            _rules(drop(long_name(255)), drop(long_name(256)[:255])),
            _v4(query(long_name(octets))),
            NO_MATCH,
        )
        for octets in (256, 257, 300, 400)
    ),
    Case(
        "128 labels of one octet are none",
        _rules(drop(b"\1a" * 127 + b"\0")),
        _v4(query(b"\1a" * 128 + b"\0")),
        NO_MATCH,
    ),
    Case(
        "a label of 63 octets",
        _rules(drop(labels(b"l" * 63, b"example"))),
        _v4(query(labels(b"l" * 63, b"example"))),
        _hit(),
    ),
    Case(
        "a label of 64 octets is none",
        _rules(drop(labels(b"l" * 63, b"example")), drop(b"\x40" + b"l" * 64 + b"\0")),
        _v4(query(b"\x40" + b"l" * 64 + b"\0")),
        NO_MATCH,
    ),
    *(
        Case(
            f"a length octet of {size:#x} is no label",
            _rules(drop("www.bad.example"), drop(b"\0")),
            _v4(query(b"\3www" + bytes([size]) + b"b" * size + b"\0")),
            NO_MATCH,
        )
        for size in (0x40, 0x41, 0x7F, 0x80, 0xBF)
    ),
)

_FOLDED = _rules(
    drop("www.bad.example"),
    drop(labels(b"`{", b"example")),
    drop(labels(b"\xe0\xfa\xc1", b"example")),
    drop(labels(b"a\0b", b"example")),
    drop(labels(bytes(range(0x21, 0x41)), b"example")),
    drop(labels(bytes(range(0x5B, 0x80)), b"example")),
    drop(b"\3WWW\3KEY\7EXAMPLE\0"),
    drop("abcdefghijklmnopqrstuvwxyz.example"),
    drop(b"\x3f" + b"a" * 63 + b"\0"),
)


def _around(octet: int, at: int) -> bytes:
    """Return a name with this octet in one of eight places, where a word of it may end."""
    return labels(b"octet" + b"." * at + bytes([octet]) + b"." * (8 - at), b"example")


_NOT_CAPITALS = tuple(octet for octet in range(256) if not 65 <= octet <= 90)
_EVERY_OCTET = Scene(tuple(drop(_around(octet, octet % 8)) for octet in _NOT_CAPITALS))

EVERY_OCTET = tuple(
    Case(
        f"octet {octet:#04x} is found as {(octet | 0x20 if 65 <= octet <= 90 else octet):#04x}",
        _EVERY_OCTET,
        _v4(query(_around(octet, octet % 8))),
        _hit(_NOT_CAPITALS.index(octet | 0x20 if 65 <= octet <= 90 else octet)),
    )
    for octet in range(256)
)

FOLDING = (
    *(
        Case(f"{text} is the name in lower case", _FOLDED, _v4(query(text)), _hit())
        for text in ("WWW.BAD.EXAMPLE", "wWw.BaD.eXaMpLe", "www.bad.examplE", "Www.bad.example")
    ),
    Case("A to Z are a to z", _FOLDED, _v4(query("ABCDEFGHIJKLMNOPQRSTUVWXYZ.EXAMPLE")), _hit(7)),
    Case(
        "A to Z are a to z, v6", _FOLDED, _v6(query("ABCDEFGHIJKLMNOPQRSTUVWXYZ.EXAMPLE")), _hit(7)
    ),
    Case(
        "octets beside the letters are themselves",
        _FOLDED,
        _v4(query(labels(b"`{", b"example"))),
        _hit(1),
    ),
    Case("@ and [ are not folded", _FOLDED, _v4(query(labels(b"@[", b"example"))), NO_MATCH),
    Case(
        "octets above ASCII are themselves",
        _FOLDED,
        _v4(query(labels(b"\xe0\xfa\xc1", b"example"))),
        _hit(2),
    ),
    Case(
        "octets above ASCII are not folded",
        _FOLDED,
        _v4(query(labels(b"\xc0\xda\xc1", b"example"))),
        NO_MATCH,
    ),
    Case(
        "octets above ASCII are not folded the other way",
        _FOLDED,
        _v4(query(labels(b"\xe0\xfa\xe1", b"example"))),
        NO_MATCH,
    ),
    Case(
        "a zero octet in a label is an octet",
        _FOLDED,
        _v4(query(labels(b"A\0B", b"example"))),
        _hit(3),
    ),
    Case(
        "a name does not end at a label's zero octet",
        _FOLDED,
        _v4(query(labels(b"a\0c", b"example"))),
        NO_MATCH,
    ),
    Case(
        "signs and digits are themselves",
        _FOLDED,
        _v4(query(labels(bytes(range(0x21, 0x41)), b"example"))),
        _hit(4),
    ),
    Case(
        "signs are not folded to signs",
        _FOLDED,
        _v4(query(labels(bytes(octet - 32 for octet in range(0x5B, 0x80)), b"example"))),
        NO_MATCH,
    ),
    Case("an entry in capitals matches nothing", _FOLDED, _v4(query("WWW.KEY.EXAMPLE")), NO_MATCH),
    Case("a length octet is no letter", _FOLDED, _v4(query(b"\x3f" + b"A" * 63 + b"\0")), _hit(8)),
)

_QUESTION_OCTETS = len(BAD_QUERY) - 12
# What would be found if the octets behind the frame, or zeros in their place, were read.
_CUT = _rules(
    drop("www.bad.example"),
    drop("www.bad.example", A),
    drop("www.bad.example", 0),
    drop("www.bad"),
    drop("www"),
    drop(b"\0"),
    drop(b"\0", 0),
)

CUT_SHORT = (
    *(
        Case(
            f"the question is {missing} octets short, v4",
            _CUT,
            _v4(BAD_QUERY)[: -missing or None],
            NO_MATCH,
        )
        for missing in range(1, _QUESTION_OCTETS + 1)
    ),
    *(
        Case(
            f"the question is {missing} octets short, v6",
            _CUT,
            _v6(BAD_QUERY)[: -missing or None],
            NO_MATCH,
        )
        for missing in (1, 2, 3, 4, 5, 6, 12, _QUESTION_OCTETS)
    ),
    *(
        Case(
            f"a 255-octet name is {missing} octets short",
            _rules(drop(long_name(255))),
            _v4(query(long_name(255)))[:-missing],
            NO_MATCH,
        )
        for missing in (1, 2, 4, 5, 6, 68, 200)
    ),
    *(
        Case(
            f"the root's question is {missing} octets short",
            _CUT,
            _v4(query(""))[:-missing],
            NO_MATCH,
        )
        for missing in (1, 2, 3, 4, 5)
    ),
    Case(
        "a whole question that the IP length cuts off is in the frame",
        _BAD,
        ethernet(ipv4(Udp(BAD_QUERY), total_length=40)),
        _hit(),
    ),
    Case(
        "a whole question that the UDP length cuts off is in the frame",
        _BAD,
        ethernet(ipv4(Udp(BAD_QUERY, length=20))),
        _hit(),
    ),
    Case(
        "a question that only the lengths promise",
        _CUT,
        ethernet(
            ipv4(Udp(BAD_QUERY[:20], length=8 + len(BAD_QUERY)), total_length=28 + len(BAD_QUERY))
        ),
        NO_MATCH,
    ),
    Case(
        "zeros that pad a frame end a name",
        _rules(drop("www", 0)),
        pad(_v4(query(b"\3www")[:16]), 64),
        dropped(Reason.QNAME, 0),
    ),
)

_POINTED = _rules(drop("www.bad.example"), drop("www"), drop("bad.example"), drop(b"\0"))

POINTER = dropped(Reason.MALFORMED)

_BAD_LABELS = name("bad.example")[:-1]
_POINTERS = {
    "to itself": query(b"\xc0\x0c"),
    "behind a label": query(b"\3www\xc0\x0c"),
    "ahead, to the rest of the name": query(b"\3www\xc0\x16", behind=name("bad.example")),
    "ahead, to the whole name": query(b"\xc0\x12", behind=name("bad.example")),
    "into the header, by itself": query(b"\xc0\x04", ident=0),
    **{
        f"to the header's octet {octet} as root": query(_BAD_LABELS + bytes([0xC0, octet]))
        for octet in (4, 6, 8, 9, 10)
    },
    "to an ID of 0 as root": query(_BAD_LABELS + b"\xc0\0", ident=0x0012),
    "before EDNS": edns_query(_BAD_LABELS + b"\xc0\x04", opt()),
    "of the greatest octets": query(b"\3www\xff\xff"),
    "of the least octets": query(b"\3www\xc0\0"),
    "behind 127 labels": query(b"\1a" * 127 + b"\xc0\x0c"),
    "behind 254 octets": query(long_name(255)[:-1] + b"\xc0\x0c"),
    "behind a label of 63 octets": query(b"\x3f" + b"a" * 63 + b"\xc0\x0c"),
    "behind a label with a zero octet": query(b"\5a\0b\0c\xc0\x0c"),
    "behind a label of octets above 0xc0": query(b"\3\xff\xfe\xc0\xc0\x0c"),
    "without type and class": query(b"\3www\xc0\x0c")[:-4],
    "without class": query(b"\3www\xc0\x0c")[:-2],
    "with QDCOUNT 2": query(b"\3www\xc0\x0c", counts=(2, 0, 0, 0)),
    "with QDCOUNT 256": query(b"\3www\xc0\x0c", counts=(256, 0, 0, 0)),
    "with all flags but QR and OPCODE": query(b"\3www\xc0\x0c", flags=0x07FF),
    **{
        f"with OPCODE {number}": query(b"\3www\xc0\x0c", flags=opcode(number))
        for number in (1, 2, 3, 6, 7, 15)
    },
}
_NO_POINTERS = {
    "half a compression pointer at the end": query(b"\3www\xc0")[:17],
    "half a compression pointer at the end, behind 127 labels": query(b"\1a" * 127)[:-4] + b"\xc0",
    "a compression pointer behind 255 octets": query(long_name(256)[:-1] + b"\xc0\x0c"),
    "a compression pointer behind 128 labels": query(b"\1a" * 128 + b"\xc0\x0c"),
    "a compression pointer behind a label of 64 octets": query(b"\x40" + b"a" * 64 + b"\xc0\x0c"),
    "a compression pointer behind a length of 0x80": query(b"\x80" + b"a" * 128 + b"\xc0\x0c"),
    "a compression pointer behind the root": query(b"\3xyz\0\xc0\x0c"),
    "octets like a compression pointer in a label": query(b"\4\xc0\x0c\xff\xff\0"),
    "octets like a compression pointer as type and class": query("xyz", 0xC00C, qclass=0xC00C),
    "a label whose end is not there": query(b"\x3f" + b"\xc0" * 62)[:-4],
    "a compression pointer without QDCOUNT": query(b"\xc0\x0c", counts=(0, 1, 1, 1)),
    "a compression pointer in a response": query(b"\xc0\x0c", flags=QR),
    "a compression pointer in a response of OPCODE 2": query(b"\xc0\x0c", flags=QR | opcode(2)),
    "a compression pointer in a NOTIFY": query(b"\xc0\x0c", flags=opcode(4)),
    "a compression pointer in an UPDATE": query(b"\xc0\x0c", flags=opcode(5)),
}
_POINTED_QUERY = _POINTERS["behind a label"]
_ALLOWED = _rules(allow(CLIENT4), allow(CLIENT6))

POINTERS = (
    *(
        Case(f"a compression pointer {text}, {what}{version}", scene, frame(message), POINTER)
        for text, message in _POINTERS.items()
        for what, scene in (("", _POINTED), ("without any rule, ", Scene()))
        for version, frame in (("v4", _v4), ("v6", _v6))
    ),
    *(
        Case(f"{text}, {what}{version}", scene, frame(message), NO_MATCH)
        for text, message in _NO_POINTERS.items()
        for what, scene in (("", _POINTED), ("without any rule, ", Scene()))
        for version, frame in (("v4", _v4), ("v6", _v6))
    ),
    *(
        Case(
            f"a compression pointer {text}",
            _POINTED,
            frame,
            POINTER,
        )
        for text, frame in (
            (
                "behind IP options",
                ethernet(ipv4(Udp(_POINTED_QUERY), options=bytes(8))),
            ),
            ("in QinQ", ethernet(ipv4(Udp(_POINTED_QUERY)), tags=(Tag(QINQ), Tag()))),
            (
                "behind extension headers",
                ethernet(ipv6(Udp(_POINTED_QUERY), extensions=(hop_by_hop(), routing()))),
            ),
            (
                "in an atomic fragment",
                ethernet(ipv6(Udp(_POINTED_QUERY), extensions=(fragment(),))),
            ),
            ("in a padded frame", pad(_v4(_POINTED_QUERY[:-4]), 60)),
        )
    ),
    *(
        Case(
            f"a compression pointer from an allowed address, v{version}",
            _ALLOWED,
            frame(_POINTED_QUERY),
            passed(reason, hit),
        )
        for version, frame, reason, hit in (
            (4, _v4, Reason.ADDR_V4, 0),
            (6, _v6, Reason.ADDR_V6, 1),
        )
    ),
    Case(
        "a compression pointer from a dropped address",
        _rules(drop(CLIENT4)),
        _v4(_POINTED_QUERY),
        dropped(Reason.ADDR_V4, 0),
    ),
    Case(
        "a compression pointer to an --address-port",
        Scene(config=replace(DEFAULT, address_ports=(853,))),
        ethernet(ipv4(Udp(_POINTED_QUERY, dport=853))),
        NO_MATCH,
    ),
    Case(
        "a compression pointer to another port",
        _POINTED,
        ethernet(ipv4(Udp(_POINTED_QUERY, dport=54))),
        passed(Reason.OTHER),
    ),
)

_QUESTIONS = _rules(drop("www.bad.example"), drop("second.example"))

HEADERS = (
    Case("a response", _BAD, _v4(query("www.bad.example", flags=QR | RD)), NO_MATCH),
    Case("a response, v6", _BAD, _v6(query("www.bad.example", flags=QR)), NO_MATCH),
    Case(
        "a response with an OPCODE",
        _BAD,
        _v4(query("www.bad.example", flags=QR | opcode(5))),
        NO_MATCH,
    ),
    *(
        Case(
            f"OPCODE {number}",
            _BAD,
            _v4(query("www.bad.example", flags=opcode(number))),
            NO_MATCH if number in {4, 5} else _hit(),
        )
        for number in range(1, 16)
    ),
    *(
        Case(
            f"a query whose other flags are {flags:#06x}",
            _BAD,
            _v4(query("www.bad.example", flags=flags)),
            _hit(),
        )
        for flags in (0, 0x07FF, 0x0400, 0x0200, 0x0080, 0x000F)
    ),
    Case("QDCOUNT 0", _BAD, _v4(query("www.bad.example", counts=(0, 0, 0, 0))), NO_MATCH),
    Case(
        "QDCOUNT 2: the first question decides",
        _QUESTIONS,
        _v4(
            query(
                "www.bad.example", counts=(2, 0, 0, 0), behind=name("second.example") + b"\0\1\0\1"
            )
        ),
        _hit(0),
    ),
    Case(
        "QDCOUNT 2: the second question is not looked at",
        _QUESTIONS,
        _v4(
            query("good.example", counts=(2, 0, 0, 0), behind=name("second.example") + b"\0\1\0\1")
        ),
        NO_MATCH,
    ),
    *(
        Case(
            f"QDCOUNT {count}", _BAD, _v4(query("www.bad.example", counts=(count, 0, 0, 0))), _hit()
        )
        for count in (2, 256, 65535)
    ),
    Case(
        "other counts do not matter",
        _BAD,
        _v4(query("www.bad.example", counts=(1, 7, 8, 65535))),
        _hit(),
    ),
    *(
        Case(f"class {qclass}", _BAD, _v4(query("www.bad.example", qclass=qclass)), _hit())
        for qclass in (0, 3, 4, 254, 255, 65535)
    ),
    Case(
        "what stands behind the question does not matter",
        _BAD,
        _v4(query("www.bad.example", behind=bytes(range(256)))),
        _hit(),
    ),
    Case("a padded frame", _rules(drop("x")), pad(_v4(query("x"))), _hit()),
)

TYPES = (
    Case("a name's own type", _BAD, _v4(query("typed.example", AAAA)), _hit(1)),
    Case("a name's own type, v6, in capitals", _BAD, _v6(query("TYPED.Example", AAAA)), _hit(1)),
    *(
        Case(f"type {qtype} is not the entry's", _BAD, _v4(query("typed.example", qtype)), NO_MATCH)
        for qtype in (A, AAAA << 8, 0, ANY, 65535)
    ),
    Case(
        "type 256 is not type 1",
        _rules(drop("www.bad.example", 1)),
        _v4(query("www.bad.example", 256)),
        NO_MATCH,
    ),
    Case(
        "type 256", _rules(drop("www.bad.example", 256)), _v4(query("www.bad.example", 256)), _hit()
    ),
    Case("type 0", _rules(drop("www.bad.example", 0)), _v4(query("www.bad.example", 0)), _hit()),
)

_WILD = (65535, 255)


def _matches(mode: AnyQtype, entry: int, asked: int) -> bool:
    """Return what PACKETS.md says of one entry in one mode."""
    return (
        asked == entry
        or entry
        in {
            AnyQtype.BOTH: (65535, 255),
            AnyQtype.NEW: (65535,),
            AnyQtype.LEGACY: (255,),
        }[mode]
    )


def _mode(mode: AnyQtype, *rules: Rule) -> Scene:
    return Scene(rules=rules, config=replace(DEFAULT, any_qtype=mode))


_ALL_THREE = (allow("www.bad.example", A), drop("www.bad.example"), allow("www.bad.example", ANY))

WILDCARDS = (
    *(
        Case(
            f"--any-qtype {mode}: an entry of type {entry}, a query of type {asked}",
            _mode(mode, drop("www.bad.example", entry)),
            _v4(query("www.bad.example", asked)),
            _hit() if _matches(mode, entry, asked) else NO_MATCH,
        )
        for mode in AnyQtype
        for entry in (A, *_WILD)
        for asked in (A, TXT, 0, 254, 256, 65534, *_WILD)
    ),
    Case(
        "own type before either wildcard",
        _mode(AnyQtype.BOTH, *_ALL_THREE),
        _v4(query("www.bad.example", A)),
        passed(Reason.QNAME, 0),
    ),
    Case(
        "65535 before 255",
        _mode(AnyQtype.BOTH, *_ALL_THREE),
        _v4(query("www.bad.example", NS)),
        _hit(1),
    ),
    Case(
        "a query of type ANY finds 255 as its own",
        _mode(AnyQtype.BOTH, *_ALL_THREE),
        _v4(query("www.bad.example", ANY)),
        passed(Reason.QNAME, 2),
    ),
    Case(
        "65535: own type before the wildcard",
        _mode(AnyQtype.NEW, *_ALL_THREE),
        _v4(query("www.bad.example", A)),
        passed(Reason.QNAME, 0),
    ),
    Case(
        "65535: the wildcard",
        _mode(AnyQtype.NEW, *_ALL_THREE),
        _v6(query("www.bad.example", NS)),
        _hit(1),
    ),
    Case(
        "65535: a query of type ANY finds its own",
        _mode(AnyQtype.NEW, *_ALL_THREE),
        _v4(query("www.bad.example", ANY)),
        passed(Reason.QNAME, 2),
    ),
    Case(
        "255: own type before the wildcard",
        _mode(AnyQtype.LEGACY, *_ALL_THREE),
        _v4(query("www.bad.example", A)),
        passed(Reason.QNAME, 0),
    ),
    Case(
        "255: the wildcard",
        _mode(AnyQtype.LEGACY, *_ALL_THREE),
        _v4(query("www.bad.example", NS)),
        passed(Reason.QNAME, 2),
    ),
    Case(
        "an own type that is dropped before an allowed wildcard",
        _rules(allow("www.bad.example"), drop("www.bad.example", A)),
        _v4(BAD_QUERY),
        _hit(1),
    ),
)

ACTIONS = (
    *(
        Case(
            f"action byte {action} on a name is Pass",
            _rules(Rule("www.bad.example", action)),
            _v4(BAD_QUERY),
            passed(Reason.QNAME, 0),
        )
        for action in (0, 3, 255)
    ),
    Case(
        "garbage behind a name's action byte is not read",
        _rules(Rule("www.bad.example", 1, unused=b"\2\0\xff\1\1\1\1")),
        _v4(BAD_QUERY),
        _hit(),
    ),
    Case(
        "garbage behind a name's Pass is not read",
        _rules(Rule("www.bad.example", 0, unused=b"\1\1\1\1\1\1\1")),
        _v4(BAD_QUERY),
        passed(Reason.QNAME, 0),
    ),
    Case(
        "a hit on a name whose counter is at 2^32 - 1",
        _rules(Rule("www.bad.example", hits=2**32 - 1)),
        _v4(BAD_QUERY),
        _hit(),
    ),
    Case(
        "a name's rule after no address's hit",
        _rules(drop("203.0.113.0/24"), drop("www.bad.example")),
        _v4(BAD_QUERY),
        _hit(1),
    ),
)

_EVERY_PORT = Scene(
    rules=(drop("www.bad.example"),),
    config=replace(DEFAULT, ports=(53, 5353), address_ports=(853,)),
)

SCOPE = (
    Case(
        "a name over TCP is not looked at",
        _BAD,
        ethernet(ipv4(Tcp(len(BAD_QUERY).to_bytes(2, "big") + BAD_QUERY))),
        NO_MATCH,
    ),
    Case(
        "a message in place of TCP's header is not looked at",
        _BAD,
        ethernet(ipv4(Raw(6, Udp(BAD_QUERY).wire(CLIENT4, SERVER4)))),
        NO_MATCH,
    ),
    Case(
        "a name to an --address-port is not looked at",
        _EVERY_PORT,
        ethernet(ipv4(Udp(BAD_QUERY, dport=853))),
        NO_MATCH,
    ),
    Case(
        "a name to the second --port",
        _EVERY_PORT,
        ethernet(ipv4(Udp(BAD_QUERY, dport=5353))),
        _hit(),
    ),
    Case(
        "a name to another port is not looked at",
        _EVERY_PORT,
        ethernet(ipv4(Udp(BAD_QUERY, dport=5354))),
        passed(Reason.OTHER),
    ),
    Case("a name in a VLAN", _BAD, ethernet(ipv4(Udp(BAD_QUERY)), tags=(Tag(),)), _hit()),
    Case(
        "a name in QinQ, v6", _BAD, ethernet(ipv6(Udp(BAD_QUERY)), tags=(Tag(QINQ), Tag())), _hit()
    ),
    *(
        Case(
            f"a name behind {size} octets of IP options",
            _BAD,
            ethernet(ipv4(Udp(BAD_QUERY), options=bytes(size))),
            _hit(),
        )
        for size in (4, 40)
    ),
    *(
        Case(
            f"a name behind {text}",
            _BAD,
            ethernet(ipv6(Udp(BAD_QUERY), extensions=headers)),
            _hit(),
        )
        for text, headers in (
            ("hop-by-hop", (hop_by_hop(),)),
            ("routing", (routing(),)),
            ("destination options", (destination_options(2),)),
            ("AH", (authentication(),)),
            ("an atomic fragment", (fragment(),)),
            (
                "six headers",
                (
                    hop_by_hop(),
                    routing(),
                    fragment(),
                    authentication(),
                    destination_options(),
                    hop_by_hop(),
                ),
            ),
        )
    ),
    Case("a name in a packet with DF", _BAD, ethernet(ipv4(Udp(BAD_QUERY), flags=DF)), _hit()),
    Case("a name from a low port", _BAD, ethernet(ipv4(Udp(BAD_QUERY, sport=53))), _hit()),
    Case(
        "a name under a UDP checksum of 0", _BAD, ethernet(ipv4(Udp(BAD_QUERY, checksum=0))), _hit()
    ),
    Case(
        "a name under a wrong UDP checksum",
        _BAD,
        ethernet(ipv4(Udp(BAD_QUERY, checksum=0xDEAD))),
        _hit(),
    ),
    Case(
        "a name from another address, v6",
        _BAD,
        ethernet(ipv6(Udp(BAD_QUERY), source=CLIENT6[:-1] + "9")),
        _hit(),
    ),
)

CASES = (
    *WHOLE_NAMES,
    *FOLDING,
    *EVERY_OCTET,
    *CUT_SHORT,
    *POINTERS,
    *HEADERS,
    *TYPES,
    *WILDCARDS,
    *ACTIONS,
    *SCOPE,
)
