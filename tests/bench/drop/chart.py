"""The plot: packets a second, and CPU time a packet, one bar a means (docs/performance.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tests.bench import plot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.bench.drop.report import Outcome, Row
    from tests.bench.xsk import Spread

_OURS, _DNSDIST, _OTHERS = plot.COLOURS[0], plot.COLOURS[1], plot.COLOURS[3]
_COLOUR: Final = {"native": _OURS, "generic": _OURS, "userspace": _DNSDIST, "socket": _DNSDIST}
_ROOM: Final = 1.22
"""Of the axis, times the longest bar: room for the figure beside it."""


def draw(outcome: Outcome, path: Path) -> None:
    """Draw every series, a row each, and write the SVG."""
    series = list(outcome.rows.items())
    figure, axes = plot.figure(
        rows=[len(rows) + 1.3 for _, rows in series],
        columns=2,
        title="One flood of DNS queries, one core to receive it",
        width=9.5,
        height=1.1 + sum(len(rows) + 1.3 for _, rows in series) * 0.26,
    )
    for (what, rows), left, right in zip(series, axes[::2], axes[1::2], strict=True):
        left.set_title(f"{what.value}: packets/s, no honest query lost")
        _bars(
            left, rows, lambda row: row.rate, lambda row: _mark(row) + plot.short(row.rate.median)
        )
        right.set_title(f"CPU seconds a million packets, at {plot.short(outcome.same_rate)}/s")
        _bars(right, rows, lambda row: row.cpu, lambda row: f"{row.cpu.median:.2f}")
        right.set_yticklabels([])
    machine = outcome.machine
    plot.save(
        figure,
        path,
        foot=f"Linux {machine.kernel}, {machine.cpu}, {machine.date}, medians of"
        f" {outcome.rounds}, least and most as lines. {outcome.software}.",
    )


def _mark(row: Row) -> str:
    return "≥ " if row.limited else ""


def _bars(
    axes: Any,  # noqa: ANN401 - matplotlib is not seen by mypy
    rows: Sequence[Row],
    spread: Callable[[Row], Spread],
    figure: Callable[[Row], str],
) -> None:
    places = range(len(rows))
    found = [spread(row) for row in rows]
    axes.barh(
        places,
        [bar.median for bar in found],
        height=0.66,
        color=[_COLOUR.get(row.key, _OTHERS) for row in rows],
        xerr=[[bar.median - bar.least for bar in found], [bar.most - bar.median for bar in found]],
        error_kw={"ecolor": plot.INK, "elinewidth": 0.8, "capsize": 2},
    )
    longest = max(bar.most for bar in found)
    for place, row, bar in zip(places, rows, found, strict=True):
        axes.text(bar.most + longest * 0.015, place, figure(row), va="center", fontsize=8.5)
    axes.set_yticks(places, [row.label for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.set_xlim(0, longest * _ROOM)
    axes.xaxis.set_major_formatter(plot.shortened())
    axes.grid(axis="x")
