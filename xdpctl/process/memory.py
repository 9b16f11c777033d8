"""How much memory this host, or this process's control group, still has to give.

Owns the reading, what this process gives back, and what malloc is told. Does not own what else is
done about it. Called by maps/shared.py, as a kernel that is asked for more memory than there is
ends other processes, the DNS server among them, and by service/ and feeds/. Blocks.
"""

from __future__ import annotations

import ctypes
import re
from contextlib import suppress
from pathlib import Path

_AVAILABLE = re.compile(r"^MemAvailable: +([0-9]+) kB$", re.MULTILINE)
_GROUP = re.compile(r"^0::(/.*)$", re.MULTILINE)
_MMAP_THRESHOLD, _ARENA_MAX = -3, -8
"""M_MMAP_THRESHOLD and M_ARENA_MAX of malloc.h."""
_LARGE = 128 << 10
"""Where glibc begins; it raises that by itself, up to 32 MB, each time a larger block is freed."""


def available_memory(root: Path = Path("/")) -> int | None:
    """Return the octets that can still be asked for; None where nothing says so.

    That is what the kernel counts as available (proc_meminfo(5)), or the limit of the control
    group (cgroup v2, memory.max) where that is less: since Linux 5.11 maps count against it.

    Args:
        root: of /proc and /sys.
    """
    found: list[int] = []
    with suppress(OSError):
        text = (root / "proc/meminfo").read_text(encoding="ascii")
        found += [1024 * int(match[1]) for match in _AVAILABLE.finditer(text)]
    with suppress(OSError, ValueError):  # ValueError: `max`, no limit
        text = (root / "proc/self/cgroup").read_text(encoding="utf-8")
        for match in _GROUP.finditer(text):
            limit = root / "sys/fs/cgroup" / match[1].lstrip("/") / "memory.max"
            found.append(int(limit.read_text(encoding="ascii")))
    return min(found, default=None)


def map_large_blocks() -> None:
    """Keep large blocks out of the heap for good, so that they go back when they are freed.

    By default the first large block that is freed moves the next ones into the heap (mallopt(3)),
    where small ones that stay hold their pages. Does nothing if the C library has no such call.
    """
    _tell_malloc(_MMAP_THRESHOLD, _LARGE)


def share_one_heap() -> None:
    """Make threads that start later allocate from one heap.

    By default each thread has a heap of its own (mallopt(3)), which never shrinks: a list of
    some thousand rules leaves two megabytes in every thread that worked on one. The interpreter
    runs one thread at a time anyway, so one heap costs nothing. Does nothing if the C library
    has no such call.
    """
    _tell_malloc(_ARENA_MAX, 1)


def _tell_malloc(option: int, value: int) -> None:
    with suppress(AttributeError):
        ctypes.CDLL(None).mallopt(option, value)


def give_back() -> None:
    """Give the kernel back what is free in the heap (malloc_trim(3)); takes some milliseconds.

    The C library does so at the end of the heap only: what the modules were made from, while they
    were imported, leaves 3 MB between what stays. Does nothing if it has no such call.
    """
    with suppress(AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
