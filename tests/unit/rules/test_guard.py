"""What is guarded against a Drop, and what is not."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_host import rule
from xdpctl.abi import RuleAction
from xdpctl.errors import GuardError
from xdpctl.rules import AnyQtype, parse_protected, parse_target
from xdpctl.rules.guard import Guard
from xdpctl.rules.keys import Block, each_row
from xdpctl.rules.lines import LineReader

GUARD = Guard(
    [ip_network("198.51.100.7/32"), ip_network("203.0.113.0/24"), ip_network("2001:db8:5::/48")],
    [ip_address("192.0.2.53"), ip_address("2001:db8::53")],
)
NAMES = Guard(
    [parse_protected(text) for text in ("health.good.example", "*.own.example", "alone")], []
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("192.0.2.53", "covers 192.0.2.53, an address of this host"),
        ("192.0.2.0/24", "covers 192.0.2.53, an address of this host"),
        ("2001:db8::53", "covers 2001:db8::53, an address of this host"),
        ("198.51.100.7", "covers 198.51.100.7, which the setting protect lists"),
        ("203.0.113.9", "covers 203.0.113.0/24, which the setting protect lists"),
        ("203.0.0.0/16", "covers 203.0.113.0/24, which the setting protect lists"),
        ("2001:db8:5:6::/64", "covers 2001:db8:5::/48, which the setting protect lists"),
        ("10.0.0.0/7", None),
        ("2000::/15", None),
    ],
)
def test_a_drop_on_what_matters_says_why_it_is_refused(text: str, why: str | None) -> None:
    said = GUARD.reason(parse_target(text))
    assert said is not None
    assert said == why or (why is None and said.startswith("is shorter than /"))


@pytest.mark.parametrize(
    "text", ["192.0.2.54", "10.0.0.0/8", "fd00::/16", "198.51.100.8", "www.example", "2001:db8::"]
)
def test_everything_else_may_be_dropped(text: str) -> None:
    assert GUARD.reason(parse_target(text)) is None


@pytest.mark.parametrize("text", ["0.0.0.0/0", "192.0.2.53", "203.0.113.0/24", "::/0"])
def test_an_answer_with_tc_is_not_guarded(text: str) -> None:
    GUARD.check([rule(text, RuleAction.TRUNCATE)])


@pytest.mark.parametrize("text", ["192.0.2.53", "203.0.113.0/24", "10.0.0.0/8", "fd00::/16"])
def test_a_pass_on_an_address_or_an_ordinary_prefix_is_not_guarded(text: str) -> None:
    GUARD.check([rule(text, RuleAction.PASS)])


@pytest.mark.parametrize("text", ["0.0.0.0/0", "0.0.0.0/1", "10.0.0.0/7", "::/0", "2000::/15"])
def test_a_pass_that_lets_half_the_net_in_is_refused(text: str) -> None:
    with pytest.raises(GuardError, match=r"is shorter than /.*--force to pass it anyway"):
        GUARD.check([rule(text, RuleAction.PASS)])


def test_a_guarded_rule_refuses_the_request_and_names_force() -> None:
    with pytest.raises(GuardError, match=r"192\.0\.2\.53 covers .*--force") as caught:
        GUARD.check([rule("192.0.2.1"), rule("192.0.2.53")])
    assert caught.value.text == "192.0.2.53"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (".", "is the root"),
        ("*.", "is every name below the root"),
        (".example", "is a whole top-level domain"),
        ("*.example", "is a whole top-level domain"),
        ("health.good.example", "covers health.good.example, which the setting protect lists"),
        (".health.good.example", "covers health.good.example, which the setting protect lists"),
        (".good.example", "covers health.good.example, which the setting protect lists"),
        ("*.good.example", "covers health.good.example, which the setting protect lists"),
        ("www.own.example", "covers *.own.example, which the setting protect lists"),
        (".own.example", "covers *.own.example, which the setting protect lists"),
        ("*.a.own.example", "covers *.own.example, which the setting protect lists"),
        ("alone", "covers alone, which the setting protect lists"),
    ],
)
def test_a_drop_on_what_many_names_need_says_why_it_is_refused(text: str, why: str) -> None:
    assert NAMES.reason(parse_target(text)) == why


@pytest.mark.parametrize("text", ["*.", ".example", ".good.example", "www.own.example", "."])
def test_a_name_answered_with_tc_is_not_guarded(text: str) -> None:
    assert NAMES.reason(parse_target(text), RuleAction.TRUNCATE) is None


@pytest.mark.parametrize(
    "text",
    [
        "example",
        "*.health.good.example",
        "a.health.good.example",
        "own.example",
        "xown.example",
        ".xown.example",
        ".bad.example",
        "good.example",
    ],
)
def test_every_other_name_and_zone_may_be_dropped(text: str) -> None:
    assert NAMES.reason(parse_target(text)) is None


def test_only_one_type_of_the_roots_name_may_be_dropped() -> None:
    assert NAMES.reason(parse_target(".", "NS")) is None


def test_a_pass_on_every_name_is_refused_and_one_on_a_zone_is_not() -> None:
    assert NAMES.reason(parse_target("*."), RuleAction.PASS) == "is every name below the root"
    for text in (".example", ".good.example", ".", "health.good.example"):
        assert NAMES.reason(parse_target(text), RuleAction.PASS) is None


protected = st.lists(
    st.sampled_from(
        ["a.example", ".a.example", "*.b.a.example", "192.0.2.0/24", "192.0.2.1", r"\000.example"]
    ),
    max_size=2,
)
guarded_texts = st.sampled_from(
    ["a.example", ".a.example", "*.a.example", ".b.a.example", "c.b.a.example", ".example", "com",
     ".com", "*.", ".", "192.0.2.1", "192.0.2.0/30", "192.0.2.1/32", "10.0.0.0/7", "ba.example",
     "::1", "::/1", r"\000.example", r".\000.example", r"*.\000.\000.example", "xa.example"]
)  # fmt: skip


@given(
    protected,
    st.lists(st.tuples(guarded_texts, st.sampled_from(["drop", "pass", "truncate"]))),
    st.sampled_from(["file:x", "list:x"]),
)
def test_a_list_loses_exactly_what_a_request_would_be_refused_for(
    protect: list[str], wanted: list[tuple[str, str]], origin: str
) -> None:
    guard = Guard([parse_protected(text) for text in protect], [ip_address("192.0.2.7")])
    lines = [f"{text} action={action}" for text, action in wanted]
    rows = list(LineReader(origin, AnyQtype.BOTH, 0.0).rows(lines))
    refused = [
        text
        for text, action in wanted
        if guard.reason(parse_target(text), RuleAction[action.upper()]) is not None
    ]
    held: list[str] = []
    passed = list(guard.passing(iter(rows), held.append))
    assert len(passed) + len(held) == len(rows)
    assert [text.split()[0] for text in held] == refused


def test_a_list_loses_what_is_guarded_and_nothing_else() -> None:
    lines = [
        "192.0.2.1",
        "192.0.2.53",
        "192.0.2.53 action=truncate",
        "203.0.113.9",
        "0.0.0.0/0",
        "2001:db8::53",
        "2001:db8::54",
        "www.example",
        "0.0.0.0/1 action=pass",
        "::/15 action=pass",
        "10.0.0.0/8 action=pass",
        "192.0.2.53 action=pass",
        "0.0.0.0/0 action=truncate",
    ]
    rows = list(LineReader("cli", AnyQtype.BOTH, 0.0).rows(lines))
    held: list[str] = []
    passed = list(GUARD.passing(iter(rows), held.append))
    assert [rows.index(row) for row in each_row(passed)] == [0, 2, 6, 7, 10, 11, 12]
    assert [text.split()[0] for text in held] == [
        "192.0.2.53",
        "203.0.113.9",
        "0.0.0.0/0",
        "2001:db8::53",
        "0.0.0.0/1",
        "::/15",
    ]


@pytest.mark.parametrize("origin", ["cli", "list:x"])
@pytest.mark.parametrize("action", ["drop", "pass", "truncate"])
@pytest.mark.parametrize("guard", [GUARD, Guard((), [ip_address("192.0.2.53")])])
def test_of_a_block_the_same_rows_pass_as_one_by_one(
    guard: Guard, origin: str, action: str
) -> None:
    texts = [
        *("192.0.2.1", "192.0.2.53", "203.0.113.9", "192.0.2.0/24", "192.0.2.53/32", "8.0.0.0/5"),
        *("198.51.100.0/24", "2001:db8::53", "2001:db8::/32", "::/3", "::/0", "0.0.0.0/0"),
        *("www.example", ".example", ".", "*.", "*.www.example", "good.example", ".good.example"),
    ]
    lines = [f"{text} action={action}" for text in texts]
    rows = list(LineReader(origin, AnyQtype.BOTH, 0.0).rows(lines))
    held: list[str] = []
    expected = list(each_row(guard.passing(iter(rows), held.append)))
    blocks = [Block(row[0], [row[1]], row[2:]) for row in rows]
    by_ref: dict[int, Block] = {}
    for row in rows:
        by_ref.setdefault(row[0], Block(row[0], [], row[2:])).keys.append(row[1])
    for items in (blocks, list(by_ref.values())):
        again: list[str] = []
        passed = list(each_row(guard.passing(items, again.append)))
        assert sorted(passed) == sorted(expected)
        assert sorted(again) == sorted(held)
