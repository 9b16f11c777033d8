"""`make bench-xsk`: dnsdist over AF_XDP behind the filter beside the kernel's socket.

Prints and writes what xsk_answers.py (answers per second, dnsdist's CPU time, loss) and
xsk_program.py (ns per packet of the program itself) measure in one run. The summary gives
ratios within a round, the only figures that hold on another machine.

    python -m tests.bench.xsk [FILE] [--rounds 3] [--release sid] [--rates 100000,…]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import signal
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.xsk_answers import SECONDS, Way, Window, rounds
from tests.bench.xsk_program import ROUNDS, RULES, RUNS, time_redirects
from tests.lab.hosts import run
from tests.roots.roots import dnsdist_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.bench.turns import Timing

RESULT: Final = Path("build/bench-xsk.json")
RATES: Final = (100_000, 200_000, 300_000, 400_000)
BEST: Final = "at its best rate"
"""The rate at which most answers came back; it may differ between the ways."""


@dataclass(frozen=True, slots=True)
class Spread:
    """A median over the rounds, with what lies around it."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        """Sum up."""
        every = list(values)
        return cls(statistics.median(every), min(every), max(every))

    def text(self, form: str) -> str:
        """Return it as "median (least, most)"."""
        return f"{self.median:{form}} ({self.least:{form}}, {self.most:{form}})"


@dataclass(frozen=True, slots=True)
class Ratio:
    """AF_XDP behind the filter over the kernel's socket behind the filter.

    Attributes:
        at: the offered rate in words.
        answers: of answers per second.
        cpu: of dnsdist's CPU time per answer.
    """

    at: str
    answers: Spread
    cpu: Spread

    @classmethod
    def of(cls, at: str, pairs: Sequence[tuple[Window, Window]]) -> Ratio:
        """Sum up pairs of AF_XDP and socket, one a round."""
        return cls(
            at,
            Spread.of(xsk.answers_per_second / sock.answers_per_second for xsk, sock in pairs),
            Spread.of(xsk.cpu_per_million / sock.cpu_per_million for xsk, sock in pairs),
        )


def best(windows: Iterable[Window]) -> Window:
    """Return the one with most answers."""
    return max(windows, key=lambda window: window.answers_per_second)


def ratios(windows: Sequence[Window]) -> Iterator[Ratio]:
    """Yield the ratio at each rate and at the best one."""
    numbers = sorted({window.round for window in windows})
    rates = sorted({window.offered for window in windows})

    def of(way: Way, number: int) -> list[Window]:
        return [window for window in windows if (window.way, window.round) == (way, number)]

    for rate in rates:
        pairs = [
            tuple(w for way in (Way.XSK, Way.SOCKET) for w in of(way, number) if w.offered == rate)
            for number in numbers
        ]
        yield Ratio.of(f"{rate:,}/s offered", [(xsk, sock) for xsk, sock in pairs])
    bests = [(best(of(Way.XSK, number)), best(of(Way.SOCKET, number))) for number in numbers]
    yield Ratio.of(BEST, bests)


def row(rate: str, windows: Sequence[Window]) -> str:
    """Return a line of the table, the rounds of one way at one rate."""
    answers = Spread.of(window.answers_per_second for window in windows).text(",.0f")
    loss = Spread.of(100 * window.loss for window in windows).text(".0f")
    cpu = Spread.of(window.cpu_per_million for window in windows).text(".2f")
    others = Spread.of(100 * window.others for window in windows).text(".0f")
    return f"  {rate:>16}  {answers:<28}{loss:<14}{cpu:<20}{others}"


def report_answers(windows: Sequence[Window]) -> None:
    """Print what came back, way by way and rate by rate, then the ratios."""
    heads = ("offered/s", "answers/s", "loss, %", "CPU s / 1M answers", "others' CPU, %")
    print("  {:>16}  {:<28}{:<14}{:<20}{}".format(*heads))
    for way in Way:
        print(f"  {way.value}")
        mine = [window for window in windows if window.way is way]
        for rate in sorted({window.offered for window in mine}):
            print(row(f"{rate:,}", [window for window in mine if window.offered == rate]))
        numbers = sorted({window.round for window in mine})
        tops = [best(window for window in mine if window.round == number) for number in numbers]
        print(row(BEST, tops))
    print(f"\n{Way.XSK.value} / {Way.SOCKET.value}, by round\n")
    print(f"  {'':20}{'answers/s':<24}dnsdist's CPU per answer")
    for ratio in ratios(windows):
        print(f"  {ratio.at:20}{ratio.answers.text('.2f'):<24}{ratio.cpu.text('.2f')}")


def report_program(timings: Sequence[Timing]) -> None:
    """Print ns per packet."""
    print(
        f"\nns per packet of the program, {RULES} rules a map that match nothing or none; "
        f"median of {ROUNDS} rounds of {RUNS} test runs (least, most)\n"
    )
    for timing in timings:
        spread = Spread(timing.median, timing.least, timing.most)
        print(f"  {timing.name:64}{spread.text('.0f')}")


def cpu_model() -> str:
    """Return what the CPU calls itself."""
    found = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.machine()


def document(window: Window) -> dict[str, object]:
    """Return a window as JSON has it, with what follows from it."""
    return asdict(window) | {
        "way": window.way.name.lower(),
        "answers_per_second": window.answers_per_second,
        "loss": window.loss,
        "cpu_per_million": window.cpu_per_million,
    }


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.xsk")
    parser.add_argument("file", nargs="?", type=Path, default=RESULT, help="JSON (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of each way (%(default)s)")
    parser.add_argument(
        "--release", choices=("sid", "trixie"), default="sid", help="2.1.3 (default) or 1.9.16"
    )
    parser.add_argument(
        "--rates", default=",".join(map(str, RATES)), help="queries/s (%(default)s)"
    )
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # labs are removed
    load = os.getloadavg()[0]
    version = dnsdist_root(options.release).version
    kxdpgun = run(["kxdpgun", "--version"]).stdout.strip()
    print(f"Linux {platform.release()}, {cpu_model()}, {os.cpu_count()} CPUs, load {load:.1f}")
    print(
        f"\ndnsdist {version} on one core answers REFUSED, {kxdpgun} on another asks over a veth "
        f"pair\nfor {SECONDS} s a window; median of {options.rounds} rounds (least, most)\n"
    )
    rates = [int(rate) for rate in options.rates.split(",")]
    windows = list(rounds(options.release, options.rounds, rates))
    report_answers(windows)
    timings = time_redirects()
    report_program(timings)
    found = {
        "kernel": platform.release(),
        "cpu": cpu_model(),
        "cpus": os.cpu_count(),
        "load": load,
        "dnsdist": version,
        "kxdpgun": kxdpgun,
        "seconds": SECONDS,
        "windows": [document(window) for window in windows],
        "ratios": [asdict(ratio) for ratio in ratios(windows)],
        "program": [asdict(timing) for timing in timings],
    }
    options.file.parent.mkdir(parents=True, exist_ok=True)
    options.file.write_text(json.dumps(found, indent=2) + "\n")
    print(f"\nwritten to {options.file}")


if __name__ == "__main__":
    main()
