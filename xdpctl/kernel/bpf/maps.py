"""A BPF map: its entries one at a time, and in batches for a million of them.

Owns the descriptor and its operations. Does not own the meaning of keys and values, which are
the kernel's bytes (abi.py), or pins (pins.py). Everything blocks, so the loop calls it on a
thread; other threads run during a system call. Made by syscall.py; used by store/, maps/,
filter/, status/ and program/selftest.py.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import BPF_F_NO_PREALLOC, MapType
from xdpctl.errors import KernelError, MapFrozenError, MapFullError
from xdpctl.kernel.bpf.batches import NO_BATCH, EntryReader
from xdpctl.kernel.bpf.descriptor import Descriptor, read_info
from xdpctl.kernel.bpf.keywalk import KeyWalk
from xdpctl.kernel.bpf.libbpf import BPF_ANY, BatchOptions, MapInfoStruct, options
from xdpctl.kernel.failure import kernel_error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from xdpctl.abi import MapSpec

_ELEMENT, _BUCKET = 48, 16
"""Octets of a hash map's element beside key and value, and of a bucket (kernel/bpf/hashtab.c)."""

_PER_CPU_TYPES = frozenset({5, 6, 10})
_FULL = frozenset({errno.E2BIG, errno.ENOSPC, errno.ENOMEM})

_FDINFO_SIZE = 4096
_WRITE_STEP = 16384
"""Entries written in one batch: about 10 ms in the kernel, 4 MB of names."""

_ROUNDS = 4
"""How many times a map's capacity a reader accepts: a trie starts again from its first entry
when the reader's last entry is deleted."""


@dataclass(frozen=True, slots=True)
class MapInfo:
    """What the kernel says about a map; `type` and `flags` as in linux/bpf.h."""

    id: int
    type: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int
    name: str


class Map(Descriptor):
    """A map of the kernel, held by a descriptor that `close` gives back.

    `info` is read once, when the object is made. `label` is the name for error
    messages: the pin's name. `before_write` is called with the keys, end to end, that
    this object is about to write.

    Args:
        library: libbpf.
        fd: descriptor of a map; closed also when reading its description fails.
        label: what error messages call the map.
    """

    info: MapInfo

    def __init__(self, library: ctypes.CDLL, fd: int, label: str) -> None:
        super().__init__(library, fd, label)
        self.before_write: Callable[[bytes], None] | None = None
        try:
            self.info = self.current_info()
            self.stored_size = self._stored_size()
        except BaseException:
            self.close()
            raise

    def become(self, other: Map) -> None:
        """Turn this object into another map of the same layout, for all its users.

        The descriptor keeps its number, so a call that another thread is making uses the
        former map or the new one. `other` is closed.
        """
        os.dup2(other.fd, self.fd, inheritable=False)
        self.info = other.info
        other.close()

    def current_info(self) -> MapInfo:
        """Return what the kernel says about the map now."""
        raw = MapInfoStruct()
        read_info(self._library, self.fd, raw, f"map {self.label}")
        return MapInfo(
            id=raw.id,
            type=raw.type,
            key_size=raw.key_size,
            value_size=raw.value_size,
            max_entries=raw.max_entries,
            flags=raw.map_flags,
            name=raw.name.decode("ascii", "replace"),
        )

    def is_frozen(self) -> bool:
        """Return whether only programs can still write to the map (BPF_MAP_FREEZE).

        Every process that may write to a pinned map can freeze it, and nothing undoes that.
        If /proc cannot be read, the answer is False.
        """
        try:
            with open(f"/proc/self/fdinfo/{self.fd}", "rb", buffering=0) as file:  # noqa: PTH123
                return b"\nfrozen:\t1\n" in file.read(_FDINFO_SIZE)
        except OSError:
            return False

    def lookup(self, key: bytes) -> bytes | None:
        """Return the value of exactly this key, or None when it is not there.

        For a prefix, the kernel returns the entry that covers it; here only the prefix's own
        entry counts. If another entry covers the prefix, this reads the whole map.

        For a per-CPU map the values of all possible CPUs follow each other, each
        padded to a multiple of 8 bytes (`stored_size` in all).
        """
        self._check(key, self.info.key_size, "key")
        return self.lookup_many(key)[0]

    def lookup_many(self, keys: bytes) -> list[bytes | None]:
        """Return what `lookup` gives for each of these keys, end to end.

        Each key costs one call, because the kernel has no batch look-up of chosen keys. An
        LPM map that must be read whole is read once for all keys.
        """
        wanted = [_slice(keys, self.info.key_size, number) for number in range(self._count(keys))]
        values = [self._lookup(key) for key in wanted]
        if self.info.type != MapType.LPM_TRIE:
            return values
        nested = {
            key
            for key, value in zip(wanted, values, strict=True)
            if value is not None and self._is_covered(key)
        }
        if not nested:
            return values
        exact = self._search(nested)
        return [
            exact.get(key) if key in nested else value
            for key, value in zip(wanted, values, strict=True)
        ]

    def update(self, key: bytes, value: bytes, flags: int = BPF_ANY) -> None:
        """Write one entry.

        Args:
            key: key_size bytes.
            value: `stored_size` bytes.
            flags: BPF_ANY, BPF_NOEXIST or BPF_EXIST.

        Raises:
            MapFullError: E2BIG (hash), ENOSPC (LPM; also for some updates of what is
                there), ENOMEM.
            KernelError: EEXIST under BPF_NOEXIST, ENOENT under BPF_EXIST, others.
        """
        self._check(key, self.info.key_size, "key")
        self._check(value, self.stored_size, "value")
        if self.before_write is not None:
            self.before_write(key)
        result = self._library.bpf_map_update_elem(self.fd, key, value, flags)
        if result < 0:
            raise self._write_error(-result, done=0)

    def delete(self, key: bytes) -> bool:
        """Remove one entry; False when there is none."""
        self._check(key, self.info.key_size, "key")
        result = self._library.bpf_map_delete_elem(self.fd, key)
        if result == -errno.ENOENT:
            return False
        if result < 0:
            raise self._refusal(f"cannot delete an entry of map {self.label}", -result)
        return True

    def chunks(self, size: int = 4096) -> Iterator[tuple[bytes, bytes]]:
        """Yield all entries, about `size` at a time, as (keys, values) end to end.

        An entry that is in the map the whole time is yielded at least once. An entry that
        comes or goes during the walk may be yielded or not. Any entry may be yielded twice,
        so a caller that must not count one twice compares keys. Holds `size` entries in memory.

        Raises:
            KernelError: EAGAIN when the map changes faster than it can be read; others.
        """
        reader = self._reader()
        parts = reader.batches(size)
        try:
            part = next(parts, None)
        except KernelError as error:
            if error.errno not in NO_BATCH:
                raise
            parts = reader.each(size, self._lookup)
            part = next(parts, None)
        yielded = 0
        while part is not None:
            yielded += len(part[0]) // self.info.key_size
            yield part
            if yielded > _ROUNDS * self.info.max_entries + size:
                raise reader.restless()
            part = next(parts, None)

    def part(self, bucket: int, size: int) -> tuple[bytes, bytes, int | None]:
        """Return entries of a hash map from a bucket on, and the next bucket.

        The first bucket is 0; the next bucket is None at the end. Returns whole buckets of
        together at most `size` entries; a bucket with more is returned alone.
        """
        return self._reader().part(bucket, size)

    def is_empty(self) -> bool:
        """Return whether the map has no entry: one call, through all buckets of a hash map."""
        key = ctypes.create_string_buffer(self.info.key_size)
        result: int = self._library.bpf_map_get_next_key(self.fd, None, key)
        if result not in (0, -errno.ENOENT):
            raise kernel_error(f"cannot read the keys of map {self.label}", -result)
        return result != 0

    def key_walk(self, most: int) -> KeyWalk:
        """Return a reader of all keys, for a hash map with at most `most` entries."""
        return KeyWalk(
            self._library,
            self.fd,
            self.label,
            key_size=self.info.key_size,
            stored_size=self.stored_size,
            most=most,
        )

    def memory(self) -> memoryview:
        """Return the values of an array made with BPF_F_MMAPABLE, to be read and written.

        It is the kernel's own memory, and stays valid when this object is closed.

        Raises:
            KernelError: the kernel does not map it.
        """
        try:
            return memoryview(mmap.mmap(self.fd, self.info.value_size * self.info.max_entries))
        except OSError as error:
            number = error.errno or errno.EINVAL
            raise kernel_error(f"cannot map the memory of map {self.label}", number) from error

    def update_batch(self, keys: bytes, values: bytes, flags: int = BPF_ANY) -> int:
        """Write many entries in their order and return how many.

        Args:
            keys: whole keys, end to end.
            values: as many values, likewise.
            flags: the kernel accepts only BPF_ANY for a batch; with other flags each entry
                costs one call.

        Raises:
            MapFullError: as `update`; `done` entries before the refused one were written.
            KernelError: as `update`, with `done` likewise.
        """
        count = self._count(keys)
        self._check(values, count * self.stored_size, "values")
        if self.before_write is not None:
            self.before_write(keys)
        done = 0
        batch = flags == BPF_ANY
        option = options(BatchOptions)
        while done < count and batch:
            step = ctypes.c_uint32(min(_WRITE_STEP, count - done))
            result = self._library.bpf_map_update_batch(
                self.fd,
                _address(keys, done * self.info.key_size),
                _address(values, done * self.stored_size),
                ctypes.byref(step),
                ctypes.byref(option),
            )
            if -result in NO_BATCH and not done:
                batch = False
                continue
            done += step.value
            if result < 0:
                raise self._write_error(-result, done=done)
        return done + self._update_each(keys, values, flags, done)

    def delete_batch(self, keys: bytes) -> int:
        """Remove many entries; return how many were there.

        Raises:
            KernelError: `done` entries were removed before.
        """
        count, removed, position = self._count(keys), 0, 0
        option = options(BatchOptions)
        while position < count:
            step = ctypes.c_uint32(min(_WRITE_STEP, count - position))
            result = self._library.bpf_map_delete_batch(
                self.fd,
                _address(keys, position * self.info.key_size),
                ctypes.byref(step),
                ctypes.byref(option),
            )
            if -result in NO_BATCH and not position:
                return self._delete_each(keys)
            removed += step.value
            position += step.value
            if result == -errno.ENOENT:
                position += 1
            elif result < 0:
                error = self._refusal(f"cannot delete entries of map {self.label}", -result)
                error.done = removed
                raise error
        return removed

    def _lookup(self, key: bytes) -> bytes | None:
        """Return the value that the kernel's look-up finds: for a prefix, also a shorter one's."""
        value = ctypes.create_string_buffer(self.stored_size)
        result = self._library.bpf_map_lookup_elem(self.fd, key, value)
        if result == -errno.ENOENT:
            return None
        if result < 0:
            raise kernel_error(f"cannot look up an entry of map {self.label}", -result)
        return value.raw

    def _is_covered(self, key: bytes) -> bool:
        """Tell whether a shorter prefix than this one matches too."""
        length = int.from_bytes(key[:4], sys.byteorder)
        if length == 0:
            return False
        shorter = (length - 1).to_bytes(4, sys.byteorder) + key[4:]
        return self._lookup(shorter) is not None

    def _search(self, wanted: set[bytes]) -> dict[bytes, bytes]:
        """Read all entries and return the values of the wanted keys that are in the map."""
        found = {}
        for keys, values in self.chunks():
            for number in range(self._count(keys)):
                if (key := _slice(keys, self.info.key_size, number)) in wanted:
                    found[key] = _slice(values, self.stored_size, number)
        return found

    def _reader(self) -> EntryReader:
        """Return a reader of all entries."""
        return EntryReader(self._library, self.fd, self.label, self.info.key_size, self.stored_size)

    def _update_each(self, keys: bytes, values: bytes, flags: int, start: int) -> int:
        """Write the entries from number `start` on, one call each; return how many."""
        for number in range(start, self._count(keys)):
            try:
                self.update(
                    _slice(keys, self.info.key_size, number),
                    _slice(values, self.stored_size, number),
                    flags,
                )
            except KernelError as error:
                error.done = number
                raise
        return self._count(keys) - start

    def _delete_each(self, keys: bytes) -> int:
        """Remove entries one call each; return how many were there."""
        removed = 0
        for number in range(self._count(keys)):
            try:
                removed += self.delete(_slice(keys, self.info.key_size, number))
            except KernelError as error:
                error.done = removed
                raise
        return removed

    def _write_error(self, number: int, *, done: int) -> KernelError:
        """Return the error for a write that the kernel refused."""
        tried = f"cannot write to map {self.label}"
        error = (
            MapFullError(tried, number, map_name=self.label, capacity=self.info.max_entries)
            if number in _FULL
            else self._refusal(tried, number)
        )
        error.done = done
        return error

    def _refusal(self, tried: str, number: int) -> KernelError:
        """Return the error for a write or deletion that the kernel refused."""
        if number == errno.EPERM and self.is_frozen():
            return MapFrozenError(tried, map_name=self.label)
        return kernel_error(tried, number)

    def _count(self, keys: bytes) -> int:
        """Return how many whole keys these bytes are."""
        count, rest = divmod(len(keys), self.info.key_size)
        if rest:
            raise ValueError(f"{len(keys)} bytes are not whole keys of {self.info.key_size}")
        return count

    def _check(self, given: bytes, size: int, what: str) -> None:
        """Refuse a buffer of another size, which the kernel would read or write past its end."""
        if len(given) != size:
            raise ValueError(f"{what} for map {self.label}: {len(given)} bytes, not {size}")

    def _stored_size(self) -> int:
        """Return the bytes of one value as the kernel copies it."""
        if self.info.type not in _PER_CPU_TYPES:
            return self.info.value_size
        return (self.info.value_size + 7) // 8 * 8 * possible_cpus(self._library)


def memory_of(spec: MapSpec, entries: int) -> int:
    """Return the octets that the kernel takes at once for a hash map of this capacity.

    None for a map that takes memory with each entry only.
    """
    if spec.flags & BPF_F_NO_PREALLOC:
        return 0
    buckets = 1 << (entries - 1).bit_length()
    return entries * (_ELEMENT + _padded(spec.key_size) + _padded(spec.value_size)) + (
        buckets * _BUCKET
    )


def _padded(size: int) -> int:
    return -(-size // 8) * 8


def possible_cpus(library: ctypes.CDLL) -> int:
    """Return how many CPUs this machine may ever have: the width of per-CPU values.

    Raises:
        KernelError: /sys is not readable.
    """
    count: int = library.libbpf_num_possible_cpus()
    if count < 0:
        raise kernel_error("cannot read /sys/devices/system/cpu/possible", -count)
    return count


def _address(data: bytes, offset: int) -> int:
    """Return the address of a byte of `data`; the caller keeps `data` referenced."""
    return (ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0) + offset


def _slice(data: bytes, size: int, number: int) -> bytes:
    """Return item `number` of items of `size` bytes."""
    return data[number * size : (number + 1) * size]
