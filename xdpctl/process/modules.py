"""Modules of a library without the rest of it.

The package of a large library often imports all of it: aiohttp's its client, which takes 3 MB and
a third of the time of the import, and reads the host's trusted certificates twice. Owns the
package that takes the place of such a one until something is asked for that is not a module of it:
then the package's own code runs. Called by http/ and status/ before they import.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def import_parts_of(name: str, **known: object) -> None:
    """Let modules of a package be imported without the rest; nothing if it is imported already.

    Args:
        name: of the package.
        known: attributes of it that its modules ask for, until its own code runs.

    Raises:
        ImportError: it is missing.
    """
    if name in sys.modules:
        return
    spec = find_spec(name)
    if spec is None:
        raise ImportError(f"No module named {name!r}", name=name)
    package = module_from_spec(spec)
    vars(package).update(known, __getattr__=_loading(package, spec))
    sys.modules[name] = package


def _loading(package: ModuleType, spec: ModuleSpec) -> Callable[[str], object]:
    """Return what gives the attributes that a package does not have yet (PEP 562)."""

    def missing(name: str) -> object:
        if name.startswith("__") or spec.loader is None or find_spec(f"{spec.name}.{name}"):
            raise AttributeError(f"module {spec.name!r} has no attribute {name!r}", name=name)
        del vars(package)["__getattr__"]
        spec.loader.exec_module(package)
        found: object = getattr(package, name)
        return found

    return missing
