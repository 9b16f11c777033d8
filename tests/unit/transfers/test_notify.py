"""A NOTIFY is read as dnspython writes it; anything else is one error, and little work."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.fake_primary import KEY, tsig_key
from tests.support.strategies import names
from xdpctl.errors import TransferError
from xdpctl.transfers.notify import SIZE_MAX, notify_answer, parse_notify
from xdpctl.transfers.signing import AnswerSigning

if TYPE_CHECKING:
    from xdpctl.rules.names import Name


def notify(zone: str = "Example.com.", *, signed: bool = False, soa: bool = True) -> bytes:
    made = dns.message.make_query(zone, "SOA", use_edns=0)
    made.set_opcode(dns.opcode.NOTIFY)
    made.flags = (made.flags & 0x7800) | dns.flags.AA
    if soa:
        made.answer.append(dns.rrset.from_text(zone, 60, "IN", "SOA", "ns. h. 4 1 1 1 1"))
    if signed:
        made.use_tsig(tsig_key(KEY))
    return made.to_wire()


SIGNED, UNSIGNED = notify(signed=True), notify()


@given(names, st.booleans())
def test_the_zone_is_read_and_the_answer_is_the_question(zone: Name, soa: bool) -> None:  # noqa: FBT001
    wire = notify(zone.to_text().removesuffix(".") + ".", soa=soa)
    found = parse_notify(wire)
    assert (found.zone, found.signature) == (zone.wire, None)
    asked, answer = dns.message.from_wire(wire), dns.message.from_wire(notify_answer(found, 9))
    assert asked.is_response(answer)
    assert (answer.rcode(), answer.opcode()) == (9, dns.opcode.NOTIFY)
    assert len(answer.to_wire()) <= len(wire)


def test_a_signature_is_found_and_the_answer_is_signed() -> None:
    found = parse_notify(notify(signed=True))
    assert found.signature is not None
    signing = AnswerSigning(KEY)
    signing.check(found.wire, found.signature)
    key = tsig_key(KEY)
    asked = dns.message.from_wire(found.wire, keyring={key.name: key})
    answer = dns.message.from_wire(
        signing.sign(notify_answer(found)), keyring={key.name: key}, request_mac=asked.mac
    )
    assert answer.had_tsig


@given(st.integers(0, 200), st.integers(1, 255))
def test_a_signed_message_that_was_changed_is_refused(at: int, change: int) -> None:
    """The record of the signature has the message's id itself, and its own class and TTL."""
    start = parse_notify(SIGNED).signature
    assert start is not None
    wire = bytearray(SIGNED)
    wire[2 + at % (start[1] - 2)] ^= change
    try:
        found = parse_notify(bytes(wire))
        if found.signature is not None and found.signature[0] == KEY.name.wire:
            AnswerSigning(KEY).check(found.wire, found.signature)
            pytest.fail("it was taken")
    except TransferError:
        pass


@pytest.mark.parametrize(
    ("mangle", "complaint"),
    [
        (lambda wire: wire[:11], "shorter than a DNS header"),
        (lambda wire: wire + bytes(SIZE_MAX), "too long"),
        (lambda wire: wire[:2] + b"\xa4" + wire[3:], "not a NOTIFY"),
        (lambda wire: wire[:2] + b"\x04" + wire[3:], "not a NOTIFY"),
        (lambda wire: wire[:5] + b"\2" + wire[6:], "not a NOTIFY"),
        (lambda wire: wire[:6] + b"\xff\xff" + wire[8:], "more than 16 records"),
        (lambda wire: wire.replace(b"com\0\0\6", b"com\0\0\1"), "not about an SOA"),
        (lambda wire: wire + b"\0", "behind its last record"),
        (lambda wire: wire[:-1], "does not end"),
        (lambda wire: wire[:12] + b"\xc0\x0c" + wire[14:], "in a circle"),
    ],
)
def test_what_is_no_notify_is_refused(mangle: object, complaint: str) -> None:
    with pytest.raises(TransferError, match=complaint):
        parse_notify(mangle(UNSIGNED))  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_any_octets_are_a_notify_or_an_error(octets: bytes) -> None:
    for wire in (octets, UNSIGNED[:12] + octets):
        with suppress(TransferError):
            parse_notify(wire)


@given(st.data())
def test_what_we_read_dnspython_reads_alike(data: st.DataObject) -> None:
    """Mutants of a real message: whatever is not refused means the same to both."""
    wire = bytearray(data.draw(st.sampled_from([SIGNED, UNSIGNED])))
    for at in data.draw(st.lists(st.integers(0, len(wire) - 1), max_size=3)):
        wire[at] = data.draw(st.integers(0, 255))
    try:
        found = parse_notify(bytes(wire))
    except TransferError:
        return
    with suppress(dns.exception.DNSException, ValueError):  # it also reads what is of no use to us
        other = dns.message.from_wire(bytes(wire), keyring=False, continue_on_error=False)
        assert other.opcode() == dns.opcode.NOTIFY
        assert other.question[0].name.canonicalize().to_wire() == found.zone
