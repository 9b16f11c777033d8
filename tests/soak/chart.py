"""The plot of a soak: a panel for each series, a line for each service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench import plot
from tests.soak.verdict import WARM_UP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from tests.bench.machine import Machine
    from tests.soak.gauge import Sample

PANELS: Final = {
    "memory": ("memory (PSS), MB", 1e6),
    "anonymous": ("of it anonymous, MB", 1e6),
    "state": ("state and kept bytecode, kB", 1e3),
    "journal": ("SQLite's journal, kB", 1e3),
    "descriptors": ("descriptors", 1.0),
    "threads": ("threads", 1.0),
    "processes": ("processes", 1.0),
    "pins": ("pins", 1.0),
}


def draw(
    samples: Mapping[str, Sequence[Sample]],
    seconds: float,
    title: str,
    machine: Machine,
    path: Path,
) -> None:
    """Draw every series from 0 up, so that a slope is as steep as it is."""
    figure, axes = plot.figure(rows=4, columns=2, title=title, width=9.5, height=8.5)
    for place, (series, (label, unit)) in zip(axes, PANELS.items(), strict=True):
        place.axvspan(0, seconds * WARM_UP / 60, color=plot.FAINT, alpha=0.4, linewidth=0)
        for (name, found), colour in zip(samples.items(), plot.COLOURS, strict=False):
            place.plot(
                [sample.at / 60 for sample in found],
                [getattr(sample, series) / unit for sample in found],
                color=colour,
                linewidth=1.1,
                label=name,
            )
        place.set(title=label, xlim=(0, seconds / 60))
        place.set_ylim(bottom=0)
        place.grid(axis="y")
    for place in axes[-2:]:
        place.set_xlabel("minutes (grey: warm-up, not judged)")
    axes[0].legend(fontsize=8, loc="lower right")
    plot.save(figure, path, foot=machine.text)
