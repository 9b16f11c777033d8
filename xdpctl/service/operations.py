"""The operations that the API offers, each on the right thread.

Owns which thread does what. Rules are read and written on the store's thread, filters are used
on the watch thread, so the loop never blocks. Does not own store, filters, panic or observer.
Made by start.py; called by http/api/ as its backend, and by expiry.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

from xdpctl import __version__
from xdpctl.abi import MapName
from xdpctl.errors import (
    ConflictError,
    KernelError,
    MapFrozenError,
    MapFullError,
    NotFoundError,
    TableFullError,
    TargetError,
    XdpctlError,
)
from xdpctl.feeds.dnsdist.views import BridgeView
from xdpctl.http.abandonment import CLIENT_GONE, refuse_abandoned
from xdpctl.http.api.converter import (
    change_out,
    dnsdists_out,
    list_out,
    removed_out,
    rule_out,
    status_of,
    tested,
    top_rule,
)
from xdpctl.http.api.limit_documents import limits_out
from xdpctl.http.api.publish_documents import published, published_list
from xdpctl.http.api.shared_samples import SharedSamples
from xdpctl.maps.holders import held_open, perhaps_held
from xdpctl.process.caller import CALLER, NOBODY
from xdpctl.process.log import event
from xdpctl.process.threads import one_thread
from xdpctl.program.datagram import query_for
from xdpctl.rules import Rule, qtype_text
from xdpctl.rules.names import shown
from xdpctl.service.tasks import on_thread
from xdpctl.store.bulk import BulkResult
from xdpctl.store.deciding import deciding_rule
from xdpctl.store.inspection import entries_at, places_on, rules_on
from xdpctl.store.pages import Cursor
from xdpctl.store.tally import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
    from concurrent.futures import Executor
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.dnsdist.bridge import DnsdistBlocks
    from xdpctl.feeds.lists import EveryList
    from xdpctl.feeds.publish.publisher import Publisher
    from xdpctl.feeds.publish.views import PublishZoneView
    from xdpctl.feeds.versions import ListView
    from xdpctl.filter.filter import Filter
    from xdpctl.http.api.documents import (
        ChangeOut,
        ListOut,
        Removed,
        RuleOut,
        Status,
        Tested,
        TopRule,
    )
    from xdpctl.http.api.limit_documents import LimitsOut
    from xdpctl.http.api.live_documents import LiveOut
    from xdpctl.http.api.publish_documents import Published, PublishedList
    from xdpctl.limits.view import LimitsView
    from xdpctl.maps.holders import Holders
    from xdpctl.rules import AnyQtype, Question, Target
    from xdpctl.rules.guard import Guard
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.samples.selection import Selection
    from xdpctl.service.account import Account
    from xdpctl.service.current_program import CurrentProgram
    from xdpctl.service.limits import Limits
    from xdpctl.service.live import Live
    from xdpctl.service.panic import PanicSwitch
    from xdpctl.service.watch import Seen, SeenRule, Watch
    from xdpctl.status.observer import Observer
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.change import Change
    from xdpctl.store.history import HistoryRow
    from xdpctl.store.state import State
    from xdpctl.store.store import PutResult, Store
    from xdpctl.store.theirs import Lifted

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

RATE_SECONDS = 1.0
"""How long rates are measured."""

EXPIRED_SECONDS = 1.0
"""How long what expires is counted before it is written down, while more is due."""

CHANGES_MAX = 1_000
"""Changes that are shown at once as they happen."""

_TRIES = 3
"""How often room is made for one request, where others take it before."""


class Operations:
    """The service as the handlers use it (http/api/backend.py, `Backend`).

    Args:
        store, state: used on `store_thread` only, of which `read_thread` and
            `urgent_thread` are further lanes (process/lanes.py).
        filters, observer: used on `watch_thread` only, except for published values.
        panic: the owner of the switch.
        bulk_thread: for what takes long; the store lets single writes in between.
        grow: gives a shared map another capacity; returns how many entries were kept.
        holders: looks who has a shared map open.
        reserve: makes room in our own tables, so that no thread waits for it.
        guard: gives the guard of this moment; called on those threads.
        account: writes down what was changed; called on those threads.
        program: the program in force.
        limits: the limits in force.

    Attributes:
        watch: gives samples to those who look. `hub`: those who look. `shared`: what they share.
        expiry_changed: set when another rule may be the next to expire.
        claim_counts: how many claims of each class are in force, and how many wait
            (claim_counts.py).
        all_lists, live_view, publisher, dnsdist_blocks: the lists of the settings, what streams
            show, what is published, and dnsdist's dynamic blocks; made later.
    """

    def __init__(  # noqa: PLR0913 - the parts of the whole
        self,
        *,
        store: Store,
        state: State,
        filters: Sequence[Filter],
        observer: Observer,
        panic: PanicSwitch,
        store_thread: Executor,
        read_thread: Executor,
        urgent_thread: Executor,
        watch_thread: Executor,
        bulk_thread: Executor,
        grow: Callable[[MapName, int], Awaitable[int]],
        holders: Holders,
        reserve: Callable[[Mapping[MapName, int]], Awaitable[None]],
        guard: Callable[[], Guard],
        account: Account,
        program: CurrentProgram,
        limits: Limits,
        watch: Watch,
    ) -> None:
        self._store = store
        self._state = state
        self._filters = {held.interface: held for held in filters}
        self._observer = observer
        self._panic = panic
        self._store_thread = store_thread
        self._read_thread = read_thread
        self._urgent_thread = urgent_thread
        self._watch_thread = watch_thread
        self._bulk_thread = bulk_thread
        self._grow = grow
        self._holders = holders
        self._reserve = reserve
        self._guard = guard
        self._account = account
        self._program = program
        self._limits = limits
        self.watch = watch
        self.hub = watch.hub
        self.shared = SharedSamples(self)
        self.expiry_changed = asyncio.Event()
        self.claim_counts: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
        self.all_lists: EveryList | None = None
        self.live_view: Live | None = None
        self.publisher: Publisher | None = None
        self.dnsdist_blocks: DnsdistBlocks | None = None
        self._started = time.time()
        self._expired = Tally()
        self._expired_noted = 0.0

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""
        return self._store.any_qtype

    def snapshot(self) -> Snapshot:
        """Return the last snapshot."""
        return self._observer.last

    def status(self) -> Status:
        """Return the whole service as a document."""
        document = status_of(
            self._observer.last, version=__version__, pid=os.getpid(), started=self._started
        )
        limits = self.limits()
        document.limits, document.heavy = limits.acting, limits.heavy
        dnsdist = self.dnsdist_view()
        document.dnsdists, document.held = dnsdists_out(dnsdist), dnsdist.held
        return document

    async def put(self, rules: Sequence[Rule], *, force: bool, beneath: bool = False) -> PutResult:
        """Make or update rules; `force` overrides the guard (rules/guard.py).

        With `beneath`, a rule waits where dnsdist has an entry.
        """
        who = CALLER.get()

        def put() -> PutResult:
            if not force:
                self._guard().check(rules)
            try:
                result = self._counting_refusals(rules, beneath=beneath)
            except TableFullError:  # it grows, and then all is done again
                raise
            except KernelError as error:
                self._account.broke_off(who, "block", None, error)
                raise
            self._account.made(who, rules)
            return result

        needed = self._store.needs(rules)
        if needed and not force:
            await self._on(self._read_thread, lambda: self._guard().check(rules))
        result = await self._with_room(needed, put)
        self.expiry_changed.set()
        return result

    async def _with_room(
        self, needed: Mapping[MapName, int], put: Callable[[], PutResult]
    ) -> PutResult:
        """Write rules when there is room for them in our own tables.

        The thread that writes never waits for room: making it takes that thread, too.
        """
        for _ in range(_TRIES):
            if needed:
                await self._reserve(needed)
            with contextlib.suppress(TableFullError):  # others took it before
                return await self._on(self._store_thread, put)
        return await self._on(self._store_thread, put)

    def _counting_refusals(self, rules: Sequence[Rule], *, beneath: bool) -> PutResult:
        try:
            return self._store.put(rules, waits=False, beneath=beneath)
        except TableFullError:  # it grows
            raise
        except (MapFullError, MapFrozenError) as error:
            self._observer.failed(MapName(error.map_name), error.symbol)
            raise

    async def remove(self, targets: Sequence[Target], origin: str | None = None) -> Removed:
        """End the operator's claims, or another origin's: on all targets, or on none."""
        who = CALLER.get()

        def remove() -> Removed:
            hits = self._hits_on(targets)
            result = self._store.remove(targets, origin)
            tally = Tally()
            for claim in result.ended:
                tally.add(claim, hits.get((claim.map, claim.key, claim.origin), 0))
            self._account.removed(who, "unblock", tally)
            return removed_out(result)

        return await self._on(self._store_thread, remove)

    def _hits_on(self, targets: Sequence[Target]) -> dict[tuple[MapName, bytes, str], int]:
        """Return the hits of the claims in force on these targets by (map, key, origin)."""
        mode = self._store.any_qtype
        places = (place for target in targets for place in places_on(target, mode))
        found = entries_at(self._store.listing, places)
        return {(entry.map, entry.key, entry.origin): entry.hits for entry in found}

    async def theirs(self, targets: Sequence[Target]) -> list[Target]:
        """Return the targets that dnsdist has an entry for."""
        theirs = self._store.theirs
        return await self._on(
            self._read_thread, lambda: [target for target in targets if theirs.has(target)]
        )

    async def lift(self, targets: Sequence[Target]) -> int:
        """Remove dnsdist's entries for targets, each with a log line; return how many went."""
        who = CALLER.get()

        def lift() -> list[Lifted]:
            gone = self._store.theirs.lift(targets)
            self._store.look_beneath()  # what waited there comes into force
            self._account.lifted(who, "unblock", gone)
            return gone

        gone = await self._on(self._store_thread, lift)
        for lifted in gone:
            event(
                _log,
                "dnsdist-entry-removed",
                logging.WARNING,
                map=lifted.map,
                target=lifted.target,
                action=lifted.action.name.lower(),
                hits=lifted.hits,
            )
        return len(gone)

    async def bulk(self, change: Change) -> BulkResult:
        """Change the rules of an origin (store/change.py), under the guard unless `force`.

        One at a time. The source is read on the bulk thread, or in another process; the
        progress is reported on the bulk thread.
        """
        loop = asyncio.get_running_loop()

        def tell(what: str, done: int, total: int) -> None:
            loop.call_soon_threadsafe(
                self.expiry_changed.set
            )  # for rules that are already in the maps
            change.progress(what, done, total)

        who = CALLER.get()

        def work() -> BulkResult:
            guard = None if change.force else self._guard()
            so_far = BulkResult()

            def step(done: BulkResult) -> None:
                nonlocal so_far
                so_far = done
                self._account.merging(who, change, done)

            try:
                result = self._store.bulk(replace(change, guard=guard, progress=tell), step)
            except XdpctlError as error:
                if isinstance(error, MapFullError | MapFrozenError):
                    self._observer.failed(MapName(error.map_name), error.symbol)
                self._account.merging_broke_off(who, change, so_far, error)
                raise
            self._account.merged(who, change, result)
            return result

        result = await self._on(self._bulk_thread, work)
        self.expiry_changed.set()
        if result.guarded:
            event(
                _log,
                "rules-guarded",
                logging.WARNING,
                origin=change.origin,
                count=result.guarded,
                first=result.first_guarded,
                helps="left out; block or allow them one by one with --force if they are meant",
            )
        return result

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        """Remove one origin's rules, or all our own."""
        who = CALLER.get()

        def flush() -> int:
            tally, so_far = Tally(), 0

            def step(removed: int) -> None:
                nonlocal so_far
                so_far = removed
                self._account.flushing(who, origin, removed)

            try:
                removed = self._store.flush(map_name, origin, tally, step)
            except XdpctlError as error:
                self._account.flushing_broke_off(who, origin, so_far, tally, error)
                raise
            self._account.flushed(who, map_name, origin, removed, tally)
            return removed

        return await self._on(self._bulk_thread, flush)

    async def resize(self, name: MapName, entries: int, *, force: bool) -> int:
        """Give a shared map more room; return how many entries were kept.

        Args:
            name: a rule map.
            entries: its new capacity.
            force: also where it cannot be seen who has the map open.

        Raises:
            TargetError: it has this room already, or there is no memory for so much.
            ConflictError: another process has the map open, or may have it open.
        """
        (view,) = (view for view in self._observer.last.maps if view.name == name)
        if entries <= view.capacity:
            raise TargetError(
                f"cannot resize {name} to {entries} entries: it has room for {view.capacity}"
                " already; give a larger number",
                text=str(entries),
                field="entries",
            )
        sighting = await self._on(self._bulk_thread, lambda: self._holders.keepers(view.id))
        if holders := sighting.of(view.id):
            raise ConflictError(held_open(name, entries, holders))
        if not sighting.whole and not force:
            raise ConflictError(perhaps_held(name))
        try:
            kept = await self._grow(name, entries)
        except KernelError as error:
            if error.errno not in {errno.E2BIG, errno.ENOMEM}:
                raise
            raise TargetError(error.sentence, text=str(entries), field="entries") from error
        who = CALLER.get()
        await self._on(
            self._store_thread,
            lambda: self._account.resized(who, name, view.capacity, entries, kept),
        )
        await self._on(self._watch_thread, self._observer.look)
        return kept

    async def expire(self) -> float | None:
        """Remove due rules; return the seconds until the next is due, or None."""

        def expire() -> float | None:
            try:
                self._observer.expired(self._store.expire(self._expired))
                wait = self._store.next_expiry()
            except XdpctlError:
                self._note_expired()
                raise
            if wait != 0 or time.monotonic() - self._expired_noted >= EXPIRED_SECONDS:
                self._note_expired()
            return wait

        return await self._on(self._store_thread, expire)

    def _note_expired(self) -> None:
        """Write down what has expired; of a million at once, not each step."""
        tally, self._expired = self._expired, Tally()
        self._expired_noted = time.monotonic()
        self._account.removed(NOBODY, "expire", tally)

    async def page(
        self,
        map_name: MapName | None,
        origin: str | None,
        after: str | None,
        limit: int,
        *,
        all_claims: bool = False,
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules in force after a cursor, and the next cursor (store/pages.py, `Cursor`).

        With `all_claims`, also those on which this origin has a claim that is not in force.
        """
        start = None if after is None else Cursor.parse(after)

        def page() -> tuple[list[RuleOut], str | None]:
            found, following = self._store.pages.page(
                map_name, origin, start, limit, waiting=all_claims
            )
            everything = all_claims and origin is not None
            shown = [
                rule_out(standing, self._store.any_qtype)
                for standing in self._store.standings.of(found)
                if standing.is_in_force or everything
            ]
            return shown, None if following is None else str(following)

        return await self._on(self._read_thread, page)

    async def rules_on(self, target: Target, *, contains: bool) -> list[RuleOut]:
        """Return the rules in force for a target; with `contains` also those that contain it."""

        def find() -> list[RuleOut]:
            mode = self._store.any_qtype
            found = rules_on(self._store.listing, target, mode, contains=contains)
            standings = self._store.standings.of(found)
            return [rule_out(standing, mode) for standing in standings if standing.is_in_force]

        return await self._on(self._read_thread, find)

    async def origins(self, map_name: MapName | None) -> dict[str, int]:
        """Return how many rules of our own each origin has, in one map or all."""
        return await self._on(self._read_thread, lambda: self._state.count_by_origin(map_name)[0])

    async def history(self, target: str | None, since: float | None, limit: int) -> list[ChangeOut]:
        """Return the last changes, the oldest first."""

        def read() -> list[ChangeOut]:
            found = self._account.last(target=target, since=since, limit=limit)
            return [change_out(record) for record in found]

        return await self._on(self._read_thread, read)

    async def last_change(self) -> int:
        """Return the number of the last change."""
        return await self._on(self._read_thread, self._account.newest)

    async def changes_after(self, number: int, also: Iterable[int]) -> dict[int, HistoryRow]:
        """Return the changes behind a number, and some of before, by their numbers."""
        return await self._on(
            self._read_thread, lambda: self._account.after(number, also, CHANGES_MAX)
        )

    @property
    def kept_bits(self) -> tuple[int, int]:
        """Bits of an IPv4 and an IPv6 address that samples have."""
        return self.watch.kept()

    @property
    def why_no_samples(self) -> str:
        """Why none are taken; empty where they are."""
        return self.watch.hub.trouble

    def samples(self, selection: Selection) -> contextlib.AbstractAsyncContextManager[Seen]:
        """Look at samples, for the time of a block (service/watch.py)."""
        return self.watch.open(selection)

    async def rules_of(self, seen: Sequence[tuple[Sample, Packet]]) -> list[SeenRule | None]:
        """Return the rule that decided about each sample, where it is known."""
        return await self.watch.rules_of(seen)

    async def live(self) -> AsyncGenerator[LiveOut, None]:
        """Yield a snapshot at once, and one each second."""
        if self.live_view is not None:
            async with contextlib.aclosing(self.live_view.snapshots()) as snapshots:
                async for snapshot in snapshots:
                    yield snapshot

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopRule]:
        """Return the entries with the most hits: in total, or within the next second."""
        most_hit = self._store.most_hit
        before = None
        if by == "rate":
            before = await self._on(self._bulk_thread, lambda: most_hit.counters(map_name))
            await asyncio.sleep(RATE_SECONDS)

        def top() -> list[TopRule]:
            found = most_hit.top(count, map_name, before)
            standings = self._store.standings.of([hit.entry for hit in found])
            return [
                top_rule(hit, standing, self._store.any_qtype)
                for hit, standing in zip(found, standings, strict=True)
            ]

        return await self._on(self._bulk_thread, top)

    async def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
        """Yield the lines of `export` in parts."""
        thread = one_thread("export")  # its own, which cannot fail to start in the middle
        try:
            export = await self._on(thread, lambda: self._store.export(everything=everything))
            try:
                while data := await self._on(thread, export.part):
                    yield data
            finally:
                export.close()
        finally:
            thread.shutdown(wait=False)

    async def test(
        self, address: IPv4Address | IPv6Address, question: Question, interface: str
    ) -> Tested:
        """Return what the program decides about a query, and which rule it is.

        Args:
            address: where the query comes from.
            question: its name and type.
            interface: on which interface; empty: the first.

        Raises:
            NotFoundError: the interface is not the service's.
            XdpctlError: the program cannot be run.
        """
        held = self._chosen([interface] if interface else [])[0]
        last = self._observer.last
        packet, now, without = await self._program.decide(
            held.interface, lambda config: query_for(config, address, question, last.destinations)
        )

        def find() -> RuleOut | None:
            mode = self._store.any_qtype
            rule = deciding_rule(self._store.listing, without.reason, address, question, mode)
            if rule is None:
                return None
            (standing,) = self._store.standings.of([rule])
            return rule_out(standing, mode)

        rule = await self._on(self._read_thread, find)
        view = next(view for view in last.filters if view.interface == held.interface)
        names = question.name.to_text(), qtype_text(question.qtype or 0)
        return tested(packet, (now, without), rule, view, names)

    async def set_panic(self, *, panic: bool) -> bool:
        """Pass every packet at once, also after restarts, or filter again; return what is new.

        The kernel's map is written immediately, which takes microseconds, so that no queue
        delays it. Then the watch thread writes it again, because it may have been attaching
        another program at that moment. Only errors of this second write are raised.
        """
        refuse_abandoned(CLIENT_GONE.get())
        changed = self._panic.is_on() is not panic
        self._panic.set(on=panic)

        def write() -> None:
            try:
                self._panic.write()
            finally:
                self._observer.look()

        who = CALLER.get()

        def note() -> None:
            try:
                self._panic.note(on=panic)
            finally:
                if changed:
                    self._account.switched(who, "panic" if panic else "resume")

        noted = asyncio.get_running_loop().run_in_executor(self._urgent_thread, note)
        try:
            await on_thread(self._watch_thread, write)
        finally:  # packets come first, even if the state's disk is full
            await noted
        return changed

    def list_views(self) -> tuple[ListView, ...]:
        """Return how each list of the settings is now."""
        return () if self.all_lists is None else self.all_lists.views()

    def list_notified(self) -> Mapping[str, int]:
        """Return how many NOTIFY messages came for lists, by what became of them."""
        return {} if self.all_lists is None else self.all_lists.notified

    def dnsdist_view(self) -> BridgeView:
        """Return how the reading of dnsdist's dynamic blocks is now."""
        return BridgeView() if self.dnsdist_blocks is None else self.dnsdist_blocks.view()

    def lists(self) -> list[ListOut]:
        """Return the same as documents."""
        return [list_out(view) for view in self.list_views()]

    async def read_list(self, name: str, *, accept: bool) -> ListOut:
        """Read a list now, and return how it is then (feeds/lists.py, `read_now`)."""
        if self.all_lists is None:
            raise NotFoundError(f"there is no list {shown(name)}: the service is starting")
        return list_out(await self.all_lists.read_now(name, accept=accept))

    async def published(self) -> PublishedList:
        """Return what this host publishes in zones, and where it can."""
        publisher = self._publisher_there()
        records, zones = publisher.records(), publisher.zones()
        return await self._on(self._read_thread, lambda: published_list(records, zones))

    async def publish(
        self,
        zone: str,
        targets: Sequence[Target],
        action: RuleAction,
        seconds: int | None,
        *,
        force: bool,
    ) -> Published:
        """Publish records (feeds/publish/publisher.py) under the guard, unless `force`."""
        publisher = self._publisher_there()
        if not force:
            rules = [Rule(target, action) for target in targets]
            await self._on(self._read_thread, lambda: self._guard().check(rules))
        return published(await publisher.publish(zone, targets, action, seconds))

    async def unpublish(self, zone: str, targets: Sequence[Target]) -> tuple[int, list[str]]:
        """Remove records (feeds/publish/publisher.py)."""
        return await self._publisher_there().unpublish(zone, targets)

    def _publisher_there(self) -> Publisher:
        if self.publisher is None:
            raise ConflictError("nothing can be published yet: the service is starting; try again")
        return self.publisher

    def publish_zones(self) -> Sequence[PublishZoneView]:
        """Return the zones that can be published in."""
        return () if self.publisher is None else self.publisher.zones()

    def limits_view(self) -> LimitsView:
        """Return the limits, and what they do now."""
        return self._limits.view()

    def limits(self) -> LimitsOut:
        """Return the same as a document."""
        return limits_out(self._limits.view())

    async def prove(self, addresses: Sequence[IPv4Address | IPv6Address], *, proven: bool) -> int:
        """Let sources count as proven from now on, or no longer; return how many changed.

        Raises:
            ConflictError: no limit asks whether a source is proven.
        """
        who = CALLER.get()
        change = self._limits.prove if proven else self._limits.unprove
        changed = await change(addresses)
        texts = [str(address) for address in addresses]
        verb = "prove" if proven else "unprove"
        await self._on(self._store_thread, lambda: self._account.proved(who, verb, texts))
        return changed

    async def recall(self, name: str) -> str | None:
        """Return a stored fact, or None."""
        return await self._on(self._store_thread, lambda: self._state.get_meta(name))

    async def remember(self, name: str, value: str) -> None:
        """Store a fact in the state."""
        await self._on(self._store_thread, lambda: self._state.set_meta(name, value))

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Detach the program from these interfaces, or all; return those that had it.

        Raises:
            NotFoundError: an interface is not the service's.
        """
        chosen = self._chosen(interfaces)
        who = CALLER.get()

        def detach() -> list[str]:
            done = [held.interface for held in chosen if held.detach()]
            self._observer.look()
            if done:
                self._account.switched(who, "detach", done)
            return done

        return await self._on(self._watch_thread, detach)

    async def attach(self, interfaces: Sequence[str]) -> list[str]:
        """Attach the program again to these interfaces, or all, after `detach`.

        Returns:
            Those to which it was attached; not those that have it already.

        Raises:
            NotFoundError: an interface is not the service's.
            InterfaceError, KernelError, VerifierError, PinError: it cannot be attached.
        """
        chosen = self._chosen(interfaces)
        who = CALLER.get()

        def attach() -> list[str]:
            done: list[str] = []
            try:
                done.extend(
                    held.interface
                    for held in chosen
                    if held.attach_again(panic=self._panic.is_on())
                )
            finally:
                self._observer.look()
                if done:
                    self._account.switched(who, "attach", done)
            return done

        return await self._on(self._watch_thread, attach)

    def _chosen(self, interfaces: Sequence[str]) -> list[Filter]:
        """Return the filters on these interfaces, or all.

        Raises:
            NotFoundError: an interface is not the service's.
        """
        for name in interfaces:
            if name not in self._filters:
                raise NotFoundError(
                    f"this service does not have the interface {name}: it has"
                    f" {', '.join(self._filters)}"
                )
        return [self._filters[name] for name in interfaces or self._filters]

    async def _on(self, thread: Executor, function: Callable[[], _T]) -> _T:
        """Run a function on a thread, unless its client has left when its turn comes."""
        gone = CLIENT_GONE.get()

        def work() -> _T:
            refuse_abandoned(gone)
            return function()

        return await on_thread(thread, work)
