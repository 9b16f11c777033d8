"""The rules hit most."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdpctl.abi import MapName, RuleAction
from xdpctl.store.top import MostHit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_store import Ledger


DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
EACH_MAP = ["192.0.2.1", "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]


def top(
    ledger: Ledger, count: int, name: MapName | None = None
) -> list[tuple[str, int, str, float | None]]:
    """Return target, hits, origin, rate of the entries hit most."""
    found = ledger.store.most_hit.top(count, name, None)
    return [
        (ledger.text(e.entry.map, e.entry.key), e.entry.hits, e.entry.origin, e.rate) for e in found
    ]


def test_the_most_hit_come_first_and_the_unhit_not_at_all(ledger: Ledger) -> None:
    ledger.bulk([*EACH_MAP, "192.0.2.9"])
    for hits, text in enumerate(EACH_MAP, 1):
        ledger.hit(text, hits)
    ledger.dnsdist("192.0.2.77", hits=100)
    assert top(ledger, 3) == [
        ("192.0.2.77", 100, "dnsdist", None),
        ("www.example", 5, "file:x", None),
        ("2001:db8:1::/48", 4, "file:x", None),
    ]
    assert len(top(ledger, 100)) == 6
    assert [line[0] for line in top(ledger, 9, MapName.QNAMES)] == ["www.example"]


def test_rates_are_of_what_came_since(ledger: Ledger) -> None:
    now = [100.0]
    most_hit = MostHit(ledger.store.listing, lambda: now[0])
    ledger.bulk(EACH_MAP)
    ledger.hit("192.0.2.1", 1000)
    ledger.hit("www.example", 10)
    before = most_hit.counters(None)
    ledger.hit("www.example", 20)
    ledger.hit("2001:db8::1", 30)
    now[0] += 2
    found = most_hit.top(5, None, before)
    assert [(ledger.text(e.entry.map, e.entry.key), e.rate) for e in found] == [
        ("2001:db8::1", 15.0),
        ("www.example", 5.0),
    ]


def test_rates_are_right_however_long_it_takes_to_read_all_counters(ledger: Ledger) -> None:
    """Of a million entries each is read seconds after another, and before the second walk."""
    now = [100.0]
    texts = [f"192.0.2.{number}" for number in range(9)]
    ledger.bulk(texts)
    table = ledger.maps[MapName.ADDR_V4]

    def slowly() -> Iterator[tuple[bytes, bytes]]:
        for number in range(len(texts)):
            now[0] += 0.5
            for text in texts:
                ledger.hit(text, round(10 * now[0]))
            ((keys, values),) = type(table).chunks(table)
            yield keys[4 * number : 4 * number + 4], values[16 * number : 16 * number + 16]

    table.__dict__["chunks"] = slowly
    most_hit = MostHit(ledger.store.listing, lambda: now[0])
    before = most_hit.counters(MapName.ADDR_V4)
    now[0] += 1
    found = most_hit.top(9, MapName.ADDR_V4, before)
    assert [entry.rate for entry in found] == [pytest.approx(10.0)] * 9


def test_an_entry_that_a_walk_gives_twice_or_that_goes_is_not_in_the_top_twice(
    ledger: Ledger,
) -> None:
    ledger.bulk(["192.0.2.1", "192.0.2.2"])
    for text in ("192.0.2.1", "192.0.2.2"):
        ledger.hit(text, 5)
    table = ledger.maps[MapName.ADDR_V4]
    walked = list(table.chunks())

    def twice() -> Iterator[tuple[bytes, bytes]]:
        yield from walked * 2
        ledger.vanish("192.0.2.2")

    table.__dict__["chunks"] = twice
    assert [line[0] for line in top(ledger, 9)] == ["192.0.2.1"]
