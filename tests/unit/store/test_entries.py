"""What is in the maps, and whose it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.abi import RuleAction

if TYPE_CHECKING:
    from tests.support.fake_store import Ledger

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS
EACH_MAP = ["192.0.2.1", "2001:db8::1", "198.51.100.0/24", "2001:db8:1::/48", "www.example"]


def test_what_is_left_of_a_rules_time_is_shown_in_whole_seconds(ledger: Ledger) -> None:
    ledger.bulk(["192.0.2.1 for=10s", "192.0.2.2"])
    ledger.pass_time(3.5)
    entries = {ledger.text(e.map, e.key): e.expires_in for e in ledger.store.entries()}
    assert entries == {"192.0.2.1": 7, "192.0.2.2": None}
    ledger.pass_time(10)
    assert [e.expires_in for e in ledger.store.entries()] == [0, None]
