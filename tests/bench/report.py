"""Where results that are committed go: tests/bench/results, a JSON and a Markdown file each."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.bench.machine import Machine

RESULTS: Final = Path(__file__).resolve().parent / "results"


def write(name: str, machine: Machine, rows: Iterable[Any], text: str) -> None:
    """Write what a command measured.

    Args:
        name: of the files, without their ending.
        machine: where it was measured.
        rows: dataclasses.
        text: Markdown, as it was printed.
    """
    RESULTS.mkdir(exist_ok=True)
    document = {"machine": asdict(machine), "rows": [asdict(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")
