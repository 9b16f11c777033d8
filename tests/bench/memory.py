"""Memory of a process and its children.

It is the sum of the proportional set sizes: what is shared between processes is counted
once, over those that share it.
"""

from __future__ import annotations

from pathlib import Path


def processes_of(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        for children in Path("/proc", str(parent), "task").glob("*/children"):
            found += [int(child) for child in children.read_text().split()]
    return found


def pss_bytes(pid: int, part: str = "Pss") -> int:
    """Return a process's proportional set size, or a part of it: Pss_Anon, Pss_File (proc(5))."""
    for line in Path("/proc", str(pid), "smaps_rollup").read_text().splitlines():
        if line.startswith(f"{part}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"no {part} in smaps_rollup of {pid}")
