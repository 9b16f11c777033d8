"""`make bench-variants`: several versions of xdp/ in one run, over the same maps, by turns.

What an idea for the C program gains is seen only beside the version without it, in the
same run: absolute times on a shared machine mean little. They read one index of names, so
its layout (abi.h) must be the same for all of them.

    python -m tests.bench.variants xdp ../other/xdp [--rounds 41]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.bench.cases import cases, slowest_cases
from tests.bench.in_process import compile_directory
from tests.bench.program import RUNS, Bench, subjects, title
from tests.bench.turns import by_turns
from tests.lab.hosts import EMPTY_PROGRAM
from tests.packets.case import DEFAULT
from xdpctl.abi import MAPS
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.programs import Program

ROUNDS: Final = 41
_EMPTY: Final = "empty"


def main() -> None:
    """Print ns above an empty program, a column a version, medians and least."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directories", nargs="+", type=Path, help="versions of xdp/")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    given = parser.parse_args()
    bpf = Bpf()
    with contextlib.ExitStack() as stack:
        bench = stack.enter_context(Bench.loaded(bpf))
        fds = {MAPS[name].ref: opened.fd for name, opened in bench.maps.items()}
        programs: dict[str, Program] = {}
        for number, directory in enumerate(given.directories):
            bytecode = compile_directory(DEFAULT, directory)
            program = stack.enter_context(bpf.load_program(bytecode.relocate(fds), "variant"))
            name = f"{number} {directory.resolve().parent.name}"
            programs[name] = program
            print(
                f"{name}: {directory}: {program.info.xlated_length // 8} instructions,"
                f" {program.info.jited_length} bytes of machine code,"
                f" {program.info.verified_instructions} verified"
            )
        empty = {_EMPTY: stack.enter_context(bpf.load_program(EMPTY_PROGRAM, "empty"))}
        timed = [*cases(), *slowest_cases()]
        every = [
            subject for case in timed for subject in subjects(bpf, stack, case, programs, empty)
        ]
        bench.settle()
        spent = by_turns(every, rounds=given.rounds, runs=RUNS)
    print(" " * 32 + "".join(f"{name:>18}" for name in programs))
    for case in timed:
        base_of = spent[title(case, _EMPTY)]
        nets = [
            [ours - base for ours, base in zip(spent[title(case, name)], base_of, strict=True)]
            for name in programs
        ]
        columns = "".join(f"{statistics.median(net):10.1f} ({min(net):5.0f})" for net in nets)
        print(f"{case.name:32}{columns}")


if __name__ == "__main__":
    main()
