"""The honest side's ear: a socket that takes the answers, each with the kernel's time.

The queries themselves go out with the flood (sender.py), so that they meet what it meets.
Nobody waits at the socket while a flood lasts: the answers stay in it, and the kernel has
noted when each came. Called by site.py.
"""

from __future__ import annotations

import socket
import struct
import time
from typing import TYPE_CHECKING, Final

from tests.bench.drop import sender

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab import Host

_SO_RCVBUFFORCE: Final = 33  # asm-generic/socket.h; Python has no names for these
_SO_TIMESTAMPNS: Final = 35
_ROOM: Final = 32 << 20
_TIMESPEC: Final = struct.Struct("=qq")
_ANSWER: Final = struct.Struct("!HHHHHH")
_RESPONSE: Final = 0x8000
_RCODE: Final = 0x000F


class Ear:
    """A bound socket on the client.

    Args:
        client: where it is.
    """

    def __init__(self, client: Host) -> None:
        self._socket = client.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.settimeout(0)
        self._socket.bind((str(sender.HONEST), sender.HONEST_PORT))

    def close(self) -> None:
        """Close it."""
        self._socket.close()

    def latencies(self, sent_ns: Sequence[int]) -> list[float]:
        """Return how long each answer that is here took, microseconds, and forget all.

        Args:
            sent_ns: when each query was sent, CLOCK_MONOTONIC; its DNS id is its place here.
        """
        offset = time.time_ns() - time.monotonic_ns()
        took: dict[int, float] = {}
        while (taken := self._take()) is not None:
            number, moment = taken
            if number < len(sent_ns):
                took.setdefault(number, (moment - offset - sent_ns[number]) / 1000)
        return list(took.values())

    def _take(self) -> tuple[int, int] | None:
        """Return id and time of the next good answer, None when there is none."""
        while True:
            try:
                answer, ancillary, _, _ = self._socket.recvmsg(512, 64)
            except BlockingIOError:
                return None
            except ConnectionRefusedError:  # nobody listened for an earlier one
                continue
            ident, flags, _, records, *_ = _ANSWER.unpack_from(answer)
            if flags & _RESPONSE and not flags & _RCODE and records:
                (_, _, stamp), *_ = ancillary
                seconds, nanoseconds = _TIMESPEC.unpack(stamp)
                return ident, seconds * 1_000_000_000 + nanoseconds
