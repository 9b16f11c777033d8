"""Which of several claims on a target is in force (CONTRACT.md, "Claims").

A claim is what one origin says about one place, which is a key in a rule map: action, reason,
end. The claim in force there is the place's note; the others wait in a table of their own
(state.py), so that a place with one claim costs nothing more. An entry of dnsdist's is in force
before all of them. Everything that makes or ends a claim where others wait goes through
`Claims.settle`: it reads what is said about some places, decides, and writes notes and entries.

Crashes: a claim that comes into force is noted and waits at the same time until its entry is
written, so that a start finds out and writes the entry then (`Claims.recover`). An entry is
removed before its note, as everywhere in store/.

Owns the ranks, and the only place that lets another claim come into force. Does not own single
rules (store.py) or lists (bulk.py), which call it. Everything blocks; callers hold the store's
lock.
"""

from __future__ import annotations

import errno
import math
import time
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import ACTION_RENEW, TABLES, MapName, RuleValue
from xdpctl.errors import KernelError, MapFullError, TableFullError, no_room
from xdpctl.kernel.bpf.libbpf import BPF_ANY, BPF_NOEXIST
from xdpctl.process.clock import boot_clock
from xdpctl.rules.keys import REFS, stored_key
from xdpctl.rules.rules import ClaimClass, class_of
from xdpctl.store.entries import NOTES_AT_ONCE, owns, read_values
from xdpctl.store.tables.table import RuleTable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from xdpctl.rules import AnyQtype
    from xdpctl.store.entries import Place
    from xdpctl.store.rule_map import RuleMap
    from xdpctl.store.state import Note, State

    Make: TypeAlias = Callable[[Note | None], Note]
    """Given the claim that the origin has there, returns the one that it makes."""

    Wanted: TypeAlias = Mapping[str, Make | None]
    """What origins say now about a place: a claim, or None to end theirs."""

_FOR_EVER = math.inf
CLASS_SQL = (
    "CASE WHEN {0}.origin LIKE 'list:%' THEN 3 WHEN {0}.origin LIKE 'app:%' THEN 1"
    " WHEN {0}.origin IN ('dynamic', 'dnsdist-dynamic') THEN 2 ELSE 0 END"
)
RANK_SQL = f"({CLASS_SQL}, {{0}}.action, -ifnull({{0}}.expires, 9e999))"
"""The rank of a row of claims; {0}: its table. A test compares it with `rank`."""


def rank(claim: Note) -> tuple[ClaimClass, int, float]:
    """Return what claims of one place are ordered by; the least is in force."""
    end = _FOR_EVER if claim.expires is None else claim.expires
    return class_of(claim.origin), claim.action, -end


def strongest(claims: Iterable[Note], before: Note | None = None) -> Note | None:
    """Return the claim that is to be in force; of equals the one that was, then the oldest."""
    return min(
        claims,
        key=lambda claim: (
            *rank(claim),
            before is None or claim.origin != before.origin,
            claim.created,
            claim.origin,
        ),
        default=None,
    )


class Step(IntEnum):
    """What a decision does to the entry in the map."""

    NOTHING = 0
    FOREIGN = 1
    """It is dnsdist's, and stays."""
    NEW = 2
    """There is none yet."""
    SET = 3
    """It gets another action and keeps its counter."""
    RENEW = 4
    """It gets another claim's action, and its counter starts at 0."""
    REMOVE = 5
    """Nobody claims the place any more."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was decided about a place.

    Attributes:
        place: map and key.
        before: the claim that was in force, None where there was none, or dnsdist's entry.
        after: the claim that is in force now, likewise.
        former: claims of all origins before.
        claims: of all origins now, the one in force among them.
        foreign: whether an entry of dnsdist's is in force.
    """

    place: Place
    step: Step
    before: Note | None
    after: Note | None
    former: tuple[Note, ...]
    claims: tuple[Note, ...]
    foreign: bool


@dataclass(frozen=True, slots=True)
class _Said:
    """What there is about a place before a change: note, claims that wait, the entry."""

    note: Note | None
    waiting: tuple[Note, ...]
    value: RuleValue | None
    foreign: bool

    @property
    def in_force(self) -> Note | None:
        """The claim in force.

        A note without an entry is what another program removed, or a crash cut short; in our own
        tables nobody else removes anything, so there it is an entry still to be written.
        """
        if self.note is None or self.foreign:
            return None
        return self.note if self.value is not None or self.note.map in TABLES else None


class Claims:
    """The claims on places of the rule maps.

    Args:
        maps: the rule maps, open.
        state: the notes, open for writing.
        on_change: called with (map, difference of entries) after each own write.
        clock, boot: seconds since the epoch, and of CLOCK_BOOTTIME.
        any_qtype: gives how a name without a type is written; None: nobody writes it another way.
    """

    def __init__(  # noqa: PLR0913 - both sides, the clocks
        self,
        maps: Mapping[MapName, RuleMap],
        state: State,
        *,
        on_change: Callable[[MapName, int], None] = lambda _map, _difference: None,
        clock: Callable[[], float] = time.time,
        boot: Callable[[], float] = boot_clock,
        any_qtype: Callable[[], AnyQtype] | None = None,
    ) -> None:
        self._maps = maps
        self._state = state
        self._on_change = on_change
        self._clock = clock
        self._boot = boot
        self._any_qtype = any_qtype
        self.unsettled = False
        """Whether a map refused something, so that `recover` may have work."""

    # --- reading ------------------------------------------------------------------

    def waiting_at(self, places: Iterable[Place]) -> dict[Place, list[Note]]:
        """Return the claims that wait at these places, where there are any."""
        found: dict[Place, list[Note]] = {}
        if self._state.has_waiting():
            for name, keys in _by_map(places).items():
                there = self._state.waiting_at(name, keys)
                found |= {(name, key): claims for key, claims in there.items()}
        return found

    def foreign(self, places: Iterable[Place]) -> list[Place]:
        """Return those of these places whose entry is dnsdist's."""
        return [place for place, said in self._said(list(places)).items() if said.foreign]

    def _said(self, places: Sequence[Place]) -> dict[Place, _Said]:
        """Read what there is about some places."""
        waiting = self.waiting_at(places)
        found: dict[Place, _Said] = {}
        for name, keys in _by_map(places).items():
            notes = self._state.get_many(name, keys)
            values = read_values(self._maps[name], keys)
            others = self._others(name, keys)
            for key, value in zip(keys, values, strict=True):
                note = notes.get(key)
                foreign = value is not None and not owns(note, value)
                said = tuple(waiting.get((name, key), ()))
                found[name, key] = _Said(note, said, value, foreign or key in others)
        return found

    def _others(self, name: MapName, keys: Sequence[bytes]) -> set[bytes]:
        """Return the keys of names that dnsdist has with the other type for every type."""
        if name is not MapName.QNAMES or self._any_qtype is None:
            return set()
        types = self._any_qtype().wildcards
        pairs = []
        for key in keys:
            wire, qtype = abi.decode_qname(key) if _is_name(key) else (b"", 0)
            if qtype in types:
                pairs += [(key, abi.encode_qname(wire, other)) for other in types if other != qtype]
        if not pairs:
            return set()
        there = [other for _, other in pairs]
        notes = self._state.get_many(name, there)
        values = read_values(self._maps[name], there)
        return {
            key
            for (key, other), value in zip(pairs, values, strict=True)
            if value is not None and not owns(notes.get(other), value)
        }

    # --- changing -----------------------------------------------------------------

    def settle(
        self, wanted: Mapping[Place, Wanted], *, strict: bool = False, whole: bool = False
    ) -> list[Outcome]:
        """Change claims, decide which are in force, and write that to state and maps.

        Args:
            wanted: for each place what origins say now; an empty mapping where only the
                decision is to be made again.
            strict: nothing is changed where an entry is dnsdist's, and this is told by an
                outcome with `foreign` and the claims as they were.
            whole: all places are changed or none: what was written before a map refused is
                taken back.

        Raises:
            KernelError: a map refused. `done` counts the places that are changed, the first
                ones; the claims of the rest are as they were.
        """
        places = list(wanted)
        said = self._said(places)
        if strict and any(said[place].foreign for place in places):
            return [
                Outcome(place, Step.NOTHING, None, None, (), (), said[place].foreign)
                for place in places
            ]
        outcomes = [self._decide(place, said[place], wanted[place]) for place in places]
        journal = self._write_state(outcomes, said)
        self._write_maps(outcomes, said, journal, whole=whole)
        self._end_journal(outcomes, journal)
        return outcomes

    def end(self, places: Iterable[Place], origin: str | None) -> list[Outcome]:
        """End one origin's claims at these places, or with None only decide again."""
        return self.settle({place: {} if origin is None else {origin: None} for place in places})

    def _decide(self, place: Place, said: _Said, wanted: Wanted) -> Outcome:
        now = self._boot()
        before = said.in_force
        kept = {claim.origin: claim for claim in said.waiting}
        if before is not None:
            kept[before.origin] = before
        elif said.foreign and said.note is not None:
            kept.setdefault(said.note.origin, said.note)  # made before dnsdist's entry: it stays
        former = tuple(kept.values())
        for origin, make in wanted.items():
            if make is None:
                kept.pop(origin, None)
            else:
                kept[origin] = make(kept.get(origin))
        claims = tuple(
            claim for claim in kept.values() if claim.expires is None or claim.expires > now
        )
        if said.foreign:
            return Outcome(place, Step.FOREIGN, before, None, former, claims, foreign=True)
        after = strongest(claims, before)
        if after is None:
            step = Step.NOTHING if said.note is None else Step.REMOVE
        else:
            step = _step(said, before, after)
        return Outcome(place, step, before, after, former, claims, foreign=False)

    def _write_state(
        self, outcomes: Sequence[Outcome], said: Mapping[Place, _Said]
    ) -> dict[Place, None]:
        """Write what is in force and what waits; return the places whose entry is to follow."""
        force: list[Note] = []
        forget: list[Place] = []
        wait: list[tuple[Note, bool]] = []
        end: list[tuple[MapName, bytes, str]] = []
        journal: dict[Place, None] = {}
        for outcome in outcomes:
            before = said[outcome.place]
            after = outcome.after
            is_contested = bool(before.waiting) or len(outcome.claims) > 1
            is_written = outcome.step in {Step.NEW, Step.SET, Step.RENEW}
            staying = {claim.origin: claim for claim in outcome.claims}
            if after is not None:
                note = _with_hits(after, _hits(outcome.step, before))
                if note != before.note:
                    force.append(note)
                if is_contested and is_written:
                    journal[outcome.place] = None
                else:
                    del staying[after.origin]
            elif outcome.foreign and before.note is not None:
                forget.append(outcome.place)
            known = {claim.origin: claim for claim in before.waiting}
            wait += [
                (_with_hits(claim, 0), outcome.foreign)
                for origin, claim in staying.items()
                if outcome.foreign or outcome.step is Step.NEW or known.get(origin) != claim
            ]
            end += [(*outcome.place, origin) for origin in known if origin not in staying]
        if force or forget or wait or end:
            self._state.write_claims(force=force, forget=forget, wait=wait, end=end)
        return journal

    def _write_maps(
        self,
        outcomes: Sequence[Outcome],
        said: Mapping[Place, _Said],
        journal: Mapping[Place, None],
        *,
        whole: bool,
    ) -> None:
        """Write entries in their order; where one is refused, take the rest back, or all."""
        done = 0
        try:
            while done < len(outcomes):
                name = outcomes[done].place[0]
                opened = self._maps[name]
                if isinstance(opened, RuleTable):
                    end = done
                    while end < len(outcomes) and outcomes[end].place[0] == name:
                        end += 1
                    self._write_table(opened, outcomes[done:end])
                    done = end
                else:
                    self._write_entry(opened, outcomes[done], said[outcomes[done].place])
                    done += 1
        except KernelError as error:
            error.done += done
            written = error.done
            if whole:
                error.done = self._unwrite(outcomes[:written], said)
            self.unsettled = True
            self._take_back(outcomes[error.done :], said)
            self._end_journal(outcomes[: error.done], journal)
            if whole and not error.done and (full := _full(error, outcomes, written)) is not None:
                raise full from error
            raise

    def _unwrite(self, outcomes: Sequence[Outcome], said: Mapping[Place, _Said]) -> int:
        """Make entries what they were, the last first; return how many a map would not.

        The counter of an entry of our own tables that had started again at 0 stays there.
        """
        for number in range(len(outcomes), 0, -1):
            outcome = outcomes[number - 1]
            name, key = outcome.place
            before, opened = said[outcome.place].value, self._maps[name]
            try:
                if outcome.step is Step.NEW and opened.delete(key):
                    self._on_change(name, -1)
                elif before is not None and outcome.step in {Step.SET, Step.RENEW, Step.REMOVE}:
                    (present,) = read_values(opened, [key])
                    since = 0 if present is None else present.hits
                    hits = since if outcome.step is Step.SET else before.hits + since
                    opened.update(key, abi.encode_value(before.action, hits), BPF_ANY)
                    self._on_change(name, int(present is None))
            except KernelError:
                return number
        return 0

    def _end_journal(self, outcomes: Sequence[Outcome], journal: Mapping[Place, None]) -> None:
        """Note that entries are written or removed."""
        gone = [outcome.place for outcome in outcomes if outcome.step is Step.REMOVE]
        ended = [
            (*outcome.place, outcome.after.origin)
            for outcome in outcomes
            if outcome.after is not None and outcome.place in journal
        ]
        if gone or ended:
            self._state.write_claims(forget=gone, end=ended)

    def _write_entry(self, opened: RuleMap, outcome: Outcome, said: _Said) -> None:
        name, key = outcome.place
        if outcome.step is Step.REMOVE:
            if said.value is not None and opened.delete(key):
                self._on_change(name, -1)
        elif outcome.after is None:
            return
        elif outcome.step is Step.NEW:
            opened.update(key, abi.encode_value(outcome.after.action), BPF_NOEXIST)
            self._on_change(name, 1)
        elif outcome.step is Step.RENEW:
            opened.update(key, abi.encode_value(outcome.after.action), BPF_ANY)
        elif outcome.step is Step.SET:
            (present,) = read_values(opened, [key])  # its counter of this moment
            hits = 0 if present is None else present.hits
            opened.update(key, abi.encode_value(outcome.after.action, hits), BPF_ANY)

    def _write_table(self, opened: RuleTable, outcomes: Sequence[Outcome]) -> None:
        """Write entries of one of our own tables; KernelError with `done` where it refuses."""
        ref = REFS[opened.name]
        gone = [stored_key(ref, o.place[1]) for o in outcomes if o.step is Step.REMOVE]
        if gone and (removed := opened.remove(gone)):
            self._on_change(opened.name, -removed)
        made = [o for o in outcomes if o.step in {Step.NEW, Step.SET, Step.RENEW}]
        stored = [stored_key(ref, o.place[1]) for o in made]
        actions = [
            o.after.action | (ACTION_RENEW if o.step is Step.RENEW else 0)
            for o in made
            if o.after is not None
        ]
        created = 0
        try:
            created = opened.put(stored, actions) if made else 0
        except KernelError as error:
            created = sum(o.step is Step.NEW for o in made[: error.done])
            error.done = outcomes.index(made[error.done])
            raise
        finally:
            if created:
                self._on_change(opened.name, created)

    def _take_back(self, outcomes: Sequence[Outcome], said: Mapping[Place, _Said]) -> None:
        """Make the claims of places that were not written what they were before."""
        force: list[Note] = []
        forget: list[Place] = []
        wait: list[tuple[Note, bool]] = []
        end: list[tuple[MapName, bytes, str]] = []
        for outcome in outcomes:
            before = said[outcome.place]
            if before.note is None:
                forget.append(outcome.place)
            else:
                force.append(before.note)
            # Where nothing of ours is in force, `look_beneath` tries again.
            beneath = before.foreign or before.note is None
            wait += [(claim, beneath) for claim in before.waiting]
            known = {claim.origin for claim in before.waiting}
            end += [
                (*outcome.place, claim.origin)
                for claim in outcome.claims
                if claim.origin not in known
            ]
        self._state.write_claims(force=force, forget=forget, wait=wait, end=end)

    # --- what others did ----------------------------------------------------------

    def look_beneath(self, after: tuple[int, bytes]) -> tuple[tuple[int, bytes] | None, int]:
        """Let claims come into force whose place dnsdist has left; looks at some places.

        Args:
            after: where to begin; (0, b"") at first.

        Returns:
            Where to read on, None at the end; how many claims are in force now.
        """
        places = self._state.beneath(after, NOTES_AT_ONCE)
        if not places:
            return None, 0
        absent: list[Place] = []
        for name, keys in _by_map(places).items():
            values = read_values(self._maps[name], keys)
            absent += [
                (name, key) for key, value in zip(keys, values, strict=True) if value is None
            ]
        count = sum(outcome.after is not None for outcome in self.settle_each(absent))
        name, key = places[-1]
        following = REFS[name], stored_key(REFS[name], key)
        return (following if len(places) == NOTES_AT_ONCE else None), count

    def settle_each(self, places: Sequence[Place]) -> list[Outcome]:
        """Decide again about places of which each may be refused by itself.

        What a full or frozen map refuses goes on waiting; it is tried again.
        """
        outcomes: list[Outcome] = []
        left = list(places)
        while left:
            try:
                return outcomes + self.end(left, None)
            except KernelError as error:
                if error.errno == errno.EEXIST:  # written by dnsdist since we looked
                    left = left[error.done :]
                    continue
                refusing = left[error.done][0]
                left = [place for place in left[error.done + 1 :] if place[0] != refusing]
        return outcomes

    def recover(self) -> int:
        """Finish changes of claims that were cut short; return how many places there were."""
        count = 0
        self.unsettled = False
        while places := self._state.unsettled(NOTES_AT_ONCE):
            before = set(places)
            self._finish(places)
            count += len(places)
            left = self._state.unsettled(NOTES_AT_ONCE)
            if not left or before >= set(left):  # what the maps refuse
                self.unsettled = bool(left)
                break
        return count

    def _finish(self, places: Sequence[Place]) -> None:
        said = self._said(places)
        renewed: list[Note] = []
        for place in places:
            there = said[place]
            journal = there.note is not None and any(
                claim.origin == there.note.origin for claim in there.waiting
            )
            if journal and there.note is not None and there.value is not None and not there.foreign:
                renewed.append(there.note)
        for note in tuple(renewed):
            try:
                self._renew(note)
            except KernelError:
                renewed.remove(note)
                self.unsettled = True
        self._state.write_claims(
            force=[replace(note, hits=0) for note in renewed],
            end=[(note.map, note.key, note.origin) for note in renewed],
        )
        self.settle_each(places)

    def _renew(self, note: Note) -> None:
        """Write an entry that is there as its note is; its counter starts at 0."""
        opened = self._maps[note.map]
        if isinstance(opened, RuleTable):
            opened.put([stored_key(REFS[note.map], note.key)], [note.action | ACTION_RENEW])
        else:
            opened.update(note.key, abi.encode_value(note.action), BPF_ANY)


def _step(said: _Said, before: Note | None, after: Note) -> Step:
    if said.value is None:
        return Step.NEW
    if before is None or before.origin != after.origin:
        return Step.RENEW
    return Step.NOTHING if said.value.action == after.action else Step.SET


def _full(error: KernelError, outcomes: Sequence[Outcome], written: int) -> KernelError | None:
    """Return the error of several new entries for which a map has no room; None for others."""
    if not isinstance(error, MapFullError) or isinstance(error, TableFullError):
        return None
    made = [outcome.place[0] == error.map_name and outcome.step is Step.NEW for outcome in outcomes]
    if sum(made) < 2:  # noqa: PLR2004 - several
        return None
    return no_room(
        error.map_name, wanted=sum(made), free=sum(made[:written]), capacity=error.capacity
    )


def _hits(step: Step, said: _Said) -> int:
    """Return the counter that a note keeps."""
    if said.value is None or step in {Step.NEW, Step.RENEW}:
        return 0
    return said.value.hits


def _with_hits(claim: Note, hits: int) -> Note:
    return claim if claim.hits == hits else replace(claim, hits=hits)


def _is_name(key: bytes) -> bool:
    try:
        abi.decode_qname(key)
    except ValueError:
        return False
    return True


def _by_map(places: Iterable[Place]) -> dict[MapName, list[bytes]]:
    found: dict[MapName, list[bytes]] = {}
    for name, key in places:
        found.setdefault(name, []).append(key)
    return found
