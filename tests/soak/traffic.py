"""Sends packets until it is ended: blocked and honest ones, answers asked for, and floods.

    python -m tests.soak.traffic SERVER4 SERVER6

Each turn of the wheel is one packet of each kind; what comes back is thrown away. For three
seconds of six, the last socket of each family sends far more than the limits let through.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time

import dns.message

PAUSE = 0.02
"""Seconds between two turns."""

FLOOD_SECONDS = 3.0
FLOOD = 40
"""Packets a turn of one source."""

SOURCES = {4: ("192.0.2.66", "192.0.2.1"), 6: ("2001:db8::66", "2001:db8::1")}
NAMES = ("www.example", "dropped.example", "truncated.example", "n7.soak.example")


def main(server4: str, server6: str) -> None:
    """Send for ever."""
    wires = [dns.message.make_query(name, "A", use_edns=0).to_wire() for name in NAMES]
    wires += [b"", b"\0" * 11, b"\xff" * 64]
    socks = []
    for family, server, sources in (
        (socket.AF_INET, server4, SOURCES[4]),
        (socket.AF_INET6, server6, SOURCES[6]),
    ):
        for source in sources:
            sock = socket.socket(family, socket.SOCK_DGRAM)
            sock.settimeout(0)
            sock.bind((source, 0))
            sock.connect((server, 53))
            socks.append(sock)
    flooding = socks[1::2]
    while True:
        for sock in socks:
            for wire in wires:
                with contextlib.suppress(OSError):  # nobody listens, or the queue is full
                    sock.send(wire)
            with contextlib.suppress(OSError):
                while sock.recv(2048):
                    pass
        if time.monotonic() // FLOOD_SECONDS % 2:
            for sock in flooding:
                for _ in range(FLOOD):
                    with contextlib.suppress(OSError):
                        sock.send(wires[0])
        time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
