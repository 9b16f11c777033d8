"""Hypothesis mutates the table's frames, and the engines agree about every one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.compare import disagreement
from tests.fuzz.mutate import TAPE_OCTETS, mutant
from tests.fuzz.tape import Tape

if TYPE_CHECKING:
    from tests.engines import Engine
    from tests.engines.kernel import Kernel

FRAMES = 20_000
TAPES = 26_000
"""More than FRAMES, since some mutants come twice and the kernel takes none under 14 octets."""


@pytest.mark.root
@pytest.mark.slow
def test_oracle_host_and_kernel_agree_about_20000_mutants(
    every_engine: tuple[Engine, ...], kernel_engine: Kernel
) -> None:
    judged: set[int] = set()

    @settings(
        max_examples=TAPES,
        deadline=None,
        derandomize=True,  # the same frames in every run; `make fuzz` has new ones
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=TAPE_OCTETS, max_size=TAPE_OCTETS))
    def agree(tape: bytes) -> None:
        assert (disagreement(every_engine, tape) or "") == ""
        scene, frame = mutant(Tape(tape))
        if kernel_engine.takes(frame):
            judged.add(hash((scene, frame)))

    agree()
    assert len(judged) >= FRAMES
