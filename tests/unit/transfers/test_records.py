"""Names and records are read as dnspython writes them; anything else is one error."""

from __future__ import annotations

import io
from contextlib import suppress

import dns.message
import dns.name
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.strategies import names
from xdpctl.errors import TransferError
from xdpctl.rules.names import Name
from xdpctl.transfers.messages import parse_answer, query
from xdpctl.transfers.records import RecordReader, RecordType, soa_of


@given(st.lists(names, min_size=1, max_size=20))
def test_compressed_names_are_read_whole(several: list[Name]) -> None:
    file = io.BytesIO()
    table: dict[dns.name.Name, int] = {}
    places = []
    for one in several:
        places.append(file.tell())
        dns.name.from_wire(one.wire, 0)[0].to_wire(file, table)
    reader = RecordReader(file.getvalue())
    assert [reader.name(at)[0] for at in places] == [one.wire for one in several]


@given(st.binary(max_size=100), st.integers(0, 100))
@example(b"\xc0\x00", 0)
@example(b"\x01a\xc0\x02", 0)
@example(b"\xc0\x02\xc0\x00", 0)
@example(b"\x3f" * 1000, 0)
def test_any_octets_are_a_name_or_an_error(octets: bytes, at: int) -> None:
    try:
        wire, end = RecordReader(octets).name(at)
    except TransferError:
        return
    assert len(Name(wire).wire) <= 255
    assert at < end <= len(octets)


def test_names_that_lead_to_each_other_for_long_are_refused() -> None:
    """An answer may hold thousands of pointers, each to the one before it."""
    chain = b"\0" + b"".join((0xC000 + max(0, 2 * n - 1)).to_bytes(2, "big") for n in range(8000))
    assert RecordReader(chain).name(201) == (b"\0", 203)
    with pytest.raises(TransferError, match="too many"):
        RecordReader(chain).name(len(chain) - 2)


def answer_to(lines: list[str]) -> bytes:
    """Return an answer of dnspython's to a query for AXFR."""
    asked = dns.message.from_wire(query(7, b"\x07example\x03com\0", RecordType.AXFR))
    answer = dns.message.make_response(asked)
    for line in lines:
        owner, ttl, class_, type_, *rest = line.split(" ")
        answer.answer.append(dns.rrset.from_text(owner, int(ttl), class_, type_, " ".join(rest)))
    return answer.to_wire()


LINES = [
    "Example.COM. 60 IN SOA NS.example.com. h.example.com. 4000000000 1 2 3 4",
    "A.example.com. 5 IN CNAME B.Example.com.",
    "a.b.example.com. 5 IN A 192.0.2.1",
]


def test_records_are_lower_case_and_without_compression() -> None:
    found = parse_answer(answer_to(LINES), 7, b"\x07example\x03com\0", RecordType.AXFR).records
    assert [Name(one.owner).to_text() for one in found] == [
        "example.com",
        "a.example.com",
        "a.b.example.com",
    ]
    assert soa_of(found[0]) == (4000000000, 1, 2, 3, 4)
    assert Name(found[1].data).to_text() == "b.example.com"
    assert (found[2].ttl, found[2].data) == (5, bytes((192, 0, 2, 1)))


@given(st.data())
def test_a_changed_message_is_an_answer_or_an_error(data: st.DataObject) -> None:
    wire = bytearray(answer_to(LINES))
    for at in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=4)):
        wire[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(wire)))
    with suppress(TransferError):
        parse_answer(bytes(wire[:cut]), 7, b"\x07example\x03com\0", RecordType.AXFR)


@pytest.mark.parametrize(
    ("mangle", "complaint"),
    [
        (lambda wire: b"\0\x08" + wire[2:], "another query"),
        (lambda wire: wire[:2] + b"\x04" + wire[3:], "another query"),
        (lambda wire: wire[:2] + b"\x86" + wire[3:], "cut"),
        (lambda wire: wire.replace(b"\xfc\0\x01", b"\xfb\0\x01", 1), "another zone or type"),
        (lambda wire: wire + b"\0", "behind its last record"),
        (lambda wire: wire[:-1], "does not end"),
        (lambda wire: wire[:5], "shorter"),
    ],
)
def test_what_is_no_answer_is_refused(mangle: object, complaint: str) -> None:
    wire = answer_to(LINES)
    with pytest.raises(TransferError, match=complaint):
        parse_answer(mangle(wire), 7, b"\x07example\x03com\0", RecordType.AXFR)  # type: ignore[operator]
