"""Real listeners under connections that take and give nothing."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_backend import FakeBackend, Site, site
from xdpctl.http.transport import admission, entrance
from xdpctl.http.transport.entrance import RUSH_AT_ONCE, Rush, Seldom
from xdpctl.http.transport.limits import Places
from xdpctl.http.transport.spare import Spare

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterator

    from xdpctl.http.api.documents import RuleOut

HOST = b"Host: localhost\r\n"
METRICS = b"GET /metrics HTTP/1.1\r\n" + HOST + b"\r\n"


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        yield Path(name)


@pytest.fixture
async def api(folder: Path) -> AsyncIterator[Site]:
    async with site(folder) as served:
        yield served


class SlowDesk(FakeBackend):
    """Gives a page when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may = asyncio.Event()
        self.asking = 0

    async def page(self, *_what: object, **_named: object) -> tuple[list[RuleOut], str | None]:
        self.asking += 1
        await self.may.wait()
        return [], None


@pytest.mark.parametrize("sent", [b"", b"GET /metrics HTTP/1.1\r\nX: "])
@pytest.mark.parametrize("tcp", [True, False])
async def test_connections_that_ask_for_nothing_lock_nobody_out(
    api: Site, sent: bytes, *, tcp: bool
) -> None:
    async with AsyncExitStack() as stack:
        readers = []
        for _ in range(admission.TCP_MAX + 10):
            reader, writer = await stack.enter_async_context(api.connection(tcp=tcp))
            writer.write(sent)
            readers.append(reader)
        assert (await api.ask("GET", "/healthz", tcp=tcp)).status == 200
        assert await readers[0].read() == b""  # the idlest was closed


async def test_a_keep_alive_connection_answers_one_request_after_the_other(api: Site) -> None:
    last = METRICS.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    said = await api.raw(METRICS * 5 + last)
    assert said.count(b"HTTP/1.1 200 OK") == 6


async def test_reads_beyond_a_few_are_503_and_say_when_to_come_back(folder: Path) -> None:
    backend = SlowDesk()
    async with site(folder, backend=backend) as api, AsyncExitStack() as stack:
        for _ in range(4):
            _, writer = await stack.enter_async_context(api.connection(tcp=True))
            writer.write(b"GET /api/v1/rules HTTP/1.1\r\n" + HOST + b"\r\n")
        while backend.asking < 4:  # noqa: ASYNC110 - counted by the fake
            await asyncio.sleep(0.01)
        busy = await api.ask("GET", "/api/v1/rules", tcp=True)
        assert busy.problem["status"] == 503
        assert busy.headers["Retry-After"] == "1"
        assert (await api.ask("GET", "/metrics", tcp=True)).status == 200
        assert (await api.ask("POST", "/api/v1/panic")).status == 200
        backend.may.set()
        assert (await api.ask("GET", "/api/v1/rules")).status == 200  # a listener of its own


async def test_an_export_whose_client_leaves_is_ended(folder: Path) -> None:
    ended = asyncio.Event()

    class Endless(FakeBackend):
        async def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
            self._ask("export", everything)
            try:
                while True:
                    yield b"x" * 65536
            finally:
                ended.set()

    async with site(folder, backend=Endless()) as api:
        async with api.connection() as (reader, writer):
            writer.write(b"GET /api/v1/export HTTP/1.1\r\n" + HOST + b"\r\n")
            await reader.readexactly(100)
            assert (await api.ask("GET", "/api/v1/export")).status == 503  # one at a time
        async with asyncio.timeout(5):
            await ended.wait()
        while (await api.ask("HEAD", "/api/v1/export")).status != 200:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_request_whose_client_has_gone_is_not_done(folder: Path) -> None:
    backend = SlowDesk()
    async with site(folder, backend=backend) as api:
        async with api.connection(tcp=True) as (_, writer):
            writer.write(b"GET /api/v1/rules HTTP/1.1\r\n" + HOST + b"\r\n")
            while not backend.asking:  # noqa: ASYNC110 - counted by the fake
                await asyncio.sleep(0.01)
            writer.write(b"GET /api/v1/rules HTTP/1.1\r\n" + HOST + b"\r\n")  # its turn never comes
        await asyncio.sleep(0.05)
        backend.may.set()
        assert (await api.ask("GET", "/healthz")).status == 200
        assert backend.asking == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/metrics"), ("POST", "/api/v1/panic")])
async def test_a_page_of_another_site_is_refused(
    api: Site, headers: dict[str, str], method: str, path: str
) -> None:
    for tcp in (True, False):
        assert (await api.ask(method, path, tcp=tcp, headers=headers)).problem["status"] == 403
    assert api.backend.asked == []


async def test_a_page_of_this_service_is_not(api: Site) -> None:
    headers = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{api.port}"}
    assert (await api.ask("GET", "/metrics", tcp=True, headers=headers)).status == 200
    assert (await api.ask("GET", "/metrics", tcp=True, headers={"Sec-Fetch-Site": "none"})).status


@pytest.mark.parametrize(
    "said",
    [
        b"CONNECT x HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /api/v1/rules?origin=\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /api/v1/rules?\x80=1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /api/v1/status HTTP/1.1\r\n" + HOST + b": x\r\n\r\n",
        b"GET /api/v1/rules?origin=%FF%FE HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
        b"GET /%FF HTTP/1.1\r\nConnection: close\r\n" + HOST + b"\r\n",
    ],
)
@pytest.mark.parametrize("tcp", [True, False])
async def test_what_cannot_be_asked_is_4xx_without_a_traceback(
    api: Site, said: bytes, caplog: pytest.LogCaptureFixture, *, tcp: bool
) -> None:
    answer = await api.raw(said, tcp=tcp)
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"application/problem+json" in answer
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(
    ("target", "host", "status"),
    [
        ("http://127.0.0.1:{port}/metrics", "127.0.0.1:{port}", 200),
        ("http://localhost/metrics", "attacker.example", 200),  # RFC 9112, 3.2.2: Host is ignored
        ("http://attacker.example/metrics", "127.0.0.1:{port}", 421),
        ("http://attacker.example/metrics", "attacker.example", 421),
        ("http://127.0.0.1:{port}/nowhere", "127.0.0.1:{port}", 404),
        ("http://127.0.0.1@attacker.example/metrics", "127.0.0.1:{port}", 400),
    ],
)
async def test_a_url_as_the_target_is_answered_where_its_authority_may_be_a_host(
    api: Site, target: str, host: str, status: int
) -> None:
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    answer = await api.raw(head.format(port=api.port).encode(), tcp=True)
    assert answer.startswith(b"HTTP/1.1 %d " % status)


async def test_where_descriptors_run_out_the_log_stays_short_and_control_answers(
    api: Site, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entrance, "RETRY_SECONDS", 0.001)
    loop = asyncio.get_running_loop()
    accept, failed = loop.sock_accept, 0

    async def starved(sock: socket.socket) -> tuple[socket.socket, object]:
        nonlocal failed
        if sock.family == socket.AF_INET and failed < 50:
            failed += 1
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return await accept(sock)

    monkeypatch.setattr(loop, "sock_accept", starved)
    assert (await api.ask("GET", "/healthz", tcp=True)).status == 200  # let in before
    assert (await api.ask("GET", "/healthz", tcp=True)).status == 200
    assert failed == 50
    assert (await api.ask("POST", "/api/v1/panic")).status == 200
    assert [record.message for record in caplog.records].count("accept-failed") == 1


def test_descriptors_are_kept_back_and_given() -> None:
    spare = Spare(3)
    assert not spare.give()
    assert spare.keep()
    assert spare.keep()
    assert spare.give()
    assert not spare.give()


def test_descriptors_that_are_not_there_are_taken_later(monkeypatch: pytest.MonkeyPatch) -> None:
    spare = Spare(2)

    def refuse(*_: object) -> int:
        raise OSError(errno.EMFILE, "none left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        assert not spare.keep()
    assert spare.keep()
    spare.give()


def test_the_same_trouble_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    now = [0.0]
    trouble = Seldom("trouble", lambda: now[0])
    for second in range(61):
        now[0] = float(second)
        trouble.note()
    counts = [record.__dict__["xdpctl_fields"]["count"] for record in caplog.records]
    assert counts == [1, 60]


def test_a_flood_is_slowed_down_and_a_few_are_not() -> None:
    now = [0.0]
    rush = Rush(lambda: now[0])
    now[0] = 10.0
    assert not any(rush.pause() for _ in range(RUSH_AT_ONCE - 1))
    assert sum(rush.pause() > 0 for _ in range(10)) >= 9


def test_a_place_is_given_back_also_after_an_error() -> None:
    places = Places(1)
    for _ in range(2):
        with contextlib.suppress(ValueError), places.take() as free:
            with places.take() as more:
                assert (free, more) == (True, False)
            int("x")
