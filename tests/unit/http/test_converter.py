"""Entries as the documents that the API answers with."""

from __future__ import annotations

import pytest

from xdpctl.abi import Book, RuleAction
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.http.api.converter import imported, rule_out
from xdpctl.rules import AnyQtype, key_of, map_of, parse_target
from xdpctl.store.bulk import BulkResult
from xdpctl.store.entries import Entry
from xdpctl.store.standing import Standing


@pytest.mark.parametrize(
    ("text", "qtype", "book", "name", "wildcard"),
    [
        ("192.0.2.1", None, Book.OPERATOR, "addr-v4", None),
        ("www.example", None, Book.OPERATOR, "qnames", 255),
        (".example", None, Book.OPERATOR, "zones", 65535),
        ("*.example", "TXT", Book.OPERATOR, "zones", None),
        ("192.0.2.0/24", None, Book.LISTS, "list-sources", None),
        ("www.example", None, Book.LISTS, "list-names", 65535),
        (".example", "AAAA", Book.LISTS, "list-names", None),
    ],
)
def test_an_entry_is_shown_with_its_target_type_and_map(
    text: str, qtype: str | None, book: Book, name: str, wildcard: int | None
) -> None:
    target = parse_target(text, qtype)
    key = key_of(target, AnyQtype.LEGACY, book)
    entry = Entry(map_of(target, book), key, RuleAction.DROP, 7, None)
    shown = rule_out(Standing(entry, None, (), is_in_force=True), AnyQtype.LEGACY)
    assert (shown.target, shown.qtype, shown.map, shown.wildcard) == (text, qtype, name, wildcard)
    assert (shown.action, shown.hits) == ("drop", 7)


@pytest.mark.parametrize(
    ("result", "left_out", "warned"),
    [
        (BulkResult(), 0, True),
        (BulkResult(), 1, False),
        (BulkResult(unchanged=1), 0, False),
        (BulkResult(removed=1), 0, False),
        (BulkResult(guarded=1), 0, False),
    ],
)
def test_an_import_without_a_rule_says_so(
    result: BulkResult, left_out: int, *, warned: bool
) -> None:
    found = LeftOut()
    for _ in range(left_out):
        found.add("patterns", "-x-")

    document = imported(result, found, "cli")
    assert ("there is no rule in it" in document.warnings) is warned
