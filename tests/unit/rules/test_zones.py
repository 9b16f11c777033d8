"""Zones as targets: what their text means, what is refused, and what they are written as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import zones
from xdpctl.abi import Book, MapName, ZoneScope
from xdpctl.errors import TargetError
from xdpctl.rules import (
    AnyQtype,
    Name,
    Question,
    Target,
    Zone,
    book_of,
    key_of,
    map_of,
    parse_target,
    target_of,
    target_text,
)
from xdpctl.rules.targets import ROOT

ALL, BELOW = ZoneScope.ALL, ZoneScope.BELOW
EVIL = Name(b"\4evil\7example\0")
FORMS = r"\*\.evil\.example .*\.evil\.example .*evil\.example .*\\042"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (".evil.example", Zone(EVIL, None, ALL)),
        (".Evil.EXAMPLE.", Zone(EVIL, None, ALL)),
        ("*.evil.example", Zone(EVIL, None, BELOW)),
        ("*.evil.example.", Zone(EVIL, None, BELOW)),
        ("evil.example", Question(EVIL)),
        (r"\042.evil.example", Question(Name(b"\1*\4evil\7example\0"))),
        (r"*.\042.evil.example", Zone(Name(b"\1*\4evil\7example\0"), None, BELOW)),
        (".example", Zone(Name(b"\7example\0"), None, ALL)),
        (".bücher.example", Zone(Name(b"\x0dxn--bcher-kva\7example\0"), None, ALL)),
        ("*.", Zone(ROOT, None, BELOW)),
        (".", Question(ROOT)),
        ("." + "a." * 16, Zone(Name(b"\1a" * 16 + b"\0"), None, ALL)),
    ],
)
def test_a_dot_or_a_star_and_a_dot_in_front_make_a_zone(text: str, target: Target) -> None:
    assert parse_target(text) == target


def test_a_zone_may_have_a_type_like_a_name() -> None:
    assert parse_target(".evil.example", "TXT") == Zone(EVIL, 16, ALL)


@pytest.mark.parametrize(
    ("text", "target"),
    [("evil.example", Zone(EVIL, None, ALL)), (".evil.example", Zone(EVIL, None, ALL))],
)
def test_the_option_zone_stands_for_the_dot_in_front(text: str, target: Target) -> None:
    assert parse_target(text, zone=True) == target


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("192.0.2.1", "leave out --zone"),
        ("2001:db8::/32", "leave out --zone"),
        ("*.evil.example", "leave out --zone"),
        (".", r"write \*\. for every name below the root"),
    ],
)
def test_the_option_zone_with_what_is_no_bare_name_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(TargetError, match=sentence) as caught:
        parse_target(text, zone=True)
    assert caught.value.text == text


@pytest.mark.parametrize(
    "text",
    [
        "a.*.example",
        "*evil.example",
        "evil*.example",
        "evil.*",
        "*",
        "**.example",
        "*.*.example",
        ".*.example",
        "*.a.*",
        "a*b",
    ],
)
def test_a_star_anywhere_else_is_refused_with_the_three_forms(text: str) -> None:
    with pytest.raises(TargetError, match=FORMS) as caught:
        parse_target(text)
    assert caught.value.text == text


@pytest.mark.parametrize("text", ["..", "..example", "*..", "*..example", ".a..example", ". a"])
def test_a_zone_with_an_empty_label_or_a_blank_is_refused_whole(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.text == text
    assert repr(text) in caught.value.sentence


@pytest.mark.parametrize("text", ["." + "a." * 17, "*." + "a." * 17])
def test_a_zone_of_more_than_16_labels_is_refused_and_never_cut(text: str) -> None:
    with pytest.raises(TargetError, match=r"17 labels, and a zone can have at most 16"):
        parse_target(text)


def test_a_zone_that_ends_like_an_address_is_an_address_or_an_error() -> None:
    with pytest.raises(TargetError, match="no names below it"):
        parse_target(".192.0.2.1")


@given(zones)
def test_a_zone_and_its_exact_name_are_three_targets(zone: Zone) -> None:
    texts = {target_text(zone), target_text(Question(zone.name, zone.qtype))}
    if zone.name != ROOT:
        texts |= {target_text(Zone(zone.name, zone.qtype, scope)) for scope in (ALL, BELOW)}
    assert len(texts) == (2 if zone.name == ROOT else 3)


@given(zones, st.sampled_from(Book), st.sampled_from(AnyQtype))
def test_a_zone_is_in_no_shared_map(zone: Zone, book: Book, any_qtype: AnyQtype) -> None:
    name = map_of(zone, book)
    assert name is (MapName.ZONES if book is Book.OPERATOR else MapName.LIST_NAMES)
    assert target_of(name, key_of(zone, any_qtype, book), any_qtype) == zone


@pytest.mark.parametrize("origin", ["cli", "api", "file:list:x", "file:x"])
def test_operators_and_programs_write_into_the_operators_book(origin: str) -> None:
    assert book_of(origin) is Book.OPERATOR


def test_lists_have_a_book_of_their_own() -> None:
    assert book_of("list:x") is Book.LISTS


@pytest.mark.parametrize("mode", AnyQtype)
def test_a_zone_of_every_type_is_written_alike_in_every_mode(mode: AnyQtype) -> None:
    assert key_of(Zone(EVIL), mode) == key_of(Zone(EVIL), AnyQtype.NEW)


@pytest.mark.parametrize("mode", AnyQtype)
@pytest.mark.parametrize("target", [Zone(EVIL, 65535), Question(EVIL, 65535)])
def test_type_65535_is_refused_in_our_own_tables(target: Target, mode: AnyQtype) -> None:
    with pytest.raises(TargetError, match="blocks every type"):
        key_of(target, mode, Book.LISTS)


@pytest.mark.parametrize("mode", [AnyQtype.BOTH, AnyQtype.LEGACY])
def test_type_any_of_a_zone_is_refused_as_that_of_a_name(mode: AnyQtype) -> None:
    with pytest.raises(TargetError, match=r" of \.evil.*every type.*--any-qtype 65535"):
        key_of(Zone(EVIL, 255), mode)


def test_an_entry_of_zones_with_an_exact_name_matches_nothing() -> None:
    key = key_of(Question(EVIL), AnyQtype.BOTH, Book.LISTS)
    with pytest.raises(TargetError, match="nothing matches it"):
        target_of(MapName.ZONES, key, AnyQtype.BOTH)
