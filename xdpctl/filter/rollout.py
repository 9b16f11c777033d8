"""Builds and tests the program of a configuration, and attaches it to every interface.

Owns which program is in force. A program that cannot be built, or fails its self-test, is never
attached: what a former service left there stays, and the service tries again later. Made by
service/resources.py; service/current_program.py chooses the thread for blocking calls. Does not
own compiling and testing (program/) or attaching (filter.py).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.filter.dry_run import decide
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from xdpctl.abi import MapName
    from xdpctl.filter.dry_run import Decision
    from xdpctl.filter.filter import Filter
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig

    Compile = Callable[[ProgramConfig], Coroutine[None, None, Bytecode]]
    SelfTest = Callable[[Bpf, ProgramConfig, Bytecode], None]
    MapsOf = Callable[[str], Mapping[MapName, Map]]

_log = logging.getLogger(__name__)


class Rollout:
    """Builds programs and attaches them to interfaces.

    Args:
        bpf: the kernel.
        compile_with, self_test: see service.Service.

    Attributes:
        bytecode: of the program in force; None while a former service's is in force.
        maps_of: gives the maps that it refers to on an interface.
    """

    def __init__(self, bpf: Bpf, compile_with: Compile, self_test: SelfTest) -> None:
        self._bpf = bpf
        self._compile = compile_with
        self._self_test = self_test
        self.bytecode: Bytecode | None = None
        self.maps_of: MapsOf | None = None

    async def build(self, config: ProgramConfig) -> Bytecode:
        """Return the tested program of a configuration.

        Raises:
            CompilerError, VerifierError, SelfTestError, KernelError: there is none.
        """
        bytecode = await self._compile(config)
        await asyncio.to_thread(self._self_test, self._bpf, config, bytecode)
        return bytecode

    def install(
        self, bytecode: Bytecode, filters: Sequence[Filter], maps_of: MapsOf, *, panic: bool
    ) -> None:
        """Attach the first program; raises as `Filter.attach`. Blocks."""
        for attached in filters:
            attached.attach(bytecode, maps_of(attached.interface), panic=panic)
            _log_state("attached", attached)
        self.bytecode, self.maps_of = bytecode, maps_of

    def hold(self, filters: Sequence[Filter], why: XdpctlError) -> str:
        """Hold what a former service left, because there is no program of ours. Blocks.

        Returns:
            A sentence for operators.

        Raises:
            XdpctlError: `why`, if nothing was left.
        """
        held = [candidate for candidate in filters if candidate.adopt()]
        if not held:
            raise why
        for adopted in held:
            _log_state("held", adopted)
        event(_log, "program-failed", logging.ERROR, error=why.sentence)
        return (
            "the program of a former service is in force, because there is no new one:"
            f" {why.sentence}"
        )

    def decide(self, interface: str, frame: bytes, *, panic: bool) -> Decision:
        """Return what the program in force decides about a frame (dry_run.py). Blocks.

        Raises:
            XdpctlError: the program in force is a former service's, or the kernel refuses.
        """
        if self.bytecode is None or self.maps_of is None:
            raise XdpctlError(
                "cannot test a packet: the program in force is a former service's, which this"
                " service cannot load a second time; see `xdpctl status`"
            )
        return decide(self._bpf, self.bytecode, self.maps_of(interface), frame, panic=panic)

    def exchange(
        self, bytecode: Bytecode, filters: Sequence[Filter], maps_of: MapsOf, *, panic: bool
    ) -> None:
        """Replace the program in force, or its maps, on all interfaces or on none. Blocks.

        Raises:
            XdpctlError: one interface refuses; the former program is on all.
        """
        for number, running in enumerate(filters):
            try:
                running.swap(bytecode, maps_of(running.interface), panic=panic)
            except XdpctlError:
                former, former_maps_of = self.bytecode, self.maps_of
                is_other = (bytecode, maps_of) != (former, former_maps_of)
                if former is not None and former_maps_of is not None and is_other:
                    self.exchange(former, filters[:number], former_maps_of, panic=panic)
                raise
        self.bytecode, self.maps_of = bytecode, maps_of


def _log_state(what: str, filtering: Filter) -> None:
    view = filtering.view()
    event(
        _log,
        what,
        interface=view.interface,
        mode=view.mode,
        program=view.program_id,
        tag=view.tag,
    )
