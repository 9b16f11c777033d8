"""A lock that is taken in turn.

A thread that lets Python's own lock go and takes it again at once nearly always wins
against those that wait: a list of a million would keep a single rule waiting to its end.
Here who waits is next. Used by the store.
"""

from __future__ import annotations

import threading


class TurnLock:
    """A lock for `with`, not to be taken twice by one thread.

    Whoever waits for the lock itself holds the door to it, so that its holder cannot
    come back before.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._door = threading.Lock()

    def __enter__(self) -> None:
        with self._door:
            self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
