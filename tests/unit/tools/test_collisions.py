"""Fingerprints of keys: the table program's arithmetic is abi.h's, and they seldom collide."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.collisions import PARTS, SETS, count, library, named, sourced, tags
from tests.packets.message import labels, long_name
from tests.support.strategies import wire_names
from xdpctl.abi import HEAD_BIT_NUMBERS_OFFSET, HEAD_SECRETS_OFFSET

KEYS = 8192
SECRETS = range(24)
DEEPEST = 16
_U64 = 2**64 - 1


def _secret(seed: int) -> list[int]:
    size = HEAD_BIT_NUMBERS_OFFSET - HEAD_SECRETS_OFFSET
    octets = random.Random(f"secret {seed}").randbytes(size)
    return list(struct.unpack(f"={size // 8}Q", octets))


def _tag(seed: int, words: list[tuple[int, int]], first_key: int) -> int:
    """Return the tag of a key's words, given as halves, as abi.h describes it.

    Args:
        seed: of the secret.
        words: low and high halves.
        first_key: which u64 of the secret is the first word's first key.
    """
    secret = _secret(seed)
    a, b = secret[0], secret[1]
    for number, (low, high) in enumerate(words):
        k0, k1, k2, k3 = secret[first_key + 4 * number : first_key + 4 * number + 4]
        a += (k0 + low & _U64) * (k1 + high & _U64)
        b += (k2 + low & _U64) * (k3 + high & _U64)
    upper = (a & _U64) >> 32 << 32 | (b & _U64) >> 32
    return upper & ~0xF


NAME_KEYS = 4 + 4 * 5
"""u64s before the keys of names: seeds, the type's factor and a spare, keys of five words."""


def _name_words(wire: bytes) -> list[tuple[int, int]]:
    parts, at = [], 0
    while wire[at]:
        parts.append(wire[at : at + 1 + wire[at]])
        at += 1 + wire[at]
    front, near = parts[:-DEEPEST], parts[-DEEPEST:]
    units = [*reversed(near), *([b"".join(front)] if front else [])]
    words = []
    for unit in units:
        padded = unit + bytes(-len(unit) % 8)
        words += [struct.unpack_from("=II", padded, start) for start in range(0, len(padded), 8)]
    return words


@given(wire_names, st.integers(0, 3))
def test_the_tag_of_a_name_is_what_the_header_describes(wire: bytes, seed: int) -> None:
    if len(_labels(wire)) > DEEPEST:
        with pytest.raises(ValueError, match="1 of 1 keys"):
            tags([named(wire)], seed)
    else:
        assert tags([named(wire)], seed)[0] == _tag(seed, _name_words(wire), NAME_KEYS)


def _labels(wire: bytes) -> list[bytes]:
    found, at = [], 0
    while wire[at]:
        found.append(wire[at + 1 : at + 1 + wire[at]])
        at += 1 + wire[at]
    return found


@given(st.integers(0, 2**32 - 1), st.integers(0, 32), st.integers(0, 3))
def test_the_tag_of_an_ipv4_prefix_is_what_the_header_describes(
    address: int, length: int, seed: int
) -> None:
    key = sourced(address.to_bytes(4, "big"), length)
    host = 32 - length
    words = [(address >> host << host, 33 - length)]
    assert tags([key], seed)[0] == _tag(seed, words, 8)


@given(st.integers(0, 2**128 - 1), st.integers(0, 128), st.integers(0, 3))
def test_the_tag_of_an_ipv6_prefix_is_what_the_header_describes(
    address: int, length: int, seed: int
) -> None:
    key = sourced(address.to_bytes(16, "big"), length)
    host = 128 - length
    number = address >> host << host
    high, low = number >> 64, number & _U64
    half = 2**32 - 1
    words = [(high & half, high >> 32), (low & half, low >> 32), (129 - length, 0)]
    assert tags([key], seed)[0] == _tag(seed, words, 12)


@given(st.lists(wire_names, min_size=2, max_size=2, unique=True))
def test_two_names_are_never_the_same_words(names: list[bytes]) -> None:
    one, other = (_name_words(name) for name in names)
    assert one != other


def test_keys_that_are_alike_collide_no_more_often_than_chance() -> None:
    """Collisions of such keys come rarely, and then many at once: so runs are counted."""
    hit = dict.fromkeys(PARTS, 0)
    chance = dict.fromkeys(PARTS, 0.0)
    for key in SETS.values():
        requests = [key(n) for n in range(KEYS)]
        for secret in SECRETS:
            for part, pairs in count(requests, range(secret, secret + 1)).items():
                hit[part] += pairs.found > 0
                chance[part] += pairs.expected
    assert hit["all 60 bits"] == hit["20 bits of each half"] == 0
    assert chance["second half, 28 bits"] > 20
    assert hit["second half, 28 bits"] <= chance["second half, 28 bits"]
    assert hit["first half, 32 bits"] <= 5 + chance["first half, 32 bits"]


def test_equal_keys_are_counted_as_pairs_with_one_tag() -> None:
    three = [named(long_name(100))] * 3 + [named(labels(b"x"))]
    found = tags(three, 0)
    assert len(set(found)) == 2
    assert library().tags_same(found, 4, PARTS["all 60 bits"]) == 3
