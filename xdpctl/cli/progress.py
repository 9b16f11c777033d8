"""How far long work is: a bar on a terminal, a plain line now and then elsewhere.

Writes to standard error only, so that what a verb prints stays a program's to read.
Called by verbs that may take longer than a moment.
"""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Self

from xdpctl.cli.render import count, printable, share, shortened

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

_BAR_SECONDS = 0.1
_LINE_SECONDS = 10.0
_BAR = 30
_ERASE = "\r\x1b[K"


class ProgressDisplay:
    """A context manager; the bar is gone at its end.

    Args:
        stream: standard error.
        clock: seconds of the monotonic clock.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._next = clock() + (0.0 if self._terminal else _LINE_SECONDS)
        self._drawn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._drawn and self._terminal:
            self._stream.write(_ERASE)
            self._stream.flush()

    def show(self, what: str, done: int, total: int | None = None) -> None:
        """Say how far it is, unless that was said just now.

        Args:
            what: the work, in a word or few.
            done: how much, of whatever is counted.
            total: of how much; None: nobody knows.
        """
        now = self._clock()
        if now < self._next:
            return
        self._next = now + (_BAR_SECONDS if self._terminal else _LINE_SECONDS)
        self._drawn = True
        line = _line(printable(what), done, total)
        if self._terminal:
            bar = f"{_bar(done, total)} " if total else ""
            width = shutil.get_terminal_size().columns - 1
            self._stream.write(f"{_ERASE}{shortened(bar + line, width)}")
        else:
            self._stream.write(f"xdpctl: {line}\n")
        self._stream.flush()


def _line(what: str, done: int, total: int | None) -> str:
    if not total:
        return f"{what}: {count(done)}"
    return f"{what}: {count(done)} of {count(total)} ({share(done, total)})"


def _bar(done: int, total: int) -> str:
    filled = min(_BAR * done // total, _BAR)
    return f"[{'#' * filled}{'.' * (_BAR - filled)}]"
