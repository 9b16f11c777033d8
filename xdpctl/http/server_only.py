"""aiohttp's server, without the client that aiohttp's own package imports beside it.

The client is not used here. It takes 3 MB and a third of the time of the import, and reads the
host's trusted certificates twice. Owns the package that takes aiohttp's place until something is
asked for that is not a module of it: then aiohttp's own code runs. Called by listeners.py.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType

_PACKAGE = "aiohttp"
_VERSION = "__version__"
"""What its modules ask for: it becomes part of a header that app.py replaces."""


def prefer_modules() -> None:
    """Let modules of aiohttp be imported without the rest; does nothing if it is imported already.

    Raises:
        ImportError: aiohttp is missing.
    """
    if _PACKAGE in sys.modules:
        return
    spec = find_spec(_PACKAGE)
    if spec is None:
        raise ImportError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    package = module_from_spec(spec)
    setattr(package, _VERSION, "")
    setattr(package, "__getattr__", _loading(package, spec))  # noqa: B010 - of a module
    sys.modules[_PACKAGE] = package


def _loading(package: ModuleType, spec: ModuleSpec) -> Callable[[str], object]:
    """Return what gives the attributes that a package does not have yet (PEP 562)."""

    def missing(name: str) -> object:
        if name.startswith("__") or spec.loader is None or find_spec(f"{_PACKAGE}.{name}"):
            raise AttributeError(f"module {_PACKAGE!r} has no attribute {name!r}", name=name)
        delattr(package, "__getattr__")
        spec.loader.exec_module(package)
        found: object = getattr(package, name)
        return found

    return missing
