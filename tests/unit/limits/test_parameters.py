"""The numbers of the limits: what the filter makes of them is the rate that was asked for."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.limits.parameters import (
    CROWD,
    Levels,
    accounts_of,
    burst_of,
    proven_limit_of,
)
from xdpctl.limits.table import (
    WORDS_MOST,
    load_of,
    rate_held,
    warnings_of,
    words_needed,
    words_of,
)

U64 = 1 << 64


@dataclass(frozen=True)
class Wanted:
    """Settings of the limits."""

    rate_limit: int = 50
    rate_limit_burst: int | None = None
    rate_limit_slip: int = 1
    rate_limit_prefixes: Levels = ((32, 1), (24, 32))
    rate_limit_prefixes6: Levels = ((64, 1), (48, 8))
    rate_limit_table: int | None = None
    rate_limit_dry_run: bool = False
    flood_limit: int = 0
    flood_limit_proven: int | None = None
    proven_factor: int = 8
    proven_lifetime: int = 86400


levels = st.lists(st.integers(1, 1024), min_size=1, max_size=4).map(
    lambda found: tuple((32 - place, times) for place, times in enumerate(sorted(found)))
)
hertz = st.sampled_from([100, 250, 300, 1000])
rates = st.integers(1, 1_000_000)


def passed(accounts_room: int, clock: int, price: int, jiffies: int) -> int:
    """Return how many packets one account lets through that is asked all the time."""
    until, count = 0, 0
    for jiffy in range(jiffies + 1):
        now = jiffy * clock & ~0xFFFF
        level = max(until - now, 0)
        more = max((accounts_room - level) // price, 0)
        if more:
            until, count = now + level + more * price, count + more
    return count


# --- accounts ---------------------------------------------------------------------------


def test_the_usual_numbers() -> None:
    found = accounts_of(Wanted(), 250)
    assert found.units == 768
    assert found.room == 125 * 768 << 16
    assert found.clock == round(50 * 768 * 65536 / 250)
    assert found.prices4 == ((768 << 16, 24 << 16), (96 << 16, 3 << 16))
    assert found.prices6 == ((768 << 16, 96 << 16), (96 << 16, 12 << 16))


def test_the_burst_is_two_and_a_half_times_the_rate_or_what_is_said() -> None:
    assert burst_of(Wanted(rate_limit=1)) == 3
    assert burst_of(Wanted(rate_limit=50)) == 125
    assert burst_of(Wanted(rate_limit_burst=7)) == 7


@given(
    st.builds(
        Wanted,
        rate_limit=rates,
        rate_limit_burst=st.none() | st.integers(1, 10**8),
        rate_limit_prefixes=levels,
        rate_limit_prefixes6=levels,
        proven_factor=st.integers(1, 1000),
    ),
    hertz,
)
def test_every_number_fits_into_its_field(wanted: Wanted, ticks: int) -> None:
    four, six = wanted.rate_limit_prefixes, wanted.rate_limit_prefixes6
    found = accounts_of(wanted, ticks)
    prices = [price for pair in (found.prices4, found.prices6) for each in pair for price in each]
    assert 0 < found.clock < U64
    assert 0 < found.room < found.most <= U64 // 4
    assert all(price % 65536 == 0 and 0 < price <= found.room for price in prices)
    assert list(map(len, (*found.prices4, *found.prices6))) == [len(four)] * 2 + [len(six)] * 2


@given(rates, hertz, levels)
def test_each_level_has_its_multiple_of_the_rate(rate: int, ticks: int, four: Levels) -> None:
    found = accounts_of(Wanted(rate, None, 1, four, four), ticks)
    for times, prices in zip((1, 8), found.prices4, strict=True):
        for price, (_, multiplier) in zip(prices, four, strict=True):
            wanted = rate * multiplier * times
            if wanted <= 10**7:  # nobody has more
                assert abs(found.clock * ticks / price / wanted - 1) < 0.01


@given(rates, hertz)
def test_powers_of_two_and_ten_are_exact(rate: int, ticks: int) -> None:
    found = accounts_of(Wanted(rate), ticks)
    assert found.units % 256 == 0
    assert [price * 32 for price in found.prices4[0][1:]] == [found.units << 16]


@given(rates, hertz)
def test_the_clock_keeps_the_rate_to_a_millionth(rate: int, ticks: int) -> None:
    found = accounts_of(Wanted(rate), ticks)
    assert abs(found.clock * ticks / (rate * found.units << 16) - 1) < 1e-5


@given(st.integers(1, 5000), hertz, st.integers(1, 3))
def test_an_account_lets_its_burst_and_then_its_rate_through(
    rate: int, ticks: int, seconds: int
) -> None:
    wanted = Wanted(rate)
    found = accounts_of(wanted, ticks)
    count = passed(found.room, found.clock, found.prices4[0][0], seconds * ticks)
    assert abs(count - (burst_of(wanted) + seconds * rate)) <= 1 + seconds * rate / ticks


@given(rates, hertz, st.none() | st.integers(1, 10**8))
def test_a_full_account_seen_a_tick_late_is_not_idle(
    rate: int, ticks: int, burst: int | None
) -> None:
    found = accounts_of(Wanted(rate, burst), ticks)
    slack = found.most - found.room
    assert slack >= found.clock + (CROWD * found.units << 16)


# --- the table --------------------------------------------------------------------------


def test_the_table_holds_what_may_pass() -> None:
    assert words_of(Wanted(flood_limit=100_000)) == 8192
    assert words_of(Wanted(flood_limit=100_000, flood_limit_proven=20_000)) == 4096
    assert words_of(Wanted(flood_limit=100)) == 1024
    assert words_of(Wanted()) == 65536
    assert words_of(Wanted(rate_limit_table=2048, flood_limit=100_000)) == 2048
    assert words_of(Wanted(rate_limit=1, flood_limit=10**8)) == WORDS_MOST
    assert words_of(Wanted(rate_limit=0, flood_limit=10**8)) == 0


@given(st.integers(1, 10**6), st.integers(64, 10**8), st.none() | st.integers(64, 10**8))
def test_a_table_by_the_rule_is_enough_and_not_twice_what_is_needed(
    rate: int, flood: int, proven: int | None
) -> None:
    wanted = Wanted(rate, flood_limit=flood, flood_limit_proven=proven)
    words, passing = words_needed(wanted), flood + proven_limit_of(wanted)
    assert words.bit_count() == 1
    assert rate_held(words, rate) >= passing - 1
    assert words == 1024 or rate_held(words // 2, rate) <= passing


def test_proven_sources_have_as_much_unless_said_otherwise() -> None:
    assert proven_limit_of(Wanted(flood_limit=70)) == 70
    assert proven_limit_of(Wanted(flood_limit=70, flood_limit_proven=0)) == 0
    assert proven_limit_of(Wanted(flood_limit=0, flood_limit_proven=9)) == 0


def test_a_table_that_is_too_small_is_warned_of_with_the_number_that_is_right() -> None:
    (sentence,) = warnings_of(Wanted(rate_limit_table=1024, flood_limit=100_000))
    assert "has 1,024 words" in sentence
    assert "use --rate-limit-table 8192" in sentence


def test_where_no_table_is_large_enough_the_rate_that_is_right_is_said() -> None:
    (sentence,) = warnings_of(Wanted(rate_limit=100, flood_limit=10**8))
    assert "raise --rate-limit to 535" in sentence
    assert not list(warnings_of(Wanted(rate_limit=535, flood_limit=10**8)))


def test_without_a_flood_limit_the_rate_that_the_table_holds_is_said() -> None:
    (sentence,) = warnings_of(Wanted())
    assert "2,340,571 queries a second" in sentence
    assert not list(warnings_of(Wanted(rate_limit_table=65536)))


def test_a_flood_limit_below_the_limit_of_one_source_is_warned_of() -> None:
    (sentence,) = warnings_of(Wanted(rate_limit=1000, flood_limit=100))
    assert "one source can use up what is meant for all" in sentence


def test_no_limit_needs_no_warning() -> None:
    assert not list(warnings_of(Wanted(rate_limit=0)))


@given(st.integers(0, 2**40), st.integers(1, 10), hertz)
def test_words_in_use_are_those_whose_time_is_to_come(jiffies: int, ahead: int, ticks: int) -> None:
    found = accounts_of(Wanted(), ticks)
    now = jiffies * found.clock % U64
    used = (now + ahead * found.prices4[0][0] & ~0xFFFF) % U64 | 0x1234
    past = (now - (1 << 20)) % U64
    assert load_of([used, past, used, past], found, jiffies) == 0.5


def test_an_empty_table_is_not_in_use() -> None:
    assert load_of([0] * 8, accounts_of(Wanted(), 250), 4_300_000_000) == 0.0
    assert load_of([], accounts_of(Wanted(), 250), 1) == 0.0
