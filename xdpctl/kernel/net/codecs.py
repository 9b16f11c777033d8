"""pyroute2's codecs of two rtnetlink messages, without the rest of pyroute2.

The only importer of pyroute2. pyroute2's own `__init__` imports all of it, from WireGuard to 9P:
160 modules, 8 MB and 50 ms at every start, of which the codecs are a tenth. The codecs do not need
the rest, so they are imported below an empty package of the same name. A release with another
layout is imported as a whole. Called by interfaces.py. Does not own the meaning of messages.
"""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["ifaddrmsg", "ifinfmsg"]

_PACKAGE = "pyroute2"
_CODECS = "pyroute2.netlink.rtnl"


def codec(name: str) -> type[Any]:
    """Return the class of a message; the class has the name of its module.

    Raises:
        ImportError: pyroute2 is missing, or does not have this message.
    """
    module = f"{_CODECS}.{name}"
    if module not in sys.modules and _PACKAGE not in sys.modules:
        try:
            return _of(_without_package(module), name)
        except (ImportError, AttributeError):
            for part in [part for part in sys.modules if part.startswith(f"{_PACKAGE}.")]:
                del sys.modules[part]
    return _of(import_module(module), name)


def _of(module: ModuleType, name: str) -> type[Any]:
    found: type[Any] = getattr(module, name)
    return found


def _without_package(name: str) -> ModuleType:
    """Import a module without running its package's own code."""
    spec = find_spec(_PACKAGE)
    if spec is None:
        raise ImportError(f"No module named {_PACKAGE!r}", name=_PACKAGE)
    sys.modules[_PACKAGE] = module_from_spec(spec)
    try:
        return import_module(name)
    finally:
        del sys.modules[_PACKAGE]  # a later import gets the whole package


ifaddrmsg = codec("ifaddrmsg")
ifinfmsg = codec("ifinfmsg")
