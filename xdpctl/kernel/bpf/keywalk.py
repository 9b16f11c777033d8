"""Reads all keys of a hash map repeatedly; cheap while nothing changes.

Owns the memory that the kernel writes the keys to: two buffers that take turns, so that one
memcmp compares a walk with the previous one. The kernel returns no keys without values, so
values are read too and ignored. Does not own the map. Made by maps.py, used by
maps/name_follower.py; blocks as long as the kernel needs to go through the map.
"""

from __future__ import annotations

import ctypes
import errno
import mmap

from xdpctl.kernel.bpf.libbpf import BatchOptions, options
from xdpctl.kernel.failure import kernel_error


class KeyWalk:
    """Reader of the keys of one hash map.

    Args:
        library: libbpf.
        fd: the map's descriptor; the caller keeps and closes it.
        label: what error messages call the map.
        key_size: bytes.
        stored_size: bytes of a value.
        most: most entries to read; memory is used as the map fills.
    """

    def __init__(  # noqa: PLR0913 - a map and a bound
        self,
        library: ctypes.CDLL,
        fd: int,
        label: str,
        *,
        key_size: int,
        stored_size: int,
        most: int,
    ) -> None:
        self._library = library
        self._fd = fd
        self._label = label
        self._key_size = key_size
        self._room = most + 1
        self._memory = [mmap.mmap(-1, self._room * key_size) for _ in range(2)]
        self._values = mmap.mmap(-1, self._room * stored_size)
        self._addresses = [_address(memory) for memory in self._memory]
        self._values_address = _address(self._values)
        self._position = ctypes.create_string_buffer(max(key_size, 4))
        self._options = options(BatchOptions)
        self._compare = ctypes.CDLL(None).memcmp
        self._compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
        self._last = 0
        self._count = 0
        self.changed = True

    def walk(self) -> int | None:
        """Read all keys and return how many there are, or None if there are more than `most`.

        An entry that is in the map during the whole call is found: it stays in its bucket,
        and the kernel reads a bucket under its lock. `changed` is whether the keys differ
        from those of the previous walk. Their order counts; it stays the same while nothing
        changes. After an error, or None, the keys are still those of the last whole walk.

        Raises:
            KernelError: EBUSY, EINTR and EAGAIN are temporary; others are not.
        """
        turn = 1 - self._last
        count = ctypes.c_uint32(self._room)
        result = self._library.bpf_map_lookup_batch(
            self._fd,
            None,
            self._position,
            self._addresses[turn],
            self._values_address,
            ctypes.byref(count),
            ctypes.byref(self._options),
        )
        if result in (0, -errno.ENOSPC):  # not the end, or no room for one bucket
            return None
        if result != -errno.ENOENT:
            raise kernel_error(f"cannot read the keys of map {self._label}", -result)
        found = count.value
        if found >= self._room:
            return None
        self.changed = found != self._count or bool(
            self._compare(*self._addresses, found * self._key_size)
        )
        self._last, self._count = turn, found
        return found

    def keys(self) -> bytes:
        """Return the keys of the last whole walk, end to end."""
        return self._memory[self._last][: self._count * self._key_size]


def _address(memory: mmap.mmap) -> int:
    """Return the address of memory, which must stay referenced."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
