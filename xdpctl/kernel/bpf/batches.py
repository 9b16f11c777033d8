"""Reads all entries of a map: in batches, or one by one where the kernel has no batches.

Owns the reader's position and the errors that mark the end. Does not own the map or the
meaning of the bytes. Called only by maps.py; blocks for one chunk at a time.
"""

from __future__ import annotations

import ctypes
import errno
from typing import TYPE_CHECKING

from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.libbpf import ENOTSUPP, BatchOptions, options
from xdpctl.kernel.failure import kernel_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NO_BATCH = frozenset({ENOTSUPP, errno.EOPNOTSUPP, errno.EINVAL})
"""Errors for a batch on a map type that has no batch operations (LPM in Linux 5.10)."""

_PATIENCE = 64
"""Empty batches in a row that are accepted: entries may vanish while they are read."""


class EntryReader:
    """A reader of one map.

    Args:
        library: libbpf.
        fd: the map's descriptor; the caller keeps and closes it.
        label: what error messages call the map.
        key_size: bytes.
        stored_size: bytes of a value as the kernel copies it.
    """

    def __init__(
        self, library: ctypes.CDLL, fd: int, label: str, key_size: int, stored_size: int
    ) -> None:
        self._library = library
        self._fd = fd
        self._label = label
        self._key_size = key_size
        self._stored_size = stored_size

    def batches(self, size: int) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries through BPF_MAP_LOOKUP_BATCH.

        The kernel's position is 4 bytes for a hash (a bucket), a key otherwise. ENOENT
        marks the end and comes with the last part. ENOSPC means that a bucket has more
        than `size` entries.
        """
        position = ctypes.create_string_buffer(max(self._key_size, 4))
        start: ctypes.Array[ctypes.c_char] | None = None
        option = options(BatchOptions)
        keys = values = ctypes.create_string_buffer(0)
        allotted, patience, result = 0, _PATIENCE, 0
        while result != -errno.ENOENT:
            if allotted != size:
                keys = ctypes.create_string_buffer(size * self._key_size)
                values = ctypes.create_string_buffer(size * self._stored_size)
                allotted = size
            count = ctypes.c_uint32(size)
            result = self._library.bpf_map_lookup_batch(
                self._fd, start, position, keys, values, ctypes.byref(count), ctypes.byref(option)
            )
            if result == -errno.ENOSPC:
                size *= 2
                continue
            if result < 0 and result not in (-errno.ENOENT, -errno.EINTR):
                raise kernel_error(f"cannot read the entries of map {self._label}", -result)
            if not count.value:
                patience -= 1
                if not patience:
                    raise self.restless()
                continue
            patience, start = _PATIENCE, position
            yield (
                ctypes.string_at(keys, count.value * self._key_size),
                ctypes.string_at(values, count.value * self._stored_size),
            )

    def part(self, bucket: int, size: int) -> tuple[bytes, bytes, int | None]:
        """Return the entries of a hash map's whole buckets from `bucket` on.

        Args:
            bucket: 0, or the third value that the previous call returned.
            size: most entries to return; a bucket with more is returned alone.

        Returns:
            Keys, values, and the next bucket, None after the last. An entry stays in its
            bucket, so the next call neither repeats nor misses an entry that is in the map
            during both calls.
        """
        option = options(BatchOptions)
        start = ctypes.c_uint32(bucket)
        following = ctypes.c_uint32()
        while True:
            keys = ctypes.create_string_buffer(size * self._key_size)
            values = ctypes.create_string_buffer(size * self._stored_size)
            count = ctypes.c_uint32(size)
            result = self._library.bpf_map_lookup_batch(
                self._fd,
                ctypes.byref(start) if bucket else None,
                ctypes.byref(following),
                keys,
                values,
                ctypes.byref(count),
                ctypes.byref(option),
            )
            if result != -errno.ENOSPC:
                break
            size += 1
        if result < 0 and result != -errno.ENOENT:
            raise kernel_error(f"cannot read the entries of map {self._label}", -result)
        return (
            ctypes.string_at(keys, count.value * self._key_size),
            ctypes.string_at(values, count.value * self._stored_size),
            None if result == -errno.ENOENT else following.value,
        )

    def each(
        self, size: int, lookup: Callable[[bytes], bytes | None]
    ) -> Iterator[tuple[bytes, bytes]]:
        """Yield entries one system call at a time, for map types without batches."""
        previous: bytes | None = None
        following = ctypes.create_string_buffer(self._key_size)
        result = 0
        while result == 0:
            keys, values = bytearray(), bytearray()
            while len(keys) < size * self._key_size:
                result = self._library.bpf_map_get_next_key(self._fd, previous, following)
                if result < 0:
                    break
                previous = following.raw
                if (value := lookup(previous)) is not None:
                    keys += previous
                    values += value
            if keys:
                yield bytes(keys), bytes(values)
        if result != -errno.ENOENT:
            raise kernel_error(f"cannot read the entries of map {self._label}", -result)

    def restless(self) -> KernelError:
        """Return the error for a map that changes faster than it can be read."""
        return KernelError(
            f"cannot read all of map {self._label}",
            errno.EAGAIN,
            "it changes faster than it can be read: try again",
        )
