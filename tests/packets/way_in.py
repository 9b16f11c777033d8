"""Cases of PACKETS.md, "The way in" and "Filtered": what is looked at, and what is not.

Everything here happens in front of rules that drop every source, so that a frame
which passes was not taken for a filtered packet.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network
from typing import TYPE_CHECKING

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    DNS_PORT,
    QINQ,
    RESERVED,
    SERVER4,
    TCP,
    UDP,
    UNSPECIFIED4,
    VLAN,
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
from tests.packets.case import DEFAULT, Case, Result, Scene, drop, dropped, passed
from tests.packets.message import eights, query
from xdpctl.abi import Reason

if TYPE_CHECKING:
    from xdpctl.program.config import ProgramConfig

ALL_BLOCKED = Scene(rules=(drop(CLIENT4), drop(CLIENT6), drop("0.0.0.0/0"), drop("::/0")))
OPEN = Scene()

QUERY = query("www.example")
V4 = ethernet(ipv4(Udp(QUERY)))
V6 = ethernet(ipv6(Udp(QUERY)))

BLOCKED4 = dropped(Reason.ADDR_V4, 0)
BLOCKED6 = dropped(Reason.ADDR_V6, 1)
OTHER = passed(Reason.OTHER)
LATER = passed(Reason.FRAGMENT)
MALFORMED = dropped(Reason.MALFORMED)

DNS4_AT = 14 + 20 + 8
DNS6_AT = 14 + 40 + 8


def _blocked(description: str, frame: bytes, expected: Result) -> Case:
    return Case(description, ALL_BLOCKED, frame, expected)


def _cut4(size: int) -> Result:
    if size < DNS4_AT:
        return OTHER
    return MALFORMED if size < DNS4_AT + 12 else BLOCKED4


def _cut6(size: int) -> Result:
    if size < DNS6_AT:
        return OTHER
    return MALFORMED if size < DNS6_AT + 12 else BLOCKED6


_TAGGED = ethernet(ipv4(Udp(QUERY)), tags=(Tag(),))
_QINQ = ethernet(ipv4(Udp(QUERY)), tags=(Tag(QINQ, 7), Tag(VLAN, 100)))
_TCP4 = ethernet(ipv4(Tcp()))
_TCP6 = ethernet(ipv6(Tcp()))
_OPTIONS = ethernet(ipv4(Udp(QUERY), options=bytes(4)))

CUT_SHORT = (
    *(
        _blocked(f"a v4 query cut to {size} octets", V4[:size], _cut4(size))
        for size in range(DNS4_AT + 14)
    ),
    *(
        _blocked(f"a v6 query cut to {size} octets", V6[:size], _cut6(size))
        for size in (14, 53, 54, 55, 61, 62, 63, 73, 74, 75)
    ),
    *(
        _blocked(f"a query cut to {size} octets, in its VLAN tag", _TAGGED[:size], OTHER)
        for size in (14, 15, 16, 17, 18)
    ),
    *(
        _blocked(f"a query cut to {size} octets, in its second tag", _QINQ[:size], OTHER)
        for size in (19, 20, 21, 22)
    ),
    _blocked("TCP of three octets over v4", _TCP4[: 34 + 3], OTHER),
    _blocked("TCP of its four octets of ports over v4 is TCP", _TCP4[: 34 + 4], BLOCKED4),
    _blocked("TCP of three octets over v6", _TCP6[: 54 + 3], OTHER),
    _blocked("TCP of its four octets of ports over v6 is TCP", _TCP6[: 54 + 4], BLOCKED6),
    *(
        _blocked(
            f"an IPv4 header of 24 octets of which {size} are there", _OPTIONS[: 14 + size], OTHER
        )
        for size in (20, 23)
    ),
    _blocked("behind an IPv4 header of 24 octets the UDP header is cut", _OPTIONS[: 38 + 7], OTHER),
    _blocked(
        "behind an IPv4 header of 24 octets eight octets are UDP", _OPTIONS[: 38 + 8], MALFORMED
    ),
)

_MANY_TAGS = (
    *(
        (f"{count} priority tags {ethertype:#06x}", [Tag(ethertype, 0)] * count, MALFORMED)
        for count in (3, 4, 5)
        for ethertype in (VLAN, QINQ)
    ),
    *(
        (
            f"three tags of VIDs {', '.join(map(str, vids))}",
            [Tag(VLAN, vid) for vid in vids],
            MALFORMED if 0 in vids else OTHER,
        )
        for vids in ((0, 5, 6), (5, 0, 6), (5, 6, 0), (5, 6, 7), (0, 0, 5), (4095, 1, 2048))
    ),
    ("three tags with priorities", [Tag(VLAN, 0xE000), Tag(QINQ, 0), Tag(VLAN, 0xE000)], MALFORMED),
    ("three tags, one with a DEI of VID 0", [Tag(), Tag(), Tag(VLAN, 0x1000)], MALFORMED),
    ("four tags, the last one of VID 0", [Tag(), Tag(), Tag(), Tag(VLAN, 0)], OTHER),
    ("four tags, the third one of VID 0", [Tag(), Tag(), Tag(VLAN, 0), Tag()], MALFORMED),
)

ETHERNET = (
    _blocked("two priority tags", ethernet(ipv4(Udp(QUERY)), tags=[Tag(VLAN, 0)] * 2), BLOCKED4),
    _blocked("a v4 query", V4, BLOCKED4),
    _blocked("a v6 query", V6, BLOCKED6),
    _blocked("ARP", ethernet(bytes(28), ethertype=0x0806), OTHER),
    _blocked("an 802.3 length in place of an EtherType", ethernet(V4[14:], ethertype=60), OTHER),
    _blocked("PPPoE", ethernet(V4[14:], ethertype=0x8864), OTHER),
    _blocked("EtherType 0x0800 in little endian", ethernet(V4[14:], ethertype=0x0008), OTHER),
    _blocked("version 6 under EtherType IPv4", ethernet(V6[14:], ethertype=0x0800), OTHER),
    _blocked(
        "version 4 under EtherType IPv6", ethernet(V4[14:] + bytes(40), ethertype=0x86DD), OTHER
    ),
    *(
        _blocked(
            f"version {version} under EtherType IPv4",
            ethernet(ipv4(Udp(QUERY), version=version), ethertype=0x0800),
            OTHER,
        )
        for version in (0, 5, 12)
    ),
    *(
        _blocked(
            f"version {version} under EtherType IPv6",
            ethernet(ipv6(Udp(QUERY), version=version), ethertype=0x86DD),
            OTHER,
        )
        for version in (0, 7, 14)
    ),
    _blocked("one VLAN tag, v4", _TAGGED, BLOCKED4),
    _blocked("one VLAN tag, v6", ethernet(ipv6(Udp(QUERY)), tags=(Tag(),)), BLOCKED6),
    _blocked("a priority tag", ethernet(ipv4(Udp(QUERY)), tags=(Tag(VLAN, 0xE000),)), BLOCKED4),
    _blocked("one service tag", ethernet(ipv4(Udp(QUERY)), tags=(Tag(QINQ),)), BLOCKED4),
    _blocked("QinQ, v4", _QINQ, BLOCKED4),
    _blocked("QinQ, v6", ethernet(ipv6(Udp(QUERY)), tags=(Tag(QINQ), Tag())), BLOCKED6),
    _blocked("two customer tags", ethernet(ipv4(Udp(QUERY)), tags=(Tag(), Tag())), BLOCKED4),
    _blocked(
        "a service tag inside a customer tag",
        ethernet(ipv4(Udp(QUERY)), tags=(Tag(), Tag(QINQ))),
        BLOCKED4,
    ),
    _blocked("three tags, v4", ethernet(ipv4(Udp(QUERY)), tags=(Tag(QINQ), Tag(), Tag())), OTHER),
    _blocked(
        "three tags, v6", ethernet(ipv6(Udp(QUERY)), tags=(Tag(QINQ), Tag(QINQ), Tag())), OTHER
    ),
    *(
        _blocked(f"{text}, v{version}", ethernet(packet, tags=tags), expected)
        for text, tags, expected in _MANY_TAGS
        for version, packet in ((4, ipv4(Udp(QUERY))), (6, ipv6(Udp(QUERY))))
    ),
    *(
        Case(f"{text}, without any rule", OPEN, ethernet(ipv4(Udp(QUERY)), tags=tags), expected)
        for text, tags, expected in _MANY_TAGS
    ),
    *(
        _blocked(
            f"three priority tags of which {size} octets are there",
            ethernet(V4[14:], tags=[Tag(VLAN, 0)] * 3)[:size],
            MALFORMED if size >= 26 else OTHER,
        )
        for size in (22, 23, 24, 25, 26, 27)
    ),
    _blocked(
        "three priority tags before ARP",
        ethernet(bytes(28), tags=[Tag(VLAN, 0)] * 3, ethertype=0x0806),
        MALFORMED,
    ),
    _blocked(
        "three priority tags, not to this host",
        ethernet(ipv4(Udp(QUERY, dport=80)), tags=[Tag(VLAN, 0)] * 3),
        MALFORMED,
    ),
    _blocked(
        "the old QinQ EtherType 0x9100", ethernet(ipv4(Udp(QUERY)), tags=(Tag(0x9100),)), OTHER
    ),
    _blocked("ARP in a VLAN", ethernet(bytes(28), tags=(Tag(),), ethertype=0x0806), OTHER),
)

IPV4 = (
    *(
        _blocked(
            f"an IPv4 header length of {ihl} words", ethernet(ipv4(Udp(QUERY), ihl=ihl)), OTHER
        )
        for ihl in range(5)
    ),
    *(
        _blocked(
            f"{size} octets of IPv4 options",
            ethernet(ipv4(Udp(QUERY), options=bytes(size))),
            BLOCKED4,
        )
        for size in (4, 8, 20, 40)
    ),
    _blocked("IPv4 options before TCP", ethernet(ipv4(Tcp(), options=b"\1" * 8)), BLOCKED4),
    _blocked(
        "an IPv4 header length that runs over the end", ethernet(ipv4(Udp(b""), ihl=15)), OTHER
    ),
    *(
        _blocked(
            f"{text} in IPv4", ethernet(ipv4(Raw(number, Udp(QUERY).wire(CLIENT4, SERVER4)))), OTHER
        )
        for text, number in (
            ("ICMP", 1),
            ("IPv4", 4),
            ("IPv6", 41),
            ("a routing header", 43),
            ("a fragment header", 44),
            ("ESP", 50),
            ("AH", 51),
            ("SCTP", 132),
            ("UDP-Lite", 136),
            ("DCCP", 33),
            ("GRE", 47),
            ("no next header", 59),
            ("IPComp", 108),
            ("mobility", 135),
            ("HIP", 139),
            ("shim6", 140),
            ("an experiment", 253),
            ("protocol 0", 0),
            ("protocol 255", 255),
        )
    ),
    _blocked(
        "an IPv4 total length of nothing is not trusted",
        ethernet(ipv4(Udp(QUERY), total_length=0)),
        BLOCKED4,
    ),
    _blocked(
        "an IPv4 total length of 65535 is not trusted",
        ethernet(ipv4(Udp(QUERY), total_length=65535)),
        BLOCKED4,
    ),
    _blocked(
        "a UDP length of nothing is not trusted", ethernet(ipv4(Udp(QUERY, length=0))), BLOCKED4
    ),
    _blocked(
        "a UDP length of 65535 is not trusted", ethernet(ipv4(Udp(QUERY, length=65535))), BLOCKED4
    ),
    _blocked(
        "a wrong IPv4 header checksum is not looked at",
        ethernet(ipv4(Udp(QUERY), checksum=0xDEAD)),
        BLOCKED4,
    ),
    _blocked(
        "IPv4's reserved flag makes no fragment",
        ethernet(ipv4(Udp(QUERY), flags=RESERVED)),
        BLOCKED4,
    ),
)

_CHAIN = (
    hop_by_hop(),
    destination_options(1),
    routing(),
    authentication(),
    fragment(),
    hop_by_hop(3),
)
_SIX = ethernet(ipv6(Udp(QUERY), extensions=_CHAIN))
_SEVEN = ethernet(ipv6(Udp(QUERY), extensions=(*_CHAIN, destination_options())))
_KINDS = {
    "hop-by-hop": hop_by_hop(),
    "long hop-by-hop": hop_by_hop(9),
    "the longest hop-by-hop": hop_by_hop(255),
    "routing": routing(),
    "routing without addresses": routing(0),
    "destination options": destination_options(),
    "long destination options": destination_options(5),
    "AH": authentication(),
    "the shortest AH": authentication(0),
    "AH of an odd number of words": authentication(5),
    "the longest AH": authentication(255),
    "an atomic fragment": fragment(),
}

IPV6 = (
    *(
        _blocked(f"{kind} before UDP", ethernet(ipv6(Udp(QUERY), extensions=(header,))), BLOCKED6)
        for kind, header in _KINDS.items()
    ),
    *(
        _blocked(f"{kind} before TCP", ethernet(ipv6(Tcp(), extensions=(header,))), BLOCKED6)
        for kind, header in _KINDS.items()
    ),
    _blocked(
        "a first fragment before UDP",
        ethernet(ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True),))),
        BLOCKED6,
    ),
    _blocked(
        "a first fragment before TCP",
        ethernet(ipv6(Tcp(bytes(4)), extensions=(fragment(more=True),))),
        BLOCKED6,
    ),
    _blocked("six extension headers before UDP", _SIX, BLOCKED6),
    _blocked(
        "six extension headers before TCP", ethernet(ipv6(Tcp(), extensions=_CHAIN)), BLOCKED6
    ),
    _blocked(
        "six times hop-by-hop", ethernet(ipv6(Udp(QUERY), extensions=[hop_by_hop()] * 6)), BLOCKED6
    ),
    _blocked(
        "six times the longest hop-by-hop",
        ethernet(ipv6(Udp(QUERY), extensions=[hop_by_hop(255)] * 6)),
        BLOCKED6,
    ),
    _blocked(
        "six times the longest hop-by-hop, of which an octet is missing",
        ethernet(ipv6(Raw(UDP), extensions=[hop_by_hop(255)] * 6))[:-1],
        OTHER,
    ),
    _blocked(
        "six fragment headers of the first fragment",
        ethernet(ipv6(Udp(eights(QUERY)), extensions=[fragment(more=True)] * 6)),
        BLOCKED6,
    ),
    _blocked(
        "six extension headers before ICMPv6",
        ethernet(ipv6(Raw(58, bytes(8)), extensions=_CHAIN)),
        OTHER,
    ),
    _blocked("a seventh extension header", _SEVEN, MALFORMED),
    Case("a seventh extension header without any rule", OPEN, _SEVEN, MALFORMED),
    _blocked(
        "a seventh extension header in a VLAN", ethernet(_SEVEN[14:], tags=(Tag(),)), MALFORMED
    ),
    *(
        _blocked(
            f"a seventh header of kind {header.kind} that is not even there",
            ethernet(ipv6(Raw(header.kind), extensions=_CHAIN)),
            MALFORMED,
        )
        for header in (hop_by_hop(), routing(), fragment(), authentication(), destination_options())
    ),
    _blocked(
        "a seventh and an eighth extension header",
        ethernet(ipv6(Udp(QUERY), extensions=[destination_options()] * 8)),
        MALFORMED,
    ),
    Case(
        "a seventh extension header, destined elsewhere",
        Scene(config=replace(DEFAULT, addresses=(ip_network("192.0.2.0/24"),))),
        _SEVEN,
        MALFORMED,
    ),
    *(
        _blocked(
            f"{name} runs over the end", ethernet(ipv6(Udp(QUERY), extensions=(header,))), OTHER
        )
        for name, header in (
            ("a hop-by-hop header", hop_by_hop(claims=255)),
            ("a routing header", routing(claims=255)),
            ("a destination options header", destination_options(claims=255)),
            ("an AH header", authentication(claims=255)),
        )
    ),
    _blocked(
        "the sixth extension header runs over the end",
        ethernet(ipv6(Udp(QUERY), extensions=(*_CHAIN[:5], hop_by_hop(claims=99)))),
        OTHER,
    ),
    _blocked(
        "an extension header that ends with the frame",
        ethernet(ipv6(Raw(UDP), extensions=(hop_by_hop(),))),
        OTHER,
    ),
    _blocked(
        "the sixth extension header ends with the frame",
        ethernet(ipv6(Raw(UDP), extensions=_CHAIN)),
        OTHER,
    ),
    *(
        _blocked(
            f"an extension header of kind {kind} of which {size} octets are there",
            ethernet(ipv6(Raw(kind, bytes([UDP, *bytes(7)])[:size]))),
            OTHER,
        )
        for kind in (0, 43, 44, 51, 60)
        for size in (0, 1, 7)
    ),
    _blocked(
        "a UDP header cut short behind an extension header",
        ethernet(ipv6(Raw(UDP, bytes(7)), extensions=(hop_by_hop(),))),
        OTHER,
    ),
    _blocked(
        "TCP's ports cut short behind an extension header",
        ethernet(ipv6(Raw(TCP, bytes(3)), extensions=(hop_by_hop(),))),
        OTHER,
    ),
    *(
        _blocked(
            f"{text} in IPv6", ethernet(ipv6(Raw(number, Udp(QUERY).wire(CLIENT4, SERVER4)))), OTHER
        )
        for text, number in (
            ("ICMPv6", 58),
            ("no next header", 59),
            ("ESP", 50),
            ("mobility", 135),
            ("HIP", 139),
            ("shim6", 140),
            ("IPv4", 4),
            ("IPv6", 41),
            ("DCCP", 33),
            ("GRE", 47),
            ("IPComp", 108),
            ("SCTP", 132),
            ("UDP-Lite", 136),
            ("an experiment", 253),
        )
    ),
    _blocked(
        "seven atomic fragments",
        ethernet(ipv6(Udp(QUERY), extensions=[fragment()] * 7)),
        MALFORMED,
    ),
    _blocked(
        "ESP behind hop-by-hop",
        ethernet(ipv6(Raw(50, bytes(40)), extensions=(hop_by_hop(),))),
        OTHER,
    ),
    _blocked(
        "an IPv6 payload length of nothing is not trusted",
        ethernet(ipv6(Udp(QUERY), payload_length=0)),
        BLOCKED6,
    ),
    _blocked(
        "an IPv6 payload length of 65535 is not trusted",
        ethernet(ipv6(Udp(QUERY), payload_length=65535)),
        BLOCKED6,
    ),
)

FRAGMENTS = (
    *(
        _blocked(
            f"a later fragment of {text}, v4",
            ethernet(ipv4(Raw(number, bytes(64)), offset=185, flags=flags)),
            LATER,
        )
        for text, number in (("UDP", UDP), ("TCP", TCP), ("ICMP", 1))
        for flags in (0x2000,)
    ),
    _blocked("a last fragment, v4", ethernet(ipv4(Raw(UDP, bytes(64)), offset=185)), LATER),
    _blocked(
        "a later fragment that looks like a query, v4", ethernet(ipv4(Udp(QUERY), offset=1)), LATER
    ),
    _blocked(
        "a later fragment at the greatest offset, v4",
        ethernet(ipv4(Udp(QUERY), offset=8191)),
        LATER,
    ),
    _blocked("a later fragment at offset 4096, v4", ethernet(ipv4(Udp(QUERY), offset=4096)), LATER),
    _blocked(
        "a later fragment with DF, v4", ethernet(ipv4(Udp(QUERY), offset=1, flags=0x4000)), LATER
    ),
    _blocked("a later fragment of no octets, v4", ethernet(ipv4(Raw(UDP), offset=1)), LATER),
    _blocked(
        "a later fragment with IP options",
        ethernet(ipv4(Raw(UDP), offset=1, options=bytes(4))),
        LATER,
    ),
    _blocked(
        "a later fragment with its IP options cut short",
        ethernet(ipv4(Raw(UDP), offset=1, ihl=6)),
        OTHER,
    ),
    _blocked(
        "a later fragment in QinQ",
        ethernet(ipv4(Raw(UDP), offset=1), tags=(Tag(QINQ), Tag())),
        LATER,
    ),
    _blocked(
        "a later fragment, v6",
        ethernet(ipv6(Raw(UDP, bytes(64)), extensions=(fragment(185, more=True),))),
        LATER,
    ),
    _blocked("a last fragment, v6", ethernet(ipv6(Udp(QUERY), extensions=(fragment(185),))), LATER),
    _blocked(
        "a later fragment at the least offset, v6",
        ethernet(ipv6(Udp(QUERY), extensions=(fragment(1),))),
        LATER,
    ),
    _blocked(
        "a later fragment at the greatest offset, v6",
        ethernet(ipv6(Udp(QUERY), extensions=(fragment(8191, more=True),))),
        LATER,
    ),
    _blocked(
        "a later fragment of ICMPv6",
        ethernet(ipv6(Raw(58, bytes(64)), extensions=(fragment(1),))),
        LATER,
    ),
    _blocked(
        "a later fragment of no octets, v6",
        ethernet(ipv6(Raw(UDP), extensions=(fragment(1),))),
        LATER,
    ),
    _blocked(
        "a later fragment behind hop-by-hop",
        ethernet(ipv6(Udp(QUERY), extensions=(hop_by_hop(), fragment(1)))),
        LATER,
    ),
    _blocked(
        "a later fragment behind an atomic one",
        ethernet(ipv6(Udp(QUERY), extensions=(fragment(), fragment(1)))),
        LATER,
    ),
    _blocked(
        "what follows a later fragment's header is not walked",
        ethernet(ipv6(Udp(QUERY), extensions=(fragment(1), hop_by_hop(claims=255)))),
        LATER,
    ),
    _blocked(
        "a later fragment as sixth header",
        ethernet(ipv6(Udp(QUERY), extensions=(*_CHAIN[:4], hop_by_hop(), fragment(1)))),
        LATER,
    ),
    _blocked(
        "a later fragment as sixth header that names a seventh",
        ethernet(ipv6(Raw(60, bytes(64)), extensions=(*_CHAIN[:4], hop_by_hop(), fragment(1)))),
        LATER,
    ),
    _blocked(
        "a later fragment as seventh header",
        ethernet(ipv6(Udp(QUERY), extensions=(*[hop_by_hop()] * 6, fragment(1)))),
        MALFORMED,
    ),
    _blocked(
        "reserved bits of a v6 fragment header are no offset",
        ethernet(
            ipv6(Raw(44, bytes([UDP, 0xFF, 0, 6, 0, 0, 0, 1]) + Udp(QUERY).wire(CLIENT4, SERVER4)))
        ),
        BLOCKED6,
    ),
)


def _filtering(config: ProgramConfig) -> Scene:
    return replace(ALL_BLOCKED, config=config)


_TWO_PORTS = _filtering(replace(DEFAULT, ports=(53, 5353)))
_OTHER_PORT = _filtering(replace(DEFAULT, ports=(5353,)))
_NO_TCP = _filtering(replace(DEFAULT, tcp=False))
_ADDRESS_PORTS = _filtering(replace(DEFAULT, address_ports=(443, 853)))
_HERE = _filtering(
    replace(
        DEFAULT,
        addresses=(
            ip_network("198.51.100.53/32"),
            ip_network("203.0.113.128/25"),
            ip_network("2001:db8:53::/48"),
            ip_network("2001:db8:77::52/127"),
        ),
    )
)
_HERE4 = _filtering(replace(DEFAULT, addresses=(ip_network("198.51.100.0/24"),)))
_EVERY4 = _filtering(replace(DEFAULT, addresses=(ip_network("0.0.0.0/0"),)))


def _to4(destination: str) -> bytes:
    return ethernet(ipv4(Udp(QUERY), destination=destination))


def _to6(destination: str) -> bytes:
    return ethernet(ipv6(Udp(QUERY), destination=destination))


FILTERED = (
    _blocked("TCP to port 53, v4", _TCP4, BLOCKED4),
    _blocked("TCP to port 53, v6", _TCP6, BLOCKED6),
    *(
        _blocked(f"UDP to port {port}", ethernet(ipv4(Udp(QUERY, dport=port))), OTHER)
        for port in (0, 52, 54, 443, 5353, 53 << 8, 65535)
    ),
    _blocked("TCP to another port", ethernet(ipv4(Tcp(dport=80))), OTHER),
    _blocked(
        "a response to a resolver of this host: from port 53 to another",
        ethernet(ipv4(Udp(QUERY, sport=53, dport=40000))),
        OTHER,
    ),
    Case("UDP to the first of two ports", _TWO_PORTS, V4, BLOCKED4),
    Case(
        "UDP to the second of two ports",
        _TWO_PORTS,
        ethernet(ipv6(Udp(QUERY, dport=5353))),
        BLOCKED6,
    ),
    Case("TCP to the second of two ports", _TWO_PORTS, ethernet(ipv4(Tcp(dport=5353))), BLOCKED4),
    Case("UDP to port 53 where that is not the port", _OTHER_PORT, V4, OTHER),
    Case(
        "UDP to the port that took 53's place",
        _OTHER_PORT,
        ethernet(ipv4(Udp(QUERY, dport=5353))),
        BLOCKED4,
    ),
    Case("TCP over v4 with --no-tcp", _NO_TCP, _TCP4, OTHER),
    Case("TCP over v6 with --no-tcp", _NO_TCP, _TCP6, OTHER),
    Case("TCP's first fragment with --no-tcp", _NO_TCP, ethernet(ipv4(Tcp(), flags=0x2000)), OTHER),
    Case("UDP with --no-tcp", _NO_TCP, V4, BLOCKED4),
    *(
        Case(f"{text} to an --address-port", _ADDRESS_PORTS, frame, expected)
        for text, frame, expected in (
            ("UDP over v4", ethernet(ipv4(Udp(b"\xc3" + bytes(40), dport=853))), BLOCKED4),
            ("UDP over v6", ethernet(ipv6(Udp(b"\xc3" + bytes(40), dport=443))), BLOCKED6),
            ("TCP over v4", ethernet(ipv4(Tcp(dport=853))), BLOCKED4),
            ("TCP over v6", ethernet(ipv6(Tcp(dport=443))), BLOCKED6),
            ("UDP of no octets", ethernet(ipv4(Udp(b"", dport=853))), BLOCKED4),
            ("a UDP header cut short", ethernet(ipv4(Udp(b"", dport=853)))[:-1], OTHER),
        )
    ),
    Case("UDP to --port beside --address-ports", _ADDRESS_PORTS, V4, BLOCKED4),
    Case(
        "UDP to neither --port nor --address-port",
        _ADDRESS_PORTS,
        ethernet(ipv4(Udp(QUERY, dport=854))),
        OTHER,
    ),
    *(
        Case(f"UDP to {destination}, which is in --address", _HERE, _to4(destination), BLOCKED4)
        for destination in ("198.51.100.53", "203.0.113.128", "203.0.113.255")
    ),
    *(
        Case(f"UDP to {destination}, which is in --address", _HERE, _to6(destination), BLOCKED6)
        for destination in (
            "2001:db8:53::",
            "2001:db8:53:ffff:ffff:ffff:ffff:ffff",
            "2001:db8:77::52",
            "2001:db8:77::53",
        )
    ),
    *(
        Case(f"UDP to {destination}, which is not in --address", _HERE, _to4(destination), OTHER)
        for destination in (
            "198.51.100.52",
            "203.0.113.127",
            "53.100.51.198",
            UNSPECIFIED4,
            "255.255.255.255",
        )
    ),
    *(
        Case(f"UDP to {destination}, which is not in --address", _HERE, _to6(destination), OTHER)
        for destination in (
            "2001:db8:54::",
            "2001:db8:52:ffff:ffff:ffff:ffff:ffff",
            "2001:db8:77::51",
            "2001:db8:77::54",
            "::",
        )
    ),
    Case(
        "TCP to what is not in --address",
        _HERE,
        ethernet(ipv4(Tcp(), destination="198.51.100.54")),
        OTHER,
    ),
    Case("TCP to what is in --address", _HERE, _TCP4, BLOCKED4),
    Case(
        "a short message to what is not in --address",
        _HERE,
        ethernet(ipv4(Udp(bytes(11)), destination="198.51.100.54")),
        OTHER,
    ),
    Case("v4 where --address names v4 only", _HERE4, V4, BLOCKED4),
    Case("v6 where --address names v4 only", _HERE4, V6, OTHER),
    Case("v4 where --address is every v4", _EVERY4, V4, BLOCKED4),
    Case("v6 where --address is every v4", _EVERY4, V6, OTHER),
    Case(
        "an --address-port of what is not in --address",
        _filtering(
            replace(DEFAULT, address_ports=(853,), addresses=(ip_network("203.0.113.0/24"),))
        ),
        ethernet(ipv4(Udp(QUERY, dport=853))),
        OTHER,
    ),
)

SHORT_MESSAGES = (
    *(
        Case(f"{size} octets of DNS, v4", OPEN, ethernet(ipv4(Udp(QUERY[:size]))), MALFORMED)
        for size in (0, 1, 2, 11)
    ),
    *(
        Case(f"{size} octets of DNS, v6", OPEN, ethernet(ipv6(Udp(QUERY[:size]))), MALFORMED)
        for size in (0, 11)
    ),
    Case("12 octets of DNS, v4", OPEN, ethernet(ipv4(Udp(QUERY[:12]))), passed(Reason.NO_MATCH)),
    Case("12 octets of DNS, v6", OPEN, ethernet(ipv6(Udp(QUERY[:12]))), passed(Reason.NO_MATCH)),
    Case(
        "11 octets of DNS behind IP options",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:11]), options=bytes(8))),
        MALFORMED,
    ),
    Case(
        "11 octets of DNS behind an extension header",
        OPEN,
        ethernet(ipv6(Udp(QUERY[:11]), extensions=(hop_by_hop(),))),
        MALFORMED,
    ),
    Case(
        "8 octets of DNS in a first fragment",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:8]), flags=0x2000)),
        MALFORMED,
    ),
    Case(
        "11 octets of DNS in QinQ",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:11])), tags=(Tag(QINQ), Tag())),
        MALFORMED,
    ),
    Case(
        "11 octets of DNS to the second port",
        _TWO_PORTS,
        ethernet(ipv4(Udp(QUERY[:11], dport=5353))),
        MALFORMED,
    ),
    Case(
        "a message's end is the frame's: padding counts as DNS",
        OPEN,
        pad(ethernet(ipv4(Udp(QUERY[:2])))),
        passed(Reason.NO_MATCH),
    ),
    Case(
        "TCP without any octet behind its ports is not short DNS",
        OPEN,
        _TCP4[: 34 + 4],
        passed(Reason.NO_MATCH),
    ),
    Case(
        "11 octets to a port that is not filtered",
        OPEN,
        ethernet(ipv4(Udp(QUERY[:11], dport=DNS_PORT + 1))),
        OTHER,
    ),
)

PANIC = replace(ALL_BLOCKED, panic=True)
PANICKED = passed(Reason.PANIC)

PANICS = (
    Case("panic: a blocked v4 query passes", PANIC, V4, PANICKED),
    Case("panic: a blocked v6 query passes", PANIC, V6, PANICKED),
    Case("panic: TCP passes", PANIC, _TCP4, PANICKED),
    Case("panic: what is always dropped passes", PANIC, _SEVEN, PANICKED),
    Case("panic: a short message passes", PANIC, ethernet(ipv4(Udp(b""))), PANICKED),
    Case("panic: ARP passes", PANIC, ethernet(bytes(28), ethertype=0x0806), PANICKED),
    Case("panic: a bare Ethernet header passes", PANIC, V4[:14], PANICKED),
)

CASES = (
    *CUT_SHORT,
    *ETHERNET,
    *IPV4,
    *IPV6,
    *FRAGMENTS,
    *FILTERED,
    *SHORT_MESSAGES,
    *PANICS,
)
