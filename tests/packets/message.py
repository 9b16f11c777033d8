"""DNS messages in wire form, whole or wrong on purpose.

Owns names, headers, questions and the OPT record; frames are build.py's. dnspython
would refuse to write most of what the table needs (names cut short, counts that lie),
so a unit test only lets it read what these functions write.
"""

from __future__ import annotations

import struct

A = 1
NS = 2
TXT = 16
AAAA = 28
OPT = 41
ANY = 255

IN = 1
CH = 3

RD = 0x0100
"""Header flags word of an ordinary query: recursion desired and nothing else."""

QR = 0x8000
AA = 0x0400
TC = 0x0200
RA = 0x0080
Z = 0x0040
AD = 0x0020
CD = 0x0010

DO = 0x8000
"""DNSSEC OK, in the low half of the OPT record's TTL."""


def opcode(number: int) -> int:
    """Return the flags that say this OPCODE."""
    return number << 11


def name(text: str) -> bytes:
    """Return the wire form, letter case kept; "" or "." is the root."""
    return labels(*(label.encode("ascii") for label in text.split(".") if label))


def labels(*parts: bytes) -> bytes:
    """Return the wire form of these labels and the root, whatever octets they hold."""
    return b"".join(bytes([len(part)]) + part for part in parts) + b"\0"


def long_name(octets: int) -> bytes:
    """Return a name of exactly this many octets, root included, in labels of 63 and less.

    Args:
        octets: 3 or more, and not one that would leave a label of no octets.
    """
    if octets < 3 or octets % 64 == 2:
        raise ValueError(f"no such name of {octets} octets")
    parts: list[bytes] = []
    left = octets - 1
    while left:
        size = min(left, 64) - 1
        parts.append(b"abcdefghijklmnopqrstuvwxyz0123456789-abcdefghijklmnopqrstuvwxyz"[:size])
        left -= size + 1
    return labels(*parts)


def header(ident: int, flags: int, *counts: int) -> bytes:
    """Return the 12 octets; `counts` are QD, AN, NS and AR."""
    return struct.pack("!6H", ident, flags, *counts)


def question(qname: str | bytes, qtype: int = A, qclass: int = IN) -> bytes:
    """Return name, type and class; a name in octets is taken as it is."""
    wire = name(qname) if isinstance(qname, str) else qname
    return wire + struct.pack("!2H", qtype, qclass)


def query(  # noqa: PLR0913 - one argument a field of the message
    qname: str | bytes,
    qtype: int = A,
    *,
    qclass: int = IN,
    ident: int = 0x1234,
    flags: int = RD,
    counts: tuple[int, int, int, int] = (1, 0, 0, 0),
    behind: bytes = b"",
) -> bytes:
    """Return a message with one question and, behind it, `behind` as it is."""
    return header(ident, flags, *counts) + question(qname, qtype, qclass) + behind


def eights(message: bytes) -> bytes:
    """Return the message with as many zeros behind as a first fragment of UDP has to have."""
    return message + bytes(-len(message) % 8)


def opt(  # noqa: PLR0913 - one argument a field of the record
    size: int = 1232,
    *,
    flags: int = 0,
    version: int = 0,
    rcode: int = 0,
    options: bytes = b"",
    length: int | None = None,
) -> bytes:
    """Return an OPT record (RFC 6891).

    Args:
        size: UDP payload size, the record's class.
        flags: DO and the 15 bits beside it.
        version: of EDNS.
        rcode: upper eight bits of the extended RCODE.
        options: RDATA.
        length: RDLENGTH where it is not RDATA's length.
    """
    rdlength = len(options) if length is None else length
    return b"\0" + struct.pack("!HHBBHH", OPT, size, rcode, version, flags, rdlength) + options


def edns_query(qname: str | bytes, record: bytes, qtype: int = A, flags: int = RD) -> bytes:
    """Return a query with this record as its only additional one."""
    return query(qname, qtype, flags=flags, counts=(1, 0, 0, 1), behind=record)


def truncated(asked: bytes, record: bytes = b"", *, ident: int = 0x1234, flags: int) -> bytes:
    """Return a TC=1 answer: header, the question's octets, at most one additional record.

    Args:
        asked: the question as it was sent.
        record: the bare OPT of the answer, or nothing.
        ident: of the query.
        flags: the whole flags word that is expected.
    """
    return header(ident, flags, 1, 0, 0, 1 if record else 0) + asked + record


COOKIE = bytes.fromhex("000a00080123456789abcdef")
"""EDNS option: a client cookie (RFC 7873)."""


def padding(octets: int) -> bytes:
    """Return the EDNS option of this many padding octets (RFC 7830)."""
    return struct.pack("!HH", 12, octets) + bytes(octets)


def record(owner: bytes, rtype: int, rdata: bytes, rclass: int = IN, ttl: int = 60) -> bytes:
    """Return any other resource record."""
    return owner + struct.pack("!HHIH", rtype, rclass, ttl, len(rdata)) + rdata
