"""How much the prefixes of a list cover together."""

from __future__ import annotations

import tracemalloc
from ipaddress import IPv4Network, collapse_addresses, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import Book, RuleAction
from xdpctl.errors import WideListError
from xdpctl.rules import AnyQtype, parse_target
from xdpctl.rules.keys import Block, Row, stored_place
from xdpctl.rules.reach import EXEMPT_MAX, LIST_MAX, Reach, ReachMeter, reach_of, refuse_wide


def covered(*prefixes: str) -> Reach:
    """Return what prefixes cover, as networks; the same as rows and as blocks of a list."""
    meters = ReachMeter(), ReachMeter()
    for prefix in prefixes:
        ref, key = stored_place(parse_target(prefix), AnyQtype.BOTH, Book.LISTS)
        row: Row = (ref, key, RuleAction.DROP, "", None, "list:x")
        assert list(meters[0].passing([row])) == [row]
        (block,) = meters[1].passing([Block(ref, [key], row[2:])])
        assert isinstance(block, Block)
    found = {meter.reach for meter in meters}
    found.add(reach_of(map(ip_network, prefixes)))
    (reach,) = found
    return reach


def test_what_prefixes_cover_is_counted_in_the_shortest_that_are_allowed() -> None:
    assert covered("10.0.0.0/8", "2001::/16") == Reach(1.0, 1.0)
    assert covered("10.0.0.0/10", "10.64.0.0/10", "2001::/17", "2001:8000::/18") == Reach(0.5, 0.75)
    assert covered("0.0.0.0/0", "::/0") == Reach(256.0, 65536.0)
    assert covered("192.0.2.0/24", "2001:db8::/48") == Reach(2**-16, 2**-32)


def test_what_lies_within_another_counts_once() -> None:
    assert covered("10.0.0.0/8", "10.1.0.0/16", "10.0.0.0/8", "10.2.3.0/24") == Reach(1.0)


def test_addresses_and_long_prefixes_do_not_count() -> None:
    assert covered("192.0.2.128/25", "192.0.2.1/32", "2001:db8::/64") == Reach()
    meter = ReachMeter()
    for target in ("192.0.2.1", "2001:db8::1", "www.example"):
        ref, key = stored_place(parse_target(target), AnyQtype.BOTH, Book.LISTS)
        list(meter.passing([(ref, key, RuleAction.DROP, "", None, "list:x")]))
    assert meter.reach == Reach()


networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(8, 24)).map(
    lambda drawn: IPv4Network((drawn[0] >> (32 - drawn[1]) << (32 - drawn[1]), drawn[1]))
)


def test_what_covers_much_takes_no_more_memory_than_it_has_prefixes() -> None:
    """Of IPv6 there are 16 million /24, and whoever makes a list chooses what it has."""
    meter = ReachMeter()
    tracemalloc.start()
    for start in range(0, 2**17, 8):
        meter.add(6, start << 15, 17)
    for length in range(17):
        meter.add(6, 0, length)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert meter.reach == Reach(0.0, 65536.0)
    assert most < 32 << 20


@given(st.lists(networks, max_size=30))
def test_it_is_never_less_than_the_union(prefixes: list[IPv4Network]) -> None:
    exact = sum(each.num_addresses for each in collapse_addresses(prefixes)) / 2**24
    reach = reach_of(prefixes)
    assert reach.v4 >= exact
    if all(each.prefixlen <= 16 for each in prefixes):
        assert reach.v4 == exact


def test_a_list_that_covers_too_much_is_one_sentence() -> None:
    refuse_wide("its prefixes cover", LIST_MAX, LIST_MAX)
    with pytest.raises(WideListError) as caught:
        refuse_wide("its prefixes cover", Reach(256.0), LIST_MAX)
    assert caught.value.sentence == (
        "its prefixes cover as much as 256 prefixes of /8; 128 are the most"
    )
    with pytest.raises(WideListError, match=r"as much as 4\.1 prefixes of /16; 4 are the most"):
        refuse_wide("the clients that it exempts cover", Reach(0.0, 4.001), EXEMPT_MAX)
