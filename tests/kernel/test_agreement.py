"""Hypothesis mutates the table's frames, and the engines agree about every one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.engines.oracle import Oracle
from tests.fuzz.compare import difference, disagreement
from tests.fuzz.mutate import TAPE_OCTETS, mutant
from tests.fuzz.tape import Tape

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.engines import Engine
    from tests.engines.kernel import Kernel
    from tests.fuzz.compare import BothWays

FRAMES = 1_500
TAPES = 8_000
"""More than FRAMES, since some mutants come twice and the kernel takes none under 14 octets."""

DRAWN = 100
"""Tapes that Hypothesis draws at once; one by one, drawing costs more than judging."""


@pytest.mark.root
@pytest.mark.slow
def test_oracle_host_and_kernel_agree_about_1500_mutants(
    our_engines: tuple[BothWays, ...], kernel_engine: Kernel
) -> None:
    tapes: list[bytes] = []
    each_tape(tapes.append)
    mutants = [mutant(Tape(tape)) for tape in tapes]
    found = difference(our_engines, mutants)
    if found is not None:
        each_tape(lambda tape: agree((Oracle(), *our_engines), tape))
        pytest.fail(found.said)
    assert len({each for each in mutants if kernel_engine.takes(each[1])}) >= FRAMES


def each_tape(judged: Callable[[bytes], None]) -> None:
    """Call it with every tape that Hypothesis makes; one that it fails on is shrunk."""

    @settings(
        max_examples=TAPES // DRAWN,
        deadline=None,
        derandomize=True,  # the same frames in every run; `make fuzz` has new ones
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(st.binary(min_size=DRAWN * TAPE_OCTETS, max_size=DRAWN * TAPE_OCTETS))
    def every(tapes: bytes) -> None:
        for at in range(0, len(tapes), TAPE_OCTETS):
            judged(tapes[at : at + TAPE_OCTETS])

    every()


def agree(engines: Sequence[Engine], tape: bytes) -> None:
    assert (disagreement(engines, tape) or "") == ""
