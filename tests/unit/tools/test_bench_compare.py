"""`make bench-compare`: ratios of two runs, with what their extremes allow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.bench.compare import Run, lines

if TYPE_CHECKING:
    from pathlib import Path

MACHINE = {"kernel": "6.18", "cpu": "a CPU", "cpus": 2, "load": 0.5, "date": "2026-11-21"}


def written(path: Path, name: str, *, median: float, least: float, most: float) -> Run:
    packet = {"name": name, "median": median, "least": least, "most": most}
    service = {"seconds_to_ready": 0.5, "least": 0.5, "most": 0.5, "processes": 1}
    document = {"machine": MACHINE, "packets": [packet], "service": service}
    path.write_text(json.dumps(document), encoding="utf-8")
    return Run.read(path)


def test_a_ratio_is_of_the_medians_and_its_spread_of_the_extremes(tmp_path: Path) -> None:
    before = written(tmp_path / "a", "not DNS", median=100, least=80, most=200)
    after = written(tmp_path / "b", "not DNS", median=50, least=40, most=80)
    (line,) = (line for line in lines(before, after) if line.startswith("not DNS"))
    assert line.split()[-6:] == ["100", "50", "0.50", "0.20", "to", "1.00"]


def test_a_case_that_only_one_run_has_is_named(tmp_path: Path) -> None:
    before = written(tmp_path / "a", "old", median=1, least=1, most=1)
    after = written(tmp_path / "b", "new", median=1, least=1, most=1)
    assert [line for line in lines(before, after) if line.startswith("only")] == [
        "only in B: new, ns",
        "only in A: old, ns",
    ]


def test_another_file_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(ValueError, match=r"other\.json is not what `make bench` writes"):
        Run.read(path)
