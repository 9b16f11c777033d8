"""A soak's verdict: what grows is seen, what only wavers is flat."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.soak.gauge import Sample
from tests.soak.verdict import LIMITS, judge, slope

SECONDS = 600.0
CALM = Sample(
    at=0,
    age=0,
    memory=40_000_000,
    anonymous=30_000_000,
    processes=1,
    descriptors=40,
    threads=8,
    state=300_000,
    journal=2_000_000,
    pins=14,
)


def samples(**growing: float) -> list[Sample]:
    """Return a soak with a sample every 3 s in which these series gain so much a sample."""
    return [
        replace(
            CALM,
            at=3.0 * number,
            age=3.0 * number,
            **{name: int(getattr(CALM, name) + number * by) for name, by in growing.items()},
        )
        for number in range(200)
    ]


def growing(found: list[Sample]) -> list[str]:
    return [row.series for row in judge("x", found, SECONDS, None) if not row.is_flat]


def test_what_stays_as_it_is_is_flat() -> None:
    assert growing(samples()) == []


@pytest.mark.parametrize("series", list(LIMITS))
def test_what_grows_is_named(series: str) -> None:
    leak = {"memory": 40_000, "anonymous": 20_000, "state": 4096, "journal": 40_000}.get(
        series, 0.1
    )
    assert growing(samples(**{series: leak})) == [series]


def test_a_descriptor_lost_every_minute_is_a_leak() -> None:
    assert growing(samples(descriptors=1 / 20)) == ["descriptors"]


def test_what_shrinks_is_flat() -> None:
    assert growing(samples(anonymous=-20_000)) == []


def test_growth_in_the_warm_up_is_not_judged() -> None:
    found = [
        replace(sample, anonymous=sample.anonymous + min(100_000 * number, 4_000_000))
        for number, sample in enumerate(samples())
    ]
    assert growing(found) == []


def test_peaks_do_not_tilt_a_flat_series() -> None:
    found = [
        replace(sample, descriptors=40 + 9 * (number % 7 == 0))
        for number, sample in enumerate(samples())
    ]
    assert growing(found) == []


@pytest.mark.parametrize("at", [250, 320, 400, 500])
def test_a_table_that_is_made_larger_once_is_no_leak(at: float) -> None:
    found = [
        replace(sample, anonymous=sample.anonymous + 2_000_000 * (sample.at > at))
        for sample in samples()
    ]
    assert growing(found) == []


def test_a_table_that_is_made_larger_every_minute_is_one() -> None:
    found = [
        replace(sample, anonymous=sample.anonymous + 2_000_000 * int(sample.at / 60))
        for sample in samples()
    ]
    assert growing(found) == ["anonymous"]


def test_young_lives_of_a_killed_service_are_left_out() -> None:
    found = [
        replace(sample, age=sample.at % 30, memory=int(1e7 + 1e6 * (sample.at % 30 >= 15)))
        for sample in samples()
    ]
    (row, *_) = judge("x", found, SECONDS, 30.0)
    assert (row.least, row.most) == (11_000_000, 11_000_000)


def test_growth_over_many_lives_is_seen() -> None:
    found = [replace(sample, age=sample.at % 30) for sample in samples(state=4096)]
    assert [row.series for row in judge("x", found, SECONDS, 30.0) if not row.is_flat] == ["state"]


def test_a_slope_is_a_series_per_second() -> None:
    assert slope([(0, 1.0), (1, 3.0), (2, 5.0), (3, 7.0)]) == 2.0
    assert slope([(1, 1.0)]) == 0.0
