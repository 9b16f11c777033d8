"""Store and state against a model: any sequence of what we, dnsdist and restarts do.

One machine for Hypothesis, run on fake maps by tests/unit/test_store.py and on the
kernel's by tests/kernel/test_store_on_real_maps.py, which say how maps are made.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from xdpctl.abi import MapName, RuleAction, decode_value, encode_value
from xdpctl.errors import ConflictError, MapFullError, NotFoundError
from xdpctl.kernel.bpf import BPF_NOEXIST
from xdpctl.rules import AnyQtype, Rule, keys_of, map_of, parse_target
from xdpctl.state import State
from xdpctl.store import Store

if TYPE_CHECKING:
    from xdpctl.kernel.bpf import Map
    from xdpctl.rules import Target

    Place = tuple[MapName, bytes]

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
GARBAGE = b"garbage"


@dataclass
class Entry:
    """What the model says of an entry.

    `seen`, None where there is no note, and the action and origin that the note has.
    """

    action: RuleAction
    hits: int = 0
    origin: str = "dnsdist"
    seen: int | None = None
    noted: RuleAction = RuleAction.PASS

    @property
    def is_ours(self) -> bool:
        """Whether our note is still valid."""
        return self.seen is not None and self.hits >= self.seen

    @property
    def shown(self) -> tuple[RuleAction, int, str]:
        """What `list` must say."""
        return self.action, self.hits, self.origin if self.is_ours else "dnsdist"


class Rulebook(RuleBasedStateMachine):
    """Block, unblock, hits, dnsdist's own writes, restarts, reboots."""

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
        self.open()

    def open(self) -> None:
        """Start a store on the present maps, as the service does."""
        self.state = State.open(self.directory / "state.db")
        self.store = Store(self.maps, self.state, self.any_qtype, on_change=self.changed)
        self.store.reconcile()

    def changed(self, name: MapName, difference: int) -> None:
        """Count what the store says that it did."""
        self.changes[name] = self.changes.get(name, 0) + difference

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.state.close()
            self.drop_maps()
            shutil.rmtree(self.directory)

    # --- what we do --------------------------------------------------------------------

    @rule(number=numbers, action=actions, origin=origins)
    def put(self, number: int, action: RuleAction, origin: str) -> None:
        standing = self.standing(number)
        place = (standing or self.places(number))[0]
        request = [Rule(self.target(number), action, "why", origin)]
        if any(not self.model[one].is_ours for one in standing):
            self.refused(ConflictError, request)
        elif not standing and self.is_full(place[0]):
            self.refused(MapFullError, request)
        else:
            result = self.store.put(request)
            assert (result.created, result.updated) == (int(not standing), len(standing[:1]))
            hits = self.model[place].hits if standing else 0
            self.model[place] = Entry(action, hits, origin, hits, action)
            self.ghosts.pop(place, None)

    def refused(self, error: type[Exception], request: list[Rule]) -> None:
        """Put what must be refused."""
        try:
            self.store.put(request)
        except error:
            return
        raise AssertionError(f"{request} was not refused with {error.__name__}")

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

    @rule()
    def settle(self) -> None:
        self.store.settle()
        self.look()

    @rule()
    def restart(self) -> None:
        self.state.close()
        self.open()
        self.look()

    @rule(theirs=st.sets(numbers, max_size=2))
    def reboot(self, theirs: set[int]) -> None:
        """New maps, in which dnsdist may be first."""
        ours = {
            place: entry
            for place, entry in {**self.ghosts, **self.model}.items()
            if entry.seen is not None
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
            self.model[place] = Entry(note.noted, 0, note.origin, 0, note.noted)

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

    def look(self) -> None:
        """Do to the model what a look at the maps does to the notes."""
        self.ghosts.clear()
        for entry in self.model.values():
            entry.seen = entry.hits if entry.is_ours else None

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
