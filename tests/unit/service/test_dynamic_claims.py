"""The claims of dnsdist's blocks in the service: threads, room in our own tables, the history."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_store import Ledger
from xdpctl.abi import RuleAction
from xdpctl.rules.guard import Guard
from xdpctl.service.account import Account
from xdpctl.service.dynamic_claims import DynamicBackend
from xdpctl.store.dynamic import ORIGIN, Wish, WishState
from xdpctl.store.history import History
from xdpctl.store.tally import EACH

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from xdpctl.abi import MapName

DROP = RuleAction.DROP
LOCAL = "198.51.100.53"


@dataclass
class Site:
    """A backend over a store on fake maps."""

    ledger: Ledger
    account: Account
    backend: DynamicBackend

    def wishes(self, *texts: str) -> dict[tuple[MapName, bytes], Wish]:
        end = self.ledger.boot + 60
        return {self.ledger.place(text): Wish(DROP, "why", end) for text in texts}

    def history(self) -> list[tuple[str, str | None, int, int | None]]:
        rows = self.account.last(target=None, since=None, limit=100)
        assert all(row.origin == ORIGIN for row in rows)
        return [(row.verb, row.target, row.count, row.hits) for row in rows]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    ledger = Ledger(monkeypatch, tmp_path)
    account = Account(History.open(ledger.state), lambda: ledger.any_qtype)

    async def reserve(more: Mapping[MapName, int]) -> None:
        ledger.growth(more)

    with ThreadPoolExecutor(1) as thread:
        backend = DynamicBackend(
            ledger.store,
            account,
            reserve,
            lambda: Guard([], [ip_address(LOCAL)]),
            writes=thread,
            urgent=thread,
            bulk=thread,
            looks=thread,
        )
        yield Site(ledger, account, backend)


async def test_many_claims_are_made_as_those_of_a_list(site: Site) -> None:
    """Each with its end and its reason; those behind others' are known as such."""
    site.ledger.dnsdist("192.0.2.7", 5)
    site.ledger.put("192.0.2.8")
    texts = [f"192.0.2.{number}" for number in range(4, 20)]
    wishes = site.wishes(*texts, ".evil.example", "www.evil.example", "203.0.113.0/24")
    settled = await site.backend.make_many(wishes)
    await site.backend.note()
    assert settled.states[site.ledger.place("192.0.2.7")] is WishState.BEHIND_DNSDIST
    assert settled.states[site.ledger.place("192.0.2.8")] is WishState.BEHIND_OTHERS
    assert Counter(settled.states.values())[WishState.IN_FORCE] == len(wishes) - 2
    assert sum(count for _, _, count, _ in site.history()) == len(wishes) - 2
    assert len(site.ledger.shown(ORIGIN)) == len(wishes) - 2
    again = await site.backend.settle(
        {place: wish._replace(prolongs=True) for place, wish in wishes.items()}
    )
    assert again.states == settled.states
    site.ledger.pass_time(61)
    site.ledger.store.expire()
    assert site.ledger.shown(ORIGIN) == {}


async def test_few_claims_are_in_the_history_one_by_one_with_their_hits(site: Site) -> None:
    await site.backend.settle(site.wishes("192.0.2.1", "192.0.2.0/24"))
    await site.backend.note()
    site.ledger.hit("192.0.2.1", 7)
    await site.backend.settle({site.ledger.place("192.0.2.1"): None})
    await site.backend.note()
    await site.backend.note()
    assert site.history() == [
        ("block", "192.0.2.1", 1, None),
        ("block", "192.0.2.0/24", 1, None),
        ("expire", "192.0.2.1", 1, 7),
    ]


async def test_many_claims_are_one_row(site: Site) -> None:
    site.ledger.room = 1_000
    count = EACH + 10
    texts = [f"a{number}.example" for number in range(count)]
    for at in range(0, count, 50):  # the fake maps are small
        zones = [f".{text}" for text in texts[at : at + 50]]
        await site.backend.settle(site.wishes(*zones))
    await site.backend.note()
    assert site.history() == [("block", None, count, None)]


async def test_a_zone_makes_the_tables_that_it_needs(site: Site) -> None:
    settled = await site.backend.settle(site.wishes(".evil.example"))
    assert [*settled.states.values()] == [WishState.IN_FORCE]
    assert site.ledger.shown() == {".evil.example": (DROP, 0, ORIGIN)}


async def test_what_the_guard_protects_is_not_held(site: Site) -> None:
    for text in (LOCAL, "192.0.2.1"):
        site.ledger.dnsdist(text)
    assert await site.backend.hot(10) == {}
    site.ledger.boot += 1
    for text in (LOCAL, "192.0.2.1"):
        site.ledger.hit(text, 50)
    assert await site.backend.hot(10) == {site.ledger.place("192.0.2.1"): DROP}


async def test_a_claim_takes_the_place_of_dnsdists_entry(site: Site) -> None:
    site.ledger.dnsdist("192.0.2.1")
    place = site.ledger.place("192.0.2.1")
    await site.backend.settle(site.wishes("192.0.2.1"))
    assert await site.backend.foreign([place]) == {place}
    site.ledger.vanish("192.0.2.1")
    assert await site.backend.gone([place])
    await site.backend.look_beneath()
    assert [note.origin for note in await site.backend.former()] == [ORIGIN]
    assert await site.backend.hits([place]) == {place: 0}
    assert await site.backend.hits([]) == {}
