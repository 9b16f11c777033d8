"""The bridge to dnsdist, over real sockets: what it asks and claims, what an operator hears."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.abi import BY_REF, MapName, RuleAction
from xdpctl.errors import DnsdistError, MapFullError
from xdpctl.feeds.dnsdist.blocks import BlockKind
from xdpctl.feeds.dnsdist.bridge import DnsdistBlocks
from xdpctl.feeds.dnsdist.client import AnswerBounds, fetch, read_answer, read_api_key
from xdpctl.feeds.dnsdist.ledger import Ledger
from xdpctl.process.clock import boot_clock
from xdpctl.rules import AnyQtype, parse_target, target_of, target_text
from xdpctl.rules.guard import Guard
from xdpctl.rules.keys import full_key, stored_place
from xdpctl.settings import DnsdistSettings, Settings, load_settings
from xdpctl.store.dynamic import ORIGIN, Wish, WishesSettled, WishState
from xdpctl.store.state import Note

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping

    from xdpctl.store.entries import Place

POLL = 0.03
BOUNDS = AnswerBounds(connect=1.0, seconds=0.5, octets=20_000, head=1_000)
HEAD = b"HTTP/1.0 200 OK\r\nConnection: close\r\nContent-Type: application/json\r\n\r\n"


def entry(action: str = "Drop", seconds: int = 30, **more: object) -> dict[str, object]:
    """Return a block."""
    return {"action": action, "blocks": 1, "reason": "why", "seconds": seconds, **more}


@dataclass
class FakeDnsdist:
    """A web server on loopback.

    Attributes:
        answer: what it sends to the next request. `requests`: what it got.
        slowly: it sends an octet at a time.
    """

    answer: bytes = HEAD + b"{}"
    slowly: bool = False
    requests: list[bytes] = field(default_factory=list)
    url: str = ""
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self._writers:
            writer.close()
        await asyncio.sleep(0)

    def has(self, blocks: Mapping[str, object]) -> None:
        """Answer with these blocks from now on."""
        self.answer = HEAD + json.dumps(blocks).encode()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        step = 1 if self.slowly else 1 << 20
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            self.requests.append(await reader.readuntil(b"\r\n\r\n"))
            for at in range(0, len(self.answer), step):
                writer.write(self.answer[at : at + step])
                await writer.drain()
                if self.slowly:
                    await asyncio.sleep(0.05)
        writer.close()


@dataclass
class FakeBackend:
    """The service's side.

    Attributes:
        claims: that are there, by target. `theirs`: places where dnsdist has an entry.
        counters: by place; `per_look`: what each look adds.
        left: claims of a former service. `zones_go`: while it is not set, zones wait.
    """

    claims: dict[str, Wish] = field(default_factory=dict)
    places: dict[str, Place] = field(default_factory=dict)
    theirs: set[Place] = field(default_factory=set)
    counters: dict[Place, int] = field(default_factory=dict)
    per_look: int = 0
    hits_often: dict[Place, RuleAction] = field(default_factory=dict)
    full: MapName | None = None
    any_qtype: AnyQtype = AnyQtype.BOTH
    looked_beneath: int = 0
    noted: int = 0
    left: list[Note] = field(default_factory=list)
    zones_go: asyncio.Event = field(default_factory=asyncio.Event)
    settles: list[int] = field(default_factory=list)
    many: list[int] = field(default_factory=list)

    async def make_many(self, wishes: Mapping[Place, Wish]) -> WishesSettled:
        self.many.append(len(wishes))
        settled = await self.settle(wishes)
        for error in settled.refused.values():
            raise error
        return settled

    def guard(self) -> Guard:
        return Guard([], [])

    async def settle(self, wishes: Mapping[Place, Wish | None]) -> WishesSettled:
        settled = WishesSettled()
        self.settles.append(len(wishes))
        if any(place[0] is MapName.ZONES for place in wishes):
            await self.zones_go.wait()
        for place, wish in wishes.items():
            text = target_text(target_of(*place, self.any_qtype))
            if wish is None:
                self.claims.pop(text, None)
            elif place[0] is self.full:
                settled.states[place] = WishState.REFUSED
                settled.refused[place[0]] = MapFullError(
                    "cannot write", 7, map_name=place[0], capacity=1
                )
            elif wish.prolongs and text not in self.claims:
                settled.states[place] = WishState.ENDED
            else:
                self.claims[text], self.places[text] = wish, place
                is_theirs = place in self.theirs
                settled.states[place] = (
                    WishState.BEHIND_DNSDIST if is_theirs else WishState.IN_FORCE
                )
        return settled

    async def note(self) -> None:
        self.noted += 1

    async def former(self) -> list[Note]:
        return self.left

    async def hits(self, places: Collection[Place]) -> dict[Place, int]:
        for place in places:
            self.counters[place] = self.counters.get(place, 0) + self.per_look
        return {place: self.counters[place] for place in places}

    async def gone(self, places: Collection[Place]) -> bool:
        return not self.theirs.issuperset(places)

    async def foreign(self, places: Collection[Place]) -> set[Place]:
        return self.theirs.intersection(places)

    async def hot(self, rate: float) -> dict[Place, RuleAction]:
        assert rate
        return self.hits_often

    async def look_beneath(self) -> None:
        self.looked_beneath += 1


@dataclass
class Bridge:
    """A bridge that runs."""

    dnsdist: FakeDnsdist
    backend: FakeBackend
    part: DnsdistBlocks

    async def until(self, what: Callable[[], object]) -> None:
        """Wait for a condition."""
        async with asyncio.timeout(20):
            while not what():  # noqa: ASYNC110 - of what a thread may do
                await asyncio.sleep(0.005)

    async def polled(self) -> None:
        """Wait for a poll that begins from now on, and its end."""
        await self.until(lambda: self.part.view().dnsdists)
        before = sum(self.part.view().dnsdists[0].polls.values())
        await self.until(lambda: sum(self.part.view().dnsdists[0].polls.values()) >= before + 2)

    @property
    def targets(self) -> set[str]:
        return set(self.backend.claims)


def settings_of(*tables: DnsdistSettings) -> Settings:
    """Return settings with these tables."""
    found: Any = load_settings([], {}, require_interface=False, default_file=Path("/nonexistent"))
    fields = {name: getattr(found, name) for name in Settings.__slots__}
    return Settings(**fields | {"dnsdists": tables})


@contextlib.asynccontextmanager
async def bridge(
    key_file: Path | None = None, hold: int = 0, backend: FakeBackend | None = None
) -> AsyncIterator[Bridge]:
    """Run a bridge to a fake dnsdist."""
    async with FakeDnsdist() as dnsdist:
        backend = backend or FakeBackend()
        backend.zones_go.set()
        table = DnsdistSettings(dnsdist.url, key_file, poll=POLL, hold=hold)
        part = DnsdistBlocks(backend, settings_of(table), bounds=BOUNDS)
        task = asyncio.create_task(part.run())
        try:
            yield Bridge(dnsdist, backend, part)
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


async def test_blocks_become_claims_with_their_ends_and_go_when_they_vanish() -> None:
    async with bridge() as site:
        site.dnsdist.has({"192.0.2.0/24": entry(), "evil.example.": entry("Truncate over UDP", 9)})
        await site.until(lambda: site.targets == {"192.0.2.0/24", ".evil.example"})
        wish = site.backend.claims["192.0.2.0/24"]
        assert (wish.action, wish.reason) == (RuleAction.DROP, "why")
        assert 28 < wish.end - boot_clock() < 33
        assert site.part.warnings == ()
        (view,) = site.part.view().dnsdists
        assert view.up
        assert (view.blocks[BlockKind.PREFIX], view.blocks[BlockKind.SUFFIX]) == (1, 1)
        site.dnsdist.has({})
        await site.until(lambda: not site.targets)


async def test_the_request_has_the_key_and_nothing_shows_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(" s3cret-key \n")
    key.chmod(0o600)
    async with bridge(key_file=key) as site:
        await site.until(lambda: site.dnsdist.requests)
        request = site.dnsdist.requests[0]
        assert request.startswith(b"GET /jsonstat?command=dynblocklist HTTP/1.0\r\n")
        assert b"\r\nX-API-Key: s3cret-key\r\n" in request
    assert "s3cret" not in repr(read_api_key(key))


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (b"key", 0o644, "lets everybody on this machine use it"),
        (b"", 0o600, "one key"),
        (b"two keys", 0o600, "one key"),
        (b"x" * 5_000, 0o600, "one key"),
        (None, 0o600, "No such file"),
    ],
)
def test_a_key_file_must_be_a_secret(
    tmp_path: Path, content: bytes | None, mode: int, said: str
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
        path.chmod(mode)
    with pytest.raises(DnsdistError, match=said):
        read_api_key(path)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "does not accept the key"),
        (b"HTTP/1.0 404 Not Found\r\n\r\n", "is it dnsdist's web server?"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n\r\n", "HTTP status 302"),
        (b"", "does not speak HTTP"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not speak HTTP"),
        (b"HTTP/1.0 200 OK\r\n" + b"X: y\r\n" * 1_000, "does not speak HTTP"),
        (b"x" * 100_000, "does not speak HTTP"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n{}", "ended before the answer was whole"),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 99999\r\n\r\n", "more than 20,000 octets"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", "a form"),
        (HEAD + b" " * 30_000, "more than 20,000 octets"),
        (HEAD + b'{"192.0.2.0/24": {"sec', "not the whole JSON object"),
        (HEAD + b"<html>", "not the whole JSON object"),
    ],
)
async def test_an_answer_that_cannot_be_used_is_one_sentence_and_changes_nothing(
    answer: bytes, said: str
) -> None:
    async with bridge() as site:
        site.dnsdist.has({"192.0.2.0/24": entry()})
        await site.until(lambda: site.targets)
        site.dnsdist.answer = answer
        await site.until(lambda: site.part.warnings)
        (warning,) = site.part.warnings
        assert said in warning
        assert warning.isprintable()
        assert site.dnsdist.url in warning
        assert not site.part.view().dnsdists[0].up
        assert site.targets == {"192.0.2.0/24"}
        site.dnsdist.has({"192.0.2.0/24": entry()})
        await site.until(lambda: not site.part.warnings)
        assert site.part.view().dnsdists[0].up


@given(
    st.binary(max_size=300)
    | st.lists(
        st.sampled_from(
            [
                *(b"HTTP/1.0 200 OK\r\n", b"HTTP/1.1 200\n", b"\r\n", b"\n", b"{}", b"\0"),
                *(b"A: b\r\n", b"Content-Length: 2\r\n", b"content-length:9999999999\r\n"),
                b"x" * 1_500,
            ]
        ),
        max_size=8,
    ).map(b"".join)
)
def test_any_octets_are_an_answer_or_our_error(octets: bytes) -> None:
    async def read() -> bytes:
        reader = asyncio.StreamReader(limit=1_024)
        reader.feed_data(octets)
        reader.feed_eof()
        return await read_answer(reader, BOUNDS)

    with contextlib.suppress(DnsdistError):
        assert len(asyncio.run(read())) <= BOUNDS.octets


async def test_a_dnsdist_that_answers_slowly_is_given_up() -> None:
    async with FakeDnsdist(slowly=True) as dnsdist:
        with pytest.raises(DnsdistError, match=r"not whole after 0\.5 seconds"):
            await fetch(DnsdistSettings(dnsdist.url), None, BOUNDS)


async def test_a_dnsdist_that_is_not_there_is_a_warning() -> None:
    async with FakeDnsdist() as dnsdist:
        pass
    with pytest.raises(DnsdistError, match=r"no connection: .*; does dnsdist run"):
        await fetch(DnsdistSettings(dnsdist.url), None, BOUNDS)
    with pytest.raises(DnsdistError, match="no connection"):
        await fetch(DnsdistSettings("http://no-such-host.invalid"), None, BOUNDS)


async def test_what_is_left_out_is_a_warning_that_counts_it() -> None:
    async with bridge() as site:
        site.dnsdist.has(
            {
                ".": entry(),
                "192.0.2.1:0/4": entry(),
                "192.0.2.2:0/4": entry(),
                "a.example.": entry("Send NXDomain"),
                "b.example.": entry(warning=True),
            }
        )
        await site.until(lambda: site.part.warnings)
        (warning,) = site.part.warnings
        for part in ("1 of the root", "2 of single ports", "1 with another action"):
            assert part in warning
        assert not site.targets


async def test_an_address_that_1_7_has_in_a_map_is_skipped() -> None:
    async with bridge() as site:
        place = MapName.ADDR_V4, bytes((1, 2, 0, 192))
        site.backend.theirs.add(place)
        site.dnsdist.has({"192.0.2.1/32": entry(), "192.0.2.2/32": entry()})
        await site.until(lambda: site.targets)
        assert site.targets == {"192.0.2.2"}
        kinds = site.part.view().dnsdists[0].blocks
        await site.until(lambda: site.part.view().dnsdists[0].blocks.get(BlockKind.IN_MAPS))
        assert kinds is not None


async def test_a_map_without_room_is_a_warning_and_the_rest_is_claimed() -> None:
    async with bridge() as site:
        site.backend.full = MapName.CIDR4
        site.dnsdist.has({"192.0.2.0/24": entry(), "192.0.2.9/32": entry(ebpf=False)})
        await site.until(lambda: site.targets == {"192.0.2.9"} and site.part.warnings)
        (warning,) = site.part.warnings
        assert "some of dnsdist's dynamic blocks are not in force" in warning


async def test_a_long_first_list_is_made_at_once_and_its_changes_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.MANY", 3)
    async with bridge() as site:
        sources = {f"192.0.2.{number}/32": entry(ebpf=False) for number in range(6)}
        names = {f"n{number}.example.": entry() for number in range(5)}
        site.dnsdist.has(sources | names)
        await site.until(lambda: len(site.targets) == 11)
        assert site.backend.many == [6, 5]
        del sources["192.0.2.0/32"]
        site.dnsdist.has(sources | names | {"198.51.100.0/24": entry()})
        await site.until(lambda: "198.51.100.0/24" in site.targets)
        assert len(site.targets) == 11
        assert site.backend.many == [6, 5]


async def test_a_long_list_that_a_map_refuses_is_made_step_by_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.MANY", 3)
    async with bridge() as site:
        site.backend.full = MapName.CIDR4
        fit = {f"192.0.2.{number}/32": entry(ebpf=False) for number in range(6)}
        site.dnsdist.has(fit | {"198.51.100.0/24": entry()})
        await site.until(lambda: len(site.targets) == 6 and site.part.warnings)
        assert site.backend.many[0] == 7
        (warning,) = site.part.warnings
        assert "some of dnsdist's dynamic blocks are not in force" in warning


async def test_a_reload_that_takes_the_dnsdist_away_ends_its_claims() -> None:
    async with bridge() as site:
        site.dnsdist.has({"192.0.2.0/24": entry()})
        await site.until(lambda: site.targets)
        site.part.reload(settings_of())
        await site.until(lambda: not site.targets)
        assert site.part.view().dnsdists == ()
        site.part.reload(settings_of(DnsdistSettings(site.dnsdist.url, poll=POLL)))
        await site.until(lambda: site.targets)


def with_former(*texts: str) -> FakeBackend:
    """Return a backend where a former service left claims."""
    backend, end = FakeBackend(), boot_clock() + 500
    for text in texts:
        place = stored(text)
        backend.claims[text] = Wish(RuleAction.DROP, "why", end)
        backend.left.append(Note(*place, RuleAction.DROP, ORIGIN, "why", 0.0, end))
    return backend


def stored(text: str) -> Place:
    """Return the place of a target."""
    ref, key = stored_place(parse_target(text), AnyQtype.BOTH)
    return BY_REF[ref].name, full_key(ref, key)


async def test_what_a_former_service_left_ends_when_the_first_list_does_not_name_it() -> None:
    backend = with_former("192.0.2.0/24", "198.51.100.0/24")
    async with bridge(backend=backend) as site:
        site.dnsdist.answer = b""
        await site.until(lambda: site.part.warnings)
        assert site.targets == {"192.0.2.0/24", "198.51.100.0/24"}
        site.dnsdist.has({"192.0.2.0/24": entry()})
        await site.until(lambda: site.targets == {"192.0.2.0/24"})
        await site.polled()
        assert site.targets == {"192.0.2.0/24"}


@pytest.mark.parametrize("is_reload", [False, True])
async def test_what_is_left_ends_where_no_dnsdist_is_configured(*, is_reload: bool) -> None:
    backend = with_former("192.0.2.0/24", ".evil.example")
    async with bridge(backend=backend) as site:
        site.dnsdist.answer = b""
        if is_reload:
            await site.until(lambda: site.part.warnings)
        site.part.reload(settings_of())
        await site.until(lambda: not site.targets)


async def test_zones_that_wait_are_one_task_that_makes_the_newest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.AT_ONCE", 3)
    monkeypatch.setattr("xdpctl.feeds.dnsdist.ledger.AT_ONCE", 3)
    async with bridge() as site:
        site.backend.zones_go.clear()
        for number in range(4):
            seconds = 30 + 10 * number
            site.dnsdist.has({f"{letter}.example.": entry(seconds=seconds) for letter in "abcdefg"})
            await site.polled()
        waiting = [task for task in asyncio.all_tasks() if task.get_name() == "dnsdist-zones"]
        assert len(waiting) == 1
        site.backend.zones_go.set()
        await site.until(lambda: len(site.targets) == 7)
        await waiting[0]
        assert min(wish.end for wish in site.backend.claims.values()) > boot_clock() + 55
        assert max(site.backend.settles) <= 3


async def test_what_takes_long_with_many_claims_is_done_off_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.COUNT_SECONDS", 0.02)
    threads: dict[str, set[int]] = {}

    def watched(name: str, function: Callable[..., object]) -> Callable[..., object]:
        def call(*values: object) -> object:
            threads.setdefault(name, set()).add(threading.get_ident())
            return function(*values)

        return call

    names = {"drop", "recall", "count", "count_held", "add_own"}
    for name in names:
        monkeypatch.setattr(Ledger, name, watched(name, getattr(Ledger, name)))
    counted = watched("counted", Ledger.counted.__get__)
    monkeypatch.setattr(Ledger, "counted", property(counted))
    async with bridge(hold=60) as site:
        await site.until(lambda: threads.keys() == {*names, "counted"})
    assert threading.get_ident() not in set().union(*threads.values())


async def test_a_block_that_ends_in_a_flood_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.COUNT_SECONDS", 0.02)
    async with bridge(hold=60) as site:
        site.backend.per_look = 1_000
        site.dnsdist.has({"192.0.2.0/24": entry(seconds=1)})
        await site.until(lambda: sum(site.backend.counters.values()) > 3_000)
        site.dnsdist.has({})
        await site.until(lambda: site.part.view().held)
        await site.polled()
        assert site.targets == {"192.0.2.0/24"}


async def test_an_entry_of_dnsdists_that_is_hit_gives_way_to_our_claim(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.COUNT_SECONDS", 0.02)
    place = MapName.ADDR_V4, bytes((1, 2, 0, 192))
    async with bridge(hold=60) as site:
        site.backend.per_look = 1_000
        site.backend.theirs.add(place)
        site.backend.hits_often = {place: RuleAction.DROP}
        await site.until(lambda: site.targets == {"192.0.2.1"})
        assert site.part.view().held == 0
        site.backend.theirs.clear()
        await site.until(lambda: site.part.view().held)
        assert site.backend.looked_beneath


async def test_the_next_poll_leaves_dnsdist_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll that took a while is not repeated before twenty times that."""
    monkeypatch.setattr("xdpctl.feeds.dnsdist.bridge.REST", 1e9)
    async with bridge() as site:
        await site.until(lambda: site.dnsdist.requests)
        await asyncio.sleep(10 * POLL)
        assert len(site.dnsdist.requests) == 1
