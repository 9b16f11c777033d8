"""Rules as lines, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_store import Ledger
from tests.support.strategies import rules
from xdpctl.abi import MapName, RuleAction, encode_value
from xdpctl.rules import AnyQtype, Rule, book_of, format_rule_line, parse_rule_line, target_text
from xdpctl.store import export as export_module
from xdpctl.store.export import lines_of

if TYPE_CHECKING:
    from pathlib import Path


DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
EACH_MAP = ["192.0.2.1", "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]


OPTIONS = ["", "action=truncate", "action=pass for=10m", 'reason="a flood \\"x\\""', "origin=api"]


def exported(ledger: Ledger, *, everything: bool = False) -> list[str]:
    return list(lines_of(ledger.store.listing, ledger.any_qtype, everything=everything))


def test_an_export_is_imported_as_the_same_rules(ledger: Ledger) -> None:
    """With their actions, reasons, ends and origins, into empty maps as into full ones."""
    lines = [f"{text} {OPTIONS[n]}" for n, text in enumerate(EACH_MAP)]
    lines += ["www.example qtype=AAAA", "bücher.example", "\\000\\255.example", "192.0.2.2 for=5s"]
    ledger.bulk(lines, part=100)
    first = exported(ledger)
    assert ledger.bulk(first, "cli").unchanged == len(lines)
    ledger.store.flush(None, None)
    assert exported(ledger) == []
    ledger.bulk(first, "cli", part=100)
    assert exported(ledger) == first
    assert {rule.origin for line in first if (rule := parse_rule_line(line))} == {"file:x", "api"}


of_ours = st.builds(
    replace,
    rules,
    origin=st.sampled_from(["cli", "file:a b", "list:x", "list:y"]),
    reason=st.sampled_from(["", 'say "no" \\ #1']),
    expires_in=st.none() | st.integers(60, 600),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(of_ours, max_size=8, unique_by=lambda rule: (rule.target, book_of(rule.origin))))
def test_whatever_is_exported_is_imported_as_the_same_rules(
    ledger: Ledger, made: list[Rule]
) -> None:
    """In both books: zones, names, addresses and prefixes."""
    ledger.store.flush(None, None)
    ledger.bulk([format_rule_line(rule) for rule in made], "cli", part=100)
    first = exported(ledger)
    assert {parse_rule_line(line) for line in first} == set(made)
    assert ledger.bulk(first, "cli").unchanged == len(made)
    ledger.store.flush(None, None)
    assert exported(ledger) == []
    ledger.bulk(first, "cli", part=100)
    assert exported(ledger) == first


@pytest.mark.parametrize("mode", list(AnyQtype))
def test_exported_lines_are_those_of_the_rules(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: AnyQtype
) -> None:
    ledger = Ledger(monkeypatch, tmp_path, any_qtype=mode)
    lines = [f"{text} {OPTIONS[n]}" for n, text in enumerate(EACH_MAP)]
    ledger.bulk(lines, part=100)
    wanted = {
        target_text(rule.target): rule
        for line in lines
        if (rule := parse_rule_line(line, "file:x"))
    }
    found = {
        target_text(rule.target): rule
        for line in exported(ledger)
        if (rule := parse_rule_line(line))
    }
    assert found == wanted
    ledger.state.close()


def test_an_export_has_dnsdists_entries_where_asked(ledger: Ledger) -> None:
    ledger.bulk(["192.0.2.1"])
    ledger.dnsdist("192.0.2.2", action=TRUNCATE)
    ledger.dnsdist("www.example")
    assert exported(ledger) == ["192.0.2.1 action=drop origin=file:x"]
    assert exported(ledger, everything=True) == [
        "192.0.2.1 action=drop origin=file:x",
        "192.0.2.2 action=truncate origin=dnsdist",
        "www.example action=drop origin=dnsdist",
    ]


def test_an_export_leaves_out_what_is_gone_and_what_is_anothers(ledger: Ledger) -> None:
    ledger.bulk(["192.0.2.1", "192.0.2.2", "192.0.2.3"])
    ledger.hit("192.0.2.1", 5)
    ledger.store.settle()
    ledger.dnsdist("192.0.2.1", hits=1)
    ledger.vanish("192.0.2.2")
    assert exported(ledger, everything=True) == [
        "192.0.2.3 action=drop origin=file:x",
        "192.0.2.1 action=drop origin=dnsdist",
    ]


def test_an_export_says_the_time_that_is_left_at_least_a_second(ledger: Ledger) -> None:
    ledger.bulk(["192.0.2.1 for=10m", "192.0.2.2 for=90s"])
    ledger.pass_time(89.5)
    assert [line.split()[2] for line in exported(ledger)] == ["for=8m31s", "for=1s"]
    ledger.pass_time(1)
    assert "for=1s" in exported(ledger)[1]


def test_a_key_that_no_packet_matches_is_no_line(ledger: Ledger) -> None:
    ledger.entries(MapName.QNAMES)[b"\xff" * 258] = encode_value(DROP)
    assert exported(ledger, everything=True) == []


def test_ever_other_reasons_are_not_all_kept(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "_LINES_KEPT", 2)
    ledger.bulk([f"192.0.2.{n} reason=r{n}" for n in range(9)])
    assert [line.split()[2] for line in exported(ledger)] == [f'reason="r{n}"' for n in range(9)]
