"""An entry is stale if none of the present holders can have written it; a table of histories."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_kernel import FakeBpf
from tests.support.fake_store import Ledger
from xdpctl import abi
from xdpctl.abi import MapName, RuleAction
from xdpctl.maps.aging import WALK_SECONDS, Aging
from xdpctl.maps.holders import Holder, Sighting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

MAP = MapName.ADDR_V4


class Processes:
    """What a look at processes gives."""

    def __init__(self) -> None:
        self.present: frozenset[Holder] = frozenset()
        self.whole = True

    def look(self, ids: Collection[int]) -> Sighting:
        return Sighting({number: self.present for number in ids if self.present}, self.whole)


class Story:
    """A ledger of rules, processes that hold the maps, and the age of what is in them."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.processes = Processes()
        self.now = 100.0
        self.aging = self.started()

    def started(self) -> Aging:
        """Return what a service that starts now knows."""
        return Aging(
            self.ledger.store.theirs,
            self.processes,  # type: ignore[arg-type]
            self.ledger.state,
            lambda: {MAP: self.ledger.maps[MAP].info.id},
            clock=lambda: self.now,
        )

    # --- what can happen --------------------------------------------------------------

    def a(self) -> None:
        """The first dnsdist holds the map."""
        self.processes.present = frozenset({Holder(1, 1, "dnsdist")})
        self.aging.look()

    def b(self) -> None:
        """The second dnsdist holds it alone."""
        self.processes.present = frozenset({Holder(2, 2, "dnsdist")})
        self.aging.look()

    def both(self) -> None:
        self.processes.present = frozenset({Holder(1, 1, "dnsdist"), Holder(2, 2, "dnsdist")})
        self.aging.look()

    def nobody(self) -> None:
        self.processes.present = frozenset()
        self.aging.look()

    def a_moment(self) -> None:
        self.now += WALK_SECONDS

    def unseen(self) -> None:
        """Nobody is seen, but somebody may be hidden."""
        self.processes.whole = False
        self.nobody()

    def writes_66(self) -> None:
        self.write(66)

    def writes_67(self) -> None:
        self.write(67)

    def ends_66(self) -> None:
        self.ledger.maps[MAP].delete(self.key(66))

    def service_restarts(self) -> None:
        self.aging = self.started()

    # --- the map ----------------------------------------------------------------------

    @staticmethod
    def key(last: int) -> bytes:
        return bytes([last, 2, 0, 192])

    def write(self, last: int, hits: int = 0) -> None:
        self.ledger.maps[MAP].update(self.key(last), abi.encode_value(RuleAction.DROP, hits))

    @property
    def stale(self) -> int | None:
        self.aging.look()
        return self.aging.counts[MAP]


@pytest.fixture
def story(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Story:
    monkeypatch.setattr("xdpctl.maps.aging.boot_id", lambda: ledger.boot_id)
    return Story(ledger)


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(monkeypatch, tmp_path, room=256)
    yield made
    made.state.close()


S = Story
HISTORIES: dict[str, tuple[Sequence[Callable[[Story], None]], int | None]] = {
    "while dnsdist runs, its entries are its own": ([S.a, S.writes_66], 0),
    "when it has ended, they are stale": ([S.a, S.writes_66, S.nobody], 1),
    "they stay stale when the next runs": ([S.a, S.writes_66, S.nobody, S.b], 1),
    "the next one's own are not": ([S.a, S.writes_66, S.nobody, S.b, S.writes_67], 1),
    "nor where the first left none": ([S.a, S.nobody, S.b, S.writes_67], 0),
    "a restart between two looks is noticed": ([S.a, S.writes_66, S.b], 1),
    "what is gone is not stale": ([S.a, S.writes_66, S.nobody, S.ends_66], 0),
    "what the next one wrote again is not": (
        [S.a, S.writes_66, S.nobody, S.b, S.ends_66, lambda s: s.aging.look(), S.writes_66],
        0,
    ),
    "beside a second one nothing is certain": ([S.a, S.writes_66, S.both, S.b], 0),
    "an end is an end where others may be hidden": ([S.a, S.writes_66, S.unseen], 1),
    "but where nobody was seen, somebody may be hidden": ([S.unseen, S.writes_66], None),
    "also where a former service saw nobody, either": (
        [S.unseen, S.writes_66, S.service_restarts],
        None,
    ),
    "who is seen then may have written all": ([S.unseen, S.writes_66, S.a], 0),
    "what a holder left that came and went between two looks": (
        [S.nobody, S.writes_66, S.a_moment],
        1,
    ),
    "what is there without a holder at a start": ([S.writes_66, S.nobody], 1),
    "what is there with one at a start is its": ([S.writes_66, S.a], 0),
    "a restart of the service forgets nothing": (
        [S.a, S.writes_66, S.nobody, S.b, S.service_restarts, S.b],
        1,
    ),
    "also where another one runs by then": (
        [S.a, S.writes_66, S.nobody, S.service_restarts, S.b],
        1,
    ),
}


@pytest.mark.parametrize(("events", "stale"), HISTORIES.values(), ids=HISTORIES)
def test_a_history(
    story: Story, events: Sequence[Callable[[Story], None]], stale: int | None
) -> None:
    for happens in events:
        happens(story)
    assert story.stale == stale


def test_a_counter_that_went_backwards_is_an_entry_written_again(story: Story) -> None:
    story.a()
    story.write(66, hits=9)
    story.nobody()
    story.b()
    story.write(66, hits=3)
    assert story.stale == 0


def test_our_own_rules_are_never_stale(story: Story) -> None:
    story.a()
    story.ledger.put("192.0.2.66")
    story.nobody()
    assert story.stale == 0


def test_another_map_under_the_pin_begins_anew(story: Story) -> None:
    story.a()
    story.writes_66()
    story.nobody()
    spec = abi.MAPS[MAP]
    story.ledger.maps[MAP].become(FakeBpf(story.ledger.kernel).create_map(spec, 256))
    story.b()
    assert story.stale == 0


def test_a_larger_map_with_the_same_entries_is_the_same(story: Story) -> None:
    story.a()
    story.writes_66()
    story.nobody()
    story.unseen()
    larger = FakeBpf(story.ledger.kernel).create_map(abi.MAPS[MAP], 512)
    larger.update(story.key(66), abi.encode_value(RuleAction.DROP))
    story.ledger.store.expect(MAP, larger.info.id)
    story.ledger.maps[MAP].become(larger)
    story.now += 50
    assert story.stale == 1
    story.service_restarts()
    assert story.stale == 1
    story.now += 10
    assert len(list(story.aging.end(60))) == 1


def test_stale_entries_end_after_their_time_and_others_do_not(story: Story) -> None:
    story.a()
    story.writes_66()
    story.nobody()
    story.b()
    story.writes_67()
    story.now += 59
    assert list(story.aging.end(60)) == []
    story.now += 1
    (lifted,) = story.aging.end(60)
    assert (lifted.map, lifted.target, lifted.action) == (MAP, "192.0.2.66", RuleAction.DROP)
    assert story.stale == 0
    assert list(story.ledger.store.theirs.all_in(MAP)) == [story.key(67)]


def test_the_time_goes_on_over_a_restart_of_the_service(story: Story) -> None:
    story.a()
    story.writes_66()
    story.nobody()
    story.now += 50
    story.service_restarts()
    story.b()
    story.now += 10
    assert len(list(story.aging.end(60))) == 1
