"""Long work in a process of its own, on the kernel's own maps: as in this one, or not at all."""

from __future__ import annotations

import io
import os
import signal
import threading
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.kernel.conftest import rule_maps
from xdpctl.abi import MAPS, RULE_MAPS, MapName, RuleAction
from xdpctl.errors import GuardError, MapFullError, TargetError, XdpctlError
from xdpctl.feeds.reader import ReadAs
from xdpctl.http.api.rule_lists import ImportedList
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.rules import AnyQtype, Rule, parse_target
from xdpctl.rules.guard import Guard
from xdpctl.store import store as store_module
from xdpctl.store.change import Change
from xdpctl.store.export import lines_of
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.kernel.bpf.maps import Map

pytestmark = pytest.mark.root

ROOM = 6_000
LINES = [
    "192.0.2.1",
    "2001:db8::1 action=pass",
    "10.0.0.0/8 reason=wide",
    "2001:db8:1::/48 action=truncate",
    "www.example for=1h",
    "mx.www.example",
]


class Office:
    """A store that does all long work in another process, and its reports."""

    def __init__(self, maps: dict[MapName, Map], state: State) -> None:
        self.maps = maps
        self.changes = dict.fromkeys(RULE_MAPS, 0)
        self.progress: list[tuple[str, int, int]] = []
        self.on_progress: Callable[[], None] = lambda: None
        self.store = Store(maps, state, AnyQtype.BOTH, on_change=self._changed, worker=True)
        self.store.reconcile()

    def _changed(self, name: MapName, difference: int) -> None:
        self.changes[name] += difference

    def _progressed(self, *word: object) -> None:
        self.progress.append(word)  # type: ignore[arg-type]
        self.on_progress()

    def load(self, lines: list[str], **options: object) -> tuple[object, ImportedList]:
        """Have lines worked in; return the result and the list."""
        listed = ImportedList(
            io.BytesIO("\n".join(lines).encode()), ReadAs(origin="file:x"), AnyQtype.BOTH
        )
        change = Change(
            source=listed,
            origin="file:x",
            progress=self._progressed,
            **options,  # type: ignore[arg-type]
        )
        return self.store.bulk(change), listed

    def lines(self) -> list[str]:
        """Return the export, made elsewhere."""
        export = self.store.export(everything=True)
        try:
            data = b"".join(iter(export.part, b""))
        finally:
            export.close()
        return data.decode().splitlines()


@pytest.fixture
def maps() -> Iterator[dict[MapName, Map]]:
    with rule_maps(ROOM) as maps:
        yield maps


@pytest.fixture
def office(
    maps: dict[MapName, Map], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Office]:
    monkeypatch.setattr(store_module, "WORKER_BYTES", 0)
    monkeypatch.setattr(store_module, "SMALL_BYTES", -1)
    monkeypatch.setattr(store_module, "WORKER_NOTES", -1)
    with State.open(tmp_path / "state.db") as state:
        yield Office(maps, state)
    assert children() == []


def children() -> list[int]:
    """Return the processes of the work on rules."""
    path = Path("/proc/self/task").glob("*/children")
    found = [int(pid) for file in path for pid in file.read_text().split()]
    return [
        pid for pid in found if b"xdpctl.store.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def many(count: int) -> list[str]:
    """Return addresses."""
    return [str(IPv4Address("198.18.0.0") + number) for number in range(count)]


def test_a_list_is_worked_in_and_exported_as_in_this_process(office: Office) -> None:
    result, listed = office.load([*LINES, "192.0.2.7 origin=dnsdist"])
    assert result.created == len(LINES)  # type: ignore[attr-defined]
    assert listed.found.skipped == 1
    assert sum(office.changes.values()) == len(LINES)
    here = lines_of(office.store.listing, AnyQtype.BOTH, everything=True)
    assert office.lines() == list(here)
    assert len(office.lines()) == len(LINES)


def test_a_second_list_in_place_of_the_first_changes_only_the_difference(office: Office) -> None:
    office.load([*LINES[:4], *many(50)])
    result, _ = office.load([*LINES[1:4], "192.0.2.3"], replace=True)
    assert (result.created, result.removed, result.unchanged) == (1, 51, 3)  # type: ignore[attr-defined]
    assert sum(office.changes.values()) == 4


def test_how_far_it_is_is_said(office: Office) -> None:
    office.load(many(10))
    assert office.progress[0][0] == "read"
    assert office.progress[-1] == ("apply", 10, 10)


def test_what_is_guarded_is_left_out_there_too(office: Office) -> None:
    guard = Guard([IPv4Network("192.0.2.0/24")], [])
    result, _ = office.load(["192.0.2.1", "198.51.100.1"], guard=guard)
    assert (result.created, result.guarded) == (1, 1)  # type: ignore[attr-defined]
    assert "192.0.2.1" in result.first_guarded  # type: ignore[attr-defined]
    with pytest.raises(GuardError, match=r"192\.0\.2\.1"):
        office.load(["192.0.2.1"], guard=guard, strict=True)


def test_a_bad_line_is_refused_as_in_this_process_and_nothing_is_changed(office: Office) -> None:
    with pytest.raises(TargetError, match="line 2: ") as caught:
        office.load(["192.0.2.1", "300.0.0.1/64"])
    assert caught.value.text
    assert office.lines() == []


def test_a_full_map_is_named_with_how_many_went_in(office: Office) -> None:
    with pytest.raises(MapFullError) as caught:
        office.load(many(ROOM + 10))
    assert caught.value.map_name == MapName.ADDR_V4
    assert caught.value.done == office.changes[MapName.ADDR_V4] == len(office.lines())


def test_names_are_told_before_they_are_written(office: Office, maps: dict[MapName, Map]) -> None:
    told: list[bool] = []
    maps[MapName.QNAMES].before_write = lambda keys: told.append(
        maps[MapName.QNAMES].lookup_many(keys) == [None, None]
    )
    office.load(LINES)
    assert told == [True]


def test_a_single_rule_gets_its_turn_meanwhile(office: Office) -> None:
    first = threading.Thread(
        target=office.store.put, args=([Rule(parse_target("192.0.2.1"), RuleAction.DROP)],)
    )

    def put() -> None:
        office.on_progress = lambda: None
        first.start()
        first.join()

    office.on_progress = put
    result, _ = office.load(many(5_000))
    assert result.created == 5_000  # type: ignore[attr-defined]
    assert len(office.lines()) == 5_001


def test_a_list_ends_at_its_next_step_when_the_service_stops(office: Office) -> None:
    office.on_progress = office.store.cancel
    with pytest.raises(XdpctlError, match="stops before the list is whole"):
        office.load(many(5_000))


def test_maps_that_are_replaced_meanwhile_are_not_written_to(
    office: Office, maps: dict[MapName, Map]
) -> None:
    def replace() -> None:
        office.on_progress = lambda: None
        maps[MapName.ADDR_V4].become(Bpf().create_map(MAPS[MapName.ADDR_V4], ROOM))

    office.on_progress = replace
    with pytest.raises(XdpctlError, match="maps were replaced"):
        office.load(many(100))
    assert list(maps[MapName.ADDR_V4].chunks()) == []


def test_a_process_that_is_ended_leaves_the_turn_to_others(office: Office) -> None:
    def kill() -> None:
        office.on_progress = lambda: None
        (pid,) = children()
        os.kill(pid, signal.SIGKILL)

    office.on_progress = kill
    with pytest.raises(XdpctlError, match="was ended by SIGKILL"):
        office.load(many(5_000))
    result, _ = office.load(many(5_000))
    assert result.created + result.unchanged == 5_000  # type: ignore[attr-defined]


def test_an_export_that_nobody_reads_on_leaves_no_process(office: Office) -> None:
    lines = [f"{line} reason={'long' * 40}" for line in many(5_900)]
    office.load(lines)  # over a megabyte: more than a socket holds, so it waits for a reader
    export = office.store.export(everything=False)
    assert export.part()
    assert len(children()) == 1
    export.close()
    assert children() == []


def test_where_none_can_be_started_one_sentence_says_so(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.executable", "/nonexistent/python")
    with pytest.raises(XdpctlError, match="cannot start a process for the work on the rules"):
        office.load(LINES)
