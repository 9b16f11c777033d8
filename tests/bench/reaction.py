"""How soon a rule takes effect, and how late an expired one is removed.

A block is measured with real packets: from the moment before the request is sent to the
moment at which the first query was sent that did not arrive. An end is measured from the
moment it was asked for (and so includes the request) to that of the entry's absence.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.bench.watch import ask
from tests.lab.hosts import PYTHON, ROOT
from xdpctl.rules import AnyQtype, key_of, map_of, parse_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.lab import Host
    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map

BLOCKS = 40
PAUSE = 0.05
ENDS = 60
LIFE = 2
"""Seconds of the rules whose end is measured."""

FIRST_SECONDS = 6.0
"""How long packets are sent about the first list rule."""

SOURCE = "192.0.2.66"
SO_RCVBUFFORCE = 33  # asm-generic/socket.h; Python has no name for it
NUMBER = re.compile(rb"n([0-9]{7})")


@dataclass(frozen=True, slots=True)
class Reaction:
    """Seconds, sorted."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """Half of them took no longer."""
        return self.values[len(self.values) // 2]

    def document(self) -> dict[str, float]:
        """Return it in milliseconds."""
        return {
            "median_ms": round(1000 * self.median, 2),
            "least_ms": round(1000 * self.values[0], 2),
            "most_ms": round(1000 * self.values[-1], 2),
        }


def first_list_rule_to_drop(client: Host, server: Host, control: Path) -> float:
    """Return the seconds from the request with the service's first list rule to the first drop.

    The rule is on an address that sends all the time; before it, no packet may be lost.
    """
    with _flood(client, server, FIRST_SECONDS) as flood:
        asked = time.monotonic_ns()
        ask(
            control,
            "PUT",
            "/api/v1/rules?origin=list:first",
            json.dumps([{"target": SOURCE}]).encode(),
        )
    lost = flood.lost
    if not lost or lost[0] < asked:
        raise AssertionError("a packet was lost before the rule, or none behind it")
    return (lost[0] - asked) / 1e9


def block_to_drop(client: Host, server: Host, control: Path) -> Reaction:
    """Block and unblock an address that sends all the time."""
    asked: list[int] = []
    with _flood(client, server, BLOCKS * 4 * PAUSE) as flood:
        for _ in range(BLOCKS):
            asked.append(time.monotonic_ns())
            ask(control, "POST", "/api/v1/rules", json.dumps({"target": SOURCE}).encode())
            time.sleep(PAUSE)
            ask(control, "DELETE", f"/api/v1/rules?target={SOURCE}")
            time.sleep(PAUSE)
    took = []
    for moment in asked:
        first = next((sent for sent in flood.lost if sent >= moment), None)
        if first is not None and first - moment < PAUSE * 1e9:
            took.append((first - moment) / 1e9)
    if len(took) < BLOCKS // 2:
        raise AssertionError(f"only {len(took)} of {BLOCKS} blocks dropped a packet in time")
    return Reaction(tuple(sorted(took)))


@dataclass(slots=True)
class _Flood:
    """When each packet that did not arrive was sent (CLOCK_MONOTONIC, ns), when all is over."""

    lost: list[int] = field(default_factory=list)


@contextlib.contextmanager
def _flood(client: Host, server: Host, seconds: float) -> Iterator[_Flood]:
    """Send from SOURCE for at least so many seconds, from before the block on."""
    flood, arrived = _Flood(), set[int]()
    with server.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 24)
        sock.bind((server.v4, 53))
        sock.settimeout(1.0)
        sender = subprocess.Popen(
            client.command(
                *(PYTHON, "-m", "tests.bench.flood", SOURCE, server.v4),
                str(seconds + 1),
            ),
            stdout=subprocess.PIPE,
            cwd=ROOT,
        )
        reader = threading.Thread(target=_read, args=(sock, sender, arrived))
        reader.start()
        time.sleep(1.0)  # until it sends
        yield flood
        sent = [int(line) for line in (sender.stdout or []) if line.strip()]
        sender.wait()
        reader.join()
    flood.lost += [moment for number, moment in enumerate(sent) if number not in arrived]


def _read(sock: socket.socket, sender: subprocess.Popen[bytes], arrived: set[int]) -> None:
    while True:
        try:
            data = sock.recv(512)
        except TimeoutError:
            if sender.poll() is not None:
                return
            continue
        if found := NUMBER.search(data):
            arrived.add(int(found.group(1)))


def lateness(maps: Mapping[MapName, Map], control: Path) -> Reaction:
    """Make rules that last `LIFE` seconds, one after the other, and see each go meanwhile."""
    due: queue.SimpleQueue[tuple[str, float]] = queue.SimpleQueue()

    def make() -> None:
        for number in range(ENDS):
            target = f"203.0.113.{number}"
            end = time.monotonic() + LIFE
            rule = {"target": target, "expires_in": LIFE}
            ask(control, "POST", "/api/v1/rules", json.dumps(rule).encode())
            due.put((target, end))
            time.sleep(LIFE / ENDS)

    late: list[float] = []
    with ThreadPoolExecutor(1) as thread:
        made = thread.submit(make)
        while len(late) < ENDS and not (made.done() and made.exception()):
            try:
                text, end = due.get(timeout=1)
            except queue.Empty:
                continue
            address = parse_target(text)
            opened, key = maps[map_of(address)], key_of(address, AnyQtype.BOTH)
            while opened.lookup(key) is not None:
                time.sleep(0.0005)
            late.append(time.monotonic() - end)
        made.result()
    return Reaction(tuple(sorted(late)))
