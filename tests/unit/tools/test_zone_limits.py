"""The limits of zones in C: which names they concern, and what their accounts say."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engines.oracle import is_limited_name
from tests.engines.zoned import Account, Zoned
from tests.packets.case import LimitedZone as Zone
from tests.packets.message import name as wire_of
from xdpctl.abi import HEAVY_SHARE, ZONE_TIME_SHIFT, PacketAction, Reason, decode_heavy
from xdpctl.transfers.records import RecordType

A, NS, DNAME = 1, int(RecordType.NS), int(RecordType.DNAME)
REFUSED = (Reason.ZONE_LIMIT, PacketAction.DROP)


@pytest.fixture(scope="module")
def zoned() -> Zoned:
    return Zoned()


def refused(zoned: Zoned, name: str) -> bool:
    result = zoned.ask(name)
    decided = (result.reason, result.action)
    assert decided in (REFUSED, (Reason.NO_MATCH, PacketAction.PASS))
    return decided == REFUSED


RECORDS = (
    ("example.com", NS),
    ("www.example.com", A),
    ("a.b.c.example.com", A),
    ("*.wild.example.com", A),
    ("child.example.com", NS),
    ("moved.example.com", DNAME),
)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("example.com", False),
        ("www.example.com", False),
        ("WWW.eXample.COM", False),
        ("c.example.com", False),
        ("b.c.example.com", False),
        ("x.wild.example.com", False),
        ("y.x.wild.example.com", False),
        ("wild.example.com", False),
        ("child.example.com", False),
        ("x.child.example.com", False),
        ("x.moved.example.com", False),
        ("x.example.com", True),
        ("x.www.example.com", True),
        ("x.a.b.c.example.com", True),
        ("x.b.c.example.com", True),
        ("wwwexample.com", False),
        ("com", False),
        ("example.org", False),
    ],
)
def test_only_names_that_do_not_exist_count(zoned: Zoned, name: str, *, counts: bool) -> None:
    zoned.enter([Zone("example.com", RECORDS)])
    assert refused(zoned, name) == counts


def test_without_names_everything_below_counts(zoned: Zoned) -> None:
    zoned.enter([Zone("example.com")])
    assert refused(zoned, "www.example.com")
    assert refused(zoned, "a.b.www.example.com")
    assert not refused(zoned, "example.com")


def test_a_zone_with_a_wildcard_of_its_own_limits_nothing(zoned: Zoned) -> None:
    zoned.enter([Zone("example.com", (("*.example.com", A),))])
    assert not refused(zoned, "a.b.example.com")


def test_the_longest_zone_decides(zoned: Zoned) -> None:
    zoned.enter(
        [Zone("example.com"), Zone("sub.example.com", spent=False), Zone("com", spent=False)]
    )
    assert refused(zoned, "x.example.com")
    assert not refused(zoned, "x.sub.example.com")
    assert not refused(zoned, "x.com")


def test_names_of_reverse_zones_and_of_all_depths(zoned: Zoned) -> None:
    zone = "8.b.d.0.1.0.0.2.ip6.arpa"
    there = ".".join("0123456789abcdef01234567") + "." + zone
    zoned.enter([Zone(zone, ((there, A),))])
    assert not refused(zoned, there)
    assert refused(zoned, "f" + there[1:])
    zoned.enter([Zone("z", ((".".join("a" * 126) + ".z", A),))])
    assert not refused(zoned, ".".join("a" * 126) + ".z")
    assert refused(zoned, "b.z")
    assert refused(zoned, ".".join("b" * 126) + ".z")


def test_long_labels(zoned: Zoned) -> None:
    zoned.enter([Zone("z", (("a" * 63 + ".z", A), (".".join(["b" * 63] * 3) + ".z", A)))])
    assert not refused(zoned, "a" * 63 + ".z")
    assert refused(zoned, "a" * 62 + "b.z")
    assert refused(zoned, "a" * 62 + ".z")
    assert not refused(zoned, ".".join(["b" * 63] * 3) + ".z")


words = st.sampled_from(["a", "b", "c", "*", "example", "wwwwwww", "wwwwwwww"])
parts = st.lists(words, min_size=1, max_size=4)


kinds = st.sampled_from([A, NS, DNAME])


@st.composite
def zones(draw: st.DrawFn) -> list[Zone]:
    """Return zones, some below others."""
    found = {}
    for apex in draw(st.lists(parts.filter(lambda each: "*" not in each), max_size=4)):
        name = ".".join(apex)
        records = None
        if draw(st.booleans()):
            owners = draw(st.lists(parts, max_size=5))
            records = tuple((".".join([*owner, name]), draw(kinds)) for owner in owners)
        found[name] = Zone(name, records, draw(st.booleans()))
    return [*found.values()]


@settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(zones(), st.lists(parts, min_size=1, max_size=6))
def test_any_name_counts_as_the_text_of_the_zones_says(
    zoned: Zoned, several: list[Zone], asked: list[list[str]]
) -> None:
    zoned.enter(several)
    for each in asked:
        for zone in [None, *several]:
            name = ".".join([*each, *([zone.name] if zone else [])])
            wanted = is_limited_name(several, wire_of(name))
            assert refused(zoned, name) == wanted, name


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 20),
    st.integers(1, 12),
    st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=40),
    st.just(0) | st.integers(5000, 5200),
)
def test_an_account_is_a_bucket_bit_by_bit_until_its_end(
    rate: int, burst: int, trace: list[tuple[int, bool]], ends: int
) -> None:
    """In whole ticks: `rate` ticks a packet, `burst` of them at one moment; end 0: never."""
    price = rate << ZONE_TIME_SHIFT
    room = burst * price
    zoned = Zoned()
    zoned.enter([Zone("z", (("there.z", A),), spent=False)], Account(price, room))
    zoned.end(0, ends)
    now, until = 5000, 0
    for wait, exists in trace:
        now += wait
        time = now << ZONE_TIME_SHIFT
        spent = max(until - time, 0)
        result = zoned.ask("there.z" if exists else "x.z", now)
        is_over = 0 < ends <= now
        if exists or is_over or spent + price <= room:
            assert result.reason is Reason.NO_MATCH
            until = until if exists or is_over else time + spent + price
        else:
            assert result.reason is Reason.ZONE_LIMIT
        assert zoned.spent_until(0) == until


def test_ends_of_names_are_counted_one_in_some() -> None:
    zoned = Zoned(heavy=True)
    for number in range(40 * HEAVY_SHARE):
        zoned.ask(f"n{number}.www.example.com")
    names, (cell,) = decode_heavy(bytes(zoned.heavy))
    assert names == 40
    assert cell.seen == 40
    assert cell.end == b"\7example\3com"
    assert cell.fronts.bit_count() > 20


def test_an_end_gives_way_to_one_that_is_seen_more() -> None:
    zoned = Zoned(heavy=True)
    for number in range(4000):
        zoned.ask(f"{number}.net" if number % 3 else "www.example.com")
    _, cells = decode_heavy(bytes(zoned.heavy))
    assert max(cells).end == b"\7example\3com"


@pytest.mark.parametrize("name", ["com", "", "a" * 63 + "." + "b" * 63])
def test_an_end_that_is_too_short_or_too_long_is_not_counted(name: str) -> None:
    zoned = Zoned(heavy=True)
    for _ in range(HEAVY_SHARE):
        zoned.ask(name)
    assert decode_heavy(bytes(zoned.heavy))[1] == []
