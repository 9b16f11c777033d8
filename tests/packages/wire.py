"""The network inside a root or guest: eth0, a client at its other end, and a stream.

Owns the two ends and what goes over them. The client is in a network namespace
`client`, the service's side is where this runs. Stands on the standard library alone.
"""

from __future__ import annotations

import ctypes
import os
import socket
import subprocess
import threading
import time
from collections import Counter
from typing import Final, Self

SERVER: Final = "192.0.2.53"
HONEST: Final = "192.0.2.1"
BLOCKED: Final = "192.0.2.66"
SOURCES: Final = (HONEST, BLOCKED)
PORT: Final = 53

QUERY: Final = bytes.fromhex("123401000001000000000000 03777777 076578616d706c65 00 0001 0001")
"""www.example A, recursion desired."""

INTERVAL: Final = 0.005
SETTLE: Final = 1.0
RECEIVE_BUFFER: Final = 8 * 2**20
"""Octets that wait for the receiver: 20 seconds' worth, for an emulated machine that is slow. A
packet that the receiver's own socket drops must not look like one that the filter lost."""
_CLONE_NEWNET: Final = 0x40000000
_SO_RCVBUFFORCE: Final = 33

_COMMANDS: Final = (
    "ip link set lo up",
    "ip netns add client",
    "ip link add eth0 type veth peer eth0 netns client",
    f"ip address add {SERVER}/24 dev eth0",
    "ip link set eth0 up",
    f"ip -n client address add {HONEST}/24 dev eth0",
    f"ip -n client address add {BLOCKED}/24 dev eth0",
    "ip -n client link set eth0 up",
)


def lay() -> None:
    """Make both ends and the wire."""
    for command in _COMMANDS:
        subprocess.run(command.split(), check=True)


def _client_socket(source: str) -> socket.socket:
    """Return a socket of the client's: a thread moves there to make it, and ends."""
    made: list[socket.socket] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        with open("/run/netns/client", "rb") as namespace:  # noqa: PTH123 - a descriptor is needed
            if libc.setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.bind((source, 0))
        sender.connect((SERVER, PORT))
        made.append(sender)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


class Stream:
    """Queries from an honest and from a blocked source, for as long as the block lasts.

    Attributes:
        sent: packets by source; final behind the block.
        arrived: packets that came through, by source; final behind the block.
    """

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.arrived: Counter[str] = Counter()
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=work.__name__)
            for work in (self._send, self._receive)
        ]

    def __enter__(self) -> Self:
        self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, RECEIVE_BUFFER)
        self._receiver.bind((SERVER, PORT))
        self._receiver.settimeout(SETTLE)
        for thread in reversed(self._threads):
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._receiver.close()

    @property
    def told(self) -> str:
        """How many of each went and came."""
        return ", ".join(f"{who}: {self.arrived[who]} of {self.sent[who]}" for who in SOURCES)

    def _send(self) -> None:
        senders = {source: _client_socket(source) for source in SOURCES}
        while not self._end.is_set():
            for source, sender in senders.items():
                sender.send(QUERY)
                self.sent[source] += 1
            time.sleep(INTERVAL)
        for sender in senders.values():
            sender.close()

    def _receive(self) -> None:
        while True:
            try:
                _, (source, _) = self._receiver.recvfrom(2048)
            except TimeoutError:
                if self._end.is_set():
                    return
            else:
                self.arrived[source] += 1


def passing(count: int = 20) -> Stream:
    """Send this many from each source and return what came of it."""
    with Stream() as stream:
        while stream.sent[BLOCKED] < count:
            time.sleep(INTERVAL)
    return stream
