"""A running service in which a system call fails: the answer is a sentence, and it lives on."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
import threading
from typing import TYPE_CHECKING

import aiohttp
import pytest

from tests.support.failing_calls import Strikes
from tests.support.fake_host import INTERFACE
from tests.support.whole_service import Home, Reply
from tests.unit.service.test_faults_start import Log, sites, until
from xdpctl.abi import MAPS, RULE_MAPS
from xdpctl.rules.keys import stored_key
from xdpctl.service import expiry, looks, settling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

RULES = "/api/v1/rules"
ORIGIN = "file:list"
SOME = [
    {"target": "192.0.2.7", "expires_in": 3600},
    {"target": "198.51.100.0/24", "action": "truncate"},
    {"target": "flood.example", "qtype": "A"},
]
LIST = [{"target": f"203.0.113.{number}"} for number in range(5)]
OTHER = [{"target": f"203.0.113.{number}"} for number in range(3, 8)]


async def put_list(home: Home, rules: list[dict[str, str]]) -> Reply:
    return await home.ask("PUT", f"{RULES}?origin={ORIGIN}", json=rules)


async def prepare(home: Home) -> None:
    """Make rules that the operations can find."""
    assert (await home.ask("POST", RULES, json={"target": "192.0.2.66"})).status == 200
    assert (await put_list(home, LIST)).status == 200


async def import_lines(home: Home) -> Reply:
    """Import two lines; what comes is lines too, of which the last is the answer."""
    lines = b"192.0.2.128\nbad.example for=1h\n"
    reply = await home.ask("POST", f"/api/v1/import?origin={ORIGIN}", data=lines)
    if not isinstance(reply.body, str):
        return reply
    last = json.loads(reply.body.splitlines()[-1])
    return Reply(last.get("status", reply.status), last)


OPERATIONS: dict[str, Callable[[Home], Awaitable[Reply]]] = {
    "block": lambda home: home.ask("POST", RULES, json=SOME),
    "block again": lambda home: home.ask(
        "POST", RULES, json={"target": "192.0.2.66", "action": "truncate"}
    ),
    "unblock": lambda home: home.ask("DELETE", f"{RULES}?target=192.0.2.66"),
    "list": lambda home: home.ask("GET", RULES),
    "list of an origin": lambda home: home.ask("GET", f"{RULES}?origin={ORIGIN}"),
    "top": lambda home: home.ask("GET", "/api/v1/top?by=hits"),
    "export": lambda home: home.ask("GET", "/api/v1/export?all=1"),
    "put": lambda home: put_list(home, OTHER),
    "import": import_lines,
    "flush": lambda home: home.ask("DELETE", f"{RULES}?origin={ORIGIN}"),
    "panic": lambda home: home.ask("POST", "/api/v1/panic"),
    "resume": lambda home: home.ask("POST", "/api/v1/resume"),
    "status": lambda home: home.ask("GET", "/api/v1/status"),
    "detach": lambda home: home.ask("POST", "/api/v1/detach", json={"interfaces": [INTERFACE]}),
}


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return Home(monkeypatch, tmp_path)


@pytest.fixture
def strikes(monkeypatch: pytest.MonkeyPatch, home: Home) -> Strikes:
    return Strikes(monkeypatch, home.kernel)


@pytest.fixture
def log() -> Iterator[Log]:
    with Log() as log:
        yield log


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


def sentence_of(reply: Reply) -> str:
    """Return the problem's sentence; empty where all went well."""
    if reply.status < 400:
        return ""
    detail: str = reply.body["detail"]
    return detail


async def answered(operation: Awaitable[Reply]) -> str:
    """Return the sentence of an answer, or of the last line of one that was cut short."""
    try:
        return sentence_of(await operation)
    except aiohttp.ClientError:
        return "broken off"


def entries(home: Home) -> set[tuple[int, bytes]]:
    """Return what is in the rule maps: map number and key as the state has it."""
    found = set()
    for name in RULE_MAPS:
        with home.host.bpf.open_map(home.host.pins / name) as table:
            ref, size = MAPS[name].ref, table.info.key_size
            for keys, _ in table.chunks():
                parts = (keys[at : at + size] for at in range(0, len(keys), size))
                found |= {(ref, stored_key(ref, key)) for key in parts}
    return found


def notes(home: Home) -> set[tuple[int, bytes]]:
    """Return the entries that the state has notes of."""
    with contextlib.closing(sqlite3.connect(home.directory / "state" / "state.db")) as file:
        return {(ref, bytes(key)) for ref, key in file.execute("SELECT map, key FROM note")}


@pytest.mark.parametrize("name", OPERATIONS)
async def test_whatever_fails_in_an_operation_its_answer_is_one_sentence(
    home: Home, strikes: Strikes, log: Log, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(looks, "LOOK_SECONDS", 3600)
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 3600)
    operation = OPERATIONS[name]
    async with home.running():
        await prepare(home)
        strikes.arm(0)
        assert (await operation(home)).status == 200
        strikes.disarm()
        for number in sites(list(strikes.made)):
            await home.ask("DELETE", f"{RULES}?target=192.0.2.7")
            await home.ask("DELETE", f"{RULES}?target=flood.example&qtype=A")
            await prepare(home)
            strikes.arm(number, turn=number)
            sentence = await answered(operation(home))
            strikes.disarm()
            assert "\n" not in sentence
            assert "error of its own" not in sentence, strikes.struck
            assert log.tracebacks == [], strikes.struck
            assert entries(home) <= notes(home), strikes.struck
            again = await operation(home)
            assert again.status in (200, 404), (strikes.struck, again)
        assert (await home.ask("GET", "/healthz")).status == 200


async def test_whatever_fails_in_a_look_the_next_one_finds_all_well(
    home: Home, strikes: Strikes, log: Log
) -> None:
    async with home.running():
        strikes.arm(0)
        await until(lambda: len(strikes.made) > 200)
        strikes.disarm()
        chosen = sites(list(strikes.made))
        assert len(chosen) > 8
        for number in chosen:
            strikes.arm(number, turn=number)
            await until(lambda: strikes.struck is not None)
            strikes.disarm()
            await home.until("/api/v1/status", ready=True)
            assert log.tracebacks == [], strikes.struck
        (view,) = (await home.ask("GET", "/api/v1/status")).body["interfaces"]
    assert view["reattached"] == 0


async def test_whatever_fails_in_a_reload_the_former_program_goes_on(
    home: Home, strikes: Strikes, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LOOK_SECONDS", 3600)
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 3600)
    ports = (("--port", "53", "--port", "5353"), ("--port", "53"))

    async def reload(turn: int) -> None:
        home.options = ports[turn % 2]
        log.seen.clear()
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: bool(log.seen["reloaded"] or log.seen["reload-failed"]))

    async with home.running():
        pins = home.traces()["own pins"]
        strikes.arm(0)
        await reload(0)
        strikes.disarm()
        chosen = sites(list(strikes.made))
        assert len(chosen) > 15
        for turn, number in enumerate(chosen, 1):
            before = home.mark()
            strikes.arm(number, turn=number)
            await reload(turn)
            strikes.disarm()
            assert home.mark() in (before, len(ports[turn % 2]) // 2), strikes.struck
            assert log.tracebacks == [], strikes.struck
            await reload(turn)
            assert home.mark() == len(ports[turn % 2]) // 2, strikes.struck
            assert len(home.kernel.links) == 1, strikes.struck
        assert home.traces()["own pins"] == pins


async def test_a_host_at_its_limit_of_tasks_ends_no_part(
    home: Home, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The threads that parts need are there from the start."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async with home.running():
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            home.options = ("--port", "53", "--port", "5353")
            signal.raise_signal(signal.SIGHUP)
            await until(lambda: bool(log.seen["reloaded"]))
            await home.until("/api/v1/status", ready=True)
            many = [asyncio.to_thread(int) for _ in range(50)]
            assert sum(await asyncio.gather(*many)) == 0
    assert (log.seen["reload-failed"], log.tracebacks) == (0, [])


async def test_whatever_fails_at_an_expiry_the_rule_goes_a_little_later(
    home: Home, strikes: Strikes, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(looks, "LOOK_SECONDS", 3600)
    monkeypatch.setattr(settling, "SETTLE_SECONDS", 3600)
    monkeypatch.setattr(expiry, "EXPIRY_SECONDS", 0.01)
    rule = {"target": "192.0.2.9", "expires_in": 3600}

    def let_expire() -> None:
        with contextlib.closing(sqlite3.connect(home.directory / "state" / "state.db")) as file:
            file.execute("UPDATE note SET expires = 1")
            file.commit()

    async def gone() -> None:
        await until(lambda: not entries(home))

    async with home.running():
        assert (await home.ask("POST", RULES, json=rule)).status == 200
        strikes.arm(0)
        let_expire()
        await gone()
        strikes.disarm()
        for number in sites(list(strikes.made)):
            assert (await home.ask("POST", RULES, json=rule)).status == 200
            strikes.arm(number, turn=number)
            let_expire()
            await until(lambda: strikes.struck is not None)
            strikes.disarm()
            await gone()
            assert log.tracebacks == [], strikes.struck
        assert (await home.ask("GET", "/healthz")).status == 200
