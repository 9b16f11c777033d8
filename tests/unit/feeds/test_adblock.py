"""AdBlock syntax: a name with everything below it is a zone, an exception wins, all else counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.feeds.test_lines import ORIGIN, said
from xdpctl.abi import RuleAction
from xdpctl.errors import TargetError
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.formats.adblock import AdblockLines
from xdpctl.rules import AnyQtype, target_text

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS


def read(
    *lines: str,
    action: RuleAction = DROP,
    only: RuleAction | None = None,
    left_out: LeftOut | None = None,
) -> dict[str, RuleAction]:
    """Return the rules of a list: action by the text of the target."""
    every = [f"{line}\n" for line in lines]
    left_out = LeftOut() if left_out is None else left_out
    reader = AdblockLines(ORIGIN, action, AnyQtype.NEW, left_out, only=only)
    reader.look(every, 1)
    rows = [*reader.rows(every, 1), *reader.end()]
    left_out.see_share(0)
    assert len({row[:2] for row in rows}) == len({row[:3] for row in rows})
    return {target_text(target): action for target, action in map(said, rows)}


@pytest.mark.parametrize(
    ("line", "target", "action"),
    [
        ("||evil.example^", ".evil.example", DROP),
        ("||Evil.Example^  ", ".evil.example", DROP),
        ("||bücher.example^", ".xn--bcher-kva.example", DROP),
        ("||*.evil.example^", "*.evil.example", DROP),
        ("evil.example", "evil.example", DROP),
        ("@@||good.example^", ".good.example", PASS),
        ("@@||*.good.example^", "*.good.example", PASS),
        ("||evil.example^$important", ".evil.example", DROP),
        ("||evil.example^$IMPORTANT", ".evil.example", DROP),
        ("|evil.example^", "evil.example", DROP),
        ("|evil.example|", "evil.example", DROP),
        ("evil.example.", "evil.example", DROP),
        ("0.0.0.0 evil.example", "evil.example", DROP),
        ("127.0.0.1 evil.example # x", "evil.example", DROP),
        ("||evil.example^ ! a comment", ".evil.example", DROP),
        ("@@||good.example^$important", ".good.example", PASS),
        ("@@|good.example^", "good.example", PASS),
        ("@@|good.example|", "good.example", PASS),
        ("@@||good.example", ".good.example", PASS),
        ("@@||good.example|", ".good.example", PASS),
        ("@@||good.example^|", ".good.example", PASS),
        ("@@good.example", ".good.example", PASS),
        ("@@good.example^", ".good.example", PASS),
    ],
)
def test_a_line_about_names_is_a_rule(line: str, target: str, action: RuleAction) -> None:
    assert read(line) == {target: action}


@pytest.mark.parametrize(
    "line",
    ["", "! a comment", "!", "# a comment", "#", "########", "[Adblock Plus 2.0]", "[AdGuard]"],
)
def test_comments_and_titles_are_not_counted(line: str) -> None:
    left_out = LeftOut()
    assert read(line, left_out=left_out) == {}
    assert len(left_out) == 0


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("||evil.example^$third-party", "rules with modifiers"),
        ("||evil.example^$~third-party", "rules with modifiers"),
        ("||evil.example^$third-party,important", "rules with modifiers"),
        ("||evil.example^$denyallow=good.example", "rules with $denyallow"),
        ("||evil.example^$client=192.0.2.1", "rules with $client"),
        ("||evil.example^$ctag=device_pc", "rules with $ctag"),
        ("||evil.example^$dnstype=AAAA", "rules with $dnstype"),
        ("||evil.example^$dnstype=~A|MX", "rules with $dnstype"),
        ("||evil.example^$dnsrewrite=192.0.2.1", "rules with $dnsrewrite"),
        ("||evil.example^$dnsrewrite=NXDOMAIN;;", "rules with $dnsrewrite"),
        ("||evil.example^$", "rules with modifiers"),
        ("@@||good.example^$client=192.0.2.1", "rules with $client"),
        ("@@||good.example^$script", "rules with modifiers"),
        ("@@||good.example^$document", "rules with modifiers"),
        ("example.com##.banner", "cosmetic rules"),
        ("##.banner", "cosmetic rules"),
        ("example.com#@#.banner", "cosmetic rules"),
        ("example.com#?#div:has(.ad)", "cosmetic rules"),
        ("/banner[0-9]+/", "regular expressions"),
        ("||evil.example", "patterns"),
        ("||evil.example/ads^", "patterns"),
        ("||evil.*^", "patterns"),
        ("||*evil.example^", "patterns"),
        ("||192.0.2.1^", "patterns"),
        ("||.evil.example^", "patterns"),
        ("||evil..example^", "patterns"),
        ("||^", "patterns"),
        ("|https://evil.example|", "patterns"),
        ("||evil.example|", "patterns"),
        ("evil.example^", "patterns"),
        ("*.evil.example", "patterns"),
        ("@@/banner/", "regular expressions"),
        ("/banner/$important", "regular expressions"),
        ("@@-banner-", "patterns"),
        ("0.0.0.0 not/a/name", "patterns"),
        ("192.0.2.9 evil.example", "patterns"),
        ("/ads/banner.", "patterns"),
        ("-banner-", "patterns"),
        ("banner", "patterns"),
        ("192.0.2.1", "patterns"),
        ("||" + "a." * 16 + "example^", "zones of more than 16 labels"),
    ],
)
def test_what_depends_on_more_than_the_name_is_left_out_and_counted(line: str, kind: str) -> None:
    left_out = LeftOut()
    assert read(line, "||evil.test^", left_out=left_out) == {".evil.test": DROP}
    assert left_out.counts == {kind: 1}


@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        (["||a.example^", "@@||a.example^"], {".a.example": PASS}),
        (["@@||a.example^", "||b.a.example^"], {".a.example": PASS}),
        (["||b.a.example^", "@@||a.example^"], {".a.example": PASS}),
        (["b.a.example", "a.example", "@@||a.example^"], {".a.example": PASS}),
        (["||a.example^", "@@||b.a.example^"], {".a.example": DROP, ".b.a.example": PASS}),
        (["||ba.example^", "@@||a.example^"], {".ba.example": DROP, ".a.example": PASS}),
        (["||a.example^", "@@||*.a.example^"], {".a.example": DROP, "*.a.example": PASS}),
        (["||*.a.example^", "@@||*.a.example^"], {"*.a.example": PASS}),
        (["a.example", "@@||*.a.example^"], {"a.example": DROP, "*.a.example": PASS}),
        (["a.example", "@@|a.example^"], {"a.example": PASS}),
        (["||a.example^", "@@|a.example^"], {".a.example": DROP, "a.example": PASS}),
        (["||b.a.example^", "@@a.example"], {".a.example": PASS}),
        (["0.0.0.0 a.example", "@@||a.example^"], {".a.example": PASS}),
        (["||a.example^$important", "@@||a.example^"], {".a.example": DROP}),
        (["@@||b.a.example^", "||a.example^$important"], {".a.example": DROP}),
        (["@@|a.example^", "||a.example^$important"], {".a.example": DROP}),
        (["||a.example^$important", "@@||a.example^$important"], {".a.example": PASS}),
        (["||a.example^", "@@||a.example^$important"], {".a.example": PASS}),
        (["||b.a.example^", "@@||a.example^$important"], {".a.example": PASS}),
    ],
)
def test_an_exception_wins_over_every_block_at_or_below_it(
    lines: list[str], rules: dict[str, RuleAction]
) -> None:
    left_out = LeftOut()
    assert read(*lines, left_out=left_out) == rules
    assert len(left_out) == len(lines) - len(rules)


def test_important_blocks_are_blocked_inside_an_exception() -> None:
    lines = ["@@||a.example^", "||b.a.example^$important", "||c.a.example^"]
    assert read(*lines) == {".a.example": PASS, ".b.a.example": DROP}


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize(
    ("lines", "rules"),
    [
        (["||a.example^", "||a.example^$badfilter"], {}),
        (["||a.example^", "||A.example^$badfilter"], {}),
        (["||a.example^$important", "||a.example^$important,badfilter"], {}),
        (["||a.example^$important", "||a.example^$badfilter"], {".a.example": DROP}),
        (["||a.example^", "@@||a.example^", "@@||a.example^$badfilter"], {".a.example": DROP}),
        (["||a.example^", "||b.example^$badfilter"], {".a.example": DROP}),
        (["a.example", "a.example$badfilter"], {}),
    ],
)
def test_a_line_that_badfilter_takes_away_is_no_rule(
    lines: list[str], rules: dict[str, RuleAction], order: int
) -> None:
    assert read(*lines[::order]) == rules


@pytest.mark.parametrize("modifier", ["client=192.0.2.1", "ctag=device_pc", "dnstype=~A"])
def test_what_some_clients_or_types_may_have_is_not_blocked(modifier: str) -> None:
    left_out = LeftOut()
    lines = ["||a.example^", f"@@||a.example^${modifier}", "||b.example^"]
    assert read(*lines, left_out=left_out) == {".b.example": DROP}
    assert len(left_out) == 2


@pytest.mark.parametrize("only", [DROP, TRUNCATE])
def test_where_the_settings_name_an_action_no_line_has_another(only: RuleAction) -> None:
    left_out = LeftOut()
    lines = ["||evil.example^", "@@||good.evil.example^", "||a.good.evil.example^"]
    assert read(*lines, action=only, only=only, left_out=left_out) == {".evil.example": only}
    assert "1 line with another action than the list's" in left_out.kinds


def test_a_list_of_what_may_pass_has_only_passes() -> None:
    lines = ["||a.example^", "@@||b.example^"]
    assert set(read(*lines, action=PASS, only=PASS).values()) == {PASS}


@pytest.mark.parametrize("line", ["<!DOCTYPE html>", "<html>", " <p>404</p>"])
def test_a_page_of_html_is_our_error_with_its_line(line: str) -> None:
    with pytest.raises(TargetError, match=r"^line 2: .*HTML"):
        read("||evil.example^", line)


pieces = st.sampled_from(
    [
        "||",
        "@@",
        "^",
        "a.example",
        ".",
        "*",
        "$",
        "##",
        "/",
        "!",
        "#",
        "<",
        "|",
        "\\",
        " ",
        "[",
        "]",
    ]
)


@given(st.lists(st.text(max_size=8) | st.lists(pieces).map("".join), max_size=4))
def test_any_lines_are_rules_or_our_error(lines: list[str]) -> None:
    try:
        found = read(*lines)
    except TargetError as error:
        assert error.line  # noqa: PT017 - both ends are right
    else:
        assert set(found.values()) <= {DROP, PASS}


labels = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(
    lambda some: ".".join([*some, "t.example"])
)


@given(
    st.lists(st.tuples(st.sampled_from(["", "@@"]), labels, st.sampled_from(["", "$important"]),
             st.sampled_from(["||", "|"])), max_size=6),
    st.lists(labels, min_size=1),
)  # fmt: skip
def test_names_are_stopped_as_in_adblock(
    lines: list[tuple[str, str, str, str]], asked: list[str]
) -> None:
    """Important lines decide first; of equals, exceptions; `|` is about the name itself."""
    rules = read(*(f"{mark}{bars}{name}^{strong}" for mark, name, strong, bars in lines))
    for name in asked:
        above = [name.split(".", start)[-1] for start in range(name.count(".") + 1)]
        keys = [name, *(f".{one}" for one in above)]
        decides = next((rules[key] for key in keys if key in rules), PASS)
        said = {
            (strong, mark)
            for mark, of, strong, bars in lines
            if of == name or (bars == "||" and of in above)
        }
        order = [("$important", "@@"), ("$important", ""), ("", "@@"), ("", "")]
        first = next((each for each in order if each in said), ("", "@@"))
        assert (decides is DROP) == (first[1] == "")
