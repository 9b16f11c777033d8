"""A compiled program: instructions that refer to maps by number.

Owns the replacement of map numbers with descriptors. Made by program/ and by tests, loaded by
filter/ and maps/. Pure.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Bytecode:
    """A compiled program: eight bytes per instruction, host byte order.

    In place of a map's descriptor it has the map's number (`enum map_ref`).
    `bcc` is the version of BCC that compiled it.
    """

    instructions: bytes
    bcc: str = "unknown"

    def _map_loads(self) -> Iterator[tuple[int, int]]:
        """Yield (offset of the instruction, map number)."""
        offset = 0
        while offset < len(self.instructions):
            opcode, registers, _, immediate = _SLOT.unpack_from(self.instructions, offset)
            if opcode == _LOAD_64 and registers >> 4 in _MAP_KINDS:
                yield offset, immediate
            offset += 2 * _SLOT.size if opcode == _LOAD_64 else _SLOT.size

    def refs(self) -> frozenset[int]:
        """Return the numbers of the maps that the program uses."""
        return frozenset(ref for _, ref in self._map_loads())

    def without_hits(self) -> Bytecode:
        """Return the program without the instructions that count a hit of a rule.

        These are its only atomic additions (`__sync_fetch_and_add` in xdp/): each becomes a move
        of a register to itself. Everything else, and so every decision, is the same.
        """
        patched = bytearray(self.instructions)
        offset = 0
        while offset < len(patched):
            opcode, registers, _, immediate = _SLOT.unpack_from(patched, offset)
            if opcode == _ATOMIC_64 and immediate == _ADD:
                source = registers >> 4
                _SLOT.pack_into(patched, offset, _MOVE_64, source << 4 | source, 0, 0)
            offset += 2 * _SLOT.size if opcode == _LOAD_64 else _SLOT.size
        return Bytecode(bytes(patched), self.bcc)

    def relocate(self, fds: Mapping[int, int]) -> bytes:
        """Return the instructions with descriptors in place of map numbers.

        Args:
            fds: descriptor by map number, for each of `refs()`; extra ones are ignored.

        Raises:
            KeyError: a map is missing.
        """
        patched = bytearray(self.instructions)
        for offset, ref in self._map_loads():
            struct.pack_into("=i", patched, offset + 4, fds[ref])
        return bytes(patched)


_SLOT = struct.Struct("=BBhi")
_LOAD_64 = 0x18
_ATOMIC_64 = 0xDB  # BPF_STX | BPF_ATOMIC | BPF_DW
_ADD = 0
_MOVE_64 = 0xBF  # BPF_ALU64 | BPF_MOV | BPF_X
_MAP_KINDS = (1, 2)  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE
