"""The whole: what is started in which order, lives together, and stops in reverse.

Start: settings, the compile begun (both bootstrap.py) → listeners bound → interfaces and pins
inspected → compiled (waited for; nothing changed so far) → state → maps made → notes and maps
reconciled → attached → served → ready. Stop: listeners, filters (detached or kept),
maps (never unpinned), state.

One asyncio loop; what blocks runs on two threads, one for rules and one for filters.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

from xdpctl import __version__
from xdpctl.abi import MapName, Scope
from xdpctl.errors import (
    InterfaceError,
    KernelError,
    MapFrozenError,
    Sentence,
    SettingsError,
    VerifierError,
    XdpctlError,
    within,
)
from xdpctl.feeds.files import ListFiles
from xdpctl.filter.filter import Filter
from xdpctl.filter.lock import InterfaceLock
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.filter.rollout import Rollout
from xdpctl.http.listeners import Listeners, import_application
from xdpctl.http.transport.secrets import Secrets
from xdpctl.kernel.bpf.pins import OWN_DIRECTORY
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.failure import kernel_error
from xdpctl.kernel.net.interfaces import Netlink
from xdpctl.maps.name_follower import NameFollower
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.process.children import SIGNALS
from xdpctl.process.lanes import Lanes
from xdpctl.process.log import configure, event
from xdpctl.process.systemd import Notifier, watchdog_interval
from xdpctl.process.threads import Threads, one_thread
from xdpctl.program import selftest
from xdpctl.program.config import program_config
from xdpctl.rules.guard import Guard
from xdpctl.service.interface_watch import InterfaceWatch
from xdpctl.service.pin_repair import PinRepair
from xdpctl.service.readiness import Readiness
from xdpctl.service.tasks import every, keep_expiring, on_thread
from xdpctl.settings import OnExit, Settings, reloadable_changes
from xdpctl.settings.options import BY_NAME
from xdpctl.status.checks.interface import queue_shortage
from xdpctl.status.checks.report import warnings_at_start
from xdpctl.status.checks.survey import Survey
from xdpctl.status.observer import Observer
from xdpctl.store.state import PANIC, State
from xdpctl.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from concurrent.futures import Executor
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig
    from xdpctl.rules import AnyQtype
    from xdpctl.service.bootstrap import Bootstrap
    from xdpctl.service.operations import Operations
    from xdpctl.settings import Changes

_END = object()

SWITCH_SECONDS = 0.001
"""How long a thread that works on rules keeps the loop, which has a panic to hear, waiting."""
LOOK_SECONDS = 1.0
RETRY_SECONDS = 30.0
"""Between two tries to make a program, while a former service's is in force."""
SETTLE_SECONDS = 10.0
KEPT_SECONDS = 0.1
"""Within which a program that was kept is there; longer takes only one that is compiled."""

_log = logging.getLogger(__name__)


def run_service(begun: Bootstrap) -> int:
    """Run the service until SIGTERM or SIGINT; blocks.

    Args:
        begun: what was done before this module was loaded.

    Raises:
        XdpctlError: it could not start; nothing is attached that was not before.
    """

    async def run(service: Service) -> int:
        try:
            return await service.run()
        finally:  # who asks twice waits for the end, too
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    sys.setswitchinterval(SWITCH_SECONDS)
    try:
        service = Service(
            begun.settings,
            begun.load,
            Bpf(begun.loader),
            Netlink(),
            begun.compiler,
            loader_trouble=lambda: begun.loader.trouble,
            worker=True,
        )
        return asyncio.run(run(service))
    except OSError as error:  # what the loop itself needs: descriptors, sockets, memory
        what = "cannot run the service" + (f": {error.filename}" if error.filename else "")
        raise kernel_error(what, error.errno or errno.EIO) from error


@dataclass(frozen=True, slots=True)
class _Running:
    """The parts of a service that has started."""

    filters: list[Filter]
    maps_of: Callable[[str], Mapping[MapName, Map]]
    listeners: Listeners
    store: Store
    observer: Observer
    interfaces: InterfaceWatch
    readiness: Readiness
    operations: Operations
    lists: ListFiles
    store_thread: Executor
    watch_thread: Executor


class Service:
    """The running service.

    Args:
        settings, load: see bootstrap.Bootstrap.
        bpf, netlink: the kernel.
        compile_with: gives the bytecode of a configuration.
        self_test: raises where a program is not what it must be.
        directory: where our own pins live.
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
        self_test: Callable[[Bpf, ProgramConfig, Bytecode], None] = selftest.run,
        directory: Path = OWN_DIRECTORY,
        loader_trouble: Callable[[], str] = str,
        worker: bool = False,
    ) -> None:
        self._worker = worker
        self._loader_trouble = loader_trouble
        self._settings = settings
        self._load = load
        self._bpf = bpf
        self._netlink = netlink
        self._rollout = Rollout(bpf, compile_with, self_test)
        self._directory = directory
        self._notifier = Notifier.from_environment(os.environ)
        self._pins: PinRepair | None = None
        self._next_try = time.monotonic() + RETRY_SECONDS
        self._stop = asyncio.Event()
        self._on_exit: OnExit | None = None
        self._reload = asyncio.Event()

    async def run(self) -> int:
        """Start, serve until asked to stop, stop; returns the exit status 0."""
        asyncio.get_running_loop().set_default_executor(Threads(thread_name_prefix="asyncio"))
        self._handle_signals()
        settings = self._settings
        _warn(*settings.warnings)
        async with contextlib.AsyncExitStack() as stack:
            parts = await self._start(stack)
            if parts is not None:
                await self._live(parts)
            self._notifier.stopping()
            event(_log, "stopping")
        event(_log, "stopped", on_exit=self._on_exit or self._settings.on_exit)
        return 0

    async def _start(  # noqa: PLR0915 - the order of start, as one list
        self, stack: contextlib.AsyncExitStack
    ) -> _Running | None:
        """Start everything, each thing's end pushed on `stack`; None: stopped meanwhile."""
        settings = self._settings
        building = asyncio.create_task(
            self._rollout.build(program_config(settings)), name="compile"
        )
        stack.push_async_callback(_cancel, building)
        await asyncio.sleep(0)  # lets it take over what was begun: what follows does not yield
        locks = [
            stack.enter_context(InterfaceLock(self._directory, name))
            for name in settings.interfaces
        ]
        listeners = await self._listen(stack)
        filters = self._make_filters(stack)
        queues = {
            one.interface: 0 if self._is_awaited(one) else one.inspect().rx_queues
            for one in filters
        }
        shared = stack.enter_context(SharedMaps(self._bpf, settings))
        _refuse_shortage(queues, shared.inspect())
        survey = Survey(self._bpf, self._netlink, settings, own_directory=self._directory)
        loading = asyncio.create_task(_load_during(building), name="load")
        stack.push_async_callback(_cancel, loading)
        surveying = asyncio.to_thread(survey.facts_at_start)
        facts, built = await asyncio.gather(surveying, self._unless_stopped(building))
        if built is None:
            self._leave_former(filters)
            return None
        held = self._rollout.hold(filters, built) if isinstance(built, XdpctlError) else ""
        found = warnings_at_start(settings, facts)
        state = stack.enter_context(State.open(settings.state))
        shared.open()
        destinations = DestinationWatch(
            shared.destination_maps(), self._netlink, restore=settings.xsk_restore
        )
        observer = Observer(
            filters,
            shared,
            destinations,
            warnings=(*settings.warnings, *found, *shared.warnings, *state.warnings),
        )
        interfaces = InterfaceWatch(
            self._netlink, survey, observer, lambda: self._settings, facts.interfaces
        )
        _warn(*found, *observer.interface_warnings, *shared.warnings, *state.warnings)
        rules = shared.rule_maps()
        former = next(filter(None, (one.former_maps(rules.values()) for one in filters)), None)
        own = stack.enter_context(OwnMaps.make(self._bpf, Scope.SERVICE, former))
        names = stack.enter_context(NameFollower(self._bpf, rules, own[MapName.NAME_INDEX]))
        store = Store(
            shared.rule_maps(),
            state,
            settings.any_qtype,
            on_change=observer.changed,
            worker=self._worker,
        )
        store.reconcile()
        _prepare(store, settings.any_qtype)
        observer.panic = state.get_meta(PANIC) == "1"
        # Ended in reverse: no more requests, no more looks, detached, no more writes.
        lanes = stack.enter_context(Lanes("store"))
        bulk_thread = stack.enter_context(one_thread("bulk"))
        stack.callback(store.cancel)
        stack.callback(self._leave, filters)
        watch_thread = stack.enter_context(one_thread("watch"))
        stack.push_async_callback(listeners.stop)
        maps_of = partial(_maps_of, shared, own)
        if not isinstance(built, XdpctlError):
            held = self._put_on(filters, built, maps_of, panic=observer.panic)
        if not held:
            _adopt(store, settings.any_qtype)
        observer.failures["program"] = held
        observer.look()
        await loading
        await asyncio.to_thread(_import_faces)
        from xdpctl.service.operations import Operations  # noqa: PLC0415 - packets are filtered without it
        from xdpctl.status.metrics import Exposition, SnapshotCollector  # noqa: PLC0415 - the same

        operations = Operations(
            store=store,
            state=state,
            filters=filters,
            observer=observer,
            store_thread=lanes.writes,
            read_thread=lanes.reads,
            urgent_thread=lanes.urgent,
            watch_thread=watch_thread,
            bulk_thread=bulk_thread,
            guard=lambda: Guard(self._settings.protect, self._netlink.local_addresses()),
        )
        collector = SnapshotCollector(operations.snapshot, bcc=self._bcc)
        await listeners.serve(operations, Exposition(collector))
        readiness = Readiness(self._notifier, version=__version__, metrics=listeners.address)
        readiness.tell(observer.last)
        _freeze()
        parts = _Running(
            filters,
            maps_of,
            listeners,
            store,
            observer,
            interfaces,
            readiness,
            operations,
            ListFiles(operations, settings),
            lanes.writes,
            watch_thread,
        )
        self._pins = PinRepair(shared, locks, store, names, lambda: self._exchange(parts))
        return parts

    async def _listen(self, stack: contextlib.AsyncExitStack) -> Listeners:
        """Bind both listeners; nobody is answered yet."""
        settings = self._settings
        listeners = await stack.enter_async_context(
            Listeners(
                settings.control,
                settings.control_group,
                settings.listen,
                Secrets(settings.token_file, settings.tls_cert, settings.tls_key),
                spool=settings.state.parent,
            )
        )
        listeners.bind()
        return listeners

    def _make_filters(self, stack: contextlib.AsyncExitStack) -> list[Filter]:
        """Make a filter for each interface; nothing is attached yet."""
        settings = self._settings
        return [
            stack.enter_context(
                Filter(
                    self._bpf,
                    self._netlink,
                    name,
                    mode=settings.mode,
                    replace=settings.replace,
                    directory=self._directory,
                )
            )
            for name in settings.interfaces
        ]

    def _put_on(
        self,
        filters: list[Filter],
        bytecode: Bytecode,
        maps_of: Callable[[str], Mapping[MapName, Map]],
        *,
        panic: bool,
    ) -> str:
        """Attach the program; where the kernel refuses, go on with what a former service left.

        Returns:
            Why a former service's program is in force; empty.
        """
        awaited = [one for one in filters if self._is_awaited(one)]
        there = [one for one in filters if one not in awaited]
        try:
            self._rollout.install(bytecode, there, maps_of, panic=panic)
            self._rollout.exchange(bytecode, awaited, maps_of, panic=panic)
        except (VerifierError, KernelError) as error:
            return self._rollout.hold([one for one in there if not one.is_on], error)
        return ""

    def _is_awaited(self, one: Filter) -> bool:
        """Whether the service may start without this filter's interface, and has to."""
        return self._settings.wait and self._netlink.index_of(one.interface) is None

    def _bcc(self) -> str:
        """Return the version of BCC that the program in force was compiled with."""
        bytecode = self._rollout.bytecode
        return "unknown" if bytecode is None else bytecode.bcc

    async def _unless_stopped(
        self, building: asyncio.Task[Bytecode]
    ) -> Bytecode | XdpctlError | None:
        """Wait for the program, or why there is none; None: the stop is asked for meanwhile."""
        stop = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({building, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stop.cancel()
        if self._stop.is_set():
            return None
        try:
            return await building
        except XdpctlError as error:
            return error

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR2, self._stop_for_the_next)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _stop_for_the_next(self) -> None:
        """Stop as for a restart: the filter stays on, whatever --on-exit says."""
        self._on_exit = OnExit.KEEP
        self._stop.set()

    def _leave(self, filters: list[Filter]) -> None:
        """Detach or keep, as --on-exit says.

        A start that failed leaves nothing new, and goes on filtering where a former
        service did; a service that dies of an error of its own leaves the filter on.
        """
        asked = self._stop.is_set()
        started = self._pins is not None
        on_exit = self._on_exit or self._settings.on_exit
        if (asked and on_exit is OnExit.KEEP) or (started and not asked):
            return
        for one in filters:
            if (asked or not one.adopted) and one.detach():
                event(_log, "detached", interface=one.interface)

    def _leave_former(self, filters: list[Filter]) -> None:
        """Do the same with what a former service left, where ours has put nothing on yet."""
        for one in filters:
            try:
                one.adopt()
            except XdpctlError as error:  # it is gone, or cannot be held: the others are left
                event(_log, "failed", logging.ERROR, error=error.sentence)
        self._leave(filters)

    async def _live(self, parts: _Running) -> None:
        """Run what runs all the time until the stop is asked for."""

        async def look() -> None:
            parts.observer.list_warnings = parts.lists.warnings
            parts.observer.failures["loader"] = self._loader_trouble()
            await watch(parts.observer.look)
            await self._mend(parts)

        async def watch(function: Callable[[], object]) -> None:
            await on_thread(parts.watch_thread, function)
            parts.readiness.tell(parts.observer.last)

        async def settle() -> None:
            steps = parts.store.settling()  # between them, what is due and single rules
            run = asyncio.get_running_loop().run_in_executor
            while await run(parts.store_thread, next, steps, _END) is None:
                pass

        async def reload() -> NoReturn:
            while True:
                await self._reload.wait()
                self._reload.clear()
                parts.readiness.reloading()
                await self._apply(parts)
                parts.readiness.reloaded()

        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(every(LOOK_SECONDS, look), name="look"),
                group.create_task(parts.interfaces.run(watch), name="interfaces"),
                group.create_task(every(SETTLE_SECONDS, settle), name="settle"),
                group.create_task(keep_expiring(parts.operations), name="expire"),
                group.create_task(parts.lists.run(), name="lists"),
                group.create_task(reload(), name="reload"),
            ]
            interval = watchdog_interval(os.environ, os.getpid())
            if interval is not None:
                tasks.append(group.create_task(self._watchdog(interval), name="watchdog"))
            await self._stop.wait()
            for task in tasks:
                task.cancel()

    async def _mend(self, parts: _Running) -> None:
        """Put right what happened to pins; while the program is a former service's, try anew."""
        if self._pins is not None:
            await self._pins.mend(
                partial(on_thread, parts.watch_thread), partial(on_thread, parts.store_thread)
            )
            parts.observer.failures["pins"] = self._pins.trouble
            parts.observer.failures["rules"] = "; ".join(parts.store.lost)
        now = time.monotonic()
        if self._rollout.bytecode is None and now >= self._next_try:
            self._next_try = now + RETRY_SECONDS
            await self._exchange(parts)

    async def _watchdog(self, interval: float) -> NoReturn:
        while True:
            self._notifier.watchdog()
            await asyncio.sleep(interval)

    async def _apply(self, parts: _Running) -> None:
        """Take over what changed in the settings; on any error the old ones stay in force."""
        try:
            wanted = await asyncio.to_thread(self._load)
            changes = reloadable_changes(self._settings, wanted)
            settings = _reloaded(self._settings, wanted, changes)
            await parts.listeners.reload()
            config = program_config(settings)
            if self._rollout.bytecode is None or config != program_config(self._settings):
                program = await self._rollout.build(config)
                await on_thread(
                    parts.store_thread, lambda: parts.store.prepare_for(settings.any_qtype)
                )
                await self._exchange(parts, program)
        except XdpctlError as error:
            parts.observer.failures["reload"] = _failed_reload(error)
            event(_log, "reload-failed", logging.ERROR, error=error.sentence)
            return
        parts.observer.failures.pop("reload", None)
        await on_thread(parts.store_thread, lambda: _adopt(parts.store, settings.any_qtype))
        if changes.need_restart:
            event(_log, "needs-restart", logging.WARNING, options=", ".join(changes.need_restart))
        configure(settings.log_level, settings.log_format, sys.stderr)
        former, self._settings = self._settings, settings
        parts.lists.reload(settings)
        changed = changes.applied + (("list",) if settings.lists != former.lists else ())
        event(_log, "reloaded", changed=", ".join(changed) or "nothing")

    async def _exchange(self, parts: _Running, bytecode: Bytecode | None = None) -> None:
        """Put another program on, or the same one over other maps; on all interfaces or none."""
        wanted = bytecode or self._rollout.bytecode
        if wanted is None:
            wanted = await self._rollout.build(program_config(self._settings))
        program, panic = wanted, parts.observer.panic
        await on_thread(
            parts.watch_thread,
            lambda: self._rollout.exchange(program, parts.filters, parts.maps_of, panic=panic),
        )
        parts.observer.failures.pop("program", None)


def _prepare(store: Store, any_qtype: AnyQtype) -> None:
    """Have names as the program looks them up; one in a frozen map is as it is."""
    try:
        store.prepare_for(any_qtype)
    except MapFrozenError as error:
        event(_log, "failed", logging.ERROR, error=error.sentence)


def _failed_reload(error: XdpctlError) -> str:
    """Return the sentence; what settings hold is quoted to the log and the control socket only."""
    frame = "reload failed, the former settings are in force: "
    if isinstance(error, SettingsError):
        return Sentence(f"{frame}{error.sentence}", f"{frame}they are not valid, the log says why")
    return within(lambda text: f"{frame}{text}", error.sentence)


def _adopt(store: Store, any_qtype: AnyQtype) -> None:
    """Have the store go on as the program that is on now; what fails is done the next time."""
    try:
        store.adopt(any_qtype)
    except XdpctlError as error:
        event(_log, "failed", logging.ERROR, error=error.sentence)


def _maps_of(shared: SharedMaps, own: OwnMaps, interface: str) -> Mapping[MapName, Map]:
    """Return what the program on an interface refers to, but for that interface's own maps."""
    return {**shared.for_interface(interface), **own}


def _freeze() -> None:
    """Leave what lives to the end out of the collector's looks, which took 30 ms each time."""
    gc.collect()
    gc.freeze()


async def _load_during(building: asyncio.Task[Bytecode]) -> None:
    """Load what answers requests while a program is compiled, if it is: then there is time."""
    await asyncio.wait({building}, timeout=KEPT_SECONDS)
    if not building.done():
        with contextlib.suppress(XdpctlError, ImportError):  # said where it is really needed
            await asyncio.to_thread(_import_faces)


def _import_faces() -> None:
    """Import what answers requests. Blocks, for a tenth of a second."""
    import_application()
    import_module("xdpctl.status.metrics")
    import_module("xdpctl.service.operations")


def _reloaded(settings: Settings, wanted: Settings, changes: Changes) -> Settings:
    """Return the settings with what a running service can take over from `wanted`."""
    fields = [BY_NAME[name].field for name in changes.applied]
    changed = {field: getattr(wanted, field) for field in fields}
    return replace(settings, **changed, lists=wanted.lists)


def _refuse_shortage(queues: Mapping[str, int], slots: Mapping[str, int]) -> None:
    """Raise InterfaceError where an interface has more queues than slots in its xskmap."""
    for name, slot_count in slots.items():
        if shortage := queue_shortage(name, queues[name], slot_count):
            raise InterfaceError(shortage, interface=name)


def _warn(*sentences: str) -> None:
    for sentence in sentences:
        event(_log, "warning", logging.WARNING, text=sentence)


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, XdpctlError):
        await task
