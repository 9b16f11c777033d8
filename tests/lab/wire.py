"""A packet socket on one end of a wire: frames go out as they are, all that comes is seen.

For frames that no client's own stack would send, thousands of them at once.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.lab.hosts import INTERFACE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.hosts import Host

ETH_P_ALL = 3
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_IGNORE_OUTGOING = 263, 23
ROOM = 32 << 20
"""Octets of frames that may wait to be read."""

SYN_ACK = 0x12
QR, TC, RCODE = 0x8000, 0x0200, 0x000F

TAGS = (b"\x81\x00", b"\x88\xa8")
IPV4, IPV6 = b"\x08\x00", b"\x86\xdd"
UDP, TCP = 17, 6


def mac(host: Host, interface: str = INTERFACE) -> bytes:
    """Return the MAC address of a host's interface."""
    (link,) = json.loads(host.ip("-json", "link", "show", interface))
    return bytes.fromhex(link["address"].replace(":", ""))


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back from port 53: a DNS response over UDP, or a SYN-ACK.

    Attributes:
        source: address that it comes from.
        destination: address that it goes to.
        port: that it goes to.
        message: the DNS message; empty for a SYN-ACK.
        size: octets of its frame.
    """

    source: str
    destination: str
    port: int
    message: bytes
    size: int

    @property
    def is_syn_ack(self) -> bool:
        """Whether it is TCP's."""
        return not self.message

    @property
    def ident(self) -> int:
        """ID of the message."""
        return int.from_bytes(self.message[:2])

    @property
    def flags(self) -> int:
        """Flags word of the message."""
        return int.from_bytes(self.message[2:4])

    @property
    def is_truncated(self) -> bool:
        """Whether it sends the client to TCP."""
        return bool(self.flags & TC)

    @property
    def is_positive(self) -> bool:
        """Whether it has what was asked for: NOERROR, a record, no TC; or is a SYN-ACK."""
        if self.is_syn_ack:
            return True
        records = int.from_bytes(self.message[6:8])
        return not self.flags & (TC | RCODE) and records > 0

    def __str__(self) -> str:
        if self.is_syn_ack:
            return "SYN-ACK"
        code, records = self.flags & RCODE, int.from_bytes(self.message[6:8])
        return f"RCODE {code}, {records} records{', TC' if self.is_truncated else ''}"


def reply(frame: bytes) -> Reply | None:
    """Return what a frame says, None when it is neither a response of port 53 nor a SYN-ACK."""
    at = 12
    while frame[at : at + 2] in TAGS:
        at += 4
    kind, at = frame[at : at + 2], at + 2
    if kind == IPV4 and len(frame) >= at + 20:
        protocol, family = frame[at + 9], socket.AF_INET
        ends, upper = frame[at + 12 : at + 20], at + (frame[at] & 15) * 4
        length = int.from_bytes(frame[at + 2 : at + 4])
    elif kind == IPV6 and len(frame) >= at + 40:
        protocol, family = frame[at + 6], socket.AF_INET6
        ends, upper = frame[at + 8 : at + 40], at + 40
        length = 40 + int.from_bytes(frame[at + 4 : at + 6])
    else:
        return None
    body = frame[upper : at + length]
    if len(body) < 8:
        return None
    source_port, port = struct.unpack_from("!HH", body)
    if source_port != 53:
        return None
    half = len(ends) // 2
    source, destination = (socket.inet_ntop(family, end) for end in (ends[:half], ends[half:]))
    if protocol == UDP and len(body) >= 20 and body[10] & 0x80:
        return Reply(source, destination, port, body[8:], len(frame))
    if protocol == TCP and len(body) >= 14 and body[13] & 0x3F == SYN_ACK:
        return Reply(source, destination, port, b"", len(frame))
    return None


class Wire:
    """Sends frames from a host's interface and hears what arrives there.

    Args:
        host: whose interface it is; its own stack goes on as ever.
        interface: its name.
    """

    def __init__(self, host: Host, interface: str = INTERFACE) -> None:
        self._socket = host.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, ROOM)
        self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        self._socket.bind((interface, ETH_P_ALL))
        self._socket.settimeout(0)
        host.lab.at_end(self._socket.close)

    def send(self, frames: Iterable[bytes]) -> None:
        """Send frames, in order and at once."""
        for frame in frames:
            self._socket.send(frame)

    def receive(self, seconds: float = 0.0) -> list[Reply]:
        """Return the replies that are there, or the first that come within so many seconds."""
        deadline = time.monotonic() + seconds
        while True:
            replies = self._waiting()
            left = deadline - time.monotonic()
            if replies or left <= 0:
                return replies
            select.select([self._socket], [], [], left)

    def _waiting(self) -> list[Reply]:
        replies: list[Reply] = []
        while True:
            try:
                frame = self._socket.recv(65535)
            except BlockingIOError:
                return replies
            if (heard := reply(frame)) is not None:
                replies.append(heard)
