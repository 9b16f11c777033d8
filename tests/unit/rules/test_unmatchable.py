"""Text that no packet could match is not read as a target: it is an error."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import names
from xdpctl.errors import TargetError
from xdpctl.rules import AnyQtype, parse_target, target_text
from xdpctl.rules.keys import plain_place

FOREIGN = "!\"#$%&'()*+,/:;<=>?@[]^`{|}~ "

OTHER_SYNTAXES = [
    "a.*.example",
    "ads*.example",
    "192.0.2.*",
    "||ads.example^",
    "@@||good.example^",
    "example.org##.banner",
    "local=/ads.example/",
    "address=/ads.example/0.0.0.0",
    "ads.example/path",
    "https://ads.example/",
    "user@ads.example",
    "@blocked.txt",
    "$TTL",
    "ads.example:53",
    "a.example,b.example",
    "a.example;",
    "192.0.2.66#note",
    "<html>",
    "[Adblock",
    "{a}.example",
    "what?.example",
]

NUMBERS_AND_RANGES = [
    "203.0.113.1-9",
    "203.0.113.1-",
    "203.0.113.1-203.0.113.9",
    "1-9",
    ".1-9",
    "*.1-9",
    "0x7f000001",
    "0X7F000001",
    "192.0.2.0x42",
    "127.1",
    "2130706433",
    "192.0.2.x",
    "192.0.2.X.",
    "10.x.x.x",
    "*.192.0.2.x",
    "a.example.1-9.",
    "AS64500",
    "as64500.",
    "*.as64500",
]


@pytest.mark.parametrize("text", OTHER_SYNTAXES + NUMBERS_AND_RANGES)
def test_it_is_no_target_and_the_error_quotes_it(text: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse_target(text)
    assert caught.value.text == text
    assert repr(text) in caught.value.sentence
    assert plain_place(text, AnyQtype.NEW) is None


@given(st.sampled_from(FOREIGN), st.sampled_from(["a{}b.example", "a.b{}", "{}a.example"]))
def test_a_character_of_another_syntax_is_read_only_as_an_escape(
    character: str, shape: str
) -> None:
    with pytest.raises(TargetError):
        parse_target(shape.format(character))
    escaped = shape.format(f"\\{ord(character):03d}")
    assert target_text(parse_target(escaped)) == escaped


@pytest.mark.parametrize(
    "text",
    [
        "1-9.example",
        "as64500.example",
        "as",
        "as1x",
        "a1-9",
        "x.example",
        "1.x.example",
        "0x7g",
        "_dmarc.a-b",
        "x",
        "xn--p1ai",
    ],
)
def test_a_name_that_only_resembles_one_is_read(text: str) -> None:
    assert target_text(parse_target(text)) == text


@given(names)
def test_any_name_can_be_written(name: object) -> None:
    assert parse_target(name.to_text()).name == name  # type: ignore[attr-defined,union-attr]


@pytest.mark.parametrize(
    "text", ["::ffff:192.0.2.66", "::FFFF:c000:242", "0:0:0:0:0:ffff:192.0.2.66"]
)
def test_a_mapped_address_is_the_address_that_packets_have(text: str) -> None:
    assert target_text(parse_target(text)) == "192.0.2.66"
    assert plain_place(text, AnyQtype.NEW) is None


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:c000:200/120", "192.0.2.0/24"),
        ("::ffff:0.0.0.0/96", "0.0.0.0/0"),
    ],
)
def test_a_mapped_prefix_is_the_prefix_that_packets_have(text: str, prefix: str) -> None:
    assert target_text(parse_target(text)) == prefix
    assert plain_place(text, AnyQtype.NEW) is None
