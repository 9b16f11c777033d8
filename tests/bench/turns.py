"""Programs timed by turns in one process, by program test runs.

Owns what is common to every figure in ns: a subject (a program and a frame), the rounds
in which all subjects take turns, so that what disturbs a round disturbs all of them, and
the summary over rounds. It knows no rules, maps or cases.

A program that answers writes into the frame, and the next run of the same test would see
an answer. `Rewind` puts a small program before it, which writes the frame's bytes back,
waits until they are in the cache, as after a network card wrote them, and goes on into the
one that is timed; the same before an empty program is what is to be subtracted.
"""

from __future__ import annotations

import statistics
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.lab.hosts import EMPTY_PROGRAM
from xdpctl.kernel.bpf.descriptor import Descriptor
from xdpctl.kernel.bpf.libbpf import load_library
from xdpctl.kernel.failure import kernel_error

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Iterable

    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.kernel.bpf.syscall import Bpf

WARM_UP: Final = 10_000
_PROG_ARRAY: Final = 3
_SLOT_0: Final = struct.pack("=I", 0)


@dataclass(frozen=True, slots=True)
class Timing:
    """ns per packet over the rounds."""

    name: str
    median: float
    least: float
    most: float

    @classmethod
    def of(cls, name: str, nanoseconds: Iterable[float]) -> Timing:
        """Sum up the rounds."""
        every = list(nanoseconds)
        return cls(name, statistics.median(every), min(every), max(every))


@dataclass(frozen=True, slots=True)
class Subject:
    """One program and one frame, with what it must return."""

    name: str
    program: Program
    frame: bytes
    verdict: int

    def check(self) -> None:
        """Run it once and see that it is decided as it says."""
        returned = self.program.test_run(self.frame).return_value
        if returned != self.verdict:
            raise AssertionError(f"{self.name}: returned {returned}, not {self.verdict}")

    def time(self, runs: int) -> float:
        """Return ns per run."""
        return float(self.program.test_run(self.frame, runs).nanoseconds)


def by_turns(subjects: Iterable[Subject], *, rounds: int, runs: int) -> dict[str, list[float]]:
    """Return ns per packet of each round, by the subject's name."""
    every = list(subjects)
    nanoseconds: dict[str, list[float]] = {subject.name: [] for subject in every}
    for subject in every:
        subject.check()
        subject.time(WARM_UP)
    for _ in range(rounds):
        for subject in every:
            nanoseconds[subject.name].append(subject.time(runs))
    return nanoseconds


class Rewind:
    """Puts one frame back before every run.

    Args:
        bpf: the kernel.
        stack: closes what is made.
        frame: what every run begins with.
    """

    def __init__(self, bpf: Bpf, stack: contextlib.ExitStack, frame: bytes) -> None:
        self._bpf = bpf
        self._stack = stack
        self._frame = frame
        self.empty = self.before(stack.enter_context(bpf.load_program(EMPTY_PROGRAM, "empty")))
        """The same before an empty program."""

    def before(self, program: Program) -> Program:
        """Return the program that puts the frame back and goes on into `program`."""
        array = program_array(self._stack, program)
        code = _rewinding(self._frame, array)
        return self._stack.enter_context(self._bpf.load_program(code, "rewind"))


def program_array(stack: contextlib.ExitStack, program: Program) -> int:
    """Return the descriptor of a map of programs, closed by `stack`, with one in it."""
    library = load_library()
    fd = library.bpf_map_create(_PROG_ARRAY, b"programs", 4, 4, 1, None)
    if fd < 0:
        raise kernel_error("cannot create a map of programs", -fd)
    array = stack.enter_context(Descriptor(library, fd, "map of programs"))
    result = library.bpf_map_update_elem(array.fd, _SLOT_0, struct.pack("=i", program.fd), 0)
    if result < 0:
        raise kernel_error(f"cannot put {program.label} into a map", -result)
    return array.fd


def _rewinding(frame: bytes, array: int) -> bytes:
    """Return the instructions: r6 the context, r2 the frame; XDP_ABORTED where it is too short."""
    stores: list[tuple[bytes, int]] = []
    at = 0
    for size, code in ((8, 0x7B), (4, 0x63), (2, 0x6B), (1, 0x73)):
        while len(frame) - at >= size:
            stores.append((frame[at : at + size], code))
            at += size
    body = b""
    at = 0
    for part, code in stores:
        low, high = struct.unpack("=ii", part.ljust(8, b"\0"))
        body += _instruction(0x18, 5, 0, 0, low) + _instruction(0, 0, 0, 0, high)
        body += _instruction(code, 2, 5, at, 0)  # *(r2 + at) = r5
        at += len(part)
    body += b"".join(
        (
            _instruction(0xB7, 5, 0, 0, 0),  # r5 = 0
            _instruction(0x7B, 10, 5, -8, 0),  # *(u64 *)(r10 - 8) = r5
            _instruction(0xDB, 10, 5, -8, 0),  # lock *(u64 *)(r10 - 8) += r5: all is written
            _instruction(0xBF, 1, 6, 0, 0),  # r1 = r6
            _instruction(0x18, 2, 1, 0, array),
            _instruction(0, 0, 0, 0, 0),
            _instruction(0xB7, 3, 0, 0, 0),  # r3 = 0
            _instruction(0x85, 0, 0, 0, 12),  # bpf_tail_call
        )
    )
    end = _instruction(0xB7, 0, 0, 0, 0) + _instruction(0x95, 0, 0, 0, 0)
    return (
        _instruction(0xBF, 6, 1, 0, 0)
        + _instruction(0x61, 2, 1, 0, 0)  # r2 = data
        + _instruction(0x61, 3, 1, 4, 0)  # r3 = data_end
        + _instruction(0xBF, 4, 2, 0, 0)
        + _instruction(0x07, 4, 0, 0, len(frame))
        + _instruction(0x2D, 4, 3, len(body) // 8, 0)  # if r4 > r3 goto end
        + body
        + end
    )


def _instruction(code: int, to: int, source: int, offset: int, immediate: int) -> bytes:
    return struct.pack("=BBhi", code, source << 4 | to, offset, immediate)
