"""Looks at filters and maps and publishes what it saw as one value.

Owns the last snapshot. It asks the parts of the service for their warnings and failures; no
other module writes to it. Counting a map reads all of it, so large maps are counted every ten
seconds; our own writes are added at once. Does not own filters or maps. Called once a second by
service/looks.py.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import TABLES, MapName, PacketAction
from xdpctl.errors import KernelError, XdpctlError
from xdpctl.filter.view import FilterState
from xdpctl.status.rates import Rates
from xdpctl.status.snapshot import MapView, Snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from xdpctl.filter.filter import Filter
    from xdpctl.filter.view import FilterView
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.maps.shared import SharedMaps
    from xdpctl.maps.xsk_destinations import DestinationWatch
    from xdpctl.status.part import ServicePart
    from xdpctl.store.tables.tables import Tables

LARGE_MAP = 100_000
"""A map with more entries is counted only every `LARGE_MAP_SECONDS`."""

LARGE_MAP_SECONDS = 10.0
ALMOST_FULL = 0.8


class Observer:
    """Makes snapshots.

    Args:
        filters: one for each interface.
        shared: the shared maps, open.
        destinations: the watch over AF_XDP's destinations.
        tables: our own tables.
        panic: returns whether everything is passed.
        parts: asked for warnings and failures at each look; may grow before the first.
        warnings: sentences found at the start, always shown.
        unseen: sentences about what of this host cannot be seen from here.
        clock: seconds of the monotonic clock.
    """

    def __init__(  # noqa: PLR0913 - everything that is looked at
        self,
        filters: Sequence[Filter],
        shared: SharedMaps,
        destinations: DestinationWatch,
        *,
        tables: Tables | None = None,
        panic: Callable[[], bool] = bool,
        parts: Sequence[ServicePart] = (),
        warnings: Sequence[str] = (),
        unseen: Sequence[str] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._filters = filters
        self._shared = shared
        self._frozen: frozenset[str] = frozenset()
        self._destinations = destinations
        self._tables = tables
        self._panic = panic
        self._parts = parts
        self._clock = clock
        self._warnings = tuple(warnings)
        self._unseen = tuple(unseen)
        self._rates = Rates()
        self._lock = threading.Lock()
        self._entries: dict[MapName, int] = {}
        self._counted: dict[MapName, float] = {}
        self._writes: Counter[MapName] = Counter()
        self._errors: Counter[tuple[MapName, str]] = Counter()
        self._expired: Counter[MapName] = Counter()
        self._stale: Mapping[MapName, int | None] = {}
        self.destination_warnings: tuple[str, ...] = ()
        """What the last look found about AF_XDP destinations; service/looks.py shows it."""
        self.last = Snapshot(clock(), reasons=("the service is starting",))

    def changed(self, name: MapName, difference: int) -> None:
        """Add our own write to the last count. Any thread."""
        with self._lock:
            self._writes[name] += 1
            if name in self._entries:
                self._entries[name] += difference
            self.last = replace(self.last, maps=self._map_views())

    def entries(self, name: MapName) -> int | None:
        """Return how many entries a map had when it was last counted, with our own writes since.

        None: it was not counted yet. Any thread.
        """
        with self._lock:
            return self._entries.get(name)

    def failed(self, name: MapName, error: str) -> None:
        """Count a write that a map refused, by its symbolic errno. Any thread."""
        with self._lock:
            self._errors[name, error] += 1
            self.last = replace(self.last, map_errors=dict(self._errors))

    def expired(self, removed: Counter[MapName]) -> None:
        """Count expired rules that were removed. Any thread."""
        if removed:
            with self._lock:
                self._expired.update(removed)
                self.last = replace(self.last, expired=dict(self._expired))

    def aged(self, stale: Mapping[MapName, int | None]) -> None:
        """Show how many of dnsdist's entries are stale; None: unknown. Any thread."""
        with self._lock:
            self._stale = dict(stale)
            self.last = replace(self.last, stale=self._stale)

    def look(self) -> Snapshot:
        """Look at everything, publish and return what was seen. Blocks."""
        reasons = self._watch(closely=False)
        now = self._clock()
        for name, rule_map in self._counted_maps().items():
            self._count(name, rule_map, now)
        return self._publish(reasons)

    def look_at_interfaces(self) -> Snapshot:
        """Look closely at the interfaces only; publish and return what was seen. Blocks."""
        return self._publish(self._watch(closely=True))

    def _watch(self, *, closely: bool) -> list[str]:
        return [
            sentence
            for watched in self._filters
            if (sentence := _failing(partial(watched.watch, panic=self._panic(), closely=closely)))
        ]

    def _publish(self, reasons: list[str]) -> Snapshot:
        views = tuple(watched.view() for watched in self._filters)
        self._frozen = self._shared.frozen()
        reasons += self._shared.replaced()
        reasons += [
            f"{view.interface} is {view.state}" + (f": {view.trouble}" if view.trouble else "")
            for view in views
            if view.state is not FilterState.ATTACHED
        ]
        reasons += [sentence for part in self._parts for sentence in part.failures]
        try:
            self.destination_warnings = self._destinations.look(_redirected(views))
        except KernelError as error:
            self.destination_warnings = ()
            reasons.append(error.sentence)
        now = self._clock()
        rates = self._rates.after(now, views)
        with self._lock:
            maps = self._map_views()
            self.last = Snapshot(
                now,
                views,
                maps,
                self._panic(),
                tuple(reasons),
                (
                    *self._warnings,
                    *(note for view in views for note in view.notes),
                    *(sentence for part in self._parts for sentence in part.warnings),
                    *_almost_full(maps),
                ),
                dict(self._errors),
                self._destinations.present,
                self._destinations.lost,
                dict(self._expired),
                xskmaps=self._shared.xskmap_pins(),
                rates=rates,
                stale=self._stale,
                unseen=self._unseen,
            )
        return self.last

    def _counted_maps(self) -> dict[MapName, Map]:
        return self._shared.rule_maps() | self._shared.destination_maps()

    def _count(self, name: MapName, counted: Map, now: float) -> None:
        if self._entries.get(name, 0) > LARGE_MAP and now - self._counted[name] < LARGE_MAP_SECONDS:
            return
        with self._lock:
            writes = self._writes[name]
        key_size = abi.MAPS[name].key_size
        try:
            entries = sum(len(keys) // key_size for keys, _ in counted.chunks())
        except KernelError as error:
            self.failed(name, error.symbol)
            return
        with self._lock:
            if writes == self._writes[name] or name not in self._entries:
                self._entries[name] = entries
                self._counted[name] = now

    def _map_views(self) -> tuple[MapView, ...]:
        shared = (
            MapView(
                name,
                self._shared.path(name),
                opened.info.id,
                self._entries.get(name),
                opened.info.max_entries,
                name in self._frozen,
            )
            for name, opened in self._counted_maps().items()
        )
        return (*shared, *self._table_views())

    def _table_views(self) -> Iterator[MapView]:
        tables = self._tables
        if tables is None:
            return
        current = tables.generation
        number = 0 if current is None else current.maps[MapName.TABLE_HEAD].info.id
        for name in TABLES:
            path = self._filters[0].pin_of(MapName.TABLE_HEAD) if self._filters else Path()
            yield MapView(name, path, number, tables.count(name), tables.capacity(name))


def _failing(what: Callable[[], None]) -> str:
    """Call a function; return the sentence of its error, or an empty text."""
    try:
        what()
    except XdpctlError as error:
        return error.sentence
    return ""


def _redirected(views: Sequence[FilterView]) -> int:
    return sum(
        count.packets
        for view in views
        for (_, action), count in view.counters.items()
        if action is PacketAction.REDIRECT
    )


def _almost_full(maps: Sequence[MapView]) -> list[str]:
    return [
        f"{view.name} is {100 * view.entries // view.capacity} % full"
        f" ({view.entries} of {view.capacity} entries)"
        for view in maps
        if view.name not in TABLES  # they grow
        and view.entries is not None
        and view.entries >= ALMOST_FULL * view.capacity
    ]
