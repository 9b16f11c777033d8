"""Cases of PACKETS.md, "Two books, zones", as far as one book of our own tables decides.

Which zone a name is in, the longest of several, types inside one zone, what cannot be
read. `longest_match` writes the cases for either book; lists.py has those of the lists'
book, and what only two books together show.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import TYPE_CHECKING

from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    CLIENT_PORT,
    DNS_PORT,
    MF,
    MULTICAST_MAC,
    QINQ,
    SERVER4,
    SERVER6,
    SERVER_MAC,
    Raw,
    Tag,
    Tcp,
    Udp,
    ethernet,
    fragment,
    hop_by_hop,
    ipv4,
    ipv6,
    pad,
    routing,
)
from tests.packets.case import (
    TABLES,
    Case,
    Result,
    Rule,
    Scene,
    allow,
    answered,
    below,
    drop,
    dropped,
    passed,
    redirected,
    truncate,
    zone,
)
from tests.packets.message import (
    AAAA,
    ANY,
    NS,
    QR,
    RA,
    RD,
    TC,
    TXT,
    A,
    edns_query,
    eights,
    labels,
    long_name,
    name,
    opcode,
    opt,
    query,
    question,
    truncated,
)
from tests.packets.xsk import DESTINATIONS
from xdpctl.abi import LABEL_MAX, NAME_MAX, WILDCARD_QTYPE, Book, Reason, RuleAction, ZoneScope
from xdpctl.rules import AnyQtype
from xdpctl.settings import XskFamily

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_MATCH = passed(Reason.NO_MATCH)
MALFORMED = dropped(Reason.MALFORMED)
DEEPEST = 16
"""Labels of a zone at most."""

MOST_LABELS = 127
WORD_EDGES = (1, 7, 8, 9, 15, 16, 17, 31, 32, 33, 62, 63)
"""Octets of labels that end a machine word, and their neighbours."""


def udp4(message: bytes) -> bytes:
    """Return a query's frame over IPv4."""
    return ethernet(ipv4(Udp(message)))


def udp6(message: bytes) -> bytes:
    """Return a query's frame over IPv6."""
    return ethernet(ipv6(Udp(message)))


FRAMES: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (("v4", udp4), ("v6", udp6))
SCOPES: tuple[tuple[str, Callable[[Rule], Rule]], ...] = ((".", zone), ("*.", below))


def depth(count: int, *, first: bytes = b"") -> bytes:
    """Return a name of so many labels of one octet: `p.o. … b.a`, `.a` at the root.

    Args:
        count: 0 to 127.
        first: what stands in place of the first label's octet.
    """
    parts = [bytes([ord("a") + at % 16]) for at in reversed(range(count))]
    return labels(*(first, *parts[1:]) if first else parts)


@dataclass(frozen=True, slots=True)
class Own:
    """One book of our own tables, for the cases that are the same in either."""

    book: Book
    reason: Reason

    def scene(self, *rules: Rule) -> Scene:
        """Return the scene that has these rules in the book."""
        return Scene(tuple(replace(rule, book=self.book) for rule in rules), TABLES)

    def by(self, index: int, action: RuleAction = RuleAction.DROP) -> Result:
        """Return what a rule of that action makes of a query that nobody can answer."""
        if action is RuleAction.PASS:
            return passed(self.reason, index)
        return dropped(Reason.UNANSWERABLE if action is RuleAction.TRUNCATE else self.reason, index)


def longest_match(own: Own) -> Iterator[Case]:
    """Yield what zones do, whosever they are."""
    yield from _inside(own)
    yield from _both_scopes(own)
    yield from _nested(own)
    yield from _depths(own)
    yield from _every_octet(own)
    yield from _label_lengths(own)
    yield from _zeros(own)
    yield from _long_names(own)
    yield from _types(own)
    yield from _unreadable(own)
    yield from _scope(own)


_BELOW_EVIL = ("www.evil.example", "a.b.evil.example", "WWW.EVIL.eXAMPLE", "evil.evil.example")
_BESIDE_EVIL = (
    "example",
    "notevil.example",
    "evi.example",
    "vil.example",
    "evil.example2",
    "evil.example.org",
    "www.evil.exampl",
    "www.evilexample",
    "evil.www.example",
    "",
)


def _inside(own: Own) -> Iterator[Case]:
    """Which names are in one zone."""
    all_, only_below = own.scene(zone(drop("evil.example"))), own.scene(below(drop("evil.example")))
    for version, frame in FRAMES:
        for text in ("evil.example", "EVIL.example"):
            yield Case(
                f"{text} is in .evil.example, {version}", all_, frame(query(text)), own.by(0)
            )
            yield Case(
                f"{text} is not in *.evil.example, {version}",
                only_below,
                frame(query(text)),
                NO_MATCH,
            )
        for text in _BELOW_EVIL:
            yield Case(
                f"{text} is in .evil.example, {version}", all_, frame(query(text)), own.by(0)
            )
            yield Case(
                f"{text} is in *.evil.example, {version}", only_below, frame(query(text)), own.by(0)
            )
        for text in _BESIDE_EVIL:
            for dots, scene in ((".", all_), ("*.", only_below)):
                yield Case(
                    f"{text or 'the root'} is not in {dots}evil.example, {version}",
                    scene,
                    frame(query(text)),
                    NO_MATCH,
                )
    for what, wire in {
        "a label that holds the zone's octets": labels(b"x\4evil\7example"),
        "a label that ends in the zone's octets, before a label": labels(b"x\4evil", b"example"),
        "a label that holds a dot": labels(b"www.evil", b"example"),
        "one label in place of two": labels(b"evil.example"),
        "the same octets in other labels": labels(b"evi", b"l\7example"),
    }.items():
        for dots, scope in SCOPES:
            yield Case(
                f"{what} is not in {dots}evil.example",
                own.scene(scope(drop("evil.example"))),
                udp4(query(wire)),
                NO_MATCH,
            )
    root, below_root = own.scene(zone(drop(b"\0"))), own.scene(below(drop(b"\0")))
    yield Case("the root is in the root's zone", root, udp4(query("")), own.by(0))
    yield Case("the root is not below the root", below_root, udp4(query("")), NO_MATCH)
    for text in ("x", "example", "www.evil.example"):
        yield Case(f"{text} is in the root's zone", root, udp4(query(text)), own.by(0))
        yield Case(f"{text} is below the root", below_root, udp6(query(text)), own.by(0))
    tops = own.scene(zone(drop("zip")), below(drop("example")))
    yield Case("a top-level domain's zone holds it", tops, udp4(query("zip")), own.by(0))
    yield Case("a top-level domain's zone holds a.zip", tops, udp4(query("a.ZIP")), own.by(0))
    yield Case("a top-level domain is not below itself", tops, udp4(query("example")), NO_MATCH)
    yield Case("a name below a top-level domain", tops, udp4(query("a.example")), own.by(1))
    yield Case("another top-level domain", tops, udp4(query("a.zipp")), NO_MATCH)
    for hits in (2**32 - 1, 2**32, 2**55):
        counted = own.scene(replace(zone(drop("evil.example")), hits=hits))
        yield Case(
            f"a hit on a zone after {hits}", counted, udp4(query("a.evil.example")), own.by(0)
        )


def _twice(text: str, qtype: int = A) -> bytes:
    """Return a query with two questions: Truncate cannot answer it, and its hit is seen."""
    return query(text, qtype, counts=(2, 0, 0, 0))


def _both_scopes(own: Own) -> Iterator[Case]:
    """`.z` beside `*.z`: Pass beats Drop, Drop beats Truncate, and the name is in `.z` alone."""
    strongest = [RuleAction.PASS, RuleAction.DROP, RuleAction.TRUNCATE]
    for first, second in permutations(strongest, 2):
        rules = (
            zone(Rule("evil.example", first)),
            below(Rule("evil.example", second)),
        )
        both = f".z {first.name}, *.z {second.name}"
        best = min((0, 1), key=lambda at: strongest.index((first, second)[at]))
        for version, frame in FRAMES:
            for text in ("a.evil.example", "b.a.evil.example"):
                message = _twice(text)
                yield Case(
                    f"{both}: {text}, {version}",
                    own.scene(*rules),
                    frame(message),
                    own.by(best, (first, second)[best]),
                )
            message = _twice("evil.example")
            yield Case(
                f"{both}: evil.example, {version}",
                own.scene(*rules),
                frame(message),
                own.by(0, first),
            )
        yield Case(
            f"{both}, written the other way round",
            own.scene(*reversed(rules)),
            udp4(_twice("a.evil.example")),
            own.by(1 - best, (first, second)[best]),
        )


def _nested(own: Own) -> Iterator[Case]:
    """The longest zone decides, in whatever order rules were made."""
    rules = (
        zone(drop("evil.example")),
        zone(allow("good.evil.example")),
        below(drop("bad.good.evil.example")),
        below(allow("example")),
    )
    expected = {
        "example": None,
        "other.example": 3,
        "evil.example": 0,
        "x.evil.example": 0,
        "notgood.evil.example": 0,
        "good.evil.example": 1,
        "GOOD.evil.example": 1,
        "x.good.evil.example": 1,
        "bad.good.evil.example": 1,
        "x.bad.good.evil.example": 2,
        "y.x.bad.good.evil.example": 2,
        "bad.x.good.evil.example": 1,
    }
    for order in ((0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)):
        scene = own.scene(*(rules[at] for at in order))
        for text, index in expected.items():
            hit = None if index is None else order.index(index)
            action = None if index is None else RuleAction(rules[index].action)
            yield Case(
                f"{text} among nested zones, made in the order {order}",
                scene,
                (udp4 if order[0] else udp6)(query(text)),
                NO_MATCH if hit is None or action is None else own.by(hit, action),
            )
    one_kind = tuple(
        Rule(depth(count), count % 2, scope=ZoneScope.ALL) for count in range(DEEPEST + 1)
    )
    for count in (*range(DEEPEST + 1), 17, 18, 31, 126, 127):
        hit = min(count, DEEPEST)
        for version, frame in FRAMES:
            yield Case(
                f"a zone at every depth, a name of {count} labels, {version}",
                own.scene(*one_kind),
                frame(query(depth(count))),
                own.by(hit, RuleAction(hit % 2)),
            )
        if count:
            hit = min(count - 1, DEEPEST)
            yield Case(
                f"a zone at every depth, a name of {count} labels, the first one another",
                own.scene(*one_kind),
                udp4(query(depth(count, first=b"-"))),
                own.by(hit, RuleAction(hit % 2)),
            )
    only = tuple(
        Rule(depth(count), count % 2, scope=ZoneScope.BELOW) for count in range(DEEPEST + 1)
    )
    for count in (*range(1, DEEPEST + 1), 17, 18, 127):
        hit = min(count - 1, DEEPEST)
        yield Case(
            f"what is below at every depth, a name of {count} labels",
            own.scene(*only),
            udp4(query(depth(count))),
            own.by(hit, RuleAction(hit % 2)),
        )


def _depths(own: Own) -> Iterator[Case]:
    """Labels in front never hide a zone, whatever their number."""
    for count in (1, 2, 3, 5, 15, DEEPEST):
        for dots, scope in SCOPES:
            scene = own.scene(scope(drop(depth(count))))
            for asked in sorted({count - 1, count, count + 1, 16, 17, 18, 64, 126, MOST_LABELS}):
                inside = asked > count or (asked == count and scope is zone)
                for version, frame in FRAMES:
                    yield Case(
                        f"{dots}z at depth {count}, a name of {asked} labels, {version}",
                        scene,
                        frame(query(depth(asked))),
                        own.by(0) if inside else NO_MATCH,
                    )
        scene = own.scene(zone(drop(depth(count))))
        whole = list(reversed(_split(depth(count))))
        for other in range(count):
            wrong = [b"-" if at == other else label for at, label in enumerate(whole)]
            for more in (0, 1, 40):
                yield Case(
                    f".z at depth {count}, another label at depth {other + 1}, {more} in front",
                    scene,
                    udp4(query(labels(*[b"w"] * more, *reversed(wrong)))),
                    NO_MATCH,
                )


def _split(wire: bytes) -> list[bytes]:
    found, at = [], 0
    while wire[at]:
        found.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return found


def _around(octet: int) -> bytes:
    """Return a label with this octet in one of eight places, where a word of it may end."""
    at = octet % 8
    return b"octet" + b"." * at + bytes([octet]) + b"." * (8 - at)


_NOT_CAPITALS = tuple(octet for octet in range(256) if not 65 <= octet <= 90)


def _every_octet(own: Own) -> Iterator[Case]:
    """Labels are compared octet by octet, A-Z folded and nothing else."""
    every = own.scene(*(zone(drop(labels(_around(octet), b"example"))) for octet in _NOT_CAPITALS))
    for octet in range(256):
        found = octet | 0x20 if 65 <= octet <= 90 else octet
        yield Case(
            f"a zone's octet {octet:#04x} is found as {found:#04x}",
            every,
            udp4(query(labels(b"w", _around(octet), b"example"))),
            own.by(_NOT_CAPITALS.index(found)),
        )


def _others(label: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield labels that are not this one."""
    yield "another first octet", b"-" + label[1:]
    yield "another last octet", label[:-1] + b"-"
    if len(label) > 1:
        yield "an octet less", label[:-1]
        yield "an octet less in front", label[1:]
    if len(label) < LABEL_MAX:
        yield "an octet more", label + b"a"
        yield "a zero more", label + b"\0"
        yield "a zero in front", b"\0" + label


def _label_lengths(own: Own) -> Iterator[Case]:
    """Labels are compared whole, wherever a machine word ends in them."""
    for size in WORD_EDGES:
        label = bytes(ord("a") + at % 26 for at in range(size))
        places: dict[str, tuple[tuple[bytes, ...], tuple[bytes, ...]]] = {
            "first": ((), (b"evil", b"example")),
            "second": ((b"deep",), (b"example",)),
            "last": ((b"deep", b"evil"), ()),
        }
        for place, (front, behind) in places.items():
            scene = own.scene(zone(drop(labels(*front, label, *behind))))
            title = f"a zone with {size} octets in its {place} label"
            for more in (0, 1, 40):
                asked = labels(*[b"w"] * more, *front, label.upper(), *behind)
                yield Case(f"{title}, {more} labels in front", scene, udp4(query(asked)), own.by(0))
            for what, other in dict(_others(label)).items():
                asked = labels(b"www", *front, other, *behind)
                yield Case(f"{title}: {what}", scene, udp4(query(asked)), NO_MATCH)


def _zeros(own: Own) -> Iterator[Case]:
    """Zero octets are octets: nothing that is filled up with zeros takes them for filling."""
    rules = (
        (b"a\0", drop),
        (b"a", allow),
        (b"\0", drop),
        (b"\0" * 8, drop),
        (b"\0" * 7, allow),
        (b"\xff" * 8, drop),
    )
    zeros = own.scene(*(zone(make(labels(label, b"example"))) for label, make in rules))
    for index, (label, _) in enumerate(rules):
        for front in ((), (b"www",), (b"\0", b"\0\0")):
            yield Case(
                f"a zone's label of the octets {label.hex()} behind {len(front)} labels",
                zeros,
                udp4(query(labels(*front, label, b"example"))),
                own.by(index, RuleAction(zeros.rules[index].action)),
            )
    for label in (b"\0" * 9, b"\0" * 6, b"a\0\0", b"\0a", b"\xff" * 7):
        yield Case(
            f"no zone's label of the octets {label.hex()}",
            zeros,
            udp4(query(labels(b"www", label, b"example"))),
            NO_MATCH,
        )


def _long_names(own: Own) -> Iterator[Case]:
    """Zones as long as names can be."""
    for octets in (127, 128, 129, 249, 252, 253, 255):
        wire = long_name(octets)
        scene = own.scene(zone(drop(wire)))
        yield Case(f"a zone of {octets} octets, itself", scene, udp4(query(wire)), own.by(0))
        if octets <= NAME_MAX - 2:
            yield Case(
                f"a zone of {octets} octets, below it", scene, udp6(query(b"\1w" + wire)), own.by(0)
            )
        other = wire[:1] + b"-" + wire[2:]
        yield Case(f"a zone of {octets} octets, its sibling", scene, udp4(query(other)), NO_MATCH)
    widest = labels(*[b"0123456789abcd"] * 15, b"0123456789abcdefghijklm")
    scene = own.scene(zone(drop(widest)))
    yield Case("16 labels of 250 octets", scene, udp4(query(widest)), own.by(0))
    yield Case("below 16 labels of 250 octets", scene, udp4(query(b"\4wwww" + widest)), own.by(0))
    yield Case(
        "16 labels of 250 octets but for the last octet",
        scene,
        udp4(query(widest[:-2] + b"-\0")),
        NO_MATCH,
    )


def _types(own: Own) -> Iterator[Case]:
    """Inside one zone own type, then every type; the longest zone with a rule for the type."""
    typed = own.scene(zone(drop("evil.example", AAAA)))
    for asked in (A, AAAA, AAAA << 8, 0, ANY, WILDCARD_QTYPE):
        for text in ("evil.example", "www.evil.example"):
            yield Case(
                f"a zone of type AAAA, {text} of type {asked}",
                typed,
                udp4(query(text, asked)),
                own.by(0) if asked == AAAA else NO_MATCH,
            )
    both = own.scene(zone(drop("evil.example")), zone(allow("evil.example", A)))
    for asked in (A, NS, 0, ANY, WILDCARD_QTYPE):
        for text in ("evil.example", "www.evil.example"):
            yield Case(
                f"a zone of type A beside every type, {text} of type {asked}",
                both,
                udp6(query(text, asked)),
                own.by(1, RuleAction.PASS) if asked == A else own.by(0),
            )
    other = own.scene(
        zone(drop("evil.example")),
        zone(allow("good.evil.example", AAAA)),
        below(drop("good.evil.example", TXT)),
    )
    for asked, text, hit, action in (
        (A, "x.good.evil.example", 0, RuleAction.DROP),
        (AAAA, "x.good.evil.example", 1, RuleAction.PASS),
        (TXT, "x.good.evil.example", 2, RuleAction.DROP),
        (TXT, "good.evil.example", 0, RuleAction.DROP),
        (AAAA, "good.evil.example", 1, RuleAction.PASS),
    ):
        yield Case(
            f"a longer zone without a rule for the type is none, {text} of type {asked}",
            other,
            udp4(query(text, asked)),
            own.by(hit, action),
        )
    longer = own.scene(zone(drop("evil.example", A)), zone(allow("good.evil.example")))
    yield Case(
        "every type in a longer zone before the own type in a shorter one",
        longer,
        udp4(query("x.good.evil.example", A)),
        own.by(1, RuleAction.PASS),
    )
    weaker = own.scene(
        zone(truncate("evil.example", A)),
        below(allow("evil.example")),
        below(truncate("other.example", A)),
        zone(allow("other.example")),
    )
    for text, hit, action in (
        ("www.evil.example", 0, RuleAction.TRUNCATE),
        ("evil.example", 0, RuleAction.TRUNCATE),
        ("www.other.example", 2, RuleAction.TRUNCATE),
        ("other.example", 3, RuleAction.PASS),
    ):
        yield Case(
            f"the own type first, then what is stronger of .z and *.z: {text}",
            weaker,
            udp4(_twice(text)),
            own.by(hit, action),
        )
    for mode in AnyQtype:
        config = replace(TABLES, any_qtype=mode)
        scene = replace(
            own.scene(zone(drop("evil.example")), zone(allow("x.example", A))), config=config
        )
        for asked in (A, TXT, ANY, WILDCARD_QTYPE):
            yield Case(
                f"--any-qtype {mode}: a zone of every type, a query of type {asked}",
                scene,
                udp4(query("www.evil.example", asked)),
                own.by(0),
            )
            yield Case(
                f"--any-qtype {mode}: a zone of type A, a query of type {asked}",
                scene,
                udp4(query("www.x.example", asked)),
                own.by(1, RuleAction.PASS) if asked == A else NO_MATCH,
            )
    any_only = replace(
        own.scene(zone(drop("evil.example", ANY))), config=replace(TABLES, any_qtype=AnyQtype.NEW)
    )
    for asked in (A, ANY, WILDCARD_QTYPE):
        yield Case(
            f"--any-qtype 65535: a zone of type ANY, a query of type {asked}",
            any_only,
            udp4(query("www.evil.example", asked)),
            own.by(0) if asked == ANY else NO_MATCH,
        )


_EVIL_QUERY = query("www.evil.example")


def _unreadable(own: Own) -> Iterator[Case]:
    """A name that cannot be read is in no zone, not even the root's."""
    rules = (zone(drop("evil.example")), zone(drop(b"\0")), below(drop(b"\0")))
    for what, scene in (
        ("the name's zone", own.scene(rules[0])),
        ("the root's", own.scene(*rules)),
    ):
        for missing in range(1, len(_EVIL_QUERY) - 12 + 1):
            yield Case(
                f"a question {missing} octets short is not in {what}",
                scene,
                (udp4 if missing % 2 else udp6)(_EVIL_QUERY)[:-missing],
                NO_MATCH,
            )
        for text, wire in {
            "a name of 256 octets": long_name(243)[:-1] + name("evil.example"),
            "a name of 300 octets": b"\x3f"
            + b"a" * 63
            + long_name(223)[:-1]
            + name("evil.example"),
            "128 labels": b"\1a" * 126 + b"\1b\1c\0",
            "a label of 64 octets": b"\x40" + b"a" * 64 + name("evil.example"),
            "a length of 0x80": b"\x80" + b"a" * 128 + name("evil.example"),
            "a length of 0xbf": b"\xbf" + b"a" * 191 + name("evil.example"),
        }.items():
            yield Case(f"{text} is not in {what}", scene, udp4(query(wire)), NO_MATCH)
        for text, wire in {
            "a pointer behind the zone": name("evil.example")[:-1] + b"\xc0\x04",
            "a pointer in front of the zone": b"\3www\xc0\x16" + name("evil.example"),
            "nothing but a pointer": b"\xc0\x0c",
        }.items():
            for version, frame in FRAMES:
                yield Case(
                    f"{text}: dropped whatever is in {what}, {version}",
                    scene,
                    frame(query(wire)),
                    MALFORMED,
                )
    allowed = own.scene(zone(allow(b"\0")))
    yield Case(
        "a pointer is dropped though the root's zone is allowed",
        allowed,
        udp4(query(b"\3www\xc0\x0c")),
        MALFORMED,
    )


def _scope(own: Own) -> Iterator[Case]:
    """Which packets zones look at: those that name rules look at."""
    scene = own.scene(zone(drop("evil.example")))
    every_port = replace(scene, config=replace(TABLES, ports=(53, 5353), address_ports=(853,)))
    asked = "www.evil.example"
    for what, message, result in (
        ("a response", query(asked, flags=QR | RD), NO_MATCH),
        ("a response of OPCODE 5", query(asked, flags=QR | opcode(5)), NO_MATCH),
        *(
            (
                f"OPCODE {number}",
                query(asked, flags=opcode(number)),
                NO_MATCH if number in {4, 5} else own.by(0),
            )
            for number in range(1, 16)
        ),
        ("QDCOUNT 0", query(asked, counts=(0, 0, 0, 0)), NO_MATCH),
        ("QDCOUNT 2", query(asked, counts=(2, 0, 0, 0)), own.by(0)),
        ("QDCOUNT 65535", query(asked, counts=(65535, 0, 0, 0)), own.by(0)),
        ("class 3", query(asked, qclass=3), own.by(0)),
        ("class 65535", query(asked, qclass=65535), own.by(0)),
        ("all other flags", query(asked, flags=0x07FF), own.by(0)),
        ("EDNS", edns_query(asked, opt()), own.by(0)),
        (
            "a second question that is in the zone",
            query("good.example", counts=(2, 0, 0, 0), behind=question(asked)),
            NO_MATCH,
        ),
    ):
        for version, frame in FRAMES:
            yield Case(f"a name in a zone, {what}, {version}", scene, frame(message), result)
    for what, carried, result in (
        ("in a VLAN", ethernet(ipv4(Udp(_EVIL_QUERY)), tags=(Tag(),)), own.by(0)),
        ("in QinQ", ethernet(ipv6(Udp(_EVIL_QUERY)), tags=(Tag(QINQ), Tag())), own.by(0)),
        ("behind IP options", ethernet(ipv4(Udp(_EVIL_QUERY), options=bytes(40))), own.by(0)),
        (
            "behind extension headers",
            ethernet(ipv6(Udp(_EVIL_QUERY), extensions=(hop_by_hop(), routing()))),
            own.by(0),
        ),
        ("in a padded frame", pad(udp4(query("a.evil.example")), 128), own.by(0)),
        ("under a UDP checksum of 0", ethernet(ipv4(Udp(_EVIL_QUERY, checksum=0))), own.by(0)),
        (
            "over TCP",
            ethernet(ipv4(Tcp(len(_EVIL_QUERY).to_bytes(2, "big") + _EVIL_QUERY))),
            NO_MATCH,
        ),
        (
            "in place of TCP's header",
            ethernet(ipv4(Raw(6, Udp(_EVIL_QUERY).wire(CLIENT4, SERVER4)))),
            NO_MATCH,
        ),
        (
            "in a first fragment, v4",
            ethernet(ipv4(Udp(eights(_EVIL_QUERY)), flags=MF)),
            own.by(0),
        ),
        (
            "in a first fragment, v6",
            ethernet(ipv6(Udp(eights(_EVIL_QUERY)), extensions=(fragment(more=True),))),
            own.by(0),
        ),
        (
            "in a first fragment with QDCOUNT 0",
            ethernet(ipv4(Udp(eights(query(asked, counts=(0, 0, 0, 0)))), flags=MF)),
            NO_MATCH,
        ),
        (
            "in a first fragment that hides its end",
            ethernet(ipv4(Udp(_EVIL_QUERY[:24]), flags=MF)),
            dropped(Reason.FRAGMENT),
        ),
        (
            "in a later fragment",
            ethernet(ipv4(Udp(_EVIL_QUERY), offset=1)),
            passed(Reason.FRAGMENT),
        ),
    ):
        yield Case(f"a name in a zone, {what}", scene, carried, result)
    for port, result in ((853, NO_MATCH), (5353, own.by(0)), (5354, passed(Reason.OTHER))):
        yield Case(
            f"a name in a zone, to port {port}",
            every_port,
            ethernet(ipv4(Udp(_EVIL_QUERY, dport=port))),
            result,
        )
    yield Case(
        "a name in a zone, with --no-tcp",
        replace(scene, config=replace(TABLES, tcp=False)),
        udp4(_EVIL_QUERY),
        own.by(0),
    )
    yield Case(
        "panic passes a name in a zone",
        replace(scene, panic=True),
        udp4(_EVIL_QUERY),
        passed(Reason.PANIC),
    )
    yield from _truncated(own)
    yield from _redirected(own)


def _reply4(message: bytes) -> bytes:
    upper = Udp(message, DNS_PORT, CLIENT_PORT)
    packet = ipv4(upper, source=SERVER4, destination=CLIENT4, ttl=64)
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)


def _reply6(message: bytes) -> bytes:
    upper = Udp(message, DNS_PORT, CLIENT_PORT)
    packet = ipv6(upper, source=SERVER6, destination=CLIENT6, hop_limit=64)
    return ethernet(packet, source=SERVER_MAC, destination=CLIENT_MAC)


def _truncated(own: Own) -> Iterator[Case]:
    """What a zone's Truncate answers, and what it drops."""
    scene = own.scene(below(truncate("evil.example")), zone(truncate("tc.example", A)))
    plain, record = question("wWw.evil.Example"), opt(1232)
    flags = QR | TC | RD | RA
    asked = query("wWw.evil.Example")
    for what, message, answer in (
        ("", asked, truncated(plain, flags=flags)),
        (
            " with EDNS",
            edns_query("wWw.evil.Example", opt(4096)),
            truncated(plain, record, flags=flags),
        ),
    ):
        yield Case(
            f"a zone's Truncate answers a query{what}, v4",
            scene,
            udp4(message),
            answered(own.reason, _reply4(answer), 0),
        )
        yield Case(
            f"a zone's Truncate answers a query{what}, v6",
            scene,
            udp6(message),
            answered(own.reason, _reply6(answer), 0),
        )
    typed = truncated(question("tc.example"), flags=flags)
    yield Case(
        "a zone's Truncate of the own type answers the name itself",
        scene,
        udp4(query("tc.example")),
        answered(own.reason, _reply4(typed), 1),
    )
    unanswerable = dropped(Reason.UNANSWERABLE, 0)
    for what, frame, result in (
        ("QDCOUNT 2", udp4(query("a.evil.example", counts=(2, 0, 0, 0))), unanswerable),
        ("OPCODE 2", udp6(query("a.evil.example", flags=opcode(2))), unanswerable),
        ("NOTIFY", udp4(query("a.evil.example", flags=opcode(4))), NO_MATCH),
        ("a response", udp4(query("a.evil.example", flags=QR)), NO_MATCH),
        ("IP options", ethernet(ipv4(Udp(asked), options=bytes(4))), unanswerable),
        (
            "an extension header",
            ethernet(ipv6(Udp(asked), extensions=(hop_by_hop(),))),
            unanswerable,
        ),
        ("a first fragment", ethernet(ipv4(Udp(eights(asked)), flags=MF)), unanswerable),
        (
            "a group's MAC address",
            ethernet(ipv4(Udp(asked)), destination=MULTICAST_MAC),
            unanswerable,
        ),
        ("from 127.0.0.1", ethernet(ipv4(Udp(asked), source="127.0.0.1")), unanswerable),
        ("from itself", ethernet(ipv6(Udp(asked), source=SERVER6)), unanswerable),
    ):
        yield Case(f"a zone's Truncate, {what}", scene, frame, result)


def _redirected(own: Own) -> Iterator[Case]:
    """Zones before AF_XDP sockets."""
    config = replace(TABLES, xsk=XskFamily.BOTH)
    rules = own.scene(
        zone(drop("evil.example")), zone(allow("ok.example")), below(truncate("tc.example"))
    )
    scene = replace(rules, config=config, destinations=DESTINATIONS, sockets=(0,))
    for text, result in {
        "www.evil.example": own.by(0),
        "www.ok.example": redirected(own.reason, 1),
        "www.example": redirected(),
    }.items():
        for version, frame in FRAMES:
            yield Case(f"AF_XDP: {text}, {version}", scene, frame(query(text)), result)
    yield Case(
        "AF_XDP: www.ok.example without a socket",
        replace(scene, sockets=()),
        udp4(query("www.ok.example")),
        passed(own.reason, 1),
    )
    yield Case(
        "AF_XDP: www.ok.example that dnsdist would not take",
        scene,
        pad(udp4(query("www.ok.example")), 128),
        passed(own.reason, 1),
    )


OPERATOR = Own(Book.OPERATOR, Reason.ZONE)


def _rules(*rules: Rule) -> Scene:
    return Scene(rules, TABLES)


def _qname(index: int, action: RuleAction = RuleAction.DROP) -> Result:
    return Own(Book.OPERATOR, Reason.QNAME).by(index, action)


_THREE = _rules(
    drop("evil.example"),
    zone(allow("evil.example")),
    below(drop("evil.example", AAAA)),
    allow("good.evil.example", NS),
)

EXACT_FIRST = (
    Case("the exact rule before .z", _THREE, udp4(query("evil.example")), _qname(0)),
    Case(
        "an exact rule is not about names below",
        _THREE,
        udp4(query("x.evil.example")),
        OPERATOR.by(1, RuleAction.PASS),
    ),
    Case(
        "*.z of the own type before .z", _THREE, udp6(query("x.evil.example", AAAA)), OPERATOR.by(2)
    ),
    Case(
        "an exact rule of every type before .z of the own type",
        _rules(zone(allow("evil.example", A)), drop("evil.example")),
        udp4(query("evil.example", A)),
        _qname(1),
    ),
    Case(
        "an exact rule of the own type before zones",
        _THREE,
        udp4(query("good.evil.example", NS)),
        _qname(3, RuleAction.PASS),
    ),
    Case(
        "an exact rule of another type is none",
        _THREE,
        udp4(query("good.evil.example", A)),
        OPERATOR.by(1, RuleAction.PASS),
    ),
    *(
        Case(
            f"--any-qtype {mode}: an entry of type {entry} in qnames "
            f"{'is' if hit else 'is not'} before .z",
            replace(
                _rules(drop("evil.example", entry), zone(allow("evil.example"))),
                config=replace(TABLES, any_qtype=mode),
            ),
            udp4(query("evil.example", TXT)),
            _qname(0) if hit else OPERATOR.by(1, RuleAction.PASS),
        )
        for mode, entry, hit in (
            (AnyQtype.BOTH, 255, True),
            (AnyQtype.BOTH, 65535, True),
            (AnyQtype.NEW, 255, False),
            (AnyQtype.NEW, 65535, True),
            (AnyQtype.LEGACY, 255, True),
            (AnyQtype.LEGACY, 65535, False),
        )
    ),
    Case(
        "garbage as the action of an exact rule is Pass, before a zone's Drop",
        _rules(Rule("evil.example", 77), zone(drop("evil.example"))),
        udp4(query("evil.example")),
        passed(Reason.QNAME, 0),
    ),
)

SOURCES_FIRST = tuple(
    Case(
        f"a source's {'Pass' if action is RuleAction.PASS else 'Drop'} before a zone, {text}",
        _rules(Rule(text, action), zone(Rule("evil.example", 1 - action))),
        frame(_EVIL_QUERY),
        Own(Book.OPERATOR, reason).by(0, action),
    )
    for action in (RuleAction.PASS, RuleAction.DROP)
    for text, frame, reason in (
        (CLIENT4, udp4, Reason.ADDR_V4),
        (CLIENT6, udp6, Reason.ADDR_V6),
        ("192.0.2.0/24", udp4, Reason.CIDR4),
        ("2001:db8::/32", udp6, Reason.CIDR6),
    )
)

NOTHING_THERE = tuple(
    Case(
        f"tables without a rule change nothing: {what}, {version}",
        Scene((drop("bad.example"), allow("192.0.2.99")), TABLES),
        frame(query(text)),
        result,
    )
    for (what, text, result), (version, frame) in product(
        (
            ("a name of no rule", "www.example", NO_MATCH),
            ("a name in qnames", "bad.example", _qname(0)),
        ),
        FRAMES,
    )
)

CASES = (*longest_match(OPERATOR), *EXACT_FIRST, *SOURCES_FIRST, *NOTHING_THERE)
