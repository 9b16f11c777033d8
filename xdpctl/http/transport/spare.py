"""Descriptors kept back for the control socket.

Where a process has none left, accept(2) fails and the connection stays in the queue, which
wakes the loop again at once. These are held from the start: when the control socket needs
one they are let go, and TCP takes no connection until they could be taken back.
"""

from __future__ import annotations

import os

KEPT = 8


class Spare:
    """Some descriptors that are not used for anything.

    Args:
        count: how many.
    """

    def __init__(self, count: int = KEPT) -> None:
        self._count = count
        self._held: list[int] = []

    def keep(self) -> bool:
        """Take them (back); return whether all are held."""
        try:
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def give(self) -> bool:
        """Let all go, for somebody to use; return whether there were any."""
        held, self._held = self._held, []
        for descriptor in held:
            os.close(descriptor)
        return bool(held)
