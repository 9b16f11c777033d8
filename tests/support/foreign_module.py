"""A module of a foreign library, found by one test and forgotten after it."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


def find_anew(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Have the next import of `name` search the path, and leave no trace of what it finds.

    `delitem` alone restores nothing if the module was not loaded: what the test imports
    would stay for all tests behind it.
    """
    monkeypatch.setitem(sys.modules, name, ModuleType(name))
    monkeypatch.delitem(sys.modules, name)
