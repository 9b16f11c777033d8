"""The Python processes that the service starts: their environment, and the signals to ignore."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGHUP)
"""By default each would end a process at once, without its sentence."""


def start_python(
    module: str,
    *,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
    stderr: int | None = None,
    descriptors: Iterable[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE` with nothing of this process but its modules.

    Args:
        module: whose `__main__` or own code runs.
        stdin: as subprocess.Popen has it; so have the others.
        stdout: where it writes.
        stderr: where it complains; None: where we do.
        descriptors: that the process keeps, under their numbers.

    Raises:
        OSError: it cannot be started.
    """
    return subprocess.Popen(  # noqa: S603 - a module of ours
        [sys.executable, "-P", "-s", "-m", module],
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        pass_fds=tuple(descriptors),
        env=for_python(),
        cwd="/",
    )


def for_python() -> dict[str, str]:
    """Return the environment of such a process: where modules are, in our order, no more."""
    modules = [str(Path(entry).absolute()) for entry in sys.path]
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(modules)}
