"""`python -m tests.fuzz.agree --frames N`: random mutants before every engine, as root.

Ends with status 1 and a reproducer at the first disagreement. Every frame can be had
again: its tape follows from the seed and its number. Frames go to the engines in
batches of one scene (tests/engines/batch.py), and one by one only where a batch does
not go as the oracle says; several processes share the work.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import random
import secrets
import sys
import time
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Self

from tests.engines.entries import Index
from tests.engines.host import Host
from tests.engines.kernel import Kernel
from tests.engines.made_once import compiled_once
from tests.fuzz.compare import difference, say
from tests.fuzz.mutate import TAPE_OCTETS, mutant
from tests.fuzz.tape import Tape
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

CHUNK = 50_000
"""Frames whose tapes are one run of random octets; enough of each scene for a batch."""

PATIENCE_SECONDS = 1.0


def tapes(seed: int, numbers: range) -> Iterable[tuple[int, bytes]]:
    """Yield number and tape of frames, which are all of one chunk."""
    chunk = numbers.start // CHUNK
    octets = random.Random(f"{seed} {chunk}").randbytes(CHUNK * TAPE_OCTETS)
    for number in numbers:
        at = (number - chunk * CHUNK) * TAPE_OCTETS
        yield number, octets[at : at + TAPE_OCTETS]


def spans(first: int, frames: int) -> list[range]:
    """Return the numbers of the frames, parted where chunks begin."""
    end = first + frames
    starts = [first, *range((first // CHUNK + 1) * CHUNK, end, CHUNK)]
    return [range(start, min(end, (start // CHUNK + 1) * CHUNK)) for start in starts]


class Judges:
    """The engines of one process; a context manager, which gives back what they hold."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        compiled = cache(compiled_once)
        self._engines = (
            Host(),
            Host(guard_start=True, index=Index.EXACT),
            self._stack.enter_context(Kernel(Bpf(), compiled)),
            self._stack.enter_context(Kernel(Bpf(), compiled, index=Index.EXACT)),
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def differ(self, seed: int, numbers: range) -> str | None:
        """Return a reproducer of a frame that the engines differ about, if there is one."""
        mutants = [mutant(Tape(tape)) for _, tape in tapes(seed, numbers)]
        found = difference(self._engines, mutants)
        if found is None:
            return None
        first = numbers[found.numbers[0]]
        if len(found.numbers) == 1:
            return f"--seed {seed} --first {first} --frames 1:\n{found.said}"
        return f"--seed {seed}, from frame {first} on: {found.said}"


def work(seed: int, todo: Sequence[range], told: multiprocessing.Queue[int | str]) -> None:
    """Be one process: tell how many frames are done, or a reproducer."""
    with Judges() as judges:
        for numbers in todo:
            told.put(judges.differ(seed, numbers) or len(numbers))


def main() -> int:
    """Put frames before the engines until they differ or there are no more."""
    parser = argparse.ArgumentParser(description="The packet engines against each other.")
    parser.add_argument("--frames", type=int, default=1_000_000, help="how many (1000000)")
    parser.add_argument("--seed", type=int, default=None, help="of an earlier run")
    parser.add_argument("--first", type=int, default=0, help="number of the first frame")
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), help="processes (one a CPU)"
    )
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    say(f"seed {seed}, {options.frames} frames, {options.jobs} processes")
    todo = spans(options.first, options.frames)
    told: multiprocessing.Queue[int | str] = multiprocessing.Queue()
    processes = [
        multiprocessing.Process(target=work, args=(seed, todo[job :: options.jobs], told))
        for job in range(options.jobs)
    ]
    for process in processes:
        process.start()
    try:
        return follow(processes, told, options.frames)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def follow(
    processes: Sequence[multiprocessing.Process],
    told: multiprocessing.Queue[int | str],
    frames: int,
) -> int:
    """Say how it goes; return the exit status."""
    started, done = time.monotonic(), 0
    while done < frames:
        try:
            news = told.get(timeout=PATIENCE_SECONDS)
        except queue.Empty:
            if any(process.exitcode for process in processes):
                say("a process ended with an error")
                return 1
            continue
        if isinstance(news, str):
            say(f"the engines differ about {news}")
            return 1
        done += news
        say(f"{done} frames, {done / (time.monotonic() - started):.0f} a second")
    say(f"the engines agree about {frames} frames, in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
