"""The owners of RPZ records: each target has the one that our reader, and BIND, read as it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given

from tests.support.strategies import addresses, names, networks, zone_names
from tests.unit.feeds.test_rpz import HEAD, read
from xdpctl.abi import RuleAction, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.owners import (
    InexpressibleError,
    name_of,
    owner_text,
    owner_wire,
    owners_of,
)
from xdpctl.rules import Name, Question, Zone, parse_target

if TYPE_CHECKING:
    from xdpctl.rules import Target

ZONE = Name.from_text("rpz.example")


def texts(text: str, qtype: str | None = None) -> list[str]:
    """Return the owners of a target as a zone file has them."""
    return [owner_text(owner) for owner in owners_of(parse_target(text, qtype), ZONE)]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("evil.example", ["evil.example"]),
        ("*.evil.example", ["*.evil.example"]),
        (".evil.example", ["evil.example", "*.evil.example"]),
        ("*.", ["*"]),
        ("\\064.example", ["\\064.example"]),
        ("a.b\\045.\\049\\050", ["a.b-.\\0492"]),
        ("192.0.2.1", ["32.1.2.0.192.rpz-client-ip"]),
        ("192.0.2.0/24", ["24.0.2.0.192.rpz-client-ip"]),
        ("2001:db8::1", ["128.1.zz.db8.2001.rpz-client-ip"]),
        ("2001:db8::/32", ["32.zz.db8.2001.rpz-client-ip"]),
        ("2001:db8:0:1:2:3:4:5", ["128.5.4.3.2.1.0.db8.2001.rpz-client-ip"]),
        ("2001:0:0:1:0:0:2:3", ["128.3.2.0.0.1.zz.2001.rpz-client-ip"]),
        ("::/1", ["1.zz.rpz-client-ip"]),
    ],
)
def test_a_target_has_the_owner_of_the_draft(target: str, expected: list[str]) -> None:
    assert texts(target) == expected


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        (".", "rules for the root itself"),
        ("0.0.0.0/0", "rules for every address"),
        ("::/0", "rules for every address"),
        ("\\042.example", "names with a star as a label"),
        ("*.\\042.example", "names with a star as a label"),
        ("a.rpz-client-ip", "names that end like a trigger of RPZ"),
        (".rpz-nsdname", "names that end like a trigger of RPZ"),
        (".".join(["x" * 60] * 4), "names that are too long below the zone"),
    ],
)
def test_what_no_record_means_is_refused(target: str, kind: str) -> None:
    with pytest.raises(InexpressibleError, match="as a record of an RPZ zone") as caught:
        owners_of(parse_target(target), ZONE)
    assert caught.value.kind == kind


def test_a_query_type_is_refused_with_what_helps() -> None:
    with pytest.raises(InexpressibleError, match="leave out the type"):
        texts("evil.example", "TXT")


@given(addresses | networks)
def test_our_reader_reads_an_address_back(target: Target) -> None:
    try:
        (owner,) = owners_of(target, ZONE)
    except InexpressibleError:
        assert str(target).endswith("/0")
        return
    text = str(target)  # a full prefix is read as the address
    expected = parse_target(text.removesuffix("/32" if "." in text else "/128"))
    assert read(f"{HEAD}{owner_text(owner)} CNAME rpz-drop.\n") == [(expected, RuleAction.DROP)]


@given(names)
def test_our_reader_reads_a_name_back(name: Name) -> None:
    try:
        (owner,) = owners_of(Question(name), ZONE)
    except InexpressibleError:
        return
    assert read(f"{HEAD}{owner_text(owner)} CNAME rpz-drop.\n") == [
        (Question(name), RuleAction.DROP)
    ]
    assert owner_wire(owner, ZONE) == name.wire[:-1] + ZONE.wire
    assert name_of(owner) == name


@given(zone_names)
def test_our_reader_reads_a_wildcard_back(name: Name) -> None:
    zone = Zone(name, None, ZoneScope.BELOW)
    try:
        (owner,) = owners_of(zone, ZONE)
    except InexpressibleError:
        return
    assert read(f"{HEAD}{owner_text(owner)} CNAME rpz-drop.\n") == [(zone, RuleAction.DROP)]


def test_the_error_is_a_targets() -> None:
    with pytest.raises(TargetError) as caught:
        texts("a.example", "A")
    assert caught.value.text == "a.example"
