"""Takes samples from the filter while somebody looks, and gives them to the hub.

Owns the maps of the samples, which the programs on all interfaces share, when sampling begins and
ends, and the thread on which samples are read: it lives as long as somebody looks. Where the
kernel gives no maps, or refuses a program that samples, the service runs without samples and says
so. Does not own the arithmetic (samples/sampler.py) or who looks (samples/hub.py). A part of the
service, made by start.py before the program is loaded.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn, Self

from xdpctl.abi import MAPS, SAMPLE_HEADER_SIZE, MapName, Scope, names_of
from xdpctl.errors import XdpctlError
from xdpctl.filter.own_maps import OwnMaps
from xdpctl.kernel.bpf.ring import RingReader, record_size, ring_size
from xdpctl.process.clock import ticks_a_second
from xdpctl.process.log import event
from xdpctl.process.threads import one_thread
from xdpctl.samples.addresses import Truncation
from xdpctl.samples.hub import Hub
from xdpctl.samples.reader import SampleReader
from xdpctl.samples.sampler import EPOCH_SECONDS, Sampler
from xdpctl.service.tasks import on_thread

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Executor

    from xdpctl.abi import Stratum
    from xdpctl.filter.filter import Filter
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.program.config import ProgramConfig
    from xdpctl.samples.sample import Sample
    from xdpctl.settings import Settings

READ_SECONDS = 0.1
RETRY_SECONDS = 5.0
"""After samples could not be read."""

_RING_SECONDS = 0.5
_RING_LEAST, _RING_MOST = 1 << 16, 1 << 24
"""The ring buffer holds what comes in so many seconds, within these sizes."""

_OFF = "the settings say sample-budget = 0: give it a number, such as 2000, and reload"

_log = logging.getLogger(__name__)


class Samples:
    """The part. A context manager that closes the maps at its end.

    Args:
        bpf: the kernel.
        settings: in force.

    Attributes:
        hub: those who look.
        maps: what the program in force reads; empty where none is sampled.
        filters: of the service, one for each interface.
        lost: asked how many samples the filters had no room for.
    """

    name = "samples"
    failures = ()

    def __init__(self, bpf: Bpf, settings: Settings) -> None:
        self._bpf = bpf
        self._settings = settings
        self._refused = ""
        self._failed = ""
        self.hub = Hub()
        self.maps: OwnMaps = OwnMaps()
        self.filters: Sequence[Filter] = ()
        self.lost: Callable[[], int] = int

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.maps.close()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences: why there are no samples, though they are wanted."""
        trouble = self._refused or self._failed
        return (f"no packets are sampled: {trouble}",) if trouble else ()

    # --- the maps, and what the program is compiled for ---------------------------------

    def begin(self, config: ProgramConfig) -> ProgramConfig:
        """Make the maps of the first program; return what it is to be compiled for. Blocks."""
        try:
            self.use(self.prepare(self._settings, config), self._settings)
        except XdpctlError as error:
            self.refuse(error)
        return self.fit(config)

    def refuse(self, why: XdpctlError) -> None:
        """Sample nothing until the service is started again."""
        event(_log, "warning", logging.WARNING, text=f"no packets are sampled: {why.sentence}")
        self._refused = why.sentence
        self.use(OwnMaps(), self._settings)

    def fit(self, config: ProgramConfig) -> ProgramConfig:
        """Return the configuration that this kernel takes."""
        return replace(config, samples=0) if self._refused else config

    def prepare(self, settings: Settings, config: ProgramConfig) -> OwnMaps:
        """Return the maps for other settings: those in force if they fit. Blocks.

        Raises:
            KernelError: one cannot be made.
        """
        if not config.samples:
            return self.maps if not self.maps else OwnMaps()
        wanted = _ring_octets(settings.sample_budget, config.samples)
        ring = self.maps.get(MapName.SAMPLES)
        if ring is not None and ring.info.max_entries == wanted:
            return self.maps
        made = {}
        with ExitStack() as stack:
            for name in names_of(Scope.SAMPLES):
                entries = wanted if name is MapName.SAMPLES else MAPS[name].entries
                made[name] = stack.enter_context(self._bpf.create_map(MAPS[name], entries))
            stack.pop_all()
        return OwnMaps(made)

    def discard(self, maps: OwnMaps) -> None:
        """Close maps that are not used."""
        if maps is not self.maps:
            maps.close()

    def use(self, maps: OwnMaps, settings: Settings) -> None:
        """Read samples from these maps from now on: the program does, too."""
        former, self.maps = self.maps, maps
        self._settings = settings
        if former is not maps:
            former.close()
        if maps:
            self.hub.open()
        else:
            self.hub.close(self._refused or _OFF)

    # --- the part -----------------------------------------------------------------------

    def reload(self, settings: Settings) -> None:
        """Use another budget, length or truncation, with the next samples."""
        self._settings = settings

    async def run(self) -> NoReturn:
        """Sample while somebody looks, until cancelled."""
        try:
            while True:
                await self.hub.wanted.wait()
                await self._try_to_sample()
        finally:
            self.hub.close("the service stops")

    async def _try_to_sample(self) -> None:
        """Sample until nobody looks, or other settings are in force."""
        if not self.maps:  # the last readers are about to notice
            await asyncio.sleep(READ_SECONDS)
            return
        try:
            with one_thread("samples") as thread:
                await self._sample(thread)
            self._failed = ""
        except XdpctlError as error:
            self._failed = error.sentence
            event(_log, "failed", logging.ERROR, error=self.warnings[0])
            self.hub.close(error.sentence)
            await asyncio.sleep(RETRY_SECONDS)
            if self.maps:
                self.hub.open()

    async def _sample(self, thread: Executor) -> None:
        maps, settings = self.maps, self._settings
        session = await on_thread(thread, lambda: _Session(maps, settings, self._names))
        known = self.lost()
        try:
            while self.hub.wanted.is_set() and (maps, settings) == (self.maps, self._settings):
                await asyncio.sleep(READ_SECONDS)
                until = time.time()
                samples = await on_thread(thread, session.read)
                lost = self.lost()
                self.hub.deliver(samples, max(0, lost - known), until)
                known = lost
        finally:
            session.close()

    def _names(self) -> Mapping[int, str]:
        return {
            index: filter_.interface
            for filter_ in self.filters
            if (index := filter_.index) is not None
        }


class _Session:
    """Sampling from when somebody looks to when nobody does. Writes and copies memory only.

    Args:
        maps: the ring buffer and its state.
        settings: how much is sampled, and how much of it is kept.
        names: of interfaces, by their index.

    Raises:
        KernelError: the kernel does not map a map's memory.
    """

    def __init__(
        self,
        maps: Mapping[MapName, Map],
        settings: Settings,
        names: Callable[[], Mapping[int, str]],
    ) -> None:
        self._sampler = Sampler(maps[MapName.SAMPLE_STATE].memory(), ticks_a_second())
        self._ring = RingReader(maps[MapName.SAMPLES])
        kept = settings.sample_addresses
        self._reader = SampleReader(
            self._ring,
            names,
            length=settings.sample_length,
            truncation=None if kept is None else Truncation(*kept),
        )
        self._seen: Counter[Stratum] = self._reader.taken.copy()
        self._ring.skip()  # what nobody looked at any more
        self._sampler.allow(settings.sample_budget)
        self._sampler.begin()
        self._next_look = time.monotonic() + EPOCH_SECONDS
        self._full = False

    def read(self) -> list[Sample]:
        """Return the samples that have come; see to it that there are neither too many nor few."""
        samples = self._reader.read()
        self._full |= self._ring.full
        if time.monotonic() >= self._next_look:
            self._next_look = time.monotonic() + EPOCH_SECONDS
            self._sampler.look(self._reader.taken - self._seen, full=self._full)
            self._full = False
            self._seen = self._reader.taken.copy()
        return samples

    def close(self) -> None:
        """End sampling."""
        self._sampler.end()
        self._ring.close()


def _ring_octets(budget: int, length: int) -> int:
    wanted = round(_RING_SECONDS * budget * record_size(SAMPLE_HEADER_SIZE + length))
    return ring_size(min(max(wanted, _RING_LEAST), _RING_MOST))
