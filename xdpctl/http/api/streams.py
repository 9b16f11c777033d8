"""Event streams (text/event-stream): what is sent until the client leaves.

Owns the form of a stream, for how long a client may not read, and how a stream ends. Does not own
what is in it (service/live.py). Called by aiohttp through routes.py.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from http import HTTPStatus
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from xdpctl.errors import public
from xdpctl.http.api.handlers import answer
from xdpctl.http.api.keys import BACKEND
from xdpctl.http.api.live_documents import EndOut
from xdpctl.http.api.queries import LiveQuery, SamplesQuery, read_query
from xdpctl.http.api.sample_documents import talkers_out
from xdpctl.http.api.shared_samples import BEHIND_SECONDS, Wanted
from xdpctl.http.problems import json_of
from xdpctl.http.refusals import RequestError
from xdpctl.http.transport.auth import STILL_ALLOWED
from xdpctl.http.transport.keys import IN_PUBLIC, STOPPING
from xdpctl.http.transport.protocol import drained
from xdpctl.samples.talkers import Talkers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine

    from xdpctl.http.api.backend import LiveView, SampleStreams
    from xdpctl.http.api.sample_documents import TalkersOut
    from xdpctl.http.api.sample_view import SeenSamples

READ_SECONDS = 10.0
"""How long a client may not read, once its buffers are full, before it is let go."""

LATE_LOOKS = 15
"""How often one waits a little longer for samples, on a machine that is busy."""

_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy (nginx) hands each event on at once
}

STOPS = "the service stops: connect again when it is back"
NOT_ALLOWED = "the token of this stream is not the service's token any more: use the new one"


class EventStream:
    """An answer that goes on.

    Args:
        request: what is answered.
    """

    def __init__(self, request: web.Request) -> None:
        self._request = request
        self._allowed = STILL_ALLOWED.get()
        self.response = web.StreamResponse(headers=_HEADERS)

    async def send(self, name: str, *documents: object) -> bool:
        """Send events of one name, all in one piece; tell whether the client may have more.

        Raises:
            ConnectionError: the client has left, or has not read for `READ_SECONDS`.
        """
        if not self._allowed():
            return False
        parts = [
            b"event: %b\ndata: %b\n\n" % (name.encode(), json_of(document))
            for document in documents
        ]
        try:
            async with asyncio.timeout(READ_SECONDS):
                await self.response.write(b"".join(parts))
                await drained(self._request)
        except TimeoutError as error:
            if self._request.transport is not None:
                self._request.transport.abort()
            raise ConnectionResetError("the client does not read") from error
        return True

    async def serve(self, *sources: Coroutine[None, None, str]) -> web.StreamResponse:
        """Send what sources send, until one ends, the client leaves, or the service stops.

        A source ends with the reason why, such as `NOT_ALLOWED` when `send` says that the client
        may have no more.
        """
        try:
            await self.response.prepare(self._request)
        except BaseException:
            for source in sources:
                source.close()
            raise
        stopping = self._request.app[STOPPING]
        tasks = [asyncio.create_task(source, name="stream") for source in sources]
        stop = asyncio.create_task(stopping.wait(), name="stream stop")
        try:
            done, _ = await asyncio.wait({stop, *tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (stop, *tasks):
                task.cancel()
            await asyncio.gather(stop, *tasks, return_exceptions=True)
        for task in done:
            task.result()
        why = next((task.result() for task in done if task is not stop), STOPS)
        end = EndOut(STOPS if stopping.is_set() else str(why))
        await self.response.write(b"event: end\ndata: %b\n\n" % json_of(end))
        await self.response.write_eof()
        return self.response


async def live(request: web.Request) -> web.StreamResponse:
    """GET /api/v1/live: what the service sees, as it goes on: snapshots, and samples if wanted.

    A stream of events (text/event-stream): `snapshot` once a second (`LiveOut`), with samples=1
    also `talkers` (`TalkersOut`), with samples=all also `sample` (`SampleOut`) for each sampled
    packet. The last event is `end` (`EndOut`). A client that does not read for ten seconds is let
    go.
    """
    query = read_query(request, LiveQuery)
    view: SampleStreams = request.app[BACKEND]
    selection, dimensions = query.selection(view.kept_bits), query.dimensions
    if not query.snapshots and query.samples == "0":
        raise RequestError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "nothing is asked for: snapshots=0 goes with samples=1 or samples=all",
            field="snapshots",
        )
    stream = EventStream(request)
    if request.method == "HEAD":
        await stream.response.prepare(request)
        return stream.response

    def snapshots() -> list[Coroutine[None, None, str]]:
        return [_snapshots(request, stream)] if query.snapshots else []

    if query.samples == "0":
        return await stream.serve(*snapshots())
    wanted = Wanted(selection, tuple(dimensions), query.seconds, query.n)
    async with AsyncExitStack() as stack:
        sums = await stack.enter_async_context(view.shared.sums(wanted))
        seen = None
        if query.samples == "all":
            seen = await stack.enter_async_context(view.samples(selection))
            await stack.enter_async_context(view.shared.sender())
        sources = [_sums(view, stream, sums, seen)]
        if seen is not None:
            sources.append(_each(view, stream, seen, frames=query.frames))
        return await stream.serve(*snapshots(), *sources)


async def samples(request: web.Request) -> web.Response:
    """GET /api/v1/samples: who sends most, and what, of the packets of some seconds from now.

    Estimated from samples, of everything that comes in and not only of what a rule takes.
    """
    query = read_query(request, SamplesQuery)
    watch: SampleStreams = request.app[BACKEND]
    dimensions = query.dimensions
    began = time.time()
    end = began + query.seconds
    longest = query.seconds + BEHIND_SECONDS
    talkers = Talkers(dimensions, longest, kept=watch.kept_bits, began=began)
    async with AsyncExitStack() as stack:
        seen = await stack.enter_async_context(watch.samples(query.selection(watch.kept_bits)))
        stack.enter_context(watch.shared.alone(talkers))

        async def collect() -> None:
            async for few in seen:
                for sample, packet in few:
                    if began <= sample.time < end:
                        talkers.add(sample, packet)

        stopping = request.app[STOPPING].wait()
        tasks = [asyncio.create_task(each, name="samples") for each in (collect(), stopping)]
        try:
            await asyncio.wait(tasks, timeout=longest, return_when=asyncio.FIRST_COMPLETED)
            for _ in range(LATE_LOOKS):
                if seen.until >= end or any(task.done() for task in tasks):
                    break
                await asyncio.sleep(BEHIND_SECONDS)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        known = min(end, seen.until)
        return answer(await talkers_out(talkers, known, seen.lost, query.n))


async def _snapshots(request: web.Request, stream: EventStream) -> str:
    view: LiveView = request.app[BACKEND]
    shown = public if request.app[IN_PUBLIC] else str
    async with aclosing(view.live()) as snapshots:
        async for snapshot in snapshots:
            state = snapshot.state
            state.reasons = [*map(shown, state.reasons)]
            state.warnings = [*map(shown, state.warnings)]
            if not await stream.send("snapshot", snapshot):
                return NOT_ALLOWED
    return STOPS


async def _sums(
    view: SampleStreams,
    stream: EventStream,
    sums: AsyncIterator[TalkersOut],
    seen: SeenSamples | None,
) -> str:
    """Send what samples come to; where each is sent, with how many of them this client missed."""
    async for document in sums:
        lost = document.lost if seen is None else seen.lost
        if not await stream.send("talkers", msgspec.structs.replace(document, lost=lost)):
            return NOT_ALLOWED
    return view.why_no_samples or STOPS


async def _each(
    view: SampleStreams, stream: EventStream, seen: SeenSamples, *, frames: bool
) -> str:
    """Send each sample."""
    async for few in seen:
        lines = await view.shared.lines(few, frames=frames)
        if lines and not await stream.send("sample", *map(msgspec.Raw, lines)):
            return NOT_ALLOWED
    return view.why_no_samples or STOPS
