"""The process that sends: `python -m tests.bench.drop.sender INTERFACE SERVER MAC`.

Runs flood.bpf.c as a live test run (Linux 5.18): the kernel hands it one frame after the
other and puts those that are due into the interface, as a driver's XDP_REDIRECT does. No
socket and no packet buffer of the kernel is involved, so the receiving end gets frames as
from a network card: what looks at them first has them before anything was allocated.

Reads "RATE HONEST SECONDS RANDOM" from standard input, a line a run: the flood's packets a
second, the honest queries, and 1 where the flood asks for another name each time, 0 where each
source has one; answers each with a JSON object. Ends with standard input.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.live import compile_file, header_sum, mac, run_live
from tests.packets import message
from xdpctl.abi import MapName, MapSpec, MapType, Scope
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program

SOURCES: Final = 900
"""Of the flood, one name each (flood.bpf.c)."""

NETWORK: Final = IPv4Network("198.18.0.0/16")
"""The flood's sources are its first addresses."""

ZONE: Final = "flood.example"
HONEST: Final = IPv4Address("192.0.2.1")
HONEST_NAME: Final = "good.house.example"
HONEST_PORT: Final = 9999
HONEST_MOST: Final = 4096
"""Queries of one run (flood.bpf.c)."""

BURST: Final = 32
"""Packets that are sent at once, as a card hands them over by the interrupt."""

_PLAN: Final = struct.Struct(f"={16 + HONEST_MOST}Q")
_SENT: Final = 14
"""In the plan; then the number of honest queries, then when each was sent."""

_SLOT: Final = bytes(4)
SOURCE_FILE: Final = Path(__file__).with_name("flood.bpf.c")


def source(number: int) -> str:
    """Return the address of a source."""
    return str(NETWORK[number])


def name(number: int) -> str:
    """Return the name that a source asks for."""
    letters = "".join(chr(ord("a") + (number >> shift & 15)) for shift in (8, 4, 0))
    return f"h{letters}.{ZONE}"


def query_frame(origin: IPv4Address, server: str, to: bytes, own: bytes) -> bytes:
    """Return a query whose name, port, id and IPv4 check are flood.bpf.c's to fill in.

    The UDP checksum is 0, "not computed": a network card checks it, and here is none.

    Args:
        origin: of the query.
        server: IPv4 address that is asked.
        to: MAC address of its end of the wire.
        own: MAC address of ours.
    """
    payload = message.header(0, message.RD, 1, 0, 0, 0) + message.question(name(0))
    udp = struct.pack("!4H", 0, 53, 8 + len(payload), 0) + payload
    addresses = origin.packed, IPv4Address(server).packed
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0, *addresses)
    return to + own + b"\x08\x00" + ip + udp


class Sender:
    """The loaded program, and what it is told for each run.

    Args:
        program: flood.bpf.c. `plan`: its map.
        frame: a query of the flood's first source. `honest`: of the honest one.
        ifindex: of the interface that they go out of.
    """

    def __init__(
        self, program: Program, plan: Map, frame: bytes, honest: bytes, ifindex: int
    ) -> None:
        self._program = program
        self._plan = plan
        self._frame = frame
        self._fixed = (
            ifindex,
            header_sum(frame),
            header_sum(honest),
            int(NETWORK[0]) >> 16,
            int(HONEST),
        )

    def send(
        self, rate: float, honest: float, seconds: float, *, random: bool
    ) -> dict[str, object]:
        """Send for so long; return what was sent, and when each honest query was (ns)."""
        intervals = int(BURST * 1e9 / rate) if rate else 0, BURST if rate else 0, int(1e9 / honest)
        start = time.monotonic_ns()
        state = (int(random), start, start, 0, 0, 0, 0, 0, *([0] * HONEST_MOST))
        self._plan.update(_SLOT, _PLAN.pack(*intervals, *self._fixed, *state))
        signal.setitimer(signal.ITIMER_REAL, seconds)
        run_live(self._program, self._frame)
        took = (time.monotonic_ns() - start) / 1e9
        done = _PLAN.unpack(self._plan.lookup(_SLOT) or b"")[_SENT:]
        return {"sent": done[0], "seconds": took, "honest_ns": done[2 : 2 + done[1]]}


def main(interface: str, server: str, to: bytes) -> None:
    """Send what is asked for until standard input ends."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    bpf = Bpf()
    spec = MapSpec(MapName.CONTROL, 0, MapType.ARRAY, 4, _PLAN.size, 0, 1, Scope.PROGRAM)
    flood, honest = (
        query_frame(origin, server, to, mac(interface)) for origin in (NETWORK[0], HONEST)
    )
    with bpf.create_map(spec, 1) as plan:
        code = compile_file(SOURCE_FILE, "flood").relocate({spec.ref: plan.fd})
        with bpf.load_program(code, "flood") as program:
            sender = Sender(program, plan, flood, honest, socket.if_nametoindex(interface))
            sys.stdout.write("{}\n")
            sys.stdout.flush()
            for line in sys.stdin:
                rate, asked, seconds, random = map(float, line.split())
                sent = sender.send(rate, asked, seconds, random=bool(random))
                sys.stdout.write(json.dumps(sent) + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))
