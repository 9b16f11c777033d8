"""The emulator that guests run in: the machine's qemu, on Debian 12 the backported one.

Debian 12's own, 7.2, damages the registers of most 6.12 kernels on a busy machine (13 of 20
starts, and some runs later on; none of 12 with 10.0). The backport is unpacked into the
cache and needs only the libraries that the machine's own brings.
"""

from __future__ import annotations

import platform
import shutil
from typing import TYPE_CHECKING, Final

from tests.roots.apt import RootError, SuiteApt, locked, unpack

if TYPE_CHECKING:
    from pathlib import Path

_PROGRAM: Final = "qemu-system-x86_64"
_PACKAGES: Final = ("qemu-system-x86", "qemu-system-data", "seabios")
_BACKPORTS: Final = {"bookworm": "bookworm-backports"}


def emulator() -> list[str]:
    """Return the command of qemu, downloaded if need be and it is not in the cache.

    Raises:
        RootError: qemu is not installed, or the backport could not be had.
    """
    own = shutil.which(_PROGRAM)
    if own is None:
        raise RootError(
            f"booting a kernel needs {_PROGRAM}, which is not here: "
            "install the Debian package qemu-system-x86"
        )
    codename = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
    suite = _BACKPORTS.get(codename)
    if suite is None:
        return [own]
    with locked("qemu") as cache:
        folder = cache / "qemu" / suite
        if not folder.is_dir():
            _fetch(suite, folder)
    usr = folder / "usr"
    data = [str(usr / "share" / name) for name in ("qemu", "seabios")]
    return [str(usr / "bin" / _PROGRAM), *(word for place in data for word in ("-L", place))]


def _fetch(suite: str, folder: Path) -> None:
    apt = SuiteApt(suite)
    apt.update()
    half = folder.with_name(f"{suite}.half")
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    for package in _PACKAGES:
        unpack(apt.download(package), half)
    apt.clean()
    half.rename(folder)
