"""DNS cookies as a server makes them (RFC 9018), and queries that carry them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from tests.engines.siphash import siphash
from tests.packets.message import OPT, RD, query

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

COOKIE_OPTION = 10
CLIENT_PART = bytes.fromhex("2464c4abcf10c957")


def server_cookie(
    key: bytes, source: IPv4Address | IPv6Address, stamp: int, client: bytes = CLIENT_PART
) -> bytes:
    """Return client and server cookie: 24 octets.

    Args:
        key: the server's secret, 16 octets.
        source: the client's address.
        stamp: Unix time, modulo 2^32.
        client: the client's part, 8 octets.
    """
    head = client + b"\1\0\0\0" + struct.pack("!I", stamp)
    return head + siphash(key, head + source.packed)


def option(code: int, data: bytes) -> bytes:
    """Return an EDNS option."""
    return struct.pack("!HH", code, len(data)) + data


def query_with(
    cookie: bytes,
    name: str = "www.example",
    *,
    before: bytes = b"",
    counts: tuple[int, int, int, int] = (1, 0, 0, 1),
    size: int | None = None,
) -> bytes:
    """Return a query whose OPT has this cookie.

    Args:
        cookie: the option's data.
        name: of the question.
        before: options in front of it.
        counts: of the header.
        size: of the options, as the record says; None: as it is.
    """
    options = before + option(COOKIE_OPTION, cookie)
    length = len(options) if size is None else size
    record = struct.pack("!BHHIH", 0, OPT, 1232, 0, length) + options
    return query(name, flags=RD, counts=counts, behind=record)
