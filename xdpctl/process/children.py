"""The Python processes that the service starts: their environment, and the signals to ignore."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)
"""By default each would end a process at once, without its sentence."""


def for_python() -> dict[str, str]:
    """Return it: nothing of ours but where modules are, in our order."""
    modules = [str(Path(entry).absolute()) for entry in sys.path]
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(modules)}
