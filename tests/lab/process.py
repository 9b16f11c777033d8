"""A process that a lab started: its output, waiting for it, its end.

Owns one child; the lab ends those that are left. Output goes to a file, so that a
talkative child never blocks and what it said can be read at any time.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

INTERVAL = 0.02
"""Seconds between two looks at a condition; more where a look itself takes long."""

INTERVAL_MOST = 0.5


class LabError(AssertionError):
    """The lab could not do what a test asked; says what was seen instead."""


def eventually(condition: Callable[[], T | None], what: str, timeout: float = 10.0) -> T:
    """Return the first true value of `condition`.

    Args:
        condition: looked at again and again.
        what: what is waited for, as the error says it.
        timeout: seconds until LabError.
    """
    began = time.monotonic()
    deadline = began + timeout
    while not (value := condition()):
        if (now := time.monotonic()) > deadline:
            raise LabError(f"waited {timeout:g} s for {what}")
        # A look may be a verb, which is a process: most of the time is for what is waited for.
        time.sleep(min(max(INTERVAL, 2 * (now - began)), INTERVAL_MOST))
        began = time.monotonic()
    return value


class Process:
    """One child process.

    It is killed when the process that started it dies, however that dies.

    Args:
        name: what the lab calls it, also its output's file name.
        argv: the command.
        output: file that takes standard output and standard error.
        environ: its whole environment.
        directory: its working directory.
    """

    def __init__(
        self,
        name: str,
        argv: Sequence[str],
        *,
        output: Path,
        environ: Mapping[str, str],
        directory: Path,
    ) -> None:
        self.name = name
        self.argv = tuple(argv)
        self.output = output
        with output.open("ab") as sink:
            self._child = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=dict(environ),
                cwd=directory,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process id; also that of its session and group."""
        return self._child.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._child.poll()

    @property
    def text(self) -> str:
        """Everything that it has printed."""
        return self.output.read_text(errors="replace")

    @property
    def lines(self) -> list[str]:
        """Everything that it has printed, by line."""
        return self.text.splitlines()

    def until(self, condition: Callable[[], T | None], what: str, timeout: float = 10.0) -> T:
        """Wait for a condition that this process brings about; fails at once if it ends."""

        def seen() -> T | None:
            ended = self.status is not None  # looked at first: its last words still count
            value = condition()
            if ended and not value:
                raise LabError(f"{self.name} ended with {self.status} before {what}")
            return value

        try:
            return eventually(seen, what, timeout)
        except LabError as error:
            raise LabError(f"{error}; {self.name} said:\n{self.text}") from None

    def line(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """Wait for a printed line that the regular expression is found in."""
        expression = re.compile(pattern, re.MULTILINE)
        return self.until(lambda: expression.search(self.text), f"a line like {pattern!r}", timeout)

    def wait(self, timeout: float = 10.0) -> int:
        """Wait for its end and return the exit status."""
        try:
            return self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still runs after {timeout:g} s:\n{self.text}") from None

    def send(self, number: signal.Signals) -> None:
        """Send a signal to it alone."""
        self._child.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 10.0) -> int:
        """Ask it to end and return the exit status."""
        self.send(number)
        return self.wait(timeout)

    def kill(self) -> None:
        """End it and its children, now; does nothing when it has ended."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._child.wait()
