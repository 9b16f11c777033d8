"""Cases of what goes wrong with the sample program that this replaces (DNSDIST.md, last part).

Each is also a row of PACKETS.md; here they stand together, so that the list is
checked as a list.
"""

from __future__ import annotations

from dataclasses import replace

from tests.packets.build import (
    CLIENT4,
    CLIENT_MAC,
    SERVER4,
    SERVER_MAC,
    Checksum,
    Tcp,
    Udp,
    destination_options,
    ethernet,
    ipv4,
    ipv6,
)
from tests.packets.case import DEFAULT, Case, Scene, answered, drop, dropped, passed, truncate
from tests.packets.message import QR, RA, RD, TC, query, question, truncated
from xdpctl.abi import Reason
from xdpctl.settings import XskFamily

_BLOCKED = Scene(rules=(drop(CLIENT4), drop("2001:db8:1::1"), drop("www.bad.example")))
_NAMED = Scene(rules=(drop("www.bad.example"), truncate("tc.example"), truncate("192.0.2.9")))
_BAD = query("www.bad.example")
_TC = ethernet(
    ipv4(
        Udp(truncated(question("tc.example"), flags=QR | TC | RD | RA), 53, 40000),
        source=SERVER4,
        destination=CLIENT4,
        ttl=64,
    ),
    source=SERVER_MAC,
    destination=CLIENT_MAC,
)

CASES = (
    Case(
        "sample program: port 53 only",
        replace(_NAMED, config=replace(DEFAULT, ports=(53, 5353))),
        ethernet(ipv4(Udp(_BAD, dport=5353))),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "sample program: TCP of a blocked address passes",
        _BLOCKED,
        ethernet(ipv4(Tcp())),
        dropped(Reason.ADDR_V4, 0),
    ),
    Case(
        "sample program: IPv4 options let a blocked address through",
        _BLOCKED,
        ethernet(ipv4(Udp(_BAD), options=b"\1" * 4)),
        dropped(Reason.ADDR_V4, 0),
    ),
    Case(
        "sample program: IPv4 options let a blocked name through",
        _NAMED,
        ethernet(ipv4(Udp(_BAD), options=b"\1" * 4)),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "sample program: an extension header lets a blocked address through",
        _BLOCKED,
        ethernet(ipv6(Udp(_BAD), extensions=(destination_options(),))),
        dropped(Reason.ADDR_V6, 1),
    ),
    Case(
        "sample program: an extension header lets a blocked name through",
        _NAMED,
        ethernet(ipv6(Udp(_BAD), extensions=(destination_options(),))),
        dropped(Reason.QNAME, 0),
    ),
    Case(
        "sample program: a name cut short matches with what lies behind the packet",
        _NAMED,
        ethernet(ipv4(Udp(_BAD[:-5]))),
        passed(Reason.NO_MATCH),
    ),
    Case(
        "sample program: a response is answered",
        _NAMED,
        ethernet(ipv4(Udp(query("tc.example", flags=QR | RD)), source="192.0.2.9")),
        passed(Reason.RESPONSE, 2),
    ),
    Case(
        "sample program: a response is answered by name",
        _NAMED,
        ethernet(ipv4(Udp(query("tc.example", flags=QR | RD)))),
        passed(Reason.NO_MATCH),
    ),
    Case(
        "sample program: a UDP checksum of zero makes the answer invalid",
        _NAMED,
        ethernet(ipv4(Udp(query("tc.example"), checksum=0))),
        answered(Reason.QNAME, _TC, 1),
    ),
    Case(
        "sample program: a half-done UDP checksum makes the answer invalid",
        _NAMED,
        ethernet(ipv4(Udp(query("tc.example"), checksum=Checksum.HALF_DONE))),
        answered(Reason.QNAME, _TC, 1),
    ),
    Case(
        "sample program: an empty AF_XDP slot loses the packet",
        Scene(config=replace(DEFAULT, xsk=XskFamily.BOTH), destinations=((SERVER4, 53),)),
        ethernet(ipv4(Udp(query("www.example")))),
        passed(Reason.REDIRECT),
    ),
)
