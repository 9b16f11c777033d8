"""The process that attacks: `python -m tests.bench.attack.sender INTERFACE SERVER MAC`.

Runs attack.bpf.c as tests/bench/drop/sender.py runs its flood. Reads a JSON object from standard
input, a line a run: key of the attack, packets a second, seconds; answers each with what it sent.
Ends with standard input.
"""

from __future__ import annotations

import json
import signal
import socket
import struct
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

from tests.bench.attack.attacks import ATTACKS, Attack, listed, name
from tests.bench.live import compile_file, header_sum, mac, run_live
from tests.packets import message
from xdpctl.abi import MapName, MapSpec, MapType, Scope
from xdpctl.kernel.bpf.syscall import Bpf

BURST: Final = 1
_BATCH: Final = 256
_LISTED: Final = 64
_FRAME: Final = 82  # attack.bpf.c writes so many octets
_PLAN: Final = struct.Struct(f"=13Q{_LISTED}I{_FRAME}s6x")
_SENT: Final = 12
_SLOT: Final = bytes(4)
_ALWAYS: Final = 1 << 62


def query_frame(server: str, to: bytes, own: bytes) -> bytes:
    """Return a query whose source, label, port, id and IPv4 check are attack.bpf.c's to fill in.

    The UDP checksum is 0, "not computed".
    """
    payload = message.header(0, message.RD, 1, 0, 0, 0) + message.question(name(0))
    udp = struct.pack("!4H", 0, 53, 8 + len(payload), 0) + payload
    addresses = bytes(4), IPv4Address(server).packed
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0, *addresses)
    return to + own + b"\x08\x00" + ip + udp


def plan(attack: Attack, rate: float, ifindex: int, frame: bytes, start: int) -> bytes:
    """Return what attack.bpf.c is told."""
    pulse = [int(part * 1e9) for part in attack.pulse] if attack.pulse else [_ALWAYS, 0]
    addresses = [int(address) for address in listed(attack)]
    return _PLAN.pack(
        int(BURST * 1e9 / rate),
        BURST,
        ifindex,
        header_sum(frame),
        attack.sources,
        attack.random,
        pulse[0],
        sum(pulse),
        start,
        len(addresses),
        start,
        0,
        0,
        *addresses,
        *[0] * (_LISTED - len(addresses)),
        frame,
    )


def main(interface: str, server: str, to: bytes) -> None:
    """Attack as it is asked for until standard input ends."""
    signal.signal(signal.SIGALRM, lambda *_: None)
    bpf = Bpf()
    spec = MapSpec(MapName.CONTROL, 0, MapType.ARRAY, 4, _PLAN.size, 0, 1, Scope.PROGRAM)
    frame = query_frame(server, to, mac(interface))
    attacks = {attack.key: attack for attack in ATTACKS}
    code = compile_file(Path(__file__).with_name("attack.bpf.c"), "attack")
    with (
        bpf.create_map(spec, 1) as held,
        bpf.load_program(code.relocate({spec.ref: held.fd}), "attack") as program,
    ):
        say({})
        for line in sys.stdin:
            asked = json.loads(line)
            start = time.monotonic_ns()
            ifindex = socket.if_nametoindex(interface)
            held.update(_SLOT, plan(attacks[asked["attack"]], asked["rate"], ifindex, frame, start))
            signal.setitimer(signal.ITIMER_REAL, asked["seconds"])
            run_live(program, frame, _BATCH)
            sent = _PLAN.unpack(held.lookup(_SLOT) or b"")[_SENT]
            say({"sent": sent, "seconds": (time.monotonic_ns() - start) / 1e9})


def say(document: dict[str, object]) -> None:
    """Answer."""
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], bytes.fromhex(sys.argv[3]))
