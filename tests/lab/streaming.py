"""Both ends of a stream of queries, some of which are to be dropped on the way.

    python streaming.py send ROUNDS RATE
    python streaming.py answer

The sender is the client of `Lab.pair`. A round is one packet of each kind of BLOCKED and
one honest query, by turns over IPv4 and IPv6; it sends RATE rounds a second until it is
told to end (SIGTERM) and has sent ROUNDS. The other end is the server: it answers whatever
arrives and counts it by kind. Each prints what it saw as one line of JSON. Programs of
their own; started by `Stream`, which shares the tables.
"""

from __future__ import annotations

import json
import selectors
import signal
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Final

DROPPED_NAME: Final = "dropped.example"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of query: from where, to where, and what blocks it ("" for honest ones)."""

    source: str
    server: str
    rule: str = ""

    def socket(self, source: tuple[str, int]) -> socket.socket:
        """Return a socket bound to `source` that never waits."""
        family = socket.AF_INET6 if ":" in self.source else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM)
        made.setsockopt(socket.SOL_SOCKET, _RCVBUFFORCE, 8 << 20)
        made.settimeout(0)
        made.bind(source)
        return made


HONEST: Final = {
    "honest-v4": Kind("192.0.2.1", "192.0.2.53"),
    "honest-v6": Kind("2001:db8::1", "2001:db8::53"),
}
BLOCKED: Final = {
    "addr-v4": Kind("192.0.2.66", "192.0.2.53", "192.0.2.66"),
    "addr-v6": Kind("2001:db8::66", "2001:db8::53", "2001:db8::66"),
    "cidr4": Kind("198.51.100.66", "198.51.100.53", "198.51.100.64/29"),
    "cidr6": Kind("2001:db8:66::66", "2001:db8:66::53", "2001:db8:66::66/127"),
    "qname": Kind("192.0.2.1", "192.0.2.53", DROPPED_NAME),
}
"""By the map that the rule is in, which is also the reason that is counted."""

BURST = 8
"""Rounds sent in one go to catch up: fewer packets than a veth end's ring of 256 takes."""

TICK_SECONDS = 0.002
PATIENCE_SECONDS = 3.0
"""Without an answer, after which those that are missing are taken for lost."""

_RCVBUFFORCE = 33
_QUERY, _ANSWER = 0x0100, 0x8180


def query(kind: str, number: int) -> bytes:
    """Return a query of type A whose name tells kind and number, but for the dropped name."""
    name = DROPPED_NAME if kind == "qname" else f"{number}.{kind}.example"
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    header = struct.pack("!6H", number & 0xFFFF, _QUERY, 1, 0, 0, 0)
    return header + labels + struct.pack("!BHH", 0, 1, 1)


def told(message: bytes) -> tuple[str, int]:
    """Return the kind and number that a message's name tells, for the dropped name the id."""
    labels = []
    at = 12
    while size := message[at]:
        labels.append(message[at + 1 : at + 1 + size].decode())
        at += 1 + size
    if ".".join(labels) == DROPPED_NAME:
        return "qname", int.from_bytes(message[:2])
    return labels[1], int(labels[0])


class Asked:
    """Whether this program was asked to end."""

    def __init__(self) -> None:
        self.to_end = False
        signal.signal(signal.SIGTERM, self._end)

    def _end(self, *_: object) -> None:
        self.to_end = True


class Sender:
    """The client's end."""

    def __init__(self) -> None:
        self.sockets = {
            name: kind.socket((kind.source, 0)) for name, kind in (HONEST | BLOCKED).items()
        }
        self.waiting: dict[tuple[str, int], float] = {}
        self.sent: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()

    def send(self, name: str, number: int) -> None:
        kind = (HONEST | BLOCKED)[name]
        self.sockets[name].sendto(query(name, number), (kind.server, 53))

    def meet(self) -> None:
        """Have one honest query of each family answered, so that both ends know each other."""
        for name in HONEST:
            while not self.answered[name]:
                self.send(name, 0)
                time.sleep(0.05)
                self.receive()
        self.answered.clear()

    def round(self, number: int) -> None:
        """Send one packet of each kind of BLOCKED and one honest query."""
        honest = [*HONEST][number % len(HONEST)]
        self.waiting[honest, number] = time.monotonic()
        for name in (*BLOCKED, honest):
            self.send(name, number)
            self.sent[name] += 1

    def receive(self) -> bool:
        """Take in the answers that are there; return whether there were any."""
        before = self.answered.total()
        for sock in self.sockets.values():
            try:
                while True:
                    kind, number = told(sock.recv(512))
                    self.answered[kind] += 1
                    self.waiting.pop((kind, number), None)
            except BlockingIOError:
                pass
        return self.answered.total() > before

    def run(self, rounds: int, rate: float) -> None:
        """Send until asked to end and `rounds` are sent; then wait for the last answers."""
        asked = Asked()
        self.meet()
        print("streaming", flush=True)  # noqa: T201 - the lab waits for it
        began, number = time.monotonic(), 0
        while not asked.to_end or number < rounds:
            due = int((time.monotonic() - began) * rate) - number
            for _ in range(min(due, BURST)):
                number += 1
                self.round(number)
            self.receive()
            time.sleep(TICK_SECONDS)
        last = time.monotonic()
        while self.waiting and time.monotonic() - last < PATIENCE_SECONDS:
            if self.receive():
                last = time.monotonic()
            time.sleep(TICK_SECONDS)
        lost = [f"{kind} {n} at {at - began:.3f} s" for (kind, n), at in self.waiting.items()]
        _say(sent=self.sent, answered=self.answered, lost=lost[:20])


def answer() -> None:
    """Answer and count on the server's addresses until asked to end."""
    asked = Asked()
    arrived: Counter[str] = Counter()
    selector = selectors.DefaultSelector()
    for address, kind in {kind.server: kind for kind in (HONEST | BLOCKED).values()}.items():
        selector.register(kind.socket((address, 53)), selectors.EVENT_READ)
    print("answering", flush=True)  # noqa: T201 - the lab waits for it
    while not asked.to_end:
        for key, _ in selector.select(0.1):
            sock = key.fileobj
            assert isinstance(sock, socket.socket)
            try:
                while True:
                    message, client = sock.recvfrom(512)
                    arrived[told(message)[0]] += 1
                    sock.sendto(message[:2] + struct.pack("!H", _ANSWER) + message[4:], client)
            except BlockingIOError:
                pass
    _say(arrived=arrived)


def _say(**seen: object) -> None:
    print(json.dumps(seen), flush=True)  # noqa: T201 - the lab reads it


if __name__ == "__main__":
    if sys.argv[1] == "send":
        Sender().run(int(sys.argv[2]), float(sys.argv[3]))
    else:
        answer()
