"""The look of the plots under results/: one figure, saved as an SVG that a diff can be read of.

The only importer of matplotlib (the `bench` extra, installed by deploy/setup.sh bench).
Owns colours, fonts and the background, which is drawn, so that a plot can be read on a
dark page as well; what is plotted is its caller's.

    from tests.bench import plot

    figure, (left, right) = plot.figure(columns=2, title="…", width=9, height=4)
    left.barh(…)
    plot.save(figure, path, foot=machine.text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from matplotlib import rcParams
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PAPER: Final = "#ffffff"
INK: Final = "#1f2933"
FAINT: Final = "#d5dae0"
COLOURS: Final = ("#0b7285", "#e8590c", "#5f3dc4", "#868e96", "#2b8a3e", "#c2255c")
"""Told apart with red-green blindness too; ours first."""

_LOOK: Final = {
    "svg.fonttype": "none",  # text stays text, small and searchable
    "svg.hashsalt": "xdpctl",  # the same figures give the same file
    "font.family": "sans-serif",
    "font.sans-serif": ["Helvetica", "Arial", "DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
}


def figure(
    *,
    rows: int | Sequence[float] = 1,
    columns: int = 1,
    title: str = "",
    width: float = 8.0,
    height: float = 4.5,
) -> tuple[Figure, list[Any]]:
    """Return a figure and its axes, row by row; its look holds for this process from now on.

    Args:
        rows: of axes: how many, or how high each is beside the others.
        columns: of axes.
        title: over all of them.
        width: of all, inches.
        height: of all, inches.
    """
    rcParams.update(_LOOK)
    made = Figure(figsize=(width, height), facecolor=PAPER, layout="constrained")
    heights = [1.0] * rows if isinstance(rows, int) else list(rows)
    axes = made.subplots(len(heights), columns, squeeze=False, height_ratios=heights)
    if title:
        made.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return made, list(axes.flat)


def save(figure: Figure, path: Path, *, foot: str = "") -> None:
    """Write the SVG, with a line under it (what machine, what day)."""
    if foot:
        figure.supxlabel(foot, x=0.01, ha="left", fontsize=7.5, color="#52606d")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
    text = path.read_text(encoding="utf-8")
    path.write_text("".join(f"{line.rstrip()}\n" for line in text.splitlines()), encoding="utf-8")


def short(number: float) -> str:
    """Return 1.2M, 350k, 900, as an axis or a bar has it."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{unit}"
    return f"{number:.3g}"


def shortened() -> FuncFormatter:
    """Return a formatter of ticks that writes them as `short` does."""
    return FuncFormatter(lambda number, _: short(number))
