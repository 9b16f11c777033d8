"""The resources of the running service, opened in the order of start.

Owns how listeners, locks, filters, pins, state, maps and threads are opened and closed: each is
pushed on the caller's stack. `inspect` changes nothing on the host; `open_rules` opens the state
and makes maps; `begin_workers` starts the threads. Does not own when these functions are called
(start.py). Called by start.py; service.py makes the `Ground`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from xdpctl import __version__
from xdpctl.abi import MapName, Scope
from xdpctl.errors import InterfaceError, MapFrozenError, XdpctlError
from xdpctl.feeds.zone.binding import bind_notify
from xdpctl.filter.filter import Filter
from xdpctl.filter.lock import InterfaceLock
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.filter.view import no_ethernet_header, same_card
from xdpctl.http.listeners import Listeners
from xdpctl.http.transport.secrets import Secrets
from xdpctl.maps.name_follower import NameFollower
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.process.caller import NOBODY
from xdpctl.process.lanes import Lanes
from xdpctl.process.log import event
from xdpctl.process.threads import one_thread
from xdpctl.service.account import Account
from xdpctl.service.limit_tables import open_limits
from xdpctl.service.list_exemptions import ListExemptions
from xdpctl.service.looks import Looks
from xdpctl.service.own_tables import exchange_nameless, open_tables
from xdpctl.service.panic import PanicSwitch
from xdpctl.service.program_maps import ProgramMaps
from xdpctl.service.readiness import Readiness
from xdpctl.status.checks.host import unseen
from xdpctl.status.checks.interface import queue_shortage
from xdpctl.status.checks.report import interface_warnings, warnings_at_start
from xdpctl.status.checks.survey import Survey
from xdpctl.status.observer import Observer
from xdpctl.store.history import History
from xdpctl.store.state import State
from xdpctl.store.store import Store
from xdpctl.store.tables.tables import Tables
from xdpctl.store.tally import Tally

if TYPE_CHECKING:
    import asyncio
    import contextlib
    import socket
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor
    from pathlib import Path

    from xdpctl.filter.rollout import Rollout
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.net.interfaces import Netlink
    from xdpctl.process.systemd import Notifier
    from xdpctl.program.config import ProgramConfig
    from xdpctl.rules import AnyQtype
    from xdpctl.service.leaving import Leaving
    from xdpctl.service.limit_tables import LimitTables
    from xdpctl.service.precompile import CompileAhead
    from xdpctl.service.reload import SettingsInForce
    from xdpctl.service.tcp_proofs import CompileProof
    from xdpctl.settings import Settings
    from xdpctl.status.checks.facts import Facts
    from xdpctl.status.part import ServicePart
    from xdpctl.store.tables.engine import Generations

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a start needs from its caller.

    Attributes:
        bpf, netlink: the kernel.
        rollout: builds programs and puts them on.
        generations: makes our own tables.
        compile_ahead: compiles at the lowest priority what may be needed later.
        compile_proof: gives the program that sees all processes' TCP connections.
        notifier: the way to the service manager.
        directory: where our own pins live.
        loader_trouble: gives a sentence where no program can be loaded any more.
        worker: whether long work may have a process of its own: `bpf` is the kernel's.
        current: the settings in force; `load` gives those of a reload.
        stop, reload: set when one is asked for.
        leaving: what becomes of the filters.
    """

    bpf: Bpf
    netlink: Netlink
    rollout: Rollout
    generations: Generations
    compile_ahead: CompileAhead
    compile_proof: CompileProof
    notifier: Notifier
    directory: Path
    loader_trouble: Callable[[], str]
    worker: bool
    current: SettingsInForce
    load: Callable[[], Settings]
    stop: asyncio.Event
    reload: asyncio.Event
    leaving: Leaving


@dataclass(frozen=True, slots=True)
class Inspected:
    """The result of `inspect`, which has changed nothing on the host.

    `notify` are the sockets at which NOTIFY comes.
    """

    locks: list[InterfaceLock]
    listeners: Listeners
    filters: list[Filter]
    shared: SharedMaps
    survey: Survey
    notify: tuple[socket.socket, ...]


@dataclass(frozen=True, slots=True)
class OpenRules:
    """Rules over their maps, and who watches them.

    `maps_of` gives the maps of an interface, at first without our own tables and limits.
    `exemptions` are the clients that lists exempt.
    """

    state: State
    panic: PanicSwitch
    observer: Observer
    maps_of: ProgramMaps
    names: NameFollower
    store: Store
    room: Room
    account: Account
    limits: LimitTables
    exemptions: ListExemptions


@dataclass(frozen=True, slots=True)
class Workers:
    """The threads for blocking work: for rules (in three lanes), for long work, for filters.

    Attributes:
        looks: looks every second, on the thread for filters.
        readiness: reports changes since the previous look.
    """

    lanes: Lanes
    bulk: Executor
    watch: Executor
    looks: Looks
    readiness: Readiness


async def inspect(ground: Ground, stack: contextlib.AsyncExitStack) -> Inspected:
    """Bind the listeners, and check interfaces and pins; raise if one cannot be used."""
    settings = ground.current.now
    enter = stack.enter_context
    locks = [enter(InterfaceLock(ground.directory, name)) for name in settings.interfaces]
    listeners = await stack.enter_async_context(
        Listeners(
            settings.control,
            settings.control_group,
            settings.listen,
            Secrets(settings.token_file, settings.tls_cert, settings.tls_key),
            spool=settings.state.parent,
            page=settings.page,
        )
    )
    listeners.bind()  # requests are not answered yet
    notify = bind_notify(settings.notify_listen, stack)
    filters: list[Filter] = []
    for name in settings.interfaces:
        made = Filter(
            ground.bpf,
            ground.netlink,
            name,
            mode=settings.mode,
            replace=settings.replace,
            directory=ground.directory,
            siblings=filters,
        )
        filters.append(enter(made))
    refuse_unfit(ground.netlink, settings.interfaces)
    queues = {
        filter_.interface: 0 if is_awaited(ground, filter_) else filter_.inspect().rx_queues
        for filter_ in filters
    }
    shared = enter(SharedMaps(ground.bpf, settings))
    _refuse_shortage(queues, shared.inspect())
    survey = Survey(ground.bpf, ground.netlink, settings, own_directory=ground.directory)
    return Inspected(locks, listeners, filters, shared, survey, notify)


class Room:
    """Makes room in our own tables, for the store.

    Attributes:
        make: does it, as soon as the service has what it takes. `stop`: ends what waits.
    """

    def __init__(self) -> None:
        self.make: Callable[[Mapping[MapName, int]], None] = _not_yet
        self.stop: Callable[[], None] = lambda: None

    def __call__(self, more: Mapping[MapName, int]) -> None:
        """Make room for so many more entries of each map; blocks."""
        self.make(more)

    def close(self) -> None:
        """Let nobody wait for room any more, as the service stops."""
        self.stop()


def _not_yet(_more: Mapping[MapName, int]) -> None:
    raise XdpctlError("cannot make room for the rules: the service is still starting; try again")


def open_rules(  # noqa: PLR0913, PLR0917 - what was found so far
    ground: Ground,
    found: Inspected,
    facts: Facts,
    parts: Sequence[ServicePart],
    config: ProgramConfig,
    stack: contextlib.AsyncExitStack,
    *,
    is_held: bool,
) -> OpenRules:
    """Open state and maps and reconcile them. Blocks.

    The observer asks the list `parts`, which is still empty. Our own tables are taken over, or
    made and filled, if the program reads them, as there are rules for them; not if a former
    service's program is held in the place of ours.
    """
    wanted = config.tables and not is_held
    settings, filters, shared = ground.current.now, found.filters, found.shared
    warnings = warnings_at_start(settings, facts)
    state = stack.enter_context(State.open(settings.state))
    shared.open()
    destinations = DestinationWatch(
        shared.destination_maps(), ground.netlink, restore=settings.xsk_restore
    )
    panic = PanicSwitch(filters, state)
    tables = Tables(state)
    observer = Observer(
        filters,
        shared,
        destinations,
        tables=tables,
        panic=panic.is_on,
        parts=parts,
        warnings=(*settings.warnings, *warnings, *shared.warnings, *state.warnings),
        unseen=tuple(unseen(facts.host)),
    )
    of_interfaces = [
        sentence for fact in facts.interfaces for sentence in interface_warnings(settings, fact)
    ]
    warn(*warnings, *of_interfaces, *shared.warnings, *state.warnings)
    rule_maps = shared.rule_maps()
    former = next(
        filter(None, (filter_.former_maps(rule_maps.values()) for filter_ in filters)), None
    )
    own = stack.enter_context(OwnMaps.make(ground.bpf, Scope.SERVICE, former))
    names = stack.enter_context(NameFollower(ground.bpf, rule_maps, own[MapName.NAME_INDEX]))
    room = Room()
    store = Store(
        shared.rule_maps(),
        state,
        settings.any_qtype,
        tables=tables,
        reserve=room,
        on_change=observer.changed,
        entries=observer.entries,
        worker=ground.worker,
    )
    stack.callback(tables.close)
    open_tables(ground.generations, filters, tables, state, wanted=wanted)
    account = Account(History.open(state), lambda: store.any_qtype)
    expired = Tally()
    store.reconcile(expired)
    account.removed(NOBODY, "expire", expired)
    if tables.nameless:
        exchange_nameless(ground.generations, store, state)
    _prepare(store, settings.any_qtype)
    panic.recall()
    if panic.is_on():
        warn("panic is on since before this start: every packet passes until `xdpctl resume`")
    exemptions = ListExemptions(state, settings.exempting)
    limits = open_limits(ground.bpf, filters, settings, config, stack, listed=exemptions.clients)
    maps_of = ProgramMaps(shared, own, limits=limits.maps.maps)
    return OpenRules(
        state, panic, observer, maps_of, names, store, room, account, limits, exemptions
    )


def begin_workers(
    ground: Ground,
    found: Inspected,
    rules: OpenRules,
    stack: contextlib.AsyncExitStack,
) -> Workers:
    """Start the threads; push on the stack what must end before them.

    The end is in reverse order: no more requests, no more looks, filters detached or kept, no
    more writes.
    """
    lanes = stack.enter_context(Lanes("store"))
    bulk = stack.enter_context(one_thread("bulk"))
    stack.callback(rules.store.cancel)
    stack.callback(rules.room.close)
    stack.callback(ground.leaving.leave, found.filters)
    watch = stack.enter_context(one_thread("watch"))
    stack.push_async_callback(found.listeners.stop)
    readiness = Readiness(ground.notifier, version=__version__, metrics=found.listeners.address)
    return Workers(lanes, bulk, watch, Looks(rules.observer, readiness, watch), readiness)


def refuse_unfit(netlink: Netlink, names: Sequence[str]) -> None:
    """Refuse interfaces without an Ethernet header, and one card under two names.

    Names without an interface are left to others.

    Raises:
        InterfaceError: the first that cannot be filtered.
    """
    found: dict[int, str] = {}
    for name in names:
        if netlink.index_of(name) is None:
            continue
        interface = netlink.find(name)
        if not interface.has_ethernet_header:
            sentence = no_ethernet_header(name, interface.link_type)
            raise InterfaceError(sentence, interface=name)
        if interface.index in found:
            sentence = same_card(name, found[interface.index], interface.index)
            raise InterfaceError(sentence, interface=name)
        found[interface.index] = name


def is_awaited(ground: Ground, filter_: Filter) -> bool:
    """Return whether this filter's interface is missing and the service starts without it."""
    return ground.current.now.wait and ground.netlink.index_of(filter_.interface) is None


def warn(*sentences: str) -> None:
    """Log warnings, one event each."""
    for sentence in sentences:
        event(_log, "warning", logging.WARNING, text=sentence)


def _prepare(store: Store, any_qtype: AnyQtype) -> None:
    """Write names in the form that the program looks up; leave those in a frozen map."""
    try:
        store.prepare_for(any_qtype)
    except MapFrozenError as error:
        event(_log, "failed", logging.ERROR, error=error.sentence)


def _refuse_shortage(queues: Mapping[str, int], slots: Mapping[str, int]) -> None:
    """Raise InterfaceError if an interface has more queues than its xskmap has slots."""
    for name, slot_count in slots.items():
        if shortage := queue_shortage(name, queues[name], slot_count):
            raise InterfaceError(shortage, interface=name)
