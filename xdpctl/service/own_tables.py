"""Our own tables while the service runs: made with the first rule that needs them, grown, ended.

Owns the order of such a change. Another generation is made and filled from the notes while
rules go on being written, into both; then the programs on all interfaces are moved to it; then
it gets the counters of the one before. Anything that refuses leaves the former generation in
force, and the former program. What a generation is: store/tables/generation.py; how a program
is put on: filter/rollout.py. A part of the service, made by start.py.

    none ──first rule──▶ in force ──full, worn, unsure──▶ the next one is filled ──▶ in force
      ▲                     │
      └──empty for a minute─┘
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import threading
import time
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, NoReturn

from xdpctl.abi import TABLES
from xdpctl.errors import XdpctlError
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.process.log import event
from xdpctl.service.tasks import every
from xdpctl.store.tables.restoring import agrees, fill, noted
from xdpctl.store.tables.tables import TOGETHER

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from concurrent.futures import Future

    from xdpctl.abi import MapName
    from xdpctl.filter.filter import Filter
    from xdpctl.service.current_program import CurrentProgram
    from xdpctl.settings import Settings
    from xdpctl.store.state import State
    from xdpctl.store.store import Store
    from xdpctl.store.tables.engine import Engine, Generation, Generations
    from xdpctl.store.tables.tables import Tables

CARE_SECONDS = 1.0
"""Between two times that it is seen whether there is something to do."""

EMPTY_SECONDS = 60.0
"""How long the tables stay when the last rule in them has gone."""

PACKETS_SECONDS = 0.05
"""After a program was exchanged: longer than a packet is judged by the former one."""

RETRY_SECONDS = 30.0
"""Between two attempts to put rules in force that have a note and no table."""

AHEAD = 8
"""The tables grow by themselves where fewer than one for so many entries still find room."""

MARGIN = 4
"""They are made with room for one more for each so many entries, so that they seldom grow."""

WORN = 10_000
"""Another generation follows when so many entries were removed, and half of what it has room for:
only so does its filter forget them, which else costs every packet more and more look-ups."""

BOOK = "book"
"""Name of the fact that the tables and the state file have in common."""

_log = logging.getLogger(__name__)


class OwnTables:
    """The tables.

    Args:
        generations: makes them.
        store, state: the rules and the notes.
        program: the program in force.
        clock: seconds of the monotonic clock.

    Attributes:
        failures: that rules which have a note are not in force.
    """

    name = "tables"
    warnings = ()

    def __init__(
        self,
        generations: Generations,
        store: Store,
        state: State,
        program: CurrentProgram,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._generations = generations
        self._store = store
        self._tables = store.tables
        self._state = state
        self._program = program
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._turn = asyncio.Lock()
        self._waiting: set[Future[None]] = set()
        self._stopped = False
        self._stopping = threading.Lock()
        self._emptied: float | None = None
        self._next_try = clock()
        self.failures: tuple[str, ...] = ()

    def reload(self, settings: Settings) -> None:
        """Nothing here depends on the settings."""

    # --- room ---------------------------------------------------------------------

    async def reserve(self, more: Mapping[MapName, int]) -> None:
        """Make room for so many more entries of each map, if there is none.

        Raises:
            XdpctlError: it cannot be made; everything is as it was.
        """
        if self._tables.lacks(more):
            async with self._turn:
                if self._tables.lacks(more):
                    await self._grow(more)

    def reserve_here(self, more: Mapping[MapName, int]) -> None:
        """Do the same, for a thread. Blocks; never called on the loop.

        Raises:
            XdpctlError: as `reserve`; also where the service stops.
        """
        if not self._tables.lacks(more):
            return
        stops = XdpctlError("cannot make room for the rules: the service stops; send them again")
        with self._stopping:
            if self._stopped:
                raise stops
            waiting = asyncio.run_coroutine_threadsafe(self.reserve(more), self._loop)
            self._waiting.add(waiting)
        try:
            waiting.result()
        except CancelledError as error:
            raise stops from error
        finally:
            with self._stopping:
                self._waiting.discard(waiting)

    def stop(self) -> None:
        """Let no thread wait for room any more: the loop is about to wait for the threads."""
        with self._stopping:
            self._stopped = True
            waiting = tuple(self._waiting)
        for each in waiting:
            each.cancel()

    # --- all the time -------------------------------------------------------------

    async def run(self) -> NoReturn:
        """Look after the tables, until cancelled."""
        await every(CARE_SECONDS, self._look_after)

    async def _look_after(self) -> None:
        if self._clock() < self._next_try:
            return
        async with self._turn:
            if self._has_been_empty():
                await self._end()
            elif self._tables.current is None or self._is_wanting():
                await self._put_in_force()

    def _is_wanting(self) -> bool:
        """Return whether the tables soon have no room, are worn, or have what nobody knows."""
        current = self._tables.generation
        return self._tables.nameless or (
            current is not None and any(_ends_soon(current, names) for names in TOGETHER)
        )

    async def _put_in_force(self) -> None:
        """Make the first tables for rules that have a note only, or larger ones."""
        self._next_try = self._clock() + RETRY_SECONDS
        rules = sum((await asyncio.to_thread(noted, self._state)).values())
        if self._tables.current is None and not rules:
            self.failures = ()
            return
        try:
            await self._grow({})
        except XdpctlError as error:
            if self._tables.current is None:
                self.failures = (
                    f"{rules} zones and rules of lists are not in force: {error.sentence}",
                )
            raise
        self.failures, self._next_try = (), self._clock()

    def _has_been_empty(self) -> bool:
        if self._tables.current is None or any(map(self._tables.count, TABLES)):
            self._emptied = None
        elif self._emptied is None:
            self._emptied = self._clock()
        return self._emptied is not None and self._clock() - self._emptied >= EMPTY_SECONDS

    # --- one change ---------------------------------------------------------------

    async def _grow(self, more: Mapping[MapName, int]) -> None:
        """Put another generation in force, with room for more.

        Raises:
            XdpctlError: something refuses; the former generation is in force.
        """
        began = self._clock()
        async with self._program.changing:
            program, _ = await asyncio.gather(
                self._program.build_with(tables=True), self._generations.prepare()
            )
            former = self._tables.current
            made = await asyncio.to_thread(self._make, more)
            try:
                await asyncio.to_thread(self._fill, made)
                await self._program.exchange_tables(program, made.maps)
                await asyncio.to_thread(self._use, made)
            except BaseException:
                await _whatever_comes(asyncio.to_thread(self._give_up, made))
                raise
        self._emptied = None
        what = "made"
        if former is not None:
            what = "grown" if _capacity(made) > _capacity(former) else "renewed"
            await _whatever_comes(asyncio.to_thread(self._leave, former, made))
        event(
            _log,
            f"tables-{what}",
            entries=_entries(made),
            room=_capacity(made) - _entries(made),
            seconds=round(self._clock() - began, 2),
        )

    def _make(self, more: Mapping[MapName, int]) -> Generation:
        room, book = _room(self._state, more), book_of(self._state)
        return self._generations.make(room, book, self._tables.current)

    def _fill(self, made: Generation) -> None:
        """Fill a generation from the notes, while rules go on being written into both.

        Raises:
            XdpctlError: it is full, or refuses.
        """
        with self._store.alone():
            if (current := self._tables.current) is not None:
                self._tables.use(current, made)
        for _ in self._store.in_steps(fill(made, self._state)):
            if self._stopped:
                raise XdpctlError("cannot fill a larger table: the service stops")

    def _use(self, made: Generation) -> None:
        """Read a generation from now on, whose program is on."""
        tables = self._tables
        with self._store.alone():
            if tables.current is not None and made not in tables.engines():
                raise XdpctlError(
                    "cannot use the larger table: a rule could not be written into it; it is"
                    " tried again"
                )
            tables.use(made)
            tables.compared(nameless=not agrees(made, self._state))

    def _give_up(self, made: Generation) -> None:
        with self._store.alone():
            self._tables.use(*self._tables.engines()[:1])
        made.close()

    def _leave(self, former: Engine, made: Generation) -> None:
        """Take the counters along, and close the former generation."""
        time.sleep(PACKETS_SECONDS)
        try:
            with self._store.alone():
                made.add_hits_of(former)
        except XdpctlError as error:
            event(_log, "failed", logging.ERROR, error=error.sentence)
        finally:
            former.close()

    async def _end(self) -> None:
        """Go back to a program without tables, which then cost nothing."""
        self._emptied = None
        async with self._program.changing:
            program = await self._program.build_with(tables=False)
            former = await asyncio.to_thread(self._take_away)
            if former is None:
                return
            try:
                await self._program.exchange_tables(program, {})
            except BaseException:
                self._tables.use(former)
                raise
        former.close()
        event(_log, "tables-ended")

    def _take_away(self) -> Engine | None:
        """Have no tables from now on, if they are still empty."""
        with self._store.alone():
            current = self._tables.current
            if current is None or any(noted(self._state).values()):
                return None
            self._tables.use()
            return current


def open_tables(
    generations: Generations,
    filters: Sequence[Filter],
    tables: Tables,
    state: State,
    *,
    wanted: bool,
) -> None:
    """Take over the tables of a former service, or make new ones, where they are wanted.

    New ones are still empty. Blocks; at the start, before there is a program of ours.

    Raises:
        XdpctlError: they cannot be made.
    """
    with contextlib.ExitStack() as stack:
        former = next((maps for one in filters if (maps := one.former_tables())), OwnMaps())
        stack.enter_context(former)
        adopted = generations.adopt(former, book_of(state)) if former and wanted else None
        if adopted is not None:
            stack.pop_all()
            tables.use(adopted)
            event(_log, "tables-adopted", entries=_entries(adopted))
        elif former:
            event(
                _log,
                "tables-left",
                logging.WARNING,
                why="the state file does not know the names of their rules, or they are of"
                " another version: zones and rules of lists are those of the state file",
            )
    if wanted and adopted is None:
        tables.use(generations.make(_room(state), book_of(state)))


def exchange_nameless(generations: Generations, store: Store, state: State) -> None:
    """Make new tables in the place of some with entries that the state file does not know.

    Blocks; at the start, as `open_tables`.
    """
    tables = store.tables
    former = tables.current
    made = generations.make(_room(state), book_of(state))
    tables.use(made)
    store.reconcile()
    event(_log, "tables-left", logging.WARNING, why="they have rules that the state file has not")
    if former is not None:
        former.close()


def _room(state: State, more: Mapping[MapName, int] = {}) -> dict[MapName, int]:
    """Return for how many entries tables are made that have these notes, and more."""
    wanted = {name: count + more.get(name, 0) for name, count in noted(state).items()}
    return {name: count + count // MARGIN for name, count in wanted.items()}


def _ends_soon(current: Generation, names: Sequence[MapName]) -> bool:
    """Return whether these maps' table is nearly full, or its filter worn (WORN)."""
    count, room = sum(map(current.count, names)), current.room(names[0])
    if not count:
        return False  # no packet asks for what is empty, and a table that stays so ends
    return AHEAD * room < count or current.removed(names[0]) >= max(WORN, (count + room) // 2)


def _capacity(engine: Engine) -> int:
    return _entries(engine) + sum(engine.room(names[0]) for names in TOGETHER)


def _entries(engine: Engine) -> int:
    return sum(map(engine.count, TABLES))


def book_of(state: State) -> int:
    """Return the number that this state's tables have, and note a new one if there is none."""
    known = state.get_meta(BOOK)
    if known is None:
        known = f"{secrets.randbits(63) | 1:x}"
        state.set_meta(BOOK, known)
    return int(known, 16)


async def _whatever_comes(work: Coroutine[None, None, None]) -> None:
    """Wait for something to be done; a cancellation waits for its end too."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
