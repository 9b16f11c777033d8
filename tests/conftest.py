"""What every test may ask for, and how Hypothesis runs here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from tests.lab import Lab, bytecode

if TYPE_CHECKING:
    from collections.abc import Iterator

settings.register_profile(
    "default",
    deadline=None,  # the machine is shared, and no test is about time
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")


GUEST = "XDPCTL_TESTS_GUEST"
"""Set in the environment by tests/kernels/claims.py: tests that are marked `guest` run, too."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what only a guest's kernel lets us do, unless this is one."""
    if GUEST not in os.environ:
        left_out = [item for item in items if item.get_closest_marker("guest")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail, not skip, what needs root when we are not: a skipped test proves nothing."""
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.fail("needs root: run `make test` as root, or `make test-unit`", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let the services of all processes of this run find what one of them has compiled."""
    base = tmp_path_factory.getbasetemp()
    in_parts = "PYTEST_XDIST_WORKER" in os.environ
    bytecode.keep_in((base.parent if in_parts else base) / "bytecode")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A network in a box, gone after the test."""
    with Lab() as lab:
        yield lab
