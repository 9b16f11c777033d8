"""Serial numbers compare as RFC 1982 says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.transfers.serials import is_newer

serials = st.integers(0, (1 << 32) - 1)


@given(serials, st.integers(1, (1 << 31) - 1))
def test_adding_up_to_half_the_circle_makes_a_serial_newer(serial: int, step: int) -> None:
    later = (serial + step) % (1 << 32)
    assert is_newer(later, serial)
    assert not is_newer(serial, later)


@pytest.mark.parametrize("other", [7, 7 + (1 << 31)])
def test_a_serial_is_not_newer_than_itself_or_one_half_the_circle_away(other: int) -> None:
    assert not is_newer(7, other)
    assert not is_newer(other, 7)
