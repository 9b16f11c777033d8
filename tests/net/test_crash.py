"""SIGKILL in the middle of an import and of a PUT, many times; then maps and notes agree.

The service is the real one. Beside its list stand rules of `cli` and entries that are
written through the pins, as dnsdist does, some of them of targets that the list has too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import socket
import sqlite3
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.bench.memory import processes_of
from tests.lab import Service
from tests.lab.hosts import PYTHON, unmeasured
from tests.lab.process import eventually
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction, decode_value, encode_value
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.rules import AnyQtype, key_of, map_of, parse_target
from xdpctl.rules.keys import full_key

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab import Host, Lab
    from xdpctl.kernel.bpf.maps import Map

    Place = tuple[MapName, bytes]

pytestmark = [pytest.mark.root, pytest.mark.slow]

ROUNDS = 4
FEW, MANY = 20_000, 42_000
"""Rules of a list that is worked on in the service's process, and in one of its own."""
ORIGIN = "app:x"
ROOM = ("--maps-size", "65536")
COMMAND = tuple(unmeasured(PYTHON, "-m", "xdpctl"))
NAMES = {spec.ref: name for name, spec in MAPS.items()}


def targets(first: int, count: int) -> list[str]:
    """Return addresses, prefixes and names of one list; two lists share half of them."""
    numbers = range(first, first + count)
    return [
        f"n{n}.example"
        if n % 10 == 0
        else f"198.{n // 250 % 250}.{n % 250}.0/24"
        if n % 50 == 1
        else f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        for n in numbers
    ]


@dataclass(frozen=True)
class Wanted:
    """One of the two lists that take turns: half of each is in both, with other actions."""

    targets: list[str]
    action: str
    places: set[Place] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "places", {place(text) for text in self.targets})

    def lines(self) -> bytes:
        """Return the list as `import` takes it."""
        return "".join(f"{text} {self.rest(text)}\n" for text in self.targets).encode()

    def rest(self, text: str) -> str:
        """Return the options of a line: one in three has an action that changes."""
        return f"action={self.action}" if hash_of(text) % 3 == 0 else "action=drop"

    def document(self) -> bytes:
        """Return the list as PUT takes it."""
        rules = [{"target": t, "action": self.rest(t).partition("=")[2]} for t in self.targets]
        return json.dumps(rules).encode()

    def actions(self) -> dict[Place, RuleAction]:
        """Return what the maps must have of it in the end."""
        return {
            place(text): RuleAction[self.rest(text).partition("=")[2].upper()]
            for text in self.targets
        }


def hash_of(text: str) -> int:
    """Return the same number for the same text, in every process."""
    return sum(text.encode())


def place(text: str) -> Place:
    """Return where an entry lies."""
    target = parse_target(text)
    return map_of(target), key_of(target, AnyQtype.BOTH)


class Site:
    """A service that is killed and started again, and what is in its maps and its state."""

    def __init__(self, lab: Lab, count: int) -> None:
        self.server: Host = lab.pair()[1]
        self.service = self.start()
        self.maps: dict[MapName, Map] = {
            name: Bpf().open_map(lab.pins / name) for name in RULE_MAPS
        }
        self.state: Path = lab.directory / f"{self.server.name}.db"
        self.lists = (
            Wanted(targets(0, count), "truncate"),
            Wanted(targets(count // 2, count), "pass"),
        )
        some = self.lists[0].targets[:60:2] + self.lists[1].targets[-60::2]
        self.clis = [*some[::2], "203.0.113.1", "mail.example"]
        self.foreign = {
            place(text): encode_value(RuleAction.DROP, 7)[:9] + b"garbage"
            for text in [*some[1::2], "203.0.113.2", "203.0.113.0/25", "other.example"]
        }
        assert self.service.verb("block", *self.clis, "--action", "truncate").returncode == 0
        for (name, key), value in self.foreign.items():
            self.maps[name].update(key, value)

    def start(self) -> Service:
        """Start the service, on whatever there is."""
        return Service(self.server, *ROOM, command=COMMAND)

    def close(self) -> None:
        """Close the maps."""
        for opened in self.maps.values():
            opened.close()

    def send(self, method: str, path: str, body: bytes) -> bytes:
        """Send a list on the control socket; the answer, cut short where the service dies."""
        connection = http.client.HTTPConnection("localhost")
        connection.sock = socket.socket(socket.AF_UNIX)
        connection.sock.connect(str(self.service.control))
        with contextlib.closing(connection):
            connection.request(method, path, body)
            return connection.getresponse().read()

    def wait_for_a_change(self, before: dict[Place, bytes], sending: threading.Thread) -> None:
        """Wait until the list that is being sent begins to be applied, or is."""
        some = [at for at in self.lists[0].places ^ self.lists[1].places if at in before][::500]
        while sending.is_alive() and all(self.maps[name].lookup(key) for name, key in some):
            time.sleep(0.001)

    def entries(self) -> dict[Place, bytes]:
        """Return all entries of all maps."""
        found: dict[Place, bytes] = {}
        for name, opened in self.maps.items():
            size, stored = opened.info.key_size, opened.stored_size
            for keys, values in opened.chunks():
                for number in range(len(keys) // size):
                    key = keys[number * size :][:size]
                    found[name, key] = values[number * stored :][:stored]
        return found

    def notes(self) -> dict[Place, tuple[str, RuleAction]]:
        """Return origin and action of all notes."""
        with contextlib.closing(sqlite3.connect(f"file:{self.state}?mode=ro", uri=True)) as file:
            rows = file.execute("SELECT map, key, origin, action FROM note").fetchall()
        return {
            (NAMES[ref], full_key(ref, key)): (origin, RuleAction(action))
            for ref, key, origin, action in rows
        }


def agreement(site: Site) -> None:
    """Maps and notes agree, and what is another's is as it was."""
    entries, notes = site.entries(), site.notes()
    assert {at: entries.get(at) for at in site.foreign} == site.foreign
    clis = {place(text) for text in site.clis}
    assert {at for at, (origin, _) in notes.items() if origin == "cli"} == clis
    assert all(decode_value(entries[at]) == (RuleAction.TRUNCATE, 0) for at in clis)
    assert notes.keys() == entries.keys() - site.foreign.keys()
    assert all(decode_value(entries[at])[0] is action for at, (_, action) in notes.items())
    listed = site.lists[0].places | site.lists[1].places
    assert notes.keys() - clis <= listed


@pytest.mark.parametrize(("way", "count"), [("import", FEW), ("put", MANY)])
def test_after_a_kill_at_any_moment_maps_and_notes_agree_and_the_list_can_be_sent_again(
    lab: Lab, way: str, count: int
) -> None:
    site = Site(lab, count)
    ways: dict[str, Callable[[Wanted], bytes]] = {
        "import": lambda wanted: site.send(
            "POST", f"/api/v1/import?origin={ORIGIN}&replace=1", wanted.lines()
        ),
        "put": lambda wanted: site.send("PUT", f"/api/v1/rules?origin={ORIGIN}", wanted.document()),
    }
    began = time.monotonic()
    for wanted in site.lists:
        ways[way](wanted)
    lasts = (time.monotonic() - began) / 2
    moments = random.Random(way)
    cut_short = with_another_process = 0
    for number in range(ROUNDS):
        before, wanted = site.entries(), site.lists[number % 2]
        thread = threading.Thread(target=_until_it_dies, args=(ways[way], wanted))
        thread.start()
        if number % 4 < 2:  # any moment will do
            time.sleep(moments.uniform(0.2, 1.0) * lasts)
        else:  # while the maps change
            site.wait_for_a_change(before, thread)
            time.sleep(moments.uniform(0.0, 0.2) * lasts)
        workers = processes_of(site.service.process.pid)[1:]
        with_another_process += any(b"xdpctl.store.worker" in _command(pid) for pid in workers)
        site.service.process.send(signal.SIGKILL)
        site.service.process.wait()
        thread.join()
        for pid in workers:
            eventually(lambda: not Path(f"/proc/{pid}").exists(), "the end of its process")  # noqa: B023
        after = site.entries()
        cut_short += bool(before.keys() - after.keys()) and bool(wanted.places - after.keys())
        site.service = site.start()
        agreement(site)
    assert cut_short
    assert bool(with_another_process) is (count == MANY)
    for wanted in site.lists:
        ways[way](wanted)
        agreement(site)
        others = site.foreign.keys() | {place(text) for text in site.clis}
        found = {at: decode_value(value)[0] for at, value in site.entries().items()}
        actions = wanted.actions()
        assert {at: action for at, action in found.items() if at not in others} == {
            at: action for at, action in actions.items() if at not in others
        }
    site.close()


def _until_it_dies(send: Callable[[Wanted], bytes], wanted: Wanted) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        send(wanted)


def _command(pid: int) -> bytes:
    """Return the command line of a process; nothing if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return b""
