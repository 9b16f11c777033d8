"""The oracle's longest match against a search for suffixes that is written another way.

Every rule is asked by itself whether the name is its own, in octets and not in labels;
what answers yes is put in PACKETS.md's order, and the first one decides.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.engines.oracle import Question, address_rule, name_rule
from tests.fuzz.rules import (
    MOST_RULES,
    SETS,
    name_from,
    rules_from,
    source_from,
    table_scene,
)
from tests.fuzz.tape import Tape
from tests.packets.case import TABLES, Rule, Scene, below, drop, listed, zone
from tests.packets.message import AAAA, ANY, TXT, A, labels
from tests.support.strategies import wire_names
from xdpctl.abi import WILDCARD_QTYPE, Book, RuleAction, ZoneScope
from xdpctl.rules import AnyQtype

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPES = (A, AAAA, TXT, 0, ANY, WILDCARD_QTYPE)
MODES = {AnyQtype.BOTH: (65535, 255), AnyQtype.NEW: (65535,), AnyQtype.LEGACY: (255,)}


def _starts(wire: bytes) -> list[int]:
    """Return where each label of the name starts, and where its root is."""
    starts = [0]
    while wire[starts[-1]]:
        starts.append(starts[-1] + 1 + wire[starts[-1]])
    return starts


def _is_about(rule: Rule, wire: bytes) -> bool:
    target = rule.subject
    assert isinstance(target, bytes)
    at = len(wire) - len(target)
    ends_so = at in _starts(wire) and wire[at:] == target
    return {
        ZoneScope.SELF: target == wire,
        ZoneScope.ALL: ends_so,
        ZoneScope.BELOW: ends_so and at > 0,
    }[rule.scope]


def _order(rule: Rule, qtype: int, types: Sequence[int]) -> tuple[int, ...]:
    """Return what is least for the rule that decides, of those that are about the name."""
    own = (qtype, *types).index(rule.qtype)
    strength = (RuleAction.PASS, RuleAction.DROP, RuleAction.TRUNCATE).index(
        RuleAction(rule.action)
    )
    exact = rule.scope is ZoneScope.SELF
    if rule.book is Book.OPERATOR and exact:
        return (0, own)
    step = 1 if rule.book is Book.OPERATOR else 2
    return (step, -len(rule.subject), not exact, own, strength, rule.scope)  # type: ignore[arg-type]


def first_of_all(scene: Scene, wire: bytes, qtype: int) -> int | None:
    """Return the index of the rule that decides about a name."""
    found = []
    for index, rule in enumerate(scene.rules):
        types = (WILDCARD_QTYPE,) if rule.in_tables else MODES[scene.config.any_qtype]
        if (
            isinstance(rule.subject, bytes)
            and rule.qtype in (qtype, *types)
            and _is_about(rule, wire)
        ):
            found.append((_order(rule, qtype, types), index))
    return min(found)[1] if found else None


@settings(max_examples=1500)
@given(
    st.binary(max_size=20 * MOST_RULES),
    st.binary(max_size=16),
    st.sampled_from(TYPES),
    st.sampled_from(AnyQtype),
)
def test_the_longest_match_is_what_a_search_for_suffixes_finds(
    rules: bytes, asked: bytes, qtype: int, mode: AnyQtype
) -> None:
    scene = Scene(rules_from(Tape(rules)), replace(TABLES, any_qtype=mode))
    wire = name_from(Tape(asked))
    expected = first_of_all(scene, wire, qtype)
    assert name_rule(scene, Question(wire, qtype, 0)) == expected


@settings(max_examples=500)
@given(wire_names, st.data())
def test_rules_for_any_ends_of_any_name_are_found_longest_first(
    wire: bytes, data: st.DataObject
) -> None:
    ends = [wire[at:] for at in _starts(wire)]
    rules = data.draw(
        st.lists(
            st.builds(
                Rule,
                st.sampled_from(ends),
                st.sampled_from(RuleAction),
                st.sampled_from((A, WILDCARD_QTYPE)),
                book=st.sampled_from(Book),
                scope=st.sampled_from(ZoneScope),
            ),
            unique_by=lambda rule: (rule.book, rule.scope, rule.target, rule.qtype),
        )
    )
    scene = Scene(tuple(rules), TABLES)
    assert name_rule(scene, Question(wire, A, 0)) == first_of_all(scene, wire, A)


@given(wire_names, st.sampled_from([zone, below]), st.sampled_from([listed, lambda rule: rule]))
def test_labels_in_front_never_hide_a_zone(wire: bytes, scope: object, book: object) -> None:
    assert callable(scope)
    assert callable(book)
    scene = Scene((book(scope(drop(wire))),), TABLES)
    for more in range((255 - len(wire)) // 2):
        hit = name_rule(scene, Question(b"\1x" * more + wire, A, 0))
        assert hit == (0 if more or scope is zone else None)


@settings(max_examples=500)
@given(st.binary(max_size=20 * MOST_RULES), st.binary(max_size=4), st.sampled_from([4, 6]))
def test_the_longest_prefix_of_a_book_is_what_a_search_of_all_finds(
    rules: bytes, asked: bytes, version: int
) -> None:
    scene = Scene(rules_from(Tape(rules)), TABLES)
    source = ip_address(source_from(Tape(asked), version))
    for book in Book:
        found: list[tuple[int, int]] = []
        for index, rule in enumerate(scene.rules):
            subject = rule.subject
            if rule.book is not book or isinstance(subject, bytes):
                continue
            if isinstance(subject, IPv4Address | IPv6Address):
                length, network = source.max_prefixlen + 1, subject
            else:
                length, network = subject.prefixlen, subject.network_address
            shift = max(0, source.max_prefixlen - length)
            if network.version == version and int(network) >> shift == int(source) >> shift:
                found.append((length, index))
        assert address_rule(scene, book, source) == (max(found)[1] if found else None)


def test_sets_of_rules_are_about_many_depths_and_all_kinds() -> None:
    rules = [rule for number in range(SETS) for rule in table_scene(number).rules]
    names = [
        (len(_starts(rule.subject)) - 1, rule) for rule in rules if isinstance(rule.subject, bytes)
    ]
    depths = {depth for depth, rule in names if rule.in_tables}
    assert depths >= {0, 1, 2, 3, 5, 8, 15, 16, 17, 18, 64, 127}
    kinds = {(rule.book, rule.scope, type(rule.subject)) for rule in rules}
    assert len(kinds) == 2 * (len(ZoneScope) + 4)
    assert {rule.scope for depth, rule in names if depth > 16} == {ZoneScope.SELF}


@pytest.mark.parametrize("scope", [ZoneScope.ALL, ZoneScope.BELOW])
def test_a_set_of_rules_is_hit_by_names_of_many_depths(scope: ZoneScope) -> None:
    hit: set[int] = set()
    for number in range(4000):
        tape = Tape(number.to_bytes(2, "big") * 20)
        scene, wire = table_scene(number % SETS), name_from(tape)
        index = name_rule(scene, Question(wire, A, 0))
        if index is not None and scene.rules[index].scope is scope:
            hit.add(len(_starts(wire)) - 1)
    assert len(hit) >= 10


def test_octets_that_look_like_labels_are_no_end_of_a_name() -> None:
    scene = Scene((zone(drop("evil.example")),), TABLES)
    wire = labels(b"x\4evil\7example")
    assert wire.endswith(b"\4evil\7example\0")
    assert name_rule(scene, Question(wire, A, 0)) is None
