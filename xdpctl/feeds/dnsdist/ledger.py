"""Which claims are wanted for dnsdist's blocks, and how long each is held.

A claim ends two polls after its block would end, so that it outlives a poll that is late, and runs
out if dnsdist cannot be reached: in ten minutes, however long its block would last. A block that
vanishes from the list before its time was ended by somebody: its claim ends at once. One that
vanishes at its time ends too, unless it is held: a block on the card hides the flood from dnsdist,
so while the claim's own counter shows the flood, it stays, for `hold` at most. An entry that
dnsdist has in a shared map itself, and that is hit as often, gets a claim that waits behind it, and
takes its place when dnsdist removes it. What a former service left goes on until dnsdist's first
list, which names it, or ends it.

Pure: it is given lists, counters and the time, and returns wishes. Owns these decisions. Does not
own claims (store/dynamic.py) or when it is asked (bridge.py). Times are seconds of
CLOCK_BOOTTIME.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from xdpctl.feeds.dnsdist.blocks import BlockKind, BlockList
from xdpctl.store.dynamic import Wish, WishState

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from typing import TypeAlias

    from xdpctl.abi import RuleAction
    from xdpctl.feeds.dnsdist.blocks import DynamicBlock
    from xdpctl.settings import DnsdistSettings
    from xdpctl.store.entries import Place
    from xdpctl.store.state import Note

    Wishes: TypeAlias = dict[Place, Wish | None]

EARLY_SECONDS = 2.5
"""A block that vanishes longer before its end than this was ended by somebody: `seconds` are whole
ones, and a look comes late."""

QUIET_SECONDS = 10.0
"""A flood that pauses for less is the same one."""

AT_ONCE = 400
"""Wishes of one step: some milliseconds on the thread that writes."""

LEASE_SECONDS = 30.0
"""A claim that is held ends so late by itself: a service that is started again takes it over."""

TRUST_SECONDS = 600.0
"""So long after the last list that names its block, a claim ends at the latest."""

TRUST_POLLS = 4
"""So many polls, where they take longer."""

SLACK_SECONDS = 1.5
"""An end that moves by less than this, or than a poll, is not written again."""

OWN_REASON = "dnsdist's own entry, hit at the rate of hold-rate"


class Hold(NamedTuple):
    """How a claim is held: seconds at most, and packets a second."""

    seconds: float = 0.0
    rate: float = math.inf


NO_HOLD = Hold()


@dataclass(slots=True)
class _Claim:
    """A claim that was asked for.

    Attributes:
        end: of the claim.
        listed: dnsdist has the block in a list now.
        own: made for an entry that dnsdist has in a map.
        behind: dnsdist's entry is in force before it.
        since: when dnsdist ended the block; None: it has not.
        hot: when its counter last showed the flood.
        hits, seen: its counter when it was last looked at, and when that was.
        rated: it was looked at twice, so that it is known whether it is hit.
    """

    action: RuleAction
    reason: str
    end: float
    hold: Hold
    listed: bool = True
    own: bool = False
    behind: bool = False
    since: float | None = None
    hot: float = -math.inf
    hits: int | None = None
    seen: float = 0.0
    rated: bool = False


@dataclass(slots=True)
class _Listed:
    """The last list of one dnsdist.

    Attributes:
        taken: when it was asked for. `interval`: seconds between two polls.
        trust: how long its claims last without a further list. `hold`: how they are held.
    """

    whole: BlockList = field(default_factory=BlockList)
    taken: float = 0.0
    interval: float = 0.0
    trust: float = TRUST_SECONDS
    hold: Hold = NO_HOLD

    def end(self, key: str) -> float:
        """Return when a block would end."""
        return self.taken + self.whole.seconds.get(key, 0)

    def claim_end(self, key: str) -> float:
        """Return when its claim ends, if no further list comes."""
        return min(self.end(key) + 2 * self.interval, self.taken + self.trust)


class Ledger:
    """The claims that are wanted."""

    def __init__(self) -> None:
        self._lists: dict[str, _Listed] = {}
        self._claims: dict[Place, _Claim] = {}
        self._ended_by_others: set[Place] = set()
        self._own_ended: set[Place] = set()
        self._behind: set[Place] = set()
        self._former: set[Place] = set()
        self._awaited: set[str] = set()

    # --- what is known --------------------------------------------------------------

    @property
    def behind(self) -> list[Place]:
        """Where a claim waits for dnsdist's entry to end."""
        return list(self._behind)

    @property
    def counted(self) -> list[Place]:
        """Places whose counters decide."""
        return [place for place, claim in list(self._claims.items()) if claim.hold.seconds]

    def count_held(self) -> int:
        """Return how many claims are held: dnsdist has ended the block."""
        return sum(claim.since is not None for claim in list(self._claims.values()))

    @property
    def claims(self) -> int:
        """How many claims are wanted."""
        return len(self._claims)

    # --- lists ----------------------------------------------------------------------

    def take(
        self,
        settings: DnsdistSettings,
        blocks: BlockList,
        now: float,
        interval: float,
        in_maps: Collection[Place] = (),
    ) -> Iterator[Wishes]:
        """Take a dnsdist's new list over; yield what changes, some hundred wishes at a time.

        All of it is to be taken, in the turn of one list.

        Args:
            settings: of that dnsdist.
            blocks: all of them.
            now: when they were asked for.
            interval: seconds between two polls as they are now.
            in_maps: places of blocks that dnsdist has an entry for, though it does not say so.
        """
        former = self._lists.get(settings.url, _Listed())
        trust = max(TRUST_SECONDS, TRUST_POLLS * interval)
        listed = _Listed(blocks, now, interval, trust, _hold_of(settings))
        self._lists[settings.url] = listed
        wishes: Wishes = {}
        for key, block in blocks.blocks.items():
            place = block.place
            if place is None or block.kind is BlockKind.IN_MAPS or place in in_maps:
                continue
            end = listed.claim_end(key)
            if len(self._lists) > 1:
                block, end = self._strongest(key, block, end, now)  # noqa: PLW2901 - of all lists
            self._list(place, block, end, listed, wishes)
            if len(wishes) >= AT_ONCE:
                yield wishes
                wishes = {}
        for key, block in former.whole.blocks.items():
            if block.place is not None and not _is_there(blocks.blocks.get(key)):
                self._ended_by_others.discard(block.place)
                if not self._has(key):
                    end = math.inf if key in blocks.blocks else former.end(key)
                    self._vanished(block, end, now, wishes)
            if len(wishes) >= AT_ONCE:
                yield wishes
                wishes = {}
        yield wishes
        yield from self._forget_former(settings.url)

    def _forget_former(self, url: str) -> Iterator[Wishes]:
        """End former claims that no dnsdist names, when the last one has given a list."""
        if not self._holds:
            self._own_ended.clear()  # nobody asks for it
        self._awaited.discard(url)
        if self._awaited:
            return
        unnamed = list(self._former)
        self._former.clear()
        for at in range(0, len(unnamed), AT_ONCE):
            wishes: Wishes = {}
            for place in unnamed[at : at + AT_ONCE]:
                claim = self._claims.get(place)
                if claim is not None and not claim.hold.seconds:  # else its counter decides
                    self._end(place, wishes)
            yield wishes

    @property
    def _holds(self) -> bool:
        return any(listed.hold is not NO_HOLD for listed in self._lists.values())

    def _strongest(
        self, key: str, block: DynamicBlock, end: float, now: float
    ) -> tuple[DynamicBlock, float]:
        """Return what the lists say of a key: the strongest action, and its last end."""
        found = [(block.action, -end, block)]
        for listed in self._lists.values():
            other = listed.whole.blocks.get(key)
            if other is not None and other.place is not None and listed.claim_end(key) > now:
                found.append((other.action, -listed.claim_end(key), other))
        _, ends, chosen = min(found, key=lambda each: each[:2])
        return chosen, -ends

    def _has(self, key: str) -> bool:
        return any(_is_there(listed.whole.blocks.get(key)) for listed in self._lists.values())

    def _list(
        self, place: Place, block: DynamicBlock, end: float, listed: _Listed, wishes: Wishes
    ) -> None:
        """Make or change the claim of a block; one that lasts is prolonged at half of `trust`."""
        now, hold, claim = listed.taken, listed.hold, self._claims.get(place)
        if claim is None:
            if place not in self._ended_by_others:
                self._claims[place] = _Claim(block.action, block.reason, end, hold)
                wishes[place] = Wish(block.action, block.reason, end)
            return
        is_same = claim.listed and claim.action is block.action
        runs_out = claim.end <= now + 1.0  # or has: then it is there no more
        claim.listed, claim.own, claim.since, claim.hold = True, False, None, hold
        if self._former:
            self._former.discard(place)
        lasts = claim.end <= end and claim.end - now >= listed.trust / 2
        slack = max(listed.interval, SLACK_SECONDS)
        if is_same and not runs_out and (lasts or abs(end - claim.end) < slack):
            return
        claim.action, claim.reason, claim.end = block.action, block.reason, end
        wishes[place] = Wish(block.action, block.reason, end, prolongs=not runs_out)

    def _vanished(self, block: DynamicBlock, end: float, now: float, wishes: Wishes) -> None:
        """Decide about the claim of a block that is in no list any more."""
        place = block.place
        claim = None if place is None else self._claims.get(place)
        is_early = end - now > EARLY_SECONDS
        if is_early and self._holds and place is not None:  # its own entry may stay for a while
            self._own_ended.add(place)
        if place is None or claim is None:
            return
        if claim.own:  # it goes on by its counter
            if is_early:
                self._end(place, wishes)
            return
        if not claim.listed:
            return
        claim.listed = False
        if is_early or not _may_be_held(claim, now):
            self._end(place, wishes)
        elif not claim.behind:
            claim.since = now

    def drop(self, urls: Collection[str]) -> Wishes:
        """Forget all dnsdists but these; return what ends with them."""
        wishes: Wishes = {}
        for url in self._lists.keys() - set(urls):
            for key, block in self._lists.pop(url).whole.blocks.items():
                if block.place in self._claims and not self._has(key):
                    self._end(block.place, wishes)
        self._awaited.intersection_update(urls)
        if not urls:
            self._former.clear()
            for place in list(self._claims):
                self._end(place, wishes)
            self._ended_by_others.clear()
            self._own_ended.clear()
        return wishes

    # --- holding --------------------------------------------------------------------

    def recall(self, notes: Iterable[Note], urls: Collection[str], hold: Hold, now: float) -> None:
        """Take over the claims that a former service left, until each dnsdist has given a list.

        Of those that are in no list then, the ones that are held go on by their counters, and the
        others end. Each counts as hit at first.
        """
        self._awaited = set(urls)
        since = now if hold.seconds else None
        for note in notes:
            place = note.map, note.key
            if place not in self._claims:
                self._former.add(place)
                end = math.inf if note.expires is None else note.expires
                self._claims[place] = _Claim(
                    note.action, note.reason, end, hold, listed=False, since=since, hot=now
                )

    def count(self, hits: Mapping[Place, int], hold: Hold, now: float, wait: float) -> Wishes:
        """Look at the counters of `counted`; return what is prolonged and what ends.

        Args:
            hits: the counters; nothing for a place without an entry.
            hold: of the settings now; it counts for entries of dnsdist's own.
            now: when they were read.
            wait: seconds until they are read again.
        """
        wishes: Wishes = {}
        lease = max(LEASE_SECONDS, 2 * wait)
        for place, claim in list(self._claims.items()):
            if claim.own:
                claim.hold = hold
            _see(claim, hits.get(place), now)
            if claim.end <= now:
                self._remove(place)  # it has run out; a list that comes makes it again
            elif not claim.listed and not claim.behind and claim.since is None:
                claim.since = now
            if claim.listed or place not in self._claims:
                continue
            self._go_on(place, claim, now, lease, wishes)
        return wishes

    def _go_on(self, place: Place, claim: _Claim, now: float, lease: float, wishes: Wishes) -> None:
        """Hold a claim, or end it."""
        until = math.inf if claim.since is None else claim.since + claim.hold.seconds
        if now >= until or not _may_be_held(claim, now):
            if place not in self._former:  # else a list may name it yet
                self._end(place, wishes)
        elif claim.end - now < lease / 2 and claim.end < until:
            claim.end = min(now + lease, until)
            wishes[place] = Wish(claim.action, claim.reason, claim.end, prolongs=True)

    def add_own(
        self, entries: Mapping[Place, RuleAction], hold: Hold, now: float, wait: float
    ) -> Wishes:
        """Let claims wait behind entries of dnsdist's that are hit often; return what is new."""
        wishes: Wishes = {}
        end = now + max(LEASE_SECONDS, 2 * wait)
        for place, action in entries.items():
            if place in self._claims or place in self._own_ended:
                continue
            self._claims[place] = _Claim(
                action, OWN_REASON, end, hold, listed=False, own=True, behind=True, hot=now
            )
            wishes[place] = Wish(action, OWN_REASON, end)
        self._own_ended &= entries.keys()
        return wishes

    def came_into_force(self, places: Collection[Place], now: float) -> None:
        """Note that dnsdist's entries are gone before which these claims waited."""
        for place in places:
            claim = self._claims.get(place)
            self._behind.discard(place)
            if claim is not None and claim.behind:
                claim.behind, claim.hits, claim.hot = False, None, now
                claim.since = None if claim.listed else now

    def settled(self, states: Mapping[Place, WishState]) -> None:
        """Note what became of wishes."""
        for place, state in states.items():
            claim = self._claims.get(place)
            if claim is None:
                continue
            if state is WishState.ENDED:
                self._remove(place)
                if claim.own:
                    self._own_ended.add(place)
                elif claim.listed:
                    self._ended_by_others.add(place)
            elif state is WishState.REFUSED:
                self._remove(place)
            else:
                claim.behind = state is WishState.BEHIND_DNSDIST
                (self._behind.add if claim.behind else self._behind.discard)(place)

    def forget(self, places: Iterable[Place]) -> None:
        """Forget claims whose wishes could not be fulfilled: the next look asks again."""
        for place in places:
            self._remove(place)

    def _end(self, place: Place, wishes: Wishes) -> None:
        self._remove(place)
        wishes[place] = None

    def _remove(self, place: Place) -> None:
        self._claims.pop(place, None)
        self._behind.discard(place)
        self._former.discard(place)


def _hold_of(settings: DnsdistSettings) -> Hold:
    return Hold(settings.hold, settings.hold_rate) if settings.hold else NO_HOLD


def _is_there(block: DynamicBlock | None) -> bool:
    return block is not None and block.place is not None


def _see(claim: _Claim, hits: int | None, now: float) -> None:
    """Compare a counter with what it was."""
    if hits is not None and claim.hits is not None and now > claim.seen:
        since = hits - claim.hits if hits >= claim.hits else hits  # it began again at 0
        claim.rated = True
        if since >= claim.hold.rate * (now - claim.seen):
            claim.hot = now
    claim.hits, claim.seen = hits, now


def _may_be_held(claim: _Claim, now: float) -> bool:
    """Return whether the flood goes on, or whether that is still to be seen."""
    return claim.hold.seconds > 0 and (now - claim.hot <= QUIET_SECONDS or not claim.rated)
