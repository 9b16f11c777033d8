"""What is said about names and zones when another rule decides otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel
from tests.support.fake_store import Ledger
from xdpctl.abi import (
    MAPS,
    RULE_MAPS,
    TABLES,
    MapName,
    MapSpec,
    MapType,
    RuleAction,
    Scope,
    encode_value,
)
from xdpctl.rules import AnyQtype, Rule, book_of, key_of, map_of, parse_target
from xdpctl.store.entries import Entries
from xdpctl.store.overlap import warnings
from xdpctl.store.state import Note, State

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODE = AnyQtype.BOTH
TEXTS = {"block": RuleAction.DROP, "allow": RuleAction.PASS, "truncate": RuleAction.TRUNCATE}


@dataclass
class Rules:
    """Rules of both books in maps of a fake kernel, with notes."""

    entries: Entries
    mode: AnyQtype = AnyQtype.BOTH

    def add(self, line: str, origin: str = "cli") -> Rule:
        """Write `block|allow|truncate TARGET [TYPE]` and return the rule."""
        action, text, *qtype = line.split()
        rule = Rule(parse_target(text, *qtype), TEXTS[action], origin=origin)
        book = book_of(origin)
        name, key = map_of(rule.target, book), key_of(rule.target, self.mode, book)
        self.entries.maps[name].update(key, encode_value(rule.action))
        if origin != "dnsdist":
            self.entries.state.put([Note(name, key, rule.action, origin, "", 0.0)])
        return rule

    def said(self, line: str, origin: str = "cli") -> list[str]:
        """Write a rule and return what is said about it."""
        return list(warnings(self.entries, [self.add(line, origin)], self.mode))


@pytest.fixture(name="rules")
def _rules(tmp_path: Path) -> Iterator[Rules]:
    bpf = FakeBpf(FakeKernel())
    specs = [MAPS[name] for name in RULE_MAPS]
    for table in TABLES.values():
        kind = (MapType.HASH, table.key_size, table.value_size, 0, 64, Scope.SHARED)
        specs.append(MapSpec(table.name, table.ref, *kind))
    with State.open(tmp_path / "state.db") as state:
        yield Rules(Entries({spec.name: bpf.create_map(spec, 64) for spec in specs}, state))


@pytest.mark.parametrize("zone", [".evil.example", "*.evil.example", "*.", ".example"])
@pytest.mark.parametrize("origin", ["cli", "list:x"])
def test_an_allowed_name_under_a_dropped_zone_leaves_those_below_it_blocked(
    rules: Rules, zone: str, origin: str
) -> None:
    rules.add(f"block {zone}", origin)
    assert rules.said("allow good.evil.example") == [
        (
            f"names below good.evil.example stay blocked by {zone} (origin {origin}):"
            " allow .good.evil.example to let them pass"
        )
    ]


def test_a_dropped_name_under_an_allowed_zone_leaves_those_below_it_allowed(rules: Rules) -> None:
    rules.add("allow .good.example")
    assert rules.said("block bad.good.example") == [
        (
            "names below bad.good.example stay allowed by .good.example (origin cli):"
            " block .bad.good.example to drop them"
        )
    ]


def test_a_zone_that_comes_after_the_allowed_name_says_the_same(rules: Rules) -> None:
    rules.add("allow good.evil.example", "api")
    assert rules.said("block .evil.example") == [
        (
            "names below good.evil.example stay blocked by .evil.example (origin cli):"
            " allow .good.evil.example to let them pass"
        )
    ]


def test_an_allowed_name_of_dnsdists_is_looked_at_too(rules: Rules) -> None:
    rules.add("allow good.evil.example", "dnsdist")
    (said,) = rules.said("block .evil.example")
    assert said.startswith("names below good.evil.example stay blocked")


def test_a_zone_of_the_name_itself_counts(rules: Rules) -> None:
    rules.add("block *.evil.example")
    (said,) = rules.said("allow evil.example")
    assert said.startswith("names below evil.example stay blocked by *.evil.example")


def test_the_longest_zone_decides_and_an_allowed_one_needs_no_warning(rules: Rules) -> None:
    rules.add("block .evil.example")
    rules.add("allow .good.evil.example")
    assert rules.said("allow www.good.evil.example") == []
    assert rules.said("allow good.evil.example") == []


def test_of_two_rules_for_one_zone_allow_wins(rules: Rules) -> None:
    rules.add("block .evil.example")
    rules.add("allow *.evil.example")
    assert rules.said("allow good.evil.example") == []


def test_the_operators_zone_is_asked_before_a_longer_one_of_a_list(rules: Rules) -> None:
    rules.add("allow .example")
    rules.add("block .evil.example", "list:x")
    assert rules.said("allow good.evil.example") == []


@pytest.mark.parametrize(
    ("there", "made"),
    [
        ("block .evil.example", "block bad.evil.example"),
        ("block .evil.example", "truncate bad.evil.example"),
        ("allow .good.example", "allow www.good.example"),
        ("block .evil.example", "allow evil.example.net"),
        ("block .evil.example", "allow xevil.example"),
        ("block .evil.example TXT", "allow good.evil.example A"),
        ("block .evil.example TXT", "allow good.evil.example"),
        ("block .evil.example", "allow .good.evil.example"),
        ("block www.evil.example", "block .evil.example"),
    ],
)
def test_rules_that_do_not_contradict_each_other_have_no_warning(
    rules: Rules, there: str, made: str
) -> None:
    rules.add(there)
    assert rules.said(made) == []


def test_a_zone_of_the_same_type_counts(rules: Rules) -> None:
    rules.add("block .evil.example TXT")
    (said,) = rules.said("allow good.evil.example TXT")
    assert "stay blocked by .evil.example" in said


@pytest.mark.parametrize(
    ("dropped", "allowed"),
    [
        ("block bad.good.example", "allow .good.example"),
        ("block .bad.good.example", "allow .good.example"),
        ("block *.bad.good.example", "allow *.good.example"),
        ("block bad.good.example TXT", "allow .good.example"),
        ("block .good.example TXT", "allow .good.example"),
        ("block good.example", "allow .good.example"),
        ("block good.example TXT", "allow good.example"),
        ("block bad.good.example", "allow .good.example TXT"),
        ("block bad.example", "allow *."),
    ],
)
def test_an_allowed_zone_with_a_more_exact_drop_is_said_not_to_help(
    rules: Rules, dropped: str, allowed: str
) -> None:
    rules.add(dropped)
    texts = [line.split()[1] for line in (allowed, dropped)]
    assert (
        f"allowing {texts[0]} does not help {texts[1]}: that more exact rule (origin cli) drops"
        in rules.said(allowed)
    )


@pytest.mark.parametrize(
    ("dropped", "allowed"),
    [
        ("block .good.example", "allow *.good.example"),
        ("block *.good.example", "allow .good.example"),
        ("block .example", "allow .good.example"),
        ("block good.example", "allow *.good.example"),
        ("truncate bad.good.example", "allow .good.example"),
        ("block bad.good.example A", "allow .good.example TXT"),
        ("block xgood.example", "allow .good.example"),
    ],
)
def test_an_allowed_zone_that_helps_is_not_said_to_be_useless(
    rules: Rules, dropped: str, allowed: str
) -> None:
    rules.add(dropped)
    assert not [said for said in rules.said(allowed) if "does not help" in said]


def test_a_list_is_not_warned_and_does_not_override_the_operator(rules: Rules) -> None:
    rules.add("block bad.good.example", "list:x")
    assert rules.said("allow .good.example") == []
    rules.add("block .evil.example")
    assert rules.said("allow good.evil.example", "list:x") == []


def test_type_65535_of_a_name_is_every_type_of_the_zones_above_it(rules: Rules) -> None:
    """It can be told from every type with --any-qtype 255, but not in our own tables."""
    rules.mode = AnyQtype.LEGACY
    rules.add("allow good.evil.example TYPE65535")
    (said,) = rules.said("block .evil.example")
    assert said.startswith("names below good.evil.example stay blocked by .evil.example")


def test_a_name_that_is_too_deep_for_a_zone_has_no_advice(rules: Rules) -> None:
    rules.add("block .evil.example")
    assert rules.said("allow " + "a." * 15 + "evil.example") == []


def test_an_unreadable_entry_of_the_shared_map_is_passed_over(rules: Rules) -> None:
    key = b"\xff" * 241 + b"\4good\7example\0".ljust(17, b"\0")
    rules.entries.maps[MapName.QNAMES].update(key, encode_value(RuleAction.DROP))
    assert rules.said("allow .good.example") == []


def test_many_zones_at_once_are_found_as_one_is(rules: Rules) -> None:
    rules.add("block bad.z7.example")
    made = [rules.add(f"allow .z{number}.example") for number in range(20)]
    assert list(warnings(rules.entries, made, MODE)) == [
        "allowing .z7.example does not help bad.z7.example: that more exact rule (origin cli) drops"
    ]


def test_the_store_says_it_of_rules_in_our_own_tables(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ledger = Ledger(monkeypatch, tmp_path)
    ledger.put(".evil.example")
    ledger.bulk(["*.bad.example"], "list:x")
    rules = [Rule(parse_target(f"good.{name}.example"), TEXTS["allow"]) for name in ("evil", "bad")]
    assert [said.split(":")[0] for said in ledger.store.put(rules).warnings] == [
        "names below good.evil.example stay blocked by .evil.example (origin cli)",
        "names below good.bad.example stay blocked by *.bad.example (origin list",
    ]
    zone = Rule(parse_target("*.example"), TEXTS["allow"])
    (said,) = ledger.store.put([zone]).warnings
    assert said.startswith("allowing *.example does not help .evil.example")
    ledger.state.close()
