"""The program of a configuration: made, tested, put on every interface.

Owns which program is in force. One that cannot be made, or fails its self-test, never comes
near an interface: what a former service left there stays, and is tried to be replaced
later. Made by service/service.py, which says on which thread what blocks is done.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from xdpctl.errors import XdpctlError
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from xdpctl.abi import MapName
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
    """Makes programs and puts them on interfaces.

    Args:
        bpf: the kernel.
        compile_with, self_test: see service.Service.

    Attributes:
        bytecode: of the program in force; None while it is a former service's.
    """

    def __init__(self, bpf: Bpf, compile_with: Compile, self_test: SelfTest) -> None:
        self._bpf = bpf
        self._compile = compile_with
        self._self_test = self_test
        self.bytecode: Bytecode | None = None

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
        """Put the first program on; raises as `Filter.attach`. Blocks."""
        for one in filters:
            one.attach(bytecode, maps_of(one.interface), panic=panic)
            _say("attached", one)
        self.bytecode = bytecode

    def hold(self, filters: Sequence[Filter], why: XdpctlError) -> str:
        """Hold what a former service left, as there is no program of ours. Blocks.

        Returns:
            What is to be said of it, as a sentence.

        Raises:
            XdpctlError: `why`, where nothing was left.
        """
        held = [one for one in filters if one.adopt()]
        if not held:
            raise why
        for one in held:
            _say("held", one)
        event(_log, "program-failed", logging.ERROR, error=why.sentence)
        return (
            "the program of a former service is in force, because there is no new one:"
            f" {why.sentence}"
        )

    def exchange(
        self, bytecode: Bytecode, filters: Sequence[Filter], maps_of: MapsOf, *, panic: bool
    ) -> None:
        """Put a program in the place of the one in force, on all interfaces or none. Blocks.

        Raises:
            XdpctlError: one refuses; the former program is on all.
        """
        for number, one in enumerate(filters):
            try:
                one.swap(bytecode, maps_of(one.interface), panic=panic)
            except XdpctlError:
                if self.bytecode is not None and bytecode is not self.bytecode:
                    self.exchange(self.bytecode, filters[:number], maps_of, panic=panic)
                raise
        self.bytecode = bytecode


def _say(what: str, one: Filter) -> None:
    view = one.view()
    event(
        _log,
        what,
        interface=view.interface,
        mode=view.mode,
        program=view.program_id,
        tag=view.tag,
    )
