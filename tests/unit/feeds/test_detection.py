"""What a list is taken for: whatever `export` writes is read by `import` as the same rules."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.strategies import rules
from xdpctl.feeds.detection import format_of
from xdpctl.feeds.reader import ReadAs
from xdpctl.http.api.rule_lists import ImportedList
from xdpctl.rules import AnyQtype, Rule, format_rule_line
from xdpctl.rules.keys import each_row
from xdpctl.rules.lines import LineReader
from xdpctl.settings import ListFormat

REASONS = [
    "",
    "SOA flood",
    "1 IN SOA x",
    '"no" \\ #1',
    "|| x",
    "$TTL",
    "address=/x/",
    "- a",
    "a,b;c",
]
of_ours = st.builds(
    replace,
    rules,
    origin=st.sampled_from(["cli", "file:a b", "app:jail", "list:x"]),
    reason=st.sampled_from(REASONS) | st.text(max_size=20).filter(str.isprintable),
    expires_in=st.none(),
)


@settings(max_examples=60)
@given(st.lists(of_ours, min_size=1, max_size=4))
def test_what_is_exported_is_imported_as_the_same_rules(made: list[Rule]) -> None:
    lines = [format_rule_line(rule) for rule in made]
    body = io.BytesIO("".join(f"{line}\n" for line in lines).encode())
    reading = ImportedList(body, ReadAs(origin="cli"), AnyQtype.NEW)
    found = [row for part in reading for row in each_row(part)]
    wanted = list(LineReader("cli", AnyQtype.NEW, 0.0).rows(lines))
    assert sorted(found, key=repr) == sorted(wanted, key=repr)


@pytest.mark.parametrize(
    "line",
    [
        "@ IN SOA localhost. root.localhost. 1 2 3 4 5",
        "rpz.example. 3600 IN SOA ns.example. root.example. (",
        "rpz.example 1h SOA ns.example. root.example. 1 2 3 4 5",
        "@ in 60 soa . . 1 2 3 4 5",
        "IN SOA . . 1 2 3 4 5",
        "SOA . . 1 2 3 4 5",
    ],
)
def test_a_zone_is_known_by_its_soa(line: str) -> None:
    assert format_of(["a.example CNAME .", line]) is ListFormat.RPZ


@pytest.mark.parametrize(
    "line",
    ['192.0.2.1 action=drop reason="many SOA queries" origin=cli', "192.0.2.1 # an SOA flood"],
)
def test_the_word_in_a_reason_or_comment_is_no_record(line: str) -> None:
    assert format_of([line]) is ListFormat.TARGETS
