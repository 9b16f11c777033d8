"""Cases of PACKETS.md, "Rules", as far as the source address decides."""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    MF,
    QINQ,
    SERVER4,
    UNSPECIFIED4,
    Tag,
    Tcp,
    Udp,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
    routing,
)
from tests.packets.case import (
    DEFAULT,
    Case,
    Rule,
    Scene,
    allow,
    answered,
    drop,
    dropped,
    passed,
    truncate,
)
from tests.packets.message import QR, RD, eights, query, question, truncated
from xdpctl.abi import Reason

QUERY = query("www.example")
RESPONSE = query("www.example", flags=QR | RD)

NO_MATCH = passed(Reason.NO_MATCH)


def _from4(source: str) -> bytes:
    return ethernet(ipv4(Udp(QUERY), source=source))


def _from6(source: str) -> bytes:
    return ethernet(ipv6(Udp(QUERY), source=source))


def _rules(*rules: Rule) -> Scene:
    return Scene(rules=rules)


_PLAIN = _rules(
    drop("192.0.2.1"),
    drop("192.0.2.255"),
    drop("2001:db8:1::1"),
    drop("2001:db8:1:ffff:ffff:ffff:ffff:ffff"),
)

EXACT = (
    Case("a Drop rule on the v4 source", _PLAIN, _from4("192.0.2.1"), dropped(Reason.ADDR_V4, 0)),
    Case(
        "the second v4 rule counts its own hit",
        _PLAIN,
        _from4("192.0.2.255"),
        dropped(Reason.ADDR_V4, 1),
    ),
    Case(
        "a Drop rule on the v6 source", _PLAIN, _from6("2001:db8:1::1"), dropped(Reason.ADDR_V6, 2)
    ),
    Case(
        "a v6 source of all ones below",
        _PLAIN,
        _from6("2001:db8:1:ffff:ffff:ffff:ffff:ffff"),
        dropped(Reason.ADDR_V6, 3),
    ),
    *(
        Case(f"no rule on {source}", _PLAIN, _from4(source), NO_MATCH)
        for source in ("192.0.2.0", "192.0.2.2", "1.2.0.192", "193.0.2.1", UNSPECIFIED4)
    ),
    *(
        Case(f"no rule on {source}", _PLAIN, _from6(source), NO_MATCH)
        for source in ("2001:db8:1::", "2001:db8:1::2", "2001:db9:1::1", "::", "::ffff:192.0.2.1")
    ),
    Case(
        "a rule on the destination's address is none on the source",
        _rules(drop(SERVER4)),
        _from4(CLIENT4),
        NO_MATCH,
    ),
    Case("an empty filter, v4", Scene(), _from4(CLIENT4), NO_MATCH),
    Case("an empty filter, v6", Scene(), _from6(CLIENT6), NO_MATCH),
    Case("an empty filter, TCP", Scene(), ethernet(ipv4(Tcp())), NO_MATCH),
    Case(
        "a rule on 0.0.0.0",
        _rules(drop(UNSPECIFIED4)),
        _from4(UNSPECIFIED4),
        dropped(Reason.ADDR_V4, 0),
    ),
    Case("a rule on ::", _rules(drop("::")), _from6("::"), dropped(Reason.ADDR_V6, 0)),
)

_NET = _rules(
    drop("192.0.2.0/24"),
    drop("203.0.113.64/27"),
    drop("2001:db8:1::/48"),
    drop("2001:db8:2::8/125"),
)

PREFIXES = (
    *(
        Case(f"{source} is in a v4 prefix", _NET, _from4(source), dropped(Reason.CIDR4, index))
        for source, index in (
            ("192.0.2.0", 0),
            ("192.0.2.1", 0),
            ("192.0.2.255", 0),
            ("203.0.113.64", 1),
            ("203.0.113.95", 1),
        )
    ),
    *(
        Case(f"{source} is in no v4 prefix", _NET, _from4(source), NO_MATCH)
        for source in (
            "192.0.1.255",
            "192.0.3.0",
            "203.0.113.63",
            "203.0.113.96",
            "2.0.192.0",
            "0.2.0.192",
        )
    ),
    *(
        Case(f"{source} is in a v6 prefix", _NET, _from6(source), dropped(Reason.CIDR6, index))
        for source, index in (
            ("2001:db8:1::", 2),
            ("2001:db8:1:ffff:ffff:ffff:ffff:ffff", 2),
            ("2001:db8:2::8", 3),
            ("2001:db8:2::f", 3),
        )
    ),
    *(
        Case(f"{source} is in no v6 prefix", _NET, _from6(source), NO_MATCH)
        for source in ("2001:db8:0:ffff::", "2001:db8:2::", "2001:db8:2::7", "2001:db8:2::10")
    ),
    Case(
        "0.0.0.0/0 is every v4 source",
        _rules(drop("0.0.0.0/0")),
        _from4("203.0.113.9"),
        dropped(Reason.CIDR4, 0),
    ),
    Case("0.0.0.0/0 is no v6 source", _rules(drop("0.0.0.0/0")), _from6("::1"), NO_MATCH),
    Case(
        "::/0 is every v6 source",
        _rules(drop("::/0")),
        _from6("2001:db8:ffff::"),
        dropped(Reason.CIDR6, 0),
    ),
    Case("::/0 is no v4 source", _rules(drop("::/0")), _from4(CLIENT4), NO_MATCH),
    Case(
        "a /1 holds the upper half",
        _rules(drop("128.0.0.0/1")),
        _from4("192.0.2.1"),
        dropped(Reason.CIDR4, 0),
    ),
    Case(
        "a /1 does not hold the lower half",
        _rules(drop("128.0.0.0/1")),
        _from4("127.0.0.1"),
        NO_MATCH,
    ),
    Case(
        "a /32 is a prefix's rule",
        _rules(drop("192.0.2.1/32")),
        _from4("192.0.2.1"),
        dropped(Reason.CIDR4, 0),
    ),
    Case("a /32 is one address", _rules(drop("192.0.2.1/32")), _from4("192.0.2.0"), NO_MATCH),
    Case(
        "a /31 is two addresses",
        _rules(drop("192.0.2.0/31")),
        _from4("192.0.2.1"),
        dropped(Reason.CIDR4, 0),
    ),
    Case(
        "a /128 is a prefix's rule",
        _rules(drop("2001:db8:1::1/128")),
        _from6("2001:db8:1::1"),
        dropped(Reason.CIDR6, 0),
    ),
    Case(
        "a /128 is one address", _rules(drop("2001:db8:1::1/128")), _from6("2001:db8:1::"), NO_MATCH
    ),
)

_NESTED4 = _rules(
    drop("192.0.0.0/16"), allow("192.0.2.0/24"), drop("192.0.2.128/25"), allow("192.0.2.200/32")
)
_NESTED6 = _rules(
    drop("2001:db8::/32"),
    allow("2001:db8:1::/48"),
    drop("2001:db8:1:2::/64"),
    allow("2001:db8:1:2::3/128"),
)
_BOTH = _rules(
    drop("192.0.2.0/24"), allow("192.0.2.7"), drop("2001:db8:1::/48"), allow("2001:db8:1::7")
)
_BOTH_REVERSED = _rules(
    allow("192.0.2.7/32"), drop("192.0.2.7"), allow("2001:db8:1::7/128"), drop("2001:db8:1::7")
)

PRECEDENCE = (
    *(
        Case(f"the longest v4 prefix of {source} decides", _NESTED4, _from4(source), expected)
        for source, expected in (
            ("192.0.9.9", dropped(Reason.CIDR4, 0)),
            ("192.0.2.9", passed(Reason.CIDR4, 1)),
            ("192.0.2.129", dropped(Reason.CIDR4, 2)),
            ("192.0.2.200", passed(Reason.CIDR4, 3)),
        )
    ),
    *(
        Case(f"the longest v6 prefix of {source} decides", _NESTED6, _from6(source), expected)
        for source, expected in (
            ("2001:db8:9::", dropped(Reason.CIDR6, 0)),
            ("2001:db8:1:9::", passed(Reason.CIDR6, 1)),
            ("2001:db8:1:2::9", dropped(Reason.CIDR6, 2)),
            ("2001:db8:1:2::3", passed(Reason.CIDR6, 3)),
        )
    ),
    Case(
        "an allowed v4 address in a dropped prefix",
        _BOTH,
        _from4("192.0.2.7"),
        passed(Reason.ADDR_V4, 1),
    ),
    Case("its v4 neighbour is dropped", _BOTH, _from4("192.0.2.8"), dropped(Reason.CIDR4, 0)),
    Case(
        "an allowed v6 address in a dropped prefix",
        _BOTH,
        _from6("2001:db8:1::7"),
        passed(Reason.ADDR_V6, 3),
    ),
    Case("its v6 neighbour is dropped", _BOTH, _from6("2001:db8:1::8"), dropped(Reason.CIDR6, 2)),
    Case(
        "an exact v4 Drop before an allowed /32",
        _BOTH_REVERSED,
        _from4("192.0.2.7"),
        dropped(Reason.ADDR_V4, 1),
    ),
    Case(
        "an exact v6 Drop before an allowed /128",
        _BOTH_REVERSED,
        _from6("2001:db8:1::7"),
        dropped(Reason.ADDR_V6, 3),
    ),
    Case(
        "an address's Drop before a name's",
        _rules(drop("www.example"), drop(CLIENT4)),
        _from4(CLIENT4),
        dropped(Reason.ADDR_V4, 1),
    ),
    Case(
        "an allowed address is not looked up by name",
        _rules(drop("www.example"), allow(CLIENT4)),
        _from4(CLIENT4),
        passed(Reason.ADDR_V4, 1),
    ),
    Case(
        "an allowed prefix is not looked up by name",
        _rules(drop("www.example"), allow("::/0")),
        _from6(CLIENT6),
        passed(Reason.CIDR6, 1),
    ),
    Case(
        "an address's Drop before an allowed name",
        _rules(allow("www.example"), drop("192.0.2.0/24")),
        _from4(CLIENT4),
        dropped(Reason.CIDR4, 1),
    ),
)

ACTIONS = (
    *(
        Case(
            f"action byte {action} on {text} is Pass",
            _rules(Rule(target, action), drop("www.example")),
            frame,
            passed(reason, 0),
        )
        for action in (0, 3, 4, 128, 254, 255)
        for text, target, frame, reason in (
            ("an address", CLIENT4, _from4(CLIENT4), Reason.ADDR_V4),
            ("a v6 prefix", "2001:db8:1::/48", _from6(CLIENT6), Reason.CIDR6),
        )
    ),
    *(
        Case(
            f"{garbage.hex()} behind action byte {action} is not read",
            _rules(Rule(CLIENT4, action, unused=garbage)),
            _from4(CLIENT4),
            expected,
        )
        for action, garbage, expected in (
            (0, b"\1" * 7, passed(Reason.ADDR_V4, 0)),
            (0, b"\xff" * 7, passed(Reason.ADDR_V4, 0)),
            (1, b"\xff" * 7, dropped(Reason.ADDR_V4, 0)),
            (1, b"\2" * 7, dropped(Reason.ADDR_V4, 0)),
            (3, b"\1" * 7, passed(Reason.ADDR_V4, 0)),
        )
    ),
    *(
        Case(
            f"a hit on a counter at {hits}",
            _rules(Rule(CLIENT4, hits=hits)),
            _from4(CLIENT4),
            dropped(Reason.ADDR_V4, 0),
        )
        for hits in (1, 2**32 - 1, 2**63, 2**64 - 1)
    ),
)

_DROPS = _rules(drop(CLIENT4), drop("2001:db8:1::/48"))
_TRUNCATES = replace(
    _rules(truncate(CLIENT4), truncate("2001:db8:1::/48")),
    config=replace(DEFAULT, address_ports=(853,)),
)
_ALLOWS = replace(
    _rules(allow(CLIENT4), allow("2001:db8:1::/48"), drop("www.example")),
    config=replace(DEFAULT, address_ports=(853,)),
)


def _answer4() -> bytes:
    return truncated(question("www.example"), flags=0x8380)


EVERY_PACKET: dict[str, tuple[bytes, bytes]] = {
    "a response": (ethernet(ipv4(Udp(RESPONSE))), ethernet(ipv6(Udp(RESPONSE)))),
    "NOTIFY": (
        ethernet(ipv4(Udp(query("www.example", flags=4 << 11)))),
        ethernet(ipv6(Udp(query("www.example", flags=4 << 11)))),
    ),
    "a message without a question": (
        ethernet(ipv4(Udp(query("www.example", counts=(0, 0, 0, 0))))),
        ethernet(ipv6(Udp(query("www.example", counts=(0, 0, 0, 0))))),
    ),
    "a message cut short": (ethernet(ipv4(Udp(QUERY[:15]))), ethernet(ipv6(Udp(QUERY[:15])))),
    "TCP": (ethernet(ipv4(Tcp())), ethernet(ipv6(Tcp()))),
    "TCP in QinQ": (
        ethernet(ipv4(Tcp()), tags=(Tag(QINQ), Tag())),
        ethernet(ipv6(Tcp()), tags=(Tag(QINQ), Tag())),
    ),
    "TCP's last segment": (ethernet(ipv4(Tcp(flags=0x11))), ethernet(ipv6(Tcp(flags=0x11)))),
    "a first fragment of UDP": (
        ethernet(ipv4(Udp(eights(QUERY)), flags=MF)),
        ethernet(ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True),))),
    ),
    "a first fragment of TCP": (
        ethernet(ipv4(Tcp(bytes(4)), flags=MF)),
        ethernet(ipv6(Tcp(bytes(4)), extensions=(fragment(more=True),))),
    ),
    "a first fragment that hides its name": (
        ethernet(ipv4(Udp(QUERY[:16]), flags=MF)),
        ethernet(ipv6(Udp(QUERY[:16]), extensions=(fragment(more=True),))),
    ),
    "a packet with options": (
        ethernet(ipv4(Udp(QUERY), options=b"\x94\x04\0\0")),
        ethernet(ipv6(Udp(QUERY), extensions=(hop_by_hop(), routing()))),
    ),
}

SCOPE = (
    *(
        Case(
            f"an address's Drop drops {text}, v{version}",
            _DROPS,
            frames[index],
            dropped(reason, index),
        )
        for text, frames in EVERY_PACKET.items()
        for index, version, reason in ((0, 4, Reason.ADDR_V4), (1, 6, Reason.CIDR6))
    ),
    *(
        Case(
            f"an allowed address lets {text} pass, v{version}",
            _ALLOWS,
            frames[index],
            passed(reason, index),
        )
        for text, frames in EVERY_PACKET.items()
        for index, version, reason in ((0, 4, Reason.ADDR_V4), (1, 6, Reason.CIDR6))
    ),
    Case(
        "an address's Truncate lets TCP over v4 pass",
        _TRUNCATES,
        ethernet(ipv4(Tcp())),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an address's Truncate lets TCP over v6 pass",
        _TRUNCATES,
        ethernet(ipv6(Tcp())),
        passed(Reason.CIDR6, 1),
    ),
    Case(
        "an address's Truncate lets TCP's first fragment pass",
        _TRUNCATES,
        ethernet(ipv4(Tcp(bytes(4)), flags=MF)),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an address's Truncate lets UDP to an --address-port pass, v4",
        _TRUNCATES,
        ethernet(ipv4(Udp(QUERY, dport=853))),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an address's Truncate lets UDP to an --address-port pass, v6",
        _TRUNCATES,
        ethernet(ipv6(Udp(QUERY, dport=853))),
        passed(Reason.CIDR6, 1),
    ),
    Case(
        "an address's Truncate lets a short packet to an --address-port pass",
        _TRUNCATES,
        ethernet(ipv4(Udp(b"", dport=853))),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an address's Truncate lets TCP to an --address-port pass",
        _TRUNCATES,
        ethernet(ipv4(Tcp(dport=853))),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an address's Truncate lets a first fragment to an --address-port pass",
        _TRUNCATES,
        ethernet(ipv4(Udp(eights(QUERY), dport=853), flags=MF)),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an address's Truncate answers beside --address-ports",
        _TRUNCATES,
        ethernet(ipv4(Udp(QUERY))),
        answered(
            Reason.ADDR_V4,
            ethernet(
                ipv4(Udp(_answer4(), 53, 40000), source=SERVER4, destination=CLIENT4, ttl=64),
                source=bytes.fromhex("02005e000053"),
                destination=bytes.fromhex("02005e000001"),
            ),
            0,
        ),
    ),
    Case(
        "an allowed address lets UDP to an --address-port pass",
        _ALLOWS,
        ethernet(ipv4(Udp(QUERY, dport=853))),
        passed(Reason.ADDR_V4, 0),
    ),
    Case(
        "an unknown address lets UDP to an --address-port pass",
        _ALLOWS,
        ethernet(ipv4(Udp(QUERY, dport=853), source="203.0.113.1")),
        NO_MATCH,
    ),
    Case(
        "an unknown address lets TCP to an --address-port pass",
        _ALLOWS,
        ethernet(ipv4(Tcp(dport=853), source="203.0.113.1")),
        NO_MATCH,
    ),
    Case(
        "a short message is dropped before an address's Drop is looked at",
        _DROPS,
        ethernet(ipv4(Udp(QUERY[:11]))),
        dropped(Reason.MALFORMED),
    ),
    Case(
        "a short message is dropped also from an allowed address",
        _ALLOWS,
        ethernet(ipv4(Udp(QUERY[:11]))),
        dropped(Reason.MALFORMED),
    ),
    Case(
        "with --no-tcp no rule is looked at",
        replace(_DROPS, config=replace(DEFAULT, tcp=False)),
        ethernet(ipv4(Tcp())),
        passed(Reason.OTHER),
    ),
)


CASES = (*EXACT, *PREFIXES, *PRECEDENCE, *ACTIONS, *SCOPE)
