"""Where a comment begins, and that it is a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import targets
from xdpctl.rules import parse_reason, target_text
from xdpctl.rules.comments import content_of, reason_of, split, split_anywhere, split_behind_blank

MARKS = st.sampled_from(["#", ";", "//"])


@pytest.mark.parametrize(
    ("line", "content", "comment"),
    [
        ("192.0.2.1", "192.0.2.1", ""),
        ("192.0.2.1#note", "192.0.2.1", "#note"),
        ("192.0.2.0/24;SBL1", "192.0.2.0/24", ";SBL1"),
        ("a.example//note", "a.example", "//note"),
        ("a.example \t// note", "a.example", "// note"),
        ("http://a.example/", "http://a.example/", ""),
        ("example.org##.banner", "example.org##.banner", ""),
        ("example.org#@#.banner", "example.org#@#.banner", ""),
        ('192.0.2.1 reason="a ; b" ; c', '192.0.2.1 reason="a ; b"', "; c"),
        ('192.0.2.1 reason="a # b', '192.0.2.1 reason="a # b', ""),
        (r"a\;b.example;x", r"a\;b.example", ";x"),
        ("a.example origin=file:a#b", "a.example origin=file:a#b", ""),
        ("  # all of it", "", ""),
        ("\ufeff; all of it", "", ""),
        ("\ufeffa.example", "a.example", ""),
    ],
)
def test_a_comment_begins_where_no_target_can_go_on(line: str, content: str, comment: str) -> None:
    assert split(line) == (content, comment)


@given(targets, MARKS, st.text(st.characters(exclude_characters="\n\r"), max_size=300))
def test_a_comment_behind_any_target_leaves_the_target(
    target: object, mark: str, comment: str
) -> None:
    text = target_text(target)  # type: ignore[arg-type]
    assert split(f"{text} {mark}{comment}")[0] == text
    is_address = mark == "//" and text.endswith(":")  # as in https://
    if comment[:1] not in set("#@$?%") and not is_address:  # AdBlock's cosmetic rules
        assert split(f"{text}{mark}x{comment}")[0] == text


@given(st.text(max_size=400))
def test_any_text_is_a_reason_or_leaves_none(comment: str) -> None:
    reason = reason_of(comment)
    assert parse_reason(reason) == reason
    assert reason == reason.strip()


@pytest.mark.parametrize("read", [split, split_anywhere, split_behind_blank])
@given(line=st.text(max_size=100))
def test_any_line_is_content_and_comment(read: object, line: str) -> None:
    content, comment = read(content_of(line))  # type: ignore[operator]
    assert content_of(content) in {content, ""}
    assert content + comment == content_of(line) or comment.startswith(("#", ";", "//"))


@pytest.mark.parametrize("line", ["x" + " " * 2**20 + "y # z", '"' * 2**17, "#" * 2**20])
def test_a_long_line_takes_no_longer_than_it_is(line: str) -> None:
    """Each of these would take minutes if a step looked at the rest of the line again."""
    split(line)
    split_anywhere(line)
