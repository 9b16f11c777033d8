"""`make test-kernels`: the program, the service's interfaces and deploy/'s units on old kernels.

`python -m tests.kernels [--short | --verifier] [SERIES…]` prints one line a kernel and
configuration and, for a refusal, the end of the verifier's log; then what came of the
packet table and of the claims (claims.py); the same, without claims, of what the BCC of
later Debian releases makes of the C (compilers.py); and a line a claim of the units under
systemd. Its exit status is 0 when all is well everywhere.
"""

from __future__ import annotations

import argparse
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

from tests.kernels.ask import ask, compiled
from tests.kernels.claims import ATTACHING, BONDS, SAMPLES
from tests.kernels.compilers import RELEASES, compiled_by
from tests.kernels.emulator import emulator
from tests.kernels.kernel import SUITES, debian_kernel
from tests.kernels.units import SERIES as UNIT_SERIES
from tests.kernels.units import ask_units
from tests.roots.apt import RootError
from xdpctl.errors import CompilerError
from xdpctl.program import compiler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.kernels.ask import Answer

    Question = tuple[str, Path, Sequence[str] | None]
    """What `ask` takes."""

AT_ONCE: Final = 2
"""Guests; each is one busy processor and a gigabyte of memory."""


def lines(series: str, answer: Answer) -> Iterator[str]:
    """Say an answer."""
    for verdict in answer.verdicts:
        word = "ok" if verdict.loaded else f"REFUSED ({verdict.error})"
        yield (
            f"{verdict.kernel:26} BCC {verdict.bcc:7} {verdict.name:10} "
            f"{verdict.instructions:5} instructions {verdict.processed:7} verified  {word}"
        )
        yield from (f"    {line}" for line in verdict.log)
    if answer.cases:
        yield (
            f"{series}, BCC {answer.verdicts[0].bcc}: {answer.cases} cases of the packet table, "
            f"{len(answer.wrong)} went wrong"
        )
    yield from (f"    {sentence}" for sentence in answer.wrong)
    if not answer.claims:
        return
    failed = [claim for claim in answer.claims if not claim.held]
    yield f"{series}: {len(answer.claims)} claims about interfaces, {len(failed)} did not hold"
    for claim in failed:
        yield f"    {claim.claim}"
        yield from (f"        {line}" for line in claim.seen.splitlines())


def put(questions: list[Question]) -> bool:
    """Ask, a few guests at once, and print each answer; whether all were good."""
    good = True
    with ThreadPoolExecutor(AT_ONCE) as guests:
        answers = guests.map(lambda question: ask(*question), questions)
        for (series, _, _), answer in zip(questions, answers, strict=True):
            sys.stdout.writelines(f"{line}\n" for line in lines(series, answer))
            sys.stdout.flush()
            good &= answer.good
    return good


def put_later_compilers(chosen: list[str]) -> bool:
    """Ask these series about the programs of later compilers, as `put`."""
    releases = {series: RELEASES[series] for series in chosen if series in RELEASES}
    with ExitStack() as stack:
        programs = {
            release: stack.enter_context(compiled_by(release))
            for release in sorted({*releases.values()})
        }
        return put([(series, programs[release], ()) for series, release in releases.items()])


def main(argv: list[str]) -> int:
    """Ask the kernels of these series (all of them when none is named); 0 when all is well."""
    parser = argparse.ArgumentParser(prog="tests.kernels", description=__doc__)
    parser.add_argument("series", nargs="*", metavar="SERIES", help=", ".join(SUITES))
    parser.add_argument(
        "--short", action="store_true", help="neither bonds, later compilers nor units"
    )
    parser.add_argument(
        "--verifier", action="store_true", help="nothing but: is every configuration accepted?"
    )
    wanted = parser.parse_args(argv)
    if unknown := set(wanted.series) - set(SUITES):
        parser.error(f"no kernel of series {', '.join(unknown)}; there are {', '.join(SUITES)}")
    chosen = wanted.series or list(SUITES)
    files = (ATTACHING, SAMPLES) if wanted.short else (ATTACHING, SAMPLES, BONDS)
    emulator()  # what is not in the cache is fetched one after the other
    for series in chosen:
        debian_kernel(series)
    asked = None if wanted.verifier else files
    with compiled(only_verifier=wanted.verifier) as programs:
        good = put([(series, programs, asked) for series in chosen])
    if wanted.short or wanted.verifier:
        return 0 if good else 1
    good &= put_later_compilers(chosen)
    for series in chosen:
        for check in ask_units(series) if series in UNIT_SERIES else ():
            word = "ok" if check.held else f"NO; seen: {check.seen}"
            sys.stdout.write(f"{series}: units: {check.claim}: {word}\n")
            good &= check.held
    return 0 if good else 1


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger(compiler.__name__).setLevel(logging.DEBUG)  # what a compiler complains of
    try:
        raise SystemExit(main(sys.argv[1:]))
    except (RootError, CompilerError) as error:
        raise SystemExit(str(error)) from None
