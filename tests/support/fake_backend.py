"""A service that is none, behind the real listeners: what the API asked of it, canned answers."""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import aiohttp

from xdpctl.abi import MapName, Reason, RuleAction
from xdpctl.feeds.publish.views import Publication
from xdpctl.http.api.converter import (
    change_out,
    list_out,
    removed_out,
    rule_out,
    status_of,
    top_rule,
)
from xdpctl.http.api.documents import PacketOut, Tested
from xdpctl.http.api.limit_documents import limits_out
from xdpctl.http.api.live_documents import live_out
from xdpctl.http.api.publish_documents import published, published_list
from xdpctl.http.api.shared_samples import SharedSamples
from xdpctl.http.listeners import Listeners
from xdpctl.limits.view import LimitsView
from xdpctl.process.caller import Caller
from xdpctl.rules import AnyQtype, parse_target, target_text
from xdpctl.rules.keys import each_row
from xdpctl.samples.hub import Hub
from xdpctl.samples.packets import read_packet
from xdpctl.service.watch import Seen, SeenRule
from xdpctl.settings import Listen, load_settings
from xdpctl.status.metrics import Exposition, SnapshotCollector
from xdpctl.status.snapshot import Snapshot
from xdpctl.store.bulk import BulkResult
from xdpctl.store.entries import Entry
from xdpctl.store.history import HistoryRow
from xdpctl.store.source import RuleSource
from xdpctl.store.standing import Standing
from xdpctl.store.state import Note
from xdpctl.store.store import PutResult, RemoveResult, StillClaimed
from xdpctl.store.top import TopEntry

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.feeds.publish.views import PublishZoneView
    from xdpctl.feeds.versions import ListView
    from xdpctl.http.api.documents import ChangeOut, ListOut, Removed, RuleOut, Status, TopRule
    from xdpctl.http.api.limit_documents import LimitsOut
    from xdpctl.http.api.live_documents import LiveOut
    from xdpctl.http.api.publish_documents import Published, PublishedList
    from xdpctl.http.transport.secrets import Secrets
    from xdpctl.rules import Question, Rule, Target
    from xdpctl.rules.keys import Row
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample
    from xdpctl.samples.selection import Selection
    from xdpctl.store.change import Change
    from xdpctl.store.published import PublishedRecord

NOTE = Note(MapName.ADDR_V4, bytes([1, 2, 0, 192]), RuleAction.DROP, "api", "a flood", 1_000.0)
ENTRY = Entry(MapName.ADDR_V4, bytes([1, 2, 0, 192]), RuleAction.DROP, 7, NOTE)
"""192.0.2.1 of origin api, hit 7 times (little-endian machines)."""

STANDING = Standing(ENTRY, None, (NOTE,), is_in_force=True)


RECORD = HistoryRow(
    time=1_000.0,
    verb="unblock",
    who=Caller(uid=0, pid=4711, command="xdpctl"),
    target="192.0.2.1",
    action="drop",
    origin="cli",
    hits=7,
)


NO_LIMITS = load_settings(
    (), {}, default_file=Path("/nonexistent/xdpctl.toml"), require_interface=False
)
"""The settings of a service without limits."""


@dataclass
class Bulk:
    """One call of `FakeBackend.bulk`; `rows` counts, `kept` are the first."""

    origin: str
    replace: bool
    strict: bool
    force: bool
    rows: int = 0
    kept: list[Row] = field(default_factory=list)


@dataclass
class FakeBackend:
    """Remembers what it was asked; `failure` is raised by the next thing that can fail.

    Attributes:
        progress: what a bulk reports before it is done.
        dnsdists: the targets that dnsdist has an entry for.
        parts: what an export yields; an exception among them is raised.
        lives: what a live stream sends before it waits for `more`.
        left: who still has a claim after a removal.
        publications, publish_zones: what is published.
    """

    any_qtype: AnyQtype = AnyQtype.BOTH
    failure: Exception | None = None
    progress: Sequence[tuple[str, int, int]] = ()
    parts: Sequence[bytes | Exception] = (b"192.0.2.1 action=drop origin=api\n",)
    reasons: tuple[str, ...] = ()
    views: tuple[ListView, ...] = ()
    asked: list[Any] = field(default_factory=list)
    bulks: list[Bulk] = field(default_factory=list)
    dnsdists: Sequence[Target] = ()
    lives: Iterable[Snapshot] = (Snapshot(taken=0.0),)
    hub: Hub = field(default_factory=Hub)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    left: Sequence[StillClaimed] = ()
    limits_view: LimitsView = field(default_factory=lambda: LimitsView(NO_LIMITS))
    publications: Sequence[PublishedRecord] = ()
    publish_zones: Sequence[PublishZoneView] = ()

    def __post_init__(self) -> None:
        self.shared = SharedSamples(self)

    def _ask(self, *what: object) -> None:
        self.asked.append(what)
        if self.failure is not None:
            raise self.failure

    def snapshot(self) -> Snapshot:
        return Snapshot(taken=0.0, reasons=self.reasons)

    def status(self) -> Status:
        return status_of(self.snapshot(), version="0", pid=1, started=0.0)

    def limits(self) -> LimitsOut:
        return limits_out(self.limits_view)

    async def prove(self, addresses: Sequence[IPv4Address | IPv6Address], *, proven: bool) -> int:
        self._ask("prove" if proven else "unprove", list(addresses))
        return len(addresses)

    async def put(self, rules: Sequence[Rule], *, force: bool, beneath: bool = False) -> PutResult:
        self._ask("put", list(rules), force, *(("beneath",) if beneath else ()))
        return PutResult(len(rules), 0, ("a warning",))

    async def remove(self, targets: Sequence[Target], origin: str | None = None) -> Removed:
        self._ask("remove", list(targets), *(() if origin is None else (origin,)))
        return removed_out(RemoveResult((NOTE,) * len(targets), tuple(self.left)))

    async def theirs(self, targets: Sequence[Target]) -> list[Target]:
        return [target for target in targets if target in self.dnsdists]

    async def lift(self, targets: Sequence[Target]) -> int:
        self._ask("lift", list(targets))
        return len(targets)

    async def resize(self, name: MapName, entries: int, *, force: bool) -> int:
        self._ask("resize", name, entries, force)
        return 5

    async def flush(self, map_name: MapName | None, origin: str | None) -> int:
        self._ask("flush", map_name, origin)
        return 3

    async def bulk(self, change: Change) -> BulkResult:
        call = Bulk(change.origin, change.replace, change.strict, change.force)
        source = change.source
        self.bulks.append(call)

        def work() -> BulkResult:
            for part in source:
                for row in each_row(part):
                    call.rows += 1
                    if len(call.kept) < 2_000:
                        call.kept.append(row)
                if isinstance(source, RuleSource):
                    change.progress("read", source.position, source.size)
            for step in self.progress:
                change.progress(*step)
            if self.failure is not None:
                raise self.failure
            return BulkResult(created=call.rows, theirs=1, others=2, guarded=3)

        return await asyncio.to_thread(work)

    async def page(
        self,
        map_name: MapName | None,
        origin: str | None,
        after: str | None,
        limit: int,
        *,
        all_claims: bool = False,
    ) -> tuple[list[RuleOut], str | None]:
        self._ask("page", map_name, origin, after, limit, *(("all",) if all_claims else ()))
        return [rule_out(STANDING, self.any_qtype)], "a:cursor"

    async def rules_on(self, target: Target, *, contains: bool) -> list[RuleOut]:
        self._ask("rules-on", target, contains)
        return [rule_out(STANDING, self.any_qtype)]

    async def origins(self, map_name: MapName | None) -> dict[str, int]:
        self._ask("origins", map_name)
        return {"cli": 3, "list:x": 1_000}

    async def history(self, target: str | None, since: float | None, limit: int) -> list[ChangeOut]:
        self._ask("history", target, since, limit)
        return [change_out(RECORD)]

    async def test(
        self, address: IPv4Address | IPv6Address, question: Question, interface: str
    ) -> Tested:
        self._ask("test", address, question, interface)
        packet = PacketOut(str(address), "192.0.2.53", 53, question.name.to_text(), "A")
        return Tested(
            "drop", "addr-v4", "192.0.2.1", None, "api", "operator", None, "drop", "a flood",
            None, 7, panic=False, without_panic="drop", interface="eth0", attached=True,
            packet=packet,
        )  # fmt: skip

    async def top(
        self, count: int, map_name: MapName | None, by: Literal["rate", "hits"]
    ) -> list[TopRule]:
        self._ask("top", count, map_name, by)
        found = TopEntry(ENTRY, 2.5 if by == "rate" else None)
        return [top_rule(found, STANDING, self.any_qtype)]

    async def export(self, *, everything: bool) -> AsyncGenerator[bytes, None]:
        self._ask("export", everything)
        for part in self.parts:
            if isinstance(part, Exception):
                raise part
            yield part

    async def live(self) -> AsyncGenerator[LiveOut, None]:
        self._ask("live")
        for snapshot in self.lives:
            yield live_out(snapshot, 1_000.0, [], [], None, [change_out(RECORD)])
            await asyncio.sleep(0)
        await self.more.wait()
        yield live_out(self.snapshot(), 1_001.0, [], [], 0.0, [])

    kept_bits = (32, 128)

    @property
    def why_no_samples(self) -> str:
        return self.hub.trouble

    @asynccontextmanager
    async def samples(self, selection: Selection) -> AsyncIterator[Seen]:
        self._ask("samples", selection)
        async with self.hub.subscribe() as inbox:
            yield Seen(inbox, lambda sample: read_packet(sample.frame), selection)

    async def rules_of(self, seen: Sequence[tuple[Sample, Packet]]) -> list[SeenRule | None]:
        rule = SeenRule(parse_target("192.0.2.1"), "cli")
        return [None if sample.reason is Reason.NO_MATCH else rule for sample, _ in seen]

    def lists(self) -> list[ListOut]:
        self._ask("lists")
        return [list_out(view) for view in self.views]

    async def read_list(self, name: str, *, accept: bool) -> ListOut:
        self._ask("read_list", name, accept)
        return list_out(self.views[0])

    async def published(self) -> PublishedList:
        self._ask("published")
        return published_list(self.publications, self.publish_zones)

    async def publish(
        self,
        zone: str,
        targets: Sequence[Target],
        action: RuleAction,
        seconds: int | None,
        *,
        force: bool,
    ) -> Published:
        self._ask("publish", zone, list(targets), action, seconds, force)
        return published(Publication(tuple(map(target_text, targets)), (), ()))

    async def unpublish(self, zone: str, targets: Sequence[Target]) -> tuple[int, list[str]]:
        self._ask("unpublish", zone, list(targets))
        return len(targets), ["it was not there any more"]

    async def set_panic(self, *, panic: bool) -> bool:
        self._ask("panic", panic)
        return True

    async def detach(self, interfaces: Sequence[str]) -> list[str]:
        self._ask("detach", list(interfaces))
        return list(interfaces) or ["eth0"]

    async def attach(self, interfaces: Sequence[str]) -> list[str]:
        self._ask("attach", list(interfaces))
        return list(interfaces) or ["eth0"]


@dataclass(frozen=True)
class Answer:
    """What the API answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:  # noqa: ANN401 - JSON has no narrower type
        return json.loads(self.body)

    @property
    def problem(self) -> dict[str, Any]:
        """The problem document; fails where it is none, or not one sentence."""
        assert self.headers["Content-Type"].startswith("application/problem+json"), self
        document: dict[str, Any] = self.json()
        assert document["status"] == self.status
        assert document["type"] == "about:blank"
        assert "\n" not in document["detail"]
        return document


@dataclass
class Site:
    """The listeners, a fake service behind them, and clients of them."""

    backend: FakeBackend
    listeners: Listeners
    control: Path
    scheme: str = "http"

    @property
    def port(self) -> int:
        """Of the TCP listener."""
        return int((self.listeners.address or "").rpartition(":")[2])

    async def ask(  # noqa: PLR0913 - what a request has
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        tcp: bool = False,
        headers: Mapping[str, str] | None = None,
        tls: ssl.SSLContext | bool = True,
    ) -> Answer:
        """Send one request; a body that is neither bytes nor an iterable of them goes as JSON."""
        data: object = body
        if isinstance(body, bytes):
            data = io.BytesIO(body)
        elif body is not None and not hasattr(body, "__aiter__"):
            data = json.dumps(body).encode()
        connector: aiohttp.BaseConnector = aiohttp.UnixConnector(str(self.control))
        base = "http://localhost"
        if tcp:
            connector = aiohttp.TCPConnector()
            base = f"{self.scheme}://127.0.0.1:{self.port}"
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.request(
                method, base + path, data=data, headers=dict(headers or {}), ssl=tls
            ) as response,
        ):
            return Answer(response.status, dict(response.headers), await response.read())

    async def raw(self, text: bytes, *, tcp: bool = False) -> bytes:
        """Send bytes and return all that comes until the other side closes."""
        async with self.connection(tcp=tcp) as (reader, writer):
            writer.write(text)
            return await reader.read()

    @asynccontextmanager
    async def connection(
        self, *, tcp: bool = False
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Give a connection."""
        if tcp:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        else:
            reader, writer = await asyncio.open_unix_connection(str(self.control))
        try:
            yield reader, writer
        finally:
            writer.close()
            await writer.wait_closed()


@asynccontextmanager
async def site(  # noqa: PLR0913 - what a listener has
    folder: Path,
    *,
    host: str = "127.0.0.1",
    tcp: bool = True,
    secrets: Secrets | None = None,
    backend: FakeBackend | None = None,
    page: bool | None = None,
) -> AsyncIterator[Site]:
    """Serve a fake service; the control socket is in `folder`, whose path must be short."""
    backend = backend or FakeBackend()
    control = folder / "c.sock"
    listen = Listen(ip_address(host), 0) if tcp else None
    async with Listeners(control, None, listen, secrets, folder, page=page) as listeners:
        listeners.bind()
        await listeners.serve(
            backend, Exposition(SnapshotCollector(backend.snapshot, bcc=lambda: "0"))
        )
        scheme = "https" if secrets and secrets.tls_cert else "http"
        yield Site(backend, listeners, control, scheme)
