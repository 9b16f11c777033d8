"""Whether everything is passed (`xdpctl panic`): the one owner of that switch.

Owns the switch, its note in the state, and writing it into the control map of each filter. The
operations set it, on the threads that they choose; the observer, the program's rollout and the
start ask it. Does not own the control map (filter/filter.py). Made by resources.py.
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
    """The switch.

    Args:
        filters: one for each interface.
        state: keeps the switch over restarts.
    """

    def __init__(self, filters: Iterable[Filter], state: State) -> None:
        self._filters = tuple(filters)
        self._state = state
        self._on = False

    def is_on(self) -> bool:
        """Return whether everything is passed. Any thread."""
        return self._on

    def recall(self) -> None:
        """Set the switch as the state has it. Blocks; at the start only."""
        self._on = self._state.get_meta(PANIC) == "1"

    def set(self, *, on: bool) -> None:
        """Set the switch and write it into the maps, here and now. On the loop.

        The writes take microseconds, and no queue delays them. `write` must follow: it
        reports errors, and repeats a write that another program was just put on over.
        """
        self._on = on
        for one in self._filters:
            with contextlib.suppress(XdpctlError):
                one.set_panic(panic=on)

    def write(self) -> None:
        """Write the switch into the maps again. Blocks; on the thread that filters belong to.

        Raises:
            XdpctlError: a map refuses; all others have been written.
        """
        with contextlib.ExitStack() as stack:  # each is tried, even where another fails
            for one in self._filters:
                stack.callback(one.set_panic, panic=self._on)

    def note(self, *, on: bool) -> None:
        """Note the switch in the state. Blocks; on a thread of the store.

        Raises:
            StateError: the state cannot be written.
        """
        self._state.set_meta(PANIC, str(int(on)))
