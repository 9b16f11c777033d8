"""What streams show of samples, made once for all that show the same.

Ten pages and some `top --live` ask for the same sums: the first that asks has them summed up, the
others join, and with the last that leaves they end. Where several streams send each sample, its
line is made once. Owns who shares what, and how often sums are shown. Does not own samples
(service/watch.py), the arithmetic (samples/talkers.py) or what is sent (streams.py). One of a
service, made by its backend. Everything here runs on the loop, and lets others have their turn
after each millisecond of work.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from xdpctl.errors import public
from xdpctl.http.api.sample_documents import sample_out, talkers_out
from xdpctl.samples.talkers import SAMPLES_MAX, Talkers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from xdpctl.http.api.sample_documents import TalkersOut
    from xdpctl.http.api.sample_view import SampleView, SeenSamples
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.samples.selection import Selection
    from xdpctl.samples.talkers import By

    Seen = tuple[Sample, Packet]

TELL_SECONDS = 1.0
BEHIND_SECONDS = 0.2
"""How much later than its packet a sample may come."""

FORGOTTEN_AT_ONCE = 40
"""Samples that are forgotten before others on the loop have their turn."""

LEAST_SAMPLES = 4_000
"""What sums may keep at least; SAMPLES_MAX is for those of all streams and requests together."""

LINES_MAX = 1_024
"""Lines that are kept for others who send the same samples."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is summed up: streams that want the same share it.

    Attributes:
        by: the dimensions.
        seconds: how long a packet counts.
        count: keys of each dimension at most.
    """

    selection: Selection
    by: tuple[By, ...]
    seconds: int
    count: int


class SharedSamples:
    """Sums and lines for all streams.

    Args:
        view: gives the samples.
    """

    def __init__(self, view: SampleView) -> None:
        self._view = view
        self._sums: dict[Wanted, _Sums] = {}
        self._alone: list[Talkers] = []
        self._senders = 0
        self._lines: dict[tuple[int, bool], tuple[Sample, bytes]] = {}
        self._making = asyncio.Lock()
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def sums(self, wanted: Wanted) -> AsyncIterator[AsyncIterator[TalkersOut]]:
        """Give the sums of now, once a second, until no samples are taken any more.

        Raises:
            NoSamplesError: none are taken; the sentence says why.
            ReadersError: too many look already.
        """
        shared = self._sums.get(wanted)
        if shared is None or shared.ended:
            shared = _Sums(self._view.kept_bits, wanted, self._turn)
            await shared.begin(self._view)
            self._sums[wanted] = shared
            self._share_room()
        shared.readers += 1
        try:
            yield shared.documents()
        finally:
            shared.readers -= 1
            if not shared.readers:
                if self._sums.get(wanted) is shared:
                    del self._sums[wanted]
                self._share_room()
                await shared.end()

    @contextmanager
    def alone(self, talkers: Talkers) -> Iterator[None]:
        """Let sums that nobody shares have their part of the memory, for the time of a block."""
        self._alone.append(talkers)
        self._share_room()
        try:
            yield
        finally:
            self._alone.remove(talkers)
            self._share_room()

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[None]:
        """Count one who sends each sample, for the time of a block."""
        self._senders += 1
        try:
            yield
        finally:
            self._senders -= 1
            if self._senders <= 1:
                self._lines.clear()

    async def lines(self, seen: Sequence[Seen], *, frames: bool) -> list[bytes]:
        """Return each sample as JSON, with the rule that decided where it is known.

        Args:
            seen: few of them: what is done here is not interrupted.
            frames: with the octets of the packets.
        """
        if self._senders <= 1:
            return await self._made(seen, frames=frames)
        async with self._making:
            found = [self._lines.get((id(sample), frames)) for sample, _ in seen]
            missing = [
                pair
                for pair, line in zip(seen, found, strict=True)
                if line is None or line[0] is not pair[0]
            ]
            made = iter(await self._made(missing, frames=frames))
            if len(self._lines) + len(missing) > LINES_MAX:
                self._lines.clear()
            lines = []
            for (sample, _), line in zip(seen, found, strict=True):
                if line is None or line[0] is not sample:
                    line = self._lines[id(sample), frames] = sample, next(made)  # noqa: PLW2901
                lines.append(line[1])
            await asyncio.sleep(0)  # so that the other senders wait for another turn of the loop
            return lines

    async def _made(self, seen: Sequence[Seen], *, frames: bool) -> list[bytes]:
        rules = await self._view.rules_of(seen)
        kept = self._view.kept_bits
        return [
            msgspec.json.encode(
                sample_out(
                    *pair, None if rule is None else (rule.target, rule.origin), kept, frame=frames
                ),
                enc_hook=public,
            )
            for pair, rule in zip(seen, rules, strict=True)
        ]

    def _share_room(self) -> None:
        every = [*(shared.talkers for shared in self._sums.values()), *self._alone]
        for talkers in every:
            talkers.most_samples = max(LEAST_SAMPLES, SAMPLES_MAX // len(every))


class _Sums:
    """Sums of one kind, while somebody reads them.

    Args:
        kept: bits of addresses that samples have.
        wanted: the kind.
        turn: held while one works, so that of all kinds one does at once.
    """

    def __init__(self, kept: tuple[int, int], wanted: Wanted, turn: asyncio.Lock) -> None:
        self.readers = 0
        self._kept = kept
        self._wanted = wanted
        self._began = self._looked = time.time()
        self.talkers = self._begun()
        self._turn = turn
        self._next: asyncio.Future[TalkersOut | None] = asyncio.get_running_loop().create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._stack = AsyncExitStack()

    @property
    def ended(self) -> bool:
        """Whether nothing follows."""
        return self._next.done()

    async def begin(self, view: SampleView) -> None:
        """Look at samples.

        Raises:
            NoSamplesError, ReadersError: see `SharedSamples.sums`.
        """
        seen = await self._stack.enter_async_context(view.samples(self._wanted.selection))
        self._tasks = [
            asyncio.create_task(self._collect(seen), name="samples sums"),
            asyncio.create_task(self._tell(seen), name="samples tell"),
        ]
        for task in self._tasks:
            task.add_done_callback(self._over)

    async def end(self) -> None:
        """Look no more.

        What was summed up is freed here: cancelled tasks, which know these sums, would keep it
        until the garbage collector comes.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._stack.aclose()
        for _ in self.talkers.forget_all():
            await asyncio.sleep(0)

    async def documents(self) -> AsyncIterator[TalkersOut]:
        """Yield each document from now on; what was lost before does not count."""
        lost: int | None = None
        while True:
            document = await asyncio.shield(self._next)
            if document is None:
                return
            lost = document.lost if lost is None else lost
            yield msgspec.structs.replace(document, lost=document.lost - lost)

    async def _collect(self, seen: SeenSamples) -> None:
        async for few in seen:
            async with self._turn:
                latest = time.time() + TELL_SECONDS  # of before the clock was set back
                for sample, packet in few:
                    if self._began <= sample.time <= latest:
                        self.talkers.add(sample, packet)
                await asyncio.sleep(0)  # so that the other kinds wait for another turn of the loop

    async def _tell(self, seen: SeenSamples) -> None:
        while True:
            await asyncio.sleep(TELL_SECONDS)
            async with self._turn:
                self._follow_clock()
                now = min(time.time() - BEHIND_SECONDS, seen.until)
                if now - self._began < TELL_SECONDS / 2:  # too short a time to speak of rates
                    continue
                while self.talkers.expire(now, FORGOTTEN_AT_ONCE):  # noqa: ASYNC110 - others have their turn
                    await asyncio.sleep(0)
                document = await talkers_out(self.talkers, now, seen.lost, self._wanted.count)
            if self.ended:
                return
            told, self._next = self._next, asyncio.get_running_loop().create_future()
            told.set_result(document)

    def _follow_clock(self) -> None:
        """Begin again where the clock was set back: what is known would stay for so long."""
        before, self._looked = self._looked, time.time()
        if self._looked < before:
            self._began = self._looked
            former, self.talkers = self.talkers, self._begun()
            self.talkers.most_samples = former.most_samples

    def _begun(self) -> Talkers:
        wanted = self._wanted
        return Talkers(wanted.by, wanted.seconds, kept=self._kept, began=self._began)

    def _over(self, task: asyncio.Task[None]) -> None:
        """Tell readers that nothing follows, or why."""
        error = None if task.cancelled() else task.exception()
        if self.ended:
            return
        if error is not None and self.readers:
            self._next.set_exception(error)
        else:
            self._next.set_result(None)
