"""Starts Python processes: their environment, and the signals that they ignore.

Owns how such a process is started. Does not own what it does or when it ends. Called by
program/ and store/worker/ for their processes; service/ uses SIGNALS.
"""

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
"""Each of these would by default end a process before it could write its error sentence."""


def start_python(
    module: str,
    *,
    stdin: int = subprocess.PIPE,
    stdout: int = subprocess.PIPE,
    stderr: int | None = None,
    descriptors: Iterable[int] = (),
) -> subprocess.Popen[bytes]:
    """Start `python -m MODULE`; the process inherits only the module path.

    Args:
        module: the module or package that runs.
        stdin: standard input, as for subprocess.Popen.
        stdout: standard output, likewise.
        stderr: standard error, likewise; None: that of this process.
        descriptors: descriptors that the process inherits, with the same numbers.

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
    """Return the environment of such a process: only the module path, in our order."""
    modules = [str(Path(entry).absolute()) for entry in sys.path]
    return {"PATH": os.defpath, "LC_ALL": "C.UTF-8", "PYTHONPATH": os.pathsep.join(modules)}
