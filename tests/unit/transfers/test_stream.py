"""A transfer is whole exactly when it leads from what is there to the new version."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import TransferError
from xdpctl.transfers.records import RecordType, ZoneRecord
from xdpctl.transfers.stream import Kind, TransferStream

ZONE = b"\x07example\x03com\0"


def soa(serial: int, owner: bytes = ZONE) -> ZoneRecord:
    return ZoneRecord(
        owner, RecordType.SOA, 1, 300, b"\0\0" + struct.pack("!5I", serial, 0, 0, 0, 0)
    )


def a(label: bytes, class_: int = 1, below: bytes = ZONE) -> ZoneRecord:
    return ZoneRecord(bytes((len(label),)) + label + below, 1, class_, 300, b"\x7f\0\0\1")


def run(have: int | None, records: list[ZoneRecord]) -> tuple[Kind, list[tuple[bool, bytes]]]:
    """Return the kind and the changes of a transfer that must be whole."""
    stream = TransferStream(ZONE, have)
    changes = [
        (change.added, change.record.owner[1 : 1 + change.record.owner[0]])
        for record in records
        for change in stream.take(record)
    ]
    assert stream.is_whole
    return stream.kind, changes


def test_axfr_adds_every_record() -> None:
    assert run(None, [soa(3), a(b"a"), a(b"b"), soa(3)]) == (
        Kind.FULL,
        [(True, b"a"), (True, b"b")],
    )


def test_ixfr_removes_and_adds_in_steps() -> None:
    steps = [soa(5), soa(3), a(b"x"), soa(4), a(b"y"), a(b"z"), soa(4), a(b"y"), soa(5), soa(5)]
    assert run(3, steps) == (
        Kind.CHANGES,
        [(False, b"x"), (True, b"y"), (True, b"z"), (False, b"y")],
    )


def test_a_primary_may_answer_ixfr_with_the_whole_zone() -> None:
    assert run(3, [soa(5), a(b"a"), soa(5)]) == (Kind.FULL, [(True, b"a")])


def test_or_with_a_zone_that_is_empty_now() -> None:
    assert run(3, [soa(5), soa(5)]) == (Kind.FULL, [])


def test_or_with_its_serial_alone_when_nothing_is_new() -> None:
    assert run(3, [soa(3)]) == (Kind.CURRENT, [])


def test_serials_may_wrap_around() -> None:
    big = (1 << 32) - 1
    assert run(big, [soa(2), soa(big), soa(2), a(b"a"), soa(2)])[0] is Kind.CHANGES


@pytest.mark.parametrize(
    ("have", "records", "complaint"),
    [
        (None, [a(b"a")], "does not begin with an SOA"),
        (None, [soa(3), soa(4)], "begins with serial 3 and ends with 4"),
        (None, [soa(3), soa(3), a(b"a")], "goes on behind"),
        (None, [soa(3), a(b"a", 3)], "class 3"),
        (None, [soa(3), a(b"a", below=b"\x05other\0")], "another zone"),
        (
            None,
            [soa(3), ZoneRecord(b"\x0bfoo" + ZONE[:8] + ZONE[8:], 1, 1, 0, b"")],
            "another zone",
        ),
        (None, [soa(3), soa(3, b"\x01x" + ZONE)], "SOA record of another zone"),
        (3, [soa(2)], "older than version 3"),
        (3, [soa(5), soa(3), soa(3)], "lead from serial 3 to 3"),
        (3, [soa(5), soa(3), soa(6)], "lead from serial 3 to 6"),
        (3, [soa(5), soa(3), soa(4), soa(3)], "lead to serial 4, the next from 3"),
        (3, [soa(5), soa(4)], "begins with serial 5 and ends with 4"),
    ],
)
def test_what_leads_elsewhere_is_refused(
    have: int | None, records: list[ZoneRecord], complaint: str
) -> None:
    stream = TransferStream(ZONE, have)
    with pytest.raises(TransferError, match=complaint):
        [change for record in records for change in stream.take(record)]


versions = st.lists(
    st.frozensets(st.sampled_from([b"a", b"b", b"c", b"d"])), min_size=2, max_size=5
)


@given(versions)
def test_ixfr_leads_from_any_version_to_any_later_one(several: list[frozenset[bytes]]) -> None:
    start = (1 << 32) - 2  # so that serials wrap
    serials = [(start + number) % (1 << 32) for number in range(len(several))]
    records = [soa(serials[-1])]
    for number in range(len(several) - 1):
        old, new = several[number], several[number + 1]
        records += [soa(serials[number]), *map(a, sorted(old - new))]
        records += [soa(serials[number + 1]), *map(a, sorted(new - old))]
    records.append(soa(serials[-1]))
    there = set(several[0])
    for added, label in run(serials[0], records)[1]:
        (there.add if added else there.remove)(label)
    assert there == several[-1]


@given(versions, st.integers(0, 100))
def test_a_transfer_that_is_cut_is_never_whole(several: list[frozenset[bytes]], cut: int) -> None:
    records = [soa(9), *(a(label) for one in several for label in sorted(one)), soa(9)]
    stream = TransferStream(ZONE, None)
    for record in records[: min(cut, len(records) - 1)]:
        list(stream.take(record))
    assert not stream.is_whole
