"""Cases of PACKETS.md, "a Truncate hit that cannot be answered"."""

from __future__ import annotations

from tests.packets.build import (
    BROADCAST_MAC,
    MF,
    MULTICAST_MAC,
    QINQ,
    Tag,
    Udp,
    authentication,
    destination_options,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
    routing,
)
from tests.packets.case import Case, Scene, dropped, passed, truncate
from tests.packets.message import QR, RD, TC, long_name, opcode, query
from xdpctl.abi import Reason

EVERYBODY = Scene(rules=(truncate("0.0.0.0/0"), truncate("::/0")))
NAMED = Scene(rules=(truncate("www.example"),))
QUERY = query("www.example")
UNANSWERABLE4 = dropped(Reason.UNANSWERABLE, 0)
UNANSWERABLE6 = dropped(Reason.UNANSWERABLE, 1)
BY_NAME = dropped(Reason.UNANSWERABLE, 0)


def _both(description: str, message: bytes, reason: Reason | None = None) -> tuple[Case, Case]:
    """Return the message over v4 and v6: passed under the reason, or unanswerable."""
    return (
        Case(
            f"{description}, v4",
            EVERYBODY,
            ethernet(ipv4(Udp(message))),
            UNANSWERABLE4 if reason is None else passed(reason, 0),
        ),
        Case(
            f"{description}, v6",
            EVERYBODY,
            ethernet(ipv6(Udp(message))),
            UNANSWERABLE6 if reason is None else passed(reason, 1),
        ),
    )


RESPONSES = (
    *_both("a response is never answered", query("www.example", flags=QR | RD), Reason.RESPONSE),
    *_both(
        "a TC=1 answer is never answered", query("www.example", flags=QR | TC | RD), Reason.RESPONSE
    ),
    *_both(
        "a response of another OPCODE", query("www.example", flags=QR | opcode(4)), Reason.RESPONSE
    ),
    *_both(
        "a response without a question",
        query("www.example", flags=QR, counts=(0, 0, 0, 0)),
        Reason.RESPONSE,
    ),
    *_both("a response cut short", query("www.example", flags=QR)[:12], Reason.RESPONSE),
    Case(
        "a response to a group MAC",
        EVERYBODY,
        ethernet(ipv4(Udp(query("www.example", flags=QR))), destination=MULTICAST_MAC),
        passed(Reason.RESPONSE, 0),
    ),
    Case(
        "a response behind IP options",
        EVERYBODY,
        ethernet(ipv4(Udp(query("www.example", flags=QR)), options=bytes(4))),
        passed(Reason.RESPONSE, 0),
    ),
    Case(
        "a response to a truncated name",
        NAMED,
        ethernet(ipv4(Udp(query("www.example", flags=QR)))),
        passed(Reason.NO_MATCH),
    ),
)

OPCODES = (
    *(
        case
        for number in range(1, 16)
        for case in _both(
            f"OPCODE {number} is not answered",
            query("www.example", flags=opcode(number)),
            Reason.OPCODE,
        )
    ),
    *_both(
        "UPDATE without a question",
        query("www.example", flags=opcode(5), counts=(0, 0, 0, 0)),
        Reason.OPCODE,
    ),
    *_both("UPDATE cut short", query("www.example", flags=opcode(5))[:12], Reason.OPCODE),
    Case(
        "NOTIFY to a group MAC",
        EVERYBODY,
        ethernet(ipv4(Udp(query("www.example", flags=opcode(4)))), destination=MULTICAST_MAC),
        passed(Reason.OPCODE, 0),
    ),
    Case(
        "NOTIFY behind IP options",
        EVERYBODY,
        ethernet(ipv4(Udp(query("www.example", flags=opcode(4))), options=bytes(4))),
        passed(Reason.OPCODE, 0),
    ),
    Case(
        "NOTIFY behind an extension header",
        EVERYBODY,
        ethernet(ipv6(Udp(query("www.example", flags=opcode(4))), extensions=(hop_by_hop(),))),
        passed(Reason.OPCODE, 1),
    ),
    Case(
        "NOTIFY of a truncated name",
        NAMED,
        ethernet(ipv4(Udp(query("www.example", flags=opcode(4))))),
        passed(Reason.NO_MATCH),
    ),
)

QUESTIONS = (
    *_both("QDCOUNT 0", query("www.example", counts=(0, 0, 0, 0))),
    *_both("QDCOUNT 2", query("www.example", counts=(2, 0, 0, 0), behind=QUERY[12:])),
    *_both("QDCOUNT 256", query("www.example", counts=(256, 0, 0, 0))),
    *_both("QDCOUNT 257", query("www.example", counts=(257, 0, 0, 0))),
    *(
        case
        for missing in range(1, len(QUERY) - 12 + 1)
        for case in _both(f"a question {missing} octets short", QUERY[:-missing])
    ),
    *_both("a compression pointer", query(b"\3www\xc0\x0c")),
    *_both("a label of 64 octets", query(b"\x40" + b"a" * 64 + b"\0")),
    *(
        case
        for octets in (256, 257, 264, 300)
        for case in _both(f"a name of {octets} octets", query(long_name(octets)))
    ),
    Case(
        "QDCOUNT 2 by name",
        NAMED,
        ethernet(ipv4(Udp(query("www.example", counts=(2, 0, 0, 0), behind=QUERY[12:])))),
        BY_NAME,
    ),
    Case(
        "QDCOUNT 2 by name, v6",
        NAMED,
        ethernet(ipv6(Udp(query("www.example", counts=(2, 0, 0, 0))))),
        BY_NAME,
    ),
)

_CHAINS = {
    "hop-by-hop": (hop_by_hop(),),
    "routing": (routing(),),
    "destination options": (destination_options(),),
    "AH": (authentication(),),
    "an atomic fragment": (fragment(),),
    "a first fragment": (fragment(more=True),),
    "six headers": (
        hop_by_hop(),
        routing(),
        fragment(),
        authentication(),
        destination_options(),
        hop_by_hop(),
    ),
}

PACKETS = (
    *(
        Case(
            f"{size} octets of IP options, by {text}",
            scene,
            ethernet(ipv4(Udp(QUERY), options=bytes(size))),
            UNANSWERABLE4,
        )
        for size in (4, 40)
        for text, scene in (("prefix", EVERYBODY), ("name", NAMED))
    ),
    *(
        Case(
            f"{text} before a query, by prefix",
            EVERYBODY,
            ethernet(ipv6(Udp(QUERY), extensions=chain)),
            UNANSWERABLE6,
        )
        for text, chain in _CHAINS.items()
    ),
    *(
        Case(
            f"{text} before a query, by name",
            NAMED,
            ethernet(ipv6(Udp(QUERY), extensions=chain)),
            BY_NAME,
        )
        for text, chain in _CHAINS.items()
    ),
    Case(
        "a first fragment, v4, by prefix",
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY), flags=MF)),
        UNANSWERABLE4,
    ),
    Case("a first fragment, v4, by name", NAMED, ethernet(ipv4(Udp(QUERY), flags=MF)), BY_NAME),
    *(
        Case(
            f"{text} MAC, v{version}, by prefix",
            EVERYBODY,
            ethernet(packet, destination=mac),
            expected,
        )
        for text, mac in (
            ("broadcast", BROADCAST_MAC),
            ("multicast", MULTICAST_MAC),
            ("IPv6 multicast", bytes.fromhex("3333000000fb")),
        )
        for version, packet, expected in (
            (4, ipv4(Udp(QUERY)), UNANSWERABLE4),
            (6, ipv6(Udp(QUERY)), UNANSWERABLE6),
        )
    ),
    Case(
        "multicast MAC, by name",
        NAMED,
        ethernet(ipv4(Udp(QUERY)), destination=MULTICAST_MAC),
        BY_NAME,
    ),
    Case(
        "multicast MAC in QinQ",
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY)), destination=MULTICAST_MAC, tags=(Tag(QINQ), Tag())),
        UNANSWERABLE4,
    ),
)

CASES = (*RESPONSES, *OPCODES, *QUESTIONS, *PACKETS)
