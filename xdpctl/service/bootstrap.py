"""What a start does first, while the modules of the service are not even loaded.

Settings, log; the loader, which keeps what this process gives up next; and the compiler's process,
begun at once: it has the tenth of a second that loading the service takes for itself. Called by
cli/main.py; what is begun is the service's to finish. Owns the order of these steps. Does not own
the loader, the compiler or the log.
"""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from xdpctl.process.children import SIGNALS
from xdpctl.process.log import configure, event
from xdpctl.process.privileges import keep_needed
from xdpctl.process.threads import share_one_heap
from xdpctl.program.cache import FOLDER, BytecodeCache, CachingCompiler
from xdpctl.program.config import program_config
from xdpctl.program.loader.parent import Loader

if TYPE_CHECKING:
    from collections.abc import Callable

    from xdpctl.settings import Settings

SWITCH_SECONDS = 0.0001
"""How long a thread with a list keeps the interpreter while the loop wants it: the loop lets
go of it with each system call, and would wait Python's own 5 ms for it each time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """A start so far. A context manager: its end cancels what nobody took over.

    Attributes:
        settings: of the start.
        load: gives the settings; called again for each SIGHUP.
        compiler: has begun to compile their program.
        loader: loads programs.
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
    """Begin a start, in the main thread of a process that is to be the service.

    Args:
        load: gives the settings.

    Raises:
        XdpctlError: the settings are wrong, or no process or thread can be started.
    """
    settings = load()
    configure(settings.log_level, settings.log_format, sys.stderr)
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # they wait until the loop hears them
    sys.setswitchinterval(SWITCH_SECONDS)
    share_one_heap()
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
        compiler.begin(program_config(settings))
    except BaseException:
        loader.close()
        raise
    return Bootstrap(settings, load, compiler, loader)
