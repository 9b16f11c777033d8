"""The records of a DNS message, in wire form.

Owns how names and records are read (RFC 1035, 4.1): a name's compression may only lead backwards,
so that no message can lead in a circle; a name may have at most 255 octets. Names are lower-case
and without compression, those in the data of the types that zones' readers look into, too. Does
not own what records mean (stream.py). Called by messages.py.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple

from xdpctl import abi
from xdpctl.errors import TransferError

CLASS_IN = 1


class RecordType(IntEnum):
    """Types of records that are looked into."""

    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    DNAME = 39
    OPT = 41
    RRSIG = 46
    NSEC3 = 50
    TSIG = 250
    IXFR = 251
    AXFR = 252


class ZoneRecord(NamedTuple):
    """A record.

    Attributes:
        owner: lower-case name in wire form.
        type, class_: their numbers.
        ttl: seconds.
        data: octets; a name in it is whole and lower-case where the type is one of NAMED.
    """

    owner: bytes
    type: int
    class_: int
    ttl: int
    data: bytes


NAMED = frozenset({RecordType.NS, RecordType.CNAME, RecordType.PTR, RecordType.DNAME})
"""Types whose data is one name."""

_FIXED = struct.Struct("!HHIH")
_SOA_NUMBERS = 20
_POINTER = 0xC0
_DEPTH_MAX = 127
"""Labels that a name has at most, and so names that may lead to each other."""


class Soa(NamedTuple):
    """What is used of an SOA record (RFC 1035, 3.3.13): u32 each, times in seconds."""

    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int


class RecordReader:
    """Reads the records of one message.

    Args:
        wire: the message.
    """

    def __init__(self, wire: bytes) -> None:
        self._wire = wire
        self._lower = wire.lower()  # lengths are not letters; the octets of pointers may be
        self._names: dict[int, bytes] = {}

    def name(self, at: int, depth: int = 0) -> tuple[bytes, int]:
        """Return the name at an offset, and the offset behind it.

        Args:
            at: the offset.
            depth: how many names have led to it.

        Raises:
            TransferError: it is not a name.
        """
        wire, start = self._wire, at
        try:
            while length := wire[at]:
                if length > abi.LABEL_MAX:
                    break
                at += length + 1
            if not length:
                end = at + 1
                whole = self._lower[start:end]
            elif length >= _POINTER:
                target, end = (length & ~_POINTER) << 8 | wire[at + 1], at + 2
                if target >= start:  # so no two pointers can lead to each other
                    raise TransferError("a compressed name leads forward or in a circle")
                tail = self._names.get(target)
                if tail is None:
                    if depth >= _DEPTH_MAX:
                        raise TransferError("a compressed name leads to too many others")
                    tail = self.name(target, depth + 1)[0]
                whole = self._lower[start:at] + tail
            else:
                raise TransferError(f"a label begins with the octet {length:#04x}")
        except IndexError:
            raise TransferError(_CUT) from None
        if len(whole) > abi.NAME_MAX:
            raise TransferError(_LONG)
        self._names[start] = whole
        return whole, end

    def record(self, at: int) -> tuple[ZoneRecord, int, int]:
        """Return the record at an offset, and the offsets of its data and behind it.

        Raises:
            TransferError: it is not a whole record.
        """
        owner, fixed = self.name(at)
        try:
            type_, class_, ttl, size = _FIXED.unpack_from(self._wire, fixed)
        except struct.error:
            raise TransferError(_CUT) from None
        data = fixed + _FIXED.size
        end = data + size
        if end > len(self._wire):
            raise TransferError(_CUT)
        octets = self._wire[data:end]
        if type_ in NAMED:
            octets, behind = self.name(data)
            if behind != end:
                raise TransferError(_ODD_DATA)
        elif type_ == RecordType.SOA:
            octets = self._soa(data, end)
        return ZoneRecord(owner, type_, class_, ttl, octets), data, end

    def _soa(self, at: int, end: int) -> bytes:
        primary, at = self.name(at)
        mailbox, at = self.name(at)
        if end - at != _SOA_NUMBERS:
            raise TransferError(_ODD_DATA)
        return primary + mailbox + self._wire[at:end]


def soa_of(record: ZoneRecord) -> Soa:
    """Return what an SOA record says."""
    return Soa(*struct.unpack("!5I", record.data[-_SOA_NUMBERS:]))


_CUT = "a record does not end within its message"
_LONG = "a name has more than 255 octets"
_ODD_DATA = "a record's data has another length than its type"
