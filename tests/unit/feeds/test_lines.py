"""Lists of a line each: every line is a rule, a comment, left out, or an error."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import networks, rules
from xdpctl import abi
from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.lines import HostsLines, SourceLines, TargetLines
from xdpctl.rules import (
    AnyQtype,
    Question,
    format_rule_line,
    parse_rule_line,
    parse_target,
    target_of,
    target_text,
)
from xdpctl.rules.keys import full_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.feeds.formats.lines import LineFormat
    from xdpctl.rules import Target
    from xdpctl.rules.keys import Row

NEW = AnyQtype.NEW
NOWHERE = [
    "0.0.0.0",  # noqa: S104 - not bound to
    "0",
    "0.0.0.1",
    "127.0.0.1",
    "::",
    "::0",
    "0:0:0:0:0:0:0:0",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::ffff:0.0.0.0",
    "::FFFF:127.0.0.1",
]
ORIGIN = "list:x"
DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS


def target_of_row(row: Row) -> Target:
    return target_of(abi.BY_REF[row[0]].name, full_key(row[0], row[1]), NEW)


def said(row: Row) -> tuple[Target, RuleAction]:
    """Return target and action of a row, which is its list's."""
    assert row[5] == ORIGIN
    return target_of_row(row), RuleAction(row[2])


def rows_of(reader: LineFormat, lines: Sequence[str], first: int = 1) -> list[Row]:
    """Return the rows of lines; raises the error of one that cannot be read."""
    rows = list(reader.rows(lines, first))
    reader._left_out.see_share(0)  # type: ignore[attr-defined]  # every format has an account
    return rows


def read(reader: LineFormat, *lines: str) -> list[tuple[Target, RuleAction]]:
    return [said(row) for row in rows_of(reader, lines)]


def targets(
    action: RuleAction = DROP, left_out: LeftOut | None = None, age: float = 0.0
) -> TargetLines:
    """Return a reader in the second 1000 of a file that changed `age` seconds ago."""
    return TargetLines(
        ORIGIN,
        action,
        NEW,
        now=1000 - age,
        present=1000,
        left_out=LeftOut() if left_out is None else left_out,
    )


def cidr(action: RuleAction = DROP, *, columns: bool = False) -> SourceLines:
    return SourceLines(ORIGIN, action, NEW, LeftOut(), columns=columns)


def hosts(action: RuleAction = DROP, left_out: LeftOut | None = None) -> HostsLines:
    return HostsLines(ORIGIN, action, NEW, LeftOut() if left_out is None else left_out)


def blocked(text: str) -> list[tuple[Target, RuleAction]]:
    return [(parse_target(text), DROP)]


@pytest.mark.parametrize("comment", ["", " ", "# x", "; x", "  # x", "\t; x", "#192.0.2.1", "\r"])
@pytest.mark.parametrize("reader", [targets(), cidr()])
def test_comments_and_empty_lines_are_no_rules(reader: LineFormat, comment: str) -> None:
    assert read(reader, comment) == []


# --- targets ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["192.0.2.1", " 2001:db8::/32 ", "Bad.Example.", "192.0.2.0/24\t# x", "a.example ; x"]
)
def test_a_target_is_a_rule(line: str) -> None:
    assert read(targets(), line) == blocked(line.strip().partition("\t")[0].partition(" ")[0])


@pytest.mark.parametrize("only", [DROP, TRUNCATE, PASS])
def test_where_the_settings_name_an_action_a_line_has_no_other(only: RuleAction) -> None:
    left_out = LeftOut()
    reader = TargetLines(ORIGIN, only, NEW, now=1000, present=1000, left_out=left_out, only=only)
    lines = ["plain.example", "192.0.2.9"]
    lines += [f"{a.name.lower()}.example action={a.name.lower()}" for a in RuleAction]
    lines += [f"192.0.2.{a}/32 for=1h action={a.name.lower()} reason=x" for a in RuleAction]

    found = read(reader, *lines)

    assert {action for _, action in found} == {only}
    assert len(found) == 4
    assert left_out.kinds == "4 lines with another action than the list's"
    assert "'192.0.2." in str(left_out) or "example" in str(left_out)


def test_a_comment_may_follow_a_semicolon() -> None:
    assert read(targets(), '192.0.2.0/24 ; SBL1 " and so on') == blocked("192.0.2.0/24")


def test_a_semicolon_in_quotes_is_no_comment() -> None:
    line = '192.0.2.1 action=pass reason="a ; b" ; c'
    rows = list(targets().rows([line], 1))

    assert (rows[0][2], rows[0][3]) == (PASS, "a ; b")


@pytest.mark.parametrize(
    ("line", "action"),
    [
        ("192.0.2.1", TRUNCATE),
        ("192.0.2.1 # action=pass", TRUNCATE),
        ("192.0.2.1 action=pass", PASS),
        ("192.0.2.1 action=drop ; x", DROP),
        ('192.0.2.1 reason="why action=pass"', TRUNCATE),
        ("a.example qtype=A", TRUNCATE),
    ],
)
def test_the_lists_action_is_that_of_lines_that_name_none(line: str, action: RuleAction) -> None:
    assert [pair[1] for pair in read(targets(TRUNCATE), line)] == [action]


@given(rules, st.sampled_from(RuleAction))
def test_a_line_of_import_means_here_what_it_means_there(rule: object, action: RuleAction) -> None:
    line = format_rule_line(rule)  # type: ignore[arg-type]
    parsed = parse_rule_line(line)
    assert parsed is not None
    expected = [] if parsed.origin == "dnsdist" else [(parsed.target, parsed.action)]

    assert read(targets(action), line) == expected


def test_a_line_of_dnsdists_is_left_out_and_counted() -> None:
    left_out = LeftOut()

    assert read(targets(left_out=left_out), "192.0.2.1 origin=dnsdist", "192.0.2.2") == blocked(
        "192.0.2.2"
    )
    assert str(left_out) == "1 line that claims to be dnsdist's ('origin=dnsdist')"


def test_a_line_cannot_speak_for_another_origin() -> None:
    rows = list(targets().rows(["192.0.2.1 origin=cli", "192.0.2.2 origin=list:y"], 1))

    assert {row[5] for row in rows} == {ORIGIN}


def test_an_end_counts_from_the_files_last_change() -> None:
    rows = list(targets(age=100).rows(["192.0.2.1 for=5m"], 1))

    assert rows[0][4] == 1200


def test_a_rule_that_has_ended_is_none() -> None:
    assert read(targets(age=301), "192.0.2.1 for=5m", "192.0.2.2") == blocked("192.0.2.2")


@pytest.mark.parametrize(
    "line", ["<!DOCTYPE html>", "192.0.2.1/24", "10.0.0.0/33", "a b", "a..b", "1.2.3"]
)
def test_a_line_that_is_no_target_is_an_error_with_its_number(line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 8: "):
        rows_of(targets(), ["192.0.2.1", line], 7)


# --- cidr ---------------------------------------------------------------------------


@given(networks)
def test_a_prefix_is_a_rule(network: IPv4Network | IPv6Network) -> None:
    assert read(cidr(TRUNCATE), f"{network} # x") == [(network, TRUNCATE)]


def test_an_address_is_a_rule() -> None:
    assert read(cidr(), "192.0.2.1;x") == [(IPv4Address("192.0.2.1"), DROP)]


@pytest.mark.parametrize(
    "line", ["bad.example", "192.0.2.1/24", "192.0.2.1 192.0.2.2", "192.0.2.0-192.0.2.9", "1"]
)
def test_a_line_that_is_no_prefix_is_an_error_with_its_number(line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 1: "):
        rows_of(cidr(), [line])


# --- hosts --------------------------------------------------------------------------


@pytest.mark.parametrize("address", NOWHERE)
def test_each_name_of_a_line_is_a_rule(address: str) -> None:
    assert read(hosts(), f"{address}\ta.example B.example # c.example") == [
        *blocked("a.example"),
        *blocked("b.example"),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "127.0.0.1 localhost localhost.localdomain",
        "::1 ip6-localhost ip6-loopback",
        "255.255.255.255 broadcasthost",
        "fe80::1%lo0 localhost",
        "ff02::1 ip6-allnodes",
        "0.0.0.0 0.0.0.0",
        "127.0.0.1 LocalHost.",
        "# 0.0.0.0 a.example",
        "",
    ],
)
def test_what_every_hosts_file_has_is_no_rule_and_not_worth_a_word(line: str) -> None:
    left_out = LeftOut()

    assert (read(hosts(left_out=left_out), line), len(left_out)) == ([], 0)


@pytest.mark.parametrize("line", ["192.0.2.1 www.example", "127.0.1.1 myhost"])
def test_a_name_with_an_address_of_its_own_is_left_out(line: str) -> None:
    left_out = LeftOut()

    assert read(hosts(left_out=left_out), line) == []
    assert str(left_out) == f"1 name with an address of its own ('{line}')"


def test_an_address_in_the_place_of_a_name_is_left_out() -> None:
    left_out = LeftOut()

    assert read(hosts(left_out=left_out), "0.0.0.0 192.0.2.1 a.example") == blocked("a.example")
    assert len(left_out) == 1


@pytest.mark.parametrize("line", ["a.example", "127.0.0.1", "nowhere a.example", "0.0.0.0 a..b"])
def test_a_line_that_is_none_of_a_hosts_file_is_an_error_with_its_number(line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 1: "):
        rows_of(hosts(), [line])


# --- all of them --------------------------------------------------------------------

words = st.sampled_from(
    [
        "127.0.0.1",
        "192.0.2.0/24",
        "a.example",
        "action=pass",
        'reason="x ; y"',
        "#",
        ";",
        '"',
        "for=1m",
    ]
)
any_line = st.text() | st.lists(words | st.text(max_size=5), max_size=5).map(" ".join)


@pytest.mark.parametrize("form", ["targets", "cidr", "hosts"])
@given(line=any_line, action=st.sampled_from(RuleAction))
def test_any_line_is_rows_or_our_error(form: str, line: str, action: RuleAction) -> None:
    readers: dict[str, LineFormat] = {
        "targets": targets(action),
        "cidr": cidr(action),
        "hosts": hosts(action),
    }
    reader = readers[form]
    try:
        found = read(reader, line)
    except TargetError as error:
        assert error.sentence.startswith("line 1: ")  # noqa: PT017 - both ends are right
    else:
        assert all(isinstance(target, Question) for target, _ in found) or form != "hosts"
        assert all(parse_target(target_text(target)) for target, _ in found if form == "cidr")


def test_the_first_few_of_a_kind_are_named_and_all_are_counted() -> None:
    left_out = LeftOut()
    for number in range(5):
        left_out.add("wildcards", f"*.{number}.example")
    left_out.add("others", "x\n")

    assert len(left_out) == 6
    assert str(left_out) == (
        "5 wildcards ('*.0.example', '*.1.example', '*.2.example', …), 1 other ('x\\n')"
    )
