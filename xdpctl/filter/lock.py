"""The lock that gives an interface to one service.

Owns the lock's file beside the pins of an interface (own_pins.py). A second service on the same
interface is refused before it touches anything. Made by service/resources.py. Blocks, for
microseconds. Does not own what the lock protects.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Self

from xdpctl.errors import InterfaceError, PinError
from xdpctl.filter.own_pins import LOCK, beside, leave_directory, unusable
from xdpctl.kernel.bpf.pins import (
    PinPolicy,
    ensure_bpffs,
    ensure_directory,
    netns_inode,
    pin_name_for,
)

if TYPE_CHECKING:
    from pathlib import Path


class InterfaceLock:
    """Allows one service per interface, whatever its other options. Ends with the process.

    The lock is an flock(2) on a directory beside our pins, because a BPF file system has no
    regular files.

    Args:
        directory: where the own pins live; on a BPF file system.
        interface: the interface's name.
    """

    def __init__(self, directory: Path, interface: str) -> None:
        self._directory = directory
        self._path = beside(directory / f"{netns_inode()}-{pin_name_for(interface)}", LOCK)
        self._interface = interface
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            InterfaceError: another service has it.
            PinError: the directory cannot be used.
        """
        ensure_bpffs(self._directory)
        for _ in range(_ATTEMPTS):
            ensure_directory(self._directory, PinPolicy())
            try:
                self._path.mkdir(mode=0o700, exist_ok=True)
                opened = os.open(self._path, _LOCK_FLAGS)
            except FileNotFoundError:
                continue  # its last holder removed it just now, or the directory
            except OSError as error:
                raise unusable(self._path, error) from error
            self._descriptor = self._locked(opened)
            if self._descriptor is not None:
                return self
        raise PinError(
            f"cannot lock {self._interface}: another program removes {self._path} each time it is"
            " created; stop that program, and start again"
        )

    def keep(self) -> None:
        """Take the lock again if its directory is gone, as after another mount.

        Raises:
            InterfaceError, PinError: as with `__enter__`; then the lock is not held.
        """
        try:
            gone = not self._path.exists()
        except OSError as error:
            raise unusable(self._path, error) from error
        if self._descriptor is not None and gone:
            os.close(self._descriptor)
            self._descriptor = None
        if self._descriptor is None:
            self.__enter__()

    def _locked(self, opened: int) -> int | None:
        """Lock the directory; None if another directory has its name by now."""
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(opened).st_ino == self._path.lstat().st_ino:
                return opened
        except FileNotFoundError:
            pass
        except OSError as error:
            os.close(opened)
            if error.errno != errno.EWOULDBLOCK:
                raise unusable(self._path, error) from error
            raise InterfaceError(
                f"another xdpctl already serves {self._interface}: stop it first, or control it"
                " with the verbs",
                interface=self._interface,
            ) from error
        os.close(opened)
        return None

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                self._path.rmdir()
            os.close(self._descriptor)
            self._descriptor = None
            leave_directory(self._directory)


_ATTEMPTS = 100
"""Times that the lock may vanish while it is taken, as a service that ends removes it."""

_LOCK_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
