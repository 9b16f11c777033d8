"""The boot clock and the id of this boot, by which expiries are measured; the kernel's ticks.

Owns no state. Does not own expiries (store/) or limits (limits/). Called by store/, feeds/, http/,
settings/ and limits/.
"""

from __future__ import annotations

import time
from pathlib import Path

from xdpctl.errors import StateError

_MONOTONIC_COARSE = 6
"""CLOCK_MONOTONIC_COARSE (linux/time.h), which Python does not name."""


def boot_id() -> str:
    """Return the kernel's random id of this boot (proc(5)).

    Raises:
        StateError: it cannot be read.
    """
    path = Path("/proc/sys/kernel/random/boot_id")
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise StateError(
            f"cannot tell which boot the state belongs to: {path}: {error.strerror}; mount proc at"
            " /proc"
        ) from error


def boot_clock() -> float:
    """Return the seconds of CLOCK_BOOTTIME, which also counts while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def ticks_a_second() -> int:
    """Return how often a second the kernel counts its jiffies (CONFIG_HZ): 100 to 1000.

    The coarse clock steps once a tick, and its resolution is 1/HZ (clock_getres(2)). sysconf's
    SC_CLK_TCK is another number, 100 on every kernel.
    """
    return round(1 / time.clock_getres(_MONOTONIC_COARSE))
