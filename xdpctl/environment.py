"""The environment of the Python processes that the service starts."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def for_python() -> dict[str, str]:
    """Return it: nothing of ours but where modules are, in our order."""
    modules = [str(Path(entry).absolute()) for entry in sys.path]
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(modules)}
