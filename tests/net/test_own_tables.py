"""Our own tables on a real kernel: lists and zones through growth, restarts, kills and loss.

What is in the tables is looked at from outside: their pins are opened and every key of the
state file is looked up in them, by a table program of the test's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.bench.memory import processes_of
from tests.engines.made_once import compiled_once
from tests.lab import Lab, Responder, Service, dig
from tests.lab.hosts import PYTHON, unmeasured
from tests.lab.process import eventually
from tests.lab.stream import RULES
from tests.lab.streaming import BLOCKED
from tests.net.stream_site import StreamSite
from xdpctl.abi import BY_REF, RULE_MAPS, TABLES, MapName, Scope, names_of
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.program.config import TableProgram
from xdpctl.store.tables.generation import KernelGenerations

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab import Host
    from tests.lab.stream import Seen
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.store.tables.generation import KernelGeneration

pytestmark = [pytest.mark.root, pytest.mark.slow]

ZONE = ".evil.example"
COMMAND = tuple(unmeasured(PYTHON, "-m", "xdpctl"))
KEEP = ("--on-exit", "keep")


class Tables:
    """The tables that are pinned beside the link of one interface.

    Args:
        server: whose interface it is.
    """

    def __init__(self, server: Host) -> None:
        self._server = server
        self._state = server.lab.directory / f"{server.name}.db"
        self._bpf = Bpf()
        self._generations = KernelGenerations(self._bpf, _compiled)

    def pins(self) -> list[Path]:
        """Return the pins of tables of this host's network namespace."""
        inode = self._server.inode
        names = {str(name) for name in names_of(Scope.TABLES)}
        return [
            path
            for path in OWN_DIRECTORY.glob(f"{inode}-*:*")
            if path.name.rpartition(":")[2] in names
        ]

    def open(self) -> KernelGeneration:
        """Open what is pinned."""
        asyncio.run(self._generations.prepare())
        by_name = {path.name.rpartition(":")[2]: path for path in self.pins()}
        maps = {name: self._bpf.open_map(by_name[str(name)]) for name in names_of(Scope.TABLES)}
        opened = self._generations.adopt(maps, self.book())
        assert opened is not None
        return opened

    def book(self) -> int:
        """Return the number of the state file's tables."""
        return int(str(self._query("SELECT value FROM meta WHERE name = 'book'")[0][0]), 16)

    def notes(self) -> dict[MapName, dict[bytes, int]]:
        """Return the action of each note by map and stored key."""
        found: dict[MapName, dict[bytes, int]] = {name: {} for name in TABLES}
        for ref, key, action in self._query("SELECT map, key, action FROM note WHERE map >= 24"):
            found[BY_REF[ref].name][key] = action
        return found

    def _query(self, text: str) -> list[tuple]:  # type: ignore[type-arg]
        with contextlib.closing(sqlite3.connect(f"file:{self._state}?mode=ro", uri=True)) as file:
            return file.execute(text).fetchall()

    def agree(self) -> int:
        """See that notes and entries are the same; return how many there are."""
        opened, notes = self.open(), self.notes()
        try:
            for name, expected in notes.items():
                keys = list(expected)
                found = opened.look_up(name, keys)
                actions = {
                    key: None if value is None else value & 3
                    for key, value in zip(keys, found, strict=True)
                }
                assert actions == expected
                assert opened.count(name) == len(expected)
            assert not opened.marked
        finally:
            opened.close()
        return sum(map(len, notes.values()))


async def _compiled() -> Bytecode:
    return compiled_once(TableProgram())


@pytest.fixture
def site(lab: Lab) -> Site:
    return Site(lab)


class Site:
    """A client, a server that answers every name, and the service in between."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.client, self.server = lab.pair()
        self.tables = Tables(self.server)
        Responder(self.server)
        self.start()

    def start(self, *options: str) -> None:
        """Start the service, on whatever there is."""
        self.service = Service(self.server, *KEEP, *options, command=COMMAND)

    def kill(self) -> None:
        """Kill the service, and wait for what works for it to end too."""
        workers = processes_of(self.service.process.pid)[1:]
        self.service.process.send(signal.SIGKILL)
        self.service.process.wait()
        for pid in workers:
            eventually(lambda: not _lives(pid), "the end of its process")  # noqa: B023

    def verb(self, *words: str) -> None:
        """Run a verb, which must succeed."""
        done = self.service.verb(*words)
        assert done.returncode == 0, done.stderr

    def send(self, origin: str, lines: Sequence[str]) -> None:
        """Import lines as all rules of an origin."""
        path = self.lab.write("list.rules", "".join(f"{line}\n" for line in lines))
        self.verb("import", str(path), "--origin", origin, "--replace")

    def answered(self, name: str) -> bool:
        """Return whether a query for a name is answered."""
        return dig(self.client, name).status == "NOERROR"

    def hits(self) -> dict[str, int]:
        """Return the hits of each rule."""
        return {rule["target"]: rule["hits"] for rule in self.service.rules()}


def _lives(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def many(count: int, start: int = 0) -> list[str]:
    """Return rules of each kind."""
    return [
        f".zone{n}.example"
        if n % 4 == 0
        else f"host{n}.example"
        if n % 4 == 1
        else f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}"
        if n % 4 == 2
        else f"2001:db8:{n >> 16:x}:{n & 65535:x}::/64"
        for n in range(start, start + count)
    ]


# --- the first rule ------------------------------------------------------------------------


def test_without_a_zone_or_a_lists_rule_there_are_no_tables(site: Site) -> None:
    site.verb("block", "192.0.2.7", "www.example")
    assert site.tables.pins() == []
    (program,) = {site.server.xdp_id()}
    assert program is not None
    with Bpf().open_program(program) as loaded:  # type: ignore[union-attr]
        used = set(loaded.info.map_ids)
    assert (
        len(used)
        == len(RULE_MAPS) + len(names_of(Scope.INTERFACE, Scope.SERVICE, Scope.SAMPLES)) + 1
    )


def test_a_zone_is_in_force_when_the_verb_returns(site: Site) -> None:
    assert site.answered("www.evil.example")
    site.verb("block", ZONE)
    assert not site.answered("www.evil.example")
    assert not site.answered("evil.example")
    assert site.answered("vil.example")
    site.verb("allow", ".good.evil.example")
    assert site.answered("a.good.evil.example")
    assert site.tables.agree() == 2


def test_when_the_last_rule_goes_nothing_of_the_tables_is_in_force(site: Site) -> None:
    site.verb("block", ZONE)
    site.verb("unblock", ZONE)
    assert site.answered("www.evil.example")
    assert site.tables.agree() == 0


# --- what outlives what --------------------------------------------------------------------


def test_a_killed_service_goes_on_blocking_and_the_next_has_rules_and_hits(
    site: Site,
) -> None:
    site.verb("block", ZONE)
    site.send("list:feed", [".listed.example", "exact.example"])
    for name in ("www.evil.example", "www.listed.example"):
        assert not site.answered(name)
    site.kill()
    assert not site.answered("www.evil.example")
    site.start()
    assert site.hits() == {ZONE: 2, ".listed.example": 1, "exact.example": 0}
    assert "tables-adopted" in site.service.process.text
    site.verb("block", ".more.example")
    assert not site.answered("www.more.example")
    assert site.tables.agree() == 4


def test_after_a_reboot_the_rules_are_in_force_with_the_first_packet(site: Site) -> None:
    """What a reboot leaves: the state file, but neither maps nor programs nor pins."""
    site.send("list:feed", [ZONE, *many(2_000)])
    site.service.stop()
    for path in OWN_DIRECTORY.glob(f"{site.server.inode}-*"):
        if path.is_file():
            path.unlink()
    eventually(lambda: site.server.xdp_id() is None, "the end of the filter")
    assert site.answered("www.evil.example")
    site.start()
    assert not site.answered("www.evil.example")
    assert site.tables.agree() == 2_001


def test_where_the_state_is_lost_the_tables_go_and_the_list_can_be_sent_again(
    site: Site,
) -> None:
    site.send("list:feed", [ZONE])
    site.service.stop()
    for path in site.lab.directory.glob(f"{site.server.name}.db*"):
        path.unlink()
    site.start()
    assert "tables-left" in site.service.process.text
    assert site.tables.pins() == []
    assert site.answered("www.evil.example")
    site.send("list:feed", [ZONE])
    assert not site.answered("www.evil.example")


def test_pins_that_are_removed_by_hand_come_back(site: Site) -> None:
    site.verb("block", ZONE)
    before = set(site.tables.pins())
    for path in before:
        path.unlink()
    eventually(lambda: set(site.tables.pins()) == before, "the pins of the tables")
    site.kill()
    site.start()
    assert "tables-adopted" in site.service.process.text
    assert site.tables.agree() == 1


def test_tables_of_another_layout_are_made_again_from_the_notes(site: Site) -> None:
    site.send("list:feed", [ZONE, *many(100)])
    site.service.stop()
    opened = site.tables.open()
    opened.maps[MapName.TABLE_HEAD].memory().cast("Q")[0] += 1
    opened.close()
    site.start()
    assert "tables-left" in site.service.process.text
    assert not site.answered("www.evil.example")
    assert site.tables.agree() == 101


# --- kills ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("count", "rounds"), [(3_000, 4), (60_000, 4)])
def test_after_a_kill_at_any_moment_notes_and_tables_agree(
    site: Site, count: int, rounds: int
) -> None:
    """Within the service's process and within one of its own; also while the tables grow."""
    site.verb("block", ZONE)
    moments = random.Random(count)
    began = time.monotonic()
    site.send("list:feed", many(count))
    lasts = time.monotonic() - began
    for number in range(rounds):
        lines = many(count + number * count // 2, start=count // 3 * number)
        thread = threading.Thread(target=_whatever_comes, args=(site, lines))
        thread.start()
        time.sleep(moments.uniform(0.1, 1.0) * lasts)
        site.kill()
        thread.join()
        site.start()
        assert site.tables.agree() >= 1
        assert not site.answered("www.evil.example")
    lines = many(count)
    site.send("list:feed", lines)
    assert site.tables.agree() == count + 1


def _whatever_comes(site: Site, lines: Sequence[str]) -> None:
    with contextlib.suppress(AssertionError, OSError):
        site.send("list:feed", lines)


def test_after_kills_while_the_first_tables_are_made_the_zone_is_in_force_or_not_there(
    site: Site,
) -> None:
    moments = random.Random(7)
    for number in range(5):
        zone = f".first{number}.example"
        thread = threading.Thread(target=lambda zone=zone: site.service.verb("block", zone))
        thread.start()
        time.sleep(moments.uniform(0.05, 0.8))
        site.kill()
        thread.join()
        site.start()
        noted = set(site.hits())
        assert site.answered(f"www.first{number}.example") == (zone not in noted)
        if noted:
            site.verb("flush", "--yes")
            site.service.stop()
            for path in OWN_DIRECTORY.glob(f"{site.server.inode}-*"):
                if path.is_file():
                    path.unlink()
            site.start()


def test_when_the_process_that_works_on_a_list_is_killed_what_it_left_is_put_right(
    site: Site,
) -> None:
    site.send("list:feed", many(60_000))
    thread = threading.Thread(target=_whatever_comes, args=(site, many(90_000, start=30_000)))
    before = set(processes_of(site.service.process.pid))
    thread.start()
    eventually(lambda: set(processes_of(site.service.process.pid)) - before, "its process")
    (worker,) = set(processes_of(site.service.process.pid)) - before
    time.sleep(0.8)
    with contextlib.suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    thread.join()
    site.kill()
    site.start()
    assert site.tables.agree() > 0


# --- two generations under traffic ---------------------------------------------------------


@pytest.fixture
def streaming(lab: Lab) -> StreamSite:
    """A site whose blocked kinds are all blocked by a list."""
    site = StreamSite(lab)
    path = lab.write("stream.rules", "".join(f"{rule}\n" for rule in RULES))
    done = site.service.verb("import", str(path), "--origin", "list:stream")
    assert done.returncode == 0, done.stderr
    return site


LISTED = {"addr-v4", "addr-v6", "cidr4", "cidr6"}


def holds(site: StreamSite, before: dict[str, int], seen: Seen) -> None:
    """See that a list dropped all that was blocked, and nothing else was lost."""
    assert seen.passed == {}
    assert (seen.unanswered, seen.lost) == (0, ())
    sources = sum(seen.sent[kind] for kind in LISTED)
    site.service.counted(before["source"] + sources, action="drop", reason="list-source")
    site.service.counted(before["name"] + seen.sent["qname"], action="drop", reason="list-name")


def counted(site: StreamSite) -> dict[str, int]:
    """Return how many packets lists dropped so far."""
    metrics = site.service.metrics()
    return {
        "source": metrics.packets(action="drop", reason="list-source"),
        "name": metrics.packets(action="drop", reason="list-name"),
    }


def test_no_blocked_packet_arrives_while_the_tables_grow_and_the_program_is_moved(
    streaming: StreamSite, lab: Lab
) -> None:
    assert set(BLOCKED) == {*LISTED, "qname"}
    before, stream = counted(streaming), streaming.stream(10_000)
    for count in (1_000, 5_000, 30_000, 80_000):
        path = lab.write("more.rules", "".join(f"{line}\n" for line in many(count, 1_000)))
        done = streaming.service.verb("import", str(path), "--origin", "list:more", "--replace")
        assert done.returncode == 0, done.stderr
    assert streaming.service.process.text.count("tables-grown") >= 2
    seen = stream.end()
    holds(streaming, before, seen)
    hits = {rule["target"]: rule["hits"] for rule in _rules_of(streaming, "list:stream")}
    assert sum(hits.values()) >= 0.999 * seen.blocked


def _rules_of(site: StreamSite, origin: str) -> list[dict[str, Any]]:
    return site.service.rules("--origin", origin)


def test_no_blocked_packet_arrives_through_kills_and_restarts(streaming: StreamSite) -> None:
    before, stream = counted(streaming), streaming.stream(5_000)
    for _ in range(4):
        streaming.kill()
        streaming.start()
    holds(streaming, before, stream.end())


def test_an_interface_that_comes_later_has_the_tables_too(lab: Lab) -> None:
    client, server = lab.pair()
    service = Service(
        server, *KEEP, "--wait", interfaces=("eth0", "later0"), command=COMMAND, await_ready=False
    )
    service.process.line(" waiting ", timeout=30)
    Responder(server)
    assert service.verb("block", ZONE).returncode == 0
    assert dig(client, "www.evil.example").status != "NOERROR"
    server.ip("link", "add", "later0", "type", "veth", "peer", "name", "later1")
    service.process.line(r"\bready\b", timeout=30)
    tables = {path.name.rpartition(":")[0] for path in Tables(server).pins()}
    assert len(tables) == 2
    assert len(Tables(server).pins()) == 2 * len(names_of(Scope.TABLES))
