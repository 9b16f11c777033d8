"""Compiles in the background what the first zone or list rule will need.

The first such rule exchanges the program for one that reads our own tables, and compiling that
one and the table program takes most of a second, more on a busy host. Some seconds after the
service is ready, this part compiles both, one after the other and at the lowest priority, into
the folder of compiled programs; the rule then only loads them. After a reload, it does so for
the new settings. A failure is logged once: the rule compiles for itself.

Owns when this happens. Does not own compiling (program/cache.py) or which programs are needed
(current_program.py). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from xdpctl.program.config import Recipe
    from xdpctl.settings import Settings

    CompileAhead = Callable[[Recipe], Coroutine[None, None, None]]

DELAY_SECONDS = 10.0
"""From ready, or from a reload: what follows a start needs the processor first."""

_log = logging.getLogger(__name__)


class Precompile:
    """The compilation ahead.

    Args:
        compile_ahead: compiles at the lowest priority, and keeps the result.
        wanted: gives what to compile now; nothing if the tables are already in force.
    """

    name = "precompile"
    warnings = ()
    failures = ()

    def __init__(self, compile_ahead: CompileAhead, wanted: Callable[[], Sequence[Recipe]]) -> None:
        self._compile_ahead = compile_ahead
        self._wanted = wanted
        self._changed = asyncio.Event()

    def reload(self, settings: Settings) -> None:  # noqa: ARG002 - the program has them
        """Compile for these settings, which are in force, after a while."""
        self._changed.set()

    async def run(self) -> NoReturn:
        """Compile now and after each reload; runs until cancelled, which ends a compilation."""
        while True:
            self._changed.clear()
            await asyncio.sleep(DELAY_SECONDS)
            try:
                for recipe in self._wanted():
                    await self._compile_ahead(recipe)
            except XdpctlError as error:
                event(_log, "not-compiled-ahead", logging.WARNING, error=error.sentence)
            await self._changed.wait()
