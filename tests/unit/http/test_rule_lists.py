"""A JSON list read in parts is the list read whole, or the same refusal."""

from __future__ import annotations

import contextlib
import io
import json
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import BY_REF
from xdpctl.errors import TargetError
from xdpctl.http.api import rule_lists
from xdpctl.http.api.documents import RuleIn, Seconds, whole
from xdpctl.http.api.rule_lists import ELEMENT_MAX, RuleReader, rules_in
from xdpctl.http.refusals import ListedRuleError, RequestError
from xdpctl.rules import AnyQtype, parse_target, target_of
from xdpctl.rules.keys import NO_END, NO_REASON, full_key

if TYPE_CHECKING:
    from xdpctl.rules.keys import Row

TEXTS = st.text(st.sampled_from('{}[],:"\\ aé\u2028😀'), max_size=12)
RULES = st.lists(
    st.fixed_dictionaries(
        {"target": TEXTS},
        optional={"reason": TEXTS, "qtype": TEXTS | st.none(), "expires_in": st.integers(1, 9)},
    ),
    max_size=12,
)
SIZES = st.integers(1, 300)
BLANK = st.text(" \t\r\n", max_size=5).map(str.encode)


@st.composite
def documents(draw: st.DrawFn) -> tuple[list[dict[str, Any]], bytes]:
    """Return rules, and one of the texts that JSON has for them."""
    rules = draw(RULES)
    indent = draw(st.none() | st.integers(0, 2))
    text = json.dumps(rules, indent=indent, ensure_ascii=draw(st.booleans())).encode()
    return rules, draw(BLANK) + text + draw(BLANK)


def read(body: bytes, size: int, *, single: bool = False) -> list[RuleIn]:
    """Read in parts of so many bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rule_lists, "PART", size)
        return [rule for part in rules_in(io.BytesIO(body), single=single) for rule in part]


def status_of(body: bytes, size: int) -> int:
    with pytest.raises(RequestError) as caught:
        read(body, size)
    return caught.value.status


@given(documents(), SIZES)
def test_a_list_is_the_same_wherever_parts_end(
    document: tuple[list[dict[str, Any]], bytes], size: int
) -> None:
    rules, body = document
    assert read(body, size) == msgspec.convert(rules, list[RuleIn], dec_hook=whole)


@given(documents(), SIZES, st.data())
def test_what_one_wrong_byte_makes_of_a_list_is_refused_as_when_read_whole(
    document: tuple[list[dict[str, Any]], bytes], size: int, data: st.DataObject
) -> None:
    _, body = document
    place = data.draw(st.integers(0, len(body) - 1))
    byte = data.draw(st.sampled_from([b"", *(bytes([octet]) for octet in b'{}[],:"\\ x5')]))
    broken = body[:place] + byte + body[place + 1 :]
    try:
        wanted: list[RuleIn] | None = msgspec.json.decode(broken, type=list[RuleIn], dec_hook=whole)
    except ValueError:
        wanted = None
    if wanted is None:
        assert status_of(broken, size) in (400, 422)
    else:
        assert read(broken, size) == wanted


@given(st.binary(max_size=200), SIZES)
def test_any_bytes_are_rules_or_our_error(body: bytes, size: int) -> None:
    with contextlib.suppress(RequestError):
        read(body, size, single=True)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_a_wrong_rule_is_named_by_its_number_in_the_whole_list(size: int) -> None:
    rules = [{"target": f"192.0.2.{number}"} for number in range(200)] + [{"target": 5}]
    with pytest.raises(RequestError) as caught:
        read(json.dumps(rules).encode(), size)
    assert (caught.value.index, caught.value.field) == (200, "target")
    assert caught.value.status is HTTPStatus.UNPROCESSABLE_ENTITY


@pytest.mark.parametrize("size", [10, 10_000])
def test_a_wrong_byte_is_named_by_its_place_in_the_whole_list(size: int) -> None:
    body = b'[{"target":"192.0.2.1"},\n{"target":"192.0.2.2"},\n{"target";"192.0.2.3"}]'
    with pytest.raises(RequestError, match=f"byte {body.index(b';')}"):
        read(body, size)


@pytest.mark.parametrize(
    ("tail", "status"), [(b",]", 400), (b"]]", 400), (b"", 400), (b"] []", 400), (b",5]", 422)]
)
def test_how_a_list_ends_matters(tail: bytes, status: int) -> None:
    for size in (1, 5, 23, 24, 1_000):
        assert status_of(b'[{"target":"192.0.2.1"}' + tail, size) == status


@pytest.mark.parametrize(
    "body", [b"[" + b" " * (ELEMENT_MAX + 200_000), b"[" * (ELEMENT_MAX + 200_000)]
)
def test_a_rule_without_end_is_not_waited_for(body: bytes) -> None:
    file = io.BytesIO(body + b" " * 10 * ELEMENT_MAX)
    with pytest.raises(RequestError):
        list(rules_in(file, single=True))
    assert file.tell() <= 3 * ELEMENT_MAX


# --- rows -----------------------------------------------------------------------------


def reader(*, whole: bool) -> RuleReader:
    return RuleReader("list:x", AnyQtype.BOTH, 100.0, whole=whole)


def test_an_end_counts_from_now() -> None:
    rules = [RuleIn("192.0.2.1", expires_in=Seconds(60)), RuleIn("192.0.2.2")]
    assert [row[4] for row in reader(whole=True).rows(rules, 0)] == [160.0, None]


def test_null_takes_an_end_away_and_what_is_left_out_stays() -> None:
    rules = [
        RuleIn("192.0.2.1", expires_in=None),
        RuleIn("192.0.2.2", reason=""),
        RuleIn("192.0.2.3"),
    ]
    rows = [(row[3], row[4]) for row in reader(whole=False).rows(rules, 0)]
    assert rows == [("", NO_END), (NO_REASON, None), ("", None)]


@pytest.mark.parametrize(
    "rule", [RuleIn("300.1.1.1"), RuleIn("a", reason="\n"), RuleIn("a", origin="?")]
)
def test_what_a_rule_may_not_be_is_refused_with_its_number(rule: RuleIn) -> None:
    with pytest.raises(ListedRuleError) as caught:
        list(reader(whole=False).rows([RuleIn("192.0.2.1"), rule], 40))
    assert caught.value.index == 41
    assert "rule 42" in caught.value.sentence


@given(st.lists(st.builds(RuleIn, TEXTS, qtype=TEXTS | st.none(), reason=TEXTS)))
def test_rules_are_rows_up_to_the_first_that_can_be_no_rule(rules: list[RuleIn]) -> None:
    rows: list[Row] = []
    try:
        rows.extend(reader(whole=True).rows(rules, 0))
    except TargetError:
        with pytest.raises(TargetError):
            [rule.rule() for rule in rules]
    else:
        assert len(rows) == len(rules)


@pytest.mark.parametrize(
    ("origin", "maps"),
    [
        ("api", ["addr-v4", "qnames", "zones", "zones"]),
        ("list:x", ["list-sources", "list-names", "list-names", "list-names"]),
    ],
)
def test_a_rule_goes_into_the_book_of_its_origin(origin: str, maps: list[str]) -> None:
    reader = RuleReader(origin, AnyQtype.BOTH, 0.0, whole=True)
    texts = ["192.0.2.1", "www.example", ".example", "*.example"]
    rows = reader.rows([RuleIn(text) for text in texts], 0)
    assert [BY_REF[row[0]].name for row in rows] == maps


def test_a_zone_may_have_a_type_in_a_list() -> None:
    reader = RuleReader("api", AnyQtype.BOTH, 0.0, whole=True)
    ((ref, key, *_),) = reader.rows([RuleIn(".www.example", qtype="TXT")], 0)
    target = target_of(BY_REF[ref].name, full_key(ref, key), AnyQtype.BOTH)
    assert target == parse_target(".www.example", "TXT")
