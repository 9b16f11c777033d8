"""The live stream: snapshots as events, for whom, how many streams, and how one ends."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.fake_backend import FakeBackend, Site, site
from tests.unit.samples.seen import frame_of, sample_of
from xdpctl.abi import Count, PacketAction, Reason
from xdpctl.filter.view import FilterState, FilterView
from xdpctl.http.api import shared_samples, streams
from xdpctl.http.transport.limits import STREAMS_MAX
from xdpctl.http.transport.secrets import Secrets
from xdpctl.status.snapshot import Snapshot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SECRET = "correct-horse-battery-staple"  # noqa: S105 - a test's
ANOTHER = "another-horse-battery-staple"
PATH = "/api/v1/live"
SEEN = Snapshot(
    taken=0.0,
    filters=tuple(
        FilterView(
            name, FilterState.ATTACHED, 2, None, 7, None, 0, 1,
            {(Reason.NO_MATCH, PacketAction.PASS): Count(10, 600),
             (Reason.LIMIT, PacketAction.DROP): Count(5, 300),
             (Reason.ADDR_V4, PacketAction.DROP): Count(2, 120)},
        )
        for name in ("eth0", "eth1")
    ),
    rates={
        ("eth0", Reason.NO_MATCH, PacketAction.PASS): 2.5,
        ("eth0", Reason.LIMIT, PacketAction.DROP): 1.0,
        ("eth1", Reason.ADDR_V4, PacketAction.DROP): 0.5,
    },
)  # fmt: skip


@pytest.fixture
async def loopback(tmp_path: Path) -> AsyncIterator[Site]:
    """A service on loopback with a token."""
    token = tmp_path / "token"
    token.write_text(SECRET)
    token.chmod(0o600)
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as name:
        async with site(
            Path(name), secrets=Secrets(token), backend=FakeBackend(lives=(SEEN,))
        ) as served:
            yield served


def request(token: str = "", method: str = "GET") -> bytes:
    """Return a request for the stream."""
    bearer = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"{method} {PATH} HTTP/1.1\r\nHost: localhost\r\n{bearer}\r\n".encode()


class Stream:
    """The client's end of a stream."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.reader = reader

    async def head(self) -> str:
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def event(self) -> tuple[str, Any]:
        """Return the name and the data of the next event."""
        size = int(await self.reader.readline(), 16)
        text = (await self.reader.readexactly(size + 2)).decode()
        name, data, *_ = text.split("\n")
        return name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


async def opened(stack: AsyncExitStack, served: Site, *, tcp: bool = False) -> Stream:
    """Return a stream whose head has come."""
    reader, writer = await stack.enter_async_context(served.connection(tcp=tcp))
    writer.write(request(SECRET if tcp else ""))
    stream = Stream(reader)
    assert " 200 " in await stream.head()
    return stream


async def test_a_snapshot_sums_all_interfaces_by_action(loopback: Site) -> None:
    async with AsyncExitStack() as stack:
        name, data = await (await opened(stack, loopback)).event()
    assert name == "snapshot"
    assert data["totals"] == {"pass": 20, "drop": 14, "truncate": 0, "redirect": 0}
    assert data["rates"] == {"pass": 2.5, "drop": 1.5, "truncate": 0, "redirect": 0}
    assert [view["name"] for view in data["state"]["interfaces"]] == ["eth0", "eth1"]
    assert data["state"]["ready"] is True
    assert [change["verb"] for change in data["events"]] == ["unblock"]


async def test_a_warning_may_quote_a_path_that_is_not_utf_8(tmp_path: Path) -> None:
    reasons = ("cannot read /\udcff: gone",)
    seen = replace(SEEN, warnings=reasons)
    async with AsyncExitStack() as stack:
        backend = FakeBackend(lives=(seen,), reasons=reasons)
        served = await stack.enter_async_context(site(tmp_path, backend=backend))
        _, data = await (await opened(stack, served)).event()
        status = (await served.ask("GET", "/api/v1/status")).json()
    assert data["state"]["warnings"] == status["reasons"] == ["cannot read /\\udcff: gone"]


@pytest.mark.parametrize("path", [PATH, "/api/v1/samples"])
async def test_clients_traffic_needs_the_token_on_loopback_too(loopback: Site, path: str) -> None:
    answer = await loopback.ask("GET", path, tcp=True)
    assert answer.status == 401
    assert loopback.backend.asked == []


async def test_the_token_opens_it(loopback: Site) -> None:
    async with AsyncExitStack() as stack:
        assert (await (await opened(stack, loopback, tcp=True)).event())[0] == "snapshot"


async def test_a_head_is_answered_with_a_head(loopback: Site) -> None:
    answer = await loopback.ask("HEAD", PATH)
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.body == b""


async def test_a_stream_too_many_is_refused(loopback: Site) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS_MAX):
            await opened(stack, loopback)
        refused = await loopback.ask("GET", PATH)
        assert refused.problem["status"] == 503
        assert refused.headers["Retry-After"]


async def test_a_stream_that_its_client_left_makes_room(loopback: Site) -> None:
    loopback.backend.lives = itertools.repeat(SEEN)  # it is noticed when something is sent
    async with AsyncExitStack() as stack:
        for _ in range(STREAMS_MAX):
            await opened(stack, loopback)
    for _ in range(100):
        async with AsyncExitStack() as stack:
            reader, writer = await stack.enter_async_context(loopback.connection())
            writer.write(request())
            if " 200 " in await Stream(reader).head():
                return
        await asyncio.sleep(0.02)
    pytest.fail("no stream ended")


async def test_a_client_that_never_reads_is_let_go(
    loopback: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "READ_SECONDS", 0.1)
    loopback.backend.lives = itertools.repeat(SEEN)
    async with loopback.connection() as (reader, writer):
        writer.write(request())
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(200):  # nothing is read
            if all(task.get_name() != "stream" for task in asyncio.all_tasks()):
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the stream goes on")
    assert (await loopback.ask("GET", "/healthz")).status == 200


async def test_a_stop_ends_streams_with_a_reason(loopback: Site) -> None:
    async with AsyncExitStack() as stack:
        stream = await opened(stack, loopback)
        await stream.event()
        await loopback.listeners.stop()
        assert await stream.event() == ("end", {"detail": streams.STOPS})
        assert await stream.reader.read() == b"0\r\n\r\n"


async def test_a_stream_ends_with_its_token(loopback: Site, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        stream = await opened(stack, loopback, tcp=True)
        await stream.event()
        (tmp_path / "token").write_text(ANOTHER)
        await loopback.listeners.reload()
        loopback.backend.more.set()
        assert await stream.event() == ("end", {"detail": streams.NOT_ALLOWED})


# --- samples ----------------------------------------------------------------------------------

EVIL = frame_of("192.0.2.7", "www.evil.example")
GOOD = frame_of("2001:db8::7", "www.good.example", 28)


async def deliver(served: Site) -> None:
    """Give samples to those who look, again and again, as the service does."""
    hub = served.backend.hub
    while True:
        await hub.wanted.wait()
        now = time.time()
        evil = sample_of(EVIL, PacketAction.DROP, Reason.ZONE, weight=30, time=now)
        hub.deliver([evil, sample_of(GOOD, weight=10, time=now)], lost=1)
        await asyncio.sleep(0.05)


@pytest.fixture
async def flood(loopback: Site) -> AsyncIterator[Site]:
    """The same, with packets that come in."""
    task = asyncio.create_task(deliver(loopback))
    yield loopback
    task.cancel()


async def test_who_sends_most_in_a_second(flood: Site) -> None:
    asked = flood.ask("GET", "/api/v1/samples?seconds=1&by=source24,name,type")
    asking = asyncio.create_task(asked)
    async with asyncio.timeout(5):
        while not flood.backend.shared._alone:  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0.01)
    document = (await asking).json()
    assert flood.backend.shared._alone == []
    assert document["seconds"] == 1
    assert document["lost"] > 0
    assert list(document["by"]) == ["source24", "name", "type"]
    (net,) = document["by"]["source24"]
    assert net["key"] == "192.0.2.0/24"
    assert net["share"] == 0.75
    assert net["actions"] == {"drop": net["packets"]}
    assert net["rate"] == net["packets"] > net["error"] > 0
    assert document["weight"] * 0.75 == net["packets"]
    assert [row["key"] for row in document["by"]["name"]] == [
        "www.evil.example",
        "www.good.example",
    ]


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("source=192.0.2.0/24", ["www.evil.example"]),
        ("name=.good.example", ["www.good.example"]),
        ("qtype=AAAA", ["www.good.example"]),
        ("action=drop", ["www.evil.example"]),
        ("reason=zone", ["www.evil.example"]),
        ("port=5353", []),
        ("interface=eth1", []),
        ("n=1", ["www.evil.example"]),
    ],
)
async def test_only_what_is_asked_for_is_summed_up(
    flood: Site, query: str, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BEHIND_SECONDS", 0.0)
    document = (await flood.ask("GET", f"/api/v1/samples?seconds=1&by=name&{query}")).json()
    assert [row["key"] for row in document["by"]["name"]] == names


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("by=colour", "by"),
        ("source=www.example", "source"),
        ("name=192.0.2.1", "name"),
        ("reason=weather", "reason"),
        ("seconds=61", "seconds"),
        ("qtype=nonsense", "qtype"),
        ("action=run", "action"),
        ("port=65536", "port"),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/samples", PATH])
async def test_a_filter_that_cannot_be_is_refused(
    loopback: Site, path: str, query: str, field: str
) -> None:
    refused = await loopback.ask("GET", f"{path}?{query}")
    assert (refused.status, refused.problem["field"]) == (422, field)


@pytest.mark.parametrize(
    ("source", "helps"),
    [("192.0.2.7", "192.0.2.0/24"), ("2001:db8:1:2::/64", "2001:db8:1::/48"), ("192.0.2.0/24", "")],
)
@pytest.mark.parametrize("path", ["/api/v1/samples", PATH])
async def test_a_source_that_no_sample_can_have_is_refused(
    loopback: Site, path: str, source: str, helps: str
) -> None:
    """As addresses are truncated before anybody sees them (`sample-addresses`)."""
    loopback.backend.kept_bits = (24, 48)
    loopback.backend.hub.close("none are taken")
    answer = await loopback.ask("GET", f"{path}?samples=1&source={source}"
                                if path == PATH else f"{path}?source={source}")  # fmt: skip
    assert answer.status == (422 if helps else 503)
    assert helps in answer.problem["detail"]


@pytest.mark.parametrize("path", ["/api/v1/samples?seconds=1", f"{PATH}?samples=1"])
async def test_without_samples_the_answer_says_why(loopback: Site, path: str) -> None:
    loopback.backend.hub.close("the kernel refuses it")
    refused = await loopback.ask("GET", path)
    assert refused.status == 503
    assert "the kernel refuses it" in refused.problem["detail"]


async def events(stream: Stream, *names: str) -> dict[str, Any]:
    """Return the first data of each of these events."""
    found: dict[str, Any] = {}
    while set(names) - found.keys():
        size = int(await stream.reader.readline(), 16)
        text = (await stream.reader.readexactly(size + 2)).decode()
        for part in text.strip().split("\n\n"):
            name, data = part.split("\n")
            found.setdefault(name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
    return found


async def test_a_stream_has_samples_where_it_asks_for_them(
    flood: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_samples, "TELL_SECONDS", 0.3)
    async with AsyncExitStack() as stack:
        reader, writer = await stack.enter_async_context(flood.connection())
        target = f"{PATH}?samples=all&frames=1&by=action&reason=zone"
        writer.write(request().replace(PATH.encode(), target.encode()))
        stream = Stream(reader)
        assert " 200 " in await stream.head()
        found = await events(stream, "snapshot", "sample", "talkers")
    sample = found["sample"]
    assert (sample["source"], sample["source_port"], sample["port"]) == ("192.0.2.7", 40053, 53)
    assert (sample["action"], sample["reason"], sample["weight"]) == ("drop", "zone", 30)
    assert (sample["protocol"], sample["name"], sample["qtype"]) == ("udp", "www.evil.example", "A")
    assert sample["rule"] == {"target": "192.0.2.1", "qtype": None, "origin": "cli"}
    assert base64.b64decode(sample["frame"]) == EVIL
    assert [row["key"] for row in found["talkers"]["by"]["action"]] == ["drop"]


async def test_samples_alone_can_be_asked_for(flood: Site) -> None:
    async with AsyncExitStack() as stack:
        reader, writer = await stack.enter_async_context(flood.connection())
        writer.write(request().replace(PATH.encode(), f"{PATH}?samples=all&snapshots=0".encode()))
        stream = Stream(reader)
        await stream.head()
        found = await events(stream, "sample")
        flood.backend.hub.close("the settings say so")
        ended = await events(stream, "end")
    assert "frame" not in found["sample"]
    assert "snapshot" not in found
    assert ended["end"] == {"detail": "the settings say so"}


async def test_who_left_looks_no_more(flood: Site) -> None:
    async with AsyncExitStack() as stack:
        reader, writer = await stack.enter_async_context(flood.connection())
        writer.write(request().replace(PATH.encode(), f"{PATH}?samples=all".encode()))
        await events_after_head(reader)
        assert flood.backend.hub.readers == 2  # sums, and each sample
    async with asyncio.timeout(5):
        while flood.backend.hub.readers:  # noqa: ASYNC110 - the service tells nobody
            await asyncio.sleep(0.01)


async def events_after_head(reader: asyncio.StreamReader) -> dict[str, Any]:
    stream = Stream(reader)
    await stream.head()
    return await events(stream, "sample")


async def test_a_stream_of_nothing_is_refused(loopback: Site) -> None:
    refused = await loopback.ask("GET", f"{PATH}?snapshots=0")
    assert (refused.status, refused.problem["field"]) == (422, "snapshots")


async def test_a_parameter_that_is_not_known_is_refused(loopback: Site) -> None:
    assert (await loopback.ask("GET", f"{PATH}?speed=2")).problem["status"] == 422
