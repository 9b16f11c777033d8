"""Whether a series grows: its slope after the warm-up, and what it may be.

The slope is Theil's and Sen's, the median of the slopes between all pairs of points: one
moment at which more was held, as while a request is answered, does not tilt it. The time
is judged in three parts, and the middle one of their slopes counts: a table that is made
larger once is a step in one part, a leak is a slope in each. Decides nothing about how
samples are taken. Used by __main__.py.
"""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.soak.gauge import Sample

WARM_UP: Final = 0.3
"""Part of the time that is not judged: what is made once is made there."""

PARTS: Final = 3

SETTLED: Final = 0.5
"""Part of a life after which a service that is killed again and again is looked at."""

LIMITS: Final = {
    "memory": 4 << 20,  # pages of files, too, which are shared with what else runs
    "anonymous": 1 << 20,
    "processes": 0.5,
    "descriptors": 1.0,
    "threads": 1.0,
    "state": 128 << 10,
    "journal": 4 << 20,  # a saw: SQLite empties it when it has a thousand pages
    "pins": 0.5,
}
"""How much each may have grown over the whole judged time, by its slope."""


@dataclass(frozen=True, slots=True)
class Row:
    """One series, judged.

    Attributes:
        site, series: which. `seconds`: judged.
        least, median, most: after the warm-up.
        grown: the middle slope times the judged time. `limit`: what it may be.
    """

    site: str
    series: str
    seconds: float
    least: float
    median: float
    most: float
    grown: float
    limit: float

    @property
    def is_flat(self) -> bool:
        """Whether it grew no more than it may."""
        return self.grown <= self.limit


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median slope of all pairs; 0 for fewer than two moments."""
    found = [
        (later - earlier) / (end - start)
        for (start, earlier), (end, later) in itertools.combinations(points, 2)
        if end > start
    ]
    return statistics.median(found) if found else 0.0


def middle_slope(points: Sequence[tuple[float, float]]) -> float:
    """Return the median of the slopes of the parts that the points are cut into."""
    size = max(1, -(-len(points) // PARTS))
    parts = [points[at : at + size] for at in range(0, len(points), size)]
    return statistics.median([slope(part) for part in parts] or [0.0])


def judge(site: str, samples: Sequence[Sample], seconds: float, life: float | None) -> list[Row]:
    """Return a row a series.

    Args:
        site: as the rows have it.
        samples: of the whole soak.
        seconds: that the soak was to take.
        life: of a service that is killed; then samples of young ones are left out, as
            each begins small.
    """
    warm = seconds * WARM_UP
    settled = 0.0 if life is None else life * SETTLED
    chosen = [sample for sample in samples if sample.at >= warm and sample.age >= settled]
    return [_row(site, series, limit, chosen) for series, limit in LIMITS.items()]


def _row(site: str, series: str, limit: float, samples: Sequence[Sample]) -> Row:
    points = [(sample.at, float(getattr(sample, series))) for sample in samples]
    values = [value for _, value in points] or [0.0]
    seconds = points[-1][0] - points[0][0] if points else 0.0
    return Row(
        site,
        series,
        round(seconds, 1),
        min(values),
        statistics.median(values),
        max(values),
        round(middle_slope(points) * seconds, 2),
        limit,
    )
