"""Queries and answers in wire form (RFC 1035, 4.1; RFC 1995, 3; RFC 5936, 2).

Owns headers, questions and where a message's signature is. Does not own the records' meaning
(stream.py) or signatures (signing.py). Called by client.py.
"""

from __future__ import annotations

import secrets
import struct
from dataclasses import dataclass, field

from xdpctl.errors import TransferError
from xdpctl.transfers.records import CLASS_IN, RecordReader, RecordType, ZoneRecord

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RESPONSE = 0x8000
_OPCODE = 0x7800
_TRUNCATED = 0x0200
_RCODE = 0x000F

NOTAUTH = 9
_RCODES = {
    1: "it does not understand the query (FORMERR)",
    2: "it cannot answer now (SERVFAIL)",
    3: "it does not know the zone (NXDOMAIN)",
    4: "it does not do zone transfers of this kind (NOTIMP)",
    5: "it refuses to (REFUSED); check the zone's name, and allow the transfer to this host or key",
    NOTAUTH: "it has no such zone, or not this key (NOTAUTH)",
}


@dataclass(frozen=True, slots=True)
class AnswerMessage:
    """One message of an answer.

    Attributes:
        wire: the message.
        rcode: its response code.
        records: of the answer section.
        signature: of its TSIG record: owner, where the record starts, where its data starts
            and how many octets that has. None: it is not signed.
    """

    wire: bytes = field(repr=False)
    rcode: int
    records: tuple[ZoneRecord, ...]
    signature: tuple[bytes, int, int, int] | None


def new_id() -> int:
    """Return a number for a query."""
    return secrets.randbelow(1 << 16)


def query(number: int, zone: bytes, qtype: RecordType, have: int | None = None) -> bytes:
    """Return a query for a zone.

    Args:
        number: its id.
        zone: name in wire form.
        qtype: SOA, AXFR or IXFR.
        have: the serial that is there already, of IXFR.
    """
    authority = b""
    if have is not None:
        numbers = struct.pack("!5I", have, 0, 0, 0, 0)
        data = b"\0\0" + numbers  # the names are of no use to the primary
        authority = zone + struct.pack("!HHIH", RecordType.SOA, CLASS_IN, 0, len(data)) + data
    head = _HEADER.pack(number, 0, 1, 0, int(have is not None), 0)
    return head + zone + _QUESTION.pack(qtype, CLASS_IN) + authority


def parse_answer(wire: bytes, number: int, zone: bytes, qtype: RecordType) -> AnswerMessage:
    """Return a message that answers a query.

    Args:
        wire: the message.
        number: of the query.
        zone: that was asked for.
        qtype: that was asked for.

    Raises:
        TransferError: it is not such an answer, or not a whole message.
    """
    if len(wire) < _HEADER.size:
        raise TransferError("the answer is shorter than a DNS header")
    found, flags, questions, answers, authorities, additional = _HEADER.unpack_from(wire)
    if found != number or not flags & _RESPONSE or flags & _OPCODE:
        raise TransferError("the answer belongs to another query")
    if flags & _TRUNCATED:
        raise TransferError("the answer is cut (TC=1), though it came over TCP")
    reader = RecordReader(wire)
    at = _skip_question(reader, wire, questions, zone, qtype)
    records = []
    for _ in range(answers):
        record, _, at = reader.record(at)
        records.append(record)
    signature = None
    for _ in range(authorities + additional):
        if signature is not None:
            raise TransferError("the answer has a record behind its signature")
        start = at
        record, data, at = reader.record(at)
        if record.type == RecordType.TSIG:
            signature = (record.owner, start, data, at - data)
    if at != len(wire):
        raise TransferError("the answer has octets behind its last record")
    return AnswerMessage(wire, flags & _RCODE, tuple(records), signature)


def _skip_question(
    reader: RecordReader, wire: bytes, questions: int, zone: bytes, qtype: RecordType
) -> int:
    """Return where the answer section starts; a later message may be without a question."""
    at = _HEADER.size
    if questions > 1:
        raise TransferError("the answer has more than one question")
    if questions:
        name, at = reader.name(at)
        if at + _QUESTION.size > len(wire):
            raise TransferError("the answer ends in its question")
        if name != zone or _QUESTION.unpack_from(wire, at) != (qtype, CLASS_IN):
            raise TransferError("the answer is about another zone or type")
        at += _QUESTION.size
    return at


def rcode_text(rcode: int) -> str:
    """Return what a response code other than 0 means for a transfer."""
    return _RCODES.get(rcode, f"it answers with the response code {rcode}")
