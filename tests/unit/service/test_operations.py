"""What the API may ask of the service: each thing on its thread, panic before all else."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

import pytest

from tests.packets.case import DEFAULT
from tests.support.fake_host import INTERFACE, FakeHost, bytecode, dnsdist_writes, rule
from tests.support.fake_tables import FakeEngine
from tests.unit.samples.seen import frame_of, sample_of
from xdpctl import __version__
from xdpctl.abi import MAPS, MapName, PacketAction, Reason, RuleAction, decode_control
from xdpctl.errors import (
    ConflictError,
    GuardError,
    KernelError,
    MapFullError,
    NotFoundError,
    StateError,
    TargetError,
)
from xdpctl.feeds.publish.views import Publication, PublishZoneView
from xdpctl.filter.dry_run import Decision
from xdpctl.filter.filter import Filter
from xdpctl.filter.view import FilterState
from xdpctl.http.abandonment import CLIENT_GONE, AbandonedError
from xdpctl.kernel.bpf.pins import netns_inode
from xdpctl.maps.holders import Holder, Sighting
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.process.lanes import Lanes
from xdpctl.rules import AnyQtype, Question, Rule, key_of, map_of, parse_target, target_text
from xdpctl.rules.guard import Guard
from xdpctl.rules.lines import LineReader
from xdpctl.samples.hub import Hub
from xdpctl.samples.packets import read_packet
from xdpctl.service import operations, watch
from xdpctl.service.account import Account
from xdpctl.service.limit_tables import LimitTables
from xdpctl.service.limits import Limits
from xdpctl.service.operations import Operations
from xdpctl.service.panic import PanicSwitch
from xdpctl.service.watch import Watch
from xdpctl.status.observer import Observer
from xdpctl.store.change import Change
from xdpctl.store.history import History
from xdpctl.store.state import PANIC, State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
    from pathlib import Path

    from xdpctl.program.config import ProgramConfig
    from xdpctl.program.datagram import Datagram
    from xdpctl.rules.keys import Row
    from xdpctl.samples.sample import Sample
    from xdpctl.store.published import PublishedRecord

INTERFACES = (INTERFACE, "eth1")


class FakeProgramInForce:
    """Decides as it is told, and notes the packets."""

    def __init__(self) -> None:
        self.config = DEFAULT
        self.now = self.without = Decision(Reason.NO_MATCH, PacketAction.PASS)
        self.packets: list[tuple[str, Datagram]] = []

    async def decide(
        self, interface: str, packet: Callable[[ProgramConfig], Datagram]
    ) -> tuple[Datagram, Decision, Decision]:
        self.packets.append((interface, packet(self.config)))
        return self.packets[-1][1], self.now, self.without


class Processes:
    """What a look at processes gives: who holds every map, and whether all could be seen."""

    def __init__(self) -> None:
        self.holders = frozenset[Holder]()
        self.whole = True

    def keepers(self, number: int) -> Sighting:
        return Sighting({number: self.holders}, self.whole)


class Office:
    """A operations with everything behind it, on a fake host with two interfaces."""

    def __init__(self, host: FakeHost) -> None:
        self.host = host
        self.stack = AsyncExitStack()
        host.kernel.add_interface("eth1")
        settings = host.settings("-m", "8")
        enter = self.stack.enter_context
        self.shared = enter(SharedMaps(host.bpf, settings))
        self.shared.inspect()
        self.shared.open()
        self.state = enter(State.open(settings.state))
        self.filters = [
            enter(Filter(host.bpf, host.netlink, name, directory=host.own)) for name in INTERFACES
        ]
        for one in self.filters:
            one.attach(bytecode(), self.shared.rule_maps(), panic=False)
        self.panic = PanicSwitch(self.filters, self.state)
        self.observer = Observer(
            self.filters,
            self.shared,
            DestinationWatch({}, host.netlink, restore=False),
            panic=self.panic.is_on,
        )
        self.store = Store(
            self.shared.rule_maps(), self.state, AnyQtype.BOTH, on_change=self.observer.changed
        )
        self.store.reconcile()
        self.program = FakeProgramInForce()
        self.account = Account(History.open(self.state), lambda: self.store.any_qtype)
        self.reserved: list[dict[MapName, int]] = []
        self.grown: list[tuple[MapName, int]] = []
        self.holders = Processes()
        self.observer.look()
        self.lanes = lanes = enter(Lanes("store"))
        self.watch_thread = enter(ThreadPoolExecutor(1, "watch"))
        self.limits = Limits(
            enter(LimitTables(host.bpf)),
            settings,
            self.observer,
            host.netlink,
            self.account,
            thread=self.watch_thread,
            note_thread=lanes.writes,
        )
        self.operations = Operations(
            store=self.store,
            guard=lambda: Guard((), [ip_address("192.0.2.53")]),
            state=self.state,
            filters=self.filters,
            observer=self.observer,
            panic=self.panic,
            store_thread=lanes.writes,
            read_thread=lanes.reads,
            urgent_thread=lanes.urgent,
            watch_thread=self.watch_thread,
            bulk_thread=enter(ThreadPoolExecutor(1, "bulk")),
            grow=self.grow,
            holders=self.holders,  # type: ignore[arg-type]
            reserve=self.reserve,
            account=self.account,
            limits=self.limits,
            watch=Watch(Hub(), lambda: settings, self.store, thread=lanes.reads),
            program=self.program,  # type: ignore[arg-type]  # the part that is used
        )

    async def grow(self, name: MapName, entries: int) -> int:
        """Note what is to grow."""
        self.grown.append((name, entries))
        return 7

    async def reserve(self, more: Mapping[MapName, int]) -> None:
        """Note what room is asked for, and make it."""
        self.reserved.append(dict(more))
        if self.store.tables.lacks(more):
            self.store.tables.use(FakeEngine())

    def panics(self) -> list[bool]:
        """Return what the control map of each interface says."""
        said = []
        for name in INTERFACES:
            with self.host.bpf.open_map(
                self.host.own / f"{netns_inode()}-{name}:control"
            ) as control:
                said.append(decode_control(control.lookup(bytes(4)) or b""))
        return said

    async def listed(
        self, map_name: MapName | None = None, origin: str | None = None
    ) -> dict[str, tuple[str, str]]:
        """Return action and origin of each rule, by target."""
        rules, _ = await self.operations.page(map_name, origin, None, 100)
        return {one.target: (one.action, one.origin) for one in rules}


@pytest.fixture
async def office(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Office]:
    office = Office(FakeHost(monkeypatch, tmp_path))
    async with office.stack:
        yield office


# --- rules ------------------------------------------------------------------------------------


async def test_a_rule_that_was_put_is_listed(office: Office) -> None:
    result = await office.operations.put([rule("192.0.2.1")], force=False)
    assert (result.created, await office.listed()) == (1, {"192.0.2.1": ("drop", "cli")})


async def test_a_rule_that_was_removed_is_not_listed(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("www.example")], force=False)
    assert (await office.operations.remove([parse_target("192.0.2.1")])).removed == 1
    assert list(await office.listed()) == ["www.example"]


async def test_what_dnsdist_wrote_is_listed_as_its_and_refused(office: Office) -> None:
    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.1"))
    assert await office.listed() == {"192.0.2.1": ("drop", "dnsdist")}
    with pytest.raises(ConflictError):
        await office.operations.put([rule("192.0.2.1")], force=False)


async def test_own_writes_are_in_the_next_status(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1")], force=False)
    (entries,) = [one.entries for one in office.operations.status().maps if one.name == "addr-v4"]
    assert entries == 1


async def test_a_full_map_is_counted_by_map_and_errno(office: Office) -> None:
    with pytest.raises(MapFullError):
        await office.operations.put([rule(f"192.0.2.{number}") for number in range(9)], force=False)
    assert office.operations.snapshot().map_errors == {(MapName.ADDR_V4, "E2BIG"): 1}


async def test_pages_follow_each_other_until_the_end(office: Office) -> None:
    texts = {f"192.0.2.{number}" for number in range(5)} | {"198.51.100.0/24", "www.example"}
    await office.operations.put([rule(text) for text in texts], force=False)
    seen: list[str] = []
    cursor: str | None = None
    while True:
        rules, cursor = await office.operations.page(None, None, cursor, 2)
        assert len(rules) <= 2
        seen += [one.target for one in rules]
        if cursor is None:
            break
    assert sorted(seen) == sorted(texts)


async def test_a_page_is_of_one_map_or_origin_where_that_is_asked(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("198.51.100.0/24")], force=False)
    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.2"))
    assert list(await office.listed(MapName.CIDR4)) == ["198.51.100.0/24"]
    assert list(await office.listed(origin="dnsdist")) == ["192.0.2.2"]
    assert list(await office.listed(MapName.ADDR_V4, "cli")) == ["192.0.2.1"]


@pytest.mark.parametrize(
    "text", ["x", "addr-v4", "xskmap:0:00", "addr-v4:0:zz", "addr-v4:x:", "nowhere:0:00", "::"]
)
async def test_what_is_no_cursor_is_refused(office: Office, text: str) -> None:
    with pytest.raises(TargetError) as caught:
        await office.operations.page(None, None, text, 10)
    assert (caught.value.field, caught.value.text) == ("cursor", text)


async def test_a_name_is_listed_by_the_wildcard_that_is_in_force(office: Office) -> None:
    await office.operations.put([rule("www.example")], force=False)
    shown = []
    for mode in (AnyQtype.BOTH, AnyQtype.LEGACY):
        office.store.any_qtype = mode
        (one,), _ = await office.operations.page(None, None, None, 10)
        shown.append((one.qtype, one.wildcard))
    assert shown == [(None, 65535), ("TYPE65535", None)]


# --- many rules, expiry -----------------------------------------------------------------------


def rows(rules: Iterable[Rule]) -> list[Row]:
    """Return rules as bulk work takes them."""
    return [
        (MAPS[map_of(r.target)].ref, key_of(r.target, AnyQtype.BOTH), r.action, "", None, "file:x")
        for r in rules
    ]


async def test_a_list_is_merged_and_told_of_as_one(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1")], force=False)
    given = rows([rule("192.0.2.2"), rule("192.0.2.3")])
    result = await office.operations.bulk(Change(source=[given], origin="file:x"))
    assert (result.created, len(await office.listed(origin="file:x"))) == (2, 2)


async def test_a_list_that_fills_a_map_is_counted(office: Office) -> None:
    given = rows(rule(f"192.0.2.{number}") for number in range(20))
    with pytest.raises(MapFullError):
        await office.operations.bulk(Change(source=[given], origin="file:x"))
    assert office.operations.snapshot().map_errors == {(MapName.ADDR_V4, "E2BIG"): 1}


async def test_flushing_leaves_what_dnsdist_wrote(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("www.example")], force=False)
    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.2"))
    assert await office.operations.flush(None, None) == 2
    assert list(await office.listed()) == ["192.0.2.2"]


async def test_rules_expire_and_are_counted(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [1000.0]
    monkeypatch.setattr(office.store, "_boot", lambda: now[0])
    for part in (office.store._reconciler, office.store._claims):
        monkeypatch.setattr(part, "_boot", lambda: now[0])
    short = rule("192.0.2.1")
    for seconds, given in ((60, short), (90, rule("192.0.2.2"))):
        await office.operations.put([type(given)(given.target, expires_in=seconds)], force=False)
    assert await office.operations.expire() == 60
    now[0] += 61
    assert await office.operations.expire() == 29
    assert list(await office.listed()) == ["192.0.2.2"]
    assert office.operations.snapshot().expired == {MapName.ADDR_V4: 1}


async def test_a_new_rule_wakes_who_waits_for_the_next_expiry(office: Office) -> None:
    assert not office.operations.expiry_changed.is_set()
    await office.operations.put([rule("192.0.2.1")], force=False)
    assert office.operations.expiry_changed.is_set()


async def test_an_export_is_the_lines_of_our_rules(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("www.example", qtype="A")], force=False)
    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.2"))
    ours = b"".join([part async for part in office.operations.export(everything=False)])
    everything = b"".join([part async for part in office.operations.export(everything=True)])
    assert ours.decode().splitlines() == [
        "192.0.2.1 action=drop origin=cli",
        "www.example qtype=A action=drop origin=cli",
    ]
    assert b"192.0.2.2 action=drop origin=dnsdist\n" in everything


@pytest.mark.parametrize("by", ["hits", "rate"])
async def test_the_rules_hit_most_come_first(
    office: Office, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    monkeypatch.setattr(operations, "RATE_SECONDS", 0.0)
    maps = office.shared.rule_maps()
    for number in (1, 2, 3):
        dnsdist_writes(maps, parse_target(f"192.0.2.{number}"), hits=10 * number)
    real = asyncio.sleep

    async def during_the_wait(seconds: float) -> None:
        dnsdist_writes(maps, parse_target("192.0.2.1"), hits=1000)
        await real(seconds)

    monkeypatch.setattr(asyncio, "sleep", during_the_wait)
    found = await office.operations.top(2, None, "rate" if by == "rate" else "hits")
    assert [one.hits for one in found] == ([1000] if by == "rate" else [30, 20])
    assert all((one.rate is not None) == (by == "rate") for one in found)


# --- panic ------------------------------------------------------------------------------------


async def test_panic_reaches_every_interface_and_the_state(office: Office) -> None:
    await office.operations.set_panic(panic=True)
    assert (office.panics(), office.state.get_meta(PANIC)) == ([True, True], "1")
    assert office.operations.snapshot().panic


async def test_resume_ends_it_everywhere(office: Office) -> None:
    await office.operations.set_panic(panic=True)
    await office.operations.set_panic(panic=False)
    assert (office.panics(), office.state.get_meta(PANIC)) == ([False, False], "0")
    assert not office.operations.snapshot().panic


async def test_panic_is_in_force_although_the_state_cannot_be_written(office: Office) -> None:
    office.state._connection.execute("DROP TABLE meta")
    with pytest.raises(StateError):
        await office.operations.set_panic(panic=True)
    assert office.panics() == [True, True]


async def test_a_panic_that_fails_once_is_written_again(office: Office) -> None:
    office.host.kernel.faults.set("map.update", errno.EPERM)
    await office.operations.set_panic(panic=True)
    assert office.panics() == [True, True]


async def test_panic_waits_for_no_queue_and_its_note_for_no_read(office: Office) -> None:
    held = threading.Event()
    for thread in (office.watch_thread, office.lanes.reads):
        thread.submit(held.wait)
    read = office.lanes.reads.submit(office.state.get_meta, PANIC)  # asked for before
    asked = asyncio.create_task(office.operations.set_panic(panic=True))
    await asyncio.sleep(0)
    assert office.panics() == [True, True]
    held.set()
    await asked
    assert read.result() == "1"


@pytest.mark.parametrize("ask", ["put", "remove", "page", "panic", "flush", "detach"])
async def test_what_is_asked_by_a_client_that_has_gone_is_not_begun(
    office: Office, ask: str
) -> None:
    asks: dict[str, Callable[[], Awaitable[object]]] = {
        "put": lambda: office.operations.put([rule("192.0.2.1")], force=True),
        "remove": lambda: office.operations.remove([parse_target("192.0.2.1")]),
        "page": lambda: office.operations.page(None, None, None, 10),
        "panic": lambda: office.operations.set_panic(panic=True),
        "flush": lambda: office.operations.flush(None, None),
        "detach": lambda: office.operations.detach([]),
    }
    CLIENT_GONE.set(lambda: True)
    with pytest.raises(AbandonedError):
        await asks[ask]()
    assert office.panics() == [False, False]
    assert office.host.kernel.attached(INTERFACE) is not None
    CLIENT_GONE.set(lambda: False)
    assert (await office.operations.page(None, None, None, 10))[0] == []


async def test_an_interface_that_refuses_panic_does_not_keep_it_from_the_others(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing, other = office.filters

    def refuse(*, panic: bool) -> None:
        raise KernelError(f"cannot set panic to {panic}", errno.EPERM)

    monkeypatch.setattr(refusing, "set_panic", refuse)
    with pytest.raises(KernelError):
        await office.operations.set_panic(panic=True)
    assert other.view().state is FilterState.ATTACHED
    assert office.panics() == [False, True]
    assert (office.state.get_meta(PANIC), office.operations.snapshot().panic) == ("1", True)


# --- detaching --------------------------------------------------------------------------------


async def test_without_names_every_interface_is_detached(office: Office) -> None:
    assert await office.operations.detach([]) == list(INTERFACES)
    assert [office.host.kernel.attached(name) for name in INTERFACES] == [None, None]


async def test_only_the_named_interface_is_detached(office: Office) -> None:
    assert await office.operations.detach(["eth1"]) == ["eth1"]
    assert office.host.kernel.attached(INTERFACE) is not None


async def test_what_was_not_on_is_not_said_to_be_detached(office: Office) -> None:
    await office.operations.detach(["eth1"])
    assert await office.operations.detach([]) == [INTERFACE]


async def test_an_interface_of_another_is_not_found_and_nothing_is_detached(
    office: Office,
) -> None:
    with pytest.raises(NotFoundError, match="does not have the interface eth9: it has eth0, eth1"):
        await office.operations.detach([INTERFACE, "eth9"])
    assert office.host.kernel.attached(INTERFACE) is not None


async def test_detaching_is_in_the_snapshot_at_once(office: Office) -> None:
    await office.operations.detach([INTERFACE])
    last = office.operations.snapshot()
    assert last.filters[0].state is FilterState.DETACHED
    assert (last.ready, last.reasons) == (
        False,
        ("eth0 is detached: `xdpctl attach` attaches the filter again",),
    )


async def test_attaching_again_filters_again(office: Office) -> None:
    await office.operations.detach([])
    assert await office.operations.attach(["eth1"]) == ["eth1"]
    assert office.host.kernel.attached("eth1") is not None
    assert office.host.kernel.attached(INTERFACE) is None
    assert await office.operations.attach([]) == [INTERFACE]
    assert office.operations.snapshot().ready


async def test_what_is_on_already_is_not_said_to_be_attached(office: Office) -> None:
    assert await office.operations.attach([]) == []


async def test_a_program_that_is_attached_again_keeps_the_panic(office: Office) -> None:
    await office.operations.detach([])
    await office.operations.set_panic(panic=True)
    await office.operations.attach([])
    assert office.panics() == [True, True]


async def test_nothing_is_attached_to_an_interface_of_another(office: Office) -> None:
    await office.operations.detach([])
    with pytest.raises(NotFoundError, match="eth9"):
        await office.operations.attach([INTERFACE, "eth9"])
    assert office.host.kernel.attached(INTERFACE) is None


async def test_a_filter_is_attached_when_its_interface_comes_back(office: Office) -> None:
    await office.operations.detach([])
    office.host.kernel.remove_interface(INTERFACE)
    assert await office.operations.attach([]) == list(INTERFACES)
    assert not office.operations.snapshot().ready
    office.host.kernel.add_interface(INTERFACE)
    office.observer.look()
    assert office.host.kernel.attached(INTERFACE) is not None


# --- the rules for one target -----------------------------------------------------------------


async def targets_on(office: Office, text: str, qtype: str = "", *, contains: bool) -> list[str]:
    found = await office.operations.rules_on(parse_target(text, qtype), contains=contains)
    return [f"{one.target} {one.qtype or '*'}" for one in found]


async def test_the_rules_for_an_address_are_its_own_and_those_of_its_prefixes(
    office: Office,
) -> None:
    texts = ("192.0.2.1", "192.0.2.1/32", "192.0.2.0/24", "192.0.0.0/16", "198.51.100.0/24")
    await office.operations.put([rule(text) for text in texts], force=True)
    assert await targets_on(office, "192.0.2.1", contains=False) == ["192.0.2.1 *"]
    assert await targets_on(office, "192.0.2.1", contains=True) == [
        "192.0.2.1 *", "192.0.2.1/32 *", "192.0.2.0/24 *", "192.0.0.0/16 *",
    ]  # fmt: skip
    assert await targets_on(office, "192.0.2.0/25", contains=True) == [
        "192.0.2.0/24 *", "192.0.0.0/16 *",
    ]  # fmt: skip


async def test_the_rules_for_a_name_are_those_of_every_type_and_of_its_zones(
    office: Office,
) -> None:
    rules = [
        rule("www.evil.example", qtype="AAAA"), rule("www.evil.example"), rule(".evil.example"),
        rule("*.www.evil.example"), rule("*.example", qtype="TXT"), rule("evil.example"),
    ]  # fmt: skip
    await office.operations.put(rules, force=True)
    name = "www.evil.example"
    assert await targets_on(office, name, contains=False) == [f"{name} *", f"{name} AAAA"]
    assert await targets_on(office, name, "AAAA", contains=False) == [f"{name} AAAA"]
    assert await targets_on(office, name, "TXT", contains=True) == [
        f"{name} *", ".evil.example *", "*.example TXT",
    ]  # fmt: skip
    assert await targets_on(office, f"*.{name}", contains=True) == [
        f"*.{name} *", ".evil.example *",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["www.evil.example", ".evil.example", "*.evil.example"])
async def test_rules_for_types_without_a_mnemonic_are_among_them(office: Office, name: str) -> None:
    rules = [rule(name, qtype=qtype) for qtype in ("TYPE0", "TYPE4711", "TYPE65280", "AAAA")]
    await office.operations.put(rules, force=True)
    found = await targets_on(office, name, contains=False)
    assert set(found) == {f"{name} {each}" for each in ("TYPE0", "TYPE4711", "TYPE65280", "AAAA")}


async def test_dnsdists_entry_for_a_target_is_among_them(office: Office) -> None:
    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.7"))
    (found,) = await office.operations.rules_on(parse_target("192.0.2.7"), contains=False)
    assert found.origin == "dnsdist"


async def test_a_target_that_a_list_claims_as_well_is_shown_once_with_both_claims(
    office: Office,
) -> None:
    office.store.tables.use(FakeEngine())
    target = parse_target("192.0.2.9")
    for origin in ("list:x", "cli"):
        await office.operations.put([Rule(target, origin=origin)], force=True)
    (found,) = await office.operations.rules_on(target, contains=False)
    assert [claim.origin for claim in found.claims or ()] == ["cli", "list:x"]


# --- what would happen to a query -------------------------------------------------------------


def asked(text: str, qtype: str = "A") -> Question:
    found = parse_target(text, qtype)
    assert isinstance(found, Question)
    return found


async def test_a_test_names_the_rule_that_decides(office: Office) -> None:
    given = replace(rule("192.0.2.0/26"), reason="a flood", expires_in=600)
    await office.operations.put([given, rule("192.0.0.0/16")], force=True)
    office.program.without = office.program.now = Decision(Reason.CIDR4, PacketAction.DROP)
    found = await office.operations.test(ip_address("192.0.2.1"), asked("www.example"), "")
    assert (found.verdict, found.reason, found.target) == ("drop", "cidr4", "192.0.2.0/26")
    assert (found.origin, found.book, found.note) == ("cli", "operator", "a flood")
    assert (found.expires_in, found.hits, found.limit) == (600, 0, None)
    assert (found.interface, found.attached, found.panic) == (INTERFACE, True, False)


async def test_a_test_asks_for_the_name_and_type_from_the_address(office: Office) -> None:
    await office.operations.test(ip_address("2001:db8::1"), asked("www.example", "TXT"), "eth1")
    ((interface, packet),) = office.program.packets
    assert (interface, packet.sender, packet.qtype) == ("eth1", ip_address("2001:db8::1"), 16)
    assert packet.name == asked("www.example").name.wire
    assert packet.server.version == 6


async def test_a_test_that_no_rule_decides_names_none(office: Office) -> None:
    await office.operations.put([rule("192.0.2.2")], force=False)
    found = await office.operations.test(ip_address("192.0.2.1"), asked("www.example"), "")
    assert (found.verdict, found.reason, found.target, found.book) == (
        "pass", "no-match", None, None,
    )  # fmt: skip


async def test_a_test_during_a_panic_says_both(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1")], force=False)
    office.program.now = Decision(Reason.PANIC, PacketAction.PASS)
    office.program.without = Decision(Reason.ADDR_V4, PacketAction.DROP)
    found = await office.operations.test(ip_address("192.0.2.1"), asked("www.example"), "")
    assert (found.verdict, found.reason, found.panic) == ("pass", "panic", True)
    assert (found.without_panic, found.target) == ("drop", "192.0.2.1")


async def test_a_test_of_a_detached_filter_says_so(office: Office) -> None:
    await office.operations.detach([])
    found = await office.operations.test(ip_address("192.0.2.1"), asked("www.example"), "")
    assert not found.attached


async def test_a_rule_for_a_name_counts_as_its_type_then_as_every_type(office: Office) -> None:
    await office.operations.put([rule("www.example", qtype="A"), rule("www.example")], force=False)
    office.program.without = Decision(Reason.QNAME, PacketAction.DROP)
    found = [
        (await office.operations.test(ip_address("192.0.2.1"), asked("www.example", qtype), ""))
        for qtype in ("A", "TXT")
    ]
    assert [(one.target, one.qtype) for one in found] == [
        ("www.example", "A"), ("www.example", None),
    ]  # fmt: skip


async def test_an_interface_of_another_cannot_be_tested(office: Office) -> None:
    with pytest.raises(NotFoundError, match="eth9"):
        await office.operations.test(ip_address("192.0.2.1"), asked("www.example"), "eth9")


# --- status, threads --------------------------------------------------------------------------


async def test_the_status_is_the_last_snapshot_and_this_process(office: Office) -> None:
    status = office.operations.status()
    assert (status.version, status.pid, status.ready) == (__version__, os.getpid(), True)
    assert [one.name for one in status.interfaces] == list(INTERFACES)


async def test_nothing_that_asks_kernel_or_state_runs_on_the_loop(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[str] = set()
    for thing, name in ((office.host.kernel.faults, "check"), (office.state, "transaction")):
        monkeypatch.setattr(thing, name, noting_threads(getattr(thing, name), threads))
    await office.operations.put([rule("192.0.2.1", RuleAction.TRUNCATE)], force=True)
    await office.operations.page(None, None, None, 10)
    await office.operations.expire()
    await office.operations.bulk(
        Change(source=[rows([rule("192.0.2.2")])], origin="api", replace=True)
    )
    await office.operations.top(3, None, "hits")
    assert [part async for part in office.operations.export(everything=True)]
    await office.operations.remove([parse_target("192.0.2.1")])
    await office.operations.flush(None, None)
    await office.operations.detach([])
    office.operations.status()
    assert {name.split("_")[0] for name in threads} == {"store", "watch", "bulk", "export"}


@pytest.mark.parametrize("by", ["rate", "hits"])
async def test_documents_of_rules_are_made_off_the_loop(
    office: Office, monkeypatch: pytest.MonkeyPatch, by: Literal["rate", "hits"]
) -> None:
    threads: set[str] = set()
    monkeypatch.setattr(operations, "RATE_SECONDS", 0.0)
    for name in ("rule_out", "top_rule"):
        monkeypatch.setattr(operations, name, noting_threads(getattr(operations, name), threads))
    real = asyncio.sleep

    async def during_the_wait(seconds: float) -> None:
        dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.1"), hits=1000)
        await real(seconds)

    dnsdist_writes(office.shared.rule_maps(), parse_target("192.0.2.1"), hits=7)
    monkeypatch.setattr(asyncio, "sleep", during_the_wait)
    assert (await office.operations.page(None, None, None, 10))[0]
    assert await office.operations.top(3, None, by)
    assert {name.split("_")[0] for name in threads} == {"store", "bulk"}


def noting_threads(function: Callable[..., object], threads: set[str]) -> Callable[..., object]:
    """Return a function that also notes on which thread it is called."""

    def noted(*arguments: object) -> object:
        threads.add(threading.current_thread().name)
        return function(*arguments)

    return noted


# --- the guard -------------------------------------------------------------------------------


async def test_a_drop_on_an_address_of_this_host_needs_force(office: Office) -> None:
    with pytest.raises(GuardError, match="--force"):
        await office.operations.put([rule("192.0.2.1"), rule("192.0.2.53")], force=False)
    assert await office.operations.page(None, None, None, 10) == ([], None)
    assert (await office.operations.put([rule("192.0.2.53")], force=True)).created == 1


def _rows(*targets: str) -> list[list[Row]]:
    reader = LineReader("file:x", AnyQtype.BOTH, 0.0)
    return [list(reader.rows(targets))]


async def test_a_list_goes_in_without_what_is_guarded(office: Office) -> None:
    result = await office.operations.bulk(
        Change(source=_rows("192.0.2.1", "192.0.2.53"), origin="file:x", replace=True)
    )
    assert (result.created, result.guarded) == (1, 1)


async def test_a_strict_list_is_refused_for_what_is_guarded(office: Office) -> None:
    with pytest.raises(GuardError, match=r"192\.0\.2\.53"):
        await office.operations.bulk(
            Change(source=_rows("192.0.2.1", "192.0.2.53"), origin="api", strict=True)
        )
    assert await office.operations.page(None, None, None, 10) == ([], None)


async def test_force_lets_a_list_through_the_guard(office: Office) -> None:
    rows = _rows("192.0.2.1", "192.0.2.53")
    result = await office.operations.bulk(
        Change(source=rows, origin="api", strict=True, force=True)
    )
    assert result.created == 2


async def test_a_fact_is_remembered(office: Office) -> None:
    assert await office.operations.recall("fact") is None
    await office.operations.remember("fact", "value")
    assert await office.operations.recall("fact") == "value"


# --- resize ---------------------------------------------------------------------------

DNSDIST = frozenset({Holder(7, 1, "dnsdist")})
UNTOUCHED: list[tuple[MapName, int]] = []
GROWN = [(MapName.QNAMES, 100)]

RESIZES = {
    "nobody holds it": (frozenset[Holder](), True, False, GROWN),
    "nobody is seen, but not all can be": (frozenset[Holder](), False, False, UNTOUCHED),
    "that, and forced": (frozenset[Holder](), False, True, GROWN),
    "dnsdist holds it": (DNSDIST, True, False, UNTOUCHED),
    "dnsdist holds it, and forced": (DNSDIST, True, True, UNTOUCHED),
}
"""Who holds the map, whether all processes could be seen, --force; what grows."""


@pytest.mark.parametrize(("holders", "whole", "force", "grown"), RESIZES.values(), ids=RESIZES)
async def test_a_map_grows_only_if_nobody_would_go_on_with_the_former_one(
    office: Office,
    holders: frozenset[Holder],
    grown: list[tuple[MapName, int]],
    *,
    whole: bool,
    force: bool,
) -> None:
    office.holders.holders, office.holders.whole = holders, whole
    resizing = office.operations.resize(MapName.QNAMES, 100, force=force)
    if grown:
        assert await resizing == 7
    else:
        with pytest.raises(ConflictError, match="cannot resize qnames: "):
            await resizing
    assert office.grown == grown


@pytest.mark.parametrize("entries", [1, 8])
async def test_a_map_does_not_shrink(office: Office, entries: int) -> None:
    with pytest.raises(TargetError, match="it has room for 8 already"):
        await office.operations.resize(MapName.QNAMES, entries, force=True)
    assert office.grown == []


# --- samples ----------------------------------------------------------------------------------


async def decided(office: Office, *seen: Sample) -> list[str | None]:
    """Return the rules that are named for samples."""
    pairs = [(sample, read_packet(sample.frame)) for sample in seen]
    found = await office.operations.rules_of(pairs)
    return [None if each is None else f"{target_text(each.target)} {each.origin}" for each in found]


async def test_the_rule_that_decided_about_a_sample_is_named(office: Office) -> None:
    await office.operations.put([rule("192.0.2.1"), rule("evil.example")], force=False)
    dropped = PacketAction.DROP
    by_source = sample_of(frame_of("192.0.2.1"), dropped, Reason.ADDR_V4)
    by_name = sample_of(frame_of("192.0.2.9", "Evil.example"), dropped, Reason.QNAME)
    others = [
        sample_of(frame_of("192.0.2.1")),
        sample_of(frame_of("192.0.2.2"), dropped, Reason.ADDR_V4),  # its rule is gone
        sample_of(frame_of(), dropped, Reason.LIMIT),
        sample_of(b"", dropped, Reason.ADDR_V4),
    ]
    assert await decided(office, by_source, by_name, *others) == [
        "192.0.2.1 cli",
        "evil.example cli",
        *[None] * 4,
    ]


async def test_very_many_different_packets_are_not_all_looked_up(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the pieces are that one looks at."""
    monkeypatch.setattr(watch, "LOOKUPS_MAX", 2)
    monkeypatch.setattr(watch, "LOOKUPS_SECONDS", 60)
    targets = [f"192.0.2.{number}" for number in range(1, 5)]
    await office.operations.put([rule(text) for text in targets], force=False)
    seen = [sample_of(frame_of(text), PacketAction.DROP, Reason.ADDR_V4) for text in targets]
    assert [await decided(office, each) for each in seen].count([None]) == 2
    assert (await decided(office, *seen)).count(None) == 2
    office.operations.watch._lookups_end = 0
    assert (await decided(office, *seen)).count(None) == 0  # the others' turn


async def test_a_change_is_numbered_and_found_behind_the_number(office: Office) -> None:
    before = await office.operations.last_change()
    await office.operations.put([rule("192.0.2.1")], force=False)
    await office.operations.put([rule("192.0.2.2")], force=False)
    found = await office.operations.changes_after(before, ())
    assert [row.target for row in found.values()] == ["192.0.2.1", "192.0.2.2"]
    first, last = found
    assert await office.operations.last_change() == last
    assert list(await office.operations.changes_after(last, [first])) == [first]


class FakePublisher:
    """Notes what is published in its one zone."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def zones(self) -> list[PublishZoneView]:
        return [PublishZoneView("rpz.example", "block", (), 0, 0, "", None, {})]

    def records(self) -> list[PublishedRecord]:
        return []

    async def publish(self, *what: object) -> Publication:
        self.asked.append(what)
        return Publication(("a.example",), (), ())

    async def unpublish(self, *what: object) -> tuple[int, list[str]]:
        self.asked.append(what)
        return 1, []


async def test_publishing_is_under_the_guard(office: Office) -> None:
    operations, publisher = office.operations, FakePublisher()
    wide, name = parse_target("0.0.0.0/1"), parse_target("a.example")
    with pytest.raises(ConflictError, match="the service is starting"):
        await operations.publish("rpz.example", [name], RuleAction.DROP, None, force=False)
    operations.publisher = publisher  # type: ignore[assignment]
    with pytest.raises(GuardError):
        await operations.publish("rpz.example", [wide], RuleAction.DROP, None, force=False)
    assert publisher.asked == []
    found = await operations.publish("RPZ.example.", [wide], RuleAction.DROP, 9, force=True)
    assert found.published == ["a.example"]
    assert await operations.unpublish("rpz.example", [name]) == (1, [])
    assert publisher.asked == [
        ("RPZ.example.", [wide], RuleAction.DROP, 9), ("rpz.example", [name]),
    ]  # fmt: skip
    assert (await operations.published()).zones[0].list_name == "block"
