"""What of its host this process sees: every process, and the host's own network, or less.

A container has namespaces of its own. What lies outside of them looks as if it did not exist, so
whoever concludes something from an absence asks here first. Owns how namespaces are recognised.
Does not own what follows. Called by maps/holders.py and status/checks/survey.py; blocks for
microseconds.
"""

from __future__ import annotations

from pathlib import Path

PROC = Path("/proc")
_FIRST_PID_NAMESPACE = 0xEFFFFFFC
"""The inode of the namespace that the kernel boots with (linux/proc_ns.h)."""


def processes_hidden(proc: Path = PROC) -> str | None:
    """Return why other processes of this host may be invisible, as a clause; None: none is."""
    try:
        inode = (proc / "self/ns/pid").stat().st_ino
    except OSError:
        return "no /proc of this process is mounted"
    if inode != _FIRST_PID_NAMESPACE:
        return "this process is in a PID namespace of its own, as in a container"
    try:
        (proc / "1").stat()
    except OSError:
        return "the processes of other users are hidden from this one (hidepid=, ProtectProc=)"
    return None


def has_own_network(proc: Path = PROC) -> bool:
    """Return whether this process certainly is in another network namespace than the host's.

    Without the right to look at the host's first process, or where that is not seen, it is
    unknown, and the answer is no.
    """
    if processes_hidden(proc) is not None:
        return False
    try:
        return (proc / "self/ns/net").stat().st_ino != (proc / "1/ns/net").stat().st_ino
    except OSError:
        return False
