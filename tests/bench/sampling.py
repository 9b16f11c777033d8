"""`make bench-sampling`: what samples cost a packet, while nobody looks and while somebody does.

Programs by turns over the same rule maps: two that are alike, without samples (`sample-budget =
0`), one that nobody looks at, and one that takes a sample of each block of 2^20 packets: what every
packet pays. The columns are what each costs more than the first, medians and least times; those of
the second one say how large a difference means nothing. Below the table is what one sample costs:
the difference when each packet is one, into a ring buffer that is emptied.

    python -m tests.bench.sampling [--rounds 41]
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from tests.bench.cases import cases
from tests.bench.population import populate, rule_maps
from tests.bench.program import ENTRIES, Bench, subjects, title
from tests.bench.turns import by_turns
from tests.packets.case import DEFAULT
from xdpctl.abi import MAPS, SAMPLE_HEADER_SIZE, SAMPLE_SHIFTS_OFFSET, MapName
from xdpctl.kernel.bpf.ring import RingReader, record_size
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.maps.name_follower import NameFollower
from xdpctl.process.clock import ticks_a_second
from xdpctl.program.compiler import compile_program_blocking
from xdpctl.samples.sampler import Sampler

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.programs import Program

ROUNDS: Final = 41
RUNS: Final = 20_000
LENGTH: Final = 512
NONE, AGAIN, OFF, ON = "none", "none again", "nobody looks", "somebody"
_SHIFT: Final = 20


def main() -> None:
    """Print ns of the filter without samples, and how much more the others cost."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    rounds = parser.parse_args().rounds
    bpf = Bpf()
    with contextlib.ExitStack() as stack:
        shared = rule_maps(bpf, stack, ENTRIES)
        populate(shared, ENTRIES)
        names = stack.enter_context(NameFollower(bpf, shared))
        shared[MapName.NAME_INDEX] = names.map
        programs = {
            NONE: _program(bpf, stack, shared, 0, None),
            AGAIN: _program(bpf, stack, shared, 0, None),
            OFF: _program(bpf, stack, shared, LENGTH, None),
            ON: _program(bpf, stack, shared, LENGTH, _SHIFT),
        }
        Bench(programs[NONE], shared).settle()
        timed = [*cases()]
        every = [subject for case in timed for subject in subjects(bpf, stack, case, programs, {})]
        spent = by_turns(every, rounds=rounds, runs=RUNS)
        one = _one_sample(bpf, stack, shared, timed[0].frame)
    others = (AGAIN, OFF, ON)
    print(f"{'':32}{NONE:>10}" + "".join(f"{name:>16}" for name in others))
    for case in timed:
        plain = spent[title(case, NONE)]
        columns = f"{case.name:32}{statistics.median(plain):5.0f} ({min(plain):.0f})"
        for name in others:
            ours = spent[title(case, name)]
            median = statistics.median(a - b for a, b in zip(ours, plain, strict=True))
            columns += f"{median:+9.0f} ({min(ours) - min(plain):+4.0f})"
        print(columns)
    print(f"one sample of {len(timed[0].frame)} octets: {one:.0f} ns")


def _one_sample(
    bpf: Bpf, stack: contextlib.ExitStack, shared: dict[MapName, Map], frame: bytes
) -> float:
    """Return ns that a sample takes more than a packet that is none."""
    ring = stack.enter_context(bpf.create_map(MAPS[MapName.SAMPLES], 1 << 22))
    reader = stack.enter_context(RingReader(ring))
    maps = {**shared, MapName.SAMPLES: ring}
    none = _program(bpf, stack, maps, LENGTH, _SHIFT)
    each = _program(bpf, stack, maps, LENGTH, 0)
    runs = (1 << 22) // record_size(SAMPLE_HEADER_SIZE + LENGTH) - 1
    differences = []
    for _ in range(ROUNDS):
        reader.skip()
        differences.append(
            each.test_run(frame, runs).nanoseconds - none.test_run(frame, runs).nanoseconds
        )
    return statistics.median(differences)


def _program(
    bpf: Bpf,
    stack: contextlib.ExitStack,
    shared: dict[MapName, Map],
    length: int,
    shift: int | None,
) -> Program:
    """Return a filter over the shared rules; with a shift, somebody looks at its samples."""
    bytecode = compile_program_blocking(replace(DEFAULT, samples=length))
    maps = dict(shared)
    for spec in MAPS.values():
        if spec.ref in bytecode.refs() and spec.name not in maps:
            maps[spec.name] = stack.enter_context(bpf.create_map(spec, spec.entries))
    fds = {MAPS[name].ref: opened.fd for name, opened in maps.items()}
    program = stack.enter_context(bpf.load_program(bytecode.relocate(fds), "sampling"))
    if shift is not None:
        state = maps[MapName.SAMPLE_STATE].memory()
        sampler = Sampler(state, ticks_a_second())
        sampler.allow(10**9)
        state[8:16] = (1 << 62).to_bytes(8, "little")  # patience for as long as it takes
        sampler.begin()
        state[SAMPLE_SHIFTS_OFFSET:] = (shift.to_bytes(4, "little") * 2).ljust(64, b"\0") * 256
    return program


if __name__ == "__main__":
    main()
