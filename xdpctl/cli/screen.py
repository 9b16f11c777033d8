"""A screen that is drawn again and again, below what was on the terminal before.

Owns the lines that were drawn, and what becomes of them when the terminal changes its size. Does
not own what the lines say. Used by the verbs that redraw (verbs/top.py, talkers.py).
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from xdpctl.cli.render import shortened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.cli.verb import Session

SILENT = "no service answers: it is being restarted, or has ended"
"""Shown while a screen waits for a service that has answered before."""

_UP = "\x1b[{}A"
_ERASE = "\r\x1b[J"
_CLEAR = "\x1b[2J\x1b[H"


class Screen:
    """Lines that replace those of before.

    Args:
        session: of the verb.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._drawn = 0
        self._size: tuple[int, int] | None = None

    @staticmethod
    def size() -> tuple[int, int]:
        """Return columns, and lines: one is left free, as the cursor is below the last."""
        size = shutil.get_terminal_size()
        return size.columns, max(size.lines - 1, 1)

    def draw(self, lines: Sequence[str]) -> None:
        """Draw lines over those of before; what does not fit the terminal is cut.

        A terminal that has changed its size has broken those lines in other places, or has put some
        out of sight: then everything is cleared.
        """
        columns, most = size = self.size()
        kept = [shortened(line, columns) for line in lines[:most]]
        begin = _UP.format(self._drawn) if self._drawn else ""
        if self._size is not None and size != self._size:
            begin = _CLEAR
        self._size, self._drawn = size, len(kept)
        self._session.write(f"{begin}{_ERASE}" + "".join(f"{line}\n" for line in kept))
        self._session.output.flush()
