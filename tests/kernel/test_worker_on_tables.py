"""Long lists of our own tables, worked on in a process of its own, on the kernel."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.kernel.test_worker import children
from tests.support.descriptors import none_left_open
from xdpctl.abi import BY_REF, MAPS, RULE_MAPS, TABLES, Book, MapName, RuleAction
from xdpctl.errors import KernelError, XdpctlError
from xdpctl.feeds.reader import ReadAs
from xdpctl.http.api.rule_lists import ImportedList
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.program.config import TableProgram
from xdpctl.rules import AnyQtype, Rule, parse_target, target_of
from xdpctl.rules.keys import stored_place
from xdpctl.store import store as store_module
from xdpctl.store.bulk import STEP
from xdpctl.store.change import Change
from xdpctl.store.export import lines_of
from xdpctl.store.state import State
from xdpctl.store.store import Store
from xdpctl.store.tables.generation import KernelGenerations
from xdpctl.store.tables.restoring import agrees, fill

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.rules import Target
    from xdpctl.store.bulk import BulkResult

pytestmark = pytest.mark.root

ORIGIN = "list:x"


class Office:
    """A store whose tables grow when a list needs it, and whose long work is done elsewhere.

    Attributes:
        reserved: what room was asked for. `refusal`: raised instead of making it.
        grown: called when the next generation is filled, before it is the one that is read.
    """

    def __init__(self, state: State, generations: KernelGenerations) -> None:
        self.state = state
        self.generations = generations
        self.reserved: list[dict[MapName, int]] = []
        self.refusal: XdpctlError | None = None
        self.on_progress: Callable[[str], None] = lambda _what: None
        self.steps: list[BulkResult] = []
        self._resources = contextlib.ExitStack()
        bpf = Bpf()
        maps = {
            name: self._resources.enter_context(bpf.create_map(MAPS[name], 64))
            for name in RULE_MAPS
        }
        self.store = Store(maps, state, AnyQtype.BOTH, reserve=self.reserve, worker=True)
        self.store.reconcile()

    def close(self) -> None:
        self.store.tables.close()
        self._resources.close()

    def reserve(self, more: Mapping[MapName, int]) -> None:
        """Make room, as service/own_tables.py."""
        self.reserved.append(dict(more))
        if self.refusal is not None:
            raise self.refusal
        if self.store.tables.lacks(more):
            self.grow(more)

    def grow(self, more: Mapping[MapName, int]) -> None:
        """Put another generation in the place of the present one."""
        tables = self.store.tables
        former = tables.current
        room = {name: self.state.count(name) + more.get(name, 0) for name in TABLES}
        made = self.generations.make(room, 1, former)
        with self.store.alone():
            tables.use(*([] if former is None else [former]), made)
        for _ in self.store.in_steps(fill(made, self.state)):
            pass
        with self.store.alone():
            assert former is None or made in tables.engines()
            tables.use(made)
        if former is not None:
            made.add_hits_of(former)
            former.close()

    def load(self, lines: list[str], *, replace: bool = False, origin: str = ORIGIN) -> BulkResult:
        """Have lines worked in; `steps` has what was said about it."""
        self.steps.clear()
        listed = ImportedList(
            io.BytesIO("".join(f"{line}\n" for line in lines).encode()),
            ReadAs(origin=origin),
            AnyQtype.BOTH,
        )
        return self.store.bulk(
            Change(
                source=listed,
                origin=origin,
                replace=replace,
                progress=lambda what, *_: self.on_progress(what),
            ),
            self.steps.append,
        )

    def listed(self) -> set[Target]:
        """Return the targets of all rules."""
        return {target_of(e.map, e.key, AnyQtype.BOTH) for e in self.store.entries()}

    def agrees(self) -> bool:
        """Return whether notes and entries are the same, one by one."""
        current = self.store.tables.current
        assert current is not None
        for name in TABLES:
            notes = self.state.rows(name, b"", 1_000_000)
            found = current.look_up(name, [row[1] for row in notes])
            if [None if value is None else value & 3 for value in found] != [r[2] for r in notes]:
                return False
        return agrees(current, self.state) and not current.marked


@pytest.fixture(scope="module")
def bytecode() -> Bytecode:
    return compiled_once(TableProgram())


@pytest.fixture
async def office(
    bytecode: Bytecode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Office]:
    monkeypatch.setattr(store_module, "WORKER_BYTES", 0)
    monkeypatch.setattr(store_module, "SMALL_BYTES", -1)
    monkeypatch.setattr(store_module, "WORKER_NOTES", -1)

    async def compiled() -> Bytecode:
        return bytecode

    generations = KernelGenerations(Bpf(), compiled)
    await generations.prepare()
    with State.open(tmp_path / "state.db") as state:
        office = Office(state, generations)
        yield office
        office.close()
    assert children() == []


def many(count: int, start: int = 0) -> list[str]:
    """Return targets of each kind."""
    return [
        (f".z{n}.example", f"h{n}.example", f"10.0.{n >> 8}.{n & 255}", f"10.{n & 255}.0.0/16")[
            n % 4
        ]
        for n in range(start, start + count)
    ]


def test_a_list_is_worked_in_and_exported_as_in_this_process(office: Office) -> None:
    lines = many(10_000)
    places = len(set(lines))
    assert office.load(lines).created == places
    assert office.agrees()
    export = office.store.export(everything=True)
    data = b"".join(iter(export.part, b""))
    export.close()
    here = list(lines_of(office.store.listing, AnyQtype.BOTH, everything=True))
    assert data.decode().splitlines() == here
    assert len(here) == places
    assert office.load(lines, replace=True).unchanged == places


def test_a_list_that_needs_more_room_has_it_before_its_first_rule(office: Office) -> None:
    office.load(many(100))
    before = office.store.tables.current
    office.load(many(5_000))
    assert office.store.tables.current is not before
    assert office.agrees()


def test_without_room_nothing_of_the_list_is_in_force_and_the_sentence_arrives(
    office: Office,
) -> None:
    office.load(many(100))
    office.refusal = KernelError("cannot create map name-table", 12)
    with pytest.raises(KernelError, match="cannot create map name-table"):
        office.load(many(5_000), replace=True)
    assert office.agrees()
    assert len(list(office.store.entries())) == len(set(many(100)))


def test_tables_that_grow_in_the_middle_are_what_the_rest_is_written_into(
    office: Office,
) -> None:
    """As a single rule may make them grow while a list is worked on."""
    office.load(many(40))
    seen: list[str] = []

    def grow(what: str) -> None:
        seen.append(what)
        if seen.count("apply") == 1 and what == "apply":
            office.grow({MapName.LIST_NAMES: 100_000})

    office.on_progress = grow
    lines = many(20_000)
    office.load(lines, replace=True)
    assert seen.count("apply") >= 1
    assert office.agrees()


def test_rules_that_are_written_and_read_while_a_list_is_worked_on(office: Office) -> None:
    stop, failed = threading.Event(), []

    def others() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            target = parse_target(f".mine{number % 7}.example")
            try:
                office.store.put([Rule(target, RuleAction.PASS)])
                shown = {entry.map for entry in office.store.entries(origin="cli")}
                assert shown == {MapName.ZONES}
            except BaseException as error:  # noqa: BLE001 - shown by the test
                failed.append(error)
                return

    office.load(many(40))
    thread = threading.Thread(target=others)
    thread.start()
    office.load(many(20_000), replace=True)
    stop.set()
    thread.join()
    assert failed == []
    assert office.agrees()


def test_a_process_that_is_killed_leaves_what_the_next_look_puts_right(office: Office) -> None:
    office.load(many(40))

    def kill(what: str) -> None:
        if what == "apply":
            for pid in children():
                os.kill(pid, signal.SIGKILL)

    office.on_progress = kill
    with pytest.raises(XdpctlError, match="was ended by SIGKILL"):
        office.load(many(40_000), replace=True)
    office.store.settle()
    assert office.agrees()
    made = len(office.listed()) - len(set(many(40)))
    assert made - STEP <= office.steps[-1].created <= made
    office.on_progress = lambda _what: None
    office.load(many(1_000), replace=True)
    assert office.agrees()


def claims_of(office: Office, origin: str) -> set[tuple[int, bytes]]:
    """Return where an origin has a claim, in force or waiting."""
    return set(
        office.state.select(
            "SELECT map, key FROM note WHERE origin = ?1"
            " UNION SELECT map, key FROM waiting WHERE origin = ?1",
            (origin,),
        )
    )


def places(lines: list[str]) -> set[tuple[int, bytes]]:
    return {stored_place(parse_target(line), AnyQtype.BOTH, Book.LISTS) for line in lines}


@pytest.mark.parametrize("step", [1, 2, 3])
def test_a_process_that_is_killed_leaves_lists_that_overlap_their_claims(
    office: Office, step: int
) -> None:
    """Each list has a tenth of its rules in common with the next one; all three change by turns."""
    lists = {f"list:{name}": many(8_000, n * 7_200) for n, name in enumerate("abc")}
    for origin, lines in lists.items():
        office.load(lines, origin=origin, replace=True)
    for changed, others in (("list:b", ("list:a", "list:c")), ("list:a", ("list:b", "list:c"))):
        seen: list[str] = []

        def kill(what: str, seen: list[str] = seen) -> None:
            seen.append(what)
            if seen.count("apply") == step:
                for pid in children():
                    os.kill(pid, signal.SIGKILL)

        office.on_progress = kill
        with contextlib.suppress(XdpctlError):  # it may be done before
            office.load(many(8_000, 3_600), origin=changed, replace=True)
        office.on_progress = lambda _what: None
        office.store.settle()
        assert office.agrees()
        for other in others:
            assert claims_of(office, other) == places(lists[other])
        office.load(lists[changed], origin=changed, replace=True)
        assert claims_of(office, changed) == places(lists[changed])
        assert office.agrees()
    office.store.flush(None, "list:a")
    there = places(lists["list:b"] + lists["list:c"])
    assert {place for name in ("list:b", "list:c") for place in claims_of(office, name)} == there
    assert {stored_place(target, AnyQtype.BOTH, Book.LISTS) for target in office.listed()} == there
    assert office.agrees()


RPZ = [
    "$TTL 60",
    "$ORIGIN rpz.invalid.",
    "@ SOA ns root 1 60 60 60 60",
    "@ NS ns",
    "*.evil.example CNAME rpz-drop.",
    "a.evil.example CNAME rpz-drop.",
]
"""A zone that blocks no name below a.evil.example."""


def action_of(office: Office, target: str) -> int:
    """Return the action that the table has for a list's rule."""
    current = office.store.tables.current
    assert current is not None
    ref, key = stored_place(parse_target(target), AnyQtype.BOTH, Book.LISTS)
    (value,) = current.look_up(BY_REF[ref].name, [key])
    assert value is not None
    return value & 3


def test_an_implied_rule_of_one_list_follows_the_other_lists(office: Office) -> None:
    office.load(RPZ, origin="list:rpz")
    seen = [action_of(office, "*.a.evil.example")]
    for lines in ([".evil.example"], [".evil.example action=truncate"], [".else.example"]):
        office.load(lines, replace=True)
        seen.append(action_of(office, "*.a.evil.example"))
    assert seen == [RuleAction.PASS, RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS]
    assert office.load(RPZ, replace=True, origin="list:rpz").updated == 0
    assert office.agrees()


def test_a_process_that_is_killed_leaves_implied_rules_as_they_are_to_be(office: Office) -> None:
    office.load(RPZ, origin="list:rpz")
    office.load([".evil.example"])

    def kill(what: str) -> None:
        if what == "apply":
            for pid in children():
                os.kill(pid, signal.SIGKILL)

    office.on_progress = kill
    with pytest.raises(XdpctlError, match="was ended by SIGKILL"):
        office.load(many(40_000), replace=True)  # what is gone goes first
    office.store.settle()
    assert parse_target(".evil.example") not in office.listed()
    assert action_of(office, "*.a.evil.example") == RuleAction.PASS
    assert office.agrees()


def test_nothing_is_left_open(office: Office) -> None:
    office.load(many(100))
    with none_left_open():
        for count in (200, 3_000, 50):
            office.load(many(count), replace=True)
            office.store.export(everything=False).close()
