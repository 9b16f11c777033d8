"""Lines to rows: the short way says what the long way says, for any text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support import strategies as values
from xdpctl import abi
from xdpctl.abi import TABLES
from xdpctl.errors import TargetError
from xdpctl.rules import (
    DNSDIST_ORIGIN,
    AnyQtype,
    Question,
    Target,
    Zone,
    key_of,
    map_of,
    parse_rule_line,
    parse_target,
    qtype_of,
    target_of,
    target_text,
)
from xdpctl.rules.comments import reason_of, split
from xdpctl.rules.keys import (
    NO_END,
    NO_REASON,
    REFS,
    Block,
    Row,
    book_of,
    each_row,
    full_key,
    place_of,
    plain_place,
    plain_text,
    stored_key,
    stored_place,
)
from xdpctl.rules.lines import LineReader, in_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NOW = 1000.0
LISTS = abi.Book.LISTS
books = st.sampled_from(abi.Book)

labels = (
    st.text("abXYZ019-_*", max_size=5)
    | st.sampled_from(
        ["x" * 63, "x" * 64, "xn--bcher-kva", "xn--a", "bücher", "@", "1", "255", "01", "\\046"]
    )
    | st.sampled_from(["1-9", "0x7f", "x", "X", "-", "192", "a1-9"])
)
names = st.lists(labels, min_size=1, max_size=6).map(".".join)
long_names = st.lists(st.text("ab", min_size=50, max_size=63), min_size=3, max_size=5).map(".".join)
v4 = st.lists(st.sampled_from(["0", "1", "01", "9", "255", "256", "", " 1", "+1", "\u0661"]))
v6 = st.text("0123456789abcdefABCDEFg:.%/", max_size=24)
targets = st.one_of(
    names,
    long_names,
    st.builds(str.__add__, st.sampled_from([".", "*.", "*", "..", "**."]), names | long_names),
    names.map(lambda text: text + "."),
    v4.map(".".join),
    st.ip_addresses().map(str),
    v6,
    v6.map(lambda text: ":" + text),
    st.text(max_size=12),
    values.targets.map(target_text),
)


@given(
    targets,
    st.sampled_from([None, "", "A", "ANY", "TYPE65535", "no"]),
    st.sampled_from(AnyQtype),
    books,
)
@example("1.2.3.4\0", None, AnyQtype.BOTH, abi.Book.LISTS)
@example("\ud800", None, AnyQtype.BOTH, abi.Book.OPERATOR)
@example("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 61, None, AnyQtype.NEW, LISTS)
@example("a" * 63 + "." + "b" * 63 + "." + "c" * 63 + "." + "d" * 62, None, AnyQtype.NEW, LISTS)
@example("." + "a." * 16, None, AnyQtype.NEW, LISTS)
@example("." + "a." * 17, None, AnyQtype.NEW, LISTS)
@example("*." + "a." * 17, None, AnyQtype.NEW, abi.Book.OPERATOR)
@example("a." * 17, None, AnyQtype.NEW, LISTS)
@example("example\n", None, AnyQtype.NEW, LISTS)
@example(".example\n", None, AnyQtype.NEW, LISTS)
@example("example.7", None, AnyQtype.NEW, LISTS)
@example(".example.7.", None, AnyQtype.NEW, LISTS)
@example(".", None, AnyQtype.NEW, LISTS)
@example("*.", None, AnyQtype.NEW, LISTS)
@example("..", None, AnyQtype.NEW, LISTS)
@example("::ffff:192.0.2.1", None, AnyQtype.NEW, LISTS)
def test_a_place_is_that_of_the_parsed_target(
    text: str, qtype: str | None, any_qtype: AnyQtype, book: abi.Book
) -> None:
    wanted: tuple[int, bytes] | str
    try:
        target = parse_target(text, qtype)
        ref = REFS[map_of(target, book)]
        wanted = ref, stored_key(ref, key_of(target, any_qtype, book))
    except TargetError as error:
        wanted = error.sentence
    try:
        found: tuple[int, bytes] | str = place_of(text, qtype, any_qtype, book)
    except TargetError as error:
        found = error.sentence
    assert found == wanted


@given(targets, st.sampled_from(AnyQtype), books)
def test_a_stored_key_is_found_again(text: str, any_qtype: AnyQtype, book: abi.Book) -> None:
    try:
        ref, stored = place_of(text, None, any_qtype, book)
    except TargetError:
        return
    key = full_key(ref, stored)
    assert stored_key(ref, key) == stored
    assert target_of(abi.BY_REF[ref].name, key, any_qtype) == parse_target(text)


@given(values.targets, books, st.sampled_from(AnyQtype))
@example(parse_target(r"a\046b.example"), LISTS, AnyQtype.NEW)
@example(parse_target(r"example.\049"), LISTS, AnyQtype.NEW)
@example(parse_target("."), LISTS, AnyQtype.NEW)
@example(parse_target("4ff::1"), abi.Book.OPERATOR, AnyQtype.NEW)
@example(parse_target(r"_\000"), LISTS, AnyQtype.NEW)
def test_a_plain_text_is_that_of_the_target_or_none(
    target: Target, book: abi.Book, any_qtype: AnyQtype
) -> None:
    place = stored_place(target, any_qtype, book)
    if (text := plain_text(*place, any_qtype)) is not None:
        assert text == target_text(target)
        assert qtype_of(target) is None


@given(targets, books, st.sampled_from(AnyQtype))
def test_what_has_a_plain_place_has_a_plain_text(
    text: str, book: abi.Book, any_qtype: AnyQtype
) -> None:
    place = plain_place(text, any_qtype, book)
    if place is not None and isinstance(parse_target(text), Question | Zone):
        assert plain_text(*place, any_qtype) == target_text(parse_target(text))


@given(values.targets, books, st.sampled_from(AnyQtype))
def test_every_target_of_both_books_is_found_again_by_its_stored_key(
    target: Target, book: abi.Book, any_qtype: AnyQtype
) -> None:
    ref, stored = stored_place(target, any_qtype, book)
    key = full_key(ref, stored)
    assert len(key) == abi.BY_REF[ref].key_size
    assert target_of(abi.BY_REF[ref].name, key, any_qtype) == target


@given(
    st.binary(min_size=258, max_size=258) | st.binary(max_size=9).map(lambda b: b.ljust(258, b"\0"))
)
def test_any_key_of_the_names_map_is_found_again(key: bytes) -> None:
    ref = abi.MAPS[abi.MapName.QNAMES].ref
    assert full_key(ref, stored_key(ref, key)) == key


def long_way(line: str, reader_origin: str, any_qtype: AnyQtype) -> Row | str | None:
    """Return what rules/rules.py makes of a line, as a row."""
    try:
        content, comment = split(line)
        rule = parse_rule_line(content, reader_origin)
        if rule is None or rule.origin == DNSDIST_ORIGIN:
            return None
        book = book_of(rule.origin)
        ref = REFS[map_of(rule.target, book)]
        mode = AnyQtype.NEW if map_of(rule.target, book) in TABLES else any_qtype
        key = stored_key(ref, key_of(rule.target, mode, book))
    except TargetError as error:
        return error.sentence
    silent = None if rule.keeps_end else NO_END
    expires = silent if rule.expires_in is None else NOW + rule.expires_in
    reason = rule.reason or reason_of(comment) or ("" if rule.keeps_reason else NO_REASON)
    return ref, key, int(rule.action), reason, expires, rule.origin


options = st.lists(
    st.sampled_from(
        [
            "action=drop",
            "action=pass",
            "action=no",
            "qtype=A",
            "qtype=ANY",
            "for=10m",
            "for=0s",
            'reason="a b"',
            "reason=x",
            "origin=api",
            "origin=list:x",
            "origin=dnsdist",
            "origin=x",
            "# why",
            "#",
            "junk",
        ]
    ),
    max_size=3,
)
blanks = st.sampled_from([" ", " ", " ", "  ", "\t", "\xa0", "\x0b", ""])
some_targets = st.sampled_from(
    ["192.0.2.1", "2001:db8::1", "www.example", ".example", "*.example", "10.0.0.0/8", "#", '"x"']
)
lines = st.builds(
    lambda start, target, blank, rest, end: start + target + blank + " ".join(rest) + end,
    st.sampled_from(["", " ", "\t", "\x0c"]),
    some_targets | targets,
    blanks,
    options,
    st.sampled_from(["", "\r", " ", "\t", "\n"]),
)


@given(st.lists(lines, max_size=6), st.sampled_from(AnyQtype))
@example(["192.0.2.1\taction=truncate reason=x", "192.0.2.2 reason=x"], AnyQtype.NEW)
@example(["www.example qtype=A", "mail.example qtype=A"], AnyQtype.NEW)
@example(["www.example reason=x", "192.0.2.1 reason=x"], AnyQtype.NEW)
@example(["192.0.2.1 origin=dnsdist", "192.0.2.2 origin=dnsdist"], AnyQtype.NEW)
@example(["192.0.2.1", "192.0.2.1 "], AnyQtype.NEW)
def test_each_line_is_read_as_alone_whatever_was_read_before(
    text: list[str], any_qtype: AnyQtype
) -> None:
    reader = LineReader("file:x", any_qtype, NOW)
    for line in text:
        found: Row | str | None
        try:
            found = next(reader.rows([line]), None)
        except TargetError as error:
            found = error.sentence.removeprefix("line 1: ")
        assert found == long_way(line, "file:x", any_qtype)


@pytest.mark.parametrize(
    ("origin", "maps"),
    [
        ("file:x", ["addr-v4", "cidr6", "qnames", "zones", "zones"]),
        ("list:x", ["list-sources", "list-sources", "list-names", "list-names", "list-names"]),
    ],
)
def test_the_origin_decides_the_book_and_so_the_map(origin: str, maps: list[str]) -> None:
    reader = LineReader(origin, AnyQtype.BOTH, NOW)
    text = ["192.0.2.1", "2001:db8::/32", "www.example", ".example", "*.example"]
    assert [abi.BY_REF[row[0]].name for row in reader.rows(text)] == maps


def test_a_fixed_origin_is_that_of_every_line_and_of_its_book() -> None:
    reader = LineReader("list:x", AnyQtype.BOTH, NOW, fixed=True)
    text = ["192.0.2.1 origin=cli", "192.0.2.2 origin=cli", "192.0.2.3 origin=list:y"]
    rows = list(reader.rows(text))
    assert [(abi.BY_REF[row[0]].name, row[5]) for row in rows] == [("list-sources", "list:x")] * 3


def test_what_is_dnsdists_is_skipped_and_counted() -> None:
    reader = LineReader("cli", AnyQtype.BOTH, NOW)
    text = ["192.0.2.1 origin=dnsdist", "192.0.2.2", "www.example qtype=A origin=dnsdist"]
    assert (len(list(reader.rows(text))), reader.skipped) == (1, 2)


def test_an_error_names_the_line_the_text_and_the_field() -> None:
    reader = LineReader("cli", AnyQtype.BOTH, NOW)
    with pytest.raises(TargetError, match=r"^line 12: ") as caught:
        list(reader.rows(["192.0.2.1", "", "192.0.2.2 action=block"], first=10))
    assert (caught.value.text, caught.value.field) == ("block", "action")


def test_a_type_with_an_address_is_refused_as_it_was_written() -> None:
    reader = LineReader("cli", AnyQtype.BOTH, NOW)
    with pytest.raises(TargetError) as caught:
        list(reader.rows(["www.example qtype=AAAA", "192.0.2.1 qtype=AAAA"]))
    assert caught.value.text == "AAAA"


def test_lines_with_ever_other_options_are_not_all_kept() -> None:
    reader = LineReader("cli", AnyQtype.BOTH, NOW)
    count = sum(1 for _ in reader.rows(f"192.0.2.1 reason=r{n}" for n in range(1500)))
    assert (count, len(reader._options)) == (1500, 1000)


plain_lines = st.lists(
    st.one_of(
        st.ip_addresses(v=4).map(str),
        st.ip_addresses().map(str),
        st.sampled_from(["198.51.100.0/24", "198.51.100.1/24", "2001:db8::/32", "10.0.0.0/08"]),
        st.sampled_from(["1.2.3.4/33", "::/129", "1.2.3.4/1\u0661", "a/24", "1.2.3.4/", "/8"]),
        names,
        names.map(".{}".format),
        st.sampled_from(["", "# a comment", "192.0.2.1\r", "192.0.2.1#no", "192.0.2.1\t", "٣"]),
        st.sampled_from(["192.0.2.1 action=pass", "www.example for=1m", "192.0.2.7 reason=1"]),
    ),
    max_size=8,
)


@given(parts=st.lists(plain_lines, max_size=3), origin=st.sampled_from(["cli", "list:x"]))
@example(parts=[["192.0.2.1\r", "192.0.2.1#no"]], origin="cli")
@example(parts=[["www.example", "www.example;no"]], origin="cli")
@example(parts=[["192.0.2.1\r", "192.0.2.1//no"]], origin="list:x")
def test_blocks_have_the_rows_that_the_lines_have(parts: list[list[str]], origin: str) -> None:
    plain = LineReader(origin, AnyQtype.BOTH, NOW)
    other = LineReader(origin, AnyQtype.BOTH, NOW)
    for part in [["192.0.2.99"], *parts]:
        expected, error = _read(plain.rows(part, 5))
        found, same = _read(each_row(other.items("\n".join(part), 5)))
        assert same == error
        if error:
            return
        assert sorted(found, key=repr) == sorted(expected, key=repr)
        assert dict(_last(found)) == dict(_last(expected))


def _read(rows: Iterable[Row]) -> tuple[list[Row], str]:
    try:
        return list(rows), ""
    except TargetError as error:
        return [], error.sentence


def _last(rows: list[Row]) -> Iterator[tuple[tuple[int, bytes], Row]]:
    """Yield each row by its place: of a place that comes twice the last."""
    return ((row[:2], row) for row in rows)


def test_a_part_with_nothing_but_targets_is_a_block_for_each_map() -> None:
    reader = LineReader("list:x", AnyQtype.BOTH, NOW)
    list(reader.items("192.0.2.1"))
    items = list(reader.items("192.0.2.2\n192.0.2.3\nwww.example\n.evil.example\n192.0.2.4"))
    assert [(type(item), len(getattr(item, "keys", ""))) for item in items] == [
        (Block, 3),
        (Block, 2),
    ]


few_rows = st.lists(
    st.tuples(
        st.sampled_from([1, 3, 26]),
        st.binary(min_size=1, max_size=1),
        st.integers(0, 1),
        st.just(""),
        st.none(),
        st.just("cli"),
    ),
    max_size=60,
)


@given(rows=few_rows)
def test_rows_in_blocks_are_the_same_rows_and_of_a_place_the_last_is_the_same(
    rows: list[Row],
) -> None:
    found = list(each_row(in_blocks(rows)))
    assert sorted(found) == sorted(rows)
    assert dict(_last(found)) == dict(_last(rows))


def test_only_rows_that_are_alike_and_many_become_a_block() -> None:
    alike: list[Row] = [(1, bytes([n]), 1, "", None, "cli") for n in range(20)]
    other: Row = (1, b"x", 0, "", None, "cli")
    kinds = [type(item) for item in in_blocks([*alike, other, *alike[:3], other, *alike])]
    assert kinds == [Block, tuple, tuple, tuple, tuple, tuple, Block]
