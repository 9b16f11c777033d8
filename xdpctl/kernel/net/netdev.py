"""Asks the kernel whether a driver can run XDP, without trying.

Owns the two generic netlink messages for that (linux/netdev.h, since Linux 6.3). Called by
interfaces.py. Blocks for less than a millisecond. Does not own the socket (rtnetlink.py).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from xdpctl.kernel.net import rtnetlink

if TYPE_CHECKING:
    from collections.abc import Iterator

_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_ID, _CTRL_ATTR_FAMILY_NAME = 16, 3, 1, 2
_NETDEV_CMD_DEV_GET, _NETDEV_A_DEV_IFINDEX, _NETDEV_A_DEV_XDP_FEATURES = 1, 1, 3
_XDP_ACT_BASIC = 1

_HEADER = struct.Struct("=IHHII")  # length with header, type, flags, sequence, port
_GENERIC = struct.Struct("=BBH")  # command, version, reserved
_ATTRIBUTE = struct.Struct("=HH")  # length with header, type
_TYPE_MASK = 0x3FFF


def native_xdp(ifindex: int) -> bool | None:
    """Return whether the driver can run XDP programs now; None if the kernel cannot tell.

    The answer may change with the card's settings (for veth, the number of queues).
    """
    try:
        family = _ask(_GENL_ID_CTRL, _CTRL_CMD_GETFAMILY, _CTRL_ATTR_FAMILY_NAME, b"netdev\0")
        number = int.from_bytes(family[_CTRL_ATTR_FAMILY_ID], "little")
        index = struct.pack("=I", ifindex)
        device = _ask(number, _NETDEV_CMD_DEV_GET, _NETDEV_A_DEV_IFINDEX, index)
        return bool(device[_NETDEV_A_DEV_XDP_FEATURES][0] & _XDP_ACT_BASIC)
    except (rtnetlink.RefusedError, KeyError):
        return None


def _ask(family: int, command: int, attribute: int, value: bytes) -> dict[int, bytes]:
    """Return the attributes of the answer to a question with one attribute.

    Raises:
        RefusedError: the kernel refused; ENOENT for a family that it does not have.
    """
    padded = value + bytes(-len(value) % 4)
    body = _GENERIC.pack(command, 1, 0)
    body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(value), attribute) + padded
    header = _HEADER.pack(_HEADER.size + len(body), family, rtnetlink.NLM_F_REQUEST, 1, 0)
    found: dict[int, bytes] = {}
    for _, message in rtnetlink.converse(header + body, rtnetlink.GENERIC):
        found.update(_attributes(message[_HEADER.size + _GENERIC.size :]))
    return found


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < _ATTRIBUTE.size:
            return
        yield kind & _TYPE_MASK, data[offset + _ATTRIBUTE.size : offset + length]
        offset += (length + 3) & ~3
