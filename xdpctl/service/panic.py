"""The panic switch: whether every packet passes (`xdpctl panic`). Its only owner.

Owns the switch, its note in the state, and writing it to each filter's control map. Does not own
the control map (filter/filter.py). Made by resources.py. operations.py sets it, on the threads
that it chooses; the observer, current_program.py and the start read it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.store.state import PANIC

if TYPE_CHECKING:
    from collections.abc import Iterable

    from xdpctl.filter.filter import Filter
    from xdpctl.store.state import State


class PanicSwitch:
    """The panic switch.

    Args:
        filters: one for each interface.
        state: stores the switch for the next start.
    """

    def __init__(self, filters: Iterable[Filter], state: State) -> None:
        self._filters = tuple(filters)
        self._state = state
        self._on = False

    def is_on(self) -> bool:
        """Return whether every packet passes. Any thread."""
        return self._on

    def recall(self) -> None:
        """Set the switch from the state. Blocks; called only at the start."""
        self._on = self._state.get_meta(PANIC) == "1"

    def set(self, *, on: bool) -> None:
        """Set the switch and write it to the maps immediately. Called on the loop.

        The writes take microseconds, and no queue delays them. `write` must follow: it
        reports errors, and repeats the write in case a program was replaced just now.
        """
        self._on = on
        for filter_ in self._filters:
            with contextlib.suppress(XdpctlError):
                filter_.set_panic(panic=on)

    def write(self) -> None:
        """Write the switch to the maps again. Blocks; on the thread that filters belong to.

        Raises:
            XdpctlError: a map cannot be written; all others have been.
        """
        with contextlib.ExitStack() as stack:  # every map is tried, even if another fails
            for filter_ in self._filters:
                stack.callback(filter_.set_panic, panic=self._on)

    def note(self, *, on: bool) -> None:
        """Store the switch in the state. Blocks; on a thread of the store.

        Raises:
            StateError: the state cannot be written.
        """
        self._state.set_meta(PANIC, str(int(on)))
