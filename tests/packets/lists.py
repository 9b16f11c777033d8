"""Cases of PACKETS.md, "Two books, zones", of the lists' book and of both books together.

What the page says of rules holds in either book, so that the cases of other themes are
written once more here, with their rules in lists, or their names as zones. Longest match
is zones.py's, for this book too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from itertools import product
from typing import TYPE_CHECKING

from tests.packets import (
    addresses,
    answers,
    fragments,
    names,
    sample_program,
    unanswerable,
    xsk,
)
from tests.packets.build import CLIENT4, CLIENT6, Tcp, Udp, ethernet, ipv4, ipv6
from tests.packets.case import (
    TABLES,
    Case,
    Result,
    Rule,
    Scene,
    allow,
    below,
    drop,
    dropped,
    listed,
    passed,
    zone,
)
from tests.packets.message import AAAA, NS, A, labels, long_name, query
from tests.packets.zones import (
    DEEPEST,
    FRAMES,
    MOST_LABELS,
    NO_MATCH,
    Own,
    depth,
    longest_match,
    udp4,
    udp6,
)
from xdpctl.abi import (
    LEGACY_WILDCARD_QTYPE,
    WILDCARD_QTYPE,
    Book,
    Reason,
    RuleAction,
    qname_size,
)
from xdpctl.rules import AnyQtype

if TYPE_CHECKING:
    from collections.abc import Iterator

LISTS = Own(Book.LISTS, Reason.LIST_NAME)
SOURCES = Own(Book.LISTS, Reason.LIST_SOURCE)

ELSEWHERE: dict[str, tuple[Case, ...]] = {
    "addresses": addresses.CASES,
    "names": names.CASES,
    "fragments": fragments.CASES,
    "answers": answers.CASES,
    "unanswerable": unanswerable.CASES,
    "xsk": xsk.CASES,
    "sample program": sample_program.CASES,
}
"""Themes whose rules are the operator's, in the five shared maps."""

_MOST_HITS = 2**56


def _storable(rule: Rule, mode: AnyQtype) -> bool:
    """Whether a rule of the shared maps can be one of ours that means the same."""
    plain = rule.action in set(RuleAction) and not any(rule.unused) and rule.hits < _MOST_HITS
    if not isinstance(rule.subject, bytes):
        return plain
    means_another: tuple[int, ...] = {
        AnyQtype.BOTH: (LEGACY_WILDCARD_QTYPE,),  # every type there, type ANY in our own
        AnyQtype.NEW: (),
        AnyQtype.LEGACY: (LEGACY_WILDCARD_QTYPE, WILDCARD_QTYPE),  # and the other way round
    }[mode]
    try:
        whole = qname_size(rule.subject) == len(rule.subject)
    except ValueError:
        whole = False
    return (
        plain and whole and rule.subject == rule.subject.lower() and rule.qtype not in means_another
    )


_Numbered = tuple[tuple[int, Rule], ...]
"""Rules with their numbers in the scene that they come from."""


def _moved(case: Case, rules: _Numbered, reasons: dict[Reason, Reason]) -> Case | None:
    """Return the case with these of its rules alone, unless the one that was hit is not there."""
    hit = case.expected.hit
    places = {old: new for new, (old, _) in enumerate(rules)}
    if not rules or (hit is not None and hit not in places):
        return None
    expected = replace(
        case.expected,
        hit=None if hit is None else places[hit],
        reason=reasons.get(case.expected.reason, case.expected.reason),
    )
    config = replace(case.scene.config, tables=True)
    scene = replace(case.scene, rules=tuple(rule for _, rule in rules), config=config)
    return replace(case, scene=scene, expected=expected)


_OF_LISTS = {
    Reason.ADDR_V4: Reason.LIST_SOURCE,
    Reason.ADDR_V6: Reason.LIST_SOURCE,
    Reason.CIDR4: Reason.LIST_SOURCE,
    Reason.CIDR6: Reason.LIST_SOURCE,
    Reason.QNAME: Reason.LIST_NAME,
}


def _as_lists(case: Case) -> Case | None:
    """Return the case with all its rules in lists."""
    rules = _listed(case.scene.rules, case.scene.config.any_qtype)
    return _moved(case, rules, _OF_LISTS)


@cache  # many cases have the same rules
def _listed(rules: tuple[Rule, ...], mode: AnyQtype) -> _Numbered:
    return tuple((index, listed(rule)) for index, rule in enumerate(rules) if _storable(rule, mode))


def _as_zones(case: Case) -> Case | None:
    """Return a case that a name decides with all names as the operator's zones."""
    hit = case.expected.hit
    if hit is None or not isinstance(case.scene.rules[hit].subject, bytes):
        return None
    rules = _zoned(case.scene.rules, case.scene.config.any_qtype)
    return _moved(case, rules, {Reason.QNAME: Reason.ZONE})


@cache
def _zoned(rules: tuple[Rule, ...], mode: AnyQtype) -> _Numbered:
    found = []
    for index, rule in enumerate(rules):
        if not isinstance(rule.subject, bytes):
            found.append((index, rule))
        elif _storable(rule, mode) and _label_count(rule.subject) <= DEEPEST:
            found.append((index, zone(rule)))
    return tuple(found)


def _label_count(wire: bytes) -> int:
    count = at = 0
    while wire[at]:
        at += 1 + wire[at]
        count += 1
    return count


def _once_more() -> Iterator[Case]:
    for theme, cases in ELSEWHERE.items():
        for case in cases:
            for what, made in (("in lists", _as_lists(case)), ("as zones", _as_zones(case))):
                if made is not None:
                    yield replace(made, description=f"{theme}, {what}: {case.description}")


def _by_name(index: int, action: RuleAction = RuleAction.DROP) -> Result:
    return LISTS.by(index, action)


def _exact_names() -> Iterator[Case]:
    """An exact name of a list is that name and no other, whatever its number of labels."""
    for count in (1, 2, 3, 5, 15, 16, 17, 18, 31, 32, 64, 126, MOST_LABELS):
        scene = LISTS.scene(drop(depth(count)))
        for version, frame in FRAMES:
            yield Case(
                f"a list's name of {count} labels, {version}",
                scene,
                frame(query(depth(count))),
                _by_name(0),
            )
        parts = [bytes([ord("a") + at % 16]) for at in reversed(range(count))]
        for other in sorted({0, count // 2, count - 1, max(0, count - 16), max(0, count - 17)}):
            wrong = [b"-" if at == other else part for at, part in enumerate(parts)]
            yield Case(
                f"a list's name of {count} labels, its label {other + 1} another",
                scene,
                udp4(query(labels(*wrong))),
                NO_MATCH,
            )
        for asked in (count - 1, count + 1):
            if asked <= MOST_LABELS:
                yield Case(
                    f"a list's name of {count} labels, a name of {asked}",
                    scene,
                    udp4(query(depth(asked))),
                    NO_MATCH,
                )
    tail = [bytes([ord("a") + at]) for at in range(DEEPEST)]
    fronts = (
        (b"ab", b"c"),
        (b"a", b"bc"),
        (b"ab\1c",),
        (b"a", b"b", b"c"),
        (b"abc",),
        (b"abc\0",),
        (b"\0abc",),
        (b"abc", b"\0"),
        (b"seven..",),
        (b"seven..\0",),
        (b"\0",),
        (),
    )
    scene = LISTS.scene(*(Rule(labels(*front, *tail), at % 2) for at, front in enumerate(fronts)))
    for at, front in enumerate(fronts):
        yield Case(
            f"labels in front of sixteen are compared whole: {front!r}",
            scene,
            udp4(query(labels(*front, *tail))),
            _by_name(at, RuleAction(at % 2)),
        )
    for front in ((b"ab", b"c", b"\0"), (b"abcd",), (b"b", b"c"), (b"\0\0",), (b"a", b"bc\0")):
        yield Case(
            f"other labels in front of sixteen: {front!r}",
            scene,
            udp4(query(labels(*front, *tail))),
            NO_MATCH,
        )
    for octets in (249, 250, 251, 252, 253, 255):
        wire = long_name(octets)
        yield Case(
            f"a list's name of {octets} octets, but for the last one",
            LISTS.scene(drop(wire)),
            udp4(query(wire[:-2] + b"-\0")),
            NO_MATCH,
        )
    root = LISTS.scene(drop(b"\0"))
    yield Case("a list's rule for the root", root, udp4(query("")), _by_name(0))
    yield Case("a list's rule for the root is nobody else's", root, udp4(query("x")), NO_MATCH)


def _exact_and_zones() -> Iterator[Case]:
    """The longest of a list's names and zones, an exact name before a zone of its length."""
    in_order = (
        drop("evil.example", A),
        allow("evil.example"),
        zone(drop("evil.example", A)),
        zone(allow("evil.example")),
        zone(drop("example", A)),
        below(allow("example")),
    )
    for first in range(len(in_order)):
        rules = in_order[first:]
        for what, made in (("", rules), (", made the other way round", rules[::-1])):
            index = made.index(rules[0])
            yield Case(
                f"what is left of a list's rules for one name, without the first {first}{what}",
                LISTS.scene(*made),
                (udp6 if what else udp4)(query("evil.example")),
                _by_name(index, RuleAction(made[index].action)),
            )
    for action in (RuleAction.PASS, RuleAction.DROP):
        other = RuleAction(1 - action)
        for dots, text, rule in (
            (".z", "evil.example", zone(Rule("evil.example", other))),
            ("a zone above", "evil.example", zone(Rule("example", other))),
            ("*.z above", "evil.example", below(Rule("example", other))),
            ("the root's zone", "evil.example", zone(Rule(b"\0", other))),
        ):
            yield Case(
                f"a list's exact {action.name} before {dots}",
                LISTS.scene(rule, Rule(text, action)),
                udp4(query(text)),
                _by_name(1, action),
            )
    rpz = LISTS.scene(
        below(drop("evil.example")),
        drop("good.evil.example"),
        below(allow("good.evil.example")),
        drop("deep.x.good.evil.example"),
    )
    for text, index, action in (
        ("other.evil.example", 0, RuleAction.DROP),
        ("good.evil.example", 1, RuleAction.DROP),
        ("x.good.evil.example", 2, RuleAction.PASS),
        ("deep.x.good.evil.example", 3, RuleAction.DROP),
        ("y.deep.x.good.evil.example", 2, RuleAction.PASS),
    ):
        yield Case(
            f"an exact trigger hides what is below it: {text}",
            rpz,
            udp4(query(text)),
            _by_name(index, action),
        )
    yield Case("an exact trigger, and not its wildcard", rpz, udp4(query("evil.example")), NO_MATCH)
    for count in (17, 18, 40, MOST_LABELS):
        scene = LISTS.scene(drop(depth(count)), zone(allow(depth(DEEPEST))), zone(drop(depth(3))))
        yield Case(
            f"a list's name of {count} labels before a zone of 16",
            scene,
            udp4(query(depth(count))),
            _by_name(0),
        )
        yield Case(
            f"beside a list's name of {count} labels, in a zone of 16",
            scene,
            udp4(query(depth(count, first=b"-"))),
            _by_name(1, RuleAction.PASS),
        )
    typed = LISTS.scene(drop("evil.example", AAAA), zone(allow("example")))
    for asked, index, action in ((AAAA, 0, RuleAction.DROP), (A, 1, RuleAction.PASS)):
        yield Case(
            f"a list's exact name of type AAAA, a query of type {asked}",
            typed,
            udp4(query("evil.example", asked)),
            _by_name(index, action),
        )


def _flipped(text: str, bit: int) -> str:
    """Return the address with one bit another, bit 0 being the first."""
    address = ip_address(text)
    kind = IPv4Address if address.version == 4 else IPv6Address
    return str(kind(int(address) ^ 1 << (address.max_prefixlen - 1 - bit)))


def _asked_by(source: str) -> bytes:
    packet = ipv6 if ":" in source else ipv4
    return ethernet(packet(Udp(query("www.example")), source=source))


def _by_source(index: int, action: RuleAction = RuleAction.DROP) -> Result:
    return SOURCES.by(index, action)


def _prefixes() -> Iterator[Case]:
    """A list's prefix of every length is found, alone and among all others."""
    for text in ("192.0.2.77", "2001:db8:5a5a:a5a5:c3c3:3c3c:9669:6996"):
        bits = ip_address(text).max_prefixlen
        prefixes = [str(ip_network(f"{text}/{length}", strict=False)) for length in range(bits + 1)]
        nested = [Rule(prefix, length % 2) for length, prefix in enumerate(prefixes)]
        for length, prefix in enumerate(prefixes):
            scene = SOURCES.scene(drop(prefix))
            inside = text
            for bit in range(length, bits):
                inside = _flipped(inside, bit)
            yield Case(f"a list's {prefix}", scene, _asked_by(inside), _by_source(0))
            if length:
                yield Case(
                    f"beside a list's {prefix}",
                    scene,
                    _asked_by(_flipped(text, length - 1)),
                    NO_MATCH,
                )
            yield Case(
                f"a list's /{length} among all lengths of {text}",
                SOURCES.scene(*nested),
                _asked_by(_flipped(text, length) if length < bits else text),
                _by_source(length, RuleAction(length % 2)),
            )
        first, last = (SOURCES.scene(*(*nested[:2], drop(text), *nested[at:])) for at in (2, bits))
        for what, scene in (("all prefixes", first), ("its own prefix", last)):
            yield Case(
                f"a list's exact {text} before {what}", scene, _asked_by(text), _by_source(2)
            )
        yield Case(
            f"a list's exact Pass of {text} before a Drop of /{bits}",
            SOURCES.scene(drop(f"{text}/{bits}"), allow(text)),
            _asked_by(text),
            _by_source(1, RuleAction.PASS),
        )
    many4 = tuple(Rule(f"203.0.{third}.0/24", third % 2) for third in range(64))
    many6 = tuple(Rule(f"2001:db8:{third:x}::/48", third % 2) for third in range(64))
    for third in (0, 1, 31, 62, 63, 64, 255):
        expected = _by_source(third, RuleAction(third % 2)) if third < 64 else NO_MATCH
        for source, scene in (
            (f"203.0.{third}.9", SOURCES.scene(*many4)),
            (f"2001:db8:{third:x}::9", SOURCES.scene(*many6)),
        ):
            yield Case(f"{source} among 64 prefixes", scene, _asked_by(source), expected)
    for every, source in (("0.0.0.0/0", "::1"), ("::/0", CLIENT4)):
        scene = SOURCES.scene(drop(every))
        yield Case(f"{source} is not in a list's {every}", scene, _asked_by(source), NO_MATCH)
    mapped = SOURCES.scene(drop("192.0.2.1"), drop("::ffff:192.0.2.0/120"))
    yield Case(
        "an IPv4 address in an IPv6 header is an IPv6 source",
        mapped,
        _asked_by("::ffff:192.0.2.1"),
        _by_source(1),
    )


_SOURCES_OF = {
    4: (
        (CLIENT4, Reason.ADDR_V4),
        (f"{CLIENT4}/32", Reason.CIDR4),
        ("192.0.2.0/24", Reason.CIDR4),
        ("0.0.0.0/0", Reason.CIDR4),
    ),
    6: (
        (CLIENT6, Reason.ADDR_V6),
        (f"{CLIENT6}/128", Reason.CIDR6),
        ("2001:db8::/32", Reason.CIDR6),
        ("::/0", Reason.CIDR6),
    ),
}


def _sources_of_two_books() -> Iterator[Case]:
    """The operator's source, exact or prefix, before any of a list's."""
    for version, client in ((4, CLIENT4), (6, CLIENT6)):
        kinds = _SOURCES_OF[version]
        for (mine, reason), (theirs, _), action in product(
            kinds, kinds, (RuleAction.PASS, RuleAction.DROP)
        ):
            rules = (listed(Rule(theirs, 1 - action)), Rule(mine, action))
            yield Case(
                f"the operator's {action.name} of {mine} before a list's of {theirs}",
                Scene(rules, TABLES),
                _asked_by(client),
                Own(Book.OPERATOR, reason).by(1, action),
            )
        for theirs, _ in kinds:
            other = "198.18.0.0/15" if version == 4 else "2001:db8:ffff::/48"
            yield Case(
                f"a list's {theirs} beside the operator's {other}",
                Scene((drop(other), listed(drop(theirs))), TABLES),
                _asked_by(client),
                _by_source(1),
            )
    tcp = Scene((listed(drop(CLIENT4)), listed(allow("2001:db8::/32"))), TABLES)
    for what, frame, result in (
        ("a list's Drop drops TCP", ethernet(ipv4(Tcp())), _by_source(0)),
        ("a list's Pass passes TCP", ethernet(ipv6(Tcp())), _by_source(1, RuleAction.PASS)),
    ):
        yield Case(what, tcp, frame, result)
        quiet = replace(tcp, config=replace(TABLES, tcp=False))
        yield Case(f"{what}, but not with --no-tcp", quiet, frame, passed(Reason.OTHER))


def _names_of_two_books() -> Iterator[Case]:
    """The operator's name or zone, however short, before any of a list's."""
    asked = "www.evil.example"
    mine = (
        ("an exact name", Rule(asked), Reason.QNAME),
        ("its zone", zone(Rule(asked)), Reason.ZONE),
        ("*.z above", below(Rule("evil.example")), Reason.ZONE),
        ("a top-level domain", zone(Rule("example")), Reason.ZONE),
        ("the root's zone", zone(Rule(b"\0")), Reason.ZONE),
    )
    theirs = (
        ("an exact name", Rule(asked)),
        ("its zone", zone(Rule(asked))),
        ("*.z above", below(Rule("evil.example"))),
        ("a name of its own type", Rule(asked, qtype=A)),
        ("the root's zone", zone(Rule(b"\0"))),
    )
    for (what, rule, reason), (other, their), action in product(
        mine, theirs, (RuleAction.PASS, RuleAction.DROP)
    ):
        rules = (listed(replace(their, action=1 - action)), replace(rule, action=action))
        yield Case(
            f"the operator's {action.name} of {what} before a list's of {other}",
            Scene(rules, TABLES),
            (udp4 if action else udp6)(query(asked)),
            Own(Book.OPERATOR, reason).by(1, action),
        )
    apart = Scene(
        (
            drop(asked, AAAA),
            zone(allow("evil.example", AAAA)),
            below(drop("other.example")),
            listed(zone(drop("evil.example"))),
            listed(drop("other.example")),
        ),
        TABLES,
    )
    for text, qtype, result in (
        (asked, AAAA, dropped(Reason.QNAME, 0)),
        ("x.evil.example", AAAA, passed(Reason.ZONE, 1)),
        (asked, NS, _by_name(3)),
        ("evil.example", A, _by_name(3)),
        ("other.example", A, _by_name(4)),
        ("x.other.example", A, dropped(Reason.ZONE, 2)),
        ("www.example", A, NO_MATCH),
    ):
        yield Case(
            f"two books apart, {text} of type {qtype}", apart, udp4(query(text, qtype)), result
        )
    for action in (RuleAction.PASS, RuleAction.DROP):
        for client, frame in ((CLIENT4, udp4), (CLIENT6, udp6)):
            every = (Rule(asked, 1 - action), zone(Rule("evil.example", 1 - action)))
            of_lists = (*every, Rule(client, action))
            yield Case(
                f"a list's {action.name} of {client} before any name",
                Scene((*every, *map(listed, of_lists)), TABLES),
                frame(query(asked)),
                _by_source(4, action),
            )
    same = (
        zone(drop("evil.example")),
        listed(zone(allow("evil.example"))),
        listed(drop("evil.example")),
        drop("evil.example"),
    )
    for there, result in ((same, dropped(Reason.QNAME, 3)), (same[:3], dropped(Reason.ZONE, 0))):
        yield Case(
            f"one name in {len(there)} tables",
            Scene(there, TABLES),
            udp4(query("evil.example")),
            result,
        )


CASES = (
    *longest_match(LISTS),
    *_exact_names(),
    *_exact_and_zones(),
    *_prefixes(),
    *_sources_of_two_books(),
    *_names_of_two_books(),
    *_once_more(),
)
