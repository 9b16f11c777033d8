"""Honest questions and their answers, as octets. Called by honest.py."""

from __future__ import annotations

import struct
from typing import Final

import dns.edns
import dns.message
import dns.rcode

from tests.packets import message

_HEADER: Final = struct.Struct("!HHHHHH")
_RESPONSE, _TRUNCATED, _RCODE = 0x8000, 0x0200, 0x000F
_COOKIE: Final = 10
_BUFFER: Final = 1232


def query(ident: int, name: str, cookie: bytes = b"") -> bytes:
    """Return a query with EDNS, as resolvers send it.

    Args:
        ident: DNS id.
        name: that is asked for.
        cookie: of the client, with the server's behind it; empty for none.
    """
    option = struct.pack("!HH", _COOKIE, len(cookie)) + cookie if cookie else b""
    opt = b"\0" + struct.pack("!HHIH", message.OPT, _BUFFER, 0, len(option)) + option
    head = message.header(ident, message.RD, 1, 0, 0, 1)
    return head + message.question(name) + opt


def ident_of(answer: bytes) -> int:
    """Return the DNS id; -1 where there is none."""
    return int.from_bytes(answer[:2]) if len(answer) >= _HEADER.size else -1


def is_truncated(answer: bytes) -> bool:
    """Whether it sends the asker to TCP."""
    _, flags, *_ = _HEADER.unpack_from(answer)
    return bool(flags & _RESPONSE and flags & _TRUNCATED)


def is_good(answer: bytes) -> bool:
    """Whether it answers the question."""
    _, flags, _, records, *_ = _HEADER.unpack_from(answer)
    return bool(flags & _RESPONSE and not flags & _RCODE and records)


def is_bad_cookie(answer: bytes) -> bool:
    """Whether it asks for the query again, with the cookie that it brings."""
    _, flags, *_ = _HEADER.unpack_from(answer)
    if flags & _RCODE != dns.rcode.BADCOOKIE & _RCODE:
        return False
    return dns.message.from_wire(answer, ignore_trailing=True).rcode() == dns.rcode.BADCOOKIE


def server_cookie(answer: bytes) -> bytes:
    """Return the client's and the server's cookie of an answer, empty without."""
    for option in dns.message.from_wire(answer, ignore_trailing=True).options:
        if option.otype == _COOKIE:
            data = option.to_wire() or b""
            return data if len(data) > 8 else b""
    return b""
