"""The program that is attached to the service's interfaces, and its replacement.

Owns which threads a rollout runs on, and the retry while a former service's program is attached.
Does not own building, testing and attaching (filter/rollout.py). A part of the service, made by
start.py; reload.py and pin_repair.py call `exchange`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NoReturn

from xdpctl.errors import KernelError, VerifierError
from xdpctl.program.config import program_config
from xdpctl.service.tasks import on_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from concurrent.futures import Executor

    from xdpctl.abi import MapName
    from xdpctl.filter.filter import Filter
    from xdpctl.filter.rollout import Rollout
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import ProgramConfig
    from xdpctl.service.looks import Looks
    from xdpctl.service.panic import PanicSwitch
    from xdpctl.settings import Settings

RETRY_SECONDS = 30.0
"""Between two attempts to build a program, while a former service's is attached."""


class CurrentProgram:
    """The attached program.

    Args:
        rollout: builds programs and attaches them.
        filters: one for each interface.
        maps_of: returns the maps that the program on an interface uses.
        panic: read at each rollout.
        settings: the settings of the start.
        looks: lets the retry run after a look.
        thread: the thread that filters belong to.
        loader_trouble: returns a sentence if the loader has ended, else an empty text.
        held: why a former service's program is still attached; empty if it is not.
    """

    name = "program"
    warnings = ()

    def __init__(  # noqa: PLR0913 - the parts of the whole
        self,
        rollout: Rollout,
        filters: Sequence[Filter],
        maps_of: Callable[[str], Mapping[MapName, Map]],
        *,
        panic: PanicSwitch,
        settings: Settings,
        looks: Looks,
        thread: Executor,
        loader_trouble: Callable[[], str],
        held: str,
    ) -> None:
        self._rollout = rollout
        self._filters = filters
        self._maps_of = maps_of
        self._panic = panic
        self._config = program_config(settings)
        self._looks = looks
        self._thread = thread
        self._loader_trouble = loader_trouble
        self._held = held
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
        """Use these settings for later builds; the reload has already replaced the program."""
        self._config = program_config(settings)

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
            self._rollout.install(bytecode, there, self._maps_of, panic=panic)
            self._rollout.exchange(bytecode, later, self._maps_of, panic=panic)
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

    async def exchange(self, bytecode: Bytecode | None = None) -> None:
        """Attach another program, or the same one with other maps, to all interfaces or none.

        Raises:
            XdpctlError: it cannot be built, or an interface refuses it.
        """
        wanted = bytecode or self._rollout.bytecode
        if wanted is None:
            wanted = await self._rollout.build(self._config)
        program, panic = wanted, self._panic.is_on()
        await on_thread(
            self._thread,
            lambda: self._rollout.exchange(program, self._filters, self._maps_of, panic=panic),
        )
        self._held = ""
