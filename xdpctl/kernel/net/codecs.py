"""What netlink messages are made of: heads, attributes, links (linux/netlink.h, if_link.h).

Owns the bytes of a request, of attributes, and of RTM_NEWLINK as far as interfaces.py reads it.
Does not own sockets and framing (rtnetlink.py) or what the values mean. Called by the other
modules of this folder. Pure.
"""

from __future__ import annotations

import os
import struct
import sys
from enum import IntEnum
from typing import NamedTuple

HEADER = struct.Struct("=IHHII")
"""`struct nlmsghdr`: length with header, type, flags, sequence, port."""

_ATTRIBUTE = struct.Struct("=HH")  # length with header, type
_LINK = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, index, flags, change
_NESTED, _TYPE_MASK = 0x8000, 0x3FFF
_REQUEST = 1


class LinkAttribute(IntEnum):
    """IFLA_… of linux/if_link.h."""

    IFNAME = 3
    MTU = 4
    MASTER = 10
    LINKINFO = 18
    EXT_MASK = 29
    NUM_RX_QUEUES = 32
    XDP = 43


class XdpAttribute(IntEnum):
    """IFLA_XDP_…, inside IFLA_XDP."""

    FD = 1
    FLAGS = 3
    DRV_PROG_ID = 5
    SKB_PROG_ID = 6
    HW_PROG_ID = 7
    EXPECTED_FD = 8


class LinkMessage(NamedTuple):
    """The content of a RTM_NEWLINK or RTM_DELLINK message.

    Attributes:
        family: AF_UNSPEC, or that of a bridge that reports its port.
        kind: ARPHRD_…
        ifindex: of the interface.
        flags: IFF_…
        attributes: by number.
    """

    family: int
    kind: int
    ifindex: int
    flags: int
    attributes: dict[int, bytes]

    def number(self, attribute: LinkAttribute) -> int | None:
        """Return an attribute that is a number; None if the kernel sent none."""
        return number(self.attributes.get(attribute))

    @property
    def name(self) -> str:
        """The interface's name."""
        return text(self.attributes[LinkAttribute.IFNAME])


def request(kind: int, flags: int, body: bytes) -> bytes:
    """Return a request.

    Args:
        kind: the type of the message.
        flags: NLM_F_…, without NLM_F_REQUEST.
        body: what follows the header.
    """
    return HEADER.pack(HEADER.size + len(body), kind, _REQUEST | flags, 1, 0) + body


def link_request(kind: int, flags: int, content: bytes, index: int = 0) -> bytes:
    """Return a request about links.

    Args:
        kind: RTM_GETLINK or RTM_SETLINK.
        flags: NLM_F_…, without NLM_F_REQUEST.
        content: attributes.
        index: of the interface; 0: the attributes say which.
    """
    return request(kind, flags, _LINK.pack(0, 0, index, 0, 0) + content)


def link_message(message: bytes) -> LinkMessage:
    """Return the content of a RTM_NEWLINK or RTM_DELLINK message, given with its header."""
    family, kind, index, flags, _ = _LINK.unpack_from(message, HEADER.size)
    return LinkMessage(family, kind, index, flags, attributes(message[HEADER.size + _LINK.size :]))


def attribute(kind: int, value: bytes) -> bytes:
    """Return one attribute, padded."""
    head = _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), kind)
    return head + value + bytes(-len(value) % 4)


def nested(kind: int, content: bytes) -> bytes:
    """Return an attribute that holds attributes."""
    return attribute(kind | _NESTED, content)


def attributes(data: bytes) -> dict[int, bytes]:
    """Return attributes by number; what is not whole is left out."""
    found: dict[int, bytes] = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size or offset + length > len(data):
            break
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += aligned(length)
    return found


def number(value: bytes | None) -> int | None:
    """Return an unsigned number in this host's byte order, of any size."""
    return None if value is None else int.from_bytes(value, sys.byteorder)


def text(value: bytes) -> str:
    """Return a text that ends with a zero octet; a name need not be valid UTF-8."""
    return os.fsdecode(value.partition(b"\0")[0])


def aligned(length: int) -> int:
    """Return the length, rounded up to a multiple of 4."""
    return (length + 3) & ~3
