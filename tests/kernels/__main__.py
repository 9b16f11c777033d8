"""`make test-kernels`: every configuration, the packet table, and deploy/'s units.

`python -m tests.kernels [SERIES…]` prints one line a kernel and configuration and, for a
refusal, the end of the verifier's log, then a line a claim of the units under systemd;
its exit status is 0 when all is well everywhere.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tests.kernels.ask import ask
from tests.kernels.kernel import SUITES
from tests.kernels.units import SERIES as UNIT_SERIES
from tests.kernels.units import ask_units

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernels.ask import Answer


def lines(series: str, answer: Answer) -> Iterator[str]:
    """Say an answer."""
    for verdict in answer.verdicts:
        word = "ok" if verdict.loaded else f"REFUSED ({verdict.error})"
        yield (
            f"{verdict.kernel:28} {verdict.name:10} {verdict.instructions:5} instructions "
            f"{verdict.processed:7} verified  {word}"
        )
        yield from (f"    {line}" for line in verdict.log)
    yield f"{series}: {answer.cases} cases of the packet table, {len(answer.wrong)} went wrong"
    yield from (f"    {sentence}" for sentence in answer.wrong)


def main(wanted: list[str]) -> int:
    """Ask the kernels of these series (all of them when none is named); 0 when all is well."""
    good = True
    for series in wanted or SUITES:
        answer = ask(series)
        sys.stdout.writelines(f"{line}\n" for line in lines(series, answer))
        sys.stdout.flush()
        good &= answer.good
        for check in ask_units(series) if series in UNIT_SERIES else ():
            word = "ok" if check.held else f"NO; seen: {check.seen}"
            sys.stdout.write(f"{series}: units: {check.claim}: {word}\n")
            good &= check.held
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
