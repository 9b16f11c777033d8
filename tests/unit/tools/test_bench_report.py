"""Tables are for the documentation, raw figures are for one machine: git keeps only the former."""

from __future__ import annotations

import json
import re
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


XEON = Machine("6.18", "Intel(R) Xeon(R) Processor @ 2.30GHz", 2, 0.5, "2026-11-30", "6-207")
EPYC = Machine("6.18", "AMD EPYC 7B13 64-Core Processor", 2, 0.5, "2026-11-30", "25-1")


def test_the_table_and_the_raw_figures_go_to_different_folders(tmp_path: Path) -> None:
    results, raw = tmp_path / "results", tmp_path / "build"
    rows = [Row("pass", 58.0)]
    report.write("bench-program", XEON, rows, "| pass | 58 |\n", folders=(results, raw))

    assert [path.name for path in results.iterdir()] == ["intel-xeon-6-207.md"]
    assert [path.name for path in raw.iterdir()] == ["bench-program.json"]
    assert report.table_path(XEON, results).read_text() == (
        "# Intel Xeon (6-207)\n\n## `make bench-program`\n| pass | 58 |\n"
    )
    document = json.loads((raw / "bench-program.json").read_text())
    assert document["rows"] == [{"case": "pass", "ns": 58.0}]


def test_a_run_replaces_only_its_own_section_on_its_own_kind_of_processor(
    tmp_path: Path,
) -> None:
    for name, machine, text in (
        ("bench-program", XEON, "first"),
        ("bench-growth", XEON, "growth"),
        ("bench-program", EPYC, "another"),
        ("bench-program", XEON, "second"),
    ):
        report.write_table(name, machine, f"{text}\n\n| a |\n", folder=tmp_path)

    assert report.table_path(XEON, tmp_path).read_text() == (
        "# Intel Xeon (6-207)\n\n## `make bench-growth`\ngrowth\n\n| a |\n\n"
        "## `make bench-program`\nsecond\n\n| a |\n"
    )
    assert "another" in report.table_path(EPYC, tmp_path).read_text()


def test_headings_of_a_table_stay_inside_its_section(tmp_path: Path) -> None:
    for _ in range(2):
        report.write_table("soak", XEON, "# Whole\n\n## Part\ntext\n", folder=tmp_path)
        report.write_table("bench-drop", XEON, "drop\n", folder=tmp_path)
    assert report.table_path(XEON, tmp_path).read_text() == (
        "# Intel Xeon (6-207)\n\n## `make bench-drop`\ndrop\n\n"
        "## `make soak`\n### Whole\n\n### Part\ntext\n"
    )


def test_a_plot_is_shown_in_its_section(tmp_path: Path) -> None:
    report.write_table("soak", XEON, "flat\n", plot="over time", folder=tmp_path)
    text = report.table_path(XEON, tmp_path).read_text()
    assert text.endswith("flat\n\n![over time](intel-xeon-6-207-soak.svg)\n")
    assert report.plot_path("soak", XEON).name == "intel-xeon-6-207-soak.svg"


def test_git_keeps_tables_and_the_plots_that_they_show_but_no_raw_figures() -> None:
    argv = ["git", "ls-files", "tests/bench/results"]
    listed = subprocess.run(argv, cwd=report.ROOT, check=True, capture_output=True, text=True)
    paths = [report.ROOT / line for line in listed.stdout.splitlines()]
    tables = [path for path in paths if path.suffix == ".md"]
    shown = {
        name for table in tables for name in re.findall(r"\]\((.*?\.svg)\)", table.read_text())
    }

    assert {path.suffix for path in paths} == {".md", ".svg"}
    assert {path.name for path in paths if path.suffix == ".svg"} == shown
