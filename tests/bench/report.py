"""Where results go: tables to tests/bench/results, which git keeps; raw figures to build/.

There is one file a kind of processor, PROCESSOR.md, with a section for each bench, and one plot
a bench, PROCESSOR-BENCH.svg: a run replaces its own section and plot, on its processor only.
They are what the documentation shows. Raw figures are large, differ on every run, and are only
read again to compare two runs on one machine.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.bench.machine import Machine

ROOT: Final = Path(__file__).resolve().parents[2]

RESULTS: Final = ROOT / "tests" / "bench" / "results"
"""Tables (Markdown) and plots (SVG)."""

RAW: Final = ROOT / "build"
"""Raw figures (JSON), which git ignores."""


_SECTION: Final = re.compile(r"^## `make ([a-z-]+)`$", re.MULTILINE)


def write(  # noqa: PLR0913 - a plot and other folders are rare
    name: str,
    machine: Machine,
    rows: Iterable[Any],
    text: str,
    *,
    plot: str = "",
    folders: tuple[Path, Path] = (RESULTS, RAW),
) -> None:
    """Write what a command measured: the table, and its rows as raw figures.

    Args:
        name: of the make target, without `make`.
        machine: where it was measured.
        rows: dataclasses.
        text: Markdown, as it was printed.
        plot: what the plot shows; empty: there is none.
        folders: of the table and of the raw figures.
    """
    document = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
    results, raw = folders
    write_table(name, machine, text, plot=plot, folder=results)
    write_raw(name, json.dumps(document, indent=2) + "\n", raw)


def table_path(machine: Machine, folder: Path = RESULTS) -> Path:
    """Return the file with all tables of this kind of processor."""
    return folder / f"{machine.slug}.md"


def plot_path(name: str, machine: Machine, folder: Path = RESULTS) -> Path:
    """Return the file with the plot of a bench on this kind of processor."""
    return folder / f"{machine.slug}-{name}.svg"


def write_table(
    name: str, machine: Machine, text: str, *, plot: str = "", folder: Path = RESULTS
) -> None:
    """Put `text`, Markdown, in the place of what this bench has measured on this processor.

    Arguments are as of `write`. Headings in `text` become headings below the section's.
    """
    path = table_path(machine, folder)
    folder.mkdir(parents=True, exist_ok=True)
    sections = _sections(path.read_text(encoding="utf-8")) if path.exists() else {}
    parts = [re.sub(r"^#+ ", "### ", text, flags=re.MULTILINE).strip()]
    if plot:
        parts.append(f"![{plot}]({plot_path(name, machine).name})")
    sections[name] = "\n\n".join(parts)
    whole = [f"# {machine.processor}", *(f"## `make {n}`\n{sections[n]}" for n in sorted(sections))]
    path.write_text("\n\n".join(whole) + "\n", encoding="utf-8")


def _sections(text: str) -> dict[str, str]:
    """Return the sections of a file by the target that made each."""
    _, *found = _SECTION.split(text)
    return {name: part.strip() for name, part in zip(found[::2], found[1::2], strict=True)}


def write_raw(name: str, document: str, folder: Path = RAW) -> None:
    """Write `document`, JSON, to NAME.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(document, encoding="utf-8")
