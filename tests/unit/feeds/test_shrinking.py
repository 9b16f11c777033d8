"""How much smaller a version may be: what this host removed itself is expected for a while."""

from __future__ import annotations

from xdpctl.feeds.shrinking import REMOVED_SECONDS, Shrinking


def test_what_was_removed_here_is_expected_until_it_is_seen_or_for_a_while() -> None:
    now = [0.0]
    shrinking = Shrinking(lambda: now[0])
    assert shrinking.share(10, 0.5) == 0.5
    shrinking.expect(4)
    shrinking.expect(2)
    assert shrinking.removed == 6
    assert shrinking.share(10, 0.5) == 0.8  # of the other four a half
    assert shrinking.share(6, 0.5) == shrinking.share(0, 0.5) == 1.0
    shrinking.seen(10, 5)
    shrinking.seen(5, 7)
    assert shrinking.removed == 1
    now[0] = REMOVED_SECONDS
    assert shrinking.removed == 0
    assert shrinking.share(0, 0.5) == 0.5


def test_changes_of_few_owners_are_harmless_unless_nothing_may_go() -> None:
    shrinking = Shrinking(lambda: 0.0)
    assert shrinking.is_harmless(2, 1, 0.5)
    assert not shrinking.is_harmless(3, 6, 0.5)
    assert shrinking.is_harmless(3, 7, 0.5)
    assert not shrinking.is_harmless(1, 100, 0.0)
    assert shrinking.is_harmless(0, 100, 0.0)
    shrinking.expect(3)
    assert shrinking.is_harmless(5, 6, 0.5)
    assert shrinking.is_harmless(3, 6, 0.0)
