"""Cases of PACKETS.md, "Two books, zones", 1: prefixes in front of all rules and limits."""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    DNS_PORT,
    MF,
    Tcp,
    Udp,
    ethernet,
    fragment,
    ipv4,
    ipv6,
    pad,
)
from tests.packets.case import (
    DEFAULT,
    LIMITS,
    Case,
    Limits,
    Scene,
    drop,
    dropped,
    listed,
    passed,
    redirected,
    truncate,
)
from tests.packets.limits import ADDRESS_PORTS, TABLES, XSK, both, frames, pair
from tests.packets.message import QR, RD, eights, opcode, query
from tests.packets.xsk import DESTINATIONS
from xdpctl.abi import Reason

CONFIG = replace(DEFAULT, exempt=True)
"""Without any limit."""

PREFIXES = ("192.0.2.0/25", "203.0.113.7/32", "2001:db8:1::/48", "2001:db8:ffff::7/128")
DROPPED = (drop("0.0.0.0/0"), drop("::/0"), drop("192.0.2.1"), drop("www.example"))
SCENE = Scene(DROPPED, CONFIG, exempt=PREFIXES)
SPENT = Scene(
    config=LIMITS,
    exempt=PREFIXES,
    limits=Limits(spent=("192.0.2.1/32", "2001:db8:1::/64"), x_left=False),
)
SOCKETS = replace(SCENE, config=XSK, destinations=DESTINATIONS, sockets=(0,))

QUERY = query("www.example")
EXEMPT = passed(Reason.EXEMPT)
BESIDE = ("192.0.2.128", "2001:db8:2::1")
ONE_HOST = ("203.0.113.7", "2001:db8:ffff::7")
NEXT_HOST = ("203.0.113.6", "2001:db8:ffff::6")

RULES = (
    *pair("before a rule that drops", SCENE, frames(QUERY), EXEMPT),
    *pair("one host", SCENE, frames(QUERY, ONE_HOST), EXEMPT),
    *pair(
        "the next host",
        SCENE,
        frames(QUERY, NEXT_HOST),
        (dropped(Reason.CIDR4, 0), dropped(Reason.CIDR6, 1)),
    ),
    *pair(
        "beside the prefix",
        SCENE,
        frames(QUERY, BESIDE),
        (dropped(Reason.CIDR4, 0), dropped(Reason.CIDR6, 1)),
    ),
    *pair(
        "before a rule that truncates",
        replace(SCENE, rules=(truncate("0.0.0.0/0"), truncate("::/0"))),
        frames(QUERY),
        EXEMPT,
    ),
    *pair(
        "before a list",
        replace(
            SCENE,
            config=TABLES,
            rules=(listed(drop("192.0.2.0/24")), listed(drop("2001:db8::/32"))),
        ),
        frames(QUERY),
        EXEMPT,
    ),
    *pair("before the limits", SPENT, frames(QUERY), EXEMPT),
    *pair(
        "no prefix is exempt",
        replace(SCENE, rules=(), exempt=()),
        frames(QUERY),
        passed(Reason.NO_MATCH),
    ),
)

PACKETS = (
    *pair("TCP", SCENE, both(Tcp()), EXEMPT),
    *pair(
        "an address port",
        replace(SCENE, config=ADDRESS_PORTS),
        both(Udp(QUERY, dport=853)),
        EXEMPT,
    ),
    *pair("another port", SCENE, both(Udp(QUERY, dport=54)), passed(Reason.OTHER)),
    *pair("a response", SCENE, frames(query("www.example", flags=QR | RD)), EXEMPT),
    *pair("NOTIFY", SPENT, frames(query("www.example", flags=opcode(4))), EXEMPT),
    *pair("a pointer", SCENE, frames(query(b"\3www\xc0\x0c")), EXEMPT),
    *pair("a question cut short", SCENE, frames(QUERY[:-1]), EXEMPT),
    *pair("under 12 octets", SCENE, frames(QUERY[:11]), dropped(Reason.MALFORMED)),
    *pair("panic", replace(SCENE, panic=True), frames(QUERY), passed(Reason.PANIC)),
    Case(
        "a first fragment that hides its name",
        SCENE,
        ethernet(ipv4(Udp(eights(QUERY)[:16]), flags=MF)),
        EXEMPT,
    ),
    Case(
        "a first fragment that hides its name, v6",
        SCENE,
        ethernet(ipv6(Udp(eights(QUERY)[:16]), extensions=(fragment(more=True),))),
        EXEMPT,
    ),
    Case(
        "a first fragment of no multiple of eight octets",
        SCENE,
        ethernet(ipv4(Udp(QUERY), flags=MF)),
        dropped(Reason.FRAGMENT),
    ),
    Case(
        "a later fragment",
        SCENE,
        ethernet(ipv4(Udp(QUERY), offset=2)),
        passed(Reason.FRAGMENT),
    ),
    Case("IP options", SCENE, ethernet(ipv4(Udp(QUERY), options=bytes(4))), EXEMPT),
)

TO_SOCKETS = (
    *pair("to a socket", SOCKETS, frames(QUERY), redirected(Reason.EXEMPT)),
    *pair("to an empty slot", replace(SOCKETS, sockets=()), frames(QUERY), EXEMPT),
    *pair("TCP beside a socket", SOCKETS, both(Tcp(dport=DNS_PORT)), EXEMPT),
    *pair(
        "a response to a socket",
        SOCKETS,
        frames(query("www.example", flags=QR | RD)),
        redirected(Reason.EXEMPT),
    ),
    Case(
        "what the socket does not take",
        SOCKETS,
        pad(ethernet(ipv4(Udp(QUERY))), 100),
        EXEMPT,
    ),
)

CASES = (*RULES, *PACKETS, *TO_SOCKETS)
