"""Scenes in which much can happen to a mutated frame: many rules, both ways of AF_XDP.

Beside these, a mutant may also meet the scene of the case that it came from.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_network

from tests.packets.case import (
    DEFAULT,
    LIMITS,
    ZONED,
    LimitedZone,
    Limits,
    Rule,
    Scene,
    allow,
    drop,
    truncate,
)
from tests.packets.known import EMPTY as COOKIES
from tests.packets.known import PROVEN
from tests.packets.limits import FOUR, TABLES, XSK
from tests.packets.message import AAAA, ANY, A, long_name
from tests.packets.xsk import DESTINATIONS, ELSEWHERE
from tests.packets.zone_limits import ALL as EVERY_LIMIT
from tests.packets.zone_limits import NS
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

NAMES = (
    drop("www.bad.example"),
    truncate("www.example", A),
    truncate("tc.example"),
    allow("ok.example"),
    drop("typed.example", AAAA),
    drop("www.example", ANY),
    allow("www.bad.example", AAAA),
    Rule("x", 77),
    drop(b"\0"),
    drop(long_name(255)),
    truncate("abc.example"),
)
ADDRESSES = (
    drop("192.0.0.0/16"),
    allow("192.0.2.0/24"),
    drop("192.0.2.66"),
    truncate("192.0.2.67"),
    truncate("192.0.2.200/32"),
    drop("203.0.113.0/25"),
    drop("2001:db8::/32"),
    truncate("2001:db8:1::/48"),
    allow("2001:db8:1:2::3"),
    drop("2001:db8:66::/48"),
    truncate("2001:db8:67::/48"),
)
STRANGERS = (
    drop("192.0.2.66"),
    truncate("192.0.2.67"),
    allow("192.0.2.68"),
    drop("2001:db8:66::/48"),
    truncate("2001:db8:67::/48"),
    allow("2001:db8:68::/48"),
)
EVERYBODY = (truncate("0.0.0.0/0"), truncate("::/0"))

_XSK = replace(DEFAULT, xsk=XskFamily.BOTH)
_HERE = (
    ip_network("198.51.100.53/32"),
    ip_network("203.0.113.128/25"),
    ip_network("2001:db8:53::/48"),
)
_NARROW = replace(DEFAULT, ports=(53, 5353), address_ports=(443, 853), addresses=_HERE)

SCENES = (
    Scene(NAMES + STRANGERS),
    Scene(EVERYBODY),
    Scene(ADDRESSES + NAMES),
    Scene(NAMES, replace(DEFAULT, any_qtype=AnyQtype.NEW)),
    Scene(NAMES, replace(DEFAULT, any_qtype=AnyQtype.LEGACY)),
    Scene(NAMES + STRANGERS, _NARROW),
    Scene(EVERYBODY, replace(_NARROW, tcp=False)),
    Scene(NAMES + STRANGERS, _XSK, DESTINATIONS, (0,)),
    Scene(NAMES + STRANGERS, _XSK, DESTINATIONS, (1,)),
    Scene(EVERYBODY, _XSK, DESTINATIONS, (0, 1)),
    Scene((), _XSK, DESTINATIONS, (0,)),
    Scene(NAMES, replace(_NARROW, xsk=XskFamily.BOTH), DESTINATIONS, (0,)),
    Scene(NAMES + STRANGERS, replace(DEFAULT, xsk=XskFamily.V4), DESTINATIONS, (0,)),
    Scene(NAMES, ELSEWHERE, DESTINATIONS, (0,)),
)

_SPENT = Limits(
    spent=(
        *("192.0.2.1/32", "192.0.2.66/32", "203.0.113.0/24", "198.51.100.0/24"),
        *("2001:db8:1::/64", "2001:db8:66::/48", "2001:db8:53::/48"),
    )
)
_NOTHING_LEFT = Limits(x_left=False)
_EXEMPT = ("192.0.2.2/32", "192.0.2.64/30", "2001:db8:1:2::/64", "2001:db8:68::1/128", "::/128")
_ZONES = Limits(
    zones=(
        LimitedZone("example", (("www.example", A), ("a.b.c.example", A), ("ok.example", NS))),
        LimitedZone("com"),
        LimitedZone("bad.example", (("*.x.bad.example", A),)),
        LimitedZone("example.com", (("www.example.com", A), ("wild.example.com", NS))),
        LimitedZone("x", spent=False),
    )
)

LIMITED = (
    Scene(NAMES + STRANGERS, LIMITS, limits=_SPENT),
    Scene(NAMES, LIMITS, limits=_NOTHING_LEFT, exempt=_EXEMPT),
    Scene(NAMES, LIMITS, limits=Limits(x_left=False, dry_run=True)),
    Scene(NAMES, TABLES, limits=Limits(x_left=False, slip=0), exempt=_EXEMPT),
    Scene((), FOUR, limits=Limits(spent=("192.0.0.0/20", "2001:db8::/32"))),
    Scene(NAMES, XSK, DESTINATIONS, (0,), exempt=_EXEMPT, limits=_SPENT),
    Scene((), XSK, DESTINATIONS, (0,), limits=Limits(x_left=False, dry_run=True)),
    PROVEN,
    replace(COOKIES, rules=NAMES),
    replace(COOKIES, limits=replace(COOKIES.limits, x_left=True, spent=_SPENT.spent, slip=1)),
    Scene(NAMES[:4], ZONED, limits=_ZONES),
    Scene((), EVERY_LIMIT, limits=replace(_ZONES, spent=_SPENT.spent), exempt=_EXEMPT),
)
"""Scenes with limits, in which no time passes."""
