"""Cases of `--xsk`: what goes to an AF_XDP socket, and what must not."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from tests.packets.build import (
    BROADCAST_MAC,
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    CLIENT_PORT,
    DF,
    DNS_PORT,
    MF,
    QINQ,
    SERVER4,
    SERVER6,
    SERVER_MAC,
    UNSPECIFIED4,
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
from tests.packets.case import (
    DEFAULT,
    Case,
    Result,
    Rule,
    Scene,
    Verdict,
    allow,
    answered,
    drop,
    dropped,
    passed,
    redirected,
    truncate,
)
from tests.packets.message import QR, RA, RD, TC, eights, opcode, query, question, truncated
from xdpctl.abi import PacketAction, Reason
from xdpctl.settings import XskFamily

BOTH = replace(DEFAULT, xsk=XskFamily.BOTH)
ONLY_V4 = replace(DEFAULT, xsk=XskFamily.V4)
ELSEWHERE = replace(BOTH, addresses=(ip_network("203.0.113.0/24"),))
OTHER_PORT = 5300
DESTINATIONS = (
    (SERVER4, DNS_PORT),
    (SERVER6, DNS_PORT),
    (SERVER4, OTHER_PORT),
    (SERVER6, OTHER_PORT),
)

XSK = Scene(config=BOTH, destinations=DESTINATIONS, sockets=(0,))
RULES = (
    drop("www.bad.example"),
    truncate("tc.example"),
    allow("ok.example"),
    drop("192.0.2.66"),
    truncate("192.0.2.67"),
    allow("192.0.2.68"),
    drop("2001:db8:66::/48"),
    truncate("2001:db8:67::/48"),
    allow("2001:db8:68::/48"),
)
RULED = replace(XSK, rules=RULES)
QUERY = query("www.example")
POINTER = dropped(Reason.MALFORMED)
NO_MATCH = passed(Reason.NO_MATCH)
INELIGIBLE = passed(Reason.XSK_INELIGIBLE)
REDIRECTED = redirected()


def _empty(reason: Reason = Reason.REDIRECT, hit: int | None = None) -> Result:
    """Return: the queue has no socket, so the kernel's gets it."""
    return Result(Verdict.PASS, reason, PacketAction.PASS, None, hit)


def _v4(message: bytes = QUERY, source: str = CLIENT4, dport: int = DNS_PORT) -> bytes:
    return ethernet(ipv4(Udp(message, dport=dport), source=source))


def _v6(message: bytes = QUERY, source: str = CLIENT6, dport: int = DNS_PORT) -> bytes:
    return ethernet(ipv6(Udp(message, dport=dport), source=source))


def _to(destination: str, dport: int = DNS_PORT) -> bytes:
    upper = Udp(QUERY, dport=dport)
    if ":" in destination:
        return ethernet(ipv6(upper, destination=destination))
    return ethernet(ipv4(upper, destination=destination))


_EVERYWHERE = replace(XSK, destinations=((UNSPECIFIED4, DNS_PORT), ("::", DNS_PORT)))

SLOTS = (
    Case("a v4 query goes to the socket", XSK, _v4(), REDIRECTED),
    Case("a v6 query goes to the socket", XSK, _v6(), REDIRECTED),
    Case(
        "a v4 query to a destination beside --port goes to the socket",
        XSK,
        _v4(dport=OTHER_PORT),
        REDIRECTED,
    ),
    Case(
        "a v6 query to a destination beside --port goes to the socket",
        XSK,
        _v6(dport=OTHER_PORT),
        REDIRECTED,
    ),
    Case(
        "no socket at all: the kernel's socket gets it", replace(XSK, sockets=()), _v4(), _empty()
    ),
    Case(
        "no socket at all: the kernel's socket gets it, v6",
        replace(XSK, sockets=()),
        _v6(),
        _empty(),
    ),
    Case(
        "another queue's socket is none of this one", replace(XSK, sockets=(1, 63)), _v4(), _empty()
    ),
    Case(
        "one socket among others is this queue's", replace(XSK, sockets=(0, 1)), _v4(), REDIRECTED
    ),
    Case(
        "no socket and an address beside --port",
        replace(XSK, sockets=()),
        _v4(dport=OTHER_PORT),
        _empty(),
    ),
)

WHICH = (
    *(
        Case(
            f"{destination} is not registered at port {dport}, which is a --port",
            XSK,
            _to(destination, dport),
            NO_MATCH,
        )
        for destination, dport in (
            ("198.51.100.54", 53),
            ("53.100.51.198", 53),
            ("2001:db8:53::54", 53),
            ("::", 53),
        )
    ),
    *(
        Case(
            f"{destination} is not registered at port {dport}",
            XSK,
            _to(destination, dport),
            passed(Reason.OTHER),
        )
        for destination, dport in (
            (SERVER4, 5301),
            (SERVER6, 5301),
            (SERVER4, OTHER_PORT << 8 & 0xFF00 | OTHER_PORT >> 8),
            ("198.51.100.54", 5300),
        )
    ),
    Case("no destination is registered", replace(XSK, destinations=()), _v4(), NO_MATCH),
    Case("a registered 0.0.0.0 is not every address", _EVERYWHERE, _v4(), NO_MATCH),
    Case("a registered :: is not every address", _EVERYWHERE, _v6(), NO_MATCH),
    Case(
        "what is not registered is still filtered",
        replace(RULED, destinations=()),
        _v4(query("www.bad.example")),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "without --xsk a registered destination is nothing special",
        replace(XSK, config=DEFAULT),
        _v4(),
        NO_MATCH,
    ),
    Case(
        "without --xsk a registered port beside --port is not filtered",
        replace(RULED, config=DEFAULT),
        _v4(dport=OTHER_PORT),
        passed(Reason.OTHER),
    ),
    Case(
        "a destination outside --address is filtered",
        replace(RULED, config=ELSEWHERE),
        _v4(query("www.bad.example")),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a destination outside --address goes to the socket",
        replace(XSK, config=ELSEWHERE),
        _v4(),
        REDIRECTED,
    ),
    Case(
        "another address outside --address is not filtered",
        replace(RULED, config=ELSEWHERE),
        _to("198.51.100.54"),
        passed(Reason.OTHER),
    ),
    Case("--xsk-family 4: v4 goes to the socket", replace(XSK, config=ONLY_V4), _v4(), REDIRECTED),
    Case(
        "--xsk-family 4: v6 goes to the kernel's socket",
        replace(XSK, config=ONLY_V4),
        _v6(),
        NO_MATCH,
    ),
    Case(
        "--xsk-family 4: v6 is still filtered",
        replace(RULED, config=ONLY_V4),
        _v6(query("www.bad.example")),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "--xsk-family 4: v6 beside --port is not filtered",
        replace(RULED, config=ONLY_V4),
        _v6(query("www.bad.example"), dport=OTHER_PORT),
        passed(Reason.OTHER),
    ),
    Case(
        "a registered destination at an --address-port is plain DNS",
        replace(RULED, config=replace(BOTH, address_ports=(OTHER_PORT,))),
        _v4(query("www.bad.example"), dport=OTHER_PORT),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "an --address-port that is not registered beside --xsk",
        replace(RULED, config=replace(BOTH, address_ports=(853,))),
        _v4(query("www.bad.example"), dport=853),
        NO_MATCH,
    ),
    Case(
        "panic: nothing goes to the socket", replace(XSK, panic=True), _v4(), passed(Reason.PANIC)
    ),
)

_NOT_TCP = (
    ("v4 at a --port", ethernet(ipv4(Tcp())), NO_MATCH),
    ("v6 at a --port", ethernet(ipv6(Tcp())), NO_MATCH),
    ("v4 beside --port", ethernet(ipv4(Tcp(dport=OTHER_PORT))), passed(Reason.OTHER)),
    ("v6 beside --port", ethernet(ipv6(Tcp(dport=OTHER_PORT))), passed(Reason.OTHER)),
    ("a dropped address", ethernet(ipv4(Tcp(), source="192.0.2.66")), dropped(Reason.ADDR_V4, 3)),
    ("the retry after TC=1", ethernet(ipv4(Tcp(), source="192.0.2.67")), passed(Reason.ADDR_V4, 4)),
    (
        "the retry after TC=1, v6",
        ethernet(ipv6(Tcp(), source="2001:db8:67::1")),
        passed(Reason.CIDR6, 7),
    ),
    ("an allowed address", ethernet(ipv4(Tcp(), source="192.0.2.68")), passed(Reason.ADDR_V4, 5)),
    (
        "a dropped address beside --port",
        ethernet(ipv4(Tcp(dport=OTHER_PORT), source="192.0.2.66")),
        passed(Reason.OTHER),
    ),
)

_TC = truncated(question("tc.example"), flags=QR | TC | RD | RA)
_OTHER_TC = truncated(question("www.example"), flags=QR | TC | RD | RA)


def _reply4(message: bytes, destination: str = CLIENT4, sport: int = DNS_PORT) -> bytes:
    packet = ipv4(Udp(message, sport, CLIENT_PORT), source=SERVER4, destination=destination, ttl=64)
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)


def _reply6(message: bytes, destination: str = CLIENT6) -> bytes:
    packet = ipv6(
        Udp(message, DNS_PORT, CLIENT_PORT), source=SERVER6, destination=destination, hop_limit=64
    )
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)


FIRST_RULES = (
    *(
        Case(f"TCP never goes to the socket: {text}", RULED, frame, expected)
        for text, frame, expected in _NOT_TCP
    ),
    Case(
        "a dropped name before the socket",
        RULED,
        _v4(query("www.bad.example")),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a dropped name beside --port",
        RULED,
        _v6(query("www.bad.example"), dport=OTHER_PORT),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "a dropped address before the socket",
        RULED,
        _v4(source="192.0.2.66"),
        dropped(Reason.ADDR_V4, 3),
    ),
    Case(
        "a dropped prefix before the socket",
        RULED,
        _v6(source="2001:db8:66::1"),
        dropped(Reason.CIDR6, 6),
    ),
    Case(
        "a dropped address beside --port",
        RULED,
        _v4(source="192.0.2.66", dport=OTHER_PORT),
        dropped(Reason.ADDR_V4, 3),
    ),
    Case(
        "a truncated name before the socket, v4",
        RULED,
        _v4(query("tc.example")),
        answered(Reason.QNAME, _reply4(_TC), 1),
    ),
    Case(
        "a truncated name before the socket, v6",
        RULED,
        _v6(query("tc.example")),
        answered(Reason.QNAME, _reply6(_TC), 1),
    ),
    Case(
        "a truncated name beside --port",
        RULED,
        _v4(query("tc.example"), dport=OTHER_PORT),
        answered(Reason.QNAME, _reply4(_TC, sport=OTHER_PORT), 1),
    ),
    Case(
        "a truncated address before the socket",
        RULED,
        _v4(source="192.0.2.67"),
        answered(Reason.ADDR_V4, _reply4(_OTHER_TC, "192.0.2.67"), 4),
    ),
    Case(
        "a truncated prefix before the socket",
        RULED,
        _v6(source="2001:db8:67::9"),
        answered(Reason.CIDR6, _reply6(_OTHER_TC, "2001:db8:67::9"), 7),
    ),
    Case(
        "a truncated query without a socket is answered too",
        replace(RULED, sockets=()),
        _v4(query("tc.example")),
        answered(Reason.QNAME, _reply4(_TC), 1),
    ),
    Case(
        "an unanswerable query is dropped before the socket",
        RULED,
        _v4(query("www.example", counts=(2, 0, 0, 0)), source="192.0.2.67"),
        dropped(Reason.UNANSWERABLE, 4),
    ),
    *(
        Case(
            f"{size} octets of DNS to a destination, port {dport}",
            XSK,
            _v4(QUERY[:size], dport=dport),
            dropped(Reason.MALFORMED),
        )
        for size in (0, 11)
        for dport in (DNS_PORT, OTHER_PORT)
    ),
    Case("12 octets of DNS go to the socket", XSK, _v4(QUERY[:12]), REDIRECTED),
    Case(
        "a message cut short goes to the socket",
        RULED,
        _v4(query("www.bad.example")[:-1]),
        REDIRECTED,
    ),
    Case(
        "NOTIFY goes to the socket",
        RULED,
        _v4(query("www.bad.example", flags=opcode(4))),
        REDIRECTED,
    ),
    Case(
        "QDCOUNT 0 goes to the socket",
        RULED,
        _v6(query("www.bad.example", counts=(0, 0, 0, 0))),
        REDIRECTED,
    ),
)

GOING_ON = (
    Case(
        "an allowed name goes to the socket under its rule",
        RULED,
        _v4(query("ok.example")),
        redirected(Reason.QNAME, 2),
    ),
    Case(
        "an allowed address goes to the socket under its rule",
        RULED,
        _v4(source="192.0.2.68"),
        redirected(Reason.ADDR_V4, 5),
    ),
    Case(
        "an allowed prefix goes to the socket under its rule",
        RULED,
        _v6(source="2001:db8:68::1"),
        redirected(Reason.CIDR6, 8),
    ),
    Case(
        "an allowed address's dropped name goes to the socket",
        RULED,
        _v4(query("www.bad.example"), source="192.0.2.68"),
        redirected(Reason.ADDR_V4, 5),
    ),
    Case(
        "an unknown action byte goes to the socket under its rule",
        replace(XSK, rules=(Rule("www.example", 9),)),
        _v4(),
        redirected(Reason.QNAME, 0),
    ),
    Case(
        "an allowed name without a socket passes under its rule",
        replace(RULED, sockets=()),
        _v4(query("ok.example")),
        _empty(Reason.QNAME, 2),
    ),
    Case(
        "an allowed address without a socket passes under its rule",
        replace(RULED, sockets=(1,)),
        _v4(source="192.0.2.68"),
        _empty(Reason.ADDR_V4, 5),
    ),
    Case(
        "an allowed address, ineligible, passes under its rule",
        RULED,
        ethernet(ipv4(Udp(QUERY), source="192.0.2.68"), tags=(Tag(),)),
        passed(Reason.ADDR_V4, 5),
    ),
    Case(
        "an allowed name, ineligible, passes under its rule",
        RULED,
        ethernet(ipv4(Udp(query("ok.example")), options=bytes(4))),
        passed(Reason.QNAME, 2),
    ),
    Case(
        "an allowed address at a --port that is not registered",
        replace(RULED, destinations=()),
        _v4(source="192.0.2.68"),
        passed(Reason.ADDR_V4, 5),
    ),
)

_RESPONSE = query("www.bad.example", flags=QR | RD)
_NOTIFY = query("www.example", flags=opcode(4))

RESPONSES = (
    Case(
        "a backend's response goes to the socket whatever its name",
        RULED,
        _v4(_RESPONSE),
        REDIRECTED,
    ),
    Case(
        "a backend's response goes to the socket whatever its name, v6",
        RULED,
        _v6(_RESPONSE),
        REDIRECTED,
    ),
    Case(
        "a backend's response beside --port goes to the socket",
        RULED,
        ethernet(ipv4(Udp(_RESPONSE, sport=53, dport=OTHER_PORT))),
        REDIRECTED,
    ),
    Case(
        "a backend's response, OPCODE and all",
        RULED,
        _v4(query("www.bad.example", flags=QR | opcode(5))),
        REDIRECTED,
    ),
    Case(
        "a backend's response without a socket",
        replace(RULED, sockets=()),
        _v4(_RESPONSE),
        _empty(),
    ),
    Case(
        "a response from a dropped address",
        RULED,
        _v4(_RESPONSE, source="192.0.2.66"),
        dropped(Reason.ADDR_V4, 3),
    ),
    Case(
        "a response from a truncated address goes to the socket",
        RULED,
        _v4(_RESPONSE, source="192.0.2.67"),
        redirected(Reason.RESPONSE, 4),
    ),
    Case(
        "a response from a truncated prefix goes to the socket",
        RULED,
        _v6(_RESPONSE, source="2001:db8:67::1"),
        redirected(Reason.RESPONSE, 7),
    ),
    Case(
        "a response from a truncated address without a socket",
        replace(RULED, sockets=()),
        _v4(_RESPONSE, source="192.0.2.67"),
        _empty(Reason.RESPONSE, 4),
    ),
    Case(
        "a response from a truncated address, ineligible",
        RULED,
        pad(_v4(_RESPONSE, source="192.0.2.67"), 200),
        passed(Reason.RESPONSE, 4),
    ),
    Case(
        "NOTIFY from a truncated address goes to the socket",
        RULED,
        _v4(_NOTIFY, source="192.0.2.67"),
        redirected(Reason.OPCODE, 4),
    ),
    Case(
        "NOTIFY from a truncated address without a socket",
        replace(RULED, sockets=()),
        _v4(_NOTIFY, source="192.0.2.67"),
        _empty(Reason.OPCODE, 4),
    ),
    Case(
        "NOTIFY from a truncated prefix, ineligible",
        RULED,
        ethernet(ipv6(Udp(_NOTIFY), source="2001:db8:67::1"), tags=(Tag(),)),
        passed(Reason.OPCODE, 7),
    ),
    Case(
        "a response from an allowed address goes to the socket",
        RULED,
        _v4(_RESPONSE, source="192.0.2.68"),
        redirected(Reason.ADDR_V4, 5),
    ),
)

_FITTING4 = 1792 - 14 - 20 - 8 - len(QUERY)
_FITTING6 = 1792 - 14 - 40 - 8 - len(QUERY)
_INELIGIBLE: dict[str, bytes] = {
    "a VLAN tag, v4": ethernet(ipv4(Udp(QUERY)), tags=(Tag(),)),
    "a VLAN tag, v6": ethernet(ipv6(Udp(QUERY)), tags=(Tag(),)),
    "QinQ": ethernet(ipv4(Udp(QUERY)), tags=(Tag(QINQ), Tag())),
    "IP options": ethernet(ipv4(Udp(QUERY), options=b"\1\1\1\0")),
    "40 octets of IP options": ethernet(ipv4(Udp(QUERY), options=bytes(40))),
    "hop-by-hop": ethernet(ipv6(Udp(QUERY), extensions=(hop_by_hop(),))),
    "routing": ethernet(ipv6(Udp(QUERY), extensions=(routing(),))),
    "destination options": ethernet(ipv6(Udp(QUERY), extensions=(destination_options(),))),
    "AH": ethernet(ipv6(Udp(QUERY), extensions=(authentication(),))),
    "an atomic fragment": ethernet(ipv6(Udp(QUERY), extensions=(fragment(),))),
    "a first fragment with its question, v4": ethernet(ipv4(Udp(eights(QUERY)), flags=MF)),
    "a first fragment with its question, v6": ethernet(
        ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True),))
    ),
    "a response's first fragment": ethernet(ipv4(Udp(query("a.example", flags=QR)[:16]), flags=MF)),
    "a first fragment with its question beside --port": ethernet(
        ipv4(Udp(eights(QUERY), dport=OTHER_PORT), flags=MF)
    ),
    "one octet of padding, v4": _v4() + b"\0",
    "one octet of padding, v6": _v6() + b"\0",
    "padding to 60 octets": pad(_v4(query("")), 60),
    "an IPv4 total length of one less": ethernet(
        ipv4(Udp(QUERY), total_length=28 + len(QUERY) - 1)
    ),
    "an IPv4 total length of one more": ethernet(
        ipv4(Udp(QUERY), total_length=28 + len(QUERY) + 1)
    ),
    "an IPv4 total length of 0": ethernet(ipv4(Udp(QUERY), total_length=0)),
    "an IPv6 payload length of one less": ethernet(
        ipv6(Udp(QUERY), payload_length=8 + len(QUERY) - 1)
    ),
    "an IPv6 payload length of one more": ethernet(
        ipv6(Udp(QUERY), payload_length=8 + len(QUERY) + 1)
    ),
    "an IPv6 payload length of 0": ethernet(ipv6(Udp(QUERY), payload_length=0)),
    "an IPv6 payload length of 65535": ethernet(ipv6(Udp(QUERY), payload_length=65535)),
    "a UDP length of one less, v4": ethernet(ipv4(Udp(QUERY, length=8 + len(QUERY) - 1))),
    "a UDP length of one more, v4": ethernet(ipv4(Udp(QUERY, length=8 + len(QUERY) + 1))),
    "a UDP length of one less, v6": ethernet(ipv6(Udp(QUERY, length=8 + len(QUERY) - 1))),
    "a UDP length of one more, v6": ethernet(ipv6(Udp(QUERY, length=8 + len(QUERY) + 1))),
    "a UDP length of 0": ethernet(ipv4(Udp(QUERY, length=0))),
    "a UDP length of 65535": ethernet(ipv6(Udp(QUERY, length=65535))),
    "1,793 octets, v4": _v4(QUERY + bytes(_FITTING4 + 1)),
    "1,793 octets, v6": _v6(QUERY + bytes(_FITTING6 + 1)),
    "2,500 octets": _v4(QUERY + bytes(2500 - 42 - len(QUERY))),
}

ELIGIBLE = (
    *(
        Case(f"not for the socket: {text}", XSK, frame, INELIGIBLE)
        for text, frame in _INELIGIBLE.items()
    ),
    *(
        Case(
            f"not for the socket, nor is there one: {text}",
            replace(XSK, sockets=()),
            frame,
            INELIGIBLE,
        )
        for text, frame in list(_INELIGIBLE.items())[:4]
    ),
    Case("1,792 octets go to the socket, v4", XSK, _v4(QUERY + bytes(_FITTING4)), REDIRECTED),
    Case("1,792 octets go to the socket, v6", XSK, _v6(QUERY + bytes(_FITTING6)), REDIRECTED),
    Case(
        "a UDP checksum of 0 goes to the socket",
        XSK,
        ethernet(ipv4(Udp(QUERY, checksum=0))),
        REDIRECTED,
    ),
    Case(
        "a wrong IPv4 header checksum goes to the socket",
        XSK,
        ethernet(ipv4(Udp(QUERY), checksum=1)),
        REDIRECTED,
    ),
    Case("DF goes to the socket", XSK, ethernet(ipv4(Udp(QUERY), flags=DF)), REDIRECTED),
    Case(
        "a group MAC goes to the socket",
        XSK,
        ethernet(ipv4(Udp(QUERY)), destination=BROADCAST_MAC),
        REDIRECTED,
    ),
    Case(
        "an ineligible frame with a dropped name is dropped",
        RULED,
        ethernet(ipv4(Udp(query("www.bad.example"))), tags=(Tag(),)),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "2,500 octets with a dropped name are dropped",
        RULED,
        _v4(query("www.bad.example", behind=bytes(2400))),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "an ineligible frame to a destination that is not registered",
        XSK,
        ethernet(ipv4(Udp(QUERY), destination="198.51.100.54"), tags=(Tag(),)),
        NO_MATCH,
    ),
    Case(
        "padding is trimmed from an answer before the socket",
        RULED,
        pad(_v4(query("tc.example")), 300),
        answered(Reason.QNAME, _reply4(_TC), 1),
    ),
    Case(
        "a tagged query is answered before the socket",
        RULED,
        ethernet(ipv4(Udp(query("tc.example"))), tags=(Tag(),)),
        answered(
            Reason.QNAME,
            ethernet(
                ipv4(Udp(_TC, DNS_PORT, CLIENT_PORT), source=SERVER4, destination=CLIENT4, ttl=64),
                source=SERVER_MAC,
                destination=CLIENT_MAC,
                tags=(Tag(),),
            ),
            1,
        ),
    ),
    Case(
        "a later fragment to a destination, v4",
        XSK,
        ethernet(ipv4(Raw(17, bytes(32)), offset=1)),
        passed(Reason.FRAGMENT),
    ),
    Case(
        "a later fragment to a destination, v6",
        XSK,
        ethernet(ipv6(Raw(17, bytes(32)), extensions=(fragment(1),))),
        passed(Reason.FRAGMENT),
    ),
    Case(
        "a first fragment to a destination at a --port that hides its name",
        XSK,
        ethernet(ipv4(Udp(QUERY[:16]), flags=MF)),
        dropped(Reason.FRAGMENT),
    ),
    Case(
        "a first fragment to a destination beside --port that hides its name",
        XSK,
        ethernet(ipv4(Udp(QUERY[:16], dport=OTHER_PORT), flags=MF)),
        INELIGIBLE,
    ),
    *(
        Case(
            f"a first fragment of {text} to a destination beside --port",
            XSK,
            ethernet(ipv4(Udp(message, dport=OTHER_PORT), flags=MF, total_length=length)),
            expected,
        )
        for text, message, length, expected in (
            ("odd length", QUERY, None, dropped(Reason.FRAGMENT)),
            ("11 octets of DNS", QUERY[:11], None, dropped(Reason.FRAGMENT)),
            ("odd length by its IP length", eights(QUERY), 51, dropped(Reason.FRAGMENT)),
            ("8 octets of DNS", QUERY[:8], None, dropped(Reason.MALFORMED)),
            ("8 octets of DNS by its IP length", QUERY, 36, dropped(Reason.MALFORMED)),
            ("no DNS by its IP length", QUERY, 28, dropped(Reason.MALFORMED)),
            ("a pointer", query(b"\3www\xc0\x0c", behind=bytes(2)), None, POINTER),
        )
    ),
    Case(
        "a compression pointer to a destination beside --port",
        XSK,
        _v4(query(b"\3www\xc0\x0c"), dport=OTHER_PORT),
        POINTER,
    ),
    Case(
        "a compression pointer to a destination at a --port, v6",
        XSK,
        _v6(query(b"\xc0\x04")),
        POINTER,
    ),
    Case(
        "a compression pointer in a response to a destination",
        XSK,
        _v4(query(b"\3www\xc0\x0c", flags=QR), dport=OTHER_PORT),
        redirected(),
    ),
    Case(
        "a compression pointer in an UPDATE to a destination",
        XSK,
        _v4(query(b"\3www\xc0\x0c", flags=opcode(5)), dport=OTHER_PORT),
        redirected(),
    ),
    Case(
        "a first fragment to a destination outside --address that hides its name",
        replace(XSK, config=ELSEWHERE),
        ethernet(ipv4(Udp(QUERY[:16]), flags=MF)),
        INELIGIBLE,
    ),
)

CASES = (*SLOTS, *WHICH, *FIRST_RULES, *GOING_ON, *RESPONSES, *ELIGIBLE)
