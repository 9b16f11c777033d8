"""Cases of PACKETS.md, "Truncate: the answer", each with the whole frame that is expected.

The answers are built with build.py and message.py from what the page says, field by
field; nothing is copied from the query but what is written out as kept.
"""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    CLIENT_PORT,
    DF,
    DNS_PORT,
    QINQ,
    RESERVED,
    SERVER4,
    SERVER6,
    SERVER_MAC,
    VLAN,
    Checksum,
    Tag,
    Udp,
    ethernet,
    ipv4,
    ipv6,
    pad,
)
from tests.packets.case import DEFAULT, Case, Result, Scene, answered, drop, truncate
from tests.packets.message import (
    AA,
    AAAA,
    AD,
    ANY,
    CD,
    CH,
    COOKIE,
    DO,
    QR,
    RA,
    RD,
    TC,
    A,
    Z,
    edns_query,
    labels,
    long_name,
    name,
    opt,
    padding,
    query,
    question,
    record,
    truncated,
)
from xdpctl.abi import Reason
from xdpctl.rules import AnyQtype

EVERYBODY = Scene(rules=(truncate("0.0.0.0/0"), truncate("::/0")))
ANSWER_FLAGS = QR | TC | RD | RA
BARE_OPT = opt(1232)
BARE_OPT_DO = opt(1232, flags=DO)
ASKED = question("www.example")
QUERY = query("www.example")
EDNS = edns_query("www.example", opt(4096))


def _reply4(message: bytes, dport: int = CLIENT_PORT, sport: int = DNS_PORT) -> bytes:
    packet = ipv4(Udp(message, sport, dport), source=SERVER4, destination=CLIENT4, ttl=64)
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)


def _reply6(message: bytes, dport: int = CLIENT_PORT, sport: int = DNS_PORT) -> bytes:
    packet = ipv6(Udp(message, sport, dport), source=SERVER6, destination=CLIENT6, hop_limit=64)
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)


def _by4(frame: bytes) -> Result:
    return answered(Reason.CIDR4, frame, 0)


def _by6(frame: bytes) -> Result:
    return answered(Reason.CIDR6, frame, 1)


def _message(description: str, asked: bytes, expected: bytes) -> tuple[Case, Case]:
    """Return the same message over v4 and over v6."""
    return (
        Case(
            f"{description}, v4",
            EVERYBODY,
            ethernet(ipv4(Udp(asked))),
            _by4(_reply4(expected)),
        ),
        Case(
            f"{description}, v6",
            EVERYBODY,
            ethernet(ipv6(Udp(asked))),
            _by6(_reply6(expected)),
        ),
    )


PLAIN = truncated(ASKED, flags=ANSWER_FLAGS)
WITH_OPT = truncated(ASKED, BARE_OPT, flags=ANSWER_FLAGS)

_NAMED = Scene(
    rules=(
        truncate("www.example"),
        truncate("typed.example", AAAA),
        truncate("192.0.2.77"),
        truncate("2001:db8:7::7"),
        drop("www.example", ANY),
    )
)

BY_RULE = (
    Case(
        "truncated by name, v4",
        _NAMED,
        ethernet(ipv4(Udp(QUERY))),
        answered(Reason.QNAME, _reply4(PLAIN), 0),
    ),
    Case(
        "truncated by name, v6",
        _NAMED,
        ethernet(ipv6(Udp(QUERY))),
        answered(Reason.QNAME, _reply6(PLAIN), 0),
    ),
    Case(
        "truncated by name with EDNS, v6",
        _NAMED,
        ethernet(ipv6(Udp(EDNS))),
        answered(Reason.QNAME, _reply6(WITH_OPT), 0),
    ),
    Case(
        "truncated by name and type",
        _NAMED,
        ethernet(ipv4(Udp(query("typed.example", AAAA)))),
        answered(
            Reason.QNAME, _reply4(truncated(question("typed.example", AAAA), flags=ANSWER_FLAGS)), 1
        ),
    ),
    Case(
        "truncated by v4 address",
        _NAMED,
        ethernet(ipv4(Udp(query("other.example")), source="192.0.2.77")),
        answered(
            Reason.ADDR_V4,
            ethernet(
                ipv4(
                    Udp(truncated(question("other.example"), flags=ANSWER_FLAGS), 53, CLIENT_PORT),
                    source=SERVER4,
                    destination="192.0.2.77",
                    ttl=64,
                ),
                source=SERVER_MAC,
                destination=CLIENT_MAC,
            ),
            2,
        ),
    ),
    Case(
        "truncated by v6 address",
        _NAMED,
        ethernet(ipv6(Udp(query("other.example")), source="2001:db8:7::7")),
        answered(
            Reason.ADDR_V6,
            ethernet(
                ipv6(
                    Udp(truncated(question("other.example"), flags=ANSWER_FLAGS), 53, CLIENT_PORT),
                    source=SERVER6,
                    destination="2001:db8:7::7",
                    hop_limit=64,
                ),
                source=SERVER_MAC,
                destination=CLIENT_MAC,
            ),
            3,
        ),
    ),
    Case(
        "truncated at the second port",
        replace(EVERYBODY, config=replace(DEFAULT, ports=(53, 5353))),
        ethernet(ipv4(Udp(QUERY, dport=5353))),
        _by4(_reply4(PLAIN, sport=5353)),
    ),
    Case(
        "truncated by an entry of type 255 in mode 255",
        Scene(
            rules=(truncate("www.example", ANY),),
            config=replace(DEFAULT, any_qtype=AnyQtype.LEGACY),
        ),
        ethernet(ipv4(Udp(QUERY))),
        answered(Reason.QNAME, _reply4(PLAIN), 0),
    ),
)

MESSAGES = (
    *_message("a plain query", QUERY, PLAIN),
    *_message("id 0", query("www.example", ident=0), truncated(ASKED, ident=0, flags=ANSWER_FLAGS)),
    *_message(
        "id 65535",
        query("www.example", ident=65535),
        truncated(ASKED, ident=65535, flags=ANSWER_FLAGS),
    ),
    *_message(
        "no recursion desired: RA is not set",
        query("www.example", flags=0),
        truncated(ASKED, flags=QR | TC),
    ),
    *_message(
        "CD is kept", query("www.example", flags=RD | CD), truncated(ASKED, flags=ANSWER_FLAGS | CD)
    ),
    *_message(
        "CD is kept without RD",
        query("www.example", flags=CD),
        truncated(ASKED, flags=QR | TC | CD),
    ),
    *_message("AD is cleared", query("www.example", flags=RD | AD), PLAIN),
    *_message(
        "AA, TC, Z, AD and RCODE are cleared",
        query("www.example", flags=RD | AA | TC | Z | AD | 0xF),
        PLAIN,
    ),
    *_message(
        "RA without RD is cleared", query("www.example", flags=RA), truncated(ASKED, flags=QR | TC)
    ),
    *_message(
        "every flag but QR and OPCODE",
        query("www.example", flags=0x07FF),
        truncated(ASKED, flags=ANSWER_FLAGS | CD),
    ),
    *_message(
        "letter case is kept",
        query("wWw.eXaMPLe"),
        truncated(question("wWw.eXaMPLe"), flags=ANSWER_FLAGS),
    ),
    *_message(
        "type and class are kept",
        query("www.example", ANY, qclass=CH),
        truncated(question("www.example", ANY, CH), flags=ANSWER_FLAGS),
    ),
    *_message(
        "type and class of all ones are kept",
        query("www.example", 65535, qclass=65535),
        truncated(question("www.example", 65535, 65535), flags=ANSWER_FLAGS),
    ),
    *_message("the root", query(""), truncated(question(""), flags=ANSWER_FLAGS)),
    *_message(
        "a name of 255 octets",
        query(long_name(255)),
        truncated(question(long_name(255)), flags=ANSWER_FLAGS),
    ),
    *_message(
        "a name of odd octets",
        query("abc.example"),
        truncated(question("abc.example"), flags=ANSWER_FLAGS),
    ),
    *_message(
        "a name of even octets",
        query("abcd.example"),
        truncated(question("abcd.example"), flags=ANSWER_FLAGS),
    ),
    *_message(
        "a name of odd octets with EDNS",
        edns_query("abc.example", opt()),
        truncated(question("abc.example"), BARE_OPT, flags=ANSWER_FLAGS),
    ),
    *_message(
        "a name of even octets with EDNS",
        edns_query("abcd.example", opt()),
        truncated(question("abcd.example"), BARE_OPT, flags=ANSWER_FLAGS),
    ),
    *_message(
        "octets that are no letters",
        query(labels(bytes(range(0x80, 0xBF)), b"\0\0\0")),
        truncated(question(labels(bytes(range(0x80, 0xBF)), b"\0\0\0")), flags=ANSWER_FLAGS),
    ),
)

_A_RECORD = record(b"\xc0\x0c", A, bytes([192, 0, 2, 9]))
_TSIG = record(name("key.example"), 250, bytes(58), ANY, 0)

EDNS_QUERIES = (
    *_message("EDNS", EDNS, WITH_OPT),
    *_message(
        "EDNS with DO",
        edns_query("www.example", opt(4096, flags=DO)),
        truncated(ASKED, BARE_OPT_DO, flags=ANSWER_FLAGS),
    ),
    *_message(
        "EDNS with every flag: DO alone is copied",
        edns_query("www.example", opt(4096, flags=0xFFFF)),
        truncated(ASKED, BARE_OPT_DO, flags=ANSWER_FLAGS),
    ),
    *_message(
        "EDNS with every flag but DO", edns_query("www.example", opt(4096, flags=0x7FFF)), WITH_OPT
    ),
    *_message("EDNS of size 0", edns_query("www.example", opt(0)), WITH_OPT),
    *_message("EDNS of size 65535", edns_query("www.example", opt(65535)), WITH_OPT),
    *_message("EDNS version 1", edns_query("www.example", opt(version=1)), WITH_OPT),
    *_message(
        "EDNS version 255, upper RCODE bits set",
        edns_query("www.example", opt(version=255, rcode=255)),
        WITH_OPT,
    ),
    *_message(
        "a client cookie is not echoed", edns_query("www.example", opt(options=COOKIE)), WITH_OPT
    ),
    *_message(
        "a cookie and padding are not echoed, DO is",
        edns_query("www.example", opt(flags=DO, options=COOKIE + padding(63))),
        truncated(ASKED, BARE_OPT_DO, flags=ANSWER_FLAGS),
    ),
    *_message(
        "1,200 octets of options", edns_query("www.example", opt(options=padding(1196))), WITH_OPT
    ),
    *_message("options cut short", edns_query("www.example", opt(options=COOKIE)[:-3]), WITH_OPT),
    *_message("an RDLENGTH over the end", edns_query("www.example", opt(length=65535)), WITH_OPT),
    *_message(
        "an RDLENGTH short of the options",
        edns_query("www.example", opt(options=COOKIE, length=0)),
        WITH_OPT,
    ),
    *(
        case
        for octets in range(11)
        for case in _message(
            f"an OPT of which {octets} octets are there",
            edns_query("www.example", opt(flags=DO)[:octets]),
            PLAIN,
        )
    ),
    *_message(
        "TSIG behind OPT is left out",
        query("www.example", counts=(1, 0, 0, 2), behind=opt() + _TSIG),
        WITH_OPT,
    ),
    *_message(
        "TSIG before OPT hides it",
        query("www.example", counts=(1, 0, 0, 2), behind=_TSIG + opt()),
        PLAIN,
    ),
    *_message(
        "TSIG alone is left out", query("www.example", counts=(1, 0, 0, 1), behind=_TSIG), PLAIN
    ),
    *_message(
        "ARCOUNT 65535 and an OPT",
        query("www.example", counts=(1, 0, 0, 65535), behind=opt()),
        WITH_OPT,
    ),
    *_message(
        "ARCOUNT 256 and an OPT",
        query("www.example", counts=(1, 0, 0, 256), behind=opt()),
        WITH_OPT,
    ),
    *_message("ARCOUNT 0 and an OPT", query("www.example", behind=opt()), PLAIN),
    *_message("ARCOUNT 1 and nothing", query("www.example", counts=(1, 0, 0, 1)), PLAIN),
    *_message(
        "ANCOUNT 1 and an OPT right behind the question",
        query("www.example", counts=(1, 1, 0, 1), behind=opt()),
        PLAIN,
    ),
    *_message(
        "ANCOUNT 256 and an OPT right behind the question",
        query("www.example", counts=(1, 256, 0, 1), behind=opt()),
        PLAIN,
    ),
    *_message(
        "NSCOUNT 1 and an OPT right behind the question",
        query("www.example", counts=(1, 0, 1, 1), behind=opt()),
        PLAIN,
    ),
    *_message(
        "NSCOUNT 256 and an OPT right behind the question",
        query("www.example", counts=(1, 0, 256, 1), behind=opt()),
        PLAIN,
    ),
    *_message(
        "an answer before the OPT",
        query("www.example", counts=(1, 1, 0, 1), behind=_A_RECORD + opt()),
        PLAIN,
    ),
    *_message(
        "another record before the OPT",
        query("www.example", counts=(1, 0, 0, 2), behind=_A_RECORD + opt()),
        PLAIN,
    ),
    *_message(
        "an OPT that the root does not own",
        query("www.example", counts=(1, 0, 0, 1), behind=b"\1x" + opt()),
        PLAIN,
    ),
    *_message(
        "an OPT that a pointer owns",
        query("www.example", counts=(1, 0, 0, 1), behind=b"\xc0\x18" + opt()[1:]),
        PLAIN,
    ),
    *_message(
        "type 41 in little endian",
        query("www.example", counts=(1, 0, 0, 1), behind=b"\0\x29\0" + opt()[3:]),
        PLAIN,
    ),
    *_message(
        "type 297, whose low octet is OPT's",
        query("www.example", counts=(1, 0, 0, 1), behind=b"\0\1\x29" + opt()[3:]),
        PLAIN,
    ),
    *_message(
        "two OPT records",
        query("www.example", counts=(1, 0, 0, 2), behind=opt() + opt(flags=DO)),
        WITH_OPT,
    ),
    *_message(
        "the root with EDNS",
        edns_query("", opt()),
        truncated(question(""), BARE_OPT, flags=ANSWER_FLAGS),
    ),
    *_message(
        "a name of 255 octets with EDNS",
        edns_query(long_name(255), opt()),
        truncated(question(long_name(255)), BARE_OPT, flags=ANSWER_FLAGS),
    ),
)

TRIMMED = (
    *_message("octets behind the question", query("www.example", behind=bytes(range(200))), PLAIN),
    *_message(
        "octets behind an OPT", edns_query("www.example", opt() + bytes(range(200))), WITH_OPT
    ),
    *_message(
        "1,400 octets behind the question", query("www.example", behind=b"\xff" * 1400), PLAIN
    ),
    *_message("9,000 octets behind the question", query("www.example", behind=bytes(9000)), PLAIN),
    Case(
        "Ethernet's padding is gone",
        EVERYBODY,
        pad(ethernet(ipv4(Udp(query("")))), 60),
        _by4(_reply4(truncated(question(""), flags=ANSWER_FLAGS))),
    ),
    Case(
        "a trailer of ones is gone",
        EVERYBODY,
        pad(ethernet(ipv6(Udp(QUERY))), 200, b"\xff"),
        _by6(_reply6(PLAIN)),
    ),
    Case(
        "an OPT in what the IP length leaves out is in the frame",
        EVERYBODY,
        ethernet(ipv4(Udp(EDNS), total_length=28 + len(QUERY))),
        _by4(_reply4(WITH_OPT)),
    ),
    Case(
        "an OPT in what the UDP length leaves out is in the frame",
        EVERYBODY,
        ethernet(ipv6(Udp(EDNS, length=8 + len(QUERY)))),
        _by6(_reply6(WITH_OPT)),
    ),
)

CHECKSUMS = tuple(
    case
    for text, checksum in (
        ("0", 0),
        ("wrong", 0x1234),
        ("of all ones", 0xFFFF),
        ("half done", Checksum.HALF_DONE),
    )
    for message, answer in (
        (QUERY, PLAIN),
        (EDNS, WITH_OPT),
        (query("abcd.example"), truncated(question("abcd.example"), flags=ANSWER_FLAGS)),
    )
    for case in (
        Case(
            f"a UDP checksum {text}, {len(message)} octets of DNS, v4",
            EVERYBODY,
            ethernet(ipv4(Udp(message, checksum=checksum))),
            _by4(_reply4(answer)),
        ),
        Case(
            f"a UDP checksum {text}, {len(message)} octets of DNS, v6",
            EVERYBODY,
            ethernet(ipv6(Udp(message, checksum=checksum))),
            _by6(_reply6(answer)),
        ),
    )
)


def _checksum_of(reply: bytes, version: int) -> int:
    at = 14 + (20 if version == 4 else 40) + 6
    return int.from_bytes(reply[at : at + 2], "big")


def _zero_sum(version: int, record_: bytes) -> Case:
    """Return a query whose answer's UDP checksum works out as 0, and so is sent as 65535."""
    reply, frame = (_reply4, _by4) if version == 4 else (_reply6, _by6)
    ident = _checksum_of(reply(truncated(ASKED, record_, ident=0, flags=ANSWER_FLAGS)), version)
    counts = (1, 0, 0, 1 if record_ else 0)
    message = query("www.example", ident=ident, counts=counts, behind=record_)
    answer = reply(truncated(ASKED, record_, ident=ident, flags=ANSWER_FLAGS))
    if _checksum_of(answer, version) != 0xFFFF:
        raise AssertionError("this id was to make the sum 0")
    wrapped = ethernet(ipv4(Udp(message)) if version == 4 else ipv6(Udp(message)))
    text = f"{len(record_)} octets of EDNS, v{version}"
    description = f"an answer whose UDP checksum comes to 0 says 65535, {text}"
    return Case(description, EVERYBODY, wrapped, frame(answer))


ZERO_SUMS = tuple(_zero_sum(version, record_) for version in (4, 6) for record_ in (b"", BARE_OPT))


def _ipv4_kept(description: str, *, tos: int = 0, ident: int = 0xBEEF, flags: int = 0) -> Case:
    message = Udp(PLAIN, DNS_PORT, CLIENT_PORT)
    reply = ipv4(
        message, source=SERVER4, destination=CLIENT4, tos=tos, ident=ident, flags=flags, ttl=64
    )
    return Case(
        description,
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY), tos=tos, ident=ident, flags=flags)),
        _by4(ethernet(reply, source=SERVER_MAC, destination=CLIENT_MAC)),
    )


def _ipv6_kept(description: str, *, traffic_class: int = 0, flow_label: int = 0) -> Case:
    message = Udp(PLAIN, DNS_PORT, CLIENT_PORT)
    reply = ipv6(
        message,
        source=SERVER6,
        destination=CLIENT6,
        traffic_class=traffic_class,
        flow_label=flow_label,
        hop_limit=64,
    )
    return Case(
        description,
        EVERYBODY,
        ethernet(ipv6(Udp(QUERY), traffic_class=traffic_class, flow_label=flow_label)),
        _by6(ethernet(reply, source=SERVER_MAC, destination=CLIENT_MAC)),
    )


IP_HEADERS = (
    _ipv4_kept("DF is kept", flags=DF),
    _ipv4_kept("IPv4's reserved flag is kept", flags=RESERVED),
    _ipv4_kept("the IPv4 id is kept", ident=1),
    _ipv4_kept("an IPv4 id of 0 with DF is kept", ident=0, flags=DF),
    _ipv4_kept("TOS is kept", tos=0xB8),
    _ipv4_kept("ECN is kept", tos=0x03),
    _ipv4_kept("TOS of all ones is kept", tos=0xFF),
    _ipv6_kept("the traffic class is kept", traffic_class=0xB8),
    _ipv6_kept("the flow label is kept", flow_label=0x12345),
    _ipv6_kept("class and flow label of all ones are kept", traffic_class=0xFF, flow_label=0xFFFFF),
    *(
        Case(
            f"TTL {ttl} becomes 64",
            EVERYBODY,
            ethernet(ipv4(Udp(QUERY), ttl=ttl)),
            _by4(_reply4(PLAIN)),
        )
        for ttl in (0, 1, 63, 64, 255)
    ),
    *(
        Case(
            f"hop limit {ttl} becomes 64",
            EVERYBODY,
            ethernet(ipv6(Udp(QUERY), hop_limit=ttl)),
            _by6(_reply6(PLAIN)),
        )
        for ttl in (0, 1, 64, 255)
    ),
    *(
        Case(
            f"an IPv4 total length of {length} is set right",
            EVERYBODY,
            ethernet(ipv4(Udp(QUERY), total_length=length)),
            _by4(_reply4(PLAIN)),
        )
        for length in (0, 20, 28, 65535)
    ),
    *(
        Case(
            f"an IPv6 payload length of {length} is set right",
            EVERYBODY,
            ethernet(ipv6(Udp(QUERY), payload_length=length)),
            _by6(_reply6(PLAIN)),
        )
        for length in (0, 8, 65535)
    ),
    *(
        Case(
            f"a UDP length of {length} is set right",
            EVERYBODY,
            ethernet(ipv4(Udp(QUERY, length=length))),
            _by4(_reply4(PLAIN)),
        )
        for length in (0, 8, 65535)
    ),
    Case(
        "a wrong IPv4 header checksum is set right",
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY), checksum=0xDEAD)),
        _by4(_reply4(PLAIN)),
    ),
    Case(
        "an IPv4 header checksum of 0 is set right",
        EVERYBODY,
        ethernet(ipv4(Udp(QUERY), checksum=0)),
        _by4(_reply4(PLAIN)),
    ),
    *(
        Case(
            f"source port {port}",
            EVERYBODY,
            ethernet(ipv4(Udp(QUERY, sport=port))),
            _by4(_reply4(PLAIN, dport=port)),
        )
        for port in (0, 53, 1024, 65535)
    ),
)


def _link(
    description: str, tags: tuple[Tag, ...] = (), source: bytes = CLIENT_MAC
) -> tuple[Case, Case]:
    reply4 = ipv4(Udp(WITH_OPT, DNS_PORT, CLIENT_PORT), source=SERVER4, destination=CLIENT4, ttl=64)
    reply6 = ipv6(
        Udp(WITH_OPT, DNS_PORT, CLIENT_PORT), source=SERVER6, destination=CLIENT6, hop_limit=64
    )
    return (
        Case(
            f"{description}, v4",
            EVERYBODY,
            ethernet(ipv4(Udp(EDNS)), tags=tags, source=source),
            _by4(ethernet(reply4, tags=tags, source=SERVER_MAC, destination=source)),
        ),
        Case(
            f"{description}, v6",
            EVERYBODY,
            ethernet(ipv6(Udp(EDNS)), tags=tags, source=source),
            _by6(ethernet(reply6, tags=tags, source=SERVER_MAC, destination=source)),
        ),
    )


LINK = (
    *_link("the answer keeps its VLAN tag", (Tag(VLAN, 100),)),
    *_link("the answer keeps a VLAN tag of all ones", (Tag(VLAN, 0xFFFF),)),
    *_link("the answer keeps a priority tag", (Tag(VLAN, 0xE000),)),
    *_link("the answer keeps a service tag", (Tag(QINQ, 0x1FFF),)),
    *_link("the answer keeps both tags of QinQ", (Tag(QINQ, 7), Tag(VLAN, 0xB123))),
    *_link("the answer keeps two customer tags", (Tag(VLAN, 1), Tag(VLAN, 2))),
)

CASES = (
    *BY_RULE,
    *MESSAGES,
    *EDNS_QUERIES,
    *TRIMMED,
    *CHECKSUMS,
    *ZERO_SUMS,
    *IP_HEADERS,
    *LINK,
)
