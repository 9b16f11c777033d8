"""Pinned maps: opens or makes them, and verifies them against DNSDIST.md.

Owns the verification. Does not own the directory, its owner and the file system (bpffs.py),
or the system calls (syscall.py). A pin is opened once; the inode that was opened is the one
that is verified and given to its owner, even if its name has changed hands since. A shared pin
is never unlinked here, because dnsdist may hold it. Called by maps/shared.py, filter/, and the
verbs `check` and `prepare`; everything blocks.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.abi import RULE_MAPS, MapType
from xdpctl.errors import KernelError, PinError
from xdpctl.kernel.bpf.bpffs import (
    MOUNT_POINT,
    PinPolicy,
    apply_policy,
    ensure_bpffs,
    ensure_directory,
    is_bpffs,
    mount_bpffs,
    open_pin_directory,
    refuse_foreign,
)
from xdpctl.kernel.paths import Opened, kind_of, look

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdpctl.abi import MapSpec
    from xdpctl.kernel.bpf.maps import Map, MapInfo
    from xdpctl.kernel.bpf.syscall import Bpf

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
    "open_pin_directory",
    "pin_again",
    "pin_name_for",
    "refuse_foreign",
    "type_text",
    "verify",
]

OWN_DIRECTORY = MOUNT_POINT / "xdpctl"
"""Our own links and maps. Never in dnsdist's directory."""

_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class OpenedMap:
    """A verified map, whether it was made now, and warnings about it."""

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
    owners: Iterable[int] = (),
) -> OpenedMap:
    """Open the pinned map, or make and pin it; never unlink anything.

    Args:
        bpf: the system call.
        directory: the pin directory, which exists.
        spec: the map as the contract has it, verified before the map is given out.
        entries: max_entries of a map that is made; another number in an existing map is a
            warning.
        policy: applied to a pin that is made, and to an existing one if it is not the default.
        pin_name: name of the pin, the map's name by default.
        owners: users that the directories may belong to, besides root, this process's user
            and the policy's owner.

    Returns:
        The map, which the caller closes.

    Raises:
        PinError: another layout (the text identifies dnsdist's legacy one), not a map, no
            privilege, or a directory of another user.
        KernelError: the kernel refused to open, make or pin it.
    """
    name = pin_name or spec.name
    with open_pin_directory(directory, policy, owners) as place:
        for _ in range(_ATTEMPTS):
            if (found := _open_pin(bpf, place.below(name), spec, directory / name)) is not None:
                with found.pin:
                    if policy.asks:
                        _give(found, policy, place)
                return OpenedMap(found.map, created=False, warnings=_warnings(found, entries))
            made = bpf.create_map(spec, entries)
            made.label = name
            try:
                pin_again(bpf, made, place, name, policy)
            except KernelError as error:
                made.close()
                if error.errno != errno.EEXIST:
                    raise
            except PinError:
                made.close()
                raise
            else:
                return OpenedMap(made, created=True)
    raise PinError(
        f"cannot pin map {directory / name}: another program keeps replacing this pin; stop that"
        " program, or choose another --pin-dir"
    )


def _warnings(found: _FoundPin, entries: int) -> tuple[str, ...]:
    if found.map.info.max_entries == entries:
        return ()
    warning = (
        f"{found.pin.path} exists with room for {found.map.info.max_entries} entries, not the"
        f" configured {entries}: {_remedy(found, entries)}"
    )
    return (warning,)


def _remedy(found: _FoundPin, entries: int) -> str:
    """Return how to change the size of a map; only a rule map can grow in place."""
    name = found.pin.path.name
    if name in RULE_MAPS and entries > found.map.info.max_entries:
        return f"run `xdpctl resize {name}={entries}` while the service runs"
    return "to change that, stop every program that uses it, remove the pin, and start them again"


def pin_again(bpf: Bpf, held: Map, place: Opened, name: str, policy: PinPolicy) -> None:
    """Pin a map of ours, and set the owner of exactly that pin.

    Raises:
        KernelError: EEXIST: the name is taken; the kernel refused.
        PinError: no privilege, or another object has taken the name since.
    """
    path = place.path / name
    held.pin(place.below(name), named=path)
    exchanged = PinError(
        f"cannot set the owner of {path}: something else took its place right after it was pinned;"
        " stop the program that changes it, or choose another --pin-dir"
    )
    try:
        pin = place.open(name)
    except OSError as error:
        raise exchanged from error
    with pin:
        status = pin.status()
        if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
            raise exchanged
        try:
            with bpf.open_map(pin.link, named=path) as opened:
                is_ours = opened.info.id == held.info.id
        except (KernelError, PinError) as error:
            raise exchanged from error
        if not is_ours:
            raise exchanged
        apply_policy(pin, policy, policy.mode, place)


@dataclass(frozen=True, slots=True)
class _FoundPin:
    """A map, and the pin that it was opened by."""

    map: Map
    pin: Opened


def _give(found: _FoundPin, policy: PinPolicy, place: Opened) -> None:
    """Set the owner and mode of a pin that existed; close the map if that fails.

    A pin with a second name is an error: it may be another user's pin, linked to from here.
    """
    try:
        _refuse_second_name(found.pin)
        apply_policy(found.pin, policy, policy.mode, place)
    except PinError:
        found.map.close()
        raise


def _refuse_second_name(pin: Opened) -> None:
    if pin.status().st_nlink != 1:
        raise PinError(
            f"cannot set the owner of {pin.path}: it has another name as well (a hard link);"
            " remove the pin, and restart every program that uses it"
        )


def open_existing(bpf: Bpf, path: Path, spec: MapSpec) -> Map | None:
    """Open a pin and verify it; None when nothing is pinned there. Changes nothing.

    Raises:
        PinError: another layout, not a map, or a link.
        KernelError: the kernel refused to open it.
    """
    found = _open_pin(bpf, path, spec, path)
    if found is None:
        return None
    found.pin.close()
    return found.map


def _open_pin(bpf: Bpf, place: Path, spec: MapSpec, path: Path) -> _FoundPin | None:
    """Open and verify what is pinned at `place`, which sentences call `path`; None: nothing."""
    for _ in range(_ATTEMPTS):
        try:
            pin = look(place)
        except OSError:
            try:  # the kernel's own answer, which names what helps
                bpf.open_map(place, named=path).close()
            except KernelError as error:
                if error.errno == errno.ENOENT:
                    return None
                raise
            continue  # pinned just now
        pin.path = path
        try:
            return _FoundPin(_verified(bpf, pin, spec), pin)
        except BaseException:
            pin.close()
            raise
    return None


def _verified(bpf: Bpf, pin: Opened, spec: MapSpec) -> Map:
    """Open the map that is pinned by what was opened, and verify it."""
    if (kind := _foreign_kind(pin)) is not None:
        raise PinError(
            f"cannot open map {pin.path}: it is {kind}; move it away, or choose another --pin-dir"
        )
    opened = bpf.open_map(pin.link, named=pin.path)
    opened.label = pin.path.name
    if complaint := verify(opened.info, spec):
        opened.close()
        raise PinError(f"cannot use map {pin.path}: {complaint}")
    return opened


def verify(info: MapInfo, spec: MapSpec) -> str | None:
    """Return what is wrong with a map, and what helps, or None when it fits the contract.

    dnsdist compares only the two sizes; here type and flags count too. The number of
    entries is not looked at.
    """
    remedy = "stop every program that uses it, remove the pin, and start them again"
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


def _foreign_kind(pin: Opened) -> str | None:
    """Return what was opened if it is nothing of BPF."""
    mode = pin.status().st_mode
    return None if stat.S_ISREG(mode) and is_bpffs(pin.link) else kind_of(mode)
