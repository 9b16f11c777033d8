"""Warns of rules that mean more than they did, since --any-qtype is another.

A rule for queries of type ANY blocks every type of its name in modes 'both' and '255'. Owns when
that is looked for, and the sentence. Does not own which rules these are (store/wildcards.py). A
part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.store.state import State
from xdpctl.store.wildcards import widened_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from xdpctl.settings import Settings

LOOK_SECONDS = 5.0
_SHOWN = 3

_log = logging.getLogger(__name__)


class WidenedNames:
    """The part.

    Args:
        path: the state file.
    """

    name = "widened-names"
    failures = ()

    def __init__(self, path: Path) -> None:
        self._path = path
        self.warnings: tuple[str, ...] = ()

    def reload(self, settings: Settings) -> None:
        """Do nothing: the state knows the mode."""

    async def run(self) -> NoReturn:
        """Look until cancelled, with a connection of its own each time."""
        while True:
            try:
                found = await asyncio.to_thread(self._look)
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
            else:
                self.warnings = (_sentence(found),) if found else ()
            await asyncio.sleep(LOOK_SECONDS)

    def _look(self) -> list[str]:
        with State.to_read(self._path) as state:
            return widened_names(state)


def _sentence(names: Sequence[str]) -> str:
    more = len(names) - _SHOWN
    shown = ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
    return (
        f"a rule for one query type means every type since --any-qtype was changed: {shown};"
        " remove it with `xdpctl unblock NAME`, and where every type is meant, make it again"
    )
