"""The program that is attached to the service's interfaces, and its replacement.

Owns which threads a rollout runs on, and the retry while a former service's program is attached.
Does not own building, testing and attaching (filter/rollout.py). A part of the service, made by
start.py; reload.py and pin_repair.py call `exchange`.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import KernelError, VerifierError
from xdpctl.program.config import TableProgram, program_config
from xdpctl.service.tasks import on_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from concurrent.futures import Executor

    from xdpctl.abi import MapName
    from xdpctl.filter.dry_run import Decision
    from xdpctl.filter.filter import Filter
    from xdpctl.filter.rollout import Rollout
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig
    from xdpctl.program.datagram import Datagram
    from xdpctl.service.looks import Looks
    from xdpctl.service.panic import PanicSwitch
    from xdpctl.service.program_maps import ProgramMaps
    from xdpctl.settings import Settings

RETRY_SECONDS = 30.0
"""Between two attempts to build a program, while a former service's is attached."""


class CurrentProgram:
    """The attached program.

    Args:
        rollout: builds programs and attaches them.
        filters: one for each interface.
        maps_of: gives the maps that the program on an interface uses.
        panic: asked at each rollout.
        config: what the program is compiled for.
        looks: lets the retry run after a look.
        thread: the thread that filters belong to.
        loader_trouble: gives a sentence where no program can be loaded any more.
        held: why a former service's program is in force; empty where it is not.
        fit: gives the configuration that this kernel takes.

    Attributes:
        changing: held by who builds another program and then puts it on, so that two of
            them do not undo each other's change.
        maps_of: what the program reads now.
    """

    name = "program"
    warnings = ()

    def __init__(  # noqa: PLR0913 - the parts of the whole
        self,
        rollout: Rollout,
        filters: Sequence[Filter],
        maps_of: ProgramMaps,
        *,
        panic: PanicSwitch,
        config: ProgramConfig,
        looks: Looks,
        thread: Executor,
        loader_trouble: Callable[[], str],
        held: str,
        fit: Callable[[ProgramConfig], ProgramConfig] = lambda config: config,
    ) -> None:
        self._rollout = rollout
        self._filters = filters
        self.maps_of = maps_of
        self._panic = panic
        self._config = config
        self._looks = looks
        self._thread = thread
        self._loader_trouble = loader_trouble
        self._held = held
        self._fit = fit
        self._exchanging = asyncio.Lock()
        self.changing = asyncio.Lock()
        self._next_try = time.monotonic() + RETRY_SECONDS

    @property
    def failures(self) -> tuple[str, ...]:
        """Sentences: a former service's program is attached, or no program can be loaded."""
        found = (self._held, self._loader_trouble())
        return tuple(sentence for sentence in found if sentence)

    @property
    def is_ours(self) -> bool:
        """Whether the attached program is this service's."""
        return self._rollout.bytecode is not None

    def bcc(self) -> str:
        """Return the version of BCC that compiled the attached program."""
        bytecode = self._rollout.bytecode
        return "unknown" if bytecode is None else bytecode.bcc

    def reload(self, settings: Settings) -> None:
        """Build for these settings from now on; a reload has exchanged the program before."""
        self._config = self.config_for(settings)

    def config_for(self, settings: Settings) -> ProgramConfig:
        """Return what a program for these settings is compiled for, over the present tables."""
        return self._fit(replace(program_config(settings), tables=self._config.tables))

    def wanted_later(self) -> tuple[ProgramConfig | TableProgram, ...]:
        """Return what the first zone or list rule compiles; nothing if that was compiled."""
        if self._config.tables or not self.is_ours:
            return ()
        return replace(self._config, tables=True), TableProgram()

    async def build_with(self, *, tables: bool) -> Bytecode | None:
        """Return the tested program that reads our own tables or not; None: it is in force.

        Raises:
            XdpctlError: it cannot be built.
        """
        return await self.prepare(replace(self._config, tables=tables))

    async def exchange_tables(
        self, bytecode: Bytecode | None, tables: Mapping[MapName, Map]
    ) -> None:
        """Put on a program over other tables; on all interfaces or none.

        Args:
            bytecode: as `build_with` gave it, with tables or without.
            tables: their maps; empty: there are none any more.

        Raises:
            XdpctlError: an interface refuses; the former program and maps are in force.
        """
        await self.exchange(bytecode, self.maps_of.with_tables(tables))
        self._config = replace(self._config, tables=bool(tables))

    async def decide(
        self, interface: str, packet: Callable[[ProgramConfig], Datagram]
    ) -> tuple[Datagram, Decision, Decision]:
        """Return a packet, what is decided about it now, and what without a panic.

        Args:
            interface: the service's.
            packet: gives the packet, for the configuration of the program in force.

        Raises:
            XdpctlError: as `Rollout.decide`.
        """
        async with self._exchanging:  # no other program or table is put on meanwhile
            datagram, panic = packet(self._config), self._panic.is_on()
            frame = datagram.frame()

            def run() -> tuple[Decision, Decision]:
                without = self._rollout.decide(interface, frame, panic=False)
                now = self._rollout.decide(interface, frame, panic=True) if panic else without
                return now, without

            return datagram, *await asyncio.to_thread(run)

    async def run(self) -> NoReturn:
        """Retry while a former service's program is attached; runs until cancelled."""
        await self._looks.after_each(self._retry)

    async def _retry(self) -> None:
        now = time.monotonic()
        if not self.is_ours and now >= self._next_try:
            self._next_try = now + RETRY_SECONDS
            await self.exchange()

    def put_on(self, bytecode: Bytecode, awaited: Collection[Filter]) -> None:
        """Attach the first program; if the kernel refuses it, keep a former service's. Blocks.

        Args:
            bytecode: the program.
            awaited: the filters whose interface need not exist yet.

        Raises:
            XdpctlError: the kernel refuses, and a former service has left nothing.
        """
        there = [filter_ for filter_ in self._filters if filter_ not in awaited]
        later = [filter_ for filter_ in self._filters if filter_ in awaited]
        panic = self._panic.is_on()
        try:
            self._rollout.install(bytecode, there, self.maps_of, panic=panic)
            self._rollout.exchange(bytecode, later, self.maps_of, panic=panic)
        except (VerifierError, KernelError) as error:
            self._held = self._rollout.hold(
                [filter_ for filter_ in there if not filter_.is_on], error
            )

    async def prepare(self, config: ProgramConfig) -> Bytecode | None:
        """Return the tested program that a reload needs; None if the attached one fits.

        Raises:
            XdpctlError: it cannot be built.
        """
        if self.is_ours and config == self._config:
            return None
        return await self._rollout.build(config)

    async def exchange(
        self, bytecode: Bytecode | None = None, maps_of: ProgramMaps | None = None
    ) -> None:
        """Put another program on, or the same one over other maps; on all interfaces or none.

        Args:
            bytecode: the program; None: the one in force.
            maps_of: gives the maps of an interface from now on; None: as before.

        Raises:
            XdpctlError: it cannot be built, or an interface refuses it.
        """
        async with self._exchanging:  # what is in force is asked when no other is under way
            wanted = bytecode or self._rollout.bytecode
            if wanted is None:
                wanted = await self._rollout.build(self._config)
            program, maps, panic = wanted, maps_of or self.maps_of, self._panic.is_on()
            await on_thread(
                self._thread,
                lambda: self._rollout.exchange(program, self._filters, maps, panic=panic),
            )
            self.maps_of = maps
            self._held = ""
