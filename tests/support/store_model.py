"""Store and state against a model: any sequence of what we, dnsdist, clocks and restarts do.

One machine for Hypothesis, run on fake maps by tests/unit/store/test_store.py and on the
kernel's by tests/kernel/test_store_on_real_maps.py, which say how maps are made.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xdpctl.abi import MAPS, MapName, RuleAction, decode_value, encode_value
from xdpctl.errors import ConflictError, MapFullError, NotFoundError
from xdpctl.kernel.bpf.libbpf import BPF_NOEXIST
from xdpctl.rules import AnyQtype, Rule, keys_of, map_of, parse_target
from xdpctl.rules.keys import stored_key
from xdpctl.store.change import Change
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.rules.keys import Row

    Place = tuple[MapName, bytes]
    Listed = dict[Place, tuple[RuleAction, int | None]]

ROOM = {MapName.ADDR_V4: 1}
"""Entries of the maps that get full; the others have room for all targets."""

PLENTY = 16

TARGETS = [
    parse_target("192.0.2.1"),
    parse_target("192.0.2.2"),
    parse_target("2001:db8::1"),
    parse_target("0.0.0.0/0"),
    parse_target("192.0.2.0/24"),
    parse_target("192.0.2.0/28"),
    parse_target("192.0.2.1/32"),
    parse_target("2001:db8::/32"),
    parse_target("2001:db8::/64"),
    parse_target("www.example"),
    parse_target("www.example", "A"),
    parse_target("example"),
]

some_targets = st.lists(st.sampled_from(TARGETS), min_size=1, max_size=3, unique=True)
numbers = st.integers(0, 2)
actions = st.sampled_from(RuleAction)
origins = st.sampled_from(["cli", "api", "file:list"])
lifetimes = st.sampled_from([None, None, 10, 100])
lists = st.lists(st.tuples(numbers, actions, lifetimes), min_size=1, max_size=4)
GARBAGE = b"garbage"


@dataclass
class Entry:
    """What the model says of an entry.

    `seen`, None where there is no note, and action, origin and end (of true time) that
    the note has.
    """

    action: RuleAction
    hits: int = 0
    origin: str = "dnsdist"
    seen: int | None = None
    noted: RuleAction = RuleAction.PASS
    ends: int | None = None

    @property
    def is_ours(self) -> bool:
        """Whether our note is still valid."""
        return self.seen is not None and self.hits >= self.seen

    @property
    def shown(self) -> tuple[RuleAction, int, str]:
        """What `list` must say."""
        return self.action, self.hits, self.origin if self.is_ours else "dnsdist"


class Rulebook(RuleBasedStateMachine):
    """Block, unblock, import, expire, hits, dnsdist's own writes, clocks, restarts, reboots.

    Attributes:
        now: true time. `wall` and `boot` are the clocks, which a test may turn.
    """

    any_qtype = AnyQtype.BOTH

    def make_maps(self) -> dict[MapName, Map]:
        """Return five new and empty rule maps."""
        raise NotImplementedError

    def drop_maps(self) -> None:
        """Close what `make_maps` gave last."""
        for opened in self.maps.values():
            opened.close()

    @initialize(chosen=some_targets)
    def start(self, chosen: list[Target]) -> None:
        self.chosen = chosen  # few, so that much happens to each
        self.directory = Path(tempfile.mkdtemp(prefix="xdpctl-rulebook-"))
        self.maps = self.make_maps()
        self.model: dict[Place, Entry] = {}
        self.ghosts: dict[Place, Entry] = {}  # notes whose entry is gone
        self.changes: dict[MapName, int] = {}
        self.now, self.wall, self.boot, self.boot_id = 0, 1_700_000_000, 100, "first"
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("xdpctl.store.reconcile.boot_id", lambda: self.boot_id)
        self.open()

    def open(self) -> None:
        """Start a store on the present maps, as the service does."""
        self.state = State.open(self.directory / "state.db")
        self.store = Store(
            self.maps,
            self.state,
            self.any_qtype,
            on_change=self.changed,
            clock=lambda: float(self.wall),
            boot=lambda: float(self.boot),
        )
        self.store.reconcile()

    def changed(self, name: MapName, difference: int) -> None:
        """Count what the store says that it did."""
        self.changes[name] = self.changes.get(name, 0) + difference

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.patch.undo()
            self.state.close()
            self.drop_maps()
            shutil.rmtree(self.directory)

    # --- what we do --------------------------------------------------------------------

    @rule(number=numbers, action=actions, origin=origins, seconds=lifetimes)
    def put(self, number: int, action: RuleAction, origin: str, seconds: int | None) -> None:
        standing = self.standing(number)
        place = (standing or self.places(number))[0]
        request = [Rule(self.target(number), action, "why", origin, expires_in=seconds)]
        if any(not self.model[slot].is_ours for slot in standing):
            self.refused(ConflictError, lambda: self.store.put(request))
        elif not standing and self.is_full(place[0]):
            self.refused(MapFullError, lambda: self.store.put(request))
        else:
            result = self.store.put(request)
            assert (result.created, result.updated) == (int(not standing), len(standing[:1]))
            hits = self.model[place].hits if standing else 0
            self.model[place] = Entry(action, hits, origin, hits, action, self.end(seconds))
            self.ghosts.pop(place, None)

    def refused(self, error: type[Exception], call: Callable[[], object]) -> None:
        """Do what must be refused."""
        try:
            call()
        except error:
            return
        raise AssertionError(f"it was not refused with {error.__name__}")

    @rule(number=numbers)
    def remove(self, number: int) -> None:
        standing = self.standing(number)
        ours = [self.model[place].is_ours for place in standing]
        try:
            removed = self.store.remove([self.target(number)])
        except NotFoundError:
            assert not standing
        except ConflictError:
            assert not all(ours)
        else:
            assert all(ours)
            assert removed == len(standing) > 0
            for place in standing:
                del self.model[place]

    @rule(
        chosen=lists,
        origin=origins,
        replacing=st.booleans(),
        strict=st.booleans(),
        before=st.sampled_from(["", "unblock", "anew"]),
    )
    def import_(
        self,
        chosen: list[tuple[int, RuleAction, int | None]],
        origin: str,
        *,
        replacing: bool,
        strict: bool,
        before: str,
    ) -> None:
        """Import a list, perhaps right behind what dnsdist did to its entries."""
        for number, action, _ in chosen[:2]:
            if before == "unblock":
                self.dnsdist_unblocks(number)
            elif before:
                self.packets_match(number, 3)
                self.settle()
                self.dnsdist_blocks_anew(number, action)
        listed: Listed = {}
        rows: list[Row] = []
        for number, action, seconds in chosen:
            name, key = place = self.places(number)[0]
            listed[place] = action, self.end(seconds)
            expires = None if seconds is None else float(self.boot + seconds)
            ref = MAPS[name].ref
            rows.append((ref, stored_key(ref, key), action, "why", expires, origin))
        error = self.model_list(listed, origin, replacing=replacing, strict=strict)

        def load() -> None:
            self.store.bulk(
                Change(source=[rows[:2], rows[2:]], origin=origin, replace=replacing, strict=strict)
            )

        if error is None:
            load()
        else:
            self.refused(error, load)

    def model_list(
        self, listed: Listed, origin: str, *, replacing: bool, strict: bool
    ) -> type[Exception] | None:
        """Do to the model what a list does; return the error that it must end with."""
        self.ghosts.clear()
        noted = {place: entry for place, entry in self.model.items() if entry.seen is not None}
        changing = {
            place: noted[place]
            for place, (action, ends) in listed.items()
            if place in noted
            and (strict or noted[place].origin == origin)
            and (noted[place].noted, noted[place].ends, noted[place].origin)
            != (action, ends, origin)
        }
        adding = sorted(
            (place for place in listed if place not in noted),
            key=lambda place: (MAPS[place[0]].ref, stored_key(MAPS[place[0]].ref, place[1])),
        )
        theirs = any(place in self.model for place in adding)
        if strict and (theirs or not all(entry.is_ours for entry in changing.values())):
            return ConflictError
        its = {place for place, entry in noted.items() if entry.origin == origin}
        self.drop(its - listed.keys() if replacing else ())
        for place, entry in changing.items():
            action, ends = listed[place]
            if action is not entry.noted and not entry.is_ours:
                entry.seen = None
                continue
            if action is not entry.noted:
                entry.action = entry.noted = action
            entry.origin, entry.ends = origin, ends
        for place in adding:
            if place in self.model:
                continue
            if self.is_full(place[0]):
                return MapFullError
            action, ends = listed[place]
            self.model[place] = Entry(action, 0, origin, 0, action, ends)
        return None

    @rule(origin=origins | st.none())
    def flush(self, origin: str | None) -> None:
        its = {
            place: entry
            for place, entry in {**self.ghosts, **self.model}.items()
            if entry.seen is not None and origin in {None, entry.origin}
        }
        assert self.store.flush(None, origin) == sum(
            entry.is_ours for place, entry in its.items() if place in self.model
        )
        self.drop(its)

    def drop(self, places: Iterable[Place]) -> None:
        """Forget notes; entries that are ours go with theirs."""
        for place in list(places):
            self.ghosts.pop(place, None)
            if place in self.model and self.model[place].is_ours:
                del self.model[place]
            elif place in self.model:
                self.model[place].seen = None

    def drop_expired(self) -> None:
        """Do to the model what expiry does."""
        self.drop(
            place
            for place, entry in {**self.ghosts, **self.model}.items()
            if entry.seen is not None and entry.ends is not None and entry.ends <= self.now
        )

    @rule()
    def expire(self) -> None:
        while self.store.next_expiry() == 0:
            self.store.expire()
        self.drop_expired()

    @rule(seconds=st.sampled_from([1, 10, 50, 200]))
    def time_passes(self, seconds: int) -> None:
        self.now += seconds
        self.wall += seconds
        self.boot += seconds

    @rule(seconds=st.sampled_from([-100_000, -1, 1, 100_000]))
    def the_wall_clock_is_set(self, seconds: int) -> None:
        """As the service notices with its next look."""
        self.wall += seconds
        self.settle()

    @rule()
    def settle(self) -> None:
        self.store.settle()
        self.look()

    @rule()
    def restart(self) -> None:
        self.state.close()
        self.open()
        self.drop_expired()
        self.look()

    @rule(theirs=st.sets(numbers, max_size=2), down=st.sampled_from([0, 20, 200]))
    def reboot(self, theirs: set[int], down: int) -> None:
        """New maps, in which dnsdist may be first; without `down`, bpffs mounted again."""
        if down:
            self.now += down
            self.wall += down
            self.boot, self.boot_id = 5, self.boot_id + "'"
        ours = {
            place: entry
            for place, entry in {**self.ghosts, **self.model}.items()
            if entry.seen is not None and (entry.ends is None or entry.ends > self.now)
        }
        self.state.close()
        self.drop_maps()
        self.maps = self.make_maps()
        self.model, self.ghosts = {}, {}
        for number in theirs:
            self.dnsdist_blocks(number, RuleAction.DROP)
        first = set(self.model)
        room = {name: ROOM.get(name, PLENTY) for name in self.maps}
        left = {name: room[name] - sum(place[0] == name for place in first) for name in self.maps}
        self.open()
        written = {(e.map, e.key) for e in self.store.entries() if e.note is not None}
        assert written <= {place for place in ours if place not in first}
        for name in self.maps:
            wanted = [place for place in ours if place[0] == name and place not in first]
            assert sum(place[0] == name for place in written) == min(len(wanted), left[name])
        for place in written:
            note = ours[place]
            self.model[place] = Entry(note.noted, 0, note.origin, 0, note.noted, note.ends)

    # --- what others do ------------------------------------------------------------------

    @rule(number=numbers, action=actions)
    def dnsdist_blocks(self, number: int, action: RuleAction) -> None:
        """Insert as dnsdist does: NOEXIST, counter 0; a name with either wildcard."""
        name, key = place = self.places(number)[-1]
        if place not in self.model and not self.is_full(name):
            value = encode_value(action)[:9] + GARBAGE
            self.maps[name].update(key, value, BPF_NOEXIST)
            ghost = self.ghosts.pop(place, None)
            self.model[place] = Entry(action)
            if ghost is not None:  # nothing tells it from the one that we wrote
                self.model[place] = replace(ghost, action=action, hits=0)

    @rule(number=numbers)
    def dnsdist_unblocks(self, number: int) -> None:
        for name, key in self.standing(number):
            self.maps[name].delete(key)
            gone = self.model.pop((name, key))
            if gone.seen is not None:
                self.ghosts[name, key] = gone

    @rule(number=numbers, action=actions)
    def dnsdist_blocks_anew(self, number: int, action: RuleAction) -> None:
        """Take an entry away and write one in its place before anybody looks."""
        self.dnsdist_unblocks(number)
        self.dnsdist_blocks(number, action)

    @rule(number=numbers, hits=st.integers(1, 5))
    def packets_match(self, number: int, hits: int) -> None:
        for name, key in self.standing(number):
            entry = self.model[name, key]
            entry.hits += hits
            self.maps[name].update(key, encode_value(entry.action, entry.hits))

    # --- what must hold ------------------------------------------------------------------

    @invariant()
    def the_list_is_what_is_in_the_maps(self) -> None:
        if not hasattr(self, "store"):
            return
        shown = {(e.map, e.key): (e.action, e.hits, e.origin) for e in self.store.entries()}
        assert shown == {place: entry.shown for place, entry in self.model.items()}

    @invariant()
    def the_maps_have_what_the_model_has(self) -> None:
        if not hasattr(self, "store"):
            return
        for (name, key), entry in self.model.items():
            value = self.maps[name].lookup(key)
            assert value is not None
            assert decode_value(value) == (entry.action, entry.hits)

    @invariant()
    def our_rules_end_when_they_were_to_end(self) -> None:
        if not hasattr(self, "store"):
            return
        ends = {
            (entry.map, entry.key): None
            if entry.note.expires is None
            else entry.note.expires - self.boot + self.now
            for entry in self.store.entries()
            if entry.note is not None
        }
        ours = {place: entry for place, entry in self.model.items() if entry.is_ours}
        assert ends == {place: entry.ends for place, entry in ours.items()}

    def look(self) -> None:
        """Do to the model what a look at the maps does to the notes."""
        self.ghosts.clear()
        for entry in self.model.values():
            entry.seen = entry.hits if entry.is_ours else None
            entry.noted = entry.action

    def end(self, seconds: int | None) -> int | None:
        """Return when a rule ends that is made now."""
        return None if seconds is None else self.now + seconds

    def target(self, number: int) -> Target:
        """Return one of the chosen targets."""
        return self.chosen[number % len(self.chosen)]

    def places(self, number: int) -> list[Place]:
        """Return where an entry for a target may stand."""
        target = self.target(number)
        return [(map_of(target), key) for key in keys_of(target, self.any_qtype)]

    def standing(self, number: int) -> list[Place]:
        """Return where one does."""
        return [place for place in self.places(number) if place in self.model]

    def is_full(self, name: MapName) -> bool:
        """Tell whether a map takes no more."""
        return sum(place[0] == name for place in self.model) >= ROOM.get(name, PLENTY)
