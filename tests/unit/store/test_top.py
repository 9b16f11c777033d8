"""The rules hit most."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import MapName, RuleAction

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_store import Ledger


DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
EACH_MAP = ["192.0.2.1", "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]


def top(
    ledger: Ledger, count: int, name: MapName | None = None
) -> list[tuple[str, int, str, float | None]]:
    """Return target, hits, origin, rate of the entries hit most."""
    found = ledger.store.most_hit.top(count, name, None, 0.0)
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
    ledger.bulk(EACH_MAP)
    ledger.hit("192.0.2.1", 1000)
    ledger.hit("www.example", 10)
    before = ledger.store.most_hit.counters(None)
    ledger.hit("www.example", 20)
    ledger.hit("2001:db8::1", 30)
    found = ledger.store.most_hit.top(5, None, before, 2.0)
    assert [(ledger.text(e.entry.map, e.entry.key), e.rate) for e in found] == [
        ("2001:db8::1", 15.0),
        ("www.example", 5.0),
    ]


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
