"""Descriptors kept back for the control socket.

If a process has none left, accept(2) fails and the connection stays in the queue, which
wakes the loop again at once. These descriptors are held from the start. When the control
socket needs one, they are released, and TCP accepts no connection until they are held again.
Owns the descriptors; does not own the connections. Made by http/listeners.py, used by entrance.py.
"""

from __future__ import annotations

import os

KEPT = 8


class Spare:
    """Some unused descriptors.

    Args:
        count: how many.
    """

    def __init__(self, count: int = KEPT) -> None:
        self._count = count
        self._held: list[int] = []

    def keep(self) -> bool:
        """Take all descriptors (back); return whether all are held."""
        try:
            while len(self._held) < self._count:
                self._held.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            return False
        return True

    def give(self) -> bool:
        """Release all for use elsewhere; return whether there were any."""
        held, self._held = self._held, []
        for descriptor in held:
            os.close(descriptor)
        return bool(held)
