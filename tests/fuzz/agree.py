"""`python -m tests.fuzz.agree --frames N`: random mutants before every engine, as root.

Ends with status 1 and a reproducer at the first disagreement. Every frame can be had
again: its tape follows from the seed and its number.
"""

from __future__ import annotations

import argparse
import random
import secrets
import sys
import time

from tests.engines.entries import Index
from tests.engines.host import Host
from tests.engines.kernel import Kernel
from tests.engines.oracle import Oracle
from tests.fuzz.compare import disagreement
from tests.fuzz.mutate import TAPE_OCTETS
from xdpctl.kernel.bpf import Bpf

PROGRESS = 20_000


def tape_of(seed: int, number: int) -> bytes:
    """Return the tape of a run's frame."""
    return random.Random(f"{seed} {number}").randbytes(TAPE_OCTETS)


def main() -> int:
    """Put frames before the engines until they differ or there are no more."""
    parser = argparse.ArgumentParser(description="The packet engines against each other.")
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many (1000000)")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    say(f"seed {seed}, {options.frames} frames")
    started = time.monotonic()
    with Kernel(Bpf()) as kernel, Kernel(Bpf(), index=Index.EXACT) as indexed:
        engines = (
            Oracle(),
            Host(),
            Host(guard_start=True, index=Index.EXACT),
            kernel,
            indexed,
        )
        for number in range(options.first, options.first + options.frames):
            if found := disagreement(engines, tape_of(seed, number)):
                say(f"the engines differ about --seed {seed} --first {number} --frames 1:\n{found}")
                return 1
            done = number + 1 - options.first
            if done % PROGRESS == 0:
                say(f"{done} frames, {done / (time.monotonic() - started):.0f} a second")
    say(f"the engines agree about {options.frames} frames")
    return 0


def say(text: str) -> None:
    """Write a line at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
