"""A BPF object held by its descriptor: closing, pinning, asking the kernel about it.

Owns what maps, programs and links have in common. Does not own their operations. Called by
maps.py, programs.py and syscall.py.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
from pathlib import Path
from typing import Self

from xdpctl.kernel.failure import kernel_error

_PIN_HINTS = {
    errno.EEXIST: "another object is pinned there",
    errno.ENOENT: "its directory does not exist",
    errno.EACCES: "xdpctl needs write permission on the directory",
    errno.EPERM: "the pin must be on a BPF file system, and its name must not contain a dot",
}


class Descriptor:
    """Owner of one descriptor of a BPF object.

    Args:
        library: libbpf.
        fd: the descriptor, close-on-exec as the kernel makes them; closed by `close`.
        label: what error messages call the object.
    """

    def __init__(self, library: ctypes.CDLL, fd: int, label: str) -> None:
        self._library = library
        self.fd = fd
        self.label = label

    def close(self) -> None:
        """Close the descriptor; a second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def __enter__(self) -> Self:
        """Return the object, to be closed at the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the descriptor."""
        self.close()

    def pin(self, path: Path, *, named: Path | None = None) -> None:
        """Pin the object at `path`, which must not exist, with mode 0600.

        Args:
            path: where; for a directory that is held open, the path by its descriptor.
            named: the path that errors show, `path` by default.

        Raises:
            KernelError: EEXIST, ENOENT (no directory), EPERM (not on a bpffs, a dot in
                the name, or no privilege), EACCES.
        """
        result = self._library.bpf_obj_pin(self.fd, os.fsencode(path))
        if result < 0:
            tried = f"cannot pin {self.label} at {named or path}"
            raise kernel_error(tried, -result, hints=_PIN_HINTS)


def read_info(library: ctypes.CDLL, fd: int, info: ctypes.Structure, label: str) -> None:
    """Fill `info` with what the kernel says about the object behind `fd`.

    Members that this kernel does not know stay as they are.

    Raises:
        KernelError: what the kernel answers, EBADF for a closed descriptor.
    """
    length = ctypes.c_uint32(ctypes.sizeof(info))
    result = library.bpf_obj_get_info_by_fd(fd, ctypes.byref(info), ctypes.byref(length))
    if result < 0:
        raise kernel_error(f"cannot read the kernel's description of {label}", -result)


def kind_of(fd: int) -> str:
    """Return `map`, `program`, `link` or what else the kernel calls the object.

    Opening a pin does not tell its kind. The name of the descriptor's anonymous inode does.
    """
    text = ""
    with contextlib.suppress(OSError):
        text = str(Path(f"/proc/self/fd/{fd}").readlink())
    name = text.removeprefix("anon_inode:").strip("[]").removeprefix("bpf").lstrip("-_")
    return {"prog": "program"}.get(name, name)
