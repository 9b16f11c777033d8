"""Memory of a process and its children, and of our own tables in the kernel.

That of processes is the sum of the proportional set sizes: what is shared between processes is
counted once, over those that share it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.abi import Scope, names_of
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from tests.lab import Host


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


def table_bytes(host: Host) -> int:
    """Return the kernel memory of our own tables that are pinned for a host's interfaces."""
    names = {str(name) for name in names_of(Scope.TABLES)}
    found = 0
    for path in OWN_DIRECTORY.glob(f"{host.inode}-*:*"):
        if path.name.rpartition(":")[2] in names:
            with Bpf().open_map(path) as opened:
                found += _locked_bytes(opened.fd)
    return found


def _locked_bytes(descriptor: int) -> int:
    """Return what the kernel counts for a map (memlock of its fdinfo)."""
    for line in Path("/proc/self/fdinfo", str(descriptor)).read_text().splitlines():
        if line.startswith("memlock:"):
            return int(line.split()[1])
    raise AssertionError(f"no memlock in fdinfo of {descriptor}")
