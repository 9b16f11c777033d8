"""`make bench-compare A=… B=…`: what changed between two runs of `make bench`.

Prints for every figure that both files have: A's median, B's, and B / A with its spread, from
B's least by A's most to B's most by A's least. If the interval contains 1, the runs show no
difference.

    python -m tests.bench.compare A.json B.json
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.machine import Machine

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one run; if only one value was taken, all three are that value."""

    median: float
    least: float
    most: float

    def ratio_to(self, other: Figure) -> tuple[float, float, float]:
        """Return this median by the other's, and between what that may lie."""
        return (
            _by(self.median, other.median),
            _by(self.least, other.most),
            _by(self.most, other.least),
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What one file of `make bench` holds."""

    machine: Machine
    figures: dict[str, Figure]

    @classmethod
    def read(cls, path: Path) -> Run:
        """Read a file.

        Raises:
            OSError, ValueError: it is not there, or not what `make bench` writes.
        """
        document = json.loads(path.read_text(encoding="utf-8"))
        try:
            return cls(Machine(**document["machine"]), dict(_figures(document)))
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is not what `make bench` writes: {error!r}") from error


def _figures(document: dict[str, Any]) -> Iterator[tuple[str, Figure]]:
    for packet in document["packets"]:
        figure = Figure(packet["median"], packet["least"], packet["most"])
        yield f"{packet['name']}, ns", figure
    service = document["service"]
    ready = Figure(service["seconds_to_ready"], service["least"], service["most"])
    yield "exec to ready, s", ready
    for name, value in service.items():
        if name not in {"seconds_to_ready", "least", "most"} and isinstance(value, int | float):
            yield name.replace("_", " "), Figure(value, value, value)


def lines(before: Run, after: Run) -> Iterator[str]:
    """Yield the table, and what only one of the runs has."""
    yield f"A: {before.machine.text}"
    yield f"B: {after.machine.text}"
    yield f"{'':34}{'A':>12}{'B':>12}{'B / A':>8}   spread"
    for name, figure in after.figures.items():
        if name not in before.figures:
            continue
        was = before.figures[name]
        ratio, least, most = figure.ratio_to(was)
        yield (
            f"{name:34}{was.median:12.6g}{figure.median:12.6g}{ratio:8.2f}"
            f"   {least:.2f} to {most:.2f}"
        )
    for name in sorted(before.figures.keys() ^ after.figures.keys()):
        yield f"only in {'A' if name in before.figures else 'B'}: {name}"


def _by(number: float, other: float) -> float:
    return number / other if other else float("inf")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path, metavar="A")
    parser.add_argument("after", type=Path, metavar="B")
    given = parser.parse_args()
    try:
        runs = Run.read(given.before), Run.read(given.after)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print("\n".join(lines(*runs)))


if __name__ == "__main__":
    main()
