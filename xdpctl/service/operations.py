"""The operations that the API offers, each on the right thread.

Owns which thread does what. Rules are read and written on the store's thread, filters are used
on the watch thread, so the loop never blocks. Does not own store, filters, panic or observer.
Made by start.py; called by http/api/ as its backend, and by expiry.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeVar

from xdpctl import __version__
from xdpctl.abi import MapName
from xdpctl.errors import MapFrozenError, MapFullError, NotFoundError, TableFullError
from xdpctl.http.abandonment import CLIENT_GONE, refuse_abandoned
from xdpctl.http.api.converter import removed_out, rule_out, status_of, top_rule
from xdpctl.process.log import event
from xdpctl.store.pages import Cursor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from xdpctl.filter.filter import Filter
    from xdpctl.http.api.documents import Removed, RuleOut, Status, TopRule
    from xdpctl.rules import AnyQtype, Rule, Target
    from xdpctl.rules.guard import Guard
    from xdpctl.service.panic import PanicSwitch
    from xdpctl.status.observer import Observer
    from xdpctl.status.snapshot import Snapshot
    from xdpctl.store.bulk import BulkResult
    from xdpctl.store.change import Change
    from xdpctl.store.state import State
    from xdpctl.store.store import PutResult, Store

_T = TypeVar("_T")

_log = logging.getLogger(__name__)

RATE_SECONDS = 1.0
"""How long rates are measured."""

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
        reserve: makes room in our own tables, so that no thread waits for it.
        guard: gives the guard of this moment; called on those threads.

    Attributes:
        expiry_changed: set when another rule may be the next to expire.
        claim_counts: how many claims of each class are in force, and how many wait
            (claim_counts.py).
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
        reserve: Callable[[Mapping[MapName, int]], Awaitable[None]],
        guard: Callable[[], Guard],
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
        self._reserve = reserve
        self._guard = guard
        self.expiry_changed = asyncio.Event()
        self.claim_counts: tuple[Mapping[str, int], Mapping[str, int]] = ({}, {})
        self._started = time.time()

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""
        return self._store.any_qtype

    def snapshot(self) -> Snapshot:
        """Return the last snapshot."""
        return self._observer.last

    def status(self) -> Status:
        """Return the whole service as a document."""
        return status_of(
            self._observer.last, version=__version__, pid=os.getpid(), started=self._started
        )

    async def put(self, rules: Sequence[Rule], *, force: bool, beneath: bool = False) -> PutResult:
        """Make or update rules; `force` overrides the guard (rules/guard.py).

        With `beneath`, a rule waits where dnsdist has an entry.
        """

        def put() -> PutResult:
            if not force:
                self._guard().check(rules)
            return self._counting_refusals(rules, beneath=beneath)

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
        return await self._on(
            self._store_thread, lambda: removed_out(self._store.remove(targets, origin))
        )

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

        def work() -> BulkResult:
            guard = None if change.force else self._guard()
            try:
                return self._store.bulk(replace(change, guard=guard, progress=tell))
            except (MapFullError, MapFrozenError) as error:
                self._observer.failed(MapName(error.map_name), error.symbol)
                raise

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
        return await self._on(self._bulk_thread, lambda: self._store.flush(map_name, origin))

    async def expire(self) -> float | None:
        """Remove due rules; return the seconds until the next is due, or None."""

        def expire() -> float | None:
            self._observer.expired(self._store.expire())
            return self._store.next_expiry()

        return await self._on(self._store_thread, expire)

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

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopRule]:
        """Return the entries with the most hits: in total, or within the next second."""
        most_hit = self._store.most_hit
        before = None
        if by == "rate":
            before = await self._on(self._bulk_thread, lambda: most_hit.counters(map_name))
            started = time.monotonic()
            await asyncio.sleep(RATE_SECONDS)

        def top() -> list[TopRule]:
            seconds = 0.0 if before is None else time.monotonic() - started
            found = most_hit.top(count, map_name, before, seconds)
            standings = self._store.standings.of([hit.entry for hit in found])
            return [
                top_rule(hit, standing, self._store.any_qtype)
                for hit, standing in zip(found, standings, strict=True)
            ]

        return await self._on(self._bulk_thread, top)

    async def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
        """Yield the lines of `export` in parts."""
        export = await asyncio.to_thread(self._store.export, everything=everything)
        try:
            while data := await asyncio.to_thread(export.part):
                yield data
        finally:
            export.close()

    async def set_panic(self, *, panic: bool) -> None:
        """Pass every packet at once, also after restarts, or filter again.

        The kernel's map is written immediately, which takes microseconds, so that no queue
        delays it. Then the watch thread writes it again, because it may have been attaching
        another program at that moment. Only errors of this second write are raised.
        """
        refuse_abandoned(CLIENT_GONE.get())
        self._panic.set(on=panic)

        def write() -> None:
            try:
                self._panic.write()
            finally:
                self._observer.look()

        noted = asyncio.get_running_loop().run_in_executor(
            self._urgent_thread, lambda: self._panic.note(on=panic)
        )
        try:
            await self._begun(self._watch_thread, write)
        finally:  # packets come first, even if the state's disk is full
            await noted

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
        for name in interfaces:
            if name not in self._filters:
                raise NotFoundError(
                    f"this service does not have the interface {name}: it has"
                    f" {', '.join(self._filters)}"
                )
        chosen = [self._filters[name] for name in interfaces or self._filters]

        def detach() -> list[str]:
            done = [held.interface for held in chosen if held.detach()]
            self._observer.look()
            return done

        return await self._on(self._watch_thread, detach)

    async def _on(self, thread: Executor, function: Callable[[], _T]) -> _T:
        """Run a function on a thread, unless its client has left when its turn comes."""
        gone = CLIENT_GONE.get()

        def work() -> _T:
            refuse_abandoned(gone)
            return function()

        return await self._begun(thread, work)

    async def _begun(self, thread: Executor, function: Callable[[], _T]) -> _T:
        """Run a function on a thread to its end, even if its caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(thread, function)
