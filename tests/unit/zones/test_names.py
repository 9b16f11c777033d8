"""A table of names is a multiset with counts, and no name that stays is ever absent."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tests.support.strategies import names
from xdpctl.abi import ZONE_BUCKET_SIZE, ZONE_SECRETS_SIZE, ZONE_TAG_FLAGS
from xdpctl.zones.hashing import NameHash
from xdpctl.zones.names import NameTable, count

if TYPE_CHECKING:
    from xdpctl.rules.names import Name

HASH = NameHash(Random(1).randbytes(ZONE_SECRETS_SIZE))
tags = st.integers(0, 40).map(lambda number: HASH.tag(bytes((1, number, 0))))


class Tables(RuleBasedStateMachine):
    """The table beside a Counter."""

    def __init__(self) -> None:
        super().__init__()
        self.table = NameTable(1)
        self.records: Counter[int] = Counter()
        self.below: Counter[int] = Counter()

    @rule(tag=tags, below=st.integers(0, 2))
    def add(self, tag: int, below: int) -> None:
        self.table.add(tag, count(1, below))
        self.records[tag] += 1
        self.below[tag] += below

    @rule(tag=tags, below=st.integers(0, 2))
    def take(self, tag: int, below: int) -> None:
        slot = self.table.take(tag, count(1, below))
        can = self.records[tag] >= 1 and self.below[tag] >= below
        assert (slot is not None) == can
        if can:
            self.records[tag] -= 1
            self.below[tag] -= below

    @invariant()
    def agrees(self) -> None:
        there = {tag for tag in self.records if self.records[tag] or self.below[tag]}
        assert self.table.names == len(there)
        for tag in self.records:
            assert self.table.holds(tag) == (tag in there)
            assert self.table.all_below(tag) == (self.below[tag] > 0)


Tables.TestCase.settings = settings(max_examples=20, stateful_step_count=40, deadline=None)
TestTables = Tables.TestCase


@settings(deadline=None)
@given(st.dictionaries(tags, st.integers(1, 3)), st.dictionaries(tags, st.integers(1, 3)))
def test_a_name_that_stays_is_in_each_step(before: dict[int, int], after: dict[int, int]) -> None:
    table = NameTable(1)
    for tag, amount in before.items():
        table.add(tag, amount)
    assert table.fits(after, before)
    for _ in table.apply(after, before):
        assert all(table.holds(tag) for tag in before.keys() & after.keys())
    assert {tag for tag in before | after if table.holds(tag)} == after.keys()


def test_changes_that_take_too_much_do_not_fit() -> None:
    table = NameTable(1)
    table.add(HASH.tag(b"\1a\0"), 1)
    assert not table.fits({}, {HASH.tag(b"\1a\0"): 2})
    assert not table.fits({}, {HASH.tag(b"\1b\0"): 1})
    assert not table.fits({}, {HASH.tag(b"\1a\0"): count(1, 1)})


@given(st.lists(names, unique=True, max_size=20))
def test_names_have_tags_of_their_own(several: list[Name]) -> None:
    found = {HASH.tag(name.wire) for name in several}
    assert len(found) == len(several)
    assert not any(tag & ZONE_TAG_FLAGS for tag in found)


def test_other_keys_give_other_tags() -> None:
    one, other = NameHash.random(), NameHash.random()
    assert one.tag(b"\1a\0") != other.tag(b"\1a\0")
    assert one.identity != other.identity


def test_the_head_is_one_bucket() -> None:
    assert len(NameTable().head()) == ZONE_BUCKET_SIZE


@pytest.mark.parametrize("number", [3_000])
def test_a_table_grows_and_keeps_all(number: int) -> None:
    table = NameTable(1)
    wires = [bytes((4,)) + b"%04d" % n + b"\0" for n in range(number)]
    for wire in wires:
        table.add(HASH.tag(wire), 1)
    assert table.names == number
    assert all(table.holds(HASH.tag(wire)) for wire in wires)
    assert table.buckets <= number
