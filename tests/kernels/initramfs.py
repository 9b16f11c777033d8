"""The first file system of a guest: busybox, a few modules, and a script that moves on.

Owns the cpio archive's bytes and the guest's first process. The guest then works in
the host's own root, shared read-only, so that python, libbpf and this checkout are
the same inside and nothing has to be copied: either one command runs in it, or the
host's systemd with some files put over it, in memory.
"""

from __future__ import annotations

import gzip
import shlex
import stat
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    Modules = Sequence[tuple[str, bytes]]
    Member = tuple[str, int, bytes]

SHARE: Final = "hostroot"
"""Tag under which the guest finds the host's root."""

START_MARK: Final = "xdpctl-guest-starts"
"""What the guest writes when its kernel is up, before the command."""

EXIT_MARK: Final = "xdpctl-guest-exit:"
"""What the guest writes before the exit status of the command it ran."""

_UP: Final = """#!/bin/busybox sh
PATH=/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
mount -t virtiofs -o ro {share} /host
"""

_COMMAND: Final = """
kept() {{
    number=0
    while read -r folder; do
        number=$((number + 1))
        "$@"
    done </kept
}}
put_aside() {{ mkdir -p /aside/$number; mount -o bind "/host$folder" /aside/$number; }}
put_back() {{ mkdir -p "/host$folder"; mount -o bind /aside/$number "/host$folder"; }}
kept put_aside
mount -t proc proc /host/proc
mount -t sysfs sysfs /host/sys
mount -t devtmpfs dev /host/dev
mount -t bpf bpf /host/sys/fs/bpf
for folder in tmp run var/tmp root; do mount -t tmpfs tmpfs /host/$folder; done
kept put_back
ip link set lo up
cd /
echo
echo {start}
chroot /host /bin/sh -c "$(cat /command)"
echo "{mark}$?"
poweroff -f
"""

# A machine-id and the two stamps keep systemd from setting up what it takes for a new
# machine; /.dockerenv would have it believe that this is a container.
_SYSTEMD: Final = """
mount -t tmpfs tmpfs /upper
mkdir /upper/files /upper/work
mount -t overlay -o lowerdir=/host,upperdir=/upper/files,workdir=/upper/work overlay /root
{put}
cp -a /over/. /root/
rm -f /root/.dockerenv
echo 0123456789abcdef0123456789abcdef > /root/etc/machine-id
touch /root/etc/.updated /root/var/.updated
: > /root/etc/fstab
umount /proc /sys
echo
echo {start}
exec switch_root /root /lib/systemd/systemd
"""

_APPLETS: Final = (
    *("sh", "cat", "mount", "umount", "insmod", "ip", "chroot", "poweroff"),
    *("mkdir", "cp", "rm", "touch", "switch_root"),
)


def command_initramfs(
    busybox: Path, modules: Modules, folders: Sequence[Path], command: str
) -> bytes:
    """Return the archive of a guest that runs one command and ends.

    Args:
        busybox: a static busybox.
        modules: (name, content), in the order in which they are loaded.
        folders: of the host's root that the command sees, wherever they are: /tmp, /run,
            /var/tmp and /root are the guest's own. It runs in the first.
        command: one line of shell.
    """
    files = {
        "command": f"cd {shlex.quote(str(folders[0]))} && exec {command}\n",
        "kept": "".join(f"{folder}\n" for folder in folders),
    }
    own = [(name, stat.S_IFREG | 0o644, text.encode()) for name, text in files.items()]
    return _archive(busybox, modules, _COMMAND, own)


def systemd_initramfs(
    busybox: Path, modules: Modules, over: Mapping[str, str], systemd: Path | None = None
) -> bytes:
    """Return the archive of a guest that becomes the host's systemd.

    Args:
        busybox: a static busybox.
        modules: (name, content), in the order in which they are loaded; with overlay.
        over: texts of files that are put over the host's root, by path without the first
            slash; one that starts with `#!` is executable.
        systemd: a folder of the host's that is put over /usr before: another systemd.
    """
    folders = {f"over/{part}" for path in over for part in _parents(path)}
    files = [
        (
            f"over/{path}",
            stat.S_IFREG | (0o755 if text.startswith("#!") else 0o644),
            text.encode(),
        )
        for path, text in over.items()
    ]
    members = [("over", stat.S_IFDIR | 0o755, b"")]
    members += [(folder, stat.S_IFDIR | 0o755, b"") for folder in sorted(folders)]
    put = "" if systemd is None else f"cp -a /host{systemd}/. /root/usr/"
    return _archive(busybox, modules, _SYSTEMD.replace("{put}", put), members + files)


def _parents(path: str) -> Iterator[str]:
    parts = path.split("/")[:-1]
    for count in range(1, len(parts) + 1):
        yield "/".join(parts[:count])


def _archive(busybox: Path, modules: Modules, then: str, own: Sequence[Member]) -> bytes:
    script = (_UP + then).format(
        modules=" ".join(name for name, _ in modules),
        share=SHARE,
        start=START_MARK,
        mark=EXIT_MARK,
    )
    folders = ("bin", "proc", "sys", "dev", "host", "upper", "root", "modules")
    members: tuple[Member, ...] = (
        *((name, stat.S_IFDIR | 0o755, b"") for name in folders),
        ("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()),
        *((f"bin/{name}", stat.S_IFLNK | 0o777, b"busybox") for name in _APPLETS),
        *((f"modules/{name}.ko", stat.S_IFREG | 0o644, content) for name, content in modules),
        *own,
        ("init", stat.S_IFREG | 0o755, script.encode()),
        ("TRAILER!!!", 0, b""),
    )
    return gzip.compress(
        b"".join(_entry(*member, inode) for inode, member in enumerate(members, 1)), 1
    )


def _entry(name: str, mode: int, content: bytes, inode: int) -> bytes:
    """Return one member of a "newc" archive (Documentation/driver-api/early-userspace)."""
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + content + bytes(-len(content) % 4)
