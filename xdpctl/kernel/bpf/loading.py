"""The one way in which a program is loaded: of three kinds, with our licence.

Owns the one call that loads. Does not own what is loaded, or the error's sentence (syscall.py).
Called by syscall.py where a process loads its own programs, and by program/loader/process.py;
so it imports little, and a kind of program is the kernel's number here (kind.py). Blocks as long as
the verifier takes.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct

from xdpctl.kernel.bpf import btf
from xdpctl.kernel.bpf.libbpf import (
    ATTACH_TYPE_XDP,
    BPF_F_XDP_HAS_FRAGS,
    PROGRAM_TYPE_XDP,
    LoadOptions,
    options,
)

BUFFERS_SINCE = (5, 18)
"""The first release with frames in several buffers; others may have been given them."""

_LICENSE = b"Dual BSD/GPL"
_INSTRUCTION_SIZE = 8
_LOG_SIZE = (1 << 24) - 1
_LOG_KEPT = 1 << 16

_TYPES = btf.function_over_xdp_md(b"xdpctl_filter")
_LOAD_64 = 0x18
_GET_BUFF_LEN = struct.pack("=BBhi", 0x85, 0, 0, 188)  # r0 = bpf_xdp_get_buff_len()
_NOTHING = struct.pack("=BBhi", 0xB7, 0, 0, 0)  # r0 = 0


def load(
    library: ctypes.CDLL, name: bytes, instructions: bytes, kind: int = PROGRAM_TYPE_XDP
) -> tuple[int, bytes]:
    """Load a program.

    An XDP program takes frames in several buffers, which a large MTU makes, where the kernel
    has them (5.18); else it has one buffer a frame. It has type information (btf.py) where the
    kernel takes that.

    Args:
        library: libbpf.
        name: in the kernel's form, at most 15 bytes.
        instructions: with real descriptors of maps in them.
        kind: what it is loaded as: a ProgramKind (kind.py).

    Returns:
        Its descriptor, or -errno with the end of the verifier's log.
    """
    types: int = -1
    if kind == PROGRAM_TYPE_XDP:
        types = library.bpf_btf_load(_TYPES, len(_TYPES), None)
    if types >= 0:
        try:
            fd, _ = _load_or_log(library, name, instructions, kind, types=types)
        finally:
            os.close(types)
        if fd >= 0:
            return fd, b""
    return _load_or_log(library, name, instructions, kind, types=0)


def _load_or_log(
    library: ctypes.CDLL, name: bytes, instructions: bytes, kind: int, *, types: int
) -> tuple[int, bytes]:
    """Load a program; if it is refused, once more for the verifier's log."""
    flags = BPF_F_XDP_HAS_FRAGS if kind == PROGRAM_TYPE_XDP else 0
    fd = _load(library, name, instructions, kind, flags=flags, types=types)
    if fd == -errno.EINVAL and flags:
        instructions, flags = without_buffers(instructions), 0
        fd = _load(library, name, instructions, kind, flags=flags, types=types)
    if fd >= 0:
        return fd, b""
    with mmap.mmap(-1, _LOG_SIZE) as log:  # freed at once, unlike malloc's memory
        address = ctypes.c_char.from_buffer(log)
        try:
            fd = _load(
                library,
                name,
                instructions,
                kind,
                flags=flags,
                types=types,
                log=ctypes.addressof(address),
            )
        finally:
            del address
        end = log.find(b"\0")
        text = log[max(0, end - _LOG_KEPT) : end]
    return fd, b"" if fd >= 0 else text


def without_buffers(instructions: bytes) -> bytes:
    """Return the program for a kernel with one buffer a frame: it is told a size of 0."""
    parts = []
    offset = 0
    while offset < len(instructions):
        size = 2 * _INSTRUCTION_SIZE if instructions[offset] == _LOAD_64 else _INSTRUCTION_SIZE
        part = instructions[offset : offset + size]
        parts.append(_NOTHING if part == _GET_BUFF_LEN else part)
        offset += size
    return b"".join(parts)


def _load(  # noqa: PLR0913 - what the kernel asks for
    library: ctypes.CDLL,
    name: bytes,
    instructions: bytes,
    kind: int,
    *,
    flags: int,
    types: int,
    log: int | None = None,
) -> int:
    functions = ctypes.create_string_buffer(btf.FUNC_INFO, len(btf.FUNC_INFO)) if types else None
    option = options(
        LoadOptions,
        prog_flags=flags,
        expected_attach_type=ATTACH_TYPE_XDP if kind == PROGRAM_TYPE_XDP else 0,
        log_level=0 if log is None else 1,
        log_size=0 if log is None else _LOG_SIZE,
        log_buf=log,
        prog_btf_fd=types,
        func_info=ctypes.addressof(functions) if functions else None,
        func_info_cnt=1 if functions else 0,
        func_info_rec_size=len(btf.FUNC_INFO) if functions else 0,
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
