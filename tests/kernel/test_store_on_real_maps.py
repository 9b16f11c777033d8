"""The store against its model (tests/support/store_model.py), on maps of the kernel's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.kernel.conftest import rule_maps
from tests.support.store_model import PLENTY, Rulebook
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, encode_value
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.rules import AnyQtype, Rule, key_of, parse_target
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map

pytestmark = pytest.mark.root

WIDE, NARROW = parse_target("198.51.100.0/24"), parse_target("198.51.100.0/28")


class RulebookOnRealMaps(Rulebook):
    """The model on the kernel's own hashes and tries."""

    has_tables = False

    def make_maps(self) -> dict[MapName, Map]:
        bpf = Bpf()
        return {name: bpf.create_map(MAPS[name], PLENTY) for name in RULE_MAPS}


TestAnySequence = RulebookOnRealMaps.TestCase
TestAnySequence.settings = settings(max_examples=40, stateful_step_count=30)


@pytest.fixture
def maps() -> Iterator[dict[MapName, Map]]:
    with rule_maps(3) as maps:
        yield maps


@pytest.fixture
def store(maps: dict[MapName, Map], tmp_path: Path) -> Iterator[Store]:
    with State.open(tmp_path / "state.db") as state:
        store = Store(maps, state, AnyQtype.BOTH)
        store.reconcile()
        yield store


def listed(store: Store) -> dict[str, tuple[RuleAction, int, str]]:
    """Return the prefixes by length: action, counter, origin."""
    return {
        entry.key[:4].hex(): (entry.action, entry.hits, entry.origin)
        for entry in store.entries(MapName.CIDR4)
    }


def test_a_prefix_keeps_its_counter_beside_a_shorter_one_of_dnsdists(
    maps: dict[MapName, Map], store: Store
) -> None:
    maps[MapName.CIDR4].update(key_of(WIDE, AnyQtype.BOTH), encode_value(RuleAction.DROP, 100))
    store.put([Rule(NARROW)])
    maps[MapName.CIDR4].update(key_of(NARROW, AnyQtype.BOTH), encode_value(RuleAction.DROP, 5))
    store.put([Rule(NARROW, RuleAction.TRUNCATE)])
    assert sorted(listed(store).values()) == [
        (RuleAction.DROP, 100, "dnsdist"),
        (RuleAction.TRUNCATE, 5, "cli"),
    ]


def test_removing_a_prefix_leaves_those_around_it(store: Store) -> None:
    store.put([Rule(WIDE), Rule(NARROW), Rule(parse_target("198.51.100.1/32"))])
    store.remove([NARROW])
    assert len(listed(store)) == 2
    assert store.put([Rule(NARROW)]).created == 1
