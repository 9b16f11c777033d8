"""The keeper of zones: its rules are those of the version that was offered last and is good."""

from __future__ import annotations

import asyncio
import json
import queue
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Self

import pytest

from tests.unit.feeds.test_files import FakeBackend
from tests.unit.feeds.test_lines import target_of_row
from tests.unit.feeds.test_zone_reading import cname, soa
from xdpctl.errors import (
    EmptyListError,
    KernelError,
    ListError,
    NotFoundError,
    ShrunkListError,
    StateError,
    XdpctlError,
)
from xdpctl.feeds import zone_lists
from xdpctl.feeds.origins import REMEMBERED, ListOrigins
from xdpctl.feeds.versions import Versions
from xdpctl.feeds.zone import following
from xdpctl.feeds.zone.messages import (
    Asked,
    AskZone,
    LookResult,
    Notified,
    NotifyResult,
    Offered,
    Settled,
    Verdict,
    ZoneReport,
)
from xdpctl.feeds.zone.records import ZoneFiles
from xdpctl.feeds.zone_lists import ZoneLists
from xdpctl.rules import target_text
from xdpctl.rules.keys import each_row
from xdpctl.rules.names import Name
from xdpctl.rules.reach import NO_REACH, ReachMeter, refuse_wide
from xdpctl.settings import (
    Denial,
    Expire,
    Lifetime,
    ListSettings,
    Passthru,
    PrimaryAddress,
    Settings,
    ZoneListSettings,
    load_settings,
)
from xdpctl.store.bulk import BulkResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from ipaddress import IPv4Network, IPv6Network
    from pathlib import Path

    from xdpctl.feeds.versions import ListView
    from xdpctl.feeds.zone.messages import Report, Request, ZoneListsJob
    from xdpctl.store.change import Change
    from xdpctl.transfers.records import ZoneRecord

NOW = 1_800_000_000.0
DAY = 86_400.0
ZONE = Name.from_text("rpz.example")
LIST = ZoneListSettings(ZONE, "list:rpz", (PrimaryAddress(ip_address("127.0.0.1"), 53),))


async def until(condition: Callable[[], object]) -> None:
    """Wait until something is so; threads take part."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - see above
            await asyncio.sleep(0.005)


class Rules(FakeBackend):
    """Rules by origin, also where only a part of them is replaced; and who is exempt."""

    def __init__(self) -> None:
        super().__init__()
        self.partial: list[bool] = []
        self.exempted: dict[str, set[IPv4Network | IPv6Network]] = {}

    async def bulk(self, change: Change) -> BulkResult:
        def read() -> tuple[set[str], set[str] | None]:
            meter = ReachMeter()
            rows = [row for part in change.source for row in each_row(meter.passing(part))]
            places = getattr(change.source, "among", None)
            among = None
            if places is not None:
                among = {target_text(target_of_row((*place, 1, "", None, ""))) for place in places}
            self.reach = meter.reach.beside(NO_REACH if among is None else change.covered)
            if change.cover_max is not None:
                refuse_wide("it covers", self.reach, change.cover_max.or_more(change.covered))
            return {target_text(target_of_row(row)) for row in rows}, among

        self.changes.append(change)
        if self.failure is not None:
            raise self.failure
        found, among = await asyncio.to_thread(read)
        former = self.rules.get(change.origin, set())
        self.partial.append(among is not None)
        wanted = found if among is None else (former - among) | found
        if not wanted and not change.may_be_empty:
            raise EmptyListError("it has no rule")
        if change.max_shrink is not None and len(wanted) < len(former) * (1 - change.max_shrink):
            raise ShrunkListError(f"it has {len(wanted)} rules, and {len(former)} are in force")
        self.rules[change.origin] = wanted
        result = BulkResult(created=len(found - former), unchanged=len(found & former))
        return replace(result, reach=self.reach)

    async def exempt(self, origin: str, clients: Iterable[IPv4Network | IPv6Network]) -> None:
        self.exempted[origin] = set(clients)


class Child:
    """A process that follows zones: what it says, and what it was told."""

    def __init__(self, job: ZoneListsJob, sockets: object) -> None:
        self.job = job
        self.sockets = sockets
        self.says: queue.Queue[Report | XdpctlError] = queue.Queue()
        self.told: queue.Queue[Request] = queue.Queue()
        self.ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.ended = True

    def hear(self, stopped: Callable[[], bool]) -> Report | None:
        while not stopped():
            try:
                said = self.says.get(timeout=0.01)
            except queue.Empty:
                continue
            if isinstance(said, XdpctlError):
                raise said
            return said
        return None

    def send(self, request: Request) -> None:
        self.told.put(request)


@dataclass
class Site:
    """A keeper that runs, its process, and its zone's files."""

    folder: Path
    rules: Rules = field(default_factory=Rules)
    children: list[Child] = field(default_factory=list)
    time: float = NOW
    zones: ZoneLists = field(init=False)

    def make(self, *lists: ZoneListSettings) -> ZoneLists:
        self.zones = ZoneLists(
            self.rules,
            self.rules,
            self.settings(*lists),
            origins=ListOrigins(self.rules),
            versions=Versions(self.rules),
            start=self.start,
            clock=lambda: self.time,
            boot=lambda: self.time - NOW + 1000.0,
        )
        return self.zones

    def settings(self, *lists: ZoneListSettings, files: tuple[ListSettings, ...] = ()) -> Settings:
        loaded = load_settings([], {}, require_interface=False)
        state = self.folder / "state.db"
        return replace(loaded, zone_lists=lists, lists=files, state=state)

    def start(self, job: ZoneListsJob, sockets: object) -> Child:
        self.children.append(Child(job, sockets))
        return self.children[-1]

    async def child(self, number: int = 0) -> Child:
        await until(lambda: len(self.children) > number)
        return self.children[number]

    async def files(self, *records: ZoneRecord, number: int = 0) -> ZoneFiles:
        """Return the files of the first zone, with a version that is offered."""
        path = (await self.child(number)).job.zones[0].path
        made = ZoneFiles(path, ZONE.wire, clock=lambda: self.time)
        made.begin()
        made.write_whole([(True, list(records))], lambda: soa(1))
        return made

    async def offer(
        self,
        files: ZoneFiles,
        asked: Asked = Asked.AXFR,
        *,
        number: int = 0,
        contact: float | None = None,
        result: LookResult = LookResult.GOOD,
    ) -> Verdict:
        """Offer the version in the files; return what became of it."""
        child = await self.child(number)
        version = files.offered or files.good
        assert version is not None
        contact = self.time if contact is None else contact
        child.says.put(
            Offered(
                *(0, version.path, version.soa, version.base, asked, version.records),
                version.touched,
                contact,
            )
        )
        told = await asyncio.to_thread(child.told.get, timeout=20)
        assert isinstance(told, Settled)
        assert told.serial == version.soa.serial
        if told.verdict is Verdict.GOOD:
            files.accept()
        else:
            result = LookResult.REFUSED if told.verdict is Verdict.REFUSED else LookResult.FAILED
        result = LookResult.KEPT if asked is Asked.NOTHING else result
        await self.report(asked, result, files, contact=contact, number=number)
        return told.verdict

    async def report(  # noqa: PLR0913 - what a report says
        self,
        asked: Asked,
        result: LookResult,
        files: ZoneFiles | None = None,
        *,
        contact: float | None = None,
        error: str = "",
        number: int = 0,
    ) -> None:
        """Report a look, and wait until it was taken."""
        child = await self.child(number)
        good = None if files is None else files.good
        contact = self.time if contact is None else contact
        sent = ZoneReport(
            *(0, asked, result, good.soa if good else None, good.records if good else 0),
            contact,
            60.0,
            error,
        )
        child.says.put(sent)
        await until(lambda: any(kept.report is sent for kept in self.zones._kept.values()))
        await self.idle()

    async def idle(self) -> None:
        """Wait until the keeper has done all that it was told."""
        await until(lambda: not (self.zones._inbox or self.zones._wake.is_set()))
        await asyncio.sleep(0.02)

    @property
    def view(self) -> ListView:
        (view,) = self.zones.views()
        return view


@asynccontextmanager
async def running(
    folder: Path, *lists: ZoneListSettings, rules: Rules | None = None
) -> AsyncIterator[Site]:
    site = Site(folder, rules or Rules())
    task = asyncio.create_task(site.make(*lists).run())
    try:
        yield site
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


A, B, C, D = (cname(f"{name}.test", "rpz-drop.") for name in "abcd")


async def test_a_version_that_is_offered_is_in_force_and_good(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B)
        assert await site.offer(files) is Verdict.GOOD
        child = site.children[0]

        assert site.rules.rules == {"list:rpz": {"a.test", "b.test"}}
        assert child.job.zones[0].name == ZONE
        assert child.job.zones[0].path.parent == tmp_path / "feeds" / "state.db"
        view = site.view
        assert view.good is not None
        assert (view.zone, view.serial, view.good.rules, view.error) == ("rpz.example", 1, 2, "")
        assert (view.contact, view.next) == (NOW, NOW + 60)
        assert view.transfers == {("axfr", "good"): 1}
        assert site.zones.warnings == ()


async def test_changes_touch_only_what_they_concern(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B, C, D)
        await site.offer(files)
        files.write_changes([(False, [A])], lambda: soa(2))
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD
        assert site.rules.rules == {"list:rpz": {"b.test", "c.test", "d.test"}}
        assert site.rules.partial == [False, True]
        good = site.view.good
        assert good is not None
        assert (good.rules, good.serial, site.view.serial) == (3, 2, 2)


async def test_changes_that_may_shrink_the_list_too_much_are_read_as_a_whole(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B, C, D)
        await site.offer(files)
        files.write_changes([(False, [A, B, C])], lambda: soa(2))
        assert await site.offer(files, Asked.IXFR) is Verdict.REFUSED
        assert site.rules.rules == {"list:rpz": {"a.test", "b.test", "c.test", "d.test"}}
        assert "`xdpctl lists accept rpz` takes it over" in site.view.error
        assert site.view.serial == 1


async def test_changes_of_single_records_are_not_judged_also_of_the_last(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B)
        await site.offer(files)
        files.write_changes([(False, [A, B])], lambda: soa(2))
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD
        assert (site.rules.rules, site.view.error) == ({"list:rpz": set()}, "")


async def test_a_list_that_may_not_shrink_does_not(tmp_path: Path) -> None:
    async with running(tmp_path, replace(LIST, max_shrink=0.0)) as site:
        files = await site.files(A, B)
        await site.offer(files)
        files.write_changes([(False, [A])], lambda: soa(2))
        assert await site.offer(files, Asked.IXFR) is Verdict.REFUSED


async def test_what_this_host_removed_itself_may_be_gone_also_from_a_whole_version(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B, C, D)
        await site.offer(files)
        site.zones.changed_here(ZONE, 3)
        told = await asyncio.to_thread(site.children[0].told.get, timeout=20)
        assert told == AskZone(0)
        files.write_whole([(True, [D])], lambda: soa(2))
        assert await site.offer(files) is Verdict.GOOD
        site.zones.changed_here(Name.from_text("other.example"), 1)
        files.write_whole([], lambda: soa(3))
        assert await site.offer(files) is Verdict.REFUSED
        site.zones.changed_here(ZONE, 1)
        await asyncio.to_thread(site.children[0].told.get, timeout=20)
        assert await site.offer(files) is Verdict.GOOD
        assert site.rules.rules == {"list:rpz": set()}


async def test_an_update_elsewhere_is_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zone_lists, "AFTER_UPDATE_SECONDS", (0.0, 0.01))
    async with running(tmp_path, replace(LIST, update=LIST.primaries)) as site:
        child = await site.child()
        site.zones.changed_here(ZONE, 0)
        asked = [await asyncio.to_thread(child.told.get, timeout=20) for _ in range(2)]
        assert asked == [AskZone(0), AskZone(0)]


async def test_a_version_that_shrank_is_taken_when_an_operator_says_so(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B, C)
        await site.offer(files)
        files.write_whole([(True, [A])], lambda: soa(2))
        assert await site.offer(files) is Verdict.REFUSED
        await site.report(Asked.SOA, LookResult.CURRENT, files)
        assert "so that more than max-shrink (50%) are gone" in site.view.error

        accepting = asyncio.create_task(site.zones.read_now("rpz", accept=True))
        told = await asyncio.to_thread(site.children[0].told.get, timeout=20)
        assert told == AskZone(0)
        await site.report(Asked.SOA, LookResult.CURRENT, files)  # of a look that was under way
        assert await asyncio.to_thread(site.children[0].told.get, timeout=20) == AskZone(0)
        assert await site.offer(files) is Verdict.GOOD
        view = await accepting
        assert (view.error, view.serial, view.good.rules if view.good else 0) == ("", 2, 1)


async def test_an_empty_zone_is_refused_unless_all_may_go(tmp_path: Path) -> None:
    async with running(tmp_path, replace(LIST, max_shrink=1.0)) as site:
        assert await site.offer(await site.files()) is Verdict.GOOD
    (tmp_path / "b").mkdir()
    async with running(tmp_path / "b", LIST) as site:
        assert await site.offer(await site.files()) is Verdict.REFUSED
        assert "it has no rule" in site.view.error


async def test_the_kept_version_is_in_force_before_a_primary_answers(tmp_path: Path) -> None:
    rules = Rules()
    async with running(tmp_path, LIST, rules=rules) as site:
        await site.offer(await site.files(A, B))
    rules.rules.clear()
    async with running(tmp_path, LIST, rules=rules) as site:
        assert "the kept versions of zones are put in force" in site.zones.failures
        files = ZoneFiles((await site.child()).job.zones[0].path, ZONE.wire)
        files.begin()
        assert await site.offer(files, Asked.NOTHING) is Verdict.GOOD
        assert not site.zones.failures
        assert rules.rules == {"list:rpz": {"a.test", "b.test"}}
        await site.report(Asked.SOA, LookResult.FAILED, files, error="nobody answers")
        assert rules.rules == {"list:rpz": {"a.test", "b.test"}}
        assert site.zones.warnings == ("list rpz cannot be brought up to date: nobody answers",)


async def test_a_service_is_ready_without_a_kept_version(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        await site.report(Asked.NOTHING, LookResult.KEPT, contact=0.0)
        assert site.zones.failures == ()
        assert site.view.transfers == {}


async def test_a_process_that_ends_is_started_again_and_reads_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "RESTART_SECONDS", 0.01)
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B)
        await site.offer(files)
        site.children[0].says.put(XdpctlError("it was killed"))
        assert await site.offer(files, Asked.NOTHING, number=1) is Verdict.GOOD
        assert len(site.rules.changes) == 1
        assert site.children[0].ended
        assert site.zones.warnings == ()
        site.children[1].says.put(XdpctlError("it was killed again"))
        await until(lambda: site.zones.warnings == ("it was killed again",))


@pytest.mark.parametrize(
    ("expire", "ends"), [(Expire.KEEP, False), (Expire.SOA, True), (int(7 * DAY), True)]
)
async def test_after_a_week_without_a_primary_rules_stay_or_go_as_the_settings_say(
    tmp_path: Path, expire: Expire | int, *, ends: bool
) -> None:
    async with running(tmp_path, replace(LIST, expire=expire)) as site:
        files = await site.files(A, B)
        await site.offer(files)
        site.time += 7 * DAY + 60
        await site.report(Asked.SOA, LookResult.FAILED, files, contact=NOW, error="it is down")
        in_force = {"list:rpz": {"a.test", "b.test"}}
        assert site.rules.rules == ({} if ends else in_force)
        assert ("no primary has answered for 7 days" in " ".join(site.zones.warnings)) is ends
        await site.report(Asked.SOA, LookResult.CURRENT, files)
        assert site.rules.rules == in_force
        assert site.view.error == ""


async def test_what_has_expired_does_not_come_back_at_a_start(tmp_path: Path) -> None:
    wanted = replace(LIST, expire=int(DAY))
    async with running(tmp_path, wanted) as site:
        await site.offer(await site.files(A, B))
    rules = site.rules
    async with running(tmp_path, wanted, rules=rules) as site:
        site.time += 2 * DAY
        files = ZoneFiles((await site.child()).job.zones[0].path, ZONE.wire)
        files.begin()
        assert await site.offer(files, Asked.NOTHING, contact=NOW) is Verdict.GOOD
        assert rules.rules == {}
        assert len(rules.changes) == 1


async def test_clients_are_exempt_and_no_longer_when_the_list_leaves(tmp_path: Path) -> None:
    client = cname("32.1.2.0.192.rpz-client-ip", "rpz-passthru.")
    async with running(tmp_path, replace(LIST, passthru=Passthru.EXEMPT)) as site:
        await site.offer(await site.files(A, client))
        assert site.rules.exempted == {"list:rpz": {ip_network("192.0.2.1/32")}}
        site.zones.reload(site.settings())
        await site.idle()
        await until(
            lambda: (
                not list((tmp_path / "feeds" / "state.db").iterdir())
                and not site.rules.exempted["list:rpz"]
            )
        )
        assert site.zones.views() == ()
        assert json.loads(site.rules.facts[REMEMBERED]) == ["list:rpz"]  # files.py removes rules


def prefixes(first: int, end: int, policy: str = "rpz-drop.") -> list[ZoneRecord]:
    return [cname(f"8.0.0.0.{number}.rpz-client-ip", policy) for number in range(first, end)]


async def test_many_short_prefixes_are_refused_until_an_operator_accepts_them(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(*prefixes(0, 124))
        assert await site.offer(files) is Verdict.GOOD
        files.write_changes([(True, prefixes(124, 128))], lambda: soa(2))
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD
        files.write_changes([(False, prefixes(0, 2)), (True, prefixes(130, 132))], lambda: soa(3))
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD
        assert site.rules.partial == [False, True, False]  # what is in sum was not sure
        files.write_changes([(True, prefixes(132, 196))], lambda: soa(4))
        assert await site.offer(files, Asked.IXFR) is Verdict.REFUSED
        assert len(site.rules.rules["list:rpz"]) == 128
        (warning,) = site.zones.warnings
        assert "it covers as much as 192 prefixes of /8; 128 are the most; `xdpctl lists" in warning
        assert "lists accept rpz` takes it over; the rules of its last good" in warning

        asked = asyncio.create_task(site.zones.read_now("rpz", accept=True))
        told = await asyncio.to_thread(site.children[0].told.get, timeout=20)
        assert isinstance(told, AskZone)
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD
        assert (await asked).serial == 4
        files.write_changes([(True, [A])], lambda: soa(5))
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD  # no more than was accepted


async def test_many_short_prefixes_are_not_exempt(tmp_path: Path) -> None:
    async with running(tmp_path, replace(LIST, passthru=Passthru.EXEMPT)) as site:
        files = await site.files(*prefixes(0, 4, "rpz-passthru."), A)
        assert await site.offer(files) is Verdict.GOOD
        files.write_changes([(True, prefixes(4, 256, "rpz-passthru."))], lambda: soa(2))
        assert await site.offer(files, Asked.IXFR) is Verdict.REFUSED
        (warning,) = site.zones.warnings
        assert "the clients that it exempts cover as much as 256 prefixes of /8" in warning
        assert len(site.rules.exempted["list:rpz"]) == 4


async def test_a_zone_that_only_exempts_is_not_empty(tmp_path: Path) -> None:
    client = cname("32.1.2.0.192.rpz-client-ip", "rpz-passthru.")
    async with running(tmp_path, replace(LIST, passthru=Passthru.EXEMPT)) as site:
        files = await site.files(client)
        assert await site.offer(files) is Verdict.GOOD
        files.write_whole([(True, [])], lambda: soa(2))
        assert await site.offer(files) is Verdict.REFUSED
        assert site.rules.exempted == {"list:rpz": {ip_network("192.0.2.1/32")}}


async def test_a_reload_uses_other_settings_on_what_is_there(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        await site.offer(await site.files(A, cname("n.test", ".")))
        assert site.rules.rules == {"list:rpz": {"a.test", "n.test"}}
        site.zones.reload(site.settings(replace(LIST, denial=Denial.SKIP)))
        await until(lambda: site.rules.rules == {"list:rpz": {"a.test"}})
        site.zones.reload(site.settings(replace(LIST, lifetime=Lifetime.TTL)))
        assert (await site.child(1)).job.zones[0].keep_since


@asynccontextmanager
async def applying(site: Site, calls: list[str]) -> AsyncIterator[asyncio.Event]:
    """Let each version wait for an event before its rules are written; collect their origins."""
    going, bulk = asyncio.Event(), site.rules.bulk

    async def slowly(change: Change) -> BulkResult:
        calls.append(change.origin)
        await going.wait()
        return await bulk(change)

    site.rules.bulk = slowly  # type: ignore[method-assign]
    yield going
    site.rules.bulk = bulk  # type: ignore[method-assign]


async def test_a_list_that_left_during_a_reload_is_not_put_in_force_again(tmp_path: Path) -> None:
    """Two reloads: the first applies two lists again, the second removes the second of them."""
    other = replace(LIST, origin="list:other")
    async with running(tmp_path, LIST, other) as site:
        child = await site.child()
        for number, zone in enumerate(child.job.zones):
            made = ZoneFiles(zone.path, ZONE.wire, clock=lambda: NOW)
            made.begin()
            made.write_whole([(True, [A])], lambda: soa(1))
            version = made.offered
            assert version is not None
            child.says.put(Offered(number, version.path, version.soa, None, Asked.AXFR, 1, 0, NOW))
            await asyncio.to_thread(child.told.get, timeout=20)
            made.accept()
            child.says.put(
                ZoneReport(number, Asked.AXFR, LookResult.GOOD, version.soa, 1, NOW, 60.0, "")
            )
        await until(lambda: all(kept.report for kept in site.zones._kept.values()))
        calls: list[str] = []
        async with applying(site, calls) as going:
            skip = [replace(each, denial=Denial.SKIP) for each in (LIST, other)]
            site.zones.reload(site.settings(*skip))
            await until(lambda: calls == ["list:rpz"])
            site.zones.reload(site.settings(skip[0]))
            await site.zones._origins.take_over(["list:rpz"])  # as the keeper of files does
            await site.zones._origins.remove_leaving()
            going.set()
            await until(lambda: len(site.zones.views()) == 1)
            await site.idle()
        assert calls == ["list:rpz"]
        assert site.rules.rules == {"list:rpz": {"a.test"}}


async def test_rules_that_are_written_while_their_list_leaves_are_removed(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A)
        calls: list[str] = []
        async with applying(site, calls) as going:
            offering = asyncio.create_task(site.offer(files))
            await until(lambda: calls)
            await site.zones._origins.take_over(())
            await site.zones._origins.remove_leaving()
            going.set()
            await offering
        assert site.rules.rules == {}
        files.write_whole([(True, [B])], lambda: soa(2))
        assert await site.offer(files) is Verdict.FAILED  # the settings, which are taken over soon
        assert site.rules.rules == {}


async def test_a_list_that_gets_another_zone_loses_the_rules_of_the_former(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        await site.offer(await site.files(A))
        other = Name.from_text("other.example")
        site.zones.reload(site.settings(replace(LIST, zone=other)))
        await until(lambda: site.rules.rules == {})
        await site.idle()
        assert site.view.good is None
        site.rules.failure = StateError("the map is frozen")
        site.zones.reload(site.settings(LIST))
        await until(lambda: site.view.zone == "rpz.example")
        await site.idle()
        assert "the zone that list rpz had before: the map is frozen; they stay" in site.view.error


async def test_rules_that_have_ended_are_counted_until_their_records_go(tmp_path: Path) -> None:
    """Else the count of a zone whose records come and go would only grow."""
    async with running(tmp_path, replace(LIST, lifetime=Lifetime.TTL)) as site:
        files = await site.files(A, B, C)
        await site.offer(files)
        site.time += 61
        files.write_changes([(True, [D])], lambda: soa(2))
        await site.offer(files, Asked.IXFR)
        files.write_changes([(False, [A])], lambda: soa(3))
        await site.offer(files, Asked.IXFR)
        good = site.view.good
        assert good is not None
        assert (good.rules, good.serial) == (3, 3)
        assert site.rules.partial == [False, True, True]


@pytest.mark.parametrize("was", ["zone", "file", "unknown"])
async def test_the_rules_of_another_zone_do_not_stay_under_its_name(
    tmp_path: Path, was: str
) -> None:
    """The settings were changed while the service was stopped; the new primary never answers."""
    async with running(tmp_path, LIST) as site:
        await site.offer(await site.files(A))
    (fact,) = json.loads(site.rules.facts["list-versions"]).values()
    assert fact["zone"] == "rpz.example"
    if was == "file":
        fact["zone"] = ""
    elif was == "unknown":  # of a version of before
        del fact["zone"]
    site.rules.facts["list-versions"] = json.dumps({"list:rpz": fact})
    other = replace(LIST, zone=Name.from_text("other.example"))
    site.rules.exempted["list:rpz"] = {ip_network("192.0.2.1/32")}
    async with running(tmp_path, other, rules=site.rules) as again:
        await again.child()
        assert bool(again.rules.exempted["list:rpz"]) == (was == "unknown")
        stays = {"list:rpz": {"a.test"}} if was == "unknown" else {}
        assert (again.rules.rules, again.view.good is None) == (stays, not stays)
    async with running(tmp_path, LIST, rules=again.rules) as back:
        await back.child()
        assert back.rules.rules == stays


async def test_a_map_that_cannot_be_written_is_tried_again(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A, B, C)
        await site.offer(files)
        files.write_changes([(True, [D])], lambda: soa(2))
        site.rules.failure = KernelError("no memory", number=12)
        assert await site.offer(files, Asked.IXFR) is Verdict.FAILED
        assert "no memory" in site.view.error
        site.rules.failure = None
        assert await site.offer(files, Asked.IXFR) is Verdict.GOOD
        assert site.rules.partial == [False, False]  # some of its rules may have been written
        assert site.view.error == ""


async def test_a_file_that_cannot_be_read_is_broken(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A)
        assert files.offered is not None
        files.offered.path.write_bytes(b"x" * 9000)
        assert await site.offer(files) is Verdict.BROKEN


async def test_a_request_for_a_list_ends_with_what_its_primary_said(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        await site.child()
        await site.idle()
        with pytest.raises(NotFoundError):
            await site.zones.read_now("other")
        asking = asyncio.create_task(site.zones.read_now("list:rpz"))
        await asyncio.to_thread(site.children[0].told.get, timeout=20)
        await site.report(Asked.SOA, LookResult.FAILED, error="refused")
        with pytest.raises(ListError, match="cannot be brought up to date: refused"):
            await asking


async def test_accepting_where_nothing_was_refused_takes_what_the_primary_has(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A)
        await site.offer(files)
        asking = asyncio.create_task(site.zones.read_now("rpz", accept=True))
        told = await asyncio.to_thread(site.children[0].told.get, timeout=20)
        assert told == AskZone(0, whole=True)
        await site.report(Asked.AXFR, LookResult.GOOD, files)
        await asking


async def test_a_refresh_brings_back_rules_that_somebody_removed(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A)
        await site.offer(files)
        site.rules.rules.clear()  # `xdpctl flush --origin list:rpz`
        asking = asyncio.create_task(site.zones.read_now("rpz"))
        await asyncio.to_thread(site.children[0].told.get, timeout=20)
        await site.report(Asked.SOA, LookResult.CURRENT, files)
        await asking
        assert site.rules.rules == {"list:rpz": {"a.test"}}


async def test_a_key_that_cannot_be_read_is_said_and_the_kept_version_stays(
    tmp_path: Path,
) -> None:
    async with running(tmp_path, replace(LIST, key_file=tmp_path / "no.key")) as site:
        assert (await site.child()).job.zones[0].primaries == ()
        assert site.view.error.startswith("list rpz cannot be brought up to date: ")
        assert "no.key" in site.view.error


async def test_a_request_reads_a_key_again_that_could_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "rpz.key"
    async with running(tmp_path, replace(LIST, key_file=path)) as site:
        await site.child()
        with pytest.raises(ListError, match=r"rpz\.key: No such file"):
            await asyncio.wait_for(site.zones.read_now("rpz"), 5)
        path.write_text('key "k" { algorithm hmac-sha256; secret "c2VjcmV0"; };')
        path.chmod(0o600)
        asking = asyncio.create_task(site.zones.read_now("rpz"))
        (primary,) = (await site.child(1)).job.zones[0].primaries
        assert primary.key is not None
        await site.offer(await site.files(A, number=1), number=1)
        assert (await asyncio.wait_for(asking, 5)).error == ""


async def test_a_request_ends_where_no_primary_can_be_asked_any_more(tmp_path: Path) -> None:
    path = tmp_path / "rpz.key"
    path.write_text('key "k" { algorithm hmac-sha256; secret "c2VjcmV0"; };')
    path.chmod(0o600)
    listed = replace(LIST, key_file=path)
    async with running(tmp_path, listed) as site:
        await site.offer(await site.files(A))
        asking = asyncio.create_task(site.zones.read_now("rpz"))
        await asyncio.to_thread(site.children[0].told.get, timeout=20)
        path.unlink()
        site.zones.reload(site.settings(listed))
        with pytest.raises(ListError, match=r"rpz\.key: No such file"):
            await asyncio.wait_for(asking, 5)


async def test_a_request_that_is_given_up_is_forgotten(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        await site.offer(await site.files(A))
        asking = asyncio.create_task(site.zones.read_now("rpz"))
        await asyncio.to_thread(site.children[0].told.get, timeout=20)
        assert len(site.zones._kept["list:rpz"].waiting) == 1
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        assert site.zones._kept["list:rpz"].waiting == []


async def test_a_request_does_not_wait_for_a_process_that_cannot_be_started(tmp_path: Path) -> None:
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds").chmod(0o777)
    async with running(tmp_path, LIST) as site:
        await until(lambda: site.zones.warnings)
        with pytest.raises(ListError, match="other users can write to"):
            await asyncio.wait_for(site.zones.read_now("rpz"), 5)


async def test_a_primary_that_answers_again_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path, LIST) as site:
        files = await site.files(A)
        await site.offer(files)
        await site.report(Asked.SOA, LookResult.FAILED, files, error="no TCP connection")
        with caplog.at_level("INFO"):
            await site.report(Asked.SOA, LookResult.CURRENT, files)
            await site.report(Asked.SOA, LookResult.CURRENT, files)
        assert caplog.text.count("list-mended") == 1


async def test_notifies_are_counted(tmp_path: Path) -> None:
    async with running(tmp_path, LIST) as site:
        child = await site.child()
        child.says.put(Notified({NotifyResult.TAKEN: 2}))
        child.says.put(Notified({NotifyResult.TAKEN: 1}))
        await until(lambda: site.zones.notified[NotifyResult.TAKEN] == 3)


async def test_a_state_that_cannot_be_written_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, replace(LIST, passthru=Passthru.EXEMPT)) as site:
        client = cname("32.1.2.0.192.rpz-client-ip", "rpz-passthru.")
        await site.offer(await site.files(A, client))

        async def exempt(*_: object) -> None:
            raise StateError("the disk is full")

        monkeypatch.setattr(site.rules, "exempt", exempt)
        site.zones.reload(site.settings())
        await until(lambda: not site.zones.views())
        await site.idle()
