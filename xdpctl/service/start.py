"""The order of start, and the list of the service's parts.

Start: settings, the compile begun (both bootstrap.py) → listeners bound → interfaces and pins
inspected → compiled (waited for; nothing has changed so far) → state → maps made → notes and
maps reconciled → attached → served → ready. Each step pushes its own end on one stack, so
the stop is the reverse: listeners, filters (detached or kept), maps (never unpinned), state.

A new part of the service is its own file (shape: status/part.py) and one line in `_parts`.
Called by service.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xdpctl.errors import VerifierError, XdpctlError
from xdpctl.feeds.dnsdist.bridge import DnsdistBlocks
from xdpctl.feeds.files import ListFiles
from xdpctl.feeds.lists import EveryList
from xdpctl.feeds.origins import ListOrigins
from xdpctl.feeds.versions import Versions
from xdpctl.feeds.zone.parent import ZoneListsProcess
from xdpctl.feeds.zone_lists import ZoneLists
from xdpctl.filter.tcp_proof import TcpProof
from xdpctl.http.listeners import Listeners, import_application
from xdpctl.maps.aging import Aging
from xdpctl.maps.holders import Holders
from xdpctl.process.memory import give_back
from xdpctl.process.modules import import_parts_of
from xdpctl.process.systemd import watchdog_interval
from xdpctl.process.threads import in_background, one_thread
from xdpctl.program.config import program_config
from xdpctl.rules.guard import Guard
from xdpctl.service.bootstrap import needs_tables
from xdpctl.service.claim_counts import ClaimCounts
from xdpctl.service.current_program import CurrentProgram
from xdpctl.service.dynamic_claims import DynamicBackend
from xdpctl.service.expiry import Expiry
from xdpctl.service.heap import Heap
from xdpctl.service.interface_watch import InterfaceWatch
from xdpctl.service.limits import Limits
from xdpctl.service.list_exemptions import Exempting
from xdpctl.service.own_tables import OwnTables
from xdpctl.service.pin_repair import PinRepair
from xdpctl.service.precompile import Precompile
from xdpctl.service.readiness import tell_of_compiling
from xdpctl.service.reload import Reload, adopt
from xdpctl.service.resources import (
    begin_workers,
    inspect,
    is_awaited,
    open_rules,
    refuse_unfit,
)
from xdpctl.service.samples import Samples
from xdpctl.service.settling import Settling
from xdpctl.service.stale_entries import StaleEntries
from xdpctl.service.tasks import on_thread
from xdpctl.service.tcp_proofs import TcpProofs
from xdpctl.service.watchdog import Watchdog
from xdpctl.service.widened_names import WidenedNames
from xdpctl.service.zone_limits import ZoneLimits

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from xdpctl.feeds.publish.publisher import Publisher
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig
    from xdpctl.rules import Name
    from xdpctl.service.dnstap_output import DnstapOutput
    from xdpctl.service.live import Live
    from xdpctl.service.looks import Looks
    from xdpctl.service.operations import Operations
    from xdpctl.service.resources import Ground, Inspected, OpenRules, Workers
    from xdpctl.settings import Settings
    from xdpctl.status.checks.facts import Facts
    from xdpctl.status.observer import Observer
    from xdpctl.status.part import ServicePart

KEPT_SECONDS = 0.1
"""A cached program loads within this time; anything slower is compiling."""


async def start(ground: Ground, stack: contextlib.AsyncExitStack) -> list[ServicePart] | None:
    """Start everything; push the end of each step on `stack`.

    Returns:
        The parts, which the caller runs; None if a stop was requested before the program was
        ready.

    Raises:
        XdpctlError: a step failed; nothing new is attached.
    """
    settings = ground.current.now
    tables = needs_tables(settings)
    samples = stack.enter_context(Samples(ground.bpf, settings))
    config = samples.begin(program_config(settings, tables=tables))
    building = asyncio.create_task(_build(ground, config), name="compile")
    stack.push_async_callback(_cancel, building)
    await asyncio.sleep(0)  # the task takes the running compilation, before the loop is blocked
    found = await inspect(ground, stack)
    loading = asyncio.create_task(_load_during(building), name="load")
    stack.push_async_callback(_cancel, loading)
    surveying = asyncio.to_thread(found.survey.facts_at_start)
    facts, built = await asyncio.gather(surveying, _unless_stopped(ground, building))
    if isinstance(built, VerifierError) and config.samples:
        built, config = await _without_samples(ground, samples, built, config)
    if built is None:
        ground.leaving.leave_former(found.filters)
        return None
    held = ground.rollout.hold(found.filters, built) if isinstance(built, XdpctlError) else ""
    parts: list[ServicePart] = []
    rules = open_rules(ground, found, facts, parts, config, stack, is_held=bool(held))
    workers = begin_workers(ground, found, rules, stack)
    program = _current_program(ground, found, rules, workers, config, held, samples)
    samples.filters, samples.lost = found.filters, lambda: _samples_lost(rules.observer)
    own_tables = _own_tables(ground, rules, program)
    proofs = _tcp_proofs(ground, found, rules, workers, stack)
    await proofs.begin()
    if not isinstance(built, XdpctlError):
        program.put_on(built, [filter_ for filter_ in found.filters if is_awaited(ground, filter_)])
        await proofs.look()
    if program.is_ours:
        adopt(rules.store, settings.any_qtype)
    await loading
    await asyncio.to_thread(_import_faces)
    repair = PinRepair(
        found.shared,
        found.locks,
        rules.store,
        rules.names,
        program.exchange,
        looks=workers.looks,
        watch_thread=workers.watch,
        store_thread=workers.lanes.writes,
    )
    zones = ZoneLimits(
        rules.limits,
        settings,
        ground.bpf,
        rules.account,
        thread=workers.watch,
        note_thread=workers.lanes.writes,
    )
    limits = Limits(
        rules.limits,
        settings,
        rules.observer,
        ground.netlink,
        rules.account,
        thread=workers.watch,
        note_thread=workers.lanes.writes,
        zones=zones,
    )
    operations = _operations(
        *(ground, found, rules, workers, own_tables, program, repair, limits, samples)
    )
    parts += _parts(
        ground,
        found,
        facts,
        rules,
        workers=workers,
        program=program,
        own_tables=own_tables,
        operations=operations,
        parts=parts,
        stale=_stale_entries(ground, found, rules, stack),
        repair=repair,
        limits=limits,
        proofs=proofs,
        zones=zones,
        samples=samples,
        dnsdist=_dnsdist(ground, rules, workers, own_tables, stack),
    )
    rules.observer.look()
    await _serve(found.listeners, operations, program)
    workers.readiness.tell(rules.observer.last)
    _freeze()
    ground.leaving.started = True
    return parts


def _parts(  # noqa: PLR0913 - what parts need
    ground: Ground,
    found: Inspected,
    facts: Facts,
    rules: OpenRules,
    *,
    workers: Workers,
    program: CurrentProgram,
    own_tables: OwnTables,
    operations: Operations,
    parts: Sequence[ServicePart],
    stale: StaleEntries,
    repair: PinRepair,
    limits: Limits,
    proofs: TcpProofs,
    zones: ZoneLimits,
    samples: Samples,
    dnsdist: DnsdistBlocks,
) -> tuple[ServicePart, ...]:
    """Make the parts of the service: one entry a part, in the order that status shows them.

    `parts` is the list that will hold them all; a reload goes through it.
    """
    settings = ground.current.now
    operations.dnsdist_blocks = dnsdist
    looks, write = workers.looks, workers.lanes.writes
    files, zone_lists = _lists(ground, found, rules, workers, operations)
    return (
        InterfaceWatch(
            ground.netlink,
            found.survey,
            rules.observer,
            settings,
            facts.interfaces,
            on_thread=looks.look_with,
        ),
        program,
        repair,
        looks,
        own_tables,
        limits,
        proofs,
        zones,
        samples,
        Precompile(ground.compile_ahead, program.wanted_later),
        Settling(rules.store, write),
        ClaimCounts(operations, settings.state),
        WidenedNames(settings.state),
        Expiry(operations),
        stale,
        files,
        zone_lists,
        dnsdist,
        _publisher(ground, rules, operations, write, zone_lists.changed_here),
        *_views(ground, operations, looks),
        Reload(
            ground.current,
            partial(_fit_settings, ground),
            ground.reload,
            listeners=found.listeners,
            program=program,
            limits=limits,
            samples=samples,
            store=rules.store,
            thread=write,
            readiness=workers.readiness,
            parts=parts,
        ),
        Heap(),
        Watchdog(ground.notifier, watchdog_interval(os.environ, os.getpid())),
    )


def _lists(
    ground: Ground,
    found: Inspected,
    rules: OpenRules,
    workers: Workers,
    operations: Operations,
) -> tuple[ListFiles, ZoneLists]:
    """Return the parts that follow lists, and let requests find them."""
    settings, looks = ground.current.now, workers.looks
    origins, versions = ListOrigins(operations), Versions(operations)

    async def on_first() -> None:
        await looks.look_with(rules.observer.look)

    files = ListFiles(operations, settings, on_first, origins, versions)
    zones = ZoneLists(
        operations,
        Exempting(
            rules.exemptions,
            rules.limits,
            note_thread=workers.lanes.writes,
            thread=workers.watch,
        ),
        settings,
        origins=origins,
        versions=versions,
        start=ZoneListsProcess,
        sockets=found.notify,
        on_first=on_first,
    )
    operations.all_lists = EveryList(files, zones)
    return files, zones


def _fit_settings(ground: Ground) -> Settings:
    """Read the settings again; refuse interfaces that a restart would refuse. Blocks."""
    settings = ground.load()
    if settings.interfaces != ground.current.now.interfaces:
        refuse_unfit(ground.netlink, settings.interfaces)
    return settings


async def _build(ground: Ground, config: ProgramConfig) -> Bytecode:
    """Return the tested program; with tables, also see that these can be made."""
    if not config.tables:
        return await ground.rollout.build(config)
    bytecode, _ = await asyncio.gather(ground.rollout.build(config), ground.generations.prepare())
    return bytecode


async def _without_samples(
    ground: Ground, samples: Samples, why: VerifierError, config: ProgramConfig
) -> tuple[Bytecode | XdpctlError | None, ProgramConfig]:
    """Return the program that samples nothing, if that is one which the kernel takes."""
    plain = replace(config, samples=0)
    building = asyncio.create_task(_build(ground, plain), name="compile without samples")
    try:
        built = await _unless_stopped(ground, building)
    finally:
        await _cancel(building)
    if isinstance(built, XdpctlError):
        return why, config
    samples.refuse(why)
    return built, plain


def _samples_lost(observer: Observer) -> int:
    return sum(view.samples_lost for view in observer.last.filters)


def _current_program(  # noqa: PLR0913, PLR0917 - the parts of the whole
    ground: Ground,
    found: Inspected,
    rules: OpenRules,
    workers: Workers,
    config: ProgramConfig,
    held: str,
    samples: Samples,
) -> CurrentProgram:
    current = rules.store.tables.generation
    return CurrentProgram(
        ground.rollout,
        found.filters,
        rules.maps_of.with_tables({} if current is None else current.maps).with_samples(
            samples.maps
        ),
        panic=rules.panic,
        config=replace(config, tables=current is not None),
        looks=workers.looks,
        thread=workers.watch,
        loader_trouble=ground.loader_trouble,
        held=held,
        fit=samples.fit,
    )


def _own_tables(ground: Ground, rules: OpenRules, program: CurrentProgram) -> OwnTables:
    made = OwnTables(ground.generations, rules.store, rules.state, program)
    rules.room.make, rules.room.stop = made.reserve_here, made.stop
    return made


def _tcp_proofs(
    ground: Ground,
    found: Inspected,
    rules: OpenRules,
    workers: Workers,
    stack: contextlib.AsyncExitStack,
) -> TcpProofs:
    settings = ground.current.now
    proof = TcpProof(ground.bpf, settings.interfaces, directory=ground.directory)
    return TcpProofs(
        stack.enter_context(proof),
        ground.compile_proof,
        rules.limits,
        found.filters,
        settings,
        thread=workers.watch,
    )


def _operations(  # noqa: PLR0913, PLR0917 - the parts of the whole
    ground: Ground,
    found: Inspected,
    rules: OpenRules,
    workers: Workers,
    own_tables: OwnTables,
    program: CurrentProgram,
    repair: PinRepair,
    limits: Limits,
    samples: Samples,
) -> Operations:
    from xdpctl.service.operations import Operations  # noqa: PLC0415 - packets are filtered without it
    from xdpctl.service.watch import Watch  # noqa: PLC0415 - the same

    current, netlink = ground.current, ground.netlink
    return Operations(
        store=rules.store,
        state=rules.state,
        filters=found.filters,
        observer=rules.observer,
        panic=rules.panic,
        store_thread=workers.lanes.writes,
        read_thread=workers.lanes.reads,
        urgent_thread=workers.lanes.urgent,
        watch_thread=workers.watch,
        bulk_thread=workers.bulk,
        grow=repair.grow,
        holders=_holders(ground),
        reserve=own_tables.reserve,
        account=rules.account,
        program=program,
        limits=limits,
        watch=Watch(samples.hub, lambda: current.now, rules.store, thread=workers.lanes.reads),
        guard=lambda: Guard(current.now.protect, netlink.local_addresses()),
    )


def _views(ground: Ground, operations: Operations, looks: Looks) -> tuple[Live, DnstapOutput]:
    """Return the parts that show traffic."""
    from xdpctl.service.dnstap_output import DnstapOutput  # noqa: PLC0415 - see below
    from xdpctl.service.live import Live  # noqa: PLC0415 - packets are filtered without it

    operations.live_view = live = Live(operations, looks)
    return live, DnstapOutput(operations.watch, ground.current.now)


def _publisher(
    ground: Ground,
    rules: OpenRules,
    operations: Operations,
    write: Executor,
    on_change: Callable[[Name, int], None],
) -> Publisher:
    """Return the part that publishes records in zones."""
    from xdpctl.feeds.publish.claims import ClaimedRecords  # noqa: PLC0415 - packets are filtered without it
    from xdpctl.feeds.publish.publisher import Publisher  # noqa: PLC0415 - the same
    from xdpctl.store.published import PublishedTable  # noqa: PLC0415 - the same

    operations.publisher = publisher = Publisher(
        PublishedTable.open(rules.state),
        ground.current.now,
        ClaimedRecords(rules.state, lambda: rules.store.any_qtype).read,
        rules.account,
        on_state=partial(on_thread, write),
        on_network=lambda work: asyncio.wrap_future(in_background("publish", work)),
        on_change=on_change,
    )
    return publisher


def _holders(ground: Ground) -> Holders:
    owner = ground.current.now.pin_owner
    return Holders(None if owner is None else owner.uid)


def _dnsdist(
    ground: Ground,
    rules: OpenRules,
    workers: Workers,
    own_tables: OwnTables,
    stack: contextlib.AsyncExitStack,
) -> DnsdistBlocks:
    current, netlink = ground.current, ground.netlink
    backend = DynamicBackend(
        rules.store,
        rules.account,
        own_tables.reserve,
        lambda: Guard(current.now.protect, netlink.local_addresses()),
        writes=workers.lanes.writes,
        urgent=workers.lanes.urgent,
        bulk=workers.bulk,
        looks=stack.enter_context(one_thread("dnsdist")),
    )
    return DnsdistBlocks(backend, current.now)


def _stale_entries(
    ground: Ground, found: Inspected, rules: OpenRules, stack: contextlib.AsyncExitStack
) -> StaleEntries:
    settings, shared = ground.current.now, found.shared
    aging = Aging(
        rules.store.theirs,
        _holders(ground),
        rules.state,
        lambda: {name: opened.info.id for name, opened in shared.rule_maps().items()},
    )
    return StaleEntries(
        aging,
        rules.observer,
        settings,
        stack.enter_context(one_thread("stale-entries")),
        rules.account,
    )


async def _serve(listeners: Listeners, operations: Operations, program: CurrentProgram) -> None:
    """Begin to answer requests."""
    from xdpctl.status.metrics import Exposition, SnapshotCollector  # noqa: PLC0415 - packets are filtered without it

    collector = SnapshotCollector(
        operations.snapshot,
        bcc=program.bcc,
        lists=operations.list_views,
        dnsdist=operations.dnsdist_view,
        notified=operations.list_notified,
        claims=lambda: operations.claim_counts,
        limits=operations.limits_view,
        publishing=operations.publish_zones,
        samples_lost=lambda: operations.hub.lost,
    )
    await listeners.serve(operations, Exposition(collector))


async def _unless_stopped(
    ground: Ground, building: asyncio.Task[Bytecode]
) -> Bytecode | XdpctlError | None:
    """Wait for the program, or the error of building it; None if a stop is requested first."""
    stopping = asyncio.create_task(ground.stop.wait(), name="stop")
    telling = asyncio.create_task(tell_of_compiling(ground.notifier), name="tell")
    try:
        await asyncio.wait({building, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        telling.cancel()
    if ground.stop.is_set():
        return None
    try:
        return await building
    except XdpctlError as error:
        return error


def _freeze() -> None:
    """Exclude permanent objects from garbage collections, which took 30 ms each time.

    What the start took beside them goes back to the kernel.
    """
    gc.collect()
    gc.freeze()
    give_back()


async def _load_during(building: asyncio.Task[Bytecode]) -> None:
    """Import the modules that answer requests while a program is compiled."""
    await asyncio.wait({building}, timeout=KEPT_SECONDS)
    if not building.done():
        with contextlib.suppress(XdpctlError, ImportError):  # raised again where they are needed
            await asyncio.to_thread(_import_faces)


def _import_faces() -> None:
    """Import the modules that answer requests. Blocks for a tenth of a second."""
    import_application()
    import_parts_of("prometheus_client")
    import_module("xdpctl.status.metrics")
    import_module("xdpctl.service.operations")


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, XdpctlError):
        await task
