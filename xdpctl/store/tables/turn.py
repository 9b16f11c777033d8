"""The turn at the maps of one that writes many rules: the store's lock, and the tables' mark.

A worker's process writes within such turns of the service's, so that what it leaves behind
when it is killed is noticed. Used by store.py, bulk.py and worker/parent.py.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from xdpctl.abi import TABLES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from xdpctl.store.tables.tables import Tables


class MarkedTurn:
    """A turn, one after another. A context manager; blocks while others have theirs.

    Args:
        lock: the store's.
        tables: marked while the turn lasts; see `Tables.writing`.
    """

    def __init__(self, lock: AbstractContextManager[object], tables: Tables) -> None:
        self._lock = lock
        self._tables = tables
        self._held = ExitStack()

    def __enter__(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(self._lock)
            stack.enter_context(self._tables.writing(TABLES))
            self._held = stack.pop_all()  # nobody else is here: the lock is ours

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._held.__exit__(kind, error, trace)
