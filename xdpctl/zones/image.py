"""The last good version of a zone's names, in a file: hashes and counts, no names.

Owns the file's format and that it is whole. Does not own the table (names.py) or when it is
written (follower.py). Everything blocks.

    magic, identity of the keys (16), tag of the zone (8), serial, SOA times, records of the apex
    that make everything exist, number of names, buckets, Unix time; words; counts; CRC-32
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
import zlib
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl.abi import ZONE_BUCKET_WORDS
from xdpctl.errors import StateError
from xdpctl.transfers.records import Soa
from xdpctl.zones.names import BUCKETS_MAX, NameTable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"xdpctl-zone-1\n\0\0"
_HEAD = struct.Struct("=16s16sQ5IIQQd")
_SUM = struct.Struct("=I")


@dataclass(frozen=True, slots=True)
class ZoneVersion:
    """A version of a zone's names.

    Attributes:
        soa: of the version.
        table: its names.
        time: when it was verified, Unix time.
    """

    soa: Soa
    table: NameTable
    time: float


def write_image(path: Path, version: ZoneVersion, identity: bytes, zone_tag: int) -> None:
    """Write a version in the place of the former one; either is whole at any time.

    Raises:
        StateError: it cannot be written; the former one is as it was.
    """
    table = version.table
    head = _HEAD.pack(
        *(_MAGIC, identity, zone_tag, *version.soa),
        *(table.apex, table.names, table.buckets, version.time),
    )
    parts = (head, memoryview(table.words), memoryview(table.counts))
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                total = 0
                for part in parts:
                    file.write(part)
                    total = zlib.crc32(part, total)
                file.write(_SUM.pack(total))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)  # noqa: PTH105 - as above
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108 - mkstemp gives a text
            raise
    except OSError as error:
        raise StateError(
            f"cannot write {path}: {error.strerror or error}; the names of the zone stay in force"
            " until the host restarts"
        ) from error


def read_image(path: Path, identity: bytes, zone_tag: int) -> ZoneVersion | None:
    """Return the version in a file; None if there is none of this zone under these keys.

    Raises:
        StateError: it cannot be read, or is not whole.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD.size)
            if len(head) != _HEAD.size:
                raise _broken(path)
            magic, keys, tag, *numbers, apex, names, buckets, time = _HEAD.unpack(head)
            if (magic.rstrip(b"\0"), keys, tag) != (_MAGIC.rstrip(b"\0"), identity, zone_tag):
                return None
            if not 0 < buckets <= BUCKETS_MAX or buckets & (buckets - 1):
                raise _broken(path)
            table = NameTable(1)
            total = zlib.crc32(head)
            for field in ("words", "counts"):
                octets = file.read(8 * ZONE_BUCKET_WORDS * buckets)
                total = zlib.crc32(octets, total)
                if len(octets) != 8 * ZONE_BUCKET_WORDS * buckets:
                    raise _broken(path)
                setattr(table, field, array("Q", octets))
            if file.read() != _SUM.pack(total):
                raise _broken(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"cannot read {path}: {error.strerror or error}") from error
    table.names, table.apex = names, apex
    return ZoneVersion(Soa(*numbers), table, time)


def _broken(path: Path) -> StateError:
    return StateError(
        f"cannot use {path}: it is not whole; it is written again with the next transfer"
    )


def remove_others(directory: Path, kept: set[str]) -> Iterator[Path]:
    """Remove the images of zones that are not followed any more; yield them."""
    for path in directory.glob(f"*{SUFFIX}"):
        if path.name not in kept:
            with contextlib.suppress(OSError):
                path.unlink()
                yield path


SUFFIX = ".names"


def image_name(zone_tag: int) -> str:
    """Return the name of a zone's file."""
    return f"{zone_tag:016x}{SUFFIX}"
