"""`python -m tests.fuzz.collisions`: how often two keys of our own tables have one tag.

Runs the table program's own C (tags.c) on sets of keys that are as alike as keys can be,
under many secrets, and counts pairs of equal tags: in parts of the tag, where there are
enough of them to be compared with chance, and in all of it, where there should be none.
"""

from __future__ import annotations

import argparse
import ctypes
import random
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from tests.engines.host_build import SOURCES, WARNINGS, compiled
from tests.packets.case import TABLES as CONFIG
from tests.packets.message import labels
from xdpctl.abi import (
    HEAD_BIT_NUMBERS_OFFSET,
    HEAD_SECRETS_OFFSET,
    REQUEST_NAME_KEY_OFFSET,
    REQUEST_SIZE,
    REQUEST_SOURCE_KEY_OFFSET,
    TABLE_EXACT,
    TABLES,
    MapName,
    ZoneScope,
    encode_head,
)
from xdpctl.program.config import render_config

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

PARTS = {
    "first half, 32 bits": 0xFFFFFFFF_00000000,
    "second half, 28 bits": 0x00000000_FFFFFFF0,
    "20 bits of each half": 0xFFFFF000_FFFFF000,
    "all 60 bits": 0xFFFFFFFF_FFFFFFF0,
}
"""Bits of a tag that are compared, and what they are."""

_DRIVER = Path(__file__).with_name("tags.c")
_TABLE_OFFSET = 1
_EVERY_TYPE = b"\xff\xff"


@dataclass(frozen=True, slots=True)
class Count:
    """Pairs of keys with one tag, over several secrets.

    Attributes:
        found: how many there were.
        expected: how many chance would give.
    """

    found: int
    expected: float


def named(wire: bytes) -> bytes:
    """Return the request for a zone's key."""
    return _request(
        MapName.ZONES, REQUEST_NAME_KEY_OFFSET, bytes([ZoneScope.ALL]) + _EVERY_TYPE + wire
    )


def sourced(address: bytes, length: int = TABLE_EXACT) -> bytes:
    """Return the request for an address or a prefix of a list."""
    family = 4 if len(address) == 4 else 6
    return _request(
        MapName.LIST_SOURCES, REQUEST_SOURCE_KEY_OFFSET, bytes([family, length]) + address
    )


def _request(table: MapName, at: int, key: bytes) -> bytes:
    head = bytearray(at)
    head[_TABLE_OFFSET] = TABLES[table].ref
    return (bytes(head) + key).ljust(REQUEST_SIZE, b"\0")


def _bits(number: int, size: int) -> bytes:
    return number.to_bytes(size, "big")


SETS: dict[str, Callable[[int], bytes]] = {
    "hosts with numbers": lambda n: named(labels(b"h%07d" % n, b"blocked", b"example")),
    "second labels with numbers": lambda n: named(labels(b"d%d" % n, b"example")),
    "labels of zeros and ones": lambda n: named(labels(_spread(n), b"example")),
    "sixteen labels of one octet": lambda n: named(labels(*_letters(n, 15), b"e")),
    "one label in front of a long name": lambda n: named(
        labels(b"%x" % n, b"l" * 63, b"m" * 63, b"n" * 63, b"o" * 40)
    ),
    "neighbouring IPv4 addresses": lambda n: sourced(_bits(0x0A000000 + n, 4)),
    "IPv4 addresses 256 apart": lambda n: sourced(_bits(n << 8 & 0xFFFFFFFF, 4)),
    "neighbouring IPv6 addresses": lambda n: sourced(_bits(0x20010DB8 << 96 | n, 16)),
    "IPv6 networks": lambda n: sourced(_bits((0x20010DB8 << 32 | n) << 64, 16), 64),
}
"""Key number n of each set."""


def _spread(number: int) -> bytes:
    return bytes(number >> bit & 1 for bit in range(24))


def _letters(number: int, count: int) -> list[bytes]:
    return [bytes([ord("a") + (number >> 2 * at & 3)]) for at in range(count)]


@cache
def library() -> ctypes.CDLL:
    """Return tags.c, compiled unless the same was before. Blocks."""
    command = ["gcc", "-O2", "-fPIC", "-shared", *WARNINGS, "-DXDPCTL_HOST", f"-I{SOURCES}"]
    loaded = ctypes.CDLL(str(compiled(command, _DRIVER, render_config(CONFIG))))
    loaded.tags_of.restype = ctypes.c_size_t
    loaded.tags_same.restype = ctypes.c_uint64
    return loaded


def tags(requests: Sequence[bytes], secret: int) -> ctypes.Array[ctypes.c_uint64]:
    """Return the tags of these keys, without book and scope, under the secret of a seed.

    Raises:
        ValueError: a request that the table program would refuse.
    """
    size = HEAD_BIT_NUMBERS_OFFSET - HEAD_SECRETS_OFFSET
    octets = random.Random(f"secret {secret}").randbytes(size)
    library().tags_set_head(encode_head(1, octets, buckets=(64, 64), words=(64, 64), shift=16))
    found = (ctypes.c_uint64 * len(requests))()
    joined = b"".join(requests)
    wrong = library().tags_of(joined, ctypes.c_size_t(len(requests)), found)
    if wrong:
        raise ValueError(f"{wrong} of {len(requests)} keys are none")
    return found


def count(requests: Sequence[bytes], secrets: range) -> dict[str, Count]:
    """Return the pairs with one tag in each of PARTS, summed over the secrets."""
    number = len(requests)
    pairs = number * (number - 1) / 2 * len(secrets)
    sums = dict.fromkeys(PARTS, 0)
    for secret in secrets:
        for part, mask in PARTS.items():
            found = tags(requests, secret)
            sums[part] += library().tags_same(found, ctypes.c_size_t(number), ctypes.c_uint64(mask))
    return {part: Count(sums[part], pairs / 2 ** mask.bit_count()) for part, mask in PARTS.items()}


def main() -> int:
    """Print the counts of every set."""
    parser = argparse.ArgumentParser(description="Collisions of the fingerprints of keys.")
    parser.add_argument("--keys", type=int, default=1_000_000, help="of a set (1000000)")
    parser.add_argument("--secrets", type=int, default=10, help="under which they run (10)")
    options = parser.parse_args()
    wrong = 0
    for title, key in SETS.items():
        counts = count([key(n) for n in range(options.keys)], range(options.secrets))
        for part, pairs in counts.items():
            sys.stdout.write(
                f"{title}, {part}: {pairs.found} pairs, {pairs.expected:.3g} by chance\n"
            )
        wrong += counts["all 60 bits"].found
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
