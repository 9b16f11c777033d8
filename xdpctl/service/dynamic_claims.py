"""The claims of dnsdist's dynamic blocks, as the bridge makes them: each call on the right thread.

Owns which thread does what, room in our own tables, and what the history gets. Does not own which
claims are wanted (feeds/dnsdist/) or how they are made (store/dynamic.py). Made by start.py.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, TypeVar

from xdpctl.abi import TABLES
from xdpctl.errors import TableFullError, TargetError
from xdpctl.process.caller import NOBODY
from xdpctl.rules import Rule, target_of
from xdpctl.service.tasks import on_thread
from xdpctl.store.change import Change
from xdpctl.store.dynamic import ORIGIN, WishesSettled, WishRows, WishState
from xdpctl.store.tally import EACH, Tally

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Mapping
    from concurrent.futures import Executor

    from xdpctl.abi import MapName, RuleAction
    from xdpctl.rules import AnyQtype
    from xdpctl.rules.guard import Guard
    from xdpctl.service.account import Account
    from xdpctl.store.dynamic import Wish
    from xdpctl.store.entries import Place
    from xdpctl.store.state import Note
    from xdpctl.store.store import Store

_T = TypeVar("_T")

_TRIES = 3
"""How often room is made for some claims, where others take it before."""


class DynamicBackend:
    """What feeds/dnsdist/bridge.py, `ClaimBackend`, asks for.

    Args:
        store: has the claims.
        account: writes the history, on `writes`.
        reserve: makes room in our own tables, so that no thread waits for it.
        guard: gives the guard of this moment; blocks.
        writes, urgent: lanes of the thread that rules are written on.
        bulk: the thread for changes of many rules.
        looks: a thread for looks at entries.
    """

    def __init__(  # noqa: PLR0913 - the store and its threads
        self,
        store: Store,
        account: Account,
        reserve: Callable[[Mapping[MapName, int]], Awaitable[None]],
        guard: Callable[[], Guard],
        *,
        writes: Executor,
        urgent: Executor,
        bulk: Executor,
        looks: Executor,
    ) -> None:
        self._store = store
        self._account = account
        self._reserve = reserve
        self.guard = guard
        self._writes = writes
        self._urgent = urgent
        self._bulk = bulk
        self._looks = looks
        self._made = 0
        self._first: list[Rule] = []
        self._ended = Tally()

    @property
    def any_qtype(self) -> AnyQtype:
        """How a name without a type is written."""
        return self._store.any_qtype

    async def settle(self, wishes: Mapping[Place, Wish | None]) -> WishesSettled:
        """Make, prolong or end claims; raises as `DynamicClaims.settle`."""
        needed = Counter(
            place[0] for place, wish in wishes.items() if wish is not None and place[0] in TABLES
        )

        def settle() -> WishesSettled:
            settled = self._store.dynamic.settle(wishes)
            self._count(wishes, settled)
            return settled

        for _ in range(_TRIES if needed else 0):
            if self._store.tables.lacks(needed):
                await self._reserve(needed)
            with contextlib.suppress(TableFullError):  # others took it before
                return await on_thread(self._writes, settle)
        return await on_thread(self._writes, settle)

    async def make_many(self, wishes: Mapping[Place, Wish]) -> WishesSettled:
        """Make many claims that are new, as those of a list are made.

        Raises:
            XdpctlError: a map refused, or the state; some of them may have been made, and all may
                be asked for again.
        """

        def make() -> WishesSettled:
            result = self._store.bulk(Change(source=WishRows(wishes), origin=ORIGIN))
            if result.theirs or result.others:
                states = self._store.dynamic.states(wishes.keys())
            else:
                states = dict.fromkeys(wishes, WishState.IN_FORCE)
            settled = WishesSettled(states)
            self._count(wishes, settled)
            return settled

        return await on_thread(self._bulk, make)

    def _count(self, wishes: Mapping[Place, Wish | None], settled: WishesSettled) -> None:
        """Note which claims are in force now, and which were and have ended, for `note`."""
        for place, state in settled.states.items():
            wish = wishes[place]
            if wish is None or wish.prolongs or state is not WishState.IN_FORCE:
                continue
            self._made += 1
            if len(self._first) < EACH:
                with contextlib.suppress(TargetError):
                    target = target_of(*place, self._store.any_qtype)
                    self._first.append(Rule(target, wish.action, wish.reason, ORIGIN))
        for note, hits in settled.ended:
            self._ended.add(note, hits)

    async def note(self) -> None:
        """Write down what was done since the last call: one by one where it is little."""

        def note() -> None:
            if self._made > EACH:
                self._account.many_made(NOBODY, "block", ORIGIN, self._made)
            elif self._first:
                self._account.made(NOBODY, self._first)
            self._account.removed(NOBODY, "expire", self._ended)
            self._made, self._first, self._ended = 0, [], Tally()

        if self._made or self._ended.rules:
            await on_thread(self._writes, note)

    async def former(self) -> list[Note]:
        """Return the claims that have not ended, as a start finds them."""
        return await self._look(
            lambda: [note for part in self._store.dynamic.former() for note in part]
        )

    async def hits(self, places: Collection[Place]) -> dict[Place, int]:
        """Return counters."""
        return await self._look(lambda: self._store.dynamic.hits(places)) if places else {}

    async def gone(self, places: Collection[Place]) -> bool:
        """Return whether one of these places has no entry."""
        return await self._look(lambda: self._store.dynamic.gone(places))

    async def foreign(self, places: Collection[Place]) -> set[Place]:
        """Return those of these places whose entry is dnsdist's."""
        return await self._look(lambda: self._store.dynamic.foreign(places))

    async def hot(self, rate: float) -> dict[Place, RuleAction]:
        """Return dnsdist's entries that are hit so often a second, without what is guarded."""
        mode = self._store.any_qtype

        def look() -> dict[Place, RuleAction]:
            found = self._store.dynamic.hot(rate)
            if not found:
                return found
            guard = self.guard()
            return {
                place: action
                for place, action in found.items()
                if not _is_guarded(guard, place, action, mode)
            }

        return await self._look(look)

    async def look_beneath(self) -> None:
        """Let claims come into force where dnsdist's entry is gone."""
        await on_thread(self._urgent, self._store.look_beneath)

    async def _look(self, function: Callable[[], _T]) -> _T:
        return await on_thread(self._looks, function)


def _is_guarded(guard: Guard, place: Place, action: RuleAction, mode: AnyQtype) -> bool:
    try:
        target = target_of(*place, mode)
    except TargetError:
        return True  # nobody can end it by its name
    return guard.reason(target, action) is not None
