"""The service of most tests: a fake backend behind a control socket."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_backend import site

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.fake_backend import Site


@pytest.fixture
async def api() -> AsyncIterator[Site]:
    """A service on its control socket."""
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(Path(name), tcp=False) as served:
            yield served
