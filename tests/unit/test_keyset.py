"""The set of many keys holds what a set holds."""

from hypothesis import given
from hypothesis import strategies as st

from xdpctl.keyset import KeySet

KEYS = st.one_of(st.lists(st.binary(min_size=4, max_size=6)), st.lists(st.integers(0, 2**32 - 1)))


@given(KEYS, KEYS)
def test_it_holds_what_a_set_holds(
    first: list[bytes] | list[int], second: list[bytes] | list[int]
) -> None:
    """Added in bulk or alone; asked for, counted, walked."""
    found, known = KeySet[bytes | int](), {*first, *second}
    found.update(first)
    for key in second:
        found.add(key)
    assert sorted(map(repr, found)) == sorted(map(repr, known))
    assert len(found) == len(known)
    assert bool(found) == bool(known)
    assert all(key in found for key in known)


@given(KEYS, KEYS)
def test_what_is_taken_is_gone(
    first: list[bytes] | list[int], second: list[bytes] | list[int]
) -> None:
    """`take` says whether the key was there, once."""
    found, known = KeySet[bytes | int](), set[bytes | int](first)
    found.update(first)
    for key in second:
        assert found.take(key) == (key in known)
        known.discard(key)
        assert key not in found
    assert len(found) == len(known)
