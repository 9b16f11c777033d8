"""Keeps the program that sees all processes' TCP connections attached (`--proof cgroup`).

Owns when it is attached, exchanged and removed: it writes to the table of proven sources that is
in force, and is for the ports of the settings. Does not own its link (filter/tcp_proof.py) or that
table (limit_tables.py). A part of the service, made by start.py.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from xdpctl.abi import MapName
from xdpctl.errors import XdpctlError
from xdpctl.process.log import event
from xdpctl.program.config import TcpProofProgram
from xdpctl.service.tasks import every, on_thread
from xdpctl.settings import Proof

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence
    from concurrent.futures import Executor

    from xdpctl.filter.filter import Filter
    from xdpctl.filter.tcp_proof import TcpProof
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.service.limit_tables import LimitTables
    from xdpctl.settings import Settings

    CompileProof = Callable[[TcpProofProgram], Coroutine[None, None, Bytecode]]
    _Wanted = tuple[tuple[int, ...], int, int]

LOOK_SECONDS = 1.0
_MAPS = (MapName.LIMITS, MapName.LIMIT_PROVEN)

_log = logging.getLogger(__name__)


class TcpProofs:
    """The part.

    Args:
        proof: the program and its link.
        compile_with: gives its bytecode.
        limits: the limits in force.
        filters: beside which the link is pinned.
        settings: in force.
        thread: the thread that filters belong to.
    """

    name = "tcp-proofs"
    failures = ()

    def __init__(  # noqa: PLR0913 - what is followed
        self,
        proof: TcpProof,
        compile_with: CompileProof,
        limits: LimitTables,
        filters: Sequence[Filter],
        settings: Settings,
        *,
        thread: Executor,
    ) -> None:
        self._proof = proof
        self._compile = compile_with
        self._limits = limits
        self._filters = filters
        self._settings = settings
        self._thread = thread
        self._attached: _Wanted | None = None
        self.warnings: tuple[str, ...] = ()

    async def begin(self) -> None:
        """Attach it if it is wanted, before anything is limited; else remove a former one.

        Raises:
            XdpctlError: it is wanted and cannot be attached.
        """
        await self._follow(self._wanted())

    def reload(self, settings: Settings) -> None:
        """Follow other settings, at the next look."""
        self._settings = settings

    async def run(self) -> None:
        """Look until cancelled."""
        await every(LOOK_SECONDS, self.look)

    async def look(self) -> None:
        """Attach what is wanted now, and pin it again where it is not pinned."""
        wanted = self._wanted()
        try:
            if wanted != self._attached:
                await self._follow(wanted)
            if wanted is not None:
                await on_thread(self._thread, lambda: self._proof.keep_pins(self._filtered()))
        except XdpctlError as error:
            sentence = (
                f"sources are not proven by TCP connections (--proof cgroup): {error.sentence}"
            )
            if (sentence,) != self.warnings:
                event(_log, "failed", logging.ERROR, error=sentence)
            self.warnings = (sentence,)
        else:
            self.warnings = ()

    async def _follow(self, wanted: _Wanted | None) -> None:
        maps = self._limits.maps.maps
        if wanted is None:
            await on_thread(self._thread, self._proof.remove)
        else:
            bytecode = await self._compile(TcpProofProgram(wanted[0]))
            await on_thread(self._thread, lambda: self._attach(bytecode, maps))
        self._attached = wanted

    def _attach(self, bytecode: Bytecode, maps: Mapping[MapName, Map]) -> None:
        self._proof.attach(bytecode, {name: maps[name] for name in _MAPS}, self._filtered())

    def _wanted(self) -> _Wanted | None:
        """Return what the program is for: ports, and the maps by their ids; None: not wanted."""
        maps = self._limits.maps.maps
        if self._settings.proof is not Proof.CGROUP or not maps.keys() >= {*_MAPS}:
            return None
        head, lines = (maps[name].info.id for name in _MAPS)
        return self._settings.ports, head, lines

    def _filtered(self) -> list[str]:
        return [filter_.interface for filter_ in self._filters if filter_.is_on]
