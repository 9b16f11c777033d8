"""All keys of a hash map, read again and again: cheap where nothing has changed.

Owns the memory that the kernel writes them to: two pieces that take turns, so that a
walk is compared with the one before by one call. Values are read too, as the kernel
gives no keys without them, and not looked at. Made by maps.py, used by the follower
of the names; blocks as long as the kernel needs to go through the map.
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
        fd: the map's descriptor, which stays its owner's.
        label: what error messages call the map.
        key_size: bytes.
        stored_size: bytes of a value.
        most: entries up to which the map is read; memory is used as it fills.
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
        """Read all keys and return how many, None where there are more than `most`.

        An entry that is there from before the call until after it is among them: it
        stays in its bucket, and a bucket is read under its lock. `changed` tells
        whether they differ from what the walk before found (the order counts, and is
        the same while nothing changes). After an error, or None, the keys are still
        those of the last walk that was whole.

        Raises:
            KernelError: EBUSY, EINTR, EAGAIN: not now; others.
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
        if result in (0, -errno.ENOSPC):  # not at the end, or not even one bucket
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
    """Return where memory lies, which must stay referenced."""
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))
