"""The numbers of the limits: what the filter makes of them is the rate that was asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import LIMITS_LIVE_SIZE, encode_limits
from xdpctl.limits.parameters import (
    CROWD,
    Levels,
    burst_of,
    proven_limit_of,
    units_of,
    values_of,
)
from xdpctl.limits.table import (
    WORDS_MOST,
    load_of,
    rate_held,
    warnings_of,
    words_needed,
    words_of,
)

if TYPE_CHECKING:
    from ipaddress import IPv4Network, IPv6Network

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
    ports: tuple[int, ...] = (53,)
    proof: str = "socket"
    cookie_secret_file: Path | None = None
    exempt: tuple[IPv4Network | IPv6Network, ...] = ()


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
    units, found = units_of(50), values_of(Wanted(), 250)
    assert units == 768 << 11
    assert found.room == 125 * units << 16
    assert found.clock == round(50 * units * 65536 / 250)
    assert [prices.v4 for prices in found.prices] == [
        (units << 16, units // 32 << 16),
        (units // 8 << 16, units // 256 << 16),
    ]
    assert found.prices[0].v6 == (units << 16, units // 8 << 16)
    assert (found.slip, found.dry_run, found.flood_prices) == (1, False, (0, 0))


def test_the_burst_is_two_and_a_half_times_the_rate_or_what_is_said() -> None:
    assert burst_of(Wanted(rate_limit=1)) == 3
    assert burst_of(Wanted(rate_limit=50)) == 125
    assert burst_of(Wanted(rate_limit_burst=7)) == 7


@given(
    st.builds(
        Wanted,
        rate_limit=rates,
        rate_limit_prefixes=levels,
        rate_limit_prefixes6=levels,
        proven_factor=st.integers(1, 1000),
        flood_limit=st.just(0) | st.integers(64, 10**8),
        flood_limit_proven=st.none() | st.just(0) | st.integers(64, 10**8),
        proven_lifetime=st.integers(60, 7 * 86400),
    ),
    st.integers(1, 3600),
    hertz,
)
def test_every_number_fits_into_its_field(wanted: Wanted, seconds: int, ticks: int) -> None:
    wanted = replace(wanted, rate_limit_burst=wanted.rate_limit * seconds)
    four, six = wanted.rate_limit_prefixes, wanted.rate_limit_prefixes6
    found = values_of(wanted, ticks)
    prices = [price for each in found.prices for family in (each.v4, each.v6) for price in family]
    assert found.clock > 0
    assert 0 < found.room < found.most <= U64 // 4
    assert all(price % 65536 == 0 and 0 < price <= found.room for price in prices)
    assert found.room % 65536 == found.most % 65536 == 0
    assert [len(each.v4) for each in found.prices] == [len(four)] * 2
    assert [len(each.v6) for each in found.prices] == [len(six)] * 2
    assert len(encode_limits(found)) == LIMITS_LIVE_SIZE
    for price, room in zip(found.flood_prices, found.flood_rooms, strict=True):
        assert price < room < 1 << 44


@given(rates, hertz, levels)
def test_each_level_has_its_multiple_of_the_rate(rate: int, ticks: int, four: Levels) -> None:
    found = values_of(Wanted(rate, None, 1, four, four), ticks)
    for times, prices in zip((1, 8), found.prices, strict=True):
        for price, (_, multiplier) in zip(prices.v4, four, strict=True):
            wanted = rate * multiplier * times
            if wanted <= 10**6:  # nobody has more
                assert abs(found.clock * ticks / price / wanted - 1) < 0.01


@given(rates, hertz)
def test_the_default_prefixes_are_exact(rate: int, ticks: int) -> None:
    units, (plain, proven) = units_of(rate), values_of(Wanted(rate), ticks).prices
    assert [price * times for price, times in zip(plain.v4, (1, 32), strict=True)] == [
        units << 16
    ] * 2
    assert [price * times for price, times in zip(proven.v6, (8, 64), strict=True)] == [
        units << 16
    ] * 2


@given(rates, hertz)
def test_the_clock_keeps_the_rate_to_a_millionth(rate: int, ticks: int) -> None:
    found = values_of(Wanted(rate), ticks)
    assert abs(found.clock * ticks / (rate * units_of(rate) << 16) - 1) < 1e-6


@given(st.integers(1, 5000), hertz, st.integers(1, 3))
def test_an_account_lets_its_burst_and_then_its_rate_through(
    rate: int, ticks: int, seconds: int
) -> None:
    wanted = Wanted(rate)
    found = values_of(wanted, ticks)
    count = passed(found.room, found.clock, found.prices[0].v4[0], seconds * ticks)
    assert abs(count - (burst_of(wanted) + seconds * rate)) <= 1 + seconds * rate / ticks


@given(rates, hertz)
def test_only_another_rate_changes_the_time_of_accounts(rate: int, ticks: int) -> None:
    before = values_of(Wanted(rate), ticks)
    other = Wanted(rate, 7 * rate, 2, ((30, 7),), ((56, 3),), proven_factor=31, flood_limit=64)
    assert values_of(other, ticks).clock == before.clock


@given(rates, hertz, st.integers(1, 3600))
def test_a_full_account_seen_a_tick_late_is_not_idle(rate: int, ticks: int, seconds: int) -> None:
    found = values_of(Wanted(rate, rate * seconds), ticks)
    assert found.most - found.room >= found.clock + (CROWD * units_of(rate) << 16)


@given(rates)
def test_an_account_does_not_come_around_within_days(rate: int) -> None:
    assert (1 << 48) / (rate * units_of(rate)) >= 4 * 86400


@given(st.integers(64, 10**8), hertz)
def test_a_bucket_gives_out_its_rate(rate: int, ticks: int) -> None:
    price = values_of(Wanted(flood_limit=rate), ticks).flood_prices[0]
    assert abs(64 * (ticks << 20) / price / rate - 1) < 0.01


def test_a_bucket_without_a_limit_costs_nothing() -> None:
    assert values_of(Wanted(flood_limit=64, flood_limit_proven=0), 250).flood_prices[1] == 0
    assert values_of(Wanted(rate_limit=0), 250).clock == 0


# --- the table --------------------------------------------------------------------------


def test_the_table_holds_what_may_pass() -> None:
    assert words_of(Wanted(flood_limit=100_000)) == 8192
    assert words_of(Wanted(flood_limit=100_000, flood_limit_proven=20_000)) == 4096
    assert words_of(Wanted(flood_limit=100)) == 1024
    assert words_of(Wanted()) == 65536
    assert words_of(Wanted(rate_limit_table=2048, flood_limit=100_000)) == 2048
    assert words_of(Wanted(rate_limit=1, flood_limit=10**8)) == WORDS_MOST
    assert words_of(Wanted(rate_limit=0, flood_limit=10**8)) == 0


@given(
    st.integers(1, 10**6),
    st.integers(64, 10**8),
    st.none() | st.integers(0, 10**8),
    levels,
    levels,
)
def test_the_default_table_is_the_rule_for_any_prefixes(
    rate: int, flood: int, proven: int | None, prefixes: Levels, prefixes6: Levels
) -> None:
    wanted = Wanted(
        rate,
        flood_limit=flood,
        flood_limit_proven=proven,
        rate_limit_prefixes=prefixes,
        rate_limit_prefixes6=prefixes6,
    )
    by_rule = 1.4 * (flood + (flood if proven is None else proven)) / rate
    fitting = [2**power for power in range(10, 20) if 2**power >= by_rule]
    assert words_of(wanted) == min(fitting, default=2**19)


def test_prefixes_that_need_more_than_the_rule_are_warned_of_with_the_number_that_is_right() -> (
    None
):
    prefixes = ((64, 1), (56, 4), (48, 8))
    wanted = Wanted(flood_limit=140_000, rate_limit_prefixes6=prefixes)
    assert words_of(wanted) == words_of(Wanted(flood_limit=140_000)) == 8192
    (sentence,) = warnings_of(wanted)
    assert "has 8,192 words" in sentence
    assert "use --rate-limit-table 16384" in sentence
    assert not list(warnings_of(replace(wanted, flood_limit=100_000)))
    assert not list(warnings_of(Wanted(flood_limit=140_000)))


@given(st.integers(1, 10**6), st.integers(64, 10**8), st.none() | st.integers(64, 10**8))
def test_a_table_by_the_rule_is_enough_and_not_twice_what_is_needed(
    rate: int, flood: int, proven: int | None
) -> None:
    wanted = Wanted(rate, flood_limit=flood, flood_limit_proven=proven)
    words, passing = words_needed(wanted), flood + proven_limit_of(wanted)
    assert words.bit_count() == 1
    assert rate_held(words, wanted) >= passing - 1
    assert words == 1024 or rate_held(words // 2, wanted) <= passing


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
    (sentence,) = warnings_of(Wanted(rate_limit_table=1024))
    assert "36,571 queries a second" in sentence


@pytest.mark.parametrize(
    ("prefixes", "times"),
    [
        (((32, 1), (24, 32)), 1),
        (((32, 1), (28, 1)), 2),
        (((32, 1), (28, 1), (24, 1), (20, 1)), 4),
        (((24, 32),), 1),
    ],
)
def test_prefixes_that_may_send_no_more_than_an_address_need_words_of_their_own(
    prefixes: Levels, times: int
) -> None:
    usual, other = (
        Wanted(rate_limit_prefixes=each, flood_limit=71_680) for each in (((32, 1),), prefixes)
    )
    assert words_needed(other) == times * words_needed(usual) == times * 4096


def test_a_flood_limit_alone_is_warned_of() -> None:
    (sentence,) = warnings_of(Wanted(rate_limit=0, flood_limit=1000))
    assert "one source that has used TCP can use up" in sentence
    wanted = Wanted(rate_limit=0, flood_limit=1000, cookie_secret_file=Path("secrets"))
    (sentence,) = warnings_of(wanted)
    assert "one source with a good cookie can use up" in sentence


def test_a_flood_limit_below_the_limit_of_one_source_is_warned_of() -> None:
    (sentence,) = warnings_of(Wanted(rate_limit=1000, flood_limit=100))
    assert "one source can use up what is meant for all" in sentence


def test_no_limit_needs_no_warning() -> None:
    assert not list(warnings_of(Wanted(rate_limit=0)))


@given(st.integers(0, 2**40), st.integers(1, 10), hertz)
def test_words_in_use_are_those_whose_time_is_to_come(now: int, ahead: int, ticks: int) -> None:
    found = values_of(Wanted(), ticks)
    time = now * found.clock % U64
    used = (time + ahead * found.prices[0].v4[0] & ~0xFFFF) % U64 | 0x1234
    past = (time - (1 << 20)) % U64
    assert load_of([used, past, used, past], found, now) == 0.5


def test_an_empty_table_is_not_in_use() -> None:
    assert load_of([0] * 8, values_of(Wanted(), 250), 4_300_000_000) == 0.0
    assert load_of([], values_of(Wanted(), 250), 1) == 0.0
