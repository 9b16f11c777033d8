"""Claims that follow what another program blocks: made, prolonged and ended by place.

The claims of one origin (`dnsdist-dynamic`), each with an end. They go through claims.py like all
others, so that one waits behind an entry of dnsdist's. Nothing is refused as a whole: a map without
room refuses its own claims only. Also reads what tells whether a block is still needed: the
counters of entries, and which of dnsdist's own entries are hit often. Does not own which claims are
wanted (feeds/dnsdist/). Made by store.py; everything blocks, one call takes some milliseconds for
some hundred places.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.abi import TABLES, MapName, RuleAction
from xdpctl.errors import KernelError, TableFullError
from xdpctl.rules.keys import REFS, Block, stored_key
from xdpctl.store.entries import NOTES_AT_ONCE, read_values
from xdpctl.store.source import RuleSource
from xdpctl.store.state import Note, place_in_order

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from xdpctl.errors import XdpctlError
    from xdpctl.rules.keys import Options, Rows
    from xdpctl.store.claims import Claims, Make, Wanted
    from xdpctl.store.entries import Entries, Place
    from xdpctl.store.tables.tables import Tables

ORIGIN = "dnsdist-dynamic"

ROW_OCTETS = 60
"""What a row counts for when it is decided whether another process makes them."""

PART = 4_000
"""Rows of one part."""

WALK_MAX = 50_000
"""In a shared map with more entries, dnsdist's own are not looked at."""

_WALKED = (MapName.ADDR_V4, MapName.ADDR_V6, MapName.QNAMES)
"""The maps that dnsdist ends entries of by itself."""


class Wish(NamedTuple):
    """A claim that is wanted.

    Attributes:
        end: in seconds of CLOCK_BOOTTIME.
        prolongs: only a claim that is there gets it; one that somebody ended stays ended.
    """

    action: RuleAction
    reason: str
    end: float
    prolongs: bool = False


class WishRows(RuleSource):
    """Many claims that are new, as rows, so that they are made as those of a list are.

    Args:
        wishes: by place.
    """

    def __init__(self, wishes: Mapping[Place, Wish]) -> None:
        self._keys: dict[tuple[int, Options], list[bytes]] = {}
        for (name, key), wish in wishes.items():
            ref = REFS[name]
            options = int(wish.action), wish.reason, wish.end, ORIGIN
            self._keys.setdefault((ref, options), []).append(stored_key(ref, key))
        self._count = len(wishes)

    @property
    def size(self) -> int:
        """Octets, about."""
        return ROW_OCTETS * self._count

    @property
    def position(self) -> int:
        """All of it: it is in memory."""
        return self.size

    @property
    def descriptors(self) -> tuple[int, ...]:
        """None."""
        return ()

    def __iter__(self) -> Iterator[Iterator[Rows]]:
        """Yield the rows in parts of alike ones."""
        for (ref, options), keys in self._keys.items():
            for at in range(0, len(keys), PART):
                yield iter((Block(ref, keys[at : at + PART], options),))


class WishState(Enum):
    """What became of a wish."""

    IN_FORCE = auto()
    BEHIND_DNSDIST = auto()
    BEHIND_OTHERS = auto()
    ENDED = auto()
    """Somebody had ended the claim that was to be prolonged."""
    REFUSED = auto()


@dataclass(slots=True)
class WishesSettled:
    """What came of some wishes.

    Attributes:
        states: by place; not of claims that were to end.
        ended: the claims that were ended and were in force, with their hits.
        refused: why maps refused claims, by map.
    """

    states: dict[Place, WishState] = field(default_factory=dict)
    ended: list[tuple[Note, int]] = field(default_factory=list)
    refused: dict[MapName, XdpctlError] = field(default_factory=dict)


class DynamicClaims:
    """The claims of the origin.

    Args:
        listing: all entries.
        claims: of all origins.
        tables: our own tables.
        alone: keeps others from writing for the time of a block.
        clock: seconds since the epoch.
        boot: seconds of CLOCK_BOOTTIME.
    """

    def __init__(  # noqa: PLR0913 - both sides, the clocks
        self,
        listing: Entries,
        claims: Claims,
        tables: Tables,
        alone: Callable[[], AbstractContextManager[None]],
        *,
        clock: Callable[[], float],
        boot: Callable[[], float],
    ) -> None:
        self._listing = listing
        self._claims = claims
        self._tables = tables
        self._alone = alone
        self._clock = clock
        self._boot = boot
        self._walked: dict[MapName, tuple[float, dict[bytes, int]]] = {}

    # --- changing -----------------------------------------------------------------

    def settle(self, wishes: Mapping[Place, Wish | None]) -> WishesSettled:
        """Make, prolong or end (None) claims.

        Raises:
            TableFullError: our own tables lack room; what was done before stays, and may be
                asked for again.
            StateError: the state cannot be written.
        """
        settled = WishesSettled()
        with self._alone():
            present = self._present([place for place, wish in wishes.items() if _asks(wish)])
            wanted: dict[Place, Wanted] = {}
            for place, wish in wishes.items():
                if wish is not None and wish.prolongs and place not in present:
                    settled.states[place] = WishState.ENDED
                else:
                    made: Make | None = None if wish is None else self._maker(place, wish)
                    wanted[place] = {ORIGIN: made}
            for is_own in (False, True):
                part = {p: each for p, each in wanted.items() if (p[0] in TABLES) is is_own}
                with self._tables.writing({name for name, _ in part}):
                    self._settle(part, settled)
        return settled

    def states(self, places: Collection[Place]) -> dict[Place, WishState]:
        """Return how claims that were made at these places are now."""
        waiting = {
            place
            for place, claims in self._claims.waiting_at(places).items()
            if any(claim.origin == ORIGIN for claim in claims)
        }
        found = dict.fromkeys(places, WishState.IN_FORCE)
        found |= dict.fromkeys(waiting, WishState.BEHIND_OTHERS)
        return found | dict.fromkeys(self.foreign(waiting), WishState.BEHIND_DNSDIST)

    def _settle(self, wanted: dict[Place, Wanted], settled: WishesSettled) -> None:
        ending = [place for place, each in wanted.items() if each[ORIGIN] is None]
        values = self._listing.values(ending)
        while wanted:
            try:
                outcomes = self._claims.settle(wanted)
            except TableFullError:
                raise
            except KernelError as error:
                places = list(wanted)
                settled.states |= dict.fromkeys(places[: error.done], WishState.IN_FORCE)
                left = places[error.done :]
                if error.errno != errno.EEXIST:  # else written by dnsdist since we looked
                    name = left[0][0]
                    settled.refused[name] = error
                    settled.states |= {p: WishState.REFUSED for p in left if p[0] == name}
                    left = [place for place in left if place[0] != name]
                wanted = {place: wanted[place] for place in left}
                continue
            for outcome in outcomes:
                place, before = outcome.place, outcome.before
                if wanted[place][ORIGIN] is not None:
                    after = outcome.after
                    is_first = after is not None and after.origin == ORIGIN
                    settled.states[place] = (
                        WishState.BEHIND_DNSDIST
                        if outcome.foreign
                        else (WishState.IN_FORCE if is_first else WishState.BEHIND_OTHERS)
                    )
                elif before is not None and before.origin == ORIGIN:
                    value = values[place]
                    settled.ended.append((before, 0 if value is None else value.hits))
            return

    def _maker(self, place: Place, wish: Wish) -> Make:
        def make(former: Note | None) -> Note:
            created = self._clock() if former is None else former.created
            return Note(*place, wish.action, ORIGIN, wish.reason, created, wish.end)

        return make

    def _present(self, places: Sequence[Place]) -> set[Place]:
        """Return those of some places where the origin has a claim, in force or waiting."""
        waiting = self._claims.waiting_at(places)
        found = {p for p, claims in waiting.items() if any(c.origin == ORIGIN for c in claims)}
        for name, keys in _by_map(places).items():
            notes = self._listing.state.get_many(name, keys)
            found |= {(name, key) for key, note in notes.items() if note.origin == ORIGIN}
        return found

    # --- looking ------------------------------------------------------------------

    def former(self) -> Iterator[list[Note]]:
        """Yield the claims that have not ended, in parts, as a start finds them."""
        now, state = self._boot(), self._listing.state
        for waiting in (False, True):
            after = 0, b""
            while notes := state.dynamic(ORIGIN, after, NOTES_AT_ONCE, waiting=waiting):
                yield [note for note in notes if note.expires is None or note.expires > now]
                after = REFS[notes[-1].map], place_in_order(notes[-1])

    def hits(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return the counters of these places' entries, whoever has them, where there are any."""
        found = self._listing.values(places)
        return {place: value.hits for place, value in found.items() if value is not None}

    def gone(self, places: Iterable[Place]) -> bool:
        """Return whether one of these places has no entry."""
        return any(
            value is None
            for name, keys in _by_map(places).items()
            for value in read_values(self._listing.maps[name], keys)
        )

    def foreign(self, places: Iterable[Place]) -> set[Place]:
        """Return those of these places whose entry is dnsdist's."""
        slots = self._listing.slots(places)
        return {p for p, slot in slots.items() if slot.value is not None and not slot.is_ours}

    def hot(self, rate: float) -> dict[Place, RuleAction]:
        """Return dnsdist's entries that were hit so often a second since the last call.

        A map of more than `WALK_MAX` entries is left out.
        """
        hot: list[Place] = []
        for name in _WALKED:
            now, known = self._boot(), self._walked.get(name)
            counters = self._counters(name)
            if counters is None:
                self._walked.pop(name, None)
                continue
            self._walked[name] = now, counters
            if known is None:
                continue
            since, before = known  # an entry that is new began at 0
            least = max(1.0, rate * (now - since))
            hot += [
                (name, key) for key, hits in counters.items() if hits - before.get(key, 0) >= least
            ]
        slots = self._listing.slots(hot)
        return {
            place: slot.value.action
            for place, slot in slots.items()
            if slot.value is not None
            and not slot.is_ours
            and slot.value.action is not RuleAction.PASS
        }

    def _counters(self, name: MapName) -> dict[bytes, int] | None:
        """Return the counters of a map by key; None: it has too many."""
        rules = self._listing.maps[name]
        size, counters = rules.info.key_size, dict[bytes, int]()
        for keys, values in rules.chunks():
            hits = memoryview(values).cast("Q")[::2].tolist()  # of 16 octets the first 8
            if len(counters) + len(hits) > WALK_MAX:
                return None
            for number, count in enumerate(hits):
                counters[keys[number * size : (number + 1) * size]] = count
        return counters


def _asks(wish: Wish | None) -> bool:
    return wish is not None and wish.prolongs


def _by_map(places: Iterable[Place]) -> dict[MapName, list[bytes]]:
    found: dict[MapName, list[bytes]] = {}
    for name, key in places:
        found.setdefault(name, []).append(key)
    return found
