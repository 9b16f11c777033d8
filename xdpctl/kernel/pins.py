"""Pinned maps: opening or making them, and whether one is what DNSDIST.md says.

Owns that verdict. The directory, its owner and the file system are bpffs.py's, the
system calls on maps bpf.py's. A shared pin is never unlinked here, as dnsdist may hold
it. Called by whoever shares maps, and by the verbs `check` and `prepare`; all blocking.
"""

from __future__ import annotations

import errno
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.abi import MapType
from xdpctl.errors import KernelError, PinError
from xdpctl.kernel.bpffs import (
    MOUNT_POINT,
    PinPolicy,
    apply_policy,
    ensure_bpffs,
    ensure_directory,
    is_bpffs,
    mount_bpffs,
)

if TYPE_CHECKING:
    from xdpctl.abi import MapSpec
    from xdpctl.kernel.bpf import Bpf, Map, MapInfo

__all__ = [
    "MOUNT_POINT",
    "OWN_DIRECTORY",
    "OpenedMap",
    "PinPolicy",
    "apply_policy",
    "ensure_bpffs",
    "ensure_directory",
    "is_bpffs",
    "mount_bpffs",
    "netns_inode",
    "open_existing",
    "open_or_create",
    "pin_name_for",
    "type_text",
    "verify",
]

OWN_DIRECTORY = MOUNT_POINT / "xdpctl"
"""Our own links and maps. Never in dnsdist's directory."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class OpenedMap:
    """A map ready to be used, whether it was made now, and what to warn of."""

    map: Map
    created: bool
    warnings: tuple[str, ...] = ()


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


def pin_name_for(interface: str) -> str:
    """Return the interface's name as a bpffs takes it: a dot becomes a colon.

    A colon cannot be in the name of an interface, so that two never become one.
    """
    return interface.replace(".", ":")


def netns_inode() -> int:
    """Return the inode of this process's network namespace, as `ls -i` shows it.

    Raises:
        KernelError: /proc does not tell.
    """
    path = Path("/proc/self/ns/net")
    try:
        return path.stat().st_ino
    except OSError as error:
        number = error.errno or errno.EIO
        raise KernelError(f"cannot look at {path}", number, "mount proc at /proc") from error


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


def _foreign_kind(path: Path) -> str | None:
    """Return what stands at `path` if it can be seen and is nothing of BPF."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            return "a directory"
        return None if is_bpffs(path) else "a plain file"
    except (OSError, PinError):
        return None
