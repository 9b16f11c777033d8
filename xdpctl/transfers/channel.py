"""A TCP connection to a primary that can neither last for ever nor bring too much.

Owns the framing of messages over TCP (RFC 1035, 4.2.2) and the bounds. Does not own what messages
say. Called by client.py, in a process or thread that may block. A connection over TLS is another
way to open the socket (`connect`), nothing else here knows.
"""

from __future__ import annotations

import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xdpctl.errors import TransferError

if TYPE_CHECKING:
    from collections.abc import Callable
    from ipaddress import IPv4Address, IPv6Address

_LENGTH = struct.Struct("!H")

PATIENCE = 20.0
"""Seconds after which an answer must come at a certain rate."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one exchange may take.

    Attributes:
        idle: seconds without an octet, also of the connection's start.
        seconds: altogether.
        rate: octets a second at least, after `PATIENCE` seconds.
        messages, octets: of the answer.
        records: of the answer; also of one that is compressed to little.
    """

    idle: float = 10.0
    seconds: float = 300.0
    rate: float = 2000.0
    messages: int = 1_000_000
    octets: int = 1 << 30
    records: int = 20_000_000


class Channel:
    """A connection; a context manager whose end closes it. Everything blocks.

    Args:
        connected: the socket.
        bounds: of the exchange.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        connected: socket.socket,
        bounds: Bounds,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._socket = connected
        self._bounds = bounds
        self._clock = clock
        self._began = clock()
        self._messages = 0
        self._octets = 0
        self._buffer = bytearray()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            TransferError: the primary does not take it.
        """
        try:
            self._socket.settimeout(self._left())
            self._socket.sendall(_LENGTH.pack(len(message)) + message)
        except TimeoutError:
            raise self._slow() from None
        except OSError as error:
            raise _broken(error) from error

    def receive(self) -> bytes:
        """Return the next message.

        Raises:
            TransferError: there is no other message, it is cut, or a bound is reached.
        """
        self._messages += 1
        if self._messages > self._bounds.messages:
            raise TransferError(f"the answer has more than {self._bounds.messages:,} messages")
        (size,) = _LENGTH.unpack(self._read(_LENGTH.size))
        return self._read(size)

    def _read(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._fill()
        octets = bytes(self._buffer[:size])
        del self._buffer[:size]
        return octets

    def _fill(self) -> None:
        try:
            self._socket.settimeout(self._left())
            part = self._socket.recv(65_536)
        except TimeoutError:
            raise self._slow() from None
        except OSError as error:
            raise _broken(error) from error
        if not part:
            raise TransferError("the primary closed the connection before the answer was whole")
        self._octets += len(part)
        if self._octets > self._bounds.octets:
            raise TransferError(f"the answer has more than {self._bounds.octets:,} octets")
        self._buffer += part

    def _left(self) -> float:
        """Return the seconds that the next step may take."""
        left = self._end - self._clock()
        if left <= 0:
            raise self._slow()
        return min(left, self._bounds.idle)

    @property
    def _end(self) -> float:
        """When the exchange ends at the latest, if no further octet comes."""
        return self._began + min(self._bounds.seconds, PATIENCE + self._octets / self._bounds.rate)

    def _slow(self) -> TransferError:
        passed = self._clock() - self._began
        if passed >= self._bounds.seconds:
            return TransferError(
                f"the answer is not whole after {self._bounds.seconds:g} seconds; {_FASTER}"
            )
        if self._began + passed >= self._end:
            return TransferError(
                f"the primary sends less than {self._bounds.rate:,g} octets a second; {_FASTER}"
            )
        return TransferError(f"the primary sent nothing for {self._bounds.idle:g} seconds")


def connect(address: IPv4Address | IPv6Address, port: int, seconds: float) -> socket.socket:
    """Return a socket that is connected. Blocks.

    Raises:
        TransferError: nobody accepts the connection.
    """
    try:
        return socket.create_connection((str(address), port), timeout=seconds)
    except TimeoutError as error:
        raise TransferError(
            f"nothing answers within {seconds:g} seconds; check that the primary runs and that no"
            " firewall is between"
        ) from error
    except OSError as error:
        raise TransferError(
            f"no TCP connection: {error.strerror or error}; check that the primary runs and"
            " listens there"
        ) from error


_FASTER = "try again when the primary or the way to it is faster"


def _broken(error: OSError) -> TransferError:
    return TransferError(f"the connection broke: {error.strerror or error}")
