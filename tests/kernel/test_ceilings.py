"""The program is not larger than it was, nor dearer to verify: tests/bench/ceilings.json.

`make bench-ceilings` prints the figures; RENEW=1 writes them into the file, for a change
that is worth its size.
"""

from __future__ import annotations

import platform

import pytest

from tests.bench.ceilings import Size, read_ceilings, size_of
from tests.kernels.configurations import CONFIGURATIONS

VERIFIED_MOST = 450_000
"""Less than half of the million steps that every kernel allows: room for other kernels."""

LIMITS_MOST = 110_000
"""The same of limits alone."""

ONLY_LIMITS = ("limits", "limits-four", "limits-all", "zones", "every limit")


@pytest.mark.root
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_the_program_is_no_larger_than_when_it_was_measured(name: str) -> None:
    size = size_of(CONFIGURATIONS[name])
    ceilings, room = read_ceilings()
    ceiling = ceilings[name]
    if platform.machine() != "x86_64":  # the file's machine code is x86's
        ceiling = Size(ceiling.instructions, size.machine_code, ceiling.verified)
    assert list(size.above(ceiling, room)) == []


def test_every_configuration_has_a_ceiling_and_room_under_the_verifiers() -> None:
    ceilings, _ = read_ceilings()
    assert ceilings.keys() == CONFIGURATIONS.keys()
    assert max(size.verified for size in ceilings.values()) < VERIFIED_MOST
    assert max(ceilings[name].verified for name in ONLY_LIMITS) < LIMITS_MOST


def test_what_is_above_its_ceiling_is_named_with_both_figures() -> None:
    assert list(Size(200, 100, 104).above(Size(100, 100, 100), 1.05)) == [
        "instructions: 200, where 100 were measured"
    ]
