"""The BPF file system: mounting it, the directory for pins, owners and modes.

Every mount of a bpffs is an instance of its own. `ip netns exec` hides /sys/fs/bpf
behind a new /sys: what is mounted and pinned there is invisible outside. Owner and mode are
set on what kernel/paths.py opened, never by a path. Does not own what is pinned (pins.py,
filter/own_pins.py). Called by pins.py, which passes its names on to others; everything blocks.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.errors import PinError
from xdpctl.kernel.failure import READ_ONLY, privilege_hint
from xdpctl.kernel.paths import ForeignError, Opened, is_read_only, open_directory

if TYPE_CHECKING:
    from collections.abc import Iterable

MOUNT_POINT = Path("/sys/fs/bpf")
"""Where the BPF file system belongs; this module mounts it nowhere else."""

BPF_FS_MAGIC = 0xCAFE4A11
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_RELATIME = 1 << 1, 1 << 2, 1 << 3, 1 << 21
_STATFS_SIZE = 256
_DEFAULT_MODE = 0o600
_PREPARE = "or run `xdpctl prepare` as root first"
_SEARCH = stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True, slots=True)
class PinPolicy:
    """Owner, group and mode of the pins and their directory.

    None as owner or group: the one that made them.
    """

    uid: int | None = None
    gid: int | None = None
    mode: int = _DEFAULT_MODE

    @property
    def asks(self) -> bool:
        """Whether it is not the default, and so is also applied to existing pins."""
        return self != PinPolicy()

    @property
    def directory_mode(self) -> int:
        """The mode with search permission for each class that may read or write."""
        return self.mode | (self.mode >> 2 | self.mode >> 1) & 0o111

    @property
    def needs_traversal(self) -> bool:
        """Whether an owner other than root must get through the mount point."""
        return self.uid not in (None, 0) or self.gid not in (None, 0)

    @property
    def owners(self) -> tuple[int, ...]:
        """The users that directories may belong to, besides root and this process's user."""
        return () if self.uid is None else (self.uid,)


def ensure_bpffs(path: Path) -> bool:
    """Ensure that `path` is on a BPF file system; mount one at /sys/fs/bpf if there is none.

    Returns:
        True if it was mounted now.

    Raises:
        PinError: `path` is elsewhere and not on a BPF file system, a file is in the way, this
            process has no privilege to mount, or the file system is mounted read-only.
    """
    place = _existing_ancestor(path)
    if is_bpffs(place):
        refuse_read_only(place)
        return False
    if not path.is_relative_to(MOUNT_POINT):
        raise PinError(
            f"cannot pin below {path}: it is not on a BPF file system; choose a directory"
            f" below {MOUNT_POINT}, or mount one there (mount -t bpf -o mode=0700 bpf DIRECTORY)"
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


def refuse_read_only(place: Path) -> None:
    """Refuse a directory on a BPF file system in which nothing can be pinned.

    Raises:
        PinError: it is mounted read-only, or cannot be looked at.
    """
    try:
        read_only = is_read_only(place)
    except OSError as error:
        raise _unseen(place, error.strerror) from error
    if read_only:
        raise PinError(f"cannot pin anything below {place}: {READ_ONLY}")


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
        helps = f"mount it by hand (mount -t bpf -o mode=0700 bpf {directory})"
    return PinError(
        f"cannot mount the BPF file system at {directory}: {os.strerror(number)}; {helps}"
    )


def open_pin_directory(
    path: Path, policy: PinPolicy, owners: Iterable[int] = (), *, make: int | None = None
) -> Opened:
    """Open a directory for pins that only its permitted owners can replace.

    Args:
        path: the directory.
        policy: gives the owner that it may have, besides root and this process's user.
        owners: further users that it and the directories above it may belong to.
        make: mode of what is missing; None: that is an error.

    Raises:
        PinError: it belongs to another user, a file is in the way, it is missing, or there is
            no privilege.
    """
    try:
        return open_directory(path, (*policy.owners, *owners), make=make)
    except ForeignError as error:
        raise PinError(
            f"cannot use {path} for pins: {error.strerror}; run as this user, give it to root"
            " (chown root), or trust this user (--pin-owner; for xdpctl's own pins: `xdpctl prepare"
            " --service-user`)"
        ) from error
    except NotADirectoryError as error:
        raise PinError(
            f"cannot use {path} as a directory for pins: {error.strerror}; move it away, or choose"
            " another --pin-dir"
        ) from error
    except OSError as error:
        if make is None:
            raise _unseen(path, error.strerror) from error
        raise PinError(
            f"cannot make the directory {path}: {error.strerror}; {_helps(error, 'CAP_SYS_ADMIN')}"
        ) from error


def refuse_foreign(path: Path, policy: PinPolicy, owners: Iterable[int] = ()) -> None:
    """Refuse a directory for pins, or one above it, that belongs to another user.

    Directories that do not exist are no error. Changes nothing.

    Raises:
        PinError: as `open_pin_directory`.
    """
    open_pin_directory(_existing_ancestor(path), policy, owners).close()


def ensure_directory(path: Path, policy: PinPolicy, owners: Iterable[int] = ()) -> None:
    """Make the pin directory where it is missing; set owner and mode as asked for.

    A directory that exists keeps its owner and mode under the default policy. For an
    owner other than root everything above it becomes searchable, up to the mount point.

    Raises:
        PinError: a file is in the way, no privilege, no BPF file system, or a directory
            on the way belongs to another user.
    """
    _existing_ancestor(path)
    with open_pin_directory(path, policy, owners, make=0o700) as directory:
        if directory.made or policy.asks:
            apply_policy(directory, policy, policy.directory_mode)
    if policy.needs_traversal:
        _open_way(path, (*policy.owners, *owners))


def apply_policy(
    opened: Opened, policy: PinPolicy, mode: int, directory: Opened | None = None
) -> None:
    """Set owner and mode of what was opened where they differ.

    A service that is not root cannot give a pin that it made to another user. It then gives
    everybody access to the pin, if only the directory's owner and group can reach it.

    Args:
        opened: a pin or a directory, never a link.
        policy: the owner.
        mode: its mode.
        directory: where a pin is.

    Raises:
        PinError: no privilege.
    """
    try:
        now = opened.status()
        if stat.S_IMODE(now.st_mode) != mode:
            opened.set_mode(mode)
        uid = now.st_uid if policy.uid is None else policy.uid
        gid = now.st_gid if policy.gid is None else policy.gid
        if (uid, gid) != (now.st_uid, now.st_gid):
            opened.set_owner(uid, gid)
    except OSError as error:
        if error.errno == errno.EPERM and _is_guarded(opened, directory, policy):
            opened.set_mode(mode | mode >> 6)
            return
        raise PinError(
            f"cannot set owner and mode of {opened.path}: {error.strerror};"
            f" {_helps(error, 'CAP_CHOWN', 'CAP_FOWNER')}"
        ) from error


def _is_guarded(opened: Opened, directory: Opened | None, policy: PinPolicy) -> bool:
    """Tell whether our own pin is in a directory of the wanted owner that others cannot enter."""
    if directory is None:
        return False
    pin, above = opened.status(), directory.status()
    return (
        stat.S_ISREG(pin.st_mode)
        and pin.st_uid == os.geteuid()
        and above.st_uid == policy.uid
        and not above.st_mode & stat.S_IXOTH
    )


def _open_way(path: Path, owners: Iterable[int]) -> None:
    """Give everybody search permission on the directories above `path`, up to the mount's root."""
    for above in path.parents:
        with open_pin_directory(above, PinPolicy(), owners) as directory:
            if not is_bpffs(directory.link):
                return
            mode = stat.S_IMODE(directory.status().st_mode)
            if not mode & stat.S_IXOTH:
                apply_policy(directory, PinPolicy(), mode | _SEARCH)


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
                raise PinError(
                    f"cannot use {path}: it is a link to nothing; remove the link"
                ) from None
            return False
    except OSError as error:
        raise _unseen(path, error.strerror) from error
    if not stat.S_ISDIR(mode):
        raise PinError(
            f"cannot use {path} as a directory for pins: it is a file; move it away or choose"
            " another --pin-dir"
        )
    return True


def _helps(error: OSError, *capabilities: str) -> str:
    if error.errno == errno.EROFS:
        return READ_ONLY
    return f"{privilege_hint(*capabilities)}, {_PREPARE}"


def _unseen(path: Path, reason: str | None) -> PinError:
    """Return the error for a path that this process may not look at."""
    return PinError(
        f"cannot look at {path}: {reason}; xdpctl needs search permission on every directory above"
        f" {path.name}: run as root, {_PREPARE}"
    )
