"""Which process listens on a TCP port, for the error of a port that is in use.

Reads /proc, which shows every process to root and only the own ones to others. Owns nothing.
Blocks for some milliseconds. Called by http/transport/binding.py and
status/checks/survey.py.
"""

from __future__ import annotations

import errno
import re
from contextlib import suppress
from pathlib import Path

from xdpctl.process.caller import command_of

_LISTEN = "0A"
_SOCKET = re.compile(r"socket:\[([0-9]+)\]")


def holder_of(port: int, proc: Path = Path("/proc")) -> str | None:
    """Return `NAME (pid N)` of a process that listens on the port; None if it cannot be seen."""
    wanted = _listening(port, proc)
    if not wanted:
        return None
    for folder in proc.iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError):
            for entry in (folder / "fd").iterdir():
                with suppress(OSError):
                    found = _SOCKET.fullmatch(str(entry.readlink()))
                    if found and found[1] in wanted:
                        name = command_of(int(folder.name), proc) or "a process"
                        return f"{name} (pid {folder.name})"
    return None


def why_not(error: OSError, port: int) -> str:
    """Return why a socket could not be bound: the error, and who has the port if it is in use."""
    reason = error.strerror or str(error)
    holder = holder_of(port) if error.errno == errno.EADDRINUSE else None
    return f"{reason} by {holder}" if holder else reason


def _listening(port: int, proc: Path) -> set[str]:
    """Return the inodes of sockets that listen on a port, of both families."""
    inodes = set[str]()
    for family in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / family).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(fields[9])
    return inodes
