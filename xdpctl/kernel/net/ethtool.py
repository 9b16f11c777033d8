"""Channels, features and driver of a network interface, through the ethtool ioctl.

It uses the ioctl and not ethtool's netlink family: every kernel from 5.10 on and every driver
answer the ioctl, in one call on one socket. Called by interfaces.py; blocks for microseconds. The
numbers are from linux/ethtool.h. Owns the layout of these requests. Does not own what follows from
the answers.
"""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from dataclasses import dataclass

_SIOCETHTOOL = 0x8946
_GET_DRIVER = 0x03
_GET_STRINGS = 0x1B
_GET_STRING_COUNT = 0x37
_GET_FEATURES = 0x3A
_GET_CHANNELS = 0x3C
_FEATURE_NAMES = 4
_STRING_SIZE = 32
_FEATURE_BLOCK = struct.Struct("=IIII")


@dataclass(frozen=True, slots=True)
class Channels:
    """Queues in use and their maximum numbers: receive, transmit, combined."""

    rx: int
    tx: int
    combined: int
    max_rx: int
    max_tx: int
    max_combined: int

    @property
    def receiving(self) -> int:
        """The number of queues that packets arrive on: an XSKMAP needs as many ids."""
        return self.rx + self.combined


class Ethtool:
    """Questions to the driver of one interface; None or empty if the driver does not answer.

    Args:
        interface: its name, in the network namespace of the calling thread.
    """

    def __init__(self, interface: str) -> None:
        self._interface = interface

    def driver(self) -> str | None:
        """Return the driver's name, as `ethtool -i` shows it."""
        answer = self._ask(struct.pack("=I192x", _GET_DRIVER))
        return _text(answer[4:36]) or None if answer else None

    def channels(self) -> Channels | None:
        """Return the numbers of queues, as `ethtool -l` shows them."""
        answer = self._ask(struct.pack("=I32x", _GET_CHANNELS))
        if answer is None:
            return None
        # cmd, then rx, tx, other, combined: first the maximum, then those in use
        _, max_rx, max_tx, _, max_combined, rx, tx, _, combined = struct.unpack("=9I", answer)
        return Channels(rx, tx, combined, max_rx, max_tx, max_combined)

    def features(self) -> frozenset[str]:
        """Return the names of the features that are on, as `ethtool -k` shows them."""
        mask_of_sets = 1 << _FEATURE_NAMES
        counted = self._ask(struct.pack("=IIQI", _GET_STRING_COUNT, 0, mask_of_sets, 0))
        if counted is None:
            return frozenset()
        count = struct.unpack_from("=I", counted, 16)[0]
        names = self._ask(
            struct.pack("=III", _GET_STRINGS, _FEATURE_NAMES, count) + bytes(count * _STRING_SIZE)
        )
        blocks = (count + 31) // 32
        states = self._ask(
            struct.pack("=II", _GET_FEATURES, blocks) + bytes(blocks * _FEATURE_BLOCK.size)
        )
        if names is None or states is None:
            return frozenset()
        # available, requested, active, never changed
        active = [block[2] for block in _FEATURE_BLOCK.iter_unpack(states[8:])]
        return frozenset(
            _text(names[12 + number * _STRING_SIZE :][:_STRING_SIZE])
            for number in range(count)
            if active[number // 32] >> number % 32 & 1
        )

    def _ask(self, request: bytes) -> bytes | None:
        """Return the driver's answer, which has the length of the request."""
        buffer = array.array("B", request)
        address, _ = buffer.buffer_info()
        ifreq = struct.pack("=16sQ16x", os.fsencode(self._interface)[:15], address)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
                fcntl.ioctl(channel, _SIOCETHTOOL, ifreq)
        except OSError:
            return None
        return buffer.tobytes()


def _text(field: bytes) -> str:
    """Return a zero-terminated field as text."""
    return field.split(b"\0", 1)[0].decode("ascii", "replace")
