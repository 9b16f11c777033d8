"""One connection: a request at a time, and an end for who takes too long."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from xdpctl.http.transport.gate import LINGER_SECONDS, Gate, Patience, Stage
from xdpctl.http.transport.head import HEAD_MAX

REQUEST = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
NEXT = b"GET /b HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = self.aborted = self.paused = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """Nothing more is written."""

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Inner(asyncio.Protocol):
    """What aiohttp would have seen."""

    def __init__(self) -> None:
        self.seen = b""

    def data_received(self, data: bytes) -> None:
        self.seen += data


class Clock:
    """Time that stands still."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class Behind:
    """A gate with all that is around it."""

    def __init__(self) -> None:
        self.clock, self.wire, self.inner = Clock(), Wire(), Inner()
        self.made = 0
        self.gate = Gate(self._make, Patience(), clock=self.clock)
        self.gate.connection_made(self.wire)

    def _make(self, _gate: Gate) -> asyncio.Protocol:
        self.made += 1
        return cast("asyncio.Protocol", self.inner)

    def is_ending(self) -> bool:
        return self.wire.is_closing()

    def is_idle(self) -> bool:
        return self.gate.idle_since is not None

    def is_gone(self) -> bool:
        return self.gate.gone

    def after(self, seconds: float) -> str:
        self.clock.now += seconds
        return self.gate.check()


@pytest.fixture
async def it() -> Behind:
    return Behind()


async def test_aiohttp_sees_nothing_of_a_head_that_is_not_whole(it: Behind) -> None:
    it.gate.data_received(REQUEST[:-1])
    assert (it.made, it.inner.seen) == (0, b"")
    it.gate.data_received(REQUEST[-1:])
    assert (it.made, it.inner.seen) == (1, REQUEST)


async def test_the_next_request_waits_until_this_one_is_answered(it: Behind) -> None:
    it.gate.data_received(POST + b"body" + NEXT + REQUEST)
    assert it.inner.seen == POST + b"body"
    it.gate.answered()
    await asyncio.sleep(0)
    assert it.inner.seen == POST + b"body" + NEXT


async def test_a_body_that_ends_after_the_answer_lets_the_next_request_in(it: Behind) -> None:
    it.gate.data_received(POST)
    it.gate.answered()
    it.gate.data_received(b"body" + NEXT)
    await asyncio.sleep(0)
    assert it.inner.seen == POST + b"body" + NEXT


async def test_what_comes_ahead_of_its_turn_has_a_bound(it: Behind) -> None:
    it.gate.data_received(REQUEST + b"x" * (HEAD_MAX + 1))
    assert it.wire.paused


async def test_another_protocol_is_not_offered_to_aiohttp(it: Behind) -> None:
    it.gate.data_received(REQUEST[:-2] + b"upgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
    assert it.inner.seen == REQUEST[:-2] + b"Connection: Upgrade\r\n\r\n"


async def test_a_head_without_end_is_431_and_costs_its_own_octets(it: Behind) -> None:
    it.gate.data_received(REQUEST[:-2])
    for _ in range(20):
        it.gate.data_received(b"X: " + b"a" * 8000 + b"\r\n")
    assert it.wire.written.startswith(b"HTTP/1.1 431 ")
    assert it.made == 0
    it.after(LINGER_SECONDS)
    assert it.wire.closed


async def test_a_first_line_without_end_is_400(it: Behind) -> None:
    it.gate.data_received(b"GET /" + b"a" * (HEAD_MAX + 1))
    assert it.wire.written.startswith(b"HTTP/1.1 400 ")


async def test_a_head_that_stops_is_408(it: Behind) -> None:
    it.gate.data_received(b"GET / HT")
    assert not it.after(9.9)
    it.gate.data_received(b"T")  # a dribble buys no time
    assert it.after(0.1)
    assert it.wire.written.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_that_asks_for_nothing_ends(it: Behind) -> None:
    assert not it.after(9.9)
    assert it.after(0.1)
    assert it.wire.aborted


async def test_between_two_requests_there_is_more_time(it: Behind) -> None:
    it.gate.data_received(REQUEST)
    it.gate.answered()
    it.after(74.9)
    assert not it.is_ending()
    it.after(0.1)
    assert it.wire.closed


async def test_a_client_that_does_not_read_is_cut_off(it: Behind) -> None:
    it.gate.data_received(REQUEST)
    it.gate.pause_writing()
    assert it.gate.idle_since == it.clock.now
    assert not it.after(9.9)
    assert it.after(0.1)
    assert it.wire.aborted


async def test_one_that_reads_on_is_not(it: Behind) -> None:
    it.gate.data_received(REQUEST)
    it.gate.pause_writing()
    it.gate.resume_writing()
    it.after(1000)
    assert not it.is_ending()
    await it.gate.drained()


async def test_an_end_that_its_client_does_not_take_is_made(it: Behind) -> None:
    it.gate.data_received(REQUEST)
    it.wire.close()
    it.after(0.0)
    it.after(10.0)
    assert it.wire.aborted


async def test_a_request_that_is_worked_on_is_not_idle(it: Behind) -> None:
    assert it.is_idle()
    it.gate.data_received(REQUEST)
    assert not it.is_idle()
    it.after(1000)
    assert not it.is_ending()


async def test_a_client_that_left_has_gone(it: Behind) -> None:
    it.gate.data_received(REQUEST)
    assert not it.is_gone()
    it.gate.connection_lost(None)
    assert it.is_gone()
    it.gate.data_received(NEXT)
    it.gate.answered()
    assert it.inner.seen == REQUEST


async def test_a_body_that_is_not_framed_is_told_to_who_reads_it(it: Behind) -> None:
    told: list[bool] = []
    it.gate.on_broken = lambda: told.append(True)
    it.gate.data_received(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
    assert told == [True]
    assert it.gate.broken
    assert it.gate.stage is Stage.REQUEST
