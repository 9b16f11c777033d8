"""The rtnetlink socket: one request and its whole answer, with the kernel's reasons.

Owns framing, dumps and error messages (linux/netlink.h). The contents of messages belong to
interfaces.py and netdev.py, which call it; blocks for less than a millisecond. Does not own what
is asked.
"""

from __future__ import annotations

import errno
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

GENERIC = 16
"""The protocol number of generic netlink."""

GROUP_LINK = 1
"""Multicast group of RTM_NEWLINK and RTM_DELLINK, as a bit."""

NLM_F_REQUEST = 1
NLM_F_ACK = 4
NLM_F_DUMP = 0x300
_NLM_F_MULTI = 2
_NLM_F_DUMP_INTR = 0x10

BUFFER = 1 << 17
"""More than the kernel puts into one datagram (32 KiB)."""

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_NLMSGERR_ATTR_MSG = 1
_SOL_NETLINK, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 270, 10, 11
_HEADER = struct.Struct("=IHHII")  # length with header, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length with header, type
_ERROR_BODY = 4 + _HEADER.size  # the errno, the header of what was asked
_ATTEMPTS = 8


class RefusedError(Exception):
    """The kernel refused a request. interfaces.py turns it into a sentence.

    Args:
        number: errno.
        reason: the kernel's or the driver's own words, often empty.
    """

    def __init__(self, number: int, reason: str) -> None:
        super().__init__(number, reason)
        self.number = number
        self.reason = reason


def open_socket(groups: int = 0, protocol: int = socket.NETLINK_ROUTE) -> socket.socket:
    """Return a socket that receives these groups' messages, and errors with reasons.

    Raises:
        RefusedError: no descriptors left, or netlink is forbidden.
    """
    try:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, protocol)
    except OSError as error:
        raise RefusedError(error.errno or errno.EIO, "") from error
    try:
        opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        opened.bind((0, groups))
    except OSError as error:
        opened.close()
        raise RefusedError(error.errno or errno.EIO, "") from error
    return opened


def converse(request: bytes, protocol: int = socket.NETLINK_ROUTE) -> list[tuple[int, bytes]]:
    """Send a request and return the messages of its answer: type, message with header.

    If something changes during a dump, the dump is requested again.

    Raises:
        RefusedError: the kernel refused.
    """
    for _ in range(_ATTEMPTS):
        with open_socket(protocol=protocol) as channel:
            try:
                channel.send(request)
                answer = _answer(channel)
            except OSError as error:
                raise RefusedError(error.errno or errno.EIO, "") from error
        if answer is not None:
            return answer
    raise RefusedError(errno.EAGAIN, "interfaces change faster than they can be listed")


def drain(channel: socket.socket) -> None:
    """Discard what is queued in a non-blocking socket, after an overrun.

    The kernel silently drops further messages until the queue was empty once.
    """
    while True:
        try:
            channel.recv(BUFFER)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != errno.ENOBUFS:
                raise


def split(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield the whole messages of a datagram: type, flags, message with header."""
    offset = 0
    while offset + _HEADER.size <= len(data):
        length, kind, flags, _, _ = _HEADER.unpack_from(data, offset)
        if length < _HEADER.size or offset + length > len(data):
            return
        yield kind, flags, data[offset : offset + length]
        offset += _aligned(length)


def _answer(channel: socket.socket) -> list[tuple[int, bytes]] | None:
    """Return the whole answer, None if a change interrupted the dump."""
    found: list[tuple[int, bytes]] = []
    interrupted = False
    while True:
        for kind, flags, message in split(channel.recv(BUFFER)):
            interrupted |= bool(flags & _NLM_F_DUMP_INTR)
            if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                _check(message)
                return None if interrupted else found
            found.append((kind, message))
            if not flags & _NLM_F_MULTI:
                return found


def _check(message: bytes) -> None:
    """Raise the error in an error message; errno 0 is an acknowledgement."""
    if len(message) < _HEADER.size + 4:
        return
    number = -struct.unpack_from("=i", message, _HEADER.size)[0]
    if number > 0:
        raise RefusedError(number, _reason(message[_HEADER.size + _ERROR_BODY :]))


def _reason(attributes: bytes) -> str:
    """Return the text from the attributes of an error message."""
    offset = 0
    while offset + _ATTRIBUTE.size <= len(attributes):
        length, kind = _ATTRIBUTE.unpack_from(attributes, offset)
        if length < _ATTRIBUTE.size:
            break
        if kind == _NLMSGERR_ATTR_MSG:
            text = attributes[offset + _ATTRIBUTE.size : offset + length]
            return text.rstrip(b"\0").decode("utf-8", "replace")
        offset += _aligned(length)
    return ""


def _aligned(length: int) -> int:
    """Return the length, rounded up to a multiple of 4."""
    return (length + 3) & ~3
