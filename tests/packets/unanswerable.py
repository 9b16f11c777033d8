"""Cases of PACKETS.md, "a Truncate hit that cannot be answered"."""

from __future__ import annotations

from tests.packets.build import (
    BROADCAST_MAC,
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    CLIENT_PORT,
    MF,
    MULTICAST_MAC,
    QINQ,
    SERVER4,
    SERVER6,
    SERVER_MAC,
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
from tests.packets.case import Case, Result, Scene, answered, dropped, passed, truncate
from tests.packets.message import (
    QR,
    RA,
    RD,
    TC,
    eights,
    long_name,
    opcode,
    query,
    question,
    truncated,
)
from xdpctl.abi import Reason

EVERYBODY = Scene(rules=(truncate("0.0.0.0/0"), truncate("::/0")))
NAMED = Scene(rules=(truncate("www.example"),))
QUERY = query("www.example")
UNANSWERABLE4 = dropped(Reason.UNANSWERABLE, 0)
UNANSWERABLE6 = dropped(Reason.UNANSWERABLE, 1)
BY_NAME = dropped(Reason.UNANSWERABLE, 0)
NO_MATCH = passed(Reason.NO_MATCH)


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
            Reason.OPCODE if number in {4, 5} else None,
        )
    ),
    *(
        Case(
            f"OPCODE {number} for a truncated name is not answered",
            NAMED,
            ethernet(ipv4(Udp(query("www.example", flags=opcode(number))))),
            passed(Reason.NO_MATCH) if number in {4, 5} else BY_NAME,
        )
        for number in range(1, 16)
    ),
    *_both("OPCODE 2 cut short", query("www.example", flags=opcode(2))[:12]),
    *_both("OPCODE 2 without a question", query("", flags=opcode(2), counts=(0, 0, 0, 0))),
    *_both("OPCODE 2 with a compression pointer", query(b"\3www\xc0\x0c", flags=opcode(2))),
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
            ethernet(ipv6(Udp(eights(QUERY)), extensions=chain)),
            UNANSWERABLE6,
        )
        for text, chain in _CHAINS.items()
    ),
    *(
        Case(
            f"{text} before a query, by name",
            NAMED,
            ethernet(ipv6(Udp(eights(QUERY)), extensions=chain)),
            BY_NAME,
        )
        for text, chain in _CHAINS.items()
    ),
    Case(
        "a first fragment, v4, by prefix",
        EVERYBODY,
        ethernet(ipv4(Udp(eights(QUERY)), flags=MF)),
        UNANSWERABLE4,
    ),
    Case(
        "a first fragment, v4, by name",
        NAMED,
        ethernet(ipv4(Udp(eights(QUERY)), flags=MF)),
        BY_NAME,
    ),
    *(
        Case(
            f"{text} MAC as {side}, v{version}, by prefix",
            EVERYBODY,
            frame,
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
        for side, frame in (
            ("destination", ethernet(packet, destination=mac)),
            ("source", ethernet(packet, source=mac)),
        )
    ),
    Case(
        "multicast MAC, by name",
        NAMED,
        ethernet(ipv4(Udp(QUERY)), destination=MULTICAST_MAC),
        BY_NAME,
    ),
    Case(
        "multicast MAC as source, by name",
        NAMED,
        ethernet(ipv4(Udp(QUERY)), source=MULTICAST_MAC),
        BY_NAME,
    ),
    Case(
        "multicast MAC in QinQ",
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY)), destination=MULTICAST_MAC, tags=(Tag(QINQ), Tag())),
        UNANSWERABLE4,
    ),
)

_NOBODY = (
    "0.0.0.0",  # noqa: S104 - a packet's address, nothing is bound to it
    "0.255.255.255",
    "127.0.0.0",
    "127.0.0.1",
    "127.255.255.255",
    "224.0.0.0",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "ff00::",
    "ff02::1",
    "ff0e::1",
    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
    "::ffff:0:0",
    "::ffff:127.0.0.1",
    "::ffff:192.0.2.1",
    "::ffff:255.255.255.255",
)
_SOMEBODY = (
    "1.0.0.0",
    "126.255.255.255",
    "128.0.0.0",
    "223.255.255.255",
    "10.0.0.0",
    "169.254.1.1",
    "198.51.100.255",
    "::2",
    "::fffe:ffff:ffff",
    "::1:0:0:0",
    "::1:ffff:0:0",
    "0:0:0:1::",
    "0:0:0:1::1",
    "0:0:0:1:0:ffff::",
    "fe80::1",
    "fec0::1",
    "fdff:ffff::1",
)


def _from(address: str, other: str | None = None) -> bytes:
    if ":" in address:
        return ipv6(Udp(QUERY), source=address, destination=other or SERVER6)
    return ipv4(Udp(QUERY), source=address, destination=other or SERVER4)


def _to(address: str) -> bytes:
    if ":" in address:
        return ipv6(Udp(QUERY), destination=address)
    return ipv4(Udp(QUERY), destination=address)


def _unanswered(address: str) -> Result:
    return UNANSWERABLE6 if ":" in address else UNANSWERABLE4


def _answer(packet: bytes, packet_of_answer: bytes) -> Result:
    hit, reason = (1, Reason.CIDR6) if packet[0] >> 4 == 6 else (0, Reason.CIDR4)
    answer = ethernet(packet_of_answer, source=SERVER_MAC, destination=CLIENT_MAC)
    return answered(reason, answer, hit)


def _turned(address: str, *, sent_to: bool) -> bytes:
    """Return the answer to a query from the address, or to it."""
    message = Udp(truncated(question("www.example"), flags=QR | TC | RD | RA), 53, CLIENT_PORT)
    if ":" in address:
        source, destination = (address, CLIENT6) if sent_to else (SERVER6, address)
        return ipv6(message, source=source, destination=destination, hop_limit=64)
    source, destination = (address, CLIENT4) if sent_to else (SERVER4, address)
    return ipv4(message, source=source, destination=destination, ttl=64)


ADDRESSES = (
    *(
        Case(f"from {address}", EVERYBODY, ethernet(_from(address)), _unanswered(address))
        for address in _NOBODY
    ),
    *(
        Case(f"to {address}", EVERYBODY, ethernet(_to(address)), _unanswered(address))
        for address in _NOBODY
    ),
    *(
        Case(
            f"from {address}, which is somebody",
            EVERYBODY,
            ethernet(_from(address)),
            _answer(_from(address), _turned(address, sent_to=False)),
        )
        for address in _SOMEBODY
    ),
    *(
        Case(
            f"to {address}, which is somebody",
            EVERYBODY,
            ethernet(_to(address)),
            _answer(_to(address), _turned(address, sent_to=True)),
        )
        for address in _SOMEBODY
    ),
    *(
        Case(
            f"from {address} to itself",
            EVERYBODY,
            ethernet(_from(address, address)),
            _unanswered(address),
        )
        for address in (SERVER4, SERVER6)
    ),
    Case(
        "from the server's address and port",
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY, sport=53), source=SERVER4)),
        UNANSWERABLE4,
    ),
    Case("from 127.0.0.1, by name", NAMED, ethernet(_from("127.0.0.1")), BY_NAME),
    Case("to ff02::1, by name", NAMED, ethernet(_to("ff02::1")), BY_NAME),
    Case(
        "a response from 127.0.0.1",
        EVERYBODY,
        ethernet(ipv4(Udp(query("www.example", flags=QR)), source="127.0.0.1")),
        passed(Reason.RESPONSE, 0),
    ),
    Case(
        "NOTIFY from 127.0.0.1",
        EVERYBODY,
        ethernet(ipv4(Udp(query("www.example", flags=opcode(4))), source="127.0.0.1")),
        passed(Reason.OPCODE, 0),
    ),
    Case("from 127.0.0.1 without a rule", Scene(), ethernet(_from("127.0.0.1")), NO_MATCH),
)

CASES = (*RESPONSES, *OPCODES, *QUESTIONS, *PACKETS, *ADDRESSES)
