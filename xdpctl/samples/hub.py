"""Gives the samples to whoever looks: requests, outputs, the service itself.

Owns the inboxes of those who look, and the number of samples that were lost. Each inbox is bounded:
who reads slowly loses samples and can see how many; nobody else notices. Does not own where samples
come from: service/samples.py takes them from the kernel while `wanted` is set, which is while
somebody looks. Everything here runs on the loop and never blocks.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from xdpctl.errors import NoSamplesError, ReadersError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from xdpctl.samples.sample import Sample

READERS_MAX = 80
"""Sixteen streams on each of two listeners, each with sums and with every sample, and what else
looks: outputs, requests, the service."""
INBOX_SAMPLES = 4096


class Inbox:
    """The samples of one reader, in the order in which they were taken: `async for batch in inbox`.

    The loop ends when the service stops, or takes no samples any more. One task reads an inbox.

    Args:
        most: how many samples may wait.

    Attributes:
        lost: samples that were taken since it was opened and are not in it: it was full, or the
            kernel's buffer was.
    """

    def __init__(self, most: int) -> None:
        self._offered = self._taken = time.time()
        self._most = most
        self._waiting: list[Sample] = []
        self._changed = asyncio.Event()
        self._closed = False
        self.lost = 0

    @property
    def until(self) -> float:
        """Unix time up to which the reader has all samples; on a busy machine that is long ago."""
        return self._taken if self._waiting else self._offered

    def put(self, batch: Sequence[Sample], lost: int, until: float) -> int:
        """Add samples; return how many there was no room for.

        Args:
            batch: the samples.
            lost: how many were lost before they came here.
            until: Unix time up to which these are all.
        """
        if not self._waiting:
            self._taken = self._offered
        self._offered = until
        room = max(0, self._most - len(self._waiting))
        self._waiting += batch[:room]
        over = max(0, len(batch) - room)
        self.lost += over + lost
        if self._waiting:
            self._changed.set()
        return over

    def close(self) -> None:
        """End the reader's loop, behind what is waiting."""
        self._closed = True
        self._changed.set()

    def __aiter__(self) -> Inbox:
        return self

    async def __anext__(self) -> list[Sample]:
        """Return all samples that are waiting, at least one."""
        while not self._waiting:
            if self._closed:
                raise StopAsyncIteration
            self._changed.clear()
            await self._changed.wait()
        batch, self._waiting = self._waiting, []
        self._taken = self._offered
        return batch


class Hub:
    """Those who look.

    Attributes:
        wanted: set while somebody looks.
        trouble: why there are no samples; empty where there can be.
        lost: samples that some reader did not get, since the service began.
    """

    def __init__(self) -> None:
        self._inboxes: list[Inbox] = []
        self.wanted = asyncio.Event()
        self.trouble = ""
        self.lost = 0

    @property
    def readers(self) -> int:
        """How many look."""
        return len(self._inboxes)

    @asynccontextmanager
    async def subscribe(self, most: int = INBOX_SAMPLES) -> AsyncIterator[Inbox]:
        """Look: for `async with`. Sampling begins with the first who looks, within 0.1 s.

        Args:
            most: how many samples may wait for this reader.

        Raises:
            NoSamplesError: none can be had; the sentence says why.
            ReadersError: READERS_MAX look already.
        """
        if self.trouble:
            raise NoSamplesError(f"cannot show samples of packets: {self.trouble}")
        if len(self._inboxes) >= READERS_MAX:
            raise ReadersError(
                f"cannot show samples of packets: {READERS_MAX} readers look already; end one of"
                " them, or try again later"
            )
        inbox = Inbox(most)
        self._inboxes.append(inbox)
        self.wanted.set()
        try:
            yield inbox
        finally:
            self._inboxes.remove(inbox)
            if not self._inboxes:
                self.wanted.clear()

    def deliver(self, batch: Sequence[Sample], lost: int = 0, until: float | None = None) -> None:
        """Give samples to all who look.

        Args:
            batch: the samples.
            lost: how many the kernel's buffer had no room for since the last call.
            until: Unix time up to which these, and those of before, are all; None: now.
        """
        moment = time.time() if until is None else until
        self.lost += lost + sum(inbox.put(batch, lost, moment) for inbox in self._inboxes)

    def close(self, trouble: str) -> None:
        """End all readers' loops; no other may look until `open`.

        Args:
            trouble: why; a part of a sentence that says what helps.
        """
        self.trouble = trouble
        for inbox in self._inboxes:
            inbox.close()

    def open(self) -> None:
        """Let others look again."""
        self.trouble = ""
