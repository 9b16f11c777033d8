"""Whose a program is: our pins, and the lock that lets one service have an interface.

Owns the names in /sys/fs/bpf/xdpctl/ (our own pins, never the shared ones): for each
interface the bpf_link `NETNS-NAME` and beside it `NETNS-NAME:counters` and
`NETNS-NAME:control`, NETNS being the inode of the network namespace. Used by the
filter, and by `detach` when no service runs. Everything here blocks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Self

from xdpctl.abi import MapName
from xdpctl.errors import InterfaceError, KernelError, ListenError
from xdpctl.kernel.pins import OWN_DIRECTORY, netns_inode, pin_name_for

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.kernel.bpf import Bpf, Link, Map
    from xdpctl.kernel.netlink import Interface, Netlink

_MAP_SUFFIXES = (f":{MapName.COUNTERS}", f":{MapName.CONTROL}")


class OwnPins:
    """Our pins for one interface: paths, finding, pinning, removing."""

    def __init__(self, directory: Path, interface: str) -> None:
        self._directory = directory
        self._namespace = netns_inode()
        self.link_path = directory / f"{self._namespace}-{pin_name_for(interface)}"

    def path(self, name: MapName) -> Path:
        """Return where the own map of this name is pinned."""
        return self.link_path.with_name(f"{self.link_path.name}:{name}")

    def find_link(self, bpf: Bpf, interface: Interface) -> Link | None:
        """Return our link on the interface, or None.

        A link is ours to adopt only when its ifindex and program id are what the
        kernel shows on the interface: an index may have been used again.
        """
        if interface.attached is None:
            return None
        for path in self._candidates():
            try:
                link = bpf.open_link(path)
            except KernelError:
                continue
            info = link.info()
            if (info.ifindex, info.program_id) == (interface.index, interface.attached.program_id):
                if path != self.link_path:
                    self._rename(path)
                return link
            link.close()
        return None

    def _candidates(self) -> list[Path]:
        """Return the pins that may be our link: the expected name first."""
        prefix = f"{self._namespace}-"
        try:
            pins = [path for path in self._directory.iterdir() if path.name.startswith(prefix)]
        except OSError:
            return []
        links = (path for path in pins if not path.name.endswith(_MAP_SUFFIXES))
        return sorted(links, key=lambda path: (path != self.link_path, path))

    def _rename(self, old: Path) -> None:
        """Follow a renamed interface: its pins get the new name."""
        for suffix in ("", *_MAP_SUFFIXES):
            with contextlib.suppress(FileNotFoundError):
                old.with_name(old.name + suffix).rename(
                    self.link_path.with_name(self.link_path.name + suffix)
                )

    def pin(self, link: Link, counters: Map, control: Map) -> None:
        """Pin the three objects, in place of former pins of the same names."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        for thing, path in (
            (counters, self.path(MapName.COUNTERS)),
            (control, self.path(MapName.CONTROL)),
            (link, self.link_path),
        ):
            fresh = path.with_name(f"{path.name}:new")
            fresh.unlink(missing_ok=True)
            thing.pin(fresh)
            fresh.rename(path)

    def remove(self) -> None:
        """Remove our own pins of this interface; the shared maps are never touched."""
        for path in (self.link_path, self.path(MapName.COUNTERS), self.path(MapName.CONTROL)):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._directory.rmdir()


def detach_interface(
    bpf: Bpf, netlink: Netlink, name: str, directory: Path = OWN_DIRECTORY
) -> bool:
    """Take our program off an interface although no service runs; False if none is on."""
    pins = OwnPins(directory, name)
    link = pins.find_link(bpf, netlink.find(name))
    if link is None:
        return False
    with link:
        link.detach()
    pins.remove()
    return True


class InterfaceLock:
    """One service for each interface: an advisory lock on a file, freed at death."""

    def __init__(self, directory: Path, interface: str) -> None:
        self._path = directory / f"{netns_inode()}-{interface}.lock"
        self._interface = interface
        self._file: int | None = None

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            InterfaceError: another service has it.
            ListenError: the directory cannot be used.
        """
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ListenError(
                f"cannot make the lock {self._path}: {error.strerror}; run as root or run"
                " `xdpctl prepare` as root first"
            ) from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._file)
            self._file = None
            raise InterfaceError(
                f"another xdpctl already serves {self._interface}: stop it first, or talk to it"
                " with the verbs",
                interface=self._interface,
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
