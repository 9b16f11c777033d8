"""Sends sampled queries as dnstap to where `sample-dnstap` says.

The receiver may be away or slow, the disk may be full: samples are dropped then, and counted. A
thread of its own waits for it, so nothing else of the service does; the hub's inbox is bounded.
Owns when one connects again. Does not own encoding (samples/dnstap.py) or connections
(samples/outputs.py). A part of the service, made by start.py.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import TYPE_CHECKING, NoReturn

from xdpctl import __version__
from xdpctl.errors import KernelError, NoSamplesError, ReadersError, ReceiverError
from xdpctl.process.log import event
from xdpctl.process.threads import one_thread
from xdpctl.samples.dnstap import DnstapEncoder
from xdpctl.samples.outputs import FileOutput, tcp_output, unix_output
from xdpctl.samples.selection import Selection
from xdpctl.service.tasks import on_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from xdpctl.samples.outputs import Output
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.service.watch import Seen, Watch
    from xdpctl.settings import DnstapTarget, Settings

RETRY_SECONDS = (1.0, 30.0)
"""Between two attempts, the first and the longest: each time it is twice as long, until it has
worked for the longest."""

FILE_MAX = 1 << 28
"""Octets of a file, beyond which it is begun again; the one before it is kept."""

_log = logging.getLogger(__name__)


def output_of(target: DnstapTarget) -> Output:
    """Return what writes to a target; nothing is opened yet."""
    if target.path is not None:
        return (
            FileOutput(target.path, FILE_MAX) if target.kind == "file" else unix_output(target.path)
        )
    return tcp_output(target.host, target.port, tls=target.kind == "tls")


class DnstapOutput:
    """The part.

    Args:
        watch: gives the samples.
        settings: in force.
        make: returns what writes to a target.
        clock: seconds of a monotonic clock.

    Attributes:
        dropped: samples that were not sent since the receiver was there last.
    """

    name = "dnstap"
    failures = ()

    def __init__(
        self,
        watch: Watch,
        settings: Settings,
        make: Callable[[DnstapTarget], Output] = output_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._target = settings.sample_dnstap
        self._make = make
        self._clock = clock
        self._changed = asyncio.Event()
        self._trouble = ""
        self._output: Output | None = None
        self._again = self._since = 0.0
        self._wait = RETRY_SECONDS[0]
        self._encoder = DnstapEncoder(
            socket.gethostname().encode(), f"xdpctl {__version__}".encode()
        )
        self.dropped = 0

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why sampled queries do not go where they should."""
        if not self._trouble:
            return ()
        count = f" ({self.dropped:,} so far)" if self.dropped else ""
        return (f"{self._trouble}{count}",)

    def reload(self, settings: Settings) -> None:
        """Use another target; a file is begun again, so that it can be rotated."""
        self._target = settings.sample_dnstap
        self._changed.set()

    async def run(self) -> NoReturn:
        """Send until cancelled."""
        while True:
            self._changed.clear()
            if self._target is None:
                self._trouble = ""
                await self._changed.wait()
                continue
            try:
                await self._send_from_thread(self._target)
            except (NoSamplesError, ReadersError, KernelError) as error:
                self._trouble = f"no queries are sent as dnstap: {error.sentence}"
            await self._wait_for_change(RETRY_SECONDS[0])

    async def _send_from_thread(self, target: DnstapTarget) -> None:
        thread = one_thread("dnstap")
        try:
            async with self._watch.open(Selection()) as seen:
                await self._send_all(seen, target, thread)
        finally:
            thread.shutdown(wait=False)  # a receiver that does not answer holds only the thread

    async def _wait_for_change(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _send_all(self, seen: Seen, target: DnstapTarget, thread: Executor) -> None:
        """Send samples until there are none any more, or other settings are in force."""
        self._again, self._wait = 0.0, RETRY_SECONDS[0]
        try:
            await self._connect(target, thread)
            async for batch in seen:
                if self._changed.is_set():
                    break
                if self._output is None and self._clock() >= self._again:
                    await self._connect(target, thread)
                await self._send(batch, target, thread)
        finally:
            output, self._output = self._output, None
            if output is not None:
                await on_thread(thread, output.end)

    async def _connect(self, target: DnstapTarget, thread: Executor) -> None:
        output = self._make(target)
        try:
            await on_thread(thread, output.begin)
        except ReceiverError as error:
            self._failed(error)
            return
        except asyncio.CancelledError:
            output.abort()
            raise
        self._output = output
        self._works(target)

    async def _send(
        self, batch: list[tuple[Sample, Packet]], target: DnstapTarget, thread: Executor
    ) -> None:
        queries = [pair for pair in batch if pair[1].is_query]
        output = self._output
        waits = bool(self._trouble) and self._clock() < self._again
        if output is None or waits or not queries:
            self._drop(len(queries))
            return
        rules = await self._watch.rules_of(queries)

        def write() -> None:
            found = [
                self._encoder.message(*pair, None if rule is None else rule.target)
                for pair, rule in zip(queries, rules, strict=True)
            ]
            output.write([message for message in found if message is not None])

        try:
            await on_thread(thread, write)
        except asyncio.CancelledError:
            output.abort()
            raise
        except ReceiverError as error:
            self._drop(len(queries))
            self._failed(error)
            if not output.lasts:
                self._output = None
                await on_thread(thread, output.end)
            return
        if self._trouble:
            self._works(target)
        elif self._clock() - self._since > RETRY_SECONDS[1]:
            self._wait = RETRY_SECONDS[0]

    def _works(self, target: DnstapTarget) -> None:
        event(_log, "dnstap-connected", to=_text(target), dropped=self.dropped or None)
        self._trouble, self.dropped, self._since = "", 0, self._clock()

    def _drop(self, count: int) -> None:
        self.dropped += count
        self._watch.hub.lost += count

    def _failed(self, error: ReceiverError) -> None:
        if error.sentence != self._trouble:
            event(_log, "dnstap-failed", logging.WARNING, error=error.sentence)
        self._trouble = error.sentence
        self._again = self._clock() + self._wait
        self._wait = min(2 * self._wait, RETRY_SECONDS[1])


def _text(target: DnstapTarget) -> str:
    return str(target.path or f"{target.host}:{target.port}")
