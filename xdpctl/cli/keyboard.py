"""Single keys of a terminal, without Enter; or just a pause where there is no terminal.

Owns the terminal's mode, which it restores at the end. Used by verbs that redraw.
"""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from typing import TextIO


_SEQUENCE_SECONDS = 0.05
"""Within this time comes the rest of what one key sends."""

_SEQUENCES = {b"[A": "up", b"OA": "up", b"[B": "down", b"OB": "down"}


class Keyboard:
    """A context manager in which keys are read one by one.

    Args:
        stream: standard input.

    Attributes:
        works: whether there is a terminal to read from.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._fd = -1
        self._former: list[Any] = []
        self.works = False

    def __enter__(self) -> Self:
        try:
            self._fd = self._stream.fileno()
            self._former = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        except (OSError, ValueError, termios.error):  # not a terminal, or one that is gone
            return self
        self.works = True
        return self

    def __exit__(self, *_: object) -> None:
        if self.works:
            with suppress(OSError, termios.error):  # it is gone
                termios.tcsetattr(self._fd, termios.TCSADRAIN, self._former)
            self.works = False

    def wait(self, seconds: float) -> str:
        """Wait so long, or for a key; return the key, lower-case, or an empty text. Blocks.

        Arrow keys are `up` and `down`, Escape is `escape`.
        """
        if not self.works:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return ""
        pressed = self._read(1)
        if not pressed:
            return "q"
        if pressed == b"\x1b":
            more, _, _ = select.select([self._fd], [], [], _SEQUENCE_SECONDS)
            return _SEQUENCES.get(self._read(8) if more else b"", "escape")
        return pressed.decode("latin-1").lower()

    def _read(self, size: int) -> bytes:
        """Return what was typed; nothing if the terminal is gone."""
        try:
            return os.read(self._fd, size)
        except OSError:
            return b""
