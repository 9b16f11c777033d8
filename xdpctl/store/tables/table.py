"""One logical map of our own tables, with the face of a map of the kernel's.

The tables have fingerprints and no keys, so the keys come from the notes. A counter is the
table's own: what is written sets an action and leaves the counter as it is. Made by
tables.py, used by all of store/.
"""

from __future__ import annotations

import errno
import struct
from typing import TYPE_CHECKING

from xdpctl.abi import TABLES, MapName, MapType
from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.libbpf import BPF_ANY, BPF_EXIST, BPF_NOEXIST
from xdpctl.kernel.bpf.maps import MapInfo
from xdpctl.rules.keys import full_key, stored_key

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xdpctl.store.state import State
    from xdpctl.store.tables.engine import Contents

_VALUE = struct.Struct("=QB7x")
_ACTION_OFFSET = 8
_ACTION_MASK = 3
KEYS_AT_ONCE = 4_000
"""Keys of one step: some milliseconds."""


class RuleTable:
    """A logical map.

    Args:
        name: its name.
        tables: all of them.
        state: the notes.
    """

    def __init__(self, name: MapName, tables: Contents, state: State) -> None:
        self.name = name
        self.label = str(name)
        self.before_write: Callable[[bytes], None] | None = None
        self.stored_size = TABLES[name].value_size
        self._ref = TABLES[name].ref
        self._tables = tables
        self._state = state

    @property
    def info(self) -> MapInfo:
        """Sizes of keys and values, and for how many entries there is room just now."""
        spec = TABLES[self.name]
        return MapInfo(
            id=0,
            type=MapType.HASH,
            key_size=spec.key_size,
            value_size=spec.value_size,
            max_entries=self._tables.capacity(self.name),
            flags=0,
            name=self.label,
        )

    def is_frozen(self) -> bool:
        """Return False: nobody else has these tables."""
        return False

    def is_empty(self) -> bool:
        """Return whether there is no entry."""
        return not self._tables.count(self.name)

    # --- by stored keys, for many of them -----------------------------------------

    def values(self, stored: Sequence[bytes]) -> list[bytes | None]:
        """Return the value of each of these stored keys, or None."""
        pack = _VALUE.pack
        return [
            None if found is None else pack(found >> 8, found & _ACTION_MASK)
            for found in self._tables.look_up(self.name, stored)
        ]

    def put(self, stored: Sequence[bytes], actions: Sequence[int]) -> int:
        """Write an action for each of these stored keys; return how many were made."""
        return self._tables.put(self.name, stored, actions)

    def remove(self, stored: Sequence[bytes]) -> int:
        """Remove the entries of these stored keys; return how many were there."""
        return self._tables.remove(self.name, stored)

    def hits(self) -> Iterator[tuple[int, bytes]]:
        """Yield (counter, stored key) of the entries whose counter is not 0."""
        after = b""
        while stored := self._state.keys(self.name, after, KEYS_AT_ONCE):
            after = stored[-1]
            found = self._tables.look_up(self.name, stored)
            for value, key in zip(found, stored, strict=True):
                if value is not None and value > _ACTION_MASK:
                    yield value >> 8, key

    # --- as a map -----------------------------------------------------------------

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of a key, or None."""
        return self.lookup_many(key)[0]

    def lookup_many(self, keys: bytes) -> list[bytes | None]:
        """Return the value of each of these keys, end to end, or None."""
        return self.values(self._stored(keys))

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        """Write one entry; the counter in the value is not.

        Raises:
            TableFullError, KernelError: as `Tables.put`; EEXIST, ENOENT as the flags ask.
        """
        self.update_batch(key, value, flags)

    def update_batch(self, keys: bytes, values: bytes, flags: int = BPF_ANY) -> int:
        """Write entries in their order and return how many; raises as `update`."""
        stored = self._stored(keys)
        if flags != BPF_ANY:
            self._see_presence(stored, flags)
        self.put(stored, values[_ACTION_OFFSET :: self.stored_size])
        return len(stored)

    def delete(self, key: bytes) -> bool:
        """Remove one entry; False when there is none."""
        return bool(self.delete_batch(key))

    def delete_batch(self, keys: bytes) -> int:
        """Remove entries; return how many were there."""
        return self.remove(self._stored(keys))

    def chunks(self, size: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        """Yield the entries that have a note, about `size` at a time, as (keys, values)."""
        after = b""
        while stored := self._state.keys(self.name, after, size):
            after = stored[-1]
            found = [
                (full_key(self._ref, key), value)
                for key, value in zip(stored, self.values(stored), strict=True)
                if value is not None
            ]
            if found:
                yield b"".join(key for key, _ in found), b"".join(value for _, value in found)

    def _stored(self, keys: bytes) -> list[bytes]:
        size, ref = TABLES[self.name].key_size, self._ref
        if len(keys) % size:
            raise ValueError(f"{len(keys)} bytes are no keys of {self.label}")
        return [stored_key(ref, keys[at : at + size]) for at in range(0, len(keys), size)]

    def _see_presence(self, stored: Sequence[bytes], flags: int) -> None:
        """Refuse keys that are there under NOEXIST, or are not under EXIST."""
        wrong = {BPF_NOEXIST: errno.EEXIST, BPF_EXIST: errno.ENOENT}[flags]
        for found in self._tables.look_up(self.name, stored):
            if (found is not None) == (flags == BPF_NOEXIST):
                raise KernelError(f"cannot write to {self.label}", wrong)
