"""A Python process that works for the service, at the other end of a pair of sockets.

Owns its start, its end and the connection to it, and what such a process does first and last. Does
not own what is sent. Made by the parent.py of store/worker/, zones/ and feeds/zone/, and called by
their __main__.py.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Self

from xdpctl.errors import XdpctlError
from xdpctl.process.children import begin_child, start_python
from xdpctl.process.privileges import give_up_everything

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection


class Child:
    """A process that reads its job from its standard input. A context manager; its end ends it.

    The thread that makes it must live as long as it: the kernel ends the process with that thread.

    Args:
        module: that runs.
        work: what it is for, as a part of a sentence.
        job: the first message.
        descriptors: that it inherits, with the same numbers.
        helps: the end of the sentence that says it cannot be started.

    Raises:
        XdpctlError: it cannot be started.
    """

    def __init__(
        self,
        module: str,
        work: str,
        job: object,
        *,
        descriptors: Iterable[int] = (),
        helps: str = "it is tried again",
    ) -> None:
        self._sending = threading.Lock()
        with contextlib.ExitStack() as undo:
            try:
                from multiprocessing.connection import Pipe  # noqa: PLC0415 - half a megabyte

                self._connection, theirs = Pipe()
                undo.callback(self._connection.close)
                with theirs:
                    self._process = start_python(
                        module,
                        stdin=theirs.fileno(),
                        stdout=subprocess.DEVNULL,
                        descriptors=descriptors,
                    )
            except OSError as error:
                raise XdpctlError(
                    f"cannot start a process for {work}: {error.strerror}; see that there is memory"
                    f" for it, {helps}"
                ) from error
            undo.pop_all()
        self._send(job)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
        self._connection.close()

    def end(self) -> None:
        """End the process. Any thread; further calls do nothing."""
        self._process.kill()
        self._process.wait()

    def _send(self, message: object) -> None:
        """Send a message; one that has ended hears nothing, which is seen when it is heard."""
        with self._sending, contextlib.suppress(OSError):
            self._connection.send(message)


def work_as_child(work: Callable[[Connection], None], *, capable: bool) -> None:
    """Be such a process: do the work until it is done, or the service has ended. Never returns.

    Memory is not freed at the end, as there may be a million objects.

    Args:
        work: is given the connection.
        capable: it keeps its capabilities.
    """
    from multiprocessing.connection import Connection  # noqa: PLC0415 - as above

    begin_child()
    if not capable:
        with contextlib.suppress(OSError):  # seccomp may forbid it, and there may be none
            give_up_everything()
    with contextlib.suppress(EOFError, OSError):  # the service has ended
        work(Connection(sys.stdin.fileno()))
    os._exit(0)
