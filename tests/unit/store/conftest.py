"""The store of most tests: on fake maps with room for some hundred rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fake_store import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(monkeypatch, tmp_path, room=256)
    yield ledger
    ledger.state.close()
