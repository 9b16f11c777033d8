"""The reader's side of a ring buffer (BPF_MAP_TYPE_RINGBUF), through its memory.

Owns the mapped memory, and how far it was read: one reader, one thread. Does not own what is in a
record (abi.py). The programs wake nobody up, so the reader looks by itself. Called by samples/.
Blocks only as long as copying takes.
"""

from __future__ import annotations

import errno
import mmap
import struct
from typing import TYPE_CHECKING, Self

from xdpctl.kernel.failure import kernel_error

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.maps import Map

_HEADER = struct.Struct("=I")
_HEADER_SIZE = 8
_BUSY, _DISCARDED, _LENGTH = 1 << 31, 1 << 30, (1 << 30) - 1


def ring_size(octets: int) -> int:
    """Return the least size of a ring buffer that holds so many octets: pages, a power of two."""
    return max(mmap.PAGESIZE, 1 << max(0, octets - 1).bit_length())


def record_size(octets: int) -> int:
    """Return what a record of so many octets takes in a ring buffer."""
    return _HEADER_SIZE + octets + 7 & ~7


class RingReader:
    """Reads the records of a ring buffer. A context manager that gives its memory back.

    Its first page is what the reader has read so far, which it writes. Behind it are, to be read
    only, a page with what the kernel has written, and the records, twice in a row, so that none is
    in two pieces.

    Args:
        ring: the map; it may be closed afterwards.

    Raises:
        KernelError: the kernel does not map it.
    """

    def __init__(self, ring: Map) -> None:
        page, size = mmap.PAGESIZE, ring.info.max_entries
        try:
            self._own = mmap.mmap(ring.fd, page)
            self._kernels = mmap.mmap(ring.fd, page + 2 * size, prot=mmap.PROT_READ, offset=page)
        except OSError as error:
            number = error.errno or errno.EINVAL
            raise kernel_error(f"cannot map the memory of map {ring.label}", number) from error
        self._mask = size - 1
        self.full = False
        """Whether the last call of `read` found no room for another record like its last one."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the memory back."""
        self._own.close()
        self._kernels.close()

    def read(self) -> list[bytes]:
        """Return the records that have come since the last call, and free their room."""
        records = []
        (consumed,) = _POSITION.unpack_from(self._own)
        (produced,) = _POSITION.unpack_from(self._kernels)
        first, length = consumed, 0
        while consumed < produced:
            at = mmap.PAGESIZE + (consumed & self._mask)
            (header,) = _HEADER.unpack_from(self._kernels, at)
            if header & _BUSY:  # it is being written
                break
            length = header & _LENGTH
            if not header & _DISCARDED:
                at += _HEADER_SIZE
                records.append(self._kernels[at : at + length])
            consumed += record_size(length)
        self.full = produced - first + record_size(length) > self._mask + 1
        _POSITION.pack_into(self._own, 0, consumed)
        return records

    def skip(self) -> None:
        """Free the room of all records that were written so far."""
        _POSITION.pack_into(self._own, 0, *_POSITION.unpack_from(self._kernels))


_POSITION = struct.Struct("=Q")
