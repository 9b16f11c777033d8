"""The BPF file system: mounting it, the pin directory, opening or making pinned maps.

Owns owners, modes and the verdict whether a pin is what DNSDIST.md says; the system
calls on maps are bpf.py's. A shared pin is never unlinked here, as dnsdist may hold
it. Called by service.py, filter.py and the verbs `check` and `prepare`; all blocking.

Every mount of a bpffs is an instance of its own. `ip netns exec` hides /sys/fs/bpf
behind a new /sys: what is mounted and pinned in there is seen by nobody outside.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.abi import MapType
from xdpctl.errors import KernelError, PinError
from xdpctl.kernel.failure import privilege_hint

if TYPE_CHECKING:
    from xdpctl.abi import MapSpec
    from xdpctl.kernel.bpf import Bpf, Map, MapInfo

MOUNT_POINT = Path("/sys/fs/bpf")
"""Where the BPF file system belongs; the only place where it is mounted from here."""

OWN_DIRECTORY = MOUNT_POINT / "xdpctl"
"""Our own links and maps. Never in dnsdist's directory."""

BPF_FS_MAGIC = 0xCAFE4A11
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_RELATIME = 1 << 1, 1 << 2, 1 << 3, 1 << 21
_STATFS_SIZE = 256
_DEFAULT_MODE = 0o600
_ATTEMPTS = 3
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


@dataclass(frozen=True, slots=True)
class OpenedMap:
    """A map ready to be used, whether it was made now, and what to warn of."""

    map: Map
    created: bool
    warnings: tuple[str, ...] = ()


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
        raise PinError(f"cannot look at {path}: {os.strerror(number)}; {_search_hint(path)}")
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


def open_or_create(  # noqa: PLR0913 - one call for what the contract says of a pin
    bpf: Bpf,
    directory: Path,
    spec: MapSpec,
    *,
    entries: int,
    policy: PinPolicy,
    pin_name: str | None = None,
) -> OpenedMap:
    """Open the pinned map, or make and pin it; never unlink anything.

    Args:
        bpf: the system call.
        directory: the pin directory, which exists.
        spec: the map as the contract has it, verified before the map is given out.
        entries: max_entries of a map that is made; another in an existing one: a warning.
        policy: set on a pin that is made, and on an existing one if it asks for anything.
        pin_name: name of the pin, the map's name by default.

    Returns:
        The map, which the caller closes.

    Raises:
        PinError: another layout (dnsdist's legacy one is named), not a map, no privilege.
        KernelError: the kernel refused to open, make or pin it.
    """
    path = directory / (pin_name or spec.name)
    for _ in range(_ATTEMPTS):
        if (opened := open_existing(bpf, path, spec)) is not None:
            break
        made = _create(bpf, path, spec, entries)
        if made is not None:
            return _finish(OpenedMap(made, created=True), path, policy)
    else:
        raise PinError(
            f"cannot pin map {path}: the name is taken by something that is not a BPF object;"
            " move it away"
        )
    warnings: list[str] = []
    if opened.info.max_entries != entries:
        warnings.append(
            f"{path} exists with room for {opened.info.max_entries} entries, not the"
            f" {entries} asked for: it stays so until all its users are stopped and it is removed"
        )
    return _finish(OpenedMap(opened, created=False, warnings=tuple(warnings)), path, policy)


def open_existing(bpf: Bpf, path: Path, spec: MapSpec) -> Map | None:
    """Open a pin and verify it; None when nothing is pinned there. Changes nothing.

    Raises:
        PinError: another layout, or not a map.
        KernelError: the kernel refused to open it.
    """
    try:
        opened = bpf.open_map(path)
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        if (found := _foreign_kind(path)) is not None:
            raise PinError(
                f"cannot open map {path}: it is {found}; move it away or choose another --pin-dir"
            ) from error
        raise
    opened.label = path.name
    if complaint := verify(opened.info, spec):
        opened.close()
        raise PinError(f"cannot use map {path}: {complaint}")
    return opened


def verify(info: MapInfo, spec: MapSpec) -> str | None:
    """Return what is wrong with a map, and what helps, or None when it fits the contract.

    dnsdist compares only the two sizes; here type and flags count too. The number of
    entries is not looked at.
    """
    remedy = "stop every program that uses it, remove the pin, start them again"
    if info.type == spec.type and (info.key_size, info.value_size) == spec.legacy:
        return (
            "it was written by dnsdist without external=true (the legacy format, values of"
            f" {info.value_size} bytes): set external=true in newBPFFilter (a small t, as"
            f" True is nil in Lua), then {remedy}"
        )
    differences = [
        f"{what} is {found}, not {wanted}"
        for what, found, wanted in (
            ("type", type_text(info.type), type_text(spec.type)),
            ("key size", info.key_size, spec.key_size),
            ("value size", info.value_size, spec.value_size),
            ("flags", info.flags, spec.flags),
        )
        if found != wanted
    ]
    return f"its {', '.join(differences)}: {remedy}" if differences else None


def type_text(number: int) -> str:
    """Return a map type as the kernel's documentation writes it."""
    return MapType(number).name if number in set(MapType) else f"type {number}"


def pinned_id(bpf: Bpf, path: Path) -> int | None:
    """Return the id of the map that is pinned there now, None when there is none.

    Raises:
        PinError: it is the pin of something else.
        KernelError: the kernel refused to open it.
    """
    try:
        with bpf.open_map(path) as found:
            return found.info.id
    except KernelError as error:
        if error.errno == errno.ENOENT:
            return None
        raise


def apply_policy(path: Path, policy: PinPolicy, mode: int) -> None:
    """Set owner and mode where they differ.

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
        raise PinError(
            f"cannot set owner and mode of {path}: {error.strerror};"
            f" {privilege_hint('CAP_CHOWN', 'CAP_FOWNER')}, {_PREPARE}"
        ) from error


def pin_name_for(interface: str) -> str:
    """Return the interface's name as a bpffs takes it: a dot becomes a colon.

    A colon cannot be in the name of an interface, so that two never become one.
    """
    return interface.replace(".", ":")


def netns_inode() -> int:
    """Return the inode of this process's network namespace, as `ls -i` shows it."""
    return Path("/proc/self/ns/net").stat().st_ino


def _create(bpf: Bpf, path: Path, spec: MapSpec, entries: int) -> Map | None:
    """Make and pin a map; None when another pinned one there meanwhile."""
    made = bpf.create_map(spec, entries)
    try:
        made.label = path.name
        made.pin(path)
    except KernelError as error:
        made.close()
        if error.errno == errno.EEXIST:
            return None
        raise
    return made


def _finish(opened: OpenedMap, path: Path, policy: PinPolicy) -> OpenedMap:
    """Set the pin's owner and mode as far as they are ours to set."""
    try:
        if opened.created or policy.asks:
            apply_policy(path, policy, policy.mode)
    except PinError:
        opened.map.close()
        raise
    return opened


def _open_way(path: Path) -> None:
    """Let everybody search the directories above `path`, up to the mount's root."""
    for directory in path.parents:
        if not is_bpffs(directory):
            return
        mode = stat.S_IMODE(directory.stat().st_mode)
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
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        if path.is_symlink():
            raise PinError(f"cannot use {path}: it is a link to nothing; remove it") from None
        return False
    except OSError as error:
        raise PinError(f"cannot look at {path}: {error.strerror}; {_search_hint(path)}") from error
    if not stat.S_ISDIR(mode):
        raise PinError(
            f"cannot use {path} as a directory for pins: it is a file; move it away or choose"
            " another --pin-dir"
        )
    return True


def _foreign_kind(path: Path) -> str | None:
    """Return what stands at `path` if it can be seen and is nothing of BPF."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "a directory"
        return None if is_bpffs(path) else "a plain file"
    except (OSError, PinError):
        return None


def _search_hint(path: Path) -> str:
    """Return what helps where a directory may not be searched."""
    return f"it needs search permission on everything above {path.name}: run as root, {_PREPARE}"
