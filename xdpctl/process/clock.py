"""The boot clock and the id of this boot, by which expiries are measured.

Owns no state. Does not own expiries (store/). Called by store/, feeds/ and http/.
"""

from __future__ import annotations

import time
from pathlib import Path

from xdpctl.errors import StateError


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
