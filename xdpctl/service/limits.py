"""Follows the limits while the service runs: what acts, how full the tables are, who is proven.

Owns the looks, the log lines and warnings, and the question whether the DNS server answers over
TCP, where a limit sends honest clients. Does not own the maps (limit_tables.py), the exchange of
the program (reload.py) or the arithmetic (limits/). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, NoReturn

from xdpctl.abi import PacketAction, Reason, TallyRow
from xdpctl.errors import ConflictError, XdpctlError
from xdpctl.filter.view import FilterState
from xdpctl.limits.acting import ActingLimits
from xdpctl.limits.listeners import answers
from xdpctl.limits.table import LOAD_WARNING, warnings_of
from xdpctl.limits.view import Events, LimitsView
from xdpctl.process.log import event
from xdpctl.service.limit_tables import say_forgotten
from xdpctl.service.tasks import every, on_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Executor
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.kernel.net.interfaces import Netlink
    from xdpctl.limits.acting import Acting
    from xdpctl.limits.proven import ProvenSources
    from xdpctl.program.config import ProgramConfig
    from xdpctl.service.account import Account
    from xdpctl.service.limit_tables import LimitTables, Prepared
    from xdpctl.service.zone_limits import ZoneLimits
    from xdpctl.settings import Settings
    from xdpctl.status.observer import Observer

LOOK_SECONDS = 1.0
CARE_SECONDS = 10.0
"""Between two looks into the tables, and two attempts to connect to the DNS server."""

UNSEEN_PROOFS = 20
"""So many connections are looked for in vain before that is said: a few are always forged."""

BAD_COOKIES = 100
"""The same of cookies: a few are always of former secrets."""

HISTORY_SECONDS = 600.0
"""A limit that acts again and again has one row of the history for so long."""

_log = logging.getLogger(__name__)


class Limits:
    """The limits.

    Args:
        tables: the limits in force.
        settings: that they are in force for.
        observer: has the counters of packets.
        netlink: knows this host's addresses.
        account: writes the history, on `note_thread`.
        thread: the thread that filters belong to.
        zones: the limits of zones, shown with the others.
        clock: seconds of a monotonic clock.
    """

    name = "limits"
    failures = ()

    def __init__(  # noqa: PLR0913 - what is followed
        self,
        tables: LimitTables,
        settings: Settings,
        observer: Observer,
        netlink: Netlink,
        account: Account,
        *,
        thread: Executor,
        note_thread: Executor,
        zones: ZoneLimits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._zones = zones
        self.tables = tables
        self._settings = settings
        self._observer = observer
        self._netlink = netlink
        self._account = account
        self._thread = thread
        self._note_thread = note_thread
        self._clock = clock
        self._acting = ActingLimits()
        self._acting.configured = _configured(settings)
        self._noted: dict[str, float] = {}
        self._load = 0.0
        self._proven: int | None = None
        self._listeners: dict[int, bool] = {}
        self._former: dict[TallyRow, Events] = {}  # of the former service or secrets
        self._said: set[str] = set()
        self.warnings: tuple[str, ...] = tuple(self._sentences())
        self._warn()

    # --- another configuration ----------------------------------------------------------

    async def prepare(self, settings: Settings, config: ProgramConfig) -> Prepared:
        """Make what other settings need; raises as `LimitTables.prepare`."""
        return await on_thread(self._thread, lambda: self.tables.prepare(settings, config))

    async def use(self, prepared: Prepared) -> bool:
        """Put it in force; return whether the secrets of cookies are others."""
        former = self.tables.keys
        await on_thread(self._thread, lambda: self.tables.use(prepared))
        self._settings = prepared.settings
        self._acting.configured = _configured(prepared.settings)
        if former != prepared.keys:
            self._count_again(TallyRow.COOKIES)
        self._warn()
        say_forgotten(prepared)
        await self._look_into()
        return former != prepared.keys

    async def discard(self, prepared: Prepared) -> None:
        """Give up what was prepared."""
        await on_thread(self._thread, lambda: self.tables.discard(prepared))

    def reload(self, settings: Settings) -> None:
        """Do nothing: the reload itself calls `prepare` and `use`."""

    # --- all the time -------------------------------------------------------------------

    async def run(self) -> None:
        """Look until cancelled; what was counted before the start does not act now.

        Nor is it warned of: the former service may have had other secrets, or another --proof.
        """
        self._follow()
        self._count_again(*TallyRow)
        async with asyncio.TaskGroup() as group:
            group.create_task(every(LOOK_SECONDS, self._look), name="limits-look")
            group.create_task(self._care(), name="limits-care")

    async def _look(self) -> None:
        """See which limits act, and keep the clock of cookies right."""
        began, ended = self._follow()
        for acting in ended:  # first: a limit whose dry run has ended begins again at once
            await self._note(acting, "limit-ended")
        for acting in began:
            await self._note(acting, "limit-acts")
        if await on_thread(self._thread, self.tables.set_clock):
            event(_log, "cookie-clock-set")

    def _follow(self) -> tuple[list[Acting], list[Acting]]:
        """Take the counters of the last snapshot; return which limits began, and which ended."""
        last = self._observer.last
        return self._acting.after(last.taken, [view.counters for view in last.filters])

    async def _note(self, acting: Acting, verb: str) -> None:
        """Log that a limit began to act or has ended, and put it into the history."""
        now, detail = self._clock(), acting.reason.label
        if acting.dry_run:
            detail += " (dry run)"
        kept = verb == "limit-ended" or now >= self._noted.get(detail, now)
        if kept:
            self._noted[detail] = now + HISTORY_SECONDS
        if verb == "limit-ended":
            detail += f" for {acting.last - acting.since:.0f} s"
        await on_thread(
            self._note_thread,
            lambda: self._account.limited(verb, detail, acting.total, kept=kept),
        )

    async def _care(self) -> NoReturn:
        while True:
            try:
                await self._look_into()
                await self._ask_listeners()
            except XdpctlError as error:
                event(_log, "failed", logging.ERROR, error=error.sentence)
            await asyncio.sleep(CARE_SECONDS)

    async def _look_into(self) -> None:
        """See how full the tables are; this host's own addresses are not proven for good."""

        def look() -> tuple[float, int | None]:
            proven = self.tables.proven
            if proven is not None:
                proven.unprove_own(self._netlink.local_addresses())
            return self.tables.load(), None if proven is None else proven.count()

        self._load, self._proven = await on_thread(self._thread, look)
        self.warnings = tuple(self._sentences())

    async def _ask_listeners(self) -> None:
        """Connect to the DNS server's ports, where a limit sends clients there, or would."""
        would = self._settings.rate_limit_dry_run and self._settings.rate_limit_slip
        sends = any(acting.packets.get(PacketAction.TRUNCATE) for acting in self.acting)
        if not sends and not (would and self.acting):
            return
        local = await on_thread(self._thread, self._netlink.local_addresses)
        for port in self._settings.ports:
            is_up = await answers(self._served(local), port)
            if is_up != self._listeners.get(port, True):
                name, level = ("tcp-answers", logging.INFO) if is_up else _TCP_SILENT
                event(_log, name, level, port=port)
            self._listeners[port] = is_up
        self.warnings = tuple(self._sentences())

    def _served(
        self, local: Sequence[IPv4Address | IPv6Address]
    ) -> list[IPv4Address | IPv6Address]:
        """Return this host's addresses at which the DNS server may be, the likely ones first."""
        wanted = self._settings.addresses
        found = [
            address
            for address in local
            if not address.is_link_local
            and (not wanted or any(address in network for network in wanted))
        ]
        return sorted(found, key=lambda address: address.is_loopback)

    def _warn(self) -> None:
        """Log what is to be known about the settings, each sentence once."""
        for sentence in warnings_of(self._settings):
            if sentence not in self._said:
                self._said.add(sentence)
                event(_log, "warning", logging.WARNING, text=sentence)

    def _sentences(self) -> Iterator[str]:
        yield from warnings_of(self._settings)
        if self._load > LOAD_WARNING:
            yield (
                f"{100 * self._load:.0f} % of the table of --rate-limit are in use: honest sources"
                f" begin to be limited too; use --rate-limit-table {2 * self.tables.words}, or a"
                " lower --flood-limit"
            )
        proofs, cookies = self._since(TallyRow.PROOFS), self._since(TallyRow.COOKIES)
        if self._proven is not None and not proofs.found and proofs.missed >= UNSEEN_PROOFS:
            yield (
                f"nobody can prove himself: of {proofs.missed} TCP connections none was found, as"
                " the DNS server's sockets are in another network namespace (a container with a"
                " mapped port), or all were forged: if it is in a container, use --proof cgroup"
            )
        if self.tables.keys and not cookies.found and cookies.missed >= BAD_COOKIES:
            yield (
                f"none of {cookies.missed} DNS cookies was good: the DNS server makes them with"
                " another secret than --cookie-secret-file has, or a proxy such as dnsdist is in"
                " front of it, whose address is in them then, or all were forged"
            )
        would = " when the dry run has ended" if self._settings.rate_limit_dry_run else ""
        for port, is_up in self._listeners.items():
            if not is_up and port in self._settings.ports:
                yield (
                    f"no server of this host answers on TCP port {port}: a limit sends honest"
                    f" clients there with TC=1{would}; start it, or allow TCP in its configuration"
                )

    # --- for others ---------------------------------------------------------------------

    @property
    def acting(self) -> tuple[Acting, ...]:
        """The limits that act now."""
        return self._acting.now

    def view(self) -> LimitsView:
        """Return everything as one value."""
        return LimitsView(
            settings=self._settings,
            words=self.tables.words,
            load=self._load,
            proven=self._proven,
            room=self.tables.room,
            proofs=self._events(TallyRow.PROOFS),
            cookies=self._events(TallyRow.COOKIES),
            secrets=len(self.tables.keys),
            acting=self.acting,
            listeners=dict(self._listeners),
            taken=self._clock(),
            warnings=(
                *self._observer.last.without_effect,
                *self.warnings,
                *(self._zones.warnings if self._zones else ()),
            ),
            zones=self._zones.zones() if self._zones else (),
            heavy=self._zones.heavy if self._zones else (),
            off=self._off(),
            listed=self.tables.listed,
        )

    def _off(self) -> str:
        """Return why no limit can act now."""
        last = self._observer.last
        on = any(view.state is FilterState.ATTACHED for view in last.filters)
        return "; ".join(last.without_effect) if last.panic or not on else ""

    def _events(self, tally: TallyRow) -> Events:
        """Return how often the filters looked for a proof or a cookie."""
        tallies = [view.tallies for view in self._observer.last.filters]
        found, missed = (
            sum(each.get((tally, good), 0) for each in tallies) for good in (True, False)
        )
        return Events(found, missed)

    def _count_again(self, *tallies: TallyRow) -> None:
        """Let `_since` begin at what is counted by now."""
        self._former |= {tally: self._events(tally) for tally in tallies}

    def _since(self, tally: TallyRow) -> Events:
        """Return the same as `_events` since the start, or since other secrets."""
        counted, former = self._events(tally), self._former.get(tally, Events())
        if counted.found < former.found or counted.missed < former.missed:
            former = Events()  # a filter was taken off, and its counters with it
        return Events(counted.found - former.found, counted.missed - former.missed)

    async def prove(self, addresses: Sequence[IPv4Address | IPv6Address]) -> int:
        """Let sources count as proven from now on; return how many were not before.

        Raises:
            ConflictError: no limit asks whether a source is proven, or one is this host itself.
        """

        def prove(table: ProvenSources) -> int:
            own = {*addresses}.intersection(self._netlink.local_addresses())
            if found := [str(address) for address in own if address.version == 4]:  # noqa: PLR2004
                raise ConflictError(
                    f"cannot prove {found[0]}: it is this host's own, and such a proof is never"
                    " kept; nothing was changed; use the setting exempt for it"
                )
            fresh = 0
            for address in addresses:
                fresh += not table.is_proven(address)
                table.prove(address)
            return fresh

        return await self._with_proven(prove)

    async def unprove(self, addresses: Sequence[IPv4Address | IPv6Address]) -> int:
        """Let sources count as unproven; return how many were proven. Raises as `prove`."""
        return await self._with_proven(lambda table: table.unprove_all(addresses))

    async def _with_proven(self, function: Callable[[ProvenSources], int]) -> int:
        def work() -> int:
            table = self.tables.proven
            if table is None:
                raise ConflictError(
                    "no limit asks whether a source is proven: set --flood-limit, or --rate-limit"
                    " with a --proven-factor above 1"
                )
            return function(table)

        done = await on_thread(self._thread, work)
        await self._look_into()
        return done


def _configured(settings: Settings) -> frozenset[Reason]:
    """Return the limits that may act."""
    wanted = {
        Reason.LIMIT: settings.rate_limit,
        Reason.UNPROVEN: settings.flood_limit,
        Reason.ZONE_LIMIT: settings.zones,
    }
    return frozenset(reason for reason, is_wanted in wanted.items() if is_wanted)


_TCP_SILENT = ("tcp-silent", logging.WARNING)
