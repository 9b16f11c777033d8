"""A unit's SystemCallFilter= without systemd: `python -m tests.lab.seccomp UNIT COMMAND…`.

Runs the command under the filter that the lines of a unit in deploy/ make; what they do not
allow fails with EPERM. The sets (@system-service) are those of the systemd that is installed.
"""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys

from tests.lab.unit import Unit

_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000


def members(name: str) -> set[str]:
    """Return the system calls of a set, or the one that this is."""
    if not name.startswith("@"):
        return {name}
    listed = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", name],
        check=True,
        capture_output=True,
        text=True,
    )
    words = [line.strip() for line in listed.stdout.splitlines()[1:]]
    return set().union(*(members(word) for word in words if word and not word.startswith("#")))


def allowed(unit: Unit) -> set[str]:
    """Return the system calls that a unit allows; its first line has to be a list of such."""
    found: set[str] = set()
    for line in unit.values("SystemCallFilter"):
        calls = set().union(*(members(word) for word in line.removeprefix("~").split()))
        found = found - calls if line.startswith("~") else found | calls
    return found


def confine(names: set[str]) -> None:
    """Forbid this process, and what it starts, every other call than these, and starting it."""
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    filled = ctypes.c_void_p(library.seccomp_init(_ERRNO | errno.EPERM))
    for name in names:
        number = library.seccomp_syscall_resolve_name(name.encode())
        if number >= 0 and library.seccomp_rule_add(filled, _ALLOW, number, 0):
            raise OSError(errno.EINVAL, f"seccomp does not take {name}")
    if result := library.seccomp_load(filled):
        raise OSError(-result, "seccomp does not take the filter")


if __name__ == "__main__":
    confine(allowed(Unit(sys.argv[1])))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - what is tested
