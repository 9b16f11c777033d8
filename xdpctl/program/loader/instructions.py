"""Which instructions the loader accepts, and how they refer to maps on their way to it.

Owns the list of helpers that our programs call. With CAP_PERFMON, which the loader has, the
verifier allows helpers that read any memory. So the loader checks the instructions before the
kernel does. It accepts only what our programs use: these helpers and the maps sent with the
program; no kernel function, no BTF type, no subprogram. Does not own loading (process.py).
Called by parent.py and process.py. Pure.
"""

from __future__ import annotations

import struct

from xdpctl.kernel.bpf.libbpf import (
    PROGRAM_TYPE_SCHED_CLS,
    PROGRAM_TYPE_SOCK_OPS,
    PROGRAM_TYPE_XDP,
)

SIZE = 8
MOST = 1 << 16
"""Most instructions of a program: more than a jump can span (16 bits, signed)."""

HELPERS = {
    PROGRAM_TYPE_XDP: {
        1: "bpf_map_lookup_elem",
        5: "bpf_ktime_get_ns",
        7: "bpf_get_prandom_u32",
        8: "bpf_get_smp_processor_id",
        51: "bpf_redirect_map",
        65: "bpf_xdp_adjust_tail",
        84: "bpf_sk_lookup_tcp",
        86: "bpf_sk_release",
        118: "bpf_jiffies64",
        131: "bpf_ringbuf_reserve",
        132: "bpf_ringbuf_submit",
        188: "bpf_xdp_get_buff_len",
    },
    PROGRAM_TYPE_SCHED_CLS: {1: "bpf_map_lookup_elem"},
    PROGRAM_TYPE_SOCK_OPS: {
        1: "bpf_map_lookup_elem",
        59: "bpf_sock_ops_cb_flags_set",
        118: "bpf_jiffies64",
    },
}
"""What our programs of each kind (kernel/bpf/kind.py) call; none of it reads anything but packets,
sockets, maps and the clocks."""

_SLOT = struct.Struct("=BBhi")
_LOAD_64 = 0x18
_PLAIN, _MAP, _MAP_VALUE = 0, 1, 2  # source register: a number, BPF_PSEUDO_MAP_FD, _VALUE
_JUMPS = (0x05, 0x06)
_CLASS, _OPERATION = 0x07, 0xF0
_CALL_OPERATION = 0x80
_CALL = 0x85


class ForbiddenError(Exception):
    """Instructions that the loader refuses; the text says why."""


def to_numbers(instructions: bytes) -> tuple[bytes, list[int]]:
    """Replace each map's descriptor by a number; return instructions and descriptors.

    Args:
        instructions: with descriptors of this process.
    """
    fds: list[int] = []
    patched = bytearray(instructions)
    for offset, fd in _maps(instructions):
        if fd not in fds:
            fds.append(fd)
        struct.pack_into("=i", patched, offset + 4, fds.index(fd))
    return bytes(patched), fds


def to_descriptors(instructions: bytes, fds: list[int], kind: int = PROGRAM_TYPE_XDP) -> bytes:
    """Return the instructions with descriptors of this process in the place of numbers.

    Raises:
        ForbiddenError: they contain something that our programs do not use.
    """
    check(instructions, kind)
    patched = bytearray(instructions)
    for offset, number in _maps(instructions):
        if not 0 <= number < len(fds):
            raise ForbiddenError(f"it refers to map {number} of {len(fds)}")
        struct.pack_into("=i", patched, offset + 4, fds[number])
    return bytes(patched)


def check(instructions: bytes, kind: int = PROGRAM_TYPE_XDP) -> None:
    """Look at every instruction of a program of this kind.

    Raises:
        ForbiddenError: they contain something that our programs do not use.
    """
    if not instructions or len(instructions) % SIZE or len(instructions) > MOST * SIZE:
        raise ForbiddenError(
            f"{len(instructions)} bytes are not a program of 1 to {MOST} instructions"
        )
    offset = 0
    while offset < len(instructions):
        opcode, registers, _, immediate = _SLOT.unpack_from(instructions, offset)
        source = registers >> 4
        if opcode == _LOAD_64:
            if source not in (_PLAIN, _MAP, _MAP_VALUE):
                raise ForbiddenError(
                    f"it loads an address of kind {source}, neither a number nor a map"
                )
            offset += SIZE
        elif opcode & _CLASS in _JUMPS and opcode & _OPERATION == _CALL_OPERATION:
            if opcode != _CALL or source:
                raise ForbiddenError("it calls a subprogram or a kernel function")
            if immediate not in HELPERS[kind]:
                raise ForbiddenError(f"it calls helper {immediate}, which xdpctl's programs do not")
        offset += SIZE


def _maps(instructions: bytes) -> list[tuple[int, int]]:
    """Return (offset of the instruction, number or descriptor of the map) for each map."""
    found = []
    offset = 0
    while offset + SIZE <= len(instructions):
        opcode, registers, _, immediate = _SLOT.unpack_from(instructions, offset)
        if opcode == _LOAD_64 and registers >> 4 in (_MAP, _MAP_VALUE):
            found.append((offset, immediate))
        offset += 2 * SIZE if opcode == _LOAD_64 else SIZE
    return found
