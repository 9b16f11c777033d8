"""Which limits act: when one begins, goes on between pulses, and has ended."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import Count, PacketAction, Reason
from xdpctl.limits.acting import LIMIT_REASONS, QUIET_SECONDS, ActingLimits

LIMITED = (Reason.LIMIT, PacketAction.TRUNCATE)
DROPPED = (Reason.LIMIT, PacketAction.DROP)
DRY = (Reason.LIMIT, PacketAction.PASS)
FLOODED = (Reason.UNPROVEN, PacketAction.DROP)


class Counters:
    """The counters of two interfaces, and a clock that goes on a second at a time."""

    def __init__(self) -> None:
        self.limits = ActingLimits()
        self.moment = 0.0
        self.counts: dict[tuple[Reason, PacketAction], int] = {}
        self.look(0)

    def look(self, seconds: float = 1.0, **packets: int) -> tuple[list[Reason], list[Reason]]:
        """Count packets by the names above, look; return what began and what has ended."""
        for name, number in packets.items():
            key = globals()[name]
            self.counts[key] = self.counts.get(key, 0) + number
        self.moment += seconds
        first = {key: Count(number, 0) for key, number in self.counts.items()}
        other = {(Reason.NO_MATCH, PacketAction.PASS): Count(int(self.moment), 0)}
        began, ended = self.limits.after(self.moment, [first, other])
        return [each.reason for each in began], [each.reason for each in ended]


def test_what_was_counted_before_the_first_look_is_not_now() -> None:
    counters = Counters()
    fresh = ActingLimits()
    counters.counts[LIMITED] = 5
    assert fresh.after(1.0, [{LIMITED: Count(5, 0)}]) == ([], [])
    assert fresh.now == ()


def test_a_limit_begins_with_the_first_packet_that_it_refuses() -> None:
    counters = Counters()
    assert counters.look() == ([], [])
    assert counters.look(2.0, LIMITED=8, DROPPED=2) == ([Reason.LIMIT], [])
    (acting,) = counters.limits.now
    assert acting.packets == {PacketAction.TRUNCATE: 8, PacketAction.DROP: 2}
    assert (acting.rate, acting.total, acting.since) == (5.0, 10, 2.0 + 1.0)


def test_between_two_pulses_it_goes_on_and_its_rate_is_0() -> None:
    counters = Counters()
    counters.look(LIMITED=1)
    assert counters.look(QUIET_SECONDS - 1) == ([], [])
    assert [acting.rate for acting in counters.limits.now] == [0.0]
    assert counters.look(LIMITED=4) == ([], [])
    assert [acting.total for acting in counters.limits.now] == [5]


def test_it_has_ended_after_a_quiet_minute_and_may_begin_anew() -> None:
    counters = Counters()
    counters.look(LIMITED=1)
    assert counters.look(QUIET_SECONDS) == ([], [Reason.LIMIT])
    assert not counters.limits.now
    assert counters.look(LIMITED=1) == ([Reason.LIMIT], [])
    assert [acting.total for acting in counters.limits.now] == [1]


def test_where_a_dry_run_ends_the_limit_ends_and_begins_anew() -> None:
    """It was said to let everything pass for as long as the flood went on."""
    counters = Counters()
    assert counters.look(DRY=9) == ([Reason.LIMIT], [])
    assert [acting.dry_run for acting in counters.limits.now] == [True]
    assert counters.look() == ([], [])
    assert counters.look(DRY=2, LIMITED=3) == ([Reason.LIMIT], [Reason.LIMIT])
    (acting,) = counters.limits.now
    assert (acting.dry_run, acting.packets) == (False, {PacketAction.TRUNCATE: 3})
    assert counters.look(DRY=4) == ([Reason.LIMIT], [Reason.LIMIT])


def test_a_limit_that_is_not_configured_any_more_has_ended() -> None:
    """It was said to act for another minute."""
    counters = Counters()
    counters.look(LIMITED=1, FLOODED=1)
    counters.limits.configured = frozenset({Reason.LIMIT})
    assert counters.look(LIMITED=1, FLOODED=1) == ([], [Reason.UNPROVEN])
    assert [acting.reason for acting in counters.limits.now] == [Reason.LIMIT]


def test_limits_are_in_the_order_in_which_the_filter_asks_them() -> None:
    counters = Counters()
    counters.look(LIMITED=1)
    counters.look(FLOODED=1)
    assert [acting.reason for acting in counters.limits.now] == [Reason.UNPROVEN, Reason.LIMIT]


def test_what_begins_has_the_packets_that_it_began_with() -> None:
    """The log and the history say how many."""
    counters = Counters()
    counted = {LIMITED: Count(7, 0)}
    (began,), _ = counters.limits.after(counters.moment + 1, [counted])
    assert began.total == 7


def test_counters_that_begin_anew_are_no_packets() -> None:
    counters = Counters()
    counters.look(LIMITED=100)
    counters.counts.clear()
    assert counters.look() == ([], [])
    assert [acting.total for acting in counters.limits.now] == [100]


@given(
    st.lists(st.tuples(st.floats(0.5, 90), st.integers(0, 1) | st.integers(0, 10**6)), max_size=40)
)
def test_every_begin_has_one_end_and_no_packet_is_lost(
    looks: list[tuple[float, int]],
) -> None:
    counters, open_, packets = Counters(), 0, 0
    for seconds, number in looks:
        before = sum(acting.total for acting in counters.limits.now)
        began, ended = counters.look(seconds, LIMITED=number)
        open_ += len(began) - len(ended)
        assert open_ == len(counters.limits.now) <= 1
        if counters.limits.now:
            packets = sum(acting.total for acting in counters.limits.now)
            assert packets == before + number
        assert all(acting.reason in LIMIT_REASONS for acting in counters.limits.now)
