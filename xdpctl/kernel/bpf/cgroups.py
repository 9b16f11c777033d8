"""The root of all control groups, to which a program for every process's connections is attached.

Owns where it is found. Does not own the attachment (syscall.py). Called by filter/tcp_proof.py and
status/checks/. Everything blocks, for microseconds.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from xdpctl.errors import KernelError

_MOUNTS = Path("/proc/self/mountinfo")
_ROOT_INODE = 1
"""Of the root of every cgroup2 file system; a container that has its own root has another."""

_TRIED = "cannot find the root of all control groups"


def open_root(mounts: Path = _MOUNTS) -> int:
    """Return a descriptor of the root directory of cgroup2.

    Args:
        mounts: what this process sees mounted, as proc(5) has it.

    Raises:
        KernelError: ENOENT; it is not mounted, or this process sees only a part of it.
    """
    part = ""
    for place in _places(mounts):
        try:
            opened = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError:
            continue
        if os.fstat(opened).st_ino == _ROOT_INODE:
            return opened
        os.close(opened)
        part = str(place)
    if part:
        raise KernelError(
            _TRIED,
            errno.ENOENT,
            f"{part} is only a part of them: start the container with --cgroupns=host and"
            " /sys/fs/cgroup of the host, or use --proof socket",
        )
    raise KernelError(
        _TRIED,
        errno.ENOENT,
        "no cgroup2 is mounted: run mount -t cgroup2 none /sys/fs/cgroup, or use --proof socket",
    )


def _places(mounts: Path) -> list[Path]:
    """Return where cgroup2 is mounted."""
    try:
        lines = mounts.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        mounted, _, kind = line.partition(b" - ")
        fields = mounted.split()
        if kind.split(b" ", 1)[0] == b"cgroup2" and len(fields) > _MOUNT_POINT:
            found.append(Path(os.fsdecode(_unescaped(fields[_MOUNT_POINT]))))
    return found


_MOUNT_POINT = 4


def _unescaped(path: bytes) -> bytes:
    """Return a path of mountinfo, which writes blanks and backslashes as three octal digits."""
    for octet in b" \t\n\\":
        path = path.replace(b"\\%03o" % octet, bytes((octet,)))
    return path
