"""The progress of long work: a bar on a terminal, elsewhere a line every few seconds.

Writes to standard error only, so that programs can read the output of a verb. Called by verbs that
may take more than a moment. Owns when and how progress is written. Does not own the work.
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
    """A context manager that erases its bar at the end.

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
        """Show the progress, unless it was shown a moment ago.

        Args:
            what: the work, in a few words.
            done: the number of items (or bytes) that are done.
            total: the number of all of them; None: unknown.
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
