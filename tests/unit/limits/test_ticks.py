"""The kernel's ticks: a constant ahead of the monotonic clock, found by one run of a program."""

from __future__ import annotations

import time

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel, ProgramState
from xdpctl.kernel.bpf.programs import TestRun
from xdpctl.limits.ticks import Ticks
from xdpctl.process.clock import ticks_a_second


@pytest.mark.parametrize("more", [0, 1, -1, 1000, -1000, 2**30])
def test_the_lower_half_of_jiffies_makes_the_whole(
    more: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    hertz = ticks_a_second()

    def jiffies() -> int:
        return 2**32 - 300 * hertz + time.monotonic_ns() // round(1e9 / hertz) + more

    def run(frame: bytes) -> TestRun:
        return TestRun(jiffies() % 2**32, frame, 1)

    monkeypatch.setattr(ProgramState, "__init__", _with(run))
    ticks = Ticks.measured(FakeBpf(FakeKernel()))
    assert abs(ticks() - jiffies()) <= 1
    assert ticks.per_second == hertz


def _with(run: object) -> object:
    def init(state: ProgramState, info: object) -> None:
        state.info, state.run = info, run  # type: ignore[assignment]

    return init
