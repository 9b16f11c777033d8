"""Which claims dnsdist's lists lead to, when they end, and which are held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import MapName, RuleAction
from xdpctl.feeds.dnsdist.blocks import BlockKind, BlockList, DynamicBlock
from xdpctl.feeds.dnsdist.ledger import (
    LEASE_SECONDS,
    NO_HOLD,
    QUIET_SECONDS,
    TRUST_SECONDS,
    Hold,
    Ledger,
)
from xdpctl.settings import DnsdistSettings
from xdpctl.store.dynamic import Wish, WishState
from xdpctl.store.state import Note

if TYPE_CHECKING:
    from collections.abc import Collection

    from xdpctl.store.entries import Place

PLACE: Place = (MapName.CIDR4, b"\x18\0\0\0\xc0\0\x02\0")
ADDRESS: Place = (MapName.ADDR_V4, b"\x01\x02\0\xc0")
HOLD = Hold(300.0, 10)
DROP, TRUNCATE = RuleAction.DROP, RuleAction.TRUNCATE


Timed = tuple[DynamicBlock, int]


def block(
    seconds: int = 30, action: RuleAction = DROP, kind: BlockKind = BlockKind.PREFIX
) -> Timed:
    """Return a block of PLACE, and its seconds."""
    return DynamicBlock(kind, PLACE, action, "why"), seconds


def list_of(blocks: dict[str, Timed]) -> BlockList:
    """Return the blocks as a list of dnsdist's."""
    return BlockList(
        {key: each for key, (each, _) in blocks.items()},
        {key: seconds for key, (_, seconds) in blocks.items()},
    )


@dataclass
class Site:
    """A ledger, a clock, a counter that a flood of packets turns."""

    hold: int = 0
    ledger: Ledger = field(default_factory=Ledger)
    now: float = 1_000.0
    hits: int = 0
    rate: int = 0
    place: Place = PLACE

    def settings(self, url: str = "http://a") -> DnsdistSettings:
        return DnsdistSettings(url, hold=self.hold)

    def take(
        self,
        blocks: dict[str, Timed],
        url: str = "http://a",
        in_maps: Collection[Place] = (),
    ) -> dict[Place, Wish | None]:
        """Take a list over; every wish is fulfilled."""
        parts = self.ledger.take(self.settings(url), list_of(blocks), self.now, 1.0, in_maps)
        wishes = {place: wish for part in parts for place, wish in part.items()}
        self.settle(wishes)
        return wishes

    def settle(self, wishes: dict[Place, Wish | None]) -> None:
        made = (place for place, wish in wishes.items() if wish is not None)
        self.ledger.settled(dict.fromkeys(made, WishState.IN_FORCE))

    def count(self, seconds: int = 1) -> list[Wish | None]:
        """Let seconds pass with the flood, and look at the counter after each."""
        found = []
        for _ in range(seconds):
            self.now += 1
            self.hits += self.rate
            wishes = self.ledger.count({self.place: self.hits}, HOLD, self.now, 1.0)
            self.settle(wishes)
            found += list(wishes.values())
        return found


def test_a_claim_ends_two_polls_after_its_block_would() -> None:
    site = Site()
    assert site.take({"k": block(30)}) == {PLACE: Wish(DROP, "why", 1_032.0)}


def test_an_end_that_stays_is_not_written_again() -> None:
    site = Site()
    site.take({"k": block(30)})
    site.now += 5
    assert site.take({"k": block(25)}) == {}
    assert site.take({"k": block(24)}) == {}


def test_a_block_that_is_prolonged_shortened_or_changed_is_written_again() -> None:
    site = Site()
    site.take({"k": block(30)})
    assert site.take({"k": block(60)}) == {PLACE: Wish(DROP, "why", 1_062.0, prolongs=True)}
    assert site.take({"k": block(5)}) == {PLACE: Wish(DROP, "why", 1_007.0, prolongs=True)}
    assert site.take({"k": block(5, TRUNCATE)}) == {
        PLACE: Wish(TRUNCATE, "why", 1_007.0, prolongs=True)
    }


def test_a_claim_of_a_long_block_lasts_ten_minutes_and_is_prolonged_after_five() -> None:
    site = Site()
    years = 10 * 365 * 86_400
    assert site.take({"k": block(years)}) == {PLACE: Wish(DROP, "why", 1_000 + TRUST_SECONDS)}
    site.now += TRUST_SECONDS / 2
    assert site.take({"k": block(years - 300)}) == {}
    site.now += 1
    end = site.now + TRUST_SECONDS
    assert site.take({"k": block(years - 301)}) == {PLACE: Wish(DROP, "why", end, prolongs=True)}
    assert site.take({"k": block(400)}) == {PLACE: Wish(DROP, "why", site.now + 402, prolongs=True)}


def test_a_claim_outlives_rare_polls() -> None:
    ledger, settings = Ledger(), DnsdistSettings("http://a")
    (wishes,) = ledger.take(settings, list_of({"k": block(10**6)}), 0.0, 3_600.0)
    assert wishes == {PLACE: Wish(DROP, "why", 4 * 3_600.0)}


def test_a_block_that_vanishes_ends_at_once() -> None:
    site = Site()
    site.take({"k": block(30)})
    assert site.take({}) == {PLACE: None}
    assert site.ledger.claims == 0


def test_a_block_that_only_warns_now_ends_at_once() -> None:
    site = Site()
    site.take({"k": block(30)})
    assert site.take({"k": (DynamicBlock(BlockKind.WARNING), 0)}) == {PLACE: None}
    assert site.take({}) == {}


def test_a_claim_that_ran_out_is_made_again_when_dnsdist_is_back() -> None:
    site = Site()
    site.take({"k": block(30)})
    site.now += 100
    (wish,) = site.take({"k": block(30)}).values()
    assert wish is not None
    assert not wish.prolongs


def test_what_is_left_out_or_in_a_map_has_no_claim() -> None:
    site = Site()
    blocks = {"k": block(kind=BlockKind.IN_MAPS), "p": (DynamicBlock(BlockKind.PORTS), 0)}
    assert site.take(blocks) == {}
    assert site.take({"k": block()}, in_maps={PLACE}) == {}


def test_of_two_dnsdists_the_strongest_action_and_the_last_end_count() -> None:
    site = Site()
    site.take({"k": block(30, TRUNCATE)})
    assert site.take({"k": block(10)}, "http://b") == {
        PLACE: Wish(DROP, "why", 1_012.0, prolongs=True)
    }
    assert site.take({}, "http://b") == {}
    (wish,) = site.take({"k": block(30, TRUNCATE)}).values()
    assert wish is not None
    assert wish.action is TRUNCATE
    assert site.ledger.drop(["http://b"]) == {PLACE: None}


def test_a_dnsdist_that_is_gone_does_not_shorten_what_another_one_blocks() -> None:
    site = Site()
    site.take({"k": block(10, DROP)})
    site.now += 60
    assert site.take({"k": block(30, TRUNCATE)}, "http://b") == {
        PLACE: Wish(TRUNCATE, "why", site.now + 32)
    }


def test_one_that_an_operator_ended_comes_back_with_the_next_block_only() -> None:
    site = Site()
    site.take({"k": block(30)})
    list(site.ledger.take(site.settings(), list_of({"k": block(60)}), site.now, 1.0))
    site.ledger.settled({PLACE: WishState.ENDED})
    assert site.take({"k": block(60)}) == {}
    assert site.take({}) == {}
    assert PLACE in site.take({"k": block(60)})


def test_one_that_a_map_refused_is_asked_for_again() -> None:
    site = Site()
    site.take({"k": block(30)})
    site.ledger.settled({PLACE: WishState.REFUSED})
    assert PLACE in site.take({"k": block(30)})


# --- hold -----------------------------------------------------------------------------


def ended_in_a_flood(hold: int = 300, rate: int = 50) -> Site:
    """Return a site whose block came to its end while the flood went on."""
    site = Site(hold, rate=rate)
    site.take({"k": block(5)})
    for left in (4, 3, 2, 1):
        site.count()
        site.take({"k": block(left)})
    site.count()
    return site


def test_a_block_that_ends_in_a_flood_is_held_until_the_flood_ends() -> None:
    site = ended_in_a_flood()
    assert site.take({}) == {}
    assert site.ledger.count_held() == 1
    wishes = site.count(60)
    assert None not in wishes
    assert 3 <= len(wishes) <= 6  # not every second
    last = wishes[-1]
    assert last is not None
    assert last.end > site.now
    site.rate = 0
    assert site.count(int(QUIET_SECONDS) + 1)[-1] is None
    assert site.ledger.claims == 0


def test_it_is_held_no_longer_than_the_settings_say() -> None:
    site = ended_in_a_flood(hold=30)
    site.take({})
    wishes = site.count(31)
    assert None not in wishes  # it has run out
    assert all(wish.end <= 1_005 + 30 for wish in wishes if wish is not None)
    assert site.ledger.claims == 0


def test_a_block_that_somebody_ended_is_not_held() -> None:
    site = Site(300, rate=50)
    site.take({"k": block(60)})
    site.count(5)
    assert site.take({}) == {PLACE: None}


def test_a_block_without_a_flood_is_not_held() -> None:
    assert ended_in_a_flood(rate=9).take({}) == {PLACE: None}
    assert ended_in_a_flood(hold=0).take({}) == {PLACE: None}


def test_a_block_that_ends_before_its_counter_was_seen_twice_is_held_until_it_was() -> None:
    for rate, last in ((50, None), (0, True)):
        site = Site(300, rate=rate)
        site.take({"k": block(1)})
        site.count()
        assert site.take({}) == {}
        wishes = site.count()
        assert (wishes == [None]) is bool(last)


def test_a_pause_of_the_flood_does_not_end_it() -> None:
    site = ended_in_a_flood()
    site.take({})
    for _ in range(6):
        site.rate = 50
        assert None not in site.count(3)
        site.rate = 0
        assert None not in site.count(int(QUIET_SECONDS) - 1)


def test_a_held_block_that_dnsdist_makes_again_is_its_own_again() -> None:
    site = ended_in_a_flood()
    site.take({})
    assert PLACE in site.take({"k": block(60)})
    assert site.ledger.count_held() == 0


# --- dnsdist's own entries --------------------------------------------------------------


def own(site: Site) -> None:
    """Let a claim wait behind an entry of dnsdist's."""
    site.place = ADDRESS
    assert list(site.ledger.add_own({ADDRESS: DROP}, HOLD, site.now, 1.0)) == [ADDRESS]
    site.ledger.settled({ADDRESS: WishState.BEHIND_DNSDIST})
    assert site.ledger.behind == [ADDRESS]


def test_an_entry_that_is_hit_has_a_claim_behind_it_that_takes_its_place() -> None:
    site = Site(300, rate=50)
    own(site)
    for _ in range(30):
        site.now += 1
        site.hits += 50
        wishes = site.ledger.count({ADDRESS: site.hits}, HOLD, site.now, 1.0)
        assert None not in wishes.values()
        site.ledger.settled(dict.fromkeys(wishes, WishState.BEHIND_DNSDIST))
    site.ledger.came_into_force([ADDRESS], site.now)
    site.hits = 0
    assert (site.ledger.behind, site.ledger.count_held()) == ([], 1)
    assert None not in site.count(60)
    site.count(241)
    assert site.ledger.claims == 0  # held as long as it may be


def test_the_claim_behind_an_entry_that_is_hit_no_more_ends() -> None:
    site = Site(300)
    own(site)
    assert site.count(int(QUIET_SECONDS) + 1)[-1] is None


def test_dnsdists_own_block_that_somebody_ended_is_not_held() -> None:
    site = Site(300)
    kept = DynamicBlock(BlockKind.IN_MAPS, ADDRESS, DROP, ""), 60
    site.take({"k": kept})
    own(site)
    site.ledger.came_into_force([ADDRESS], site.now)
    assert site.take({}) == {ADDRESS: None}
    assert site.ledger.add_own({ADDRESS: DROP}, HOLD, site.now, 1.0) == {}  # it is in the map yet
    assert site.ledger.add_own({}, HOLD, site.now, 1.0) == {}
    assert site.ledger.add_own({ADDRESS: DROP}, HOLD, site.now, 1.0)


def test_what_somebody_ended_is_remembered_only_where_entries_are_held() -> None:
    kept = DynamicBlock(BlockKind.IN_MAPS, ADDRESS, DROP, ""), 60
    site = Site()
    site.take({"k": kept})
    site.take({})
    assert site.ledger.add_own({ADDRESS: DROP}, HOLD, site.now, 1.0)


def test_a_held_claim_that_an_operator_ended_comes_back_with_the_next_block() -> None:
    site = ended_in_a_flood()
    site.take({})
    site.ledger.settled({PLACE: WishState.ENDED})
    assert site.ledger.claims == 0
    assert PLACE in site.take({"k": block(30)})


def test_a_held_address_that_dnsdist_blocks_again_by_itself_is_held_again() -> None:
    """Our claim is in the map, so that dnsdist's new block is in its own head only."""
    site = Site(300, rate=50)
    own(site)
    site.ledger.came_into_force([ADDRESS], site.now)
    site.count(5)
    again = DynamicBlock(BlockKind.ADDRESS, ADDRESS, DROP, "")
    site.take({"k": (again, 5)})
    for left in (4, 3, 2, 1):
        site.count()
        site.take({"k": (again, left)})
    site.count()
    assert site.take({}) == {}
    assert None not in site.count(60)
    assert site.ledger.count_held() == 1


def test_what_an_operator_ended_behind_an_entry_stays_ended_while_it_is_hit() -> None:
    site = Site(300)
    own(site)
    site.ledger.settled({ADDRESS: WishState.ENDED})
    assert site.ledger.add_own({ADDRESS: DROP}, HOLD, site.now, 1.0) == {}
    assert site.ledger.add_own({}, HOLD, site.now, 1.0) == {}
    assert site.ledger.add_own({ADDRESS: DROP}, HOLD, site.now, 1.0)


def test_what_a_former_service_held_is_held_on() -> None:
    site = Site(300, rate=50)
    note = Note(*PLACE, DROP, "dnsdist-dynamic", "why", 0.0, site.now + 4)
    site.ledger.recall([note], ["http://a"], HOLD, site.now)
    assert None not in site.count(60)
    assert site.ledger.count_held() == 1
    assert site.ledger.drop([]) == {PLACE: None}


# --- a former service's claims ----------------------------------------------------------


def former(site: Site, *urls: str, hold: Hold = NO_HOLD) -> None:
    """Let a former service have left the claim of PLACE."""
    note = Note(*PLACE, DROP, "dnsdist-dynamic", "why", 0.0, site.now + 500)
    site.ledger.recall([note], urls, hold, site.now)


def test_a_former_claim_that_the_first_list_does_not_name_ends() -> None:
    site = Site()
    former(site, "http://a")
    assert (site.ledger.claims, site.ledger.count_held()) == (1, 0)
    assert site.take({}) == {PLACE: None}
    assert site.take({"k": block(30)}) == {PLACE: Wish(DROP, "why", 1_032.0)}


def test_a_former_claim_that_the_first_list_names_goes_on() -> None:
    site = Site()
    former(site, "http://a")
    assert site.take({"k": block(30)}) == {PLACE: Wish(DROP, "why", 1_032.0, prolongs=True)}
    assert site.take({"k": block(30)}) == {}


def test_a_former_claim_may_be_of_any_dnsdist_until_each_has_given_a_list() -> None:
    for blocks, wish in (({}, None), ({"k": block(30)}, Wish(DROP, "why", 1_032.0, prolongs=True))):
        site = Site()
        former(site, "http://a", "http://b")
        assert site.take({}) == {}
        assert site.take(blocks, "http://b") == {PLACE: wish}


def test_a_former_claim_that_may_be_held_waits_for_the_first_list_and_then_for_its_flood() -> None:
    site = Site(300)
    former(site, "http://a", hold=HOLD)
    assert site.count(int(QUIET_SECONDS) + 20) == []
    assert site.take({}) == {}
    assert site.count() == [None]


def test_former_claims_end_where_there_is_no_dnsdist() -> None:
    site = Site()
    former(site)
    assert site.ledger.drop([]) == {PLACE: None}
    assert site.ledger.claims == 0


# --- any lists, floods and times ----------------------------------------------------------

PLACES = [(MapName.CIDR4, bytes((24, 0, 0, 0, 203, 0, number, 0))) for number in range(4)]


@dataclass
class Model:
    """What a store would have of a ledger's wishes: places with the ends of their claims."""

    ends: dict[Place, float] = field(default_factory=dict)

    def fulfil(self, ledger: Ledger, wishes: dict[Place, Wish | None]) -> None:
        states = {}
        for place, wish in wishes.items():
            if wish is None:
                self.ends.pop(place, None)
            elif wish.prolongs and place not in self.ends:
                states[place] = WishState.ENDED
            else:
                self.ends[place] = wish.end
                states[place] = WishState.IN_FORCE
        ledger.settled(states)

    def expire(self, now: float) -> None:
        self.ends = {place: end for place, end in self.ends.items() if end > now}


steps = st.tuples(
    st.floats(0.5, 20),
    st.dictionaries(st.integers(0, 3), st.integers(0, 30), max_size=4),
    st.sets(st.integers(0, 3)),
)


@given(hold=st.sampled_from([0, 40]), sequence=st.lists(steps, max_size=25))
def test_a_claim_is_there_while_it_is_listed_and_else_only_in_a_flood(
    hold: int, sequence: list[tuple[float, dict[int, int], set[int]]]
) -> None:
    ledger, model, now = Ledger(), Model(), 1_000.0
    settings = DnsdistSettings("http://a", hold=hold)
    hits, left = dict.fromkeys(PLACES, 0), dict.fromkeys(PLACES, -1e9)
    for seconds, listed, flooded in sequence:
        now += seconds
        model.expire(now)
        for number in flooded:
            hits[PLACES[number]] += int(100 * seconds)
        if hold:
            seen = {place: hits[place] for place in ledger.counted}
            model.fulfil(ledger, ledger.count(seen, Hold(hold, 10), now, seconds))
        blocks = {
            str(number): (DynamicBlock(BlockKind.PREFIX, PLACES[number], DROP, ""), left_seconds)
            for number, left_seconds in listed.items()
        }
        for wishes in ledger.take(settings, list_of(blocks), now, 1.0):
            model.fulfil(ledger, wishes)
        there = {PLACES[number] for number in listed}
        left |= dict.fromkeys(there, now)
        assert there <= model.ends.keys()
        for number, left_seconds in listed.items():
            assert model.ends[PLACES[number]] >= now + left_seconds
        for place in model.ends.keys() - there:
            assert hold
            assert now - left[place] <= hold + LEASE_SECONDS + 20 + 2
        assert ledger.claims >= len(model.ends)
