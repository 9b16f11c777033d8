"""Sends a query every fifth of a millisecond for some seconds, each with its number.

    python -m tests.bench.flood SOURCE SERVER SECONDS

Prints, at its end, the moment (CLOCK_MONOTONIC, ns) at which each was sent, one a line.
The number is in the name: n0000123.example.
"""

from __future__ import annotations

import socket
import sys
import time

import dns.message

PAUSE = 200_000
"""Nanoseconds from one query to the next."""

PATTERN = b"n0000000"


def main(source: str, server: str, seconds: float) -> None:
    """Send, then print."""
    wire = dns.message.make_query("n0000000.example", "A").to_wire()
    head, tail = wire.split(PATTERN)
    sent: list[int] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.connect((server, 53))
        end = time.monotonic_ns() + int(seconds * 1e9)
        due = time.monotonic_ns()
        while due < end:
            time.sleep(max(0.0, (due - time.monotonic_ns()) / 1e9))
            sock.send(head + b"n%07d" % len(sent) + tail)
            sent.append(time.monotonic_ns())
            due += PAUSE
    sys.stdout.write("".join(f"{moment}\n" for moment in sent))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
