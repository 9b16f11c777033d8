"""Python processes of the service: how they are started, begin, and are said to have ended.

Owns their environment, and the signals that they ignore. Does not own what such a process does or
when it ends. Called by program/, store/worker/ and zones/ for their processes; service/ uses
SIGNALS.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.process.capabilities import SET_DEATH_SIGNAL, prctl

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


def begin_child() -> None:
    """Be a process that works for the service: what it does first.

    It ends with the thread that started it, ignores signals, which the service handles, and is
    the one to be killed if memory runs out.
    """
    prctl(SET_DEATH_SIGNAL, signal.SIGKILL)
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")


def ended(process: subprocess.Popen[bytes]) -> str:
    """Wait for a process to end; return how it did, as half a sentence."""
    status = process.wait()
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"left ({status})"
