"""The kernel's ticks (jiffies), as a program sees them: the clock of the limits.

No system call gives them. They go with CLOCK_MONOTONIC, from which they differ by a constant, so
one run of a program of two instructions is enough for a boot. Owns that program. Does not own what
the ticks are used for (limits/). Made by service/limits.py; `measured` blocks.
"""

from __future__ import annotations

import struct
import time
from typing import TYPE_CHECKING, Self

from xdpctl.process.clock import ticks_a_second

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.syscall import Bpf

_CALL, _EXIT, _JIFFIES64 = 0x85, 0x95, 118
_PROGRAM = struct.pack("=BBhi", _CALL, 0, 0, _JIFFIES64) + struct.pack("=BBhi", _EXIT, 0, 0, 0)
"""Returns the lower 32 bits of jiffies, the only part of a result that a test run shows."""

_FRAME = bytes(64)
_FIRST_SECONDS = -300
"""The kernel counts jiffies from five minutes before they would need more than 32 bits."""

_WRAP = 1 << 32


class Ticks:
    """Gives the ticks of this moment.

    Args:
        ahead: how many more there are than CLOCK_MONOTONIC has by itself.
    """

    def __init__(self, ahead: int) -> None:
        self.per_second = ticks_a_second()
        self._nanoseconds = round(1e9 / self.per_second)
        self._ahead = ahead

    @classmethod
    def measured(cls, bpf: Bpf) -> Self:
        """Return the ticks of this kernel, within one tick.

        Raises:
            VerifierError, KernelError: the program cannot be loaded or run.
        """
        found = cls(0)
        with bpf.load_program(_PROGRAM, "xdpctl_ticks") as program:
            low = program.test_run(_FRAME).return_value
            now = found()
        guess = now + _WRAP + _FIRST_SECONDS * found.per_second
        nearest = (low - guess + _WRAP // 2) % _WRAP - _WRAP // 2  # signed, and small
        return cls(guess + nearest - now)

    def __call__(self) -> int:
        """Return jiffies."""
        return time.monotonic_ns() // self._nanoseconds + self._ahead
