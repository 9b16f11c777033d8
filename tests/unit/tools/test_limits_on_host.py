"""The limits in C on this machine, packet by packet, against the two models."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from fractions import Fraction
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import accumulate
from typing import TYPE_CHECKING

import pytest

from tests.engines.limit_buckets import Buckets
from tests.engines.limit_words import PLAIN, Words, X
from tests.engines.limited import (
    LEVELS,
    Limited,
    configured,
    values_for,
    with_flood,
)
from tests.packets.cookies import query_with, server_cookie, siphash
from xdpctl.abi import FLOOD_BATCH, LIMIT_WORDS, PacketAction, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.abi import LimitValues
    from xdpctl.program.config import ProgramConfig

START = (1 << 32) + 12345
"""Ticks: jiffies begin five minutes before 2^32."""

FOUR = (((32, 1), (28, 4), (24, 16), (20, 64)), ((128, 1), (64, 2), (56, 4), (48, 8)))
ODD = (((32, 1),), ((64, 1), (48, 8), (33, 16)))
Address = IPv4Address | IPv6Address


def crowd(seed: int, count: int) -> list[Address]:
    """Return sources, many of them in one prefix."""
    dice = random.Random(seed)
    near = [IPv4Address("192.0.2.0") + dice.randrange(256) for _ in range(count // 3)]
    far = [IPv4Address(dice.getrandbits(32)) for _ in range(count // 3)]
    base = int(IPv6Address("2001:db8::"))
    wide = [
        IPv6Address(base | dice.getrandbits(20) << 60 | dice.getrandbits(2)) for _ in range(count)
    ]
    return [*near, *far, *wide[: count - len(near) - len(far)]]


def words_of(limited: Limited, config: ProgramConfig, values: LimitValues, sets: int) -> Words:
    """Return the first model of these maps."""
    lengths = config.limits4, config.limits6
    return Words(values, limited.secrets, *lengths, sets, flood=config.flood)


def trace(seed: int, sources: list[Address], count: int) -> Iterator[tuple[Address, int]]:
    """Yield packets: who, and when; now and then a CPU sees the tick before."""
    dice = random.Random(seed)
    ticks = START
    for _ in range(count):
        ticks += dice.choice((0, 0, 0, 0, 0, 0, 1, 1, 2, 12))
        late = dice.random() < 0.05
        yield dice.choice(sources), ticks - late


@pytest.mark.parametrize(
    ("levels", "sets", "flood", "count"),
    [
        (LEVELS, 1 << 12, (0, 0), 12),
        (LEVELS, 2, (0, 0), 60),
        (LEVELS, 1, (0, 0), 12),
        (FOUR, 4, (0, 0), 30),
        (ODD, 8, (0, 0), 30),
        (LEVELS, 16, (60, 0), 9),
        (LEVELS, 4, (60, 10), 24),
    ],
    ids=["roomy", "full", "one set", "four levels", "odd levels", "flood", "flooded and full"],
)
def test_every_word_is_as_the_model_has_it(
    levels: tuple[tuple[tuple[int, int], ...], ...],
    sets: int,
    flood: tuple[int, int],
    count: int,
) -> None:
    config = replace(configured(levels), flood=any(flood))
    values = with_flood(values_for(2, 6, levels=levels), *flood)
    limited = Limited(config, sets=sets, seed=sets)
    limited.write(values)
    model = words_of(limited, config, values, sets)
    refused = dict.fromkeys((None, Reason.LIMIT, Reason.UNPROVEN), 0)
    for source, ticks in trace(sets, crowd(sets, count), 800):
        expected = model.packet(source, ticks)
        refused[expected] += 1
        result = limited.query(source, ticks)
        assert result.reason == (Reason.NO_MATCH if expected is None else expected)
        assert limited.until == model.until
        assert limited.cells == model.cells
    assert refused[None] > 100
    assert refused[Reason.LIMIT] > 30
    assert (refused[Reason.UNPROVEN] > 30) == any(flood)


KEY = bytes(range(16))
LIFETIME = 1 << 16
NOW = 1_700_000_000


@pytest.mark.parametrize(
    ("sets", "flood", "count"),
    [(64, (0, 0), 12), (2, (0, 0), 24), (64, (60, 60), 24), (64, (30, 1), 24), (64, (30, 0), 24)],
    ids=["by source", "full", "flood", "little for the proven", "nothing for the proven"],
)
def test_second_accounts_are_as_the_model_has_them(
    sets: int, flood: tuple[int, int], count: int
) -> None:
    config = replace(configured(), flood=any(flood), proven=True, cookies=True)
    values = replace(
        with_flood(values_for(2, 3, factor=3), *flood),
        cookie_keys=(struct.unpack("<2Q", KEY),),
        cookie_base=NOW << 32,
        proven_lifetime=LIFETIME,
    )
    limited = Limited(config, sets=sets, seed=sets)
    limited.write(values)
    model = words_of(limited, config, values, sets)
    sources = crowd(sets, count)
    proven = set(sources[::2])
    for source in proven:
        limited.prove(source, START, LIFETIME)
    covered = {
        ip_network((source, 56 if source.version == 6 else 32), strict=False) for source in proven
    }
    dice = random.Random(1)
    seen: set[tuple[Reason | None, bool, bool]] = set()
    for source, ticks in trace(sets, sources, 700):
        good = dice.random() < 0.2
        stamp = NOW if good else NOW - 4000
        message = query_with(server_cookie(KEY, source, stamp))
        is_proven = any(source in prefix for prefix in covered if prefix.version == source.version)
        expected = model.packet(source, ticks, proven=is_proven, cookie=good)
        seen.add((expected, is_proven, good))
        assert limited.query(source, ticks, message).reason == (expected or Reason.NO_MATCH)
        assert (limited.until, limited.cells) == (model.until, model.cells)
    assert {(None, True, False), (None, False, True)} <= seen
    assert (
        (Reason.UNPROVEN, False, False) in seen
        if any(flood)
        else (Reason.LIMIT, True, False) in seen
    )


def test_a_proven_source_has_its_factor_more() -> None:
    config = replace(configured(), proven=True)
    limited = Limited(config)
    limited.write(replace(values_for(1, 10, factor=8), proven_lifetime=LIFETIME))
    known, other = IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1")
    limited.prove(known, START, LIFETIME)
    went = {
        source: sum(limited.query(source, START).reason is Reason.NO_MATCH for _ in range(120))
        for source in (known, other)
    }
    assert went == {known: 10 + 80, other: 10}


def test_who_uses_addresses_of_some_resolvers_does_not_take_y_from_the_others() -> None:
    """Fifty whose addresses are used ask for twice Y; from half a second on the others get on."""
    y, hz = 10_000, 250
    levels = (((32, 1),), ((64, 1),))
    limited = Limited(replace(configured(levels), flood=True, proven=True))
    values = with_flood(values_for(50, 125, factor=8, levels=levels, hz=hz), 1, y, hz=hz)
    limited.write(replace(values, proven_lifetime=LIFETIME))
    resolvers = [IPv4Address("192.0.2.0") + number for number in range(50)]
    honest = [IPv4Address(f"10.{number}.0.1") for number in range(100)]
    for source in (*resolvers, *honest):
        limited.prove(source, START, LIFETIME)
    dice = random.Random(8)
    answered = []
    passed = 0
    for ticks in range(hz):
        turns = [(dice.choice(resolvers), False) for _ in range(80)]
        turns += [(dice.choice(honest), True) for _ in range(4)]  # ten a second each
        dice.shuffle(turns)
        for source, is_honest in turns:
            went = limited.query(source, START + ticks).reason is Reason.NO_MATCH
            passed += went
            if is_honest and ticks >= hz // 2:
                answered.append(went)
    assert sum(answered) >= 0.995 * len(answered)
    assert passed <= y + 8 * y // hz + 2 * FLOOD_BATCH
    assert passed >= 0.9 * y


@pytest.mark.parametrize("start", [0, (1 << 64) - 40, (1 << 48) - 7, START])
def test_time_may_wrap(start: int) -> None:
    """The 48 bits of a word wrap, and so do ticks * clock."""
    config = configured()
    values = values_for(50, 10)
    # a clock with which 2^48 units pass within the trace
    values = replace(values, clock=(1 << 64) // 64, room=1 << 62, most=(1 << 62) + (1 << 61))
    limited = Limited(config, sets=4)
    limited.write(values)
    model = words_of(limited, config, values, 4)
    for step, (source, ticks) in enumerate(trace(3, crowd(3, 9), 800)):
        at = (start + ticks - START) % (1 << 64)
        expected = model.packet(source, at)
        assert limited.query(source, at).reason == (expected or Reason.NO_MATCH), step
        assert limited.cells == model.cells


def test_any_word_may_lie_in_a_cell() -> None:
    """Whatever another version or another rate left there: the model reads it alike."""
    dice = random.Random(5)
    config = configured(FOUR)
    values = values_for(1000, 20, levels=FOUR)
    limited = Limited(config, sets=4)
    limited.write(values)
    model = words_of(limited, config, values, 4)
    sources = crowd(5, 12)
    for _ in range(200):
        now = START * values.clock % (1 << 64)
        tags = [model.place(source, PLAIN, 0)[1] for source in sources]
        model.cells = [
            (now + dice.choice((0, values.room, values.most, -1, dice.getrandbits(64)))) % (1 << 64)
            & ~0xFFFF
            | dice.choice(tags)
            for _ in model.cells
        ]
        limited.set_cells(model.cells)
        for source in sources:
            expected = model.packet(source, START)
            assert limited.query(source, START).reason == (expected or Reason.NO_MATCH)
            assert limited.cells == model.cells


def test_a_packet_that_does_not_go_on_writes_nothing() -> None:
    config = replace(configured(), flood=True)
    limited = Limited(config, sets=16)
    limited.write(with_flood(values_for(50, 5), 10_000, 0))
    source = IPv4Address("192.0.2.1")
    verdicts = [limited.query(source, START).action for _ in range(20)]
    cells, until = limited.cells, limited.until
    assert verdicts == [PacketAction.PASS] * 5 + [PacketAction.TRUNCATE] * 15
    assert any(cells)
    for _ in range(20):
        assert limited.query(source, START).reason is Reason.LIMIT
    assert (limited.cells, limited.until) == (cells, until)


@pytest.mark.parametrize("slip", [0, 1, 2, 3, 5])
def test_every_slipth_limited_packet_is_answered(slip: int) -> None:
    limited = Limited(configured())
    limited.write(replace(values_for(50, 5), slip=slip))
    source = IPv4Address("192.0.2.1")
    actions = [limited.query(source, START).action for _ in range(35)][5:]
    answered = [at for at, action in enumerate(actions) if action is PacketAction.TRUNCATE]
    assert answered == ([*range(slip - 1, 30, slip)] if slip else [])
    assert {*actions} <= {PacketAction.TRUNCATE, PacketAction.DROP}


def test_a_dry_run_decides_as_the_real_thing() -> None:
    config = replace(configured(), flood=True)
    values = with_flood(values_for(50, 5), 500, 0)
    real, dry = Limited(config, sets=64), Limited(config, sets=64)
    real.write(values)
    dry.write(replace(values, dry_run=True))
    for source, ticks in trace(9, crowd(9, 20), 2000):
        truly, shown = real.query(source, ticks), dry.query(source, ticks)
        assert shown.reason is truly.reason
        assert shown.action is PacketAction.PASS
        assert (dry.cells, dry.until) == (real.cells, real.until)


def test_a_live_change_keeps_what_was_spent() -> None:
    limited = Limited(configured())
    values = values_for(50, 10)
    limited.write(values)
    source = IPv4Address("192.0.2.1")
    assert [limited.query(source, START).reason for _ in range(8)] == [Reason.NO_MATCH] * 8
    limited.write(replace(values, room=values.room // 2))
    assert limited.query(source, START).reason is Reason.LIMIT
    limited.write(replace(values, room=values.room * 2))
    goes_on = [limited.query(source, START).reason is Reason.NO_MATCH for _ in range(20)]
    assert goes_on == [True] * 12 + [False] * 8


# Against the second model


@pytest.mark.parametrize("hz", [100, 250, 1000])
def test_no_source_passes_more_than_its_bucket_allows(hz: int) -> None:
    """In a roomy table: what the exact buckets refuse, and a tick later still would, is refused."""
    rate, burst = 50, 125
    limited = Limited(configured(), sets=1 << 12)
    limited.write(values_for(rate, burst, hz=hz))
    ideal = Buckets(Fraction(rate), Fraction(burst))
    dice = random.Random(hz)
    sources: list[Address] = [IPv4Address("192.0.2.0") + n for n in range(6)]
    sources += [IPv6Address("2001:db8::") + (n << 64) for n in range(6)]
    passed = differing = 0
    for moment in accumulate(dice.choice((0, 100, 300, 1000)) for _ in range(4000)):
        ticks = START + moment * hz // 1_000_000
        source = dice.choice(sources)
        now = Fraction(ticks, hz)
        allowed = ideal.allows(source, now)
        went = limited.query(source, ticks).reason is Reason.NO_MATCH
        if went:
            ideal.take(source, now)
            passed += 1
            low = min(bucket.at(now) for bucket in ideal.known.values())
            assert low > Fraction(-1, 100)  # prices are cut to whole 2^16ths of a unit
        differing += went != allowed
    assert passed > 500
    assert differing <= 2


def test_few_who_ask_little_are_limited_in_a_table_that_is_full_to_the_rule() -> None:
    """At load 0.7 at most one in ten thousand that the exact buckets let go on is limited."""
    rate, burst, hz = 50, 125, 250
    sets = 1 << 5
    words = sets * LIMIT_WORDS
    limited = Limited(configured((((32, 1),), ((64, 1),))), sets=sets)
    limited.write(values_for(rate, burst, hz=hz, levels=(((32, 1),), ((64, 1),))))
    dice = random.Random(4)
    sources = [IPv4Address(dice.getrandbits(32)) for _ in range(100_000)]
    wrongly = 0
    count = 10_000
    per_second = int(0.7 * words * rate)  # each packet holds a word for 1 / rate
    for number in range(count):
        ticks = START + number * hz // per_second
        wrongly += limited.query(dice.choice(sources), ticks).reason is Reason.LIMIT
    assert wrongly <= count // 10_000


def test_a_full_table_never_opens() -> None:
    """Ten times more sources than words: a heavy one still passes no more than its limit."""
    rate, burst, hz = 50, 10, 250
    sets = 8
    levels = (((32, 1),), ((64, 1),))
    limited = Limited(configured(levels), sets=sets)
    limited.write(values_for(rate, burst, hz=hz, levels=levels))
    dice = random.Random(6)
    heavy = IPv4Address("192.0.2.1")
    passed = 0
    seconds = 4
    for ticks in range(seconds * hz):
        for _ in range(4):
            limited.query(IPv4Address(dice.getrandbits(32)), START + ticks)
            passed += limited.query(heavy, START + ticks).reason is Reason.NO_MATCH
    assert passed <= rate * seconds + burst
    assert passed > rate * seconds // 10


def test_the_total_is_what_all_sources_together_may() -> None:
    """X a second, and the 64 that a CPU keeps; random sources, each far below its own limit."""
    x, hz = 2_500, 250
    config = replace(configured(), flood=True)
    limited = Limited(config)
    limited.write(with_flood(values_for(50, 125, hz=hz), x, 0, hz=hz))
    dice = random.Random(7)
    passed = 0
    for ticks in range(hz):
        for _ in range(30):
            source = IPv4Address(dice.getrandbits(32))
            result = limited.query(source, START + ticks)
            passed += result.reason is Reason.NO_MATCH
            assert result.reason in {Reason.NO_MATCH, Reason.UNPROVEN}
    room = 2 * x // hz + FLOOD_BATCH  # of the bucket: a batch, and two ticks
    assert x - 2 * FLOOD_BATCH <= passed <= x + room + FLOOD_BATCH
    assert limited.until[X] > 0


def test_siphash_is_the_published_one() -> None:
    """The first vectors of its reference: octets 0, 1, 2, … under the key 0 to 15."""
    assert siphash(KEY, b"").hex() == "310e0edd47db6f72"
    assert siphash(KEY, bytes(range(15))).hex() == "e545be4961ca29a1"
