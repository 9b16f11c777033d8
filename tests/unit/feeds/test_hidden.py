"""Names inside wildcards: those that can need a rule, and not without a bound."""

from __future__ import annotations

import pytest

from xdpctl.abi import TABLE_LEVELS, ZoneScope
from xdpctl.errors import ListError
from xdpctl.feeds.formats import hidden as hidden_module
from xdpctl.feeds.formats.hidden import HiddenNames
from xdpctl.feeds.formats.policies import depth_of


def octets(text: str) -> bytes:
    return b"".join(bytes((len(label),)) + label.encode() for label in text.split("."))


def test_names_that_cannot_be_rules_are_not_kept() -> None:
    names = HiddenNames()
    names.add_wildcard(octets("x.y"), stops=True)
    for number in range(100):
        names.see(octets("a." * 110 + f"n{number}.x.y"), has_rule=True)
    assert len(names._inside) == 100 * (TABLE_LEVELS - 2)
    found = [*names.passes()]
    assert max(depth_of(name) for name, scope in found if scope is ZoneScope.BELOW) == TABLE_LEVELS


def test_the_name_right_below_the_deepest_wildcard_still_passes() -> None:
    deepest = ".".join("a" * TABLE_LEVELS)
    names = HiddenNames()
    names.add_wildcard(octets(deepest), stops=True)
    names.see(octets(f"c.b.{deepest}"), has_rule=True)
    assert [*names.passes()] == [
        (octets(f"b.{deepest}"), ZoneScope.BELOW),
        (octets(f"b.{deepest}"), ZoneScope.SELF),
    ]


def test_names_inside_wildcards_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hidden_module, "INSIDE_MAX", 10)
    names = HiddenNames()
    names.add_wildcard(b"", stops=True)
    for number in range(10):
        names.see(octets(f"n{number}"), has_rule=True)
    with pytest.raises(ListError, match="more than 10 of its names are inside its wildcards"):
        names.see(octets("one-more"), has_rule=True)
