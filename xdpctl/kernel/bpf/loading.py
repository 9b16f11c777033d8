"""The one way in which a program is loaded: of two kinds, with our licence, without BTF.

Owns the one call that loads. Does not own what is loaded, or the error's sentence (syscall.py).
Called by syscall.py where a process loads its own programs, and by program/loader/process.py;
so it imports little. Blocks as long as the verifier takes.
"""

from __future__ import annotations

import ctypes
import mmap
from enum import IntEnum

from xdpctl.kernel.bpf.libbpf import (
    ATTACH_TYPE_XDP,
    PROGRAM_TYPE_SCHED_CLS,
    PROGRAM_TYPE_XDP,
    LoadOptions,
    options,
)

_LICENSE = b"Dual BSD/GPL"
_INSTRUCTION_SIZE = 8
_LOG_SIZE = (1 << 24) - 1
_LOG_KEPT = 1 << 16


class ProgramKind(IntEnum):
    """What a program is loaded as; the number is the kernel's.

    A program that is only ever run by program test runs is TEST_RUN: as XDP, each series of
    runs would change the kernel's dispatcher and wait for all processors.
    """

    TEST_RUN = PROGRAM_TYPE_SCHED_CLS
    XDP = PROGRAM_TYPE_XDP


def load(
    library: ctypes.CDLL, name: bytes, instructions: bytes, kind: ProgramKind = ProgramKind.XDP
) -> tuple[int, bytes]:
    """Load a program.

    Args:
        library: libbpf.
        name: in the kernel's form, at most 15 bytes.
        instructions: with real descriptors of maps in them.
        kind: what it is loaded as.

    Returns:
        Its descriptor, or -errno with the end of the verifier's log.
    """
    fd = _load(library, name, instructions, kind)
    if fd >= 0:
        return fd, b""
    with mmap.mmap(-1, _LOG_SIZE) as log:  # freed at once, unlike malloc's memory
        address = ctypes.c_char.from_buffer(log)
        try:
            fd = _load(library, name, instructions, kind, ctypes.addressof(address))
        finally:
            del address
        end = log.find(b"\0")
        text = log[max(0, end - _LOG_KEPT) : end]
    return fd, b"" if fd >= 0 else text


def _load(
    library: ctypes.CDLL,
    name: bytes,
    instructions: bytes,
    kind: ProgramKind,
    log: int | None = None,
) -> int:
    option = options(
        LoadOptions,
        expected_attach_type=ATTACH_TYPE_XDP if kind is ProgramKind.XDP else 0,
        log_level=0 if log is None else 1,
        log_size=0 if log is None else _LOG_SIZE,
        log_buf=log,
    )
    fd: int = library.bpf_prog_load(
        kind,
        name,
        _LICENSE,
        instructions,
        len(instructions) // _INSTRUCTION_SIZE,
        ctypes.byref(option),
    )
    return fd
