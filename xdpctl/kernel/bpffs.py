"""The BPF file system: mounting it, the directory for pins, owners and modes.

Every mount of a bpffs is an instance of its own. `ip netns exec` hides /sys/fs/bpf
behind a new /sys: what is mounted and pinned in there is seen by nobody outside.
Called by pins.py, and through it by whoever pins; all blocking.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from xdpctl.errors import PinError
from xdpctl.kernel.failure import privilege_hint

MOUNT_POINT = Path("/sys/fs/bpf")
"""Where the BPF file system belongs; the only place where it is mounted from here."""

BPF_FS_MAGIC = 0xCAFE4A11
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_RELATIME = 1 << 1, 1 << 2, 1 << 3, 1 << 21
_STATFS_SIZE = 256
_DEFAULT_MODE = 0o600
_PREPARE = "or run `xdpctl prepare` as root first"


@dataclass(frozen=True, slots=True)
class PinPolicy:
    """Who owns the pins and their directory (None: whoever made them), with which mode."""

    uid: int | None = None
    gid: int | None = None
    mode: int = _DEFAULT_MODE

    @property
    def asks(self) -> bool:
        """Whether anything but the default is wanted, so that it is set on what exists."""
        return self != PinPolicy()

    @property
    def directory_mode(self) -> int:
        """The mode with search permission for each class that may read or write."""
        return self.mode | (self.mode >> 2 | self.mode >> 1) & 0o111

    @property
    def needs_traversal(self) -> bool:
        """Whether others than root must get through the mount point."""
        return self.uid not in (None, 0) or self.gid not in (None, 0) or bool(self.mode & 0o006)


def ensure_bpffs(path: Path) -> bool:
    """See to it that `path` lies on a BPF file system, mounting it at /sys/fs/bpf.

    Returns:
        True if it was mounted now.

    Raises:
        PinError: `path` lies elsewhere and not on one, a file is in the way, or there
            is no privilege to mount.
    """
    place = _existing_ancestor(path)
    if is_bpffs(place):
        return False
    if not path.is_relative_to(MOUNT_POINT):
        raise PinError(
            f"cannot pin below {path}: it is not on a BPF file system; choose a directory"
            f" below {MOUNT_POINT}, or mount one there (mount -t bpf bpf DIRECTORY)"
        )
    if place != MOUNT_POINT:
        raise PinError(
            f"cannot mount the BPF file system: {MOUNT_POINT} does not exist; mount sysfs at"
            " /sys, and use a kernel with CONFIG_BPF_SYSCALL"
        )
    mount_bpffs(MOUNT_POINT)
    return True


def is_bpffs(path: Path) -> bool:
    """Tell whether `path`, which must exist, is on a BPF file system."""
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(_STATFS_SIZE)
    if libc.statfs(os.fsencode(path), buffer) < 0:
        number = ctypes.get_errno()
        raise _unseen(path, os.strerror(number))
    return ctypes.c_long.from_buffer(buffer).value & 0xFFFFFFFF == BPF_FS_MAGIC


def mount_bpffs(directory: Path) -> None:
    """Mount a new instance of the BPF file system, mode 0700.

    Raises:
        PinError: no privilege, or the kernel has none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_NOSUID | _MS_NODEV | _MS_NOEXEC | _MS_RELATIME
    target = os.fsencode(directory)
    if libc.mount(b"bpf", target, b"bpf", ctypes.c_ulong(flags), b"mode=0700") < 0:
        raise mount_refusal(directory, ctypes.get_errno())


def mount_refusal(directory: Path, number: int) -> PinError:
    """Return the error for a mount that failed with this errno."""
    if number == errno.EPERM:
        helps = f"{privilege_hint('CAP_SYS_ADMIN')}, {_PREPARE}"
    elif number == errno.ENODEV:
        helps = "use a kernel with CONFIG_BPF_SYSCALL"
    else:
        helps = f"mount it by hand (mount -t bpf bpf {directory})"
    return PinError(
        f"cannot mount the BPF file system at {directory}: {os.strerror(number)}; {helps}"
    )


def ensure_directory(path: Path, policy: PinPolicy) -> None:
    """Make the pin directory where it is missing; set owner and mode as asked for.

    A directory that exists keeps its owner and mode under the default policy. For an
    owner other than root everything above it becomes searchable, up to the mount point.

    Raises:
        PinError: a file is in the way, no privilege, or no BPF file system.
    """
    missing = []
    place = path
    while not _is_directory(place):
        missing.append(place)
        place = place.parent
    for directory in reversed(missing):
        try:
            directory.mkdir(mode=0o700)
        except FileExistsError:
            continue  # made by another at the same time
        except OSError as error:
            raise PinError(
                f"cannot make the directory {directory}: {error.strerror};"
                f" {privilege_hint('CAP_SYS_ADMIN')}, {_PREPARE}"
            ) from error
    if path in missing or policy.asks:
        apply_policy(path, policy, policy.directory_mode)
    if policy.needs_traversal:
        _open_way(path)


def apply_policy(path: Path, policy: PinPolicy, mode: int) -> None:
    """Set owner and mode where they differ.

    A pin of our own that may not be given away, made anew by a service that is not root,
    is opened to all where only its directory's owner and group get to it.

    Raises:
        PinError: no privilege.
    """
    try:
        now = path.stat()
        if stat.S_IMODE(now.st_mode) != mode:
            path.chmod(mode)
        uid = now.st_uid if policy.uid is None else policy.uid
        gid = now.st_gid if policy.gid is None else policy.gid
        if (uid, gid) != (now.st_uid, now.st_gid):
            os.chown(path, uid, gid)
    except OSError as error:
        if error.errno == errno.EPERM and _is_guarded(path, policy):
            path.chmod(mode | mode >> 6)
            return
        raise PinError(
            f"cannot set owner and mode of {path}: {error.strerror};"
            f" {privilege_hint('CAP_CHOWN', 'CAP_FOWNER')}, {_PREPARE}"
        ) from error


def _is_guarded(path: Path, policy: PinPolicy) -> bool:
    """Tell whether our own pin is in a directory of the wanted owner that others cannot enter."""
    pin, directory = path.stat(), path.parent.stat()
    return (
        stat.S_ISREG(pin.st_mode)
        and pin.st_uid == os.geteuid()
        and directory.st_uid == policy.uid
        and not directory.st_mode & stat.S_IXOTH
    )


def _open_way(path: Path) -> None:
    """Let everybody search the directories above `path`, up to the mount's root."""
    for directory in path.parents:
        if not is_bpffs(directory):
            return
        try:
            mode = stat.S_IMODE(directory.stat().st_mode)
        except OSError as error:
            raise _unseen(directory, error.strerror) from error
        if not mode & stat.S_IXOTH:
            apply_policy(directory, PinPolicy(), mode | stat.S_IXOTH)


def _existing_ancestor(path: Path) -> Path:
    """Return `path` or the nearest directory above it that exists."""
    place = path
    while not _is_directory(place):
        place = place.parent
    return place


def _is_directory(path: Path) -> bool:
    """Tell whether the directory exists; anything else there is an error."""
    try:
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            if path.is_symlink():
                raise PinError(f"cannot use {path}: it is a link to nothing; remove it") from None
            return False
    except OSError as error:
        raise _unseen(path, error.strerror) from error
    if not stat.S_ISDIR(mode):
        raise PinError(
            f"cannot use {path} as a directory for pins: it is a file; move it away or choose"
            " another --pin-dir"
        )
    return True


def _unseen(path: Path, reason: str | None) -> PinError:
    """Return the error for what cannot be looked at."""
    return PinError(
        f"cannot look at {path}: {reason}; it needs search permission on everything above"
        f" {path.name}: run as root, {_PREPARE}"
    )
