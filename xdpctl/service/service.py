"""The service as a whole: from the settings to the exit status.

Owns signals and the stop. Does not own the order of start and the parts (start.py), the
resources (resources.py), running the parts (tasks.py) or detaching (leaving.py). Called by
cli/main.py.

There is one asyncio loop. Blocking work runs on threads: one for rules, one for filters, and one
for long work.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

from xdpctl.filter.rollout import Rollout
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.failure import kernel_error
from xdpctl.kernel.net.interfaces import Netlink
from xdpctl.process.children import SIGNALS
from xdpctl.process.log import event
from xdpctl.process.systemd import Notifier
from xdpctl.process.threads import some_threads
from xdpctl.program import selftest
from xdpctl.program.config import TableProgram
from xdpctl.service.leaving import Leaving
from xdpctl.service.reload import SettingsInForce
from xdpctl.service.resources import Ground, warn
from xdpctl.service.start import start
from xdpctl.service.tasks import run_parts
from xdpctl.store.tables.generation import KernelGenerations

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig
    from xdpctl.service.bootstrap import Bootstrap
    from xdpctl.service.precompile import CompileAhead
    from xdpctl.service.tcp_proofs import CompileProof
    from xdpctl.settings import Settings
    from xdpctl.store.tables.engine import Generations

THREADS = min(32, (os.cpu_count() or 1) + 4)
"""For what blocks seldom. They are there from the start, so that no part ends for want of one."""

SWITCH_SECONDS = 0.001
"""Longest time that a thread working on rules delays the loop, and so a panic."""

_log = logging.getLogger(__name__)


def run_service(begun: Bootstrap) -> int:
    """Run the service until SIGTERM or SIGINT; blocks.

    Args:
        begun: the result of the first steps (bootstrap.py).

    Raises:
        XdpctlError: it could not start; it has left nothing new attached.
    """

    async def run(service: Service) -> int:
        try:
            return await service.run()
        finally:  # a second signal does not interrupt the end
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        bpf = Bpf(begun.loader)
        service = Service(
            begun.settings,
            begun.load,
            bpf,
            Netlink(),
            begun.compiler,
            generations=KernelGenerations(bpf, partial(begun.compiler, TableProgram())),
            compile_ahead=begun.compiler.ahead,
            compile_proof=begun.compiler,
            loader_trouble=lambda: begun.loader.trouble,
            worker=True,
        )
        return asyncio.run(run(service))
    except OSError as error:  # the loop itself lacks descriptors, sockets or memory
        what = "cannot run the service" + (f": {error.filename}" if error.filename else "")
        raise kernel_error(what, error.errno or errno.EIO) from error


class Service:
    """The running service.

    Args:
        settings, load: see bootstrap.Bootstrap.
        bpf, netlink: the kernel.
        compile_with: gives the bytecode of a configuration.
        self_test: raises where a program is not what it must be.
        directory: where our own pins live.
        generations: makes our own tables.
        compile_ahead: compiles at the lowest priority what may be needed later.
        compile_proof: gives the program that sees all processes' TCP connections.
        loader_trouble: gives a sentence where no program can be loaded any more.
        worker: whether long work may have a process of its own: `bpf` is the kernel's.
    """

    def __init__(  # noqa: PLR0913 - the settings and the kernel
        self,
        settings: Settings,
        load: Callable[[], Settings],
        bpf: Bpf,
        netlink: Netlink,
        compile_with: Callable[[ProgramConfig], Coroutine[None, None, Bytecode]],
        *,
        generations: Generations,
        compile_ahead: CompileAhead,
        compile_proof: CompileProof,
        self_test: Callable[[Bpf, ProgramConfig, Bytecode], None] = selftest.run,
        directory: Path = OWN_DIRECTORY,
        loader_trouble: Callable[[], str] = str,
        worker: bool = False,
    ) -> None:
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._notifier = Notifier.from_environment(os.environ)
        current = SettingsInForce(settings)
        self._leaving = Leaving(self._stop, current)
        self._ground = Ground(
            bpf=bpf,
            netlink=netlink,
            rollout=Rollout(bpf, compile_with, self_test),
            generations=generations,
            compile_ahead=compile_ahead,
            compile_proof=compile_proof,
            notifier=self._notifier,
            directory=directory,
            loader_trouble=loader_trouble,
            worker=worker,
            current=current,
            load=load,
            stop=self._stop,
            reload=self._reload,
            leaving=self._leaving,
        )

    async def run(self) -> int:
        """Start, serve until a stop is requested, and stop; return the exit status 0."""
        asyncio.get_running_loop().set_default_executor(some_threads(THREADS, "asyncio"))
        self._handle_signals()
        warn(*self._ground.current.now.warnings)
        async with contextlib.AsyncExitStack() as stack:
            parts = await start(self._ground, stack)
            if parts is not None:
                await run_parts(parts, self._stop)
            self._notifier.stopping()
            event(_log, "stopping")
        event(_log, "stopped", on_exit=self._leaving.on_exit)
        return 0

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR2, self._leaving.stop_for_the_next)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
