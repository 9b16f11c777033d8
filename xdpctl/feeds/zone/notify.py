"""Listens for NOTIFY: takes the hints, answers as RFC 1996 says, and counts.

Owns the sockets' loop and its bounds: so many messages a second, connections, seconds and octets.
Does not own the form of messages (transfers/notify.py), or what a hint leads to (__main__.py).
Anybody can send a message, so none is believed: it leads to a question to a primary at most.
"""

from __future__ import annotations

import ipaddress
import selectors
import socket
import struct
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import TransferError
from xdpctl.feeds.zone.messages import NotifyResult
from xdpctl.transfers.notify import NOT_OURS, SIZE_MAX, notify_answer, parse_notify

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.transfers.key_file import TsigKey
    from xdpctl.transfers.notify import NotifyMessage

PER_SECOND = 2000
"""Messages that are read in one second; others wait for the next, or the kernel drops them."""

AT_ONCE = 100
"""Datagrams that are read before the other sockets are looked at."""

CONNECTIONS = 64
CONNECTION_SECONDS = 10.0

_LENGTH = struct.Struct("!H")
_IP_PKTINFO = 8
_TELL_ADDRESS = {
    socket.AF_INET: (socket.IPPROTO_IP, _IP_PKTINFO),
    socket.AF_INET6: (socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO),
}


@dataclass(slots=True)
class _Caller:
    """A TCP connection, and what it has sent of its next message."""

    connected: socket.socket
    ends: float
    buffer: bytearray = field(default_factory=bytearray)


class NotifyListener:
    """The sockets for NOTIFY. Call `begin`, then `run`, which blocks for ever.

    Args:
        sockets: UDP, or listening TCP; they are closed with the process.
        keys: of the primaries of each zone, by the zone's name in wire form.
        hint: called with the zone and the sender's address.
        count: called about once a second with what came.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        keys: Mapping[bytes, Sequence[TsigKey]],
        hint: Callable[[bytes, IPv4Address | IPv6Address], None],
        count: Callable[[dict[NotifyResult, int]], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sockets = sockets
        self._keys = keys
        self._hint = hint
        self._count = count
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._callers: dict[int, _Caller] = {}
        self._counts: Counter[NotifyResult] = Counter()
        self._second = clock()
        self._left = PER_SECOND

    def begin(self) -> None:
        """Prepare the sockets."""
        for each in self._sockets:
            each.settimeout(0)
            if each.type == socket.SOCK_DGRAM:
                with suppress(OSError):  # without it, the kernel chooses the answer's address
                    each.setsockopt(*_TELL_ADDRESS[each.family], 1)
            self._selector.register(each, selectors.EVENT_READ)

    def run(self) -> None:
        """Serve the sockets for ever."""
        while True:
            self.step(1.0)

    def step(self, seconds: float) -> None:
        """Serve what has come, or wait for it so long at most."""
        if self._left <= 0:
            time.sleep(max(0.0, self._second + 1.0 - self._clock()))
        else:
            for key, _ in self._selector.select(seconds):
                served = key.fileobj
                if not isinstance(served, socket.socket):
                    continue
                try:
                    self._serve(served)
                except OSError:
                    self._left -= 1  # one that fails again and again costs no more than a flood
        self._end_second()

    def _serve(self, served: socket.socket) -> None:
        if served.type == socket.SOCK_DGRAM:
            self._datagrams(served)
        elif (caller := self._callers.get(served.fileno())) is not None:
            self._read(caller)
        else:
            self._accept(served)

    def _end_second(self) -> None:
        now = self._clock()
        if now - self._second < 1.0:
            return
        self._second, self._left = now, PER_SECOND
        for caller in [caller for caller in self._callers.values() if caller.ends <= now]:
            self._close(caller, NotifyResult.DROPPED if caller.buffer else None)
        if self._counts:
            counts, self._counts = self._counts, Counter()
            self._count(dict(counts))

    # --- UDP ----------------------------------------------------------------------------

    def _datagrams(self, served: socket.socket) -> None:
        for _ in range(min(self._left, AT_ONCE)):
            try:
                wire, control, _, sender = served.recvmsg(SIZE_MAX + 1, 64)
            except BlockingIOError:
                return
            answer = self._take(wire, _address(sender[0]))
            if answer is not None:
                with suppress(OSError):
                    served.sendmsg([answer], _from_there(control), 0, sender)

    # --- TCP ----------------------------------------------------------------------------

    def _accept(self, served: socket.socket) -> None:
        self._left -= 1
        connected, _ = served.accept()
        connected.settimeout(0)
        if len(self._callers) >= CONNECTIONS:
            oldest = min(self._callers.values(), key=lambda caller: caller.ends)
            self._close(oldest, NotifyResult.DROPPED)
        self._callers[connected.fileno()] = _Caller(connected, self._clock() + CONNECTION_SECONDS)
        self._selector.register(connected, selectors.EVENT_READ)

    def _read(self, caller: _Caller) -> None:
        self._left -= 1
        try:
            part = caller.connected.recv(_LENGTH.size + SIZE_MAX)
            if not part:
                self._close(caller)
                return
            caller.buffer += part
            while (wire := _next(caller.buffer)) is not None:
                sender = _address(caller.connected.getpeername()[0])
                answer = self._take(wire, sender)
                if answer is None:
                    self._close(caller)
                    return
                framed = _LENGTH.pack(len(answer)) + answer
                if caller.connected.send(framed) != len(framed):
                    raise BlockingIOError
        except OSError:
            self._close(caller)
        except TransferError:
            self._close(caller, NotifyResult.MALFORMED)

    def _close(self, caller: _Caller, why: NotifyResult | None = None) -> None:
        if why is not None:
            self._counts[why] += 1
        del self._callers[caller.connected.fileno()]
        self._selector.unregister(caller.connected)
        caller.connected.close()

    # --- messages -----------------------------------------------------------------------

    def _take(self, wire: bytes, sender: IPv4Address | IPv6Address) -> bytes | None:
        """Take a message; return the answer, None: it gets none."""
        self._left -= 1
        try:
            message = parse_notify(wire)
        except TransferError:
            self._counts[NotifyResult.MALFORMED] += 1
            return None
        keys = self._keys.get(message.zone)
        if keys is None:
            self._counts[NotifyResult.UNKNOWN] += 1
            return notify_answer(message, NOT_OURS)
        try:
            answer = notify_answer(message)
            if message.signature is not None:
                answer = _signed(message, answer, keys)
        except TransferError:
            self._counts[NotifyResult.UNVERIFIED] += 1
            return notify_answer(message, NOT_OURS)
        self._counts[NotifyResult.TAKEN] += 1
        self._hint(message.zone, sender)
        return answer


def _signed(message: NotifyMessage, answer: bytes, keys: Sequence[TsigKey]) -> bytes:
    """Check a message's signature, and return the answer with one.

    Raises:
        TransferError: it is of none of the keys, or wrong.
    """
    from xdpctl.transfers.signing import AnswerSigning  # noqa: PLC0415 - loads dnspython

    if message.signature is not None:
        for key in keys:
            if key.name.wire == message.signature[0]:
                signing = AnswerSigning(key)
                signing.check(message.wire, message.signature)
                return signing.sign(answer)
    raise TransferError("the message is signed with another key")


def _next(buffer: bytearray) -> bytes | None:
    """Take the next whole message out of a buffer; None: it is not whole yet.

    Raises:
        TransferError: it is too long.
    """
    if len(buffer) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack_from(buffer)
    if size > SIZE_MAX:
        raise TransferError("the message is too long for a NOTIFY")
    end = _LENGTH.size + size
    if len(buffer) < end:
        return None
    wire = bytes(buffer[_LENGTH.size : end])
    del buffer[:end]
    return wire


def _address(text: str) -> IPv4Address | IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _from_there(control: Sequence[tuple[int, int, bytes]]) -> list[tuple[int, int, bytes]]:
    """Return what has an answer leave from the address that the message was sent to.

    That is what the kernel said of the message (ip(7), ipv6(7)), without the interface.
    """
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, _IP_PKTINFO):
            return [(level, kind, bytes(4) + data[4:])]
        if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_PKTINFO):
            return [(level, kind, data[:16] + bytes(4))]
    return []
