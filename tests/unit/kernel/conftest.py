"""A fake kernel, and the system call on it."""

from __future__ import annotations

import pytest

from tests.support.fake_kernel import FakeBpf, FakeKernel


@pytest.fixture
def kernel() -> FakeKernel:
    return FakeKernel()


@pytest.fixture
def bpf(kernel: FakeKernel) -> FakeBpf:
    return FakeBpf(kernel)
