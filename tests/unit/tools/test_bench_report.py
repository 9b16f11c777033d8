"""Tables are for the documentation, raw figures are for one machine: git keeps only the former."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench import report
from tests.bench.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Row:
    """What a bench measured."""

    case: str
    ns: float


def test_the_table_and_the_raw_figures_go_to_different_folders(tmp_path: Path) -> None:
    results, raw = tmp_path / "results", tmp_path / "build"
    rows = [Row("pass", 58.0)]
    report.write("program", Machine.now(), rows, "| pass | 58 |\n", folders=(results, raw))

    assert [path.name for path in results.iterdir()] == ["program.md"]
    assert [path.name for path in raw.iterdir()] == ["program.json"]
    assert (results / "program.md").read_text() == "| pass | 58 |\n"
    document = json.loads((raw / "program.json").read_text())
    assert document["rows"] == [{"case": "pass", "ns": 58.0}]


def test_git_keeps_tables_and_one_plot_a_bench_but_no_raw_figures() -> None:
    argv = ["git", "ls-files", "tests/bench/results"]
    listed = subprocess.run(argv, cwd=report.ROOT, check=True, capture_output=True, text=True)
    names = [line.rpartition("/")[2] for line in listed.stdout.splitlines()]
    plots = [name.removesuffix(".svg") for name in names if name.endswith(".svg")]

    assert {name.rpartition(".")[2] for name in names} <= {"md", "svg"}
    assert {f"{plot}.md" for plot in plots} <= set(names)
