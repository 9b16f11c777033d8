"""Store and state against a model: any sequence of what we, dnsdist, clocks and restarts do.

One machine for Hypothesis, run on fake maps by tests/unit/store/test_store.py and on the
kernel's by tests/kernel/test_store_on_real_maps.py, which say how maps are made. The model is
naive: for each place the claims of all origins, dnsdist's entry, and which claim is in force,
chosen by CONTRACT.md, "Claims".
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.fake_tables import FakeEngine, FakeGrowth
from xdpctl.abi import (
    RULE_MAPS,
    RULE_PLACES,
    TABLES,
    Book,
    MapName,
    RuleAction,
    decode_value,
    encode_value,
)
from xdpctl.errors import ConflictError, NotFoundError
from xdpctl.kernel.bpf.libbpf import BPF_NOEXIST
from xdpctl.rules import AnyQtype, Rule, book_of, key_of, map_of, parse_target
from xdpctl.rules.keys import REFS, stored_key
from xdpctl.store.change import Change
from xdpctl.store.state import State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.rules import Target
    from xdpctl.rules.keys import Row

    Place = tuple[MapName, bytes]

PLENTY = 16
"""Entries that each map has room for."""

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
ZONES = [parse_target(".example"), parse_target("*.example", "A")]
SHARED = ["cli", "api", "file:list", "app:jail", "app:other", "dynamic"]
LISTS = ["list:a", "list:b"]
CLASSES = {"cli": 0, "api": 0, "file": 0, "app": 1, "dynamic": 2, "list": 3}

some_targets = st.lists(st.sampled_from(TARGETS), min_size=1, max_size=3, unique=True)
numbers = st.integers(0, 2)
actions = st.sampled_from(RuleAction)
origins = st.sampled_from(SHARED + LISTS)
lifetimes = st.sampled_from([None, None, 10, 100])
reasons = st.sampled_from(["", "why", "because"])
lists = st.lists(st.tuples(numbers, actions, lifetimes, reasons), max_size=4)
GARBAGE = b"garbage"


@dataclass(frozen=True)
class Claim:
    """What one origin says: action, reason, end of true time, and when it first said it."""

    origin: str
    action: RuleAction
    reason: str
    ends: int | None
    created: int

    @property
    def strength(self) -> tuple[int, int, float]:
        """The smaller, the more it counts."""
        end = float("inf") if self.ends is None else self.ends
        return CLASSES[self.origin.partition(":")[0]], int(self.action), -end


@dataclass
class Spot:
    """One place: the claims there, and the entry.

    `entry` is action and hits, of dnsdist's entry if `theirs`, else of the claim of `force`.
    """

    claims: dict[str, Claim] = field(default_factory=dict)
    force: str | None = None
    entry: tuple[RuleAction, int] | None = None
    theirs: bool = False
    unseen: bool = False
    """Whether dnsdist wrote over our entry, and nobody has looked since."""

    def decide(self) -> None:
        """Let the claim be in force that is to be; of equals the one that is, then the oldest."""
        before = self.force if self.force in self.claims else None
        if self.theirs:
            self.force = None
            return
        best = min(
            self.claims.values(),
            key=lambda c: (*c.strength, c.origin != before, c.created, c.origin),
            default=None,
        )
        if best is None:
            self.force, self.entry = None, None
            return
        hits = 0 if self.entry is None or best.origin != self.force else self.entry[1]
        self.force, self.entry = best.origin, (best.action, hits)

    @property
    def shown(self) -> tuple[RuleAction, int, str] | None:
        """What `list` must say."""
        if self.entry is None:
            return None
        return *self.entry, "dnsdist" if self.theirs else str(self.force)


class Rulebook(RuleBasedStateMachine):
    """Block, unblock, import, expire, hits, dnsdist's own writes, clocks, restarts, reboots.

    Attributes:
        now: true time. `wall` and `boot` are the clocks, which a test may turn.
        has_tables: whether there are zones and lists, in tables that are no kernel's.
    """

    any_qtype = AnyQtype.BOTH
    has_tables = True

    def make_maps(self) -> dict[MapName, Map]:
        """Return five new and empty rule maps."""
        raise NotImplementedError

    def drop_maps(self) -> None:
        """Close what `make_maps` gave last."""
        for opened in self.maps.values():
            opened.close()

    @initialize(chosen=some_targets, zones=st.lists(st.sampled_from(ZONES), max_size=1))
    def start(self, chosen: list[Target], zones: list[Target]) -> None:
        self.chosen = [*chosen, *zones] if self.has_tables else chosen  # few: much happens to each
        self.directory = Path(tempfile.mkdtemp(prefix="xdpctl-rulebook-"))
        self.maps = self.make_maps()
        self.engine: FakeEngine | None = None
        self.model: dict[Place, Spot] = {}
        self.now, self.wall, self.boot, self.boot_id = 0, 1_700_000_000, 100, "first"
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("xdpctl.store.reconcile.boot_id", lambda: self.boot_id)
        self.open()

    def open(self) -> None:
        """Start a store on the present maps, as the service does."""
        growth = FakeGrowth()
        self.state = State.open(self.directory / "state.db")
        self.store = growth.store = Store(
            self.maps,
            self.state,
            self.any_qtype,
            reserve=growth,
            clock=lambda: float(self.wall),
            boot=lambda: float(self.boot),
        )
        if self.engine is None and any(self.state.count(name) for name in TABLES):
            self.engine = FakeEngine()
        if self.engine is not None:
            self.store.tables.use(self.engine)
        self.store.reconcile()

    def close(self) -> None:
        """Stop it; its tables stay."""
        current = self.store.tables.current
        assert current is None or isinstance(current, FakeEngine)
        self.engine = current
        self.state.close()

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.patch.undo()
            self.state.close()
            self.drop_maps()
            shutil.rmtree(self.directory)

    # --- what we do --------------------------------------------------------------------

    @rule(
        number=numbers,
        action=actions,
        origin=origins,
        seconds=lifetimes,
        reason=reasons,
        keeps=st.booleans(),
        beneath=st.booleans(),
    )
    def put(  # noqa: PLR0913 - what a rule has
        self,
        number: int,
        action: RuleAction,
        origin: str,
        seconds: int | None,
        reason: str,
        *,
        keeps: bool,
        beneath: bool,
    ) -> None:
        target, origin = self.target(number), self.usable(origin)
        request = Rule(
            target,
            action,
            reason,
            origin,
            expires_in=seconds,
            keeps_reason=keeps,
            keeps_end=keeps,
        )
        spot = self.spot(target, origin)
        if spot.theirs and not beneath:
            self.refused(ConflictError, lambda: self.store.put([request]))
            return
        former = spot.claims.get(origin)
        result = self.store.put([request], beneath=beneath)
        assert (result.created, result.updated) == (int(former is None), int(former is not None))
        spot.claims[origin] = Claim(
            origin,
            action,
            former.reason if keeps and former else reason,
            former.ends if keeps and former else self.end(seconds),
            former.created if former else self.wall,
        )
        self.notice(spot)

    def refused(self, error: type[Exception], call: Callable[[], object]) -> None:
        """Do what must be refused."""
        try:
            call()
        except error:
            return
        raise AssertionError(f"it was not refused with {error.__name__}")

    @rule(number=numbers, origin=origins | st.none())
    def remove(self, number: int, origin: str | None) -> None:
        target = self.target(number)
        spots = [self.spot(target, book_origin) for book_origin in ("cli", "list:a")]
        ending = [
            (spot, claim.origin)
            for spot in (spots if self.has_tables else spots[:1])
            for claim in spot.claims.values()
            if (claim.strength[0] == 0 if origin is None else claim.origin == origin)
        ]
        if not ending:
            error = ConflictError if spots[0].theirs and origin is None else NotFoundError
            self.refused(error, lambda: self.store.remove([target], origin))
            return
        assert self.store.remove([target], origin).removed == len(ending)
        for spot, whose in ending:
            del spot.claims[whose]
            self.notice(spot)

    @rule(chosen=lists, origin=origins, replacing=st.booleans(), strict=st.booleans())
    def import_(
        self,
        chosen: list[tuple[int, RuleAction, int | None, str]],
        origin: str,
        *,
        replacing: bool,
        strict: bool,
    ) -> None:
        origin = self.usable(origin)
        listed: dict[Place, tuple[RuleAction, int | None, str]] = {}
        rows: list[Row] = []
        for number, action, seconds, reason in chosen:
            name, key = place = self.place(self.target(number), origin)
            listed[place] = action, self.end(seconds), reason
            expires = None if seconds is None else float(self.boot + seconds)
            ref = REFS[name]
            rows.append((ref, stored_key(ref, key), action, reason, expires, origin))
        change = Change(
            source=[rows[:2], rows[2:]], origin=origin, replace=replacing, strict=strict
        )
        wanted: dict[Place, Claim] = {}
        for place, (action, ends, reason) in listed.items():
            former = self.model.setdefault(place, Spot()).claims.get(origin)
            wanted[place] = Claim(origin, action, reason, ends, self.wall)
            if former is not None and not replacing:
                kept = former.ends if ends is None else ends
                wanted[place] = replace(wanted[place], reason=reason or former.reason, ends=kept)
            if former is not None:
                wanted[place] = replace(wanted[place], created=former.created)
        differing = {
            place
            for place, claim in wanted.items()
            if self.model[place].claims.get(origin) != claim
            or (self.model[place].theirs and self.model[place].force is None)
        }
        if strict and any(self.model[place].theirs for place in differing):
            self.refused(ConflictError, lambda: self.store.bulk(change))
            return
        result = self.store.bulk(change)
        counted = (result.created, result.updated, result.unchanged, result.theirs, result.others)
        assert sum(counted) == len(wanted)
        for place, claim in wanted.items():
            self.model[place].claims[origin] = claim
        for place, spot in self.model.items():
            if replacing and place not in wanted:
                spot.claims.pop(origin, None)
            if spot.entry is not None or spot.theirs or place in wanted:
                spot.decide()

    @rule(origin=origins | st.none())
    def flush(self, origin: str | None) -> None:
        self.see_all()
        ending = [
            (spot, whose)
            for spot in self.model.values()
            for whose in spot.claims
            if origin in {None, whose}
        ]
        assert self.store.flush(None, origin) == len(ending)
        for spot, whose in ending:
            was = spot.force
            del spot.claims[whose]
            if was is not None:
                spot.decide()

    @rule()
    def flush_dnsdist(self) -> None:
        self.see_all()
        theirs = [spot for spot in self.model.values() if spot.theirs]
        assert self.store.flush(None, "dnsdist") == len(theirs)
        for spot in theirs:
            spot.theirs, spot.entry = False, None
        self.look()

    def drop_expired(self) -> None:
        """Do to the model what expiry does."""
        for spot in self.model.values():
            for claim in list(spot.claims.values()):
                if claim.ends is not None and claim.ends <= self.now:
                    del spot.claims[claim.origin]
            if spot.force is not None and spot.force not in spot.claims:
                spot.decide()

    @rule()
    def expire(self) -> None:
        while self.store.next_expiry() == 0:
            self.store.expire()
        self.drop_expired()

    @rule(seconds=st.sampled_from([1, 10, 50, 200]))
    def time_passes(self, seconds: int) -> None:
        """As the service, which removes in the same second what is due."""
        self.now += seconds
        self.wall += seconds
        self.boot += seconds
        self.expire()

    @rule(seconds=st.sampled_from([-100_000, -1, 1, 100_000]))
    def the_wall_clock_is_set(self, seconds: int) -> None:
        """As the service notices with its next look."""
        self.wall += seconds
        self.settle()

    @rule()
    def settle(self) -> None:
        self.store.settle()
        self.store.look_beneath()
        self.look()

    @rule()
    def restart(self) -> None:
        self.close()
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
        self.close()
        self.drop_maps()
        self.maps = self.make_maps()
        self.engine = None if down else self.engine
        for (name, _), spot in self.model.items():
            if name in RULE_MAPS or down:
                spot.theirs, spot.entry = False, None
        for number in theirs:
            self.dnsdist_blocks(number, RuleAction.DROP)
        self.open()
        for spot in self.model.values():
            for claim in list(spot.claims.values()):
                if claim.ends is not None and claim.ends <= self.now:
                    del spot.claims[claim.origin]
        self.look()

    # --- what others do ------------------------------------------------------------------

    @rule(number=numbers, action=actions)
    def dnsdist_blocks(self, number: int, action: RuleAction) -> None:
        """Insert as dnsdist does: NOEXIST, counter 0."""
        name, key = place = self.place(self.target(number), "cli")
        spot = self.model.setdefault(place, Spot())
        if name in RULE_MAPS and spot.entry is None:
            self.maps[name].update(key, encode_value(action)[:9] + GARBAGE, BPF_NOEXIST)
            spot.entry, spot.theirs = (action, 0), True

    @rule(number=numbers)
    def dnsdist_unblocks(self, number: int) -> None:
        """Take its entry away; where that is ours, we notice before anything else happens."""
        name, key = place = self.place(self.target(number), "cli")
        spot = self.model.setdefault(place, Spot())
        if name not in RULE_MAPS or spot.entry is None:
            return
        self.see_all()
        self.maps[name].delete(key)
        ours = not spot.theirs
        spot.entry, spot.theirs = None, False
        if ours and spot.force is not None:  # who takes a rule of ours away ends its claim
            del spot.claims[spot.force]
            self.settle()

    @rule(number=numbers, action=actions, noticed=st.booleans())
    def dnsdist_writes_over_ours(self, number: int, action: RuleAction, *, noticed: bool) -> None:
        """Take an entry of ours away that was hit and write one in its place."""
        name, key = place = self.place(self.target(number), "cli")
        spot = self.model.setdefault(place, Spot())
        if name not in RULE_MAPS or spot.entry is None or spot.theirs:
            return
        self.packets_match(number, 3)
        self.settle()
        self.maps[name].update(key, encode_value(action)[:9] + GARBAGE)
        spot.entry, spot.theirs, spot.force, spot.unseen = (action, 0), True, None, True
        if noticed:
            self.settle()

    def see_all(self) -> None:
        """Look, where the next thing would hide what dnsdist wrote over ours."""
        if any(spot.unseen for spot in self.model.values()):
            self.settle()

    @rule(number=numbers, hits=st.integers(1, 5))
    def packets_match(self, number: int, hits: int) -> None:
        self.see_all()
        for origin in ("cli", "list:a"):
            name, key = place = self.place(self.target(number), origin)
            spot = self.model.get(place)
            if spot is None or spot.entry is None:
                continue
            action, before = spot.entry
            spot.entry = action, before + hits
            if name in RULE_MAPS:
                self.maps[name].update(key, encode_value(*spot.entry))
            else:
                engine = self.store.tables.current
                assert isinstance(engine, FakeEngine)
                engine.hit(name, stored_key(REFS[name], key), before + hits)

    # --- what must hold ------------------------------------------------------------------

    @invariant()
    def the_list_is_what_is_in_force(self) -> None:
        if not hasattr(self, "store"):
            return
        shown = {(e.map, e.key): (e.action, e.hits, e.origin) for e in self.store.entries()}
        assert shown == {
            place: spot.shown for place, spot in self.model.items() if spot.shown is not None
        }

    @invariant()
    def the_maps_have_what_the_model_has(self) -> None:
        if not hasattr(self, "store"):
            return
        for (name, key), spot in self.model.items():
            if name in RULE_MAPS:
                value = self.maps[name].lookup(key)
                assert (None if value is None else decode_value(value)) == spot.entry

    def look(self) -> None:
        """Do to the model what a look at the maps does, and compare every claim."""
        for spot in self.model.values():
            spot.decide()
            spot.unseen = False
        found: dict[Place, dict[str, Claim]] = {}
        for name in RULE_PLACES:
            notes = [*self.state.notes(name).values(), *self.state.waiting_page(name, b"", 1000)]
            for note in notes:
                ends = None if note.expires is None else round(note.expires - self.boot + self.now)
                claim = Claim(note.origin, note.action, note.reason, ends, round(note.created))
                there = found.setdefault((note.map, note.key), {})
                assert note.origin not in there
                there[note.origin] = claim
        assert found == {place: spot.claims for place, spot in self.model.items() if spot.claims}

    def notice(self, spot: Spot) -> None:
        """Do to the model what happens to a place that a single rule is about."""
        spot.decide()

    def end(self, seconds: int | None) -> int | None:
        """Return when a rule ends that is made now."""
        return None if seconds is None else self.now + seconds

    def usable(self, origin: str) -> str:
        """Return an origin whose claims have a place here."""
        return origin if self.has_tables or book_of(origin) is Book.OPERATOR else "api"

    def target(self, number: int) -> Target:
        """Return one of the chosen targets."""
        return self.chosen[number % len(self.chosen)]

    def place(self, target: Target, origin: str) -> Place:
        """Return where an origin's claim on a target is."""
        book = book_of(origin)
        return map_of(target, book), key_of(target, self.any_qtype, book)

    def spot(self, target: Target, origin: str) -> Spot:
        """Return what the model has there."""
        return self.model.setdefault(self.place(target, origin), Spot())
