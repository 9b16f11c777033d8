"""The plot: for each attack, the share of honest questions answered, a bar a defence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench import plot
from tests.bench.attack.attacks import ATTACKS
from tests.bench.attack.defences import DEFENCES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.bench.attack.report import Results
    from tests.bench.machine import Machine

_OURS: Final = {"xdpctl-bind": plot.COLOURS[0], "xdpctl-knot": plot.COLOURS[4]}
_THEIRS: Final = dict(
    zip(("none", "bind", "knot", "dnsdist"), (plot.COLOURS[i] for i in (3, 1, 2, 5)), strict=True)
)


def draw(done: Results, machine: Machine, path: Path) -> None:
    """Draw and write the SVG."""
    figure, axes = plot.figure(
        rows=2,
        columns=len(ATTACKS) // 2,
        title="Honest questions answered under attack, per cent",
        width=11,
        height=5.2,
    )
    for attack, axis in zip(ATTACKS, axes, strict=True):
        axis.set_title(attack.label, fontsize=8.5)
        for place, defence in enumerate(DEFENCES):
            share = 100 * (done.share(attack.key, defence.key) or 0)
            axis.barh(place, share, height=0.7, color={**_OURS, **_THEIRS}[defence.key])
            inside = share > 60
            axis.text(
                share - 2 if inside else share + 2,
                place,
                f"{share:.1f}",
                va="center",
                ha="right" if inside else "left",
                color=plot.PAPER if inside else plot.INK,
                fontsize=8,
            )
        labels = [defence.label for defence in DEFENCES] if axis in axes[::4] else []
        axis.set_yticks(range(len(DEFENCES)), labels or [""] * len(DEFENCES))
        axis.tick_params(axis="y", length=0)
        axis.invert_yaxis()
        axis.set_xlim(0, 100)
        axis.set_xticks([0, 50, 100])
    plot.save(
        figure,
        path,
        foot=f"Linux {machine.kernel}, {machine.cpu}, {machine.date}. make bench-attack",
    )
