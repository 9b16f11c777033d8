"""A crowd of connections that take and give nothing: what besieges a listener.

    python -m tests.lab.crowd HOST PORT COUNT SECONDS PATH

A quarter each are idle, stop within the head, do not read what they asked for, and ask
for PATH again and again. One that is closed comes back a second later. Prints `standing` once each
has been connected, and ends by itself after SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import sys
from dataclasses import dataclass, field

PAUSE = 1.0
"""Seconds until a closed connection comes back."""

KINDS = 4
PIPELINED = 40


@dataclass
class Crowd:
    """The connections.

    Attributes:
        address: host and port.
        path: what those that read ask for.
    """

    address: tuple[str, int]
    path: bytes
    count: int
    connected: set[int] = field(default_factory=set)

    def sends(self, kind: int) -> bytes:
        """Return what a connection of this kind sends."""
        request = b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n" % self.path
        return (b"", request + b"X: ", PIPELINED * (request + b"\r\n"), request + b"\r\n")[kind]

    async def visit(self, number: int) -> None:
        """Be one of them, again and again."""
        kind = number % KINDS
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(OSError), socket.socket(socket.AF_INET) as sock:
                sock.settimeout(0)
                if kind == KINDS - 2:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                await loop.sock_connect(sock, self.address)
                self._arrived(number)
                await loop.sock_sendall(sock, self.sends(kind))
                if kind == KINDS - 2:
                    await asyncio.sleep(30)
                while await loop.sock_recv(sock, 1 << 16):
                    if kind == KINDS - 1:
                        await loop.sock_sendall(sock, self.sends(kind))
            self._arrived(number)
            await asyncio.sleep(PAUSE)

    def _arrived(self, number: int) -> None:
        if number not in self.connected:
            self.connected.add(number)
            if len(self.connected) == self.count:
                print("standing", flush=True)  # noqa: T201 - for who started this


async def besiege(crowd: Crowd, seconds: float) -> None:
    """Let the crowd stand for some seconds."""
    visits = [asyncio.create_task(crowd.visit(number)) for number in range(crowd.count)]
    await asyncio.wait(visits, timeout=seconds)
    for visit in visits:
        visit.cancel()


def main() -> None:
    """Read the command line and stand there."""
    host, port, count, seconds, path = sys.argv[1:]
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, int(count) + 1_000), most))
    asyncio.run(besiege(Crowd((host, int(port)), path.encode(), int(count)), float(seconds)))


if __name__ == "__main__":
    main()
