"""Native mode is tried again when the card changed, and else ever more seldom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from xdpctl.filter.native_retry import FIRST_SECONDS, LONGEST_SECONDS, Condition, NativeRetry

CARD = Condition(9000, 4, "i40e", frozenset({"rx-lro"}), native=True)


class Clock:
    """Seconds that a test turns."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retry(clock: Clock) -> NativeRetry:
    """One that was refused once."""
    retry = NativeRetry(clock)
    retry.refused("MTU too large", CARD)
    return retry


def waits(retry: NativeRetry, clock: Clock, condition: Condition, number: int) -> list[float]:
    """Return the seconds from refusal to refusal."""
    found = []
    for _ in range(number):
        begun = clock.now
        while not retry.is_due(condition):
            clock.now += 1
        found.append(clock.now - begun)
        retry.refused("MTU too large", condition)
    return found


def test_right_after_a_refusal_nothing_is_tried(retry: NativeRetry) -> None:
    assert (retry.is_time(), retry.is_due(CARD)) == (False, False)


def test_the_tries_come_ever_more_seldom_but_go_on(retry: NativeRetry, clock: Clock) -> None:
    found = waits(retry, clock, CARD, 9)
    assert found[:3] == [FIRST_SECONDS, 2 * FIRST_SECONDS, 4 * FIRST_SECONDS]
    assert found[-2:] == [LONGEST_SECONDS, LONGEST_SECONDS]


@pytest.mark.parametrize(
    "changed",
    [
        replace(CARD, mtu=1500),
        replace(CARD, rx_queues=2),
        replace(CARD, driver="ice"),
        replace(CARD, features=frozenset()),
        replace(CARD, native=False),
    ],
)
def test_a_card_that_changed_is_tried_at_once(retry: NativeRetry, changed: Condition) -> None:
    assert retry.is_due(changed)


def test_a_card_that_changed_is_tried_once(retry: NativeRetry) -> None:
    changed = replace(CARD, mtu=8000)
    assert retry.is_due(changed)
    retry.refused("MTU too large", changed)
    assert not retry.is_due(changed)


def test_after_a_change_the_tries_begin_anew(retry: NativeRetry, clock: Clock) -> None:
    waits(retry, clock, CARD, 5)
    changed = replace(CARD, mtu=8000)
    assert waits(retry, clock, changed, 3) == [0, FIRST_SECONDS, 2 * FIRST_SECONDS]


def test_a_driver_that_runs_no_xdp_is_not_tried_again(retry: NativeRetry, clock: Clock) -> None:
    hopeless = replace(CARD, native=False)
    retry.refused("Underlying driver does not support XDP in native mode", hopeless)
    for _ in range(100):
        clock.now += FIRST_SECONDS
        assert not retry.is_due(hopeless)


def test_a_driver_that_begins_to_run_xdp_is_tried(retry: NativeRetry) -> None:
    retry.refused("no queues", replace(CARD, native=False))
    assert retry.is_due(CARD)


def test_where_the_kernel_does_not_say_the_clock_decides(clock: Clock) -> None:
    retry = NativeRetry(clock)
    unknown = replace(CARD, native=None)
    retry.refused("EOPNOTSUPP", unknown)
    assert waits(retry, clock, unknown, 1) == [FIRST_SECONDS]


def test_what_a_former_service_left_generic_is_not_tried_at_once(clock: Clock) -> None:
    """A restart leaves no gap."""
    retry = NativeRetry(clock)
    assert waits(retry, clock, CARD, 1) == [FIRST_SECONDS]


def test_the_reason_is_the_last_one(retry: NativeRetry) -> None:
    retry.refused("LRO is on", CARD)
    assert retry.why == "LRO is on"
