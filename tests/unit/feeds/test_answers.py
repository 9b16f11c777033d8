"""Settings of dnsmasq and Unbound: what blocks a name is a zone, what answers is an exception."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.feeds.test_lines import ORIGIN, said
from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.dnsmasq import DnsmasqLines
from xdpctl.feeds.formats.unbound import UnboundLines
from xdpctl.rules import AnyQtype, target_text
from xdpctl.rules.rules import IMPLIED

if TYPE_CHECKING:
    from xdpctl.feeds.formats.answers import AnswerLines

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS


def read(
    kind: type[AnswerLines],
    *lines: str,
    action: RuleAction = DROP,
    left_out: LeftOut | None = None,
) -> dict[str, RuleAction]:
    """Return the rules of a list: action by the text of the target."""
    every = [f"{line}\n" for line in lines]
    left_out = LeftOut() if left_out is None else left_out
    reader = kind(ORIGIN, action, AnyQtype.NEW, left_out)
    reader.look(every, 1)
    rows = [*reader.rows(every, 1), *reader.end()]
    left_out.see_share(0)
    assert {row[3] for row in rows if row[2] != action} <= {IMPLIED}
    assert len({row[:2] for row in rows}) == len({row[:3] for row in rows})
    return {target_text(target): action for target, action in map(said, rows)}


def dnsmasq(*lines: str, left_out: LeftOut | None = None) -> dict[str, RuleAction]:
    return read(DnsmasqLines, *lines, left_out=left_out)


def unbound(*lines: str, left_out: LeftOut | None = None) -> dict[str, RuleAction]:
    return read(UnboundLines, *lines, left_out=left_out)


# --- dnsmasq ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "targets"),
    [
        ("address=/evil.example/", [".evil.example"]),
        ("address=/Evil.Example/0.0.0.0", [".evil.example"]),
        ("address=/evil.example/::", [".evil.example"]),
        ("address=/evil.example/127.0.0.1", [".evil.example"]),
        ("address=/evil.example/#", [".evil.example"]),
        ("address=/a.example/b.example/0.0.0.0", [".a.example", ".b.example"]),
        ("address=/.evil.example/", [".evil.example"]),
        ("address=/*.evil.example/", ["*.evil.example"]),
        ("address=/#/0.0.0.0", ["*."]),
        ("address = /evil.example/", [".evil.example"]),
        ("local=/evil.example/", [".evil.example"]),
        ("server=/evil.example/", [".evil.example"]),
        ("  server=/evil.example/  # a comment", [".evil.example"]),
        ("--address=/evil.example/0.0.0.0", [".evil.example"]),
        ("address=/evil.example/0.0.0.0#note", [".evil.example"]),
        ("address=/evil.example/0", [".evil.example"]),
    ],
)
def test_a_setting_of_dnsmasqs_that_answers_nothing_blocks_a_zone(
    line: str, targets: list[str]
) -> None:
    assert dnsmasq(line) == dict.fromkeys(targets, DROP)


@pytest.mark.parametrize("line", ["", "#", "# address=/evil.example/", "   "])
def test_a_comment_of_dnsmasqs_is_not_counted(line: str) -> None:
    left_out = LeftOut()
    assert dnsmasq(line, left_out=left_out) == {}
    assert len(left_out) == 0


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("address=/evil.example/192.0.2.1", "names with an answer of their own"),
        ("server=/evil.example/192.0.2.53", "names with an answer of their own"),
        ("server=/evil.example/#", "names with an answer of their own"),
        ("local=/evil.example/192.0.2.53", "names with an answer of their own"),
        ("server=192.0.2.53", "other settings"),
        ("no-resolv", "other settings"),
        ("cache-size=1000", "other settings"),
        ("ipset=/evil.example/set", "other settings"),
        ("nftset=/evil.example/4#inet#t#s", "other settings"),
        ("filter-AAAA", "other settings"),
        ("server=/evil.example/192.0.2.53@eth0", "names with an answer of their own"),
        ("server=/evil.example/127.0.0.1#5353", "names with an answer of their own"),
        ("conf-file=/etc/x", "includes of other files, which are not read"),
        ("addn-hosts=/etc/x", "includes of other files, which are not read"),
        ("address=//", "other settings"),
        ("address=/ev*il.example/", "names that cannot be read"),
        ("address=/192.0.2.1/", "names that cannot be read"),
        ("address=/" + "a." * 16 + "example/", "zones of more than 16 labels"),
    ],
)
def test_what_dnsmasq_answers_or_does_otherwise_is_left_out_and_counted(
    line: str, kind: str
) -> None:
    left_out = LeftOut()
    assert dnsmasq(line, "local=/evil.test/", left_out=left_out) == {".evil.test": DROP}
    assert left_out.counts == {kind: 1}


@pytest.mark.parametrize("order", [1, -1])
def test_a_name_that_dnsmasq_answers_is_excepted_from_the_zone_above(order: int) -> None:
    lines = ["address=/evil.example/", "server=/good.evil.example/192.0.2.53", "server=/b.test/#"]
    assert dnsmasq(*lines[::order]) == {".evil.example": DROP, ".good.evil.example": PASS}


def test_a_zone_that_dnsmasq_blocks_and_answers_is_blocked() -> None:
    lines = ["address=/evil.example/", "server=/evil.example/192.0.2.53"]
    assert dnsmasq(*lines) == {".evil.example": DROP}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("block", ["address=/evil.example/::", "local=/evil.example/"])
def test_a_zone_of_which_dnsmasq_answers_one_type_is_not_blocked(block: str, order: int) -> None:
    lines = [block, "address=/evil.example/192.0.2.1"]
    assert dnsmasq(*lines[::order]) == {}


@pytest.mark.parametrize(
    "line",
    [
        "address=/evil.example/NXDOMAIN",
        "address=/evil.example/0.0.0.0,::",
        "address=evil.example/0.0.0.0",
        'address="/evil.example/"',
        "local=/evil.example",
        "Address=/evil.example/",
    ],
)
def test_half_a_setting_of_dnsmasqs_is_our_error(line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 1: cannot read"):
        dnsmasq(line)


# --- Unbound ------------------------------------------------------------------------

BLOCKING = [
    *("always_nxdomain", "always_nodata", "always_refuse", "always_deny", "always_null"),
    *("static", "refuse", "deny", "inform_deny", "redirect"),
]


@pytest.mark.parametrize("kind", BLOCKING)
@pytest.mark.parametrize(
    "way",
    [
        'local-zone: "evil.example" {}',
        'local-zone: "Evil.Example." {}',
        "local-zone: evil.example {}",
        "\tlocal-zone:\t'evil.example'  {}  # a comment",
        'local-zone: "evil.example" "{}"',
        'local-zone:"evil.example" {}',
        'server: local-zone: "evil.example" {}',
    ],
)
def test_a_zone_of_unbounds_that_answers_nothing_blocks_a_zone(way: str, kind: str) -> None:
    assert unbound(way.format(kind)) == {".evil.example": DROP}


def test_unbounds_root_is_every_name_below_it() -> None:
    assert unbound('local-zone: "." refuse') == {"*.": DROP}


@pytest.mark.parametrize("line", ["", "# local-zone: x static", "server:", "server: # x"])
def test_a_comment_or_the_clause_of_unbounds_is_not_counted(line: str) -> None:
    left_out = LeftOut()
    assert unbound(line, left_out=left_out) == {}
    assert len(left_out) == 0


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ('local-zone: "evil.example" transparent', "zones that are answered"),
        ('local-zone: "evil.example" typetransparent', "zones that are answered"),
        ('local-zone: "evil.example" nodefault', "zones that are answered"),
        ('local-zone: "evil.example" block_a', "zones that are answered"),
        ('local-data: "evil.example A 192.0.2.1"', "names with an answer of their own"),
        ("local-data: 'evil.example 60 IN TXT x'", "names with an answer of their own"),
        ("verbosity: 1", "other settings"),
        ("forward-zone:", "other settings"),
        ('local-data-ptr: "192.0.2.1 evil.example"', "other settings"),
        ('include: "/etc/x"', "includes of other files, which are not read"),
        ("include-toplevel: /etc/x", "includes of other files, which are not read"),
        ('local-zone: "a.*.example" static', "names that cannot be read"),
        ('local-zone: "192.0.2.1" static', "names that cannot be read"),
        ('local-zone: "' + "a." * 16 + 'example" static', "zones of more than 16 labels"),
    ],
)
def test_what_unbound_answers_or_does_otherwise_is_left_out_and_counted(
    line: str, kind: str
) -> None:
    left_out = LeftOut()
    rules = unbound(line, 'local-zone: "evil.test" static', left_out=left_out)
    assert rules == {".evil.test": DROP}
    assert left_out.counts == {kind: 1}


@pytest.mark.parametrize("data", ["A 0.0.0.0", "A 127.0.0.1", "AAAA ::", "60 IN A 0.0.0.0"])
def test_data_that_leads_nowhere_makes_a_redirected_zone_a_blocked_one(data: str) -> None:
    lines = ['local-zone: "evil.example" redirect', f'local-data: "evil.example {data}"']
    left_out = LeftOut()
    assert unbound(*lines, left_out=left_out) == {".evil.example": DROP}
    assert len(left_out) == 0


@pytest.mark.parametrize("order", [1, -1])
def test_data_that_leads_somewhere_makes_a_redirected_zone_an_answered_one(order: int) -> None:
    lines = ['local-zone: "evil.example" redirect', 'local-data: "evil.example A 192.0.2.1"']
    assert unbound(*lines[::order]) == {}


@pytest.mark.parametrize("order", [1, -1])
def test_what_unbound_answers_is_excepted_from_the_zone_above(order: int) -> None:
    lines = [
        'local-zone: "evil.example" static',
        'local-zone: "good.evil.example" transparent',
        'local-data: "www.evil.example A 192.0.2.1"',
        'local-data: "evil.example MX 0 ."',
        'local-data: "www.test A 192.0.2.1"',
    ]
    assert unbound(*lines[::order]) == {
        ".evil.example": DROP,
        ".good.evil.example": PASS,
        "www.evil.example": PASS,
        "evil.example": PASS,
    }


def test_data_in_a_zone_that_is_always_refused_is_no_exception() -> None:
    lines = ['local-zone: "evil.example" always_refuse', 'local-data: "www.evil.example A 1.1.1.1"']
    assert unbound(*lines) == {".evil.example": DROP}


@pytest.mark.parametrize("data", ["A 0.0.0.0", "AAAA ::", "IN A 127.0.0.1", "60 IN A 0.0.0.0"])
def test_data_alone_that_leads_nowhere_blocks_its_name(data: str) -> None:
    lines = [f'local-data: "evil.example {data}"', "local-data: 'b.example. A 0.0.0.0'"]
    assert unbound(*lines) == {"evil.example": DROP, "b.example": DROP}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    "other",
    ['local-data: "evil.example AAAA 2001:db8::1"', 'local-zone: "evil.example" typetransparent'],
)
def test_a_name_of_which_unbound_answers_one_type_is_not_blocked(other: str, order: int) -> None:
    lines = ['local-data: "evil.example A 0.0.0.0"', other]
    assert unbound(*lines[::order]) == {}


def test_settings_of_a_view_are_for_some_clients_and_are_left_out() -> None:
    lines = [
        "server:",
        'local-zone: "a.example" always_nxdomain',
        "view:",
        'name: "v"',
        'local-zone: "b.example" always_nxdomain',
        'local-data: "www.a.example A 192.0.2.1"',
        "server:",
        'local-zone: "c.example" always_nxdomain',
    ]
    left_out = LeftOut()
    assert unbound(*lines, left_out=left_out) == {".a.example": DROP, ".c.example": DROP}
    assert left_out.kinds == "4 settings of views, which are for some clients only"


def test_the_type_of_a_zone_that_unbound_does_not_have_is_our_error() -> None:
    with pytest.raises(TargetError, match="'nonsense' is not a type"):
        unbound('local-zone: "evil.example" nonsense')


# --- both ---------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DnsmasqLines, UnboundLines])
@pytest.mark.parametrize("line", ["<!DOCTYPE html>", "evil.example", "0.0.0.0 evil.example", "{}"])
def test_what_is_no_setting_is_our_error_with_its_line(kind: type[AnswerLines], line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 2: "):
        read(kind, "# a comment", line)


@pytest.mark.parametrize("line", ["local-zone:", "local-zone: x", "local-data: x", 'local-data: "'])
def test_half_a_setting_of_unbounds_is_our_error(line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 1: .*local-"):
        unbound(line)


@pytest.mark.parametrize("action", [TRUNCATE, PASS])
def test_the_lists_action_is_that_of_what_it_blocks(action: RuleAction) -> None:
    assert read(DnsmasqLines, "local=/a.example/", action=action) == {".a.example": action}
    assert read(UnboundLines, "local-zone: a.example static", action=action) == {
        ".a.example": action
    }


pieces = st.sampled_from(
    ["address=", "local=", "server=", "local-zone:", "local-data:", "/", "a.example", "#", '"', "'",
     " ", "static", "transparent", "::", "192.0.2.1", " A ", ".", "*", "\\", "server:"]
)  # fmt: skip


@pytest.mark.parametrize("kind", [DnsmasqLines, UnboundLines])
@given(st.lists(st.text(max_size=8) | st.lists(pieces).map("".join), max_size=4))
def test_any_lines_are_rules_or_our_error(kind: type[AnswerLines], lines: list[str]) -> None:
    try:
        found = read(kind, *lines)
    except TargetError as error:
        assert error.line  # noqa: PT017 - both ends are right
    else:
        assert set(found.values()) <= {DROP, PASS}


labels = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(
    lambda some: ".".join([*some, "t.example"])
)


@pytest.mark.parametrize(
    ("kind", "blocks", "answers"),
    [
        (DnsmasqLines, "address=/{}/", "server=/{}/192.0.2.53"),
        (UnboundLines, 'local-zone: "{}" static', 'local-zone: "{}" transparent'),
    ],
)
@given(st.dictionaries(labels, st.booleans(), max_size=6), st.lists(labels, min_size=1))
def test_the_longest_setting_decides_as_in_the_server(
    kind: type[AnswerLines], blocks: str, answers: str, zones: dict[str, bool], asked: list[str]
) -> None:
    lines = [(blocks if stops else answers).format(name) for name, stops in zones.items()]
    rules = read(kind, *lines)
    for name in asked:
        above = [name.split(".", start)[-1] for start in range(name.count(".") + 1)]
        wanted = next((zones[one] for one in above if one in zones), False)
        decides = next((rules[f".{one}"] for one in above if f".{one}" in rules), PASS)
        assert (decides is DROP) == wanted
