"""The first file system of a guest: busybox, a few modules, and a script that enters the host's.

Owns the cpio archive's bytes and the guest's first process. The guest then works in
the host's own root, shared read-only, so that python, libbpf and this checkout are
the same inside and nothing has to be copied.
"""

from __future__ import annotations

import gzip
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

START_MARK: Final = "xdpctl-guest-starts"
"""What the guest writes when its kernel is up, before the command."""

SHARE: Final = "hostroot"
"""Tag under which the guest finds the host's root."""

EXIT_MARK: Final = "xdpctl-guest-exit:"
"""What the guest writes before the exit status of the command it ran."""

_INIT: Final = """#!/bin/busybox sh
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
mount -t virtiofs -o ro {share} /host
mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount -t devtmpfs dev /host/dev
mount -t bpf bpf /host/sys/fs/bpf
for folder in tmp run var/tmp root; do mount -t tmpfs tmpfs /host/$folder; done
ip link set lo up
cd /
echo
echo {start}
chroot /host /bin/sh -c "$(cat /command)"
echo "{mark}$?"
poweroff -f
"""


def _entry(name: str, mode: int, content: bytes, inode: int) -> bytes:
    """Return one member of a "newc" archive (Documentation/driver-api/early-userspace)."""
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)


def initramfs(
    busybox: Path, modules: Sequence[tuple[str, bytes]], folder: Path, command: str
) -> bytes:
    """Return the compressed archive.

    Args:
        busybox: a static busybox.
        modules: (name, content), in the order in which they are loaded.
        folder: where in the host's root the command runs.
        command: one line of shell.
    """
    init = _INIT.format(
        modules=" ".join(name for name, _ in modules),
        share=SHARE,
        start=START_MARK,
        mark=EXIT_MARK,
    )
    applets = ("sh", "cat", "mount", "insmod", "ip", "chroot", "poweroff")
    links = ((f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in applets)
    members: Iterable[tuple[str, int, bytes]] = (
        *((name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "proc", "sys", "dev", "host")),
        ("modules", stat.S_IFDIR | 0o755, b""),
        ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()),
        *links,
        *((f"modules/{name}.ko", stat.S_IFREG | 0o644, content) for name, content in modules),
        ("command", stat.S_IFREG | 0o644, f"cd {folder} && exec {command}\n".encode()),
        ("init", stat.S_IFREG | 0o755, init.encode()),
        ("TRAILER!!!", 0, b""),
    )
    return gzip.compress(
        b"".join(_entry(*member, inode) for inode, member in enumerate(members, 1)), 1
    )
