"""One command, or one unit of systemd's, on one kernel: an emulated guest that ends with it.

Owns the guest's processes (qemu and the server of the shared root) and their end. The
guest has no network but what the command makes inside, and cannot write to the host.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kernels.emulator import emulator
from tests.kernels.initramfs import (
    EXIT_MARK,
    SHARE,
    START_MARK,
    command_initramfs,
    systemd_initramfs,
)
from tests.roots.apt import RootError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.kernels.kernel import Kernel

MODULES: Final = ("virtio_pci", "virtiofs", "veth", "bridge", "bonding", "dummy")
MEMORY: Final = "1024M"

BOOTS: Final = 4
"""Emulators have damaged starts (emulator.py)."""

_VIRTIOFSD: Final = (Path("/usr/libexec/virtiofsd"), Path("/usr/lib/qemu/virtiofsd"))


@dataclass(frozen=True, slots=True)
class GuestRun:
    """What a command did in a guest.

    Attributes:
        status: its exit status. `output`: all that it and the kernel wrote, by lines.
    """

    status: int
    output: tuple[str, ...]


def _program(*candidates: str | Path, package: str) -> str:
    for candidate in candidates:
        if found := shutil.which(str(candidate)):
            return found
    raise RootError(
        f"booting a kernel needs {candidates[0]}, which is not here: "
        f"install the Debian package {package}"
    )


def run_in_guest(
    kernel: Kernel, command: Sequence[str], *, folders: Sequence[Path], seconds: float = 300
) -> GuestRun:
    """Boot the kernel, run the command as root in the host's root, and return what it did.

    Args:
        kernel: what to boot.
        command: argv; paths are the host's.
        folders: of the host's that it sees in any case; it runs in the first.
        seconds: the guest is ended when it takes longer.

    Raises:
        RootError: qemu, its file server or a static busybox is not installed, or the guest
            ended (or was ended) before its command did; with its last line.
    """
    archive = command_initramfs(
        _busybox(), kernel.modules_for(MODULES), folders, shlex.join(command)
    )
    lines = _start(kernel, archive, "", seconds)
    for number, line in enumerate(lines):
        if line.startswith(EXIT_MARK):
            return GuestRun(int(line.removeprefix(EXIT_MARK)), tuple(lines[:number]))
    last = next((line for line in reversed(lines) if line), "it wrote nothing")
    raise RootError(
        f"the guest with kernel {kernel.release} did not end its command within "
        f"{seconds:.0f} s or died: {last}"
    )


def run_systemd(  # noqa: PLR0913 - what a guest can vary in
    kernel: Kernel,
    unit: str,
    over: Mapping[str, str],
    *,
    systemd: Path | None = None,
    root: Path = Path("/"),
    seconds: float = 180,
) -> tuple[str, ...]:
    """Boot the kernel into the systemd of a root and return the lines of its console.

    Args:
        kernel: what to boot.
        unit: the target that is started; something in it has to power the guest off.
        over: texts of files put over the root, by path without the first slash.
        systemd: a folder that is put over /usr, with another systemd than the root's.
        root: whose systemd; the host's own, or another that is read and never written to.
        seconds: the guest is ended when it takes longer.

    Raises:
        RootError: something is not installed.
    """
    modules = kernel.modules_for((*MODULES, "overlay"))
    archive = systemd_initramfs(_busybox(), modules, over, systemd)
    masks = " ".join(f"systemd.mask={name}" for name in _NOT_HERE)
    return tuple(_start(kernel, archive, f"systemd.unit={unit} {masks}", seconds, root))


_NOT_HERE: Final = (
    "systemd-tmpfiles-setup.service",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udev-trigger.service",
    "systemd-hwdb-update.service",
    "systemd-binfmt.service",
    "systemd-sysusers.service",
    "ldconfig.service",
    "dbus.service",
    "dbus.socket",
)
"""What walks over the whole root, each file of which the file server then keeps open."""


def _busybox() -> Path:
    return Path(_program("/bin/busybox", "/usr/bin/busybox", package="busybox-static"))


def _start(
    kernel: Kernel, archive: bytes, parameters: str, seconds: float, root: Path = Path("/")
) -> list[str]:
    """Run a guest from its start, again when the emulator damaged that; return its lines."""
    qemu = emulator()
    server = _program(*_VIRTIOFSD, package="qemu-system-common")
    lines: list[str] = []
    with tempfile.TemporaryDirectory(prefix="xdpctl-guest-") as home:
        ramdisk, socket = Path(home, "initramfs"), Path(home, "fs.sock")
        ramdisk.write_bytes(archive)
        argv = [
            *(*qemu, "-accel", "tcg", "-cpu", "max", "-smp", "1", "-m", MEMORY, "-nodefaults"),
            *("-nographic", "-no-reboot", "-serial", "stdio"),
            *("-object", f"memory-backend-memfd,id=ram,size={MEMORY},share=on"),
            *("-machine", "q35,memory-backend=ram"),
            *("-chardev", f"socket,id=fs,path={socket}"),
            *("-device", f"vhost-user-fs-pci,chardev=fs,tag={SHARE}"),
            *("-kernel", str(kernel.image), "-initrd", str(ramdisk)),
            *("-append", f"console=ttyS0 quiet panic=-1 oops=panic mitigations=off {parameters}"),
        ]
        for _ in range(BOOTS):
            with _shared_root(server, socket, root):
                lines = _boot(argv, seconds)
            if START_MARK in lines:  # only a start is tried again, never the command
                break
    return lines


@contextmanager
def _shared_root(server: str, socket: Path, root: Path) -> Iterator[None]:
    """Serve a root of the host's to one guest."""
    socket.unlink(missing_ok=True)
    share = subprocess.Popen(
        [
            *(server, f"--socket-path={socket}", "--rlimit-nofile=0"),
            *("-o", f"source={root},cache=always,sandbox=chroot"),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    try:
        for _ in range(200):
            if socket.exists() or share.poll() is not None:
                break
            time.sleep(0.05)
        yield
    finally:
        share.terminate()
        share.communicate()


def _boot(argv: list[str], seconds: float) -> list[str]:
    """Run a guest to its end, or end it, and return the lines of its console."""
    try:
        written = subprocess.run(
            argv,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
        ).stdout
    except subprocess.TimeoutExpired as expired:
        written = expired.stdout or b""
    return [line.rstrip() for line in written.decode(errors="replace").splitlines()]
