"""What people see: aligned, cut to their terminal, and nothing that moves its cursor."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.cli.render import Table, age, columns, count, listed, printable, share, shortened


@given(st.text())
def test_nothing_unprintable_reaches_a_terminal(text: str) -> None:
    assert printable(text).isprintable()


@given(st.text(alphabet=st.characters(exclude_categories=("C", "Z"))))
def test_printable_text_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text


def test_an_escape_sequence_is_shown_by_its_code() -> None:
    assert printable("a\x1b[2Jb\n") == r"a\x1b[2Jb\n"


@pytest.mark.parametrize(
    ("text", "width"), [("abc", 3), ("bücher", 6), ("名前", 4), ("e\u0301", 1), ("", 0)]
)
def test_the_columns_of_a_text_are_those_of_a_terminal(text: str, width: int) -> None:
    assert columns(text) == width


@given(st.text(alphabet="aü名"), st.integers(min_value=1, max_value=30))
def test_a_shortened_text_fits(text: str, width: int) -> None:
    assert columns(shortened(text, width)) <= width


def test_a_text_that_fits_is_not_shortened() -> None:
    assert shortened("short", 5) == "short"


def test_columns_are_aligned_and_numbers_stand_right() -> None:
    table = Table(["NAME", "HITS", "WHY"], right=frozenset({"HITS"}))

    assert list(table.lines([("a", "1000", "x"), ("longer", "7", "")])) == [
        "NAME    HITS  WHY",
        "a       1000  x",
        "longer     7",
    ]


def test_a_column_of_numbers_may_be_the_last() -> None:
    table = Table(["NAME", "HITS"], right=frozenset({"HITS"}), indent=2)

    assert list(table.lines([("a", "10000")])) == ["  NAME   HITS", "  a     10000"]


def test_the_titles_are_written_once_for_all_pages() -> None:
    table = Table(["NAME", "WHY"])
    first, second = list(table.lines([("a", "x")])), list(table.lines([("b", "y")]))

    assert (first, second) == (["NAME  WHY", "a     x"], ["b     y"])


def test_no_rows_are_no_lines() -> None:
    assert list(Table(["NAME"]).lines([])) == []


def test_the_last_column_is_cut_to_the_terminal() -> None:
    table = Table(["NAME", "WHY"], width=20)

    assert list(table.lines([("name", "a long reason that does not fit")]))[1] == (
        "name  a long reason…"
    )


def test_on_a_narrow_terminal_enough_of_the_last_column_stays() -> None:
    table = Table(["NAME", "WHY"], width=5)

    assert list(table.lines([("name", "a long reason")]))[1] == "name  a long reas…"


def test_a_cell_cannot_move_the_cursor() -> None:
    assert list(Table(["NAME", "WHY"]).lines([("a", "\x1b[31m")]))[1] == r"a     \x1b[31m"


def test_thousands_are_set_apart() -> None:
    assert count(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59.9, "59s"), (61, "1m 1s"), (3661, "1h 1m"), (90061, "1d 1h"), (-5, "0s")],
)
def test_a_stretch_of_time_is_shown_by_its_two_largest_units(seconds: float, text: str) -> None:
    assert age(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 10, "0%"), (1, 1000, "<1%"), (996, 1000, "99%"), (10, 10, "100%"), (0, 0, "-")],
)
def test_a_share_is_full_only_when_it_is(part: int, whole: int, text: str) -> None:
    assert share(part, whole) == text


@pytest.mark.parametrize(
    ("words", "text"), [([], ""), (["a"], "a"), (["a", "b", "c"], "a, b and c")]
)
def test_words_are_listed_as_in_a_sentence(words: list[str], text: str) -> None:
    assert listed(words) == text
