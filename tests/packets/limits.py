"""Cases of PACKETS.md, "Limits": who is limited, and what is done with the packet.

How much an account holds is not a packet's matter: here one has nothing left, or plenty, and
no time passes. What Truncate says of answers is answers.py's and unanswerable.py's: their
packets come once more, when nothing of the total is left.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from tests.packets import answers, unanswerable
from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    CLIENT_PORT,
    DNS_PORT,
    MF,
    SERVER4,
    SERVER6,
    SERVER_MAC,
    VLAN,
    Tag,
    Tcp,
    Udp,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
    pad,
)
from tests.packets.case import (
    KNOWN,
    LIMITS,
    Case,
    Limits,
    Scene,
    allow,
    answered,
    below,
    drop,
    dropped,
    listed,
    passed,
    redirected,
    truncate,
    zone,
)
from tests.packets.cookies import query_with, server_cookie
from tests.packets.message import QR, RA, RD, TC, eights, opcode, opt, query, question, truncated
from tests.packets.xsk import DESTINATIONS, OTHER_PORT
from xdpctl.abi import PacketAction, Reason
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.packets.build import Upper
    from tests.packets.case import Result

WITHIN = Scene(config=LIMITS)
SPENT = Scene(config=LIMITS, limits=Limits(spent=(f"{CLIENT4}/32", "2001:db8:1::/64")))
WIDER = Scene(config=LIMITS, limits=Limits(spent=("192.0.2.0/24", "2001:db8:1::/48")))
EMPTY = Scene(config=LIMITS, limits=Limits(x_left=False))
BOTH = replace(SPENT, limits=replace(SPENT.limits, x_left=False))
SLIPPED = replace(SPENT, limits=replace(SPENT.limits, slip=0))
DRY = replace(SPENT, limits=replace(SPENT.limits, dry_run=True))
DRY_TOTAL = replace(EMPTY, limits=replace(EMPTY.limits, dry_run=True))
FOUR = replace(LIMITS, limits4=(32, 28, 20, 16), limits6=(128, 64, 56, 32))
ODD = replace(LIMITS, limits4=(24,), limits6=(96, 48, 33), flood=False)
ONLY_TOTAL = replace(LIMITS, limits4=(), limits6=())
TABLES = replace(LIMITS, tables=True)
ADDRESS_PORTS = replace(LIMITS, address_ports=(853,))
XSK = replace(LIMITS, xsk=XskFamily.BOTH)

QUERY = query("www.example")
NO_MATCH = passed(Reason.NO_MATCH)
DRY_LIMIT = passed(Reason.LIMIT)

_ANSWER = truncated(question("www.example"), flags=QR | TC | RD | RA)


def frames(message: bytes, sources: tuple[str, str] = (CLIENT4, CLIENT6)) -> tuple[bytes, bytes]:
    """Return the message over v4 and v6."""
    return both(Udp(message), sources)


def both(upper: Upper, sources: tuple[str, str] = (CLIENT4, CLIENT6)) -> tuple[bytes, bytes]:
    """Return the segment over v4 and v6."""
    v4, v6 = sources
    return ethernet(ipv4(upper, source=v4)), ethernet(ipv6(upper, source=v6))


def answer_to(
    source: str, destination: str, tags: tuple[Tag, ...] = (), dport: int = DNS_PORT
) -> bytes:
    """Return the answer to QUERY."""
    udp = Udp(_ANSWER, sport=dport, dport=CLIENT_PORT)
    packet = (
        ipv4(udp, source=destination, destination=source, ttl=64)
        if "." in source
        else ipv6(udp, source=destination, destination=source, hop_limit=64)
    )
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC, tags=tags)


def answered_both(reason: Reason) -> tuple[Result, Result]:
    """Return: answered, over v4 and v6."""
    return (
        answered(reason, answer_to(CLIENT4, SERVER4)),
        answered(reason, answer_to(CLIENT6, SERVER6)),
    )


def pair(
    description: str,
    scene: Scene,
    packets: tuple[bytes, bytes],
    expected: Result | tuple[Result, Result],
) -> Iterator[Case]:
    """Yield a case over v4 and one over v6."""
    results = expected if isinstance(expected, tuple) else (expected, expected)
    for family, frame, result in zip(("v4", "v6"), packets, results, strict=True):
        yield Case(f"{description}, {family}", scene, frame, result)


def _over(case: Case, reason: Reason) -> Case | None:
    """Return a case in which everybody is truncated as one in which everybody is limited."""
    expected = case.expected
    if case.scene != unanswerable.EVERYBODY:
        return None
    if expected.action is PacketAction.TRUNCATE:
        result = replace(expected, reason=reason, hit=None)
    elif "pointer" in case.description:
        result = dropped(Reason.MALFORMED)
    elif expected.reason in {Reason.UNANSWERABLE, Reason.OPCODE}:
        result = dropped(reason)
    elif expected.reason is Reason.RESPONSE:
        result = NO_MATCH
    else:
        return None
    return Case(f"limited: {case.description}", EMPTY, case.frame, result)


def _prefixes(v4: int, v6: int) -> tuple[str, str]:
    """Return the clients' prefixes of these lengths."""
    return (
        str(ip_network((CLIENT4, v4), strict=False)),
        str(ip_network((CLIENT6, v6), strict=False)),
    )


RULES = (
    drop("www.bad.example"),
    allow("ok.example"),
    truncate("tc.example"),
    allow("192.0.2.68"),
    allow("2001:db8:68::/48"),
)
RULED = replace(EMPTY, rules=RULES)
OWN = replace(
    EMPTY,
    config=TABLES,
    rules=(zone(drop("bad.example")), below(allow("good.example")), listed(drop("list.example"))),
)
STRANGERS = ("198.18.0.1", "2001:db8:2::1")
ALLOWED = ("192.0.2.68", "2001:db8:68::1")
NEIGHBOURS = ("192.0.2.2", "2001:db8:1:1::1")

BY_SOURCE = (
    *pair("a source within its limit", WITHIN, frames(QUERY), NO_MATCH),
    *pair("a source over its limit", SPENT, frames(QUERY), answered_both(Reason.LIMIT)),
    *pair("a neighbour of one over its limit", SPENT, frames(QUERY, NEIGHBOURS), NO_MATCH),
    *pair("a source in a prefix over its limit", WIDER, frames(QUERY), answered_both(Reason.LIMIT)),
    *pair("a source in another prefix", WIDER, frames(QUERY, STRANGERS), NO_MATCH),
    *pair("over both limits", BOTH, frames(QUERY), answered_both(Reason.UNPROVEN)),
    *(
        case
        for v4, v6 in zip(FOUR.limits4, FOUR.limits6, strict=True)
        for case in pair(
            f"the prefixes of {v4} and {v6} bits are over their limit",
            Scene(config=FOUR, limits=Limits(spent=_prefixes(v4, v6))),
            frames(QUERY),
            answered_both(Reason.LIMIT),
        )
    ),
    *pair(
        "one bit beside four prefixes over their limits",
        Scene(
            config=FOUR,
            limits=Limits(
                spent=(
                    *("192.0.2.0/32", "192.0.2.16/28", "192.0.16.0/20", "192.1.0.0/16"),
                    *("2001:db8:1::/128", "2001:db8:1:1::/64", "2001:db8:1:100::/56"),
                    "2001:db9::/32",
                )
            ),
        ),
        frames(QUERY),
        NO_MATCH,
    ),
    *pair(
        "families with other numbers of prefixes",
        Scene(config=ODD, limits=Limits(spent=("192.0.2.0/24", "2001:db8::/33"), x_left=False)),
        frames(QUERY),
        answered_both(Reason.LIMIT),
    ),
    *pair(
        "no limit in total is configured",
        Scene(config=ODD, limits=Limits(x_left=False)),
        frames(QUERY),
        NO_MATCH,
    ),
)

IN_TOTAL = (
    *pair("nothing is left of the total", EMPTY, frames(QUERY), answered_both(Reason.UNPROVEN)),
    *pair(
        "only the total is limited",
        Scene(config=ONLY_TOTAL, limits=Limits(x_left=False)),
        frames(QUERY),
        answered_both(Reason.UNPROVEN),
    ),
    *pair("something is left of the only total", Scene(config=ONLY_TOTAL), frames(QUERY), NO_MATCH),
)

WHO = (
    *pair("a response", BOTH, frames(query("www.example", flags=QR | RD)), NO_MATCH),
    *pair("a TCP segment", BOTH, both(Tcp()), NO_MATCH),
    *pair(
        "UDP to an address port",
        replace(BOTH, config=ADDRESS_PORTS),
        both(Udp(QUERY, dport=853)),
        NO_MATCH,
    ),
    *pair("UDP to another port", BOTH, both(Udp(QUERY, dport=54)), passed(Reason.OTHER)),
    *pair("panic", replace(BOTH, panic=True), frames(QUERY), passed(Reason.PANIC)),
    *(
        case
        for number in (1, 2, 4, 5, 6, 15)
        for case in pair(
            f"OPCODE {number} over the limit",
            SPENT,
            frames(query("www.example", flags=opcode(number))),
            dropped(Reason.LIMIT),
        )
    ),
    *pair(
        "NOTIFY within the limit", WITHIN, frames(query("www.example", flags=opcode(4))), NO_MATCH
    ),
    *pair("no question", SPENT, frames(query("", counts=(0, 0, 0, 0))), dropped(Reason.LIMIT)),
    *pair("a question cut short", SPENT, frames(QUERY[:-1]), dropped(Reason.LIMIT)),
    *pair("only a header", SPENT, frames(QUERY[:12]), dropped(Reason.LIMIT)),
    *pair("a question cut short, within", WITHIN, frames(QUERY[:-1]), NO_MATCH),
    *pair("a pointer", SPENT, frames(query(b"\3www\xc0\x0c")), dropped(Reason.MALFORMED)),
    *pair("under 12 octets", SPENT, frames(QUERY[:11]), dropped(Reason.MALFORMED)),
    Case(
        "a first fragment with a whole question",
        SPENT,
        ethernet(ipv4(Udp(eights(QUERY)), flags=MF)),
        dropped(Reason.LIMIT),
    ),
    Case(
        "a first fragment with a whole question, v6",
        SPENT,
        ethernet(ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True),))),
        dropped(Reason.LIMIT),
    ),
    Case(
        "a first fragment that hides its name",
        SPENT,
        ethernet(ipv4(Udp(eights(QUERY)[:16]), flags=MF)),
        dropped(Reason.FRAGMENT),
    ),
    Case(
        "behind an extension header",
        SPENT,
        ethernet(ipv6(Udp(QUERY), extensions=(hop_by_hop(),))),
        dropped(Reason.LIMIT),
    ),
    Case(
        "with a VLAN tag",
        SPENT,
        ethernet(ipv4(Udp(QUERY)), tags=(Tag(VLAN, 7),)),
        answered(Reason.LIMIT, answer_to(CLIENT4, SERVER4, tags=(Tag(VLAN, 7),))),
    ),
)

BESIDE_RULES = (
    *pair("a name to drop", RULED, frames(query("www.bad.example")), dropped(Reason.QNAME, 0)),
    *pair("an allowed name", RULED, frames(query("ok.example")), passed(Reason.QNAME, 1)),
    *pair(
        "an allowed source",
        RULED,
        frames(QUERY, ALLOWED),
        (passed(Reason.ADDR_V4, 3), passed(Reason.CIDR6, 4)),
    ),
    *pair("no rule's name", RULED, frames(QUERY), answered_both(Reason.UNPROVEN)),
    *pair("a zone to drop", OWN, frames(query("a.bad.example")), dropped(Reason.ZONE, 0)),
    *pair("an allowed zone", OWN, frames(query("a.good.example")), passed(Reason.ZONE, 1)),
    *pair("a list's name", OWN, frames(query("list.example")), dropped(Reason.LIST_NAME, 2)),
    *pair("no zone's name", OWN, frames(QUERY), answered_both(Reason.UNPROVEN)),
)

WHAT_IS_DONE = (
    *pair("slip 0 drops", SLIPPED, frames(QUERY), dropped(Reason.LIMIT)),
    *pair("a dry run passes", DRY, frames(QUERY), DRY_LIMIT),
    *pair("a dry run of the total", DRY_TOTAL, frames(QUERY), passed(Reason.UNPROVEN)),
    *pair("a dry run within the limit", DRY, frames(QUERY, NEIGHBOURS), NO_MATCH),
    *pair(
        "a dry run passes what could not be answered",
        DRY,
        frames(query("www.example", flags=opcode(4))),
        DRY_LIMIT,
    ),
)

SOCKETS = replace(SPENT, config=XSK, destinations=DESTINATIONS, sockets=(0,))
DRY_SOCKETS = replace(DRY, config=XSK, destinations=DESTINATIONS, sockets=(0,))
ELSEWHERE = Udp(QUERY, dport=OTHER_PORT)

TO_SOCKETS = (
    *pair("within the limit", SOCKETS, frames(QUERY, NEIGHBOURS), redirected()),
    *pair("over the limit, to a socket", SOCKETS, frames(QUERY), answered_both(Reason.LIMIT)),
    *pair("a dry run, to a socket", DRY_SOCKETS, frames(QUERY), redirected(Reason.LIMIT)),
    *pair(
        "a dry run, to an empty slot",
        replace(DRY_SOCKETS, sockets=()),
        frames(QUERY),
        DRY_LIMIT,
    ),
    Case(
        "a dry run of what the socket does not take",
        DRY_SOCKETS,
        pad(ethernet(ipv4(Udp(QUERY))), 100),
        DRY_LIMIT,
    ),
    *pair(
        "another port's socket",
        SOCKETS,
        both(ELSEWHERE),
        (
            answered(Reason.LIMIT, answer_to(CLIENT4, SERVER4, dport=OTHER_PORT)),
            answered(Reason.LIMIT, answer_to(CLIENT6, SERVER6, dport=OTHER_PORT)),
        ),
    ),
    *pair(
        "a response to a socket",
        SOCKETS,
        frames(query("www.example", flags=QR | RD)),
        redirected(),
    ),
)

HOSTS = (f"{CLIENT4}/32", "2001:db8:1::/64")
COOKIE_KEY = bytes(range(16))
COOKIE_TIME = 1_700_000_000
PROVEN = Limits(spent=HOSTS, proven=(CLIENT4, CLIENT6))
COOKIES = Limits(spent=HOSTS, cookie_keys=(COOKIE_KEY,), now=COOKIE_TIME)


def cookies() -> tuple[bytes, bytes]:
    """Return queries with the server's cookie over v4 and v6."""
    v4, v6 = (
        Udp(query_with(server_cookie(COOKIE_KEY, ip_address(source), COOKIE_TIME)))
        for source in (CLIENT4, CLIENT6)
    )
    return ethernet(ipv4(v4)), ethernet(ipv6(v6))


def edns_answered(reason: Reason) -> tuple[Result, Result]:
    """Return: answered with a bare OPT, over v4 and v6."""
    answer = truncated(question("www.example"), opt(), flags=QR | TC | RD | RA)
    udp = Udp(answer, sport=DNS_PORT, dport=CLIENT_PORT)
    packets = (
        ipv4(udp, source=SERVER4, destination=CLIENT4, ttl=64),
        ipv6(udp, source=SERVER6, destination=CLIENT6, hop_limit=64),
    )
    v4, v6 = (ethernet(each, source=SERVER_MAC, destination=CLIENT_MAC) for each in packets)
    return answered(reason, v4), answered(reason, v6)


SECOND_ACCOUNTS = (
    *pair(
        "a proven source over its first limit",
        Scene(config=KNOWN, limits=PROVEN),
        frames(QUERY),
        NO_MATCH,
    ),
    *pair(
        "a proven source over both its limits",
        Scene(config=KNOWN, limits=replace(PROVEN, second_spent=HOSTS)),
        frames(QUERY),
        answered_both(Reason.LIMIT),
    ),
    *pair(
        "a proven source over both its limits, nothing left of X",
        Scene(config=KNOWN, limits=replace(PROVEN, second_spent=HOSTS, x_left=False)),
        frames(QUERY),
        answered_both(Reason.LIMIT),
    ),
    *pair(
        "a good cookie over the source's first limit",
        Scene(config=KNOWN, limits=COOKIES),
        cookies(),
        NO_MATCH,
    ),
    *pair(
        "a good cookie over its limit",
        Scene(config=KNOWN, limits=replace(COOKIES, cookie_spent=HOSTS)),
        cookies(),
        edns_answered(Reason.LIMIT),
    ),
    *pair(
        "a good cookie over its limit, nothing left of X",
        Scene(config=KNOWN, limits=replace(COOKIES, cookie_spent=HOSTS, x_left=False)),
        cookies(),
        edns_answered(Reason.LIMIT),
    ),
)

AS_TRUNCATE = tuple(
    limited
    for case in (*answers.CASES, *unanswerable.CASES)
    if (limited := _over(case, Reason.UNPROVEN))
)

CASES = (
    *BY_SOURCE,
    *IN_TOTAL,
    *WHO,
    *BESIDE_RULES,
    *WHAT_IS_DONE,
    *TO_SOCKETS,
    *SECOND_ACCOUNTS,
    *AS_TRUNCATE,
)
