"""What the API may ask of the running service, each thing on the right thread.

Owns no resources: store, filters and observer are given. Rules are read and written on
the store's thread, filters are touched on the watch thread, so the loop never blocks.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from typing import TYPE_CHECKING, TypeVar

from xdpctl import __version__, abi
from xdpctl.abi import MapName
from xdpctl.errors import MapFullError, NotFoundError, TargetError
from xdpctl.http.schema import RuleOut, Status

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from xdpctl.filter import Filter
    from xdpctl.observer import Observer
    from xdpctl.rules import Rule, Target
    from xdpctl.snapshot import Snapshot
    from xdpctl.state import State
    from xdpctl.store import PutResult, Store

_T = TypeVar("_T")

PANIC = "panic"
"""Name of the state's fact that everything is passed, kept over restarts."""


class ServiceDesk:
    """The service as the handlers see it (http/handlers.py, `Desk`).

    Args:
        store, state: used on `store_thread` only.
        filters, observer: touched on `watch_thread` only, but for published values.
    """

    def __init__(  # noqa: PLR0913 - the parts of the whole
        self,
        *,
        store: Store,
        state: State,
        filters: Sequence[Filter],
        observer: Observer,
        store_thread: Executor,
        watch_thread: Executor,
    ) -> None:
        self._store = store
        self._state = state
        self._filters = {one.interface: one for one in filters}
        self._observer = observer
        self._store_thread = store_thread
        self._watch_thread = watch_thread
        self._started = time.time()

    def snapshot(self) -> Snapshot:
        """Return what was last seen."""
        return self._observer.last

    def status(self) -> Status:
        """Return the whole service as a document."""
        return Status.of(
            self._observer.last, version=__version__, pid=os.getpid(), started=self._started
        )

    async def put(self, rules: Sequence[Rule], *, force: bool) -> PutResult:
        """Make or update rules; `force` overrides the guard."""
        del force  # the guard comes with `protect`

        def put() -> PutResult:
            try:
                return self._store.put(rules)
            except MapFullError as error:
                self._observer.failed(MapName(error.map_name), error.symbol)
                raise

        return await self._on(self._store_thread, put)

    async def remove(self, targets: Sequence[Target]) -> int:
        """Remove own rules; all of them or, where one is not ours, none."""
        return await self._on(self._store_thread, lambda: self._store.remove(targets))

    async def page(
        self, map_name: MapName | None, origin: str | None, after: str | None, limit: int
    ) -> tuple[list[RuleOut], str | None]:
        """Return rules in the order of map and key, behind a cursor, and the next cursor.

        The cursor names the last entry of a page and not a position, so that entries
        which come and go neither repeat nor hide others.
        """
        start = None if after is None else _read_cursor(after)

        def page() -> tuple[list[RuleOut], str | None]:
            placed = (
                ((abi.RULE_MAPS.index(entry.map), entry.key), entry)
                for entry in self._store.entries(map_name, origin)
            )
            found = [one for one in placed if start is None or one[0] > start]
            found.sort(key=lambda one: one[0])
            shown = found[:limit]
            following = _write_cursor(shown[-1][0]) if len(shown) < len(found) else None
            return [RuleOut.of(entry, self._store.any_qtype) for _, entry in shown], following

        return await self._on(self._store_thread, page)

    async def set_panic(self, *, panic: bool) -> None:
        """Pass everything at once, over restarts, or end that."""

        def write() -> None:
            self._observer.panic = panic
            with contextlib.ExitStack() as stack:  # each is tried, whatever another says
                stack.callback(self._observer.look)
                for one in self._filters.values():
                    stack.callback(one.set_panic, panic=panic)

        try:
            await self._on(self._watch_thread, write)
        finally:  # also where the state's disk is full, packets come first
            await self._on(self._store_thread, lambda: self._state.set_meta(PANIC, str(int(panic))))

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        """Take the program off these interfaces, or all; return those it was on.

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
            done = [one.interface for one in chosen if one.detach()]
            self._observer.look()
            return done

        return await self._on(self._watch_thread, detach)

    async def _on(self, thread: Executor, function: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(thread, function)


def _write_cursor(place: tuple[int, bytes]) -> str:
    return f"{abi.RULE_MAPS[place[0]]}:{place[1].hex()}"


def _read_cursor(text: str) -> tuple[int, bytes]:
    name, _, key = text.partition(":")
    try:
        return abi.RULE_MAPS.index(MapName(name)), bytes.fromhex(key)
    except ValueError:
        raise TargetError(
            f"{text!r} is no cursor: take `next` of the page before", text=text, field="cursor"
        ) from None
