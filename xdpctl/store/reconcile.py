"""Keeping notes and maps in agreement: at the start, all the time, and when time is over.

Works in pages, so that a million notes cost little memory and other writes wait only for a
page. What dnsdist wrote is never changed. Of our own tables, restoring.py in tables/ says how;
this module says when. Called by store.py; everything blocks.
"""

from __future__ import annotations

import errno
import logging
import time
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from xdpctl import abi
from xdpctl.abi import TABLES, MapName
from xdpctl.errors import KernelError, MapFullError, frozen_map
from xdpctl.kernel.bpf.libbpf import BPF_NOEXIST
from xdpctl.process.clock import boot_clock, boot_id
from xdpctl.process.log import event
from xdpctl.store.entries import NOTES_AT_ONCE, owns
from xdpctl.store.implied import Implied
from xdpctl.store.state import place_in_order
from xdpctl.store.tables.restoring import agrees, compare, fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from xdpctl.store.claims import Claims, Wanted
    from xdpctl.store.entries import Entries, Place
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import Note, State
    from xdpctl.store.tables.tables import Tables
    from xdpctl.store.tally import Tally

SETTLE_AT_ONCE = 20_000
"""Notes that one `settle` looks at: with fewer, each is looked at every time."""

NEWEST = 500
"""Notes whose time was over last, which are removed before older ones."""

BEHIND_AT_ONCE = 500
"""Claims that wait, of which one step looks whether the time of the one in force is over. Letting
the next claim come into force costs several times what a plain end does, and the step is how late
another rule may end."""

DUE_AT_ONCE = 1_000
"""Notes that one step removes beside the newest."""

RESIZED = "resized:"
"""Before a map's name, the fact which map took its place with the same entries."""

_CLOCK = "clock"
_STEP_SECONDS = 0.5
_RESTORING = " restoring"
"""Behind a map's identity while our rules are being written into it: what has a note
then is ours, also after a crash."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Due:
    """Some of the claims whose time is over: those in force, and those that wait."""

    notes: Sequence[Note]
    waiting: Sequence[Note]

    @property
    def has_list_names(self) -> bool:
        """Whether a list's claim on a name or zone is among them."""
        return any(claim.map is MapName.LIST_NAMES for claim in (*self.notes, *self.waiting))


class Reconciler:
    """Keeps notes and maps in agreement.

    Args:
        maps, state: the shared rule maps and the notes, open.
        tables: our own tables.
        entries: all of them together.
        claims: what waits for its turn.
        on_change: called with (map, difference of entries).
        wall, boot: seconds since the epoch, and of CLOCK_BOOTTIME.
    """

    def __init__(  # noqa: PLR0913 - both sides, the clocks
        self,
        maps: Mapping[MapName, RuleMap],
        state: State,
        tables: Tables,
        entries: Entries,
        claims: Claims,
        *,
        on_change: Callable[[MapName, int], None],
        wall: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_clock,
    ) -> None:
        self._maps = maps
        self._state = state
        self._tables = tables
        self._entries = entries
        self._claims = claims
        self._implied = Implied(state, claims)
        self._on_change = on_change
        self._wall = wall
        self._boot = boot
        self._next: tuple[int, bytes] = (0, b"")
        self._frozen: dict[MapName, int] = {}
        self._looked_behind: tuple[int, bytes] | None = (0, b"")
        self._unread: set[MapName] = set()
        self.lost: dict[MapName, str] = {}
        """Why rules of ours are not in a map that was made again, as a sentence."""

    # --- frozen maps --------------------------------------------------------------

    def frozen(self) -> list[MapName]:
        """Return the frozen maps, which cannot be written any more; each is logged once."""
        return [name for name in self._maps if self._is_frozen(name)]

    def _is_frozen(self, name: MapName) -> bool:
        opened = self._maps[name]
        if self._frozen.get(name) == opened.info.id:
            return True  # for good
        if not opened.is_frozen():
            self._frozen.pop(name, None)
            return False
        self._frozen[name] = opened.info.id
        event(
            _log, "map-frozen", logging.ERROR, map=name, id=opened.info.id, error=frozen_map(name)
        )
        return True

    # --- at start -----------------------------------------------------------------

    def reconcile(self, tally: Tally | None = None) -> None:
        """Make notes and maps agree, once, before the filter is attached.

        `tally` gets the rules whose time was over.

        What expired in the meantime is removed. In the map that the notes were written for,
        what vanished is forgotten. In a new map (reboot, bpffs mounted again) our rules
        are written again; where another was there first, the entry is theirs. A frozen
        map is left as it is; where it is not the one of our notes, these stay for the next.
        """
        self._set_clock()
        boot = boot_id()
        for name in self._maps:
            self._begin(name, boot, tally)
        self._reconcile_tables()
        self._recover_claims()  # before their notes take over what the maps have
        self.frozen()
        while self.next_expiry() == 0:
            due = self.due()
            if due.has_list_names:
                self._implied.list_changes()
            self.expire(due, tally)
        for name in self._maps:
            for notes in self._pages(name):
                if name not in self._unread:
                    self._compare(name, notes)
        after: tuple[int, bytes] | None = (0, b"")
        while after is not None:
            after, _ = self._claims.look_beneath(after)

    def _begin(self, name: MapName, boot: str, tally: Tally | None) -> None:
        """See whether a map is the one of our notes; write our rules into another one."""
        identity = f"{boot}:{self._maps[name].info.id}"
        fact = f"map:{name}"
        known = self._state.get_meta(fact)
        if self._state.get_meta(f"{RESIZED}{name}") == identity:
            known = identity  # our entries were copied into it
            self._state.set_meta(fact, identity)
        self._unread.discard(name)
        if known == identity:
            return
        if self._is_frozen(name):
            self._unread.add(name)
            return
        resumed = known == identity + _RESTORING
        if not resumed:
            self._yield_taken(name)
            self._state.set_meta(fact, identity + _RESTORING)
        self._expire_notes(name, tally)
        self._restore(name, resumed=resumed)
        self._state.set_meta(fact, identity)

    def _recover_claims(self) -> None:
        """Finish changes of claims that were cut short."""
        with self._tables.writing(TABLES if self._state.has_waiting() else ()):
            if count := self._claims.recover():
                event(_log, "claims-recovered", count=count)

    def expect(self, name: MapName, number: int) -> None:
        """Note the id of a map that takes the place of ours, with all entries of ours in it."""
        self._state.set_meta(f"{RESIZED}{name}", f"{boot_id()}:{number}")

    def _reconcile_tables(self) -> None:
        """Make our own tables what the notes are; new ones are filled."""
        current = self._tables.current
        if current is None:
            return
        if not any(current.count(name) for name in TABLES):
            for _ in fill(current, self._state):
                pass
        elif current.marked or not agrees(current, self._state):
            for _ in compare(self._tables, self._state):
                pass
        self._judge_tables()

    def _judge_tables(self) -> None:
        current = self._tables.current
        self._tables.compared(nameless=current is not None and not agrees(current, self._state))

    def _set_clock(self) -> None:
        """Bring expiries, which are in boot time, into this boot's; note the wall's."""
        boot, offset = boot_id(), self._wall() - self._boot()
        now = f"{boot} {offset!r}"
        before = (self._state.get_meta(_CLOCK) or "").split()
        if not before or before[0] == boot:
            if not before or abs(float(before[1]) - offset) >= _STEP_SECONDS:
                self._state.set_meta(_CLOCK, now)
            return
        self._state.rebase_expiry(float(before[1]) - offset, _CLOCK, now)

    def _yield_taken(self, name: MapName) -> None:
        """In a new map, existing entries are dnsdist's; our counters start at 0."""
        taken = 0
        for notes in self._pages(name):
            values = self._entries.values((note.map, note.key) for note in notes)
            theirs = {place for place, value in values.items() if value is not None}
            self._leave_to_dnsdist(note for note in notes if (note.map, note.key) in theirs)
            self._state.saw_hits((0, n.map, n.key) for n in notes if n.hits)
            taken += len(theirs)
        if taken:
            event(_log, "rules-taken-over", map=name, count=taken)

    def _leave_to_dnsdist(self, notes: Iterable[Note]) -> None:
        """Let claims wait whose place has an entry of dnsdist's."""
        claims = {(note.map, note.key): note for note in notes}
        others = self._claims.waiting_at(claims)
        self._state.write_claims(
            forget=claims,
            wait=[
                (replace(claim, hits=0), True)
                for place, note in claims.items()
                for claim in (note, *others.get(place, ()))
            ],
        )

    def _expire_notes(self, name: MapName, tally: Tally | None) -> None:
        """Forget what expired before it could be written again."""
        due = [
            note
            for notes in self._pages(name)
            for note in notes
            if note.expires is not None and note.expires <= self._boot()
        ]
        self._state.forget((note.map, note.key) for note in due)
        if tally is not None:
            for note in due:
                tally.add(note, note.hits)

    def _restore(self, name: MapName, *, resumed: bool) -> None:
        """Write our rules into a new map.

        Args:
            name: the map.
            resumed: a former try was interrupted, so that what has a note is ours.
        """
        written = lost = 0
        refused: MapFullError | None = None
        self.lost.pop(name, None)
        for notes in self._pages(name):
            missing: Sequence[Note] = notes
            if resumed:
                values = self._entries.values((note.map, note.key) for note in notes)
                missing = [note for note in notes if values[note.map, note.key] is None]
            try:
                written += self._write(name, missing)
            except MapFullError as error:
                refused = error
                written += error.done
                lost += len(missing) - error.done
                self._state.forget((note.map, note.key) for note in missing[error.done :])
        if written:
            event(_log, "rules-restored", map=name, count=written)
        if refused is not None:
            event(_log, "rules-lost", logging.ERROR, map=name, count=lost, error=refused.sentence)
            self.lost[name] = (
                f"{lost} of our rules are not in force, as the map {name} that is pinned now has"
                f" no room for them: {refused.helps}"
            )

    def _write(self, name: MapName, notes: Sequence[Note]) -> int:
        for number, note in enumerate(notes):
            try:
                self._maps[name].update(note.key, abi.encode_value(note.action), BPF_NOEXIST)
            except KernelError as error:
                error.done = number
                if error.errno != errno.EEXIST:
                    raise
                self._leave_to_dnsdist([note])  # written by dnsdist since we looked
        return len(notes)

    # --- all the time -------------------------------------------------------------

    def settle(self) -> Iterator[None]:
        """Forget notes whose entry vanished or became another's; keep the counters.

        Goes round: each time looks at the next `SETTLE_AT_ONCE` notes, `NOTES_AT_ONCE` in
        one step of the iterator, so that others get in between. Our own tables are looked
        at only after a change that was cut short: nobody else writes to them.
        """
        self._set_clock()
        if self._claims.unsettled:
            self._recover_claims()
            yield
        if self._tables.unsure:
            yield from compare(self._tables, self._state)
            self._judge_tables()
            yield
        names = list(self._maps)
        number, after = self._next
        left = SETTLE_AT_ONCE
        for turn in range(len(names) + 1):
            name = names[(number + turn) % len(names)]
            start = after if turn == 0 else b""
            for notes in self._pages(name, start):
                if name not in self._unread:
                    self._compare(name, notes)
                left -= len(notes)
                self._next = (number + turn) % len(names), place_in_order(notes[-1])
                if left <= 0:
                    return
                yield
        self._next = (0, b"")

    def _compare(self, name: MapName, notes: Sequence[Note]) -> None:
        """Bring notes into line with their entries: the map is the truth.

        An action that is not the note's is what a change left behind that a crash cut
        short. The note takes it over, so that the same change, asked for again, is one.
        """
        values = self._entries.values((note.map, note.key) for note in notes)
        lost, anew, seen, acting = [], [], [], []
        for note in notes:
            value = values[note.map, note.key]
            if value is None:
                lost.append((note.map, note.key))
                continue
            if not owns(note, value):
                anew.append(note)
                continue
            if value.hits > note.hits:
                seen.append((value.hits, note.map, note.key))
            if value.action != note.action:
                acting.append((value.action, note.map, note.key))
        if lost:
            self._state.forget(lost)
            event(_log, "rules-forgotten", map=name, count=len(lost), why="no longer ours")
            self._claims.settle_each(list(self._claims.waiting_at(lost)))
        if anew:
            self._leave_to_dnsdist(anew)
            event(_log, "rules-wait", map=name, count=len(anew), why="an entry of dnsdist's")
        if seen:
            self._state.saw_hits(seen)
        if acting:
            self._state.saw_action(acting)

    def _pages(self, name: MapName, after: bytes = b"") -> Iterator[list[Note]]:
        while notes := self._state.page(name, after, NOTES_AT_ONCE):
            yield notes
            after = place_in_order(notes[-1])

    # --- when time is over --------------------------------------------------------

    def due(self) -> Due:
        """Return some of the claims whose time is over; `next_expiry` is 0 while there are more.

        Those that ended last come first, so that a rule goes in time although a million others
        went with the one before; next those behind which another claim waits to come into force.
        Those in a frozen map stay.
        """
        now, frozen = self._boot(), self.frozen()
        waiting = self._state.waiting_due(now, DUE_AT_ONCE)
        notes = self._state.due(now, NEWEST, frozen, newest=True)
        if len(notes) < NEWEST:
            self._looked_behind = (0, b"")
            return Due(notes, waiting)
        if self._looked_behind is not None:
            more, self._looked_behind = self._state.contested_due(
                now, self._looked_behind, BEHIND_AT_ONCE, frozen
            )
        else:
            more = self._state.due(now, DUE_AT_ONCE, frozen)
        every = {(note.map, note.key): note for note in (*notes, *more)}
        return Due(list(every.values()), waiting)

    def expire(self, due: Due, tally: Tally | None = None) -> Counter[MapName]:
        """End claims whose time is over; return how many entries went from each map.

        `tally` gets what was removed. Where other claims wait, the next one comes into force.
        """
        if due.waiting:
            ended = ((claim.map, claim.key, claim.origin) for claim in due.waiting)
            self._state.write_claims(end=ended)
        return self.remove(due.notes, tally)

    def next_expiry(self) -> float | None:
        """Return in how many seconds the next rule expires, at least 0; None: never."""
        at = self._state.next_expiry(self._frozen)
        return None if at is None else max(0.0, at - self._boot())

    def remove(self, notes: Sequence[Note], tally: Tally | None = None) -> Counter[MapName]:
        """Remove the entries of these notes where they are still ours, then the notes.

        Where other claims wait, the entry stays and the next one comes into force. `tally` gets
        what was removed.
        """
        contested = self._claims.waiting_at((note.map, note.key) for note in notes)
        removed = self._end_contested(
            [note for note in notes if (note.map, note.key) in contested], tally
        )
        notes = [note for note in notes if (note.map, note.key) not in contested]
        values = self._entries.values((note.map, note.key) for note in notes)
        ours: dict[MapName, list[bytes]] = {}
        for note in notes:
            if owns(note, values[note.map, note.key]):
                ours.setdefault(note.map, []).append(note.key)
        with self._tables.writing(ours):
            for name, keys in ours.items():
                count = self._entries.maps[name].delete_batch(b"".join(keys))
                removed[name] += count
                self._on_change(name, -count)
            if notes:
                self._state.forget((note.map, note.key) for note in notes)
        if tally is not None:
            for note in notes:
                value = values[note.map, note.key]
                if value is not None and owns(note, value):
                    tally.add(note, value.hits)
        return removed

    def _end_contested(self, notes: Sequence[Note], tally: Tally | None) -> Counter[MapName]:
        """End the claims that are in force where others wait; return how many of each map."""
        wanted: dict[Place, Wanted] = {(n.map, n.key): {n.origin: None} for n in notes}
        if not wanted:
            return Counter()
        values = self._entries.values(wanted)
        with self._tables.writing({name for name, _ in wanted}):
            outcomes = self._claims.settle(wanted)
        ended = [o for o in outcomes if o.before is not None]
        if tally is not None:
            for outcome in ended:
                value = values[outcome.place]
                if outcome.before is not None and value is not None:
                    tally.add(outcome.before, value.hits)
        return Counter(o.place[0] for o in ended)
