"""`python -m tests.faults [CALL…]`: every system call of a start fails in turn, as root.

The real service under strace, some 450 starts, a quarter of an hour. Ends with status 1
where any of them was neither ready nor one sentence, or left anything behind.
"""

from __future__ import annotations

import argparse
import sys

from tests.faults.sweep import CALLS, trials
from tests.faults.trial import Bench
from tests.lab import Lab


def main() -> int:
    """Make all trials and say what is wrong."""
    parser = argparse.ArgumentParser(description="System calls of a start that fail.")
    parser.add_argument("calls", nargs="*", choices=[[], *CALLS], help="these only (all)")
    calls = tuple(parser.parse_args().calls) or CALLS
    made = bad = ready = 0
    with Lab() as lab:
        for attempt in trials(Bench(lab), calls):
            made += 1
            ready += attempt.verdict.ready
            if attempt.verdict.wrong:
                bad += 1
                say(f"{attempt.fault}: {'; '.join(attempt.verdict.wrong)}")
                say("\n".join((*attempt.verdict.struck[:3], attempt.verdict.text)))
            elif made % 20 == 0:
                say(f"{made} starts so far, {attempt.fault}")
    say(f"{made} starts: {ready} got ready, {made - ready - bad} refused, {bad} not as they must")
    return 1 if bad or not made else 0


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
