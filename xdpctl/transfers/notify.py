"""NOTIFY (RFC 1996): a primary says that a zone has changed.

Owns the form of the message and of its answer. Does not own sockets, or what follows from a
message: it is a hint, which anybody can send. Called by feeds/zone/.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from xdpctl.errors import TransferError
from xdpctl.transfers.messages import NOTAUTH
from xdpctl.transfers.records import CLASS_IN, RecordReader, RecordType

NOT_OURS = NOTAUTH
"""The response code for a zone that is not followed, and for a signature that is wrong."""

SIZE_MAX = 4096
"""Octets of a message; one with a signature has some hundred."""

RECORDS_MAX = 16
"""Of a message: the new SOA record, OPT and TSIG are what is sent."""

_HEADER = struct.Struct("!6H")
_QUESTION = struct.Struct("!2H")
_RESPONSE = 0x8000
_OPCODE = 0x7800
_NOTIFY = 4 << 11
_AUTHORITATIVE = 0x0400


@dataclass(frozen=True, slots=True)
class NotifyMessage:
    """A NOTIFY of a zone's SOA record.

    Attributes:
        wire: the message.
        number: its id.
        zone: lower-case name in wire form.
        question: its octets, which the answer repeats.
        signature: of its TSIG record, as in messages.AnswerMessage; None: it is not signed.
    """

    wire: bytes = field(repr=False)
    number: int
    zone: bytes
    question: bytes = field(repr=False)
    signature: tuple[bytes, int, int, int] | None = None


def parse_notify(wire: bytes) -> NotifyMessage:
    """Return what a message says. The work is bounded.

    Raises:
        TransferError: it is not a NOTIFY of a zone's SOA record.
    """
    if not _HEADER.size <= len(wire) <= SIZE_MAX:
        raise TransferError("the message is shorter than a DNS header, or too long for a NOTIFY")
    number, flags, questions, *counts = _HEADER.unpack_from(wire)
    if flags & (_RESPONSE | _OPCODE) != _NOTIFY or questions != 1:
        raise TransferError("the message is not a NOTIFY with one question")
    if sum(counts) > RECORDS_MAX:
        raise TransferError(f"the message has more than {RECORDS_MAX} records")
    reader = RecordReader(wire)
    zone, at = reader.name(_HEADER.size)
    end = at + _QUESTION.size
    if end > len(wire) or _QUESTION.unpack_from(wire, at) != (RecordType.SOA, CLASS_IN):
        raise TransferError("the NOTIFY is not about an SOA record")
    question = wire[_HEADER.size : end]
    signature = None
    for _ in range(sum(counts)):
        if signature is not None:
            raise TransferError("the message has a record behind its signature")
        start = end
        record, data, end = reader.record(end)
        if record.type == RecordType.TSIG:
            signature = (record.owner, start, data, end - data)
    if end != len(wire):
        raise TransferError("the message has octets behind its last record")
    return NotifyMessage(wire, number, zone, question, signature)


def notify_answer(message: NotifyMessage, rcode: int = 0) -> bytes:
    """Return the answer to a NOTIFY: its header and its question, so never longer than it."""
    flags = _RESPONSE | _NOTIFY | _AUTHORITATIVE | rcode
    return _HEADER.pack(message.number, flags, 1, 0, 0, 0) + message.question
