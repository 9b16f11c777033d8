"""The first steps of a start, before the modules of the service are loaded.

They read the settings, set up the log, start the loader, give up privileges, and start the
compiler's process. Compiling so runs during the tenth of a second in which the service is loaded.

Owns the order of these steps. Does not own the loader, the compiler or the log. Called by
cli/main.py; service.py takes over what was started.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xdpctl.process.children import SIGNALS
from xdpctl.process.log import configure, event
from xdpctl.process.memory import map_large_blocks, share_one_heap
from xdpctl.process.privileges import keep_needed
from xdpctl.program.cache import FOLDER, BytecodeCache, CachingCompiler
from xdpctl.program.config import TableProgram, program_config
from xdpctl.program.loader.parent import Loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.settings import Settings

SWITCH_SECONDS = 0.0001
"""Longest time that another thread keeps the interpreter while the loop waits for it. The loop
releases it with each system call, and with Python's default would wait 5 ms each time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What the first steps made. A context manager that cancels and closes it at the end.

    Attributes:
        settings: the settings of the start.
        load: reads the settings; called again for each SIGHUP.
        compiler: already compiles the program of these settings.
        loader: the loader.
    """

    settings: Settings
    load: Callable[[], Settings]
    compiler: CachingCompiler
    loader: Loader

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.compiler.close()
        self.loader.close()


def begin(load: Callable[[], Settings]) -> Bootstrap:
    """Do the first steps of a start, on the main thread of the service's process.

    Args:
        load: reads the settings.

    Raises:
        XdpctlError: the settings are wrong, or no process or thread can be started.
    """
    settings = load()
    configure(settings.log_level, settings.log_format, sys.stderr)
    signal.pthread_sigmask(
        signal.SIG_BLOCK, SIGNALS
    )  # they stay pending until the loop handles them
    sys.setswitchinterval(SWITCH_SECONDS)
    share_one_heap()
    map_large_blocks()
    loader = Loader.start()
    try:
        if not keep_needed():
            event(
                _log,
                "warning",
                logging.WARNING,
                text="cannot give up capabilities unused here, CAP_PERFMON may be one, which reads"
                " the memory of the whole host: allow capset(2) (SystemCallFilter=capset)",
            )
        compiler = CachingCompiler(BytecodeCache(settings.state.parent / FOLDER))
        tables = needs_tables(settings)
        soon = (TableProgram(),) if tables else ()
        compiler.begin(program_config(settings, tables=tables), *soon)
    except BaseException:
        loader.close()
        raise
    return Bootstrap(settings, load, compiler, loader)


def needs_tables(settings: Settings) -> bool:
    """Return whether the first program reads our own tables: there are lists, or rules for them."""
    if settings.has_lists:
        return True
    if not os.path.lexists(settings.state):
        return False
    from xdpctl.store.state import holds_table_rules  # noqa: PLC0415 - not for the first start

    return holds_table_rules(settings.state)
