"""Where results go: tables to tests/bench/results, which git keeps; raw figures to build/.

The tables and one plot a bench are what the documentation shows. Raw figures are large, differ
on every run, and are only read again to compare two runs on one machine.
"""

from __future__ import annotations

import json
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


def write(
    name: str,
    machine: Machine,
    rows: Iterable[Any],
    text: str,
    *,
    folders: tuple[Path, Path] = (RESULTS, RAW),
) -> None:
    """Write what a command measured: the table, and its rows as raw figures.

    Args:
        name: of the files, without their ending.
        machine: where it was measured.
        rows: dataclasses.
        text: Markdown, as it was printed.
        folders: of the table and of the raw figures.
    """
    document = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
    results, raw = folders
    write_table(name, text, results)
    write_raw(name, json.dumps(document, indent=2) + "\n", raw)


def write_table(name: str, text: str, folder: Path) -> None:
    """Write `text`, Markdown, to NAME.md in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.md").write_text(text, encoding="utf-8")


def write_raw(name: str, document: str, folder: Path) -> None:
    """Write `document`, JSON, to NAME.json in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(document, encoding="utf-8")
