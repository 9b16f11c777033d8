"""Cases of PACKETS.md, "Limits", 3: names below own zones that are not known to exist.

How much an account holds is not a packet's matter: here it has nothing left, or plenty. What is
done with a packet over a limit is limits.py's: here it is dropped, but for a few.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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
    Tcp,
    Udp,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
)
from tests.packets.case import (
    KNOWN,
    LIMITS,
    ZONED,
    Case,
    LimitedZone,
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
    zone,
)
from tests.packets.limits import COOKIE_KEY, COOKIE_TIME, both, cookies, frames, pair
from tests.packets.message import QR, RA, RD, TC, A, eights, opcode, query, question, truncated
from tests.packets.xsk import DESTINATIONS, OTHER_PORT
from tests.packets.zones import udp4, udp6
from xdpctl.abi import LABEL_MAX, ZONE_LEVELS, Reason
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.packets.case import Result

NS, DNAME = 2, 39
RECORDS = (
    ("example.com", NS),
    ("www.example.com", A),
    ("a.b.c.example.com", A),
    ("*.wild.example.com", A),
    ("x.*.starred.example.com", A),
    ("child.example.com", NS),
    ("moved.example.com", DNAME),
)
ZONE = LimitedZone("example.com", RECORDS)
BLIND = LimitedZone("example.net")
WHOLE = LimitedZone("example.org", (("*.example.org", A), ("www.example.org", A)))

SPENT = Scene(config=ZONED, limits=Limits(zones=(ZONE, BLIND, WHOLE), slip=0))
PLENTY = replace(
    SPENT, limits=Limits(zones=tuple(replace(each, spent=False) for each in SPENT.limits.zones))
)
NO_MATCH = passed(Reason.NO_MATCH)
OVER = dropped(Reason.ZONE_LIMIT)

EXIST = (
    "example.com",
    "www.example.com",
    "WWW.eXample.COM",
    "c.example.com",
    "b.c.example.com",
    "a.b.c.example.com",
    "wild.example.com",
    "*.wild.example.com",
    "x.wild.example.com",
    "y.x.wild.example.com",
    "starred.example.com",
    "y.starred.example.com",
    "child.example.com",
    "x.child.example.com",
    "www.x.child.example.com",
    "moved.example.com",
    "x.moved.example.com",
    "example.net",
    "example.org",
    "x.example.org",
    "www.x.example.org",
)
MISSING = (
    "x.example.com",
    "X.EXAMPLE.com",
    "www.x.example.com",
    "x.www.example.com",
    "x.b.c.example.com",
    "x.a.b.c.example.com",
    "*.example.com",
    "www.example.net",
    "a.b.www.example.net",
)
ELSEWHERE = ("", "com", "net", "www.example", "wwwexample.com", "example.com.x", "www.example.co")

_FREE = replace(ZONE, spent=False)


def _scene(*zones: LimitedZone, base: Scene = SPENT) -> Scene:
    return replace(base, limits=replace(base.limits, zones=zones))


def _names() -> Iterator[Case]:
    for text in EXIST:
        yield from pair(f"a name that exists, {text}", SPENT, frames(query(text)), NO_MATCH)
    for text in MISSING:
        yield from pair(f"a name that does not exist, {text}", SPENT, frames(query(text)), OVER)
        yield from pair(f"within the limit, {text}", PLENTY, frames(query(text)), NO_MATCH)
    for text in ELSEWHERE:
        yield from pair(f"a name of no zone, '{text}'", SPENT, frames(query(text)), NO_MATCH)


def _nested() -> Iterator[Case]:
    """The longest zone decides, whatever is known of the others."""
    inner, sub = LimitedZone("child.example.com"), LimitedZone("a.b.c.example.com", ())
    for what, zones, text, result in (
        ("the longer one is spent", (_FREE, inner), "x.child.example.com", OVER),
        ("the longer one is spent, the shorter's name", (_FREE, inner), "x.example.com", NO_MATCH),
        (
            "the shorter one is spent",
            (ZONE, replace(inner, spent=False)),
            "x.child.example.com",
            NO_MATCH,
        ),
        (
            "the shorter one is spent, its own name",
            (ZONE, replace(inner, spent=False)),
            "x.example.com",
            OVER,
        ),
        ("the longer one's own name", (ZONE, inner), "child.example.com", NO_MATCH),
        ("a name of the shorter one in the longer", (ZONE, sub), "a.b.c.example.com", NO_MATCH),
        ("below a name of the shorter one", (ZONE, sub), "x.a.b.c.example.com", OVER),
        ("between the two", (ZONE, sub), "x.b.c.example.com", OVER),
        ("an empty non-terminal between the two", (ZONE, sub), "b.c.example.com", NO_MATCH),
        (
            "below a wildcard at the shorter one's top",
            (WHOLE, LimitedZone("sub.example.org", ())),
            "x.sub.example.org",
            OVER,
        ),
        (
            "a wildcard at the longer one's top",
            (BLIND, LimitedZone("sub.example.net", (("*.sub.example.net", A),))),
            "x.sub.example.net",
            NO_MATCH,
        ),
        (
            "below a name that the shorter one does not know",
            (ZONE, LimitedZone("new.x.example.com", (("www.new.x.example.com", A),))),
            "www.new.x.example.com",
            NO_MATCH,
        ),
        (
            "a top-level zone and one below",
            (LimitedZone("com", ()), _FREE),
            "www.other.com",
            OVER,
        ),
    ):
        for order, several in (("", zones), (", the other way round", zones[::-1])):
            yield Case(f"two zones: {what}{order}", _scene(*several), udp4(query(text)), result)


def _deep(count: int, *, first: str = "w") -> str:
    """Return a name of so many labels."""
    return ".".join([first, *["w"] * (count - 1)])


def _depths() -> Iterator[Case]:
    for depth in (1, 2, 3, 8, 16, 34, ZONE_LEVELS - 1, ZONE_LEVELS):
        apex = _deep(depth)
        known = LimitedZone(apex, ((f"there.{apex}", A),))
        for more in (1, 2, 20, 127 - depth):
            for what, own in (("", LimitedZone(apex)), (", whose names are known", known)):
                name = ".".join(["v"] * more + [apex])
                cut = own is known and depth == ZONE_LEVELS
                yield Case(
                    f"a zone of {depth} labels{what}, a name of {depth + more}",
                    _scene(own),
                    udp4(query(name)),
                    NO_MATCH if cut else OVER,
                )
        yield Case(
            f"a zone of {depth} labels, its own name", _scene(known), udp4(query(apex)), NO_MATCH
        )
        if depth < ZONE_LEVELS:
            yield Case(
                f"a zone of {depth} labels, a name that exists",
                _scene(known),
                udp4(query(f"there.{apex}")),
                NO_MATCH,
            )
            yield Case(
                f"a name of {depth} labels that is not the zone",
                _scene(known),
                udp4(query(f"{_deep(depth, first='v')}")),
                NO_MATCH,
            )


def _beyond() -> Iterator[Case]:
    """Of a name with more labels than are looked at, the last ones decide."""
    apex = "example.com"
    for count in (ZONE_LEVELS - 1, ZONE_LEVELS, ZONE_LEVELS + 1, 60):
        owner = ".".join(["n"] * (count - 2) + [apex])
        scene = _scene(LimitedZone(apex, ((owner, A),)))
        seen = count - 2 if count < ZONE_LEVELS else ZONE_LEVELS - 2
        for asked in (seen - 1, seen, seen + 1, 70):
            name = ".".join(["n"] * asked + [apex])
            beyond = asked > count - 2 and count < ZONE_LEVELS
            yield Case(
                f"a record of {count} labels, a name of {asked + 2}",
                scene,
                udp4(query(name)),
                OVER if beyond else NO_MATCH,
            )
        other = ".".join(["x", *["n"] * (seen - 1), apex])
        yield Case(f"a record of {count} labels, another label", scene, udp4(query(other)), OVER)


def _label_lengths() -> Iterator[Case]:
    """Labels are compared whole, wherever a word of them ends."""
    for size in (1, 6, 7, 8, 9, 15, 16, 17, 62, 63):
        label = "".join(chr(ord("a") + at % 26) for at in range(size))
        scene = _scene(LimitedZone("z", ((f"{label}.y.z", A), (f"y.{label}.z", A))))
        for there in (f"{label.upper()}.Y.z", f"Y.{label}.z", f"{label}.z"):
            yield Case(
                f"{there} with labels of {size} octets",
                scene,
                udp6(query(there)),
                NO_MATCH,
            )
        others = {f"{label[:-1]}-", f"-{label[1:]}", label[:-1], f"{label}a"} - {""}
        for other in sorted(each for each in others if len(each) <= LABEL_MAX):
            for where, name in (("first", f"{other}.y.z"), ("second", f"y.{other}.z")):
                yield Case(
                    f"{other} for a {where} label of {size} octets",
                    scene,
                    udp6(query(name)),
                    OVER,
                )
    longest = ".".join(["abcdefgh"] * 24 + ["a"] * 15)
    scene = _scene(LimitedZone("z", ((f"{longest}.z", A),)))
    yield Case("as many words as a name has", scene, udp6(query(f"{longest}.z")), NO_MATCH)
    yield Case(
        "as many words as a name has, but one", scene, udp6(query(f"b{longest[1:]}.z")), OVER
    )


QUERY = query("x.example.com")


def answered_both() -> tuple[Result, Result]:
    """Return: answered, over v4 and v6."""
    udp = Udp(
        truncated(question("x.example.com"), flags=QR | TC | RD | RA),
        sport=DNS_PORT,
        dport=CLIENT_PORT,
    )
    v4, v6 = (
        ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)
        for packet in (
            ipv4(udp, source=SERVER4, destination=CLIENT4, ttl=64),
            ipv6(udp, source=SERVER6, destination=CLIENT6, hop_limit=64),
        )
    )
    return answered(Reason.ZONE_LIMIT, v4), answered(Reason.ZONE_LIMIT, v6)


def _answering(scene: Scene) -> Scene:
    return replace(scene, limits=replace(scene.limits, slip=1))


WHO = (
    *pair("a response", SPENT, frames(query("x.example.com", flags=QR | RD)), NO_MATCH),
    *pair("a TCP segment", SPENT, both(Tcp()), NO_MATCH),
    *pair("UDP to another port", SPENT, both(Udp(QUERY, dport=54)), passed(Reason.OTHER)),
    *pair("panic", replace(SPENT, panic=True), frames(QUERY), passed(Reason.PANIC)),
    *(
        case
        for number in (2, 4, 5)
        for case in pair(
            f"OPCODE {number}",
            _answering(SPENT),
            frames(query("x.example.com", flags=opcode(number))),
            OVER,
        )
    ),
    *pair("QDCOUNT 0", _answering(SPENT), frames(query("x.example.com", counts=(0,) * 4)), OVER),
    *pair(
        "QDCOUNT 2", _answering(SPENT), frames(query("x.example.com", counts=(2, 0, 0, 0))), OVER
    ),
    *pair("no question", SPENT, frames(query("", counts=(0,) * 4)), NO_MATCH),
    *pair("a question cut short", SPENT, frames(QUERY[:-1]), NO_MATCH),
    *pair("a name cut short", SPENT, frames(QUERY[:-8]), NO_MATCH),
    *pair("a pointer", SPENT, frames(query(b"\1x\xc0\x0c")), dropped(Reason.MALFORMED)),
    Case(
        "a first fragment with a whole question",
        _answering(SPENT),
        ethernet(ipv4(Udp(eights(QUERY)), flags=MF)),
        OVER,
    ),
    Case(
        "a first fragment with a whole question, v6",
        _answering(SPENT),
        ethernet(ipv6(Udp(eights(QUERY)), extensions=(fragment(more=True),))),
        OVER,
    ),
    Case(
        "behind an extension header",
        _answering(SPENT),
        ethernet(ipv6(Udp(QUERY), extensions=(hop_by_hop(),))),
        OVER,
    ),
)

ALL = replace(LIMITS, zone_limits=True, heavy=True)
_HOSTS = (f"{CLIENT4}/32", "2001:db8:1::/64")
_BESIDE = replace(SPENT, config=ALL)
_PROOFS = replace(KNOWN, zone_limits=True)


def _beside_limits(**changes: Any) -> Scene:  # noqa: ANN401 - fields of Limits
    return replace(_BESIDE, limits=replace(_BESIDE.limits, **changes))


BESIDE_LIMITS = (
    *pair("beside other limits", _BESIDE, frames(QUERY), OVER),
    *pair(
        "a source over its limit",
        _beside_limits(spent=_HOSTS),
        frames(QUERY),
        dropped(Reason.LIMIT),
    ),
    *pair(
        "nothing left of the total",
        _beside_limits(x_left=False),
        frames(QUERY),
        dropped(Reason.UNPROVEN),
    ),
    *pair(
        "a name that exists, from a source over its limit",
        _beside_limits(spent=_HOSTS),
        frames(query("www.example.com")),
        dropped(Reason.LIMIT),
    ),
    *pair(
        "a proven source",
        replace(_beside_limits(spent=_HOSTS, proven=(CLIENT4, CLIENT6)), config=_PROOFS),
        frames(QUERY),
        OVER,
    ),
    *pair(
        "a good cookie",
        replace(
            _beside_limits(
                zones=(LimitedZone("example"),), cookie_keys=(COOKIE_KEY,), now=COOKIE_TIME
            ),
            config=_PROOFS,
        ),
        cookies(),
        OVER,
    ),
    *pair(
        "an exempt source",
        replace(_BESIDE, exempt=(*_HOSTS, "2001:db8:1::/48")),
        frames(QUERY),
        passed(Reason.EXEMPT),
    ),
    *pair(
        "where no limits of zones are configured",
        replace(_BESIDE, config=LIMITS),
        frames(QUERY),
        NO_MATCH,
    ),
)

_RULES = (
    drop("bad.example.com"),
    allow("ok.example.com"),
    allow("192.0.2.68"),
    allow("2001:db8:68::/48"),
)
RULED = replace(SPENT, rules=_RULES)
OWN = replace(
    SPENT,
    config=replace(ZONED, tables=True),
    rules=(
        zone(drop("bad.example.com")),
        below(allow("good.example.com")),
        listed(drop("list.example.com")),
        listed(zone(allow("fine.example.com"))),
    ),
)

BESIDE_RULES = (
    *pair("a name to drop", RULED, frames(query("bad.example.com")), dropped(Reason.QNAME, 0)),
    *pair("an allowed name", RULED, frames(query("ok.example.com")), passed(Reason.QNAME, 1)),
    *pair(
        "an allowed source",
        RULED,
        frames(QUERY, ("192.0.2.68", "2001:db8:68::1")),
        (passed(Reason.ADDR_V4, 2), passed(Reason.CIDR6, 3)),
    ),
    *pair("no rule's name", RULED, frames(QUERY), OVER),
    *pair("a zone to drop", OWN, frames(query("a.bad.example.com")), dropped(Reason.ZONE, 0)),
    *pair("an allowed zone", OWN, frames(query("a.good.example.com")), passed(Reason.ZONE, 1)),
    *pair("a list's name", OWN, frames(query("list.example.com")), dropped(Reason.LIST_NAME, 2)),
    *pair(
        "a name that a list allows",
        OWN,
        frames(query("a.fine.example.com")),
        passed(Reason.LIST_NAME, 3),
    ),
    *pair("no zone rule's name", OWN, frames(QUERY), OVER),
)

_DRY = replace(SPENT, limits=replace(SPENT.limits, dry_run=True))
_XSK = replace(SPENT, config=replace(ZONED, xsk=XskFamily.BOTH), destinations=DESTINATIONS)

WHAT_IS_DONE = (
    *pair("answered", _answering(SPENT), frames(QUERY), answered_both()),
    *pair("a dry run", _DRY, frames(QUERY), passed(Reason.ZONE_LIMIT)),
    *pair("a dry run, a name that exists", _DRY, frames(query("www.example.com")), NO_MATCH),
    *pair("to a socket", replace(_XSK, sockets=(0,)), frames(QUERY), OVER),
    *pair(
        "to another port's socket",
        replace(_XSK, sockets=(0,)),
        both(Udp(QUERY, dport=OTHER_PORT)),
        OVER,
    ),
    *pair(
        "a name that exists, to a socket",
        replace(_XSK, sockets=(0,)),
        frames(query("www.example.com")),
        redirected(),
    ),
    *pair(
        "a dry run, to a socket",
        replace(_XSK, sockets=(0,), limits=_DRY.limits),
        frames(QUERY),
        redirected(Reason.ZONE_LIMIT),
    ),
)

CASES = (
    *_names(),
    *_nested(),
    *_depths(),
    *_beyond(),
    *_label_lengths(),
    *WHO,
    *BESIDE_LIMITS,
    *BESIDE_RULES,
    *WHAT_IS_DONE,
)
