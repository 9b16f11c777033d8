"""Every part of the service has one shape, and one list is all that knows them."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.whole_service import PATIENCE, Home
from xdpctl.feeds.files import ListFiles
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.service import service as service_module
from xdpctl.service import start as start_module
from xdpctl.service.interface_watch import InterfaceWatch
from xdpctl.service.tasks import run_parts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from xdpctl.settings import Settings
    from xdpctl.status.part import ServicePart

NAMES = [
    "interfaces",
    "program",
    "pins",
    "look",
    "tables",
    "limits",
    "tcp-proofs",
    "zones",
    "samples",
    "precompile",
    "settle",
    "claims",
    "widened-names",
    "expire",
    "stale-entries",
    "lists",
    "zone-lists",
    "dnsdist",
    "publish",
    "live",
    "dnstap",
    "reload",
    "heap",
    "watchdog",
]


class Dummy:
    """A part that notes what is asked of it."""

    name = "dummy"
    warnings = ("the dummy warns",)
    failures: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.reloaded = asyncio.Event()
        self.error: Exception | None = None

    def reload(self, settings: Settings) -> None:
        """Note it."""
        self.calls.append(f"reload {settings.log_level}")
        self.reloaded.set()

    async def run(self) -> None:
        """Note begin and end."""
        self.calls.append("run")
        if self.error is not None:
            raise self.error
        try:
            await asyncio.Event().wait()
        finally:
            self.calls.append("end")


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    return Home(monkeypatch, tmp_path)


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[ServicePart]:
    """Give what a service runs, once it runs."""
    seen: list[ServicePart] = []

    async def noted(parts: Iterable[ServicePart], stop: asyncio.Event) -> None:
        seen.extend(parts)
        await run_parts(seen, stop)

    monkeypatch.setattr(service_module, "run_parts", noted)
    return seen


def is_sentences(value: object) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(sentence, str) and sentence for sentence in value
    )


async def test_every_part_has_the_shape(home: Home, parts: list[ServicePart]) -> None:
    async with home.running():
        assert [part.name for part in parts] == NAMES
        for part in parts:
            assert is_sentences(part.warnings), part.name
            assert is_sentences(part.failures), part.name
            assert list(inspect.signature(part.reload).parameters) == ["settings"], part.name
            assert inspect.iscoroutinefunction(part.run), part.name
            assert not inspect.signature(part.run).parameters, part.name


async def test_a_part_runs_as_a_task_of_its_name(home: Home) -> None:
    async with home.running():
        running = Counter(task.get_name() for task in asyncio.all_tasks())
    expected = Counter(NAMES) - Counter(["watchdog"])  # no watchdog waits for a sign
    assert running & expected == expected


def given(value: object) -> property:
    """Return an attribute with this value, whatever is assigned to it."""
    return property(lambda _: value, lambda _thing, _assigned: None)


async def test_status_shows_interfaces_then_maps_then_destinations_then_lists(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InterfaceWatch, "warnings", given(("an interface",)), raising=False)
    monkeypatch.setattr(ListFiles, "warnings", given(("a list",)))
    monkeypatch.setattr(DestinationWatch, "look", lambda *_: ("a destination",))
    monkeypatch.setattr(SharedMaps, "shrunk", given({"addr-v4": "a map"}), raising=False)
    async with home.running():
        warnings = (await home.ask("GET", "/api/v1/status")).body["warnings"]
    assert warnings == ["an interface", "a map", "a destination", "a list"]


async def test_a_loader_that_has_ended_is_a_reason_before_the_parts_run(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(_parts: object, stop: asyncio.Event) -> None:
        await stop.wait()

    monkeypatch.setattr(service_module, "run_parts", never)
    home.loader_trouble = "the loader has ended"
    task = asyncio.create_task(home.service().run())
    await home.told("EXTEND_TIMEOUT_USEC=30000000")
    reply = await home.ask("GET", "/readyz")
    assert (reply.status, "the loader has ended" in reply.body) == (503, True)
    signal.raise_signal(signal.SIGTERM)
    assert await task == 0


@pytest.fixture
def dummy(monkeypatch: pytest.MonkeyPatch) -> Dummy:
    """Give a part that is on the list of start.py."""
    dummy = Dummy()
    made: Callable[..., tuple[ServicePart, ...]] = start_module._parts
    monkeypatch.setattr(
        start_module, "_parts", lambda *args, **named: (*made(*args, **named), dummy)
    )
    return dummy


async def test_a_part_on_the_list_is_shown_reloaded_and_run(home: Home, dummy: Dummy) -> None:
    async with home.running():
        assert "the dummy warns" in (await home.ask("GET", "/api/v1/status")).body["warnings"]
        home.options = ("--log-level", "debug")
        signal.raise_signal(signal.SIGHUP)
        await asyncio.wait_for(dummy.reloaded.wait(), PATIENCE)
    assert dummy.calls == ["run", "reload debug", "end"]


async def test_a_part_that_fails_is_a_reason_from_the_first_look_on(
    home: Home, dummy: Dummy
) -> None:
    dummy.failures = ("the dummy failed",)
    service = home.service()
    task = asyncio.create_task(service.run())
    await home.told("EXTEND_TIMEOUT_USEC=30000000")
    reply = await home.ask("GET", "/readyz")
    assert (reply.status, "the dummy failed" in reply.body) == (503, True)
    service._stop.set()
    assert await task == 0


async def test_an_error_of_a_part_ends_the_others(dummy: Dummy) -> None:
    broken = Dummy()
    broken.error = ZeroDivisionError()
    with pytest.raises(BaseExceptionGroup) as caught:
        await asyncio.wait_for(run_parts([dummy, broken], asyncio.Event()), PATIENCE)
    assert caught.group_contains(ZeroDivisionError)
    assert dummy.calls == ["run", "end"]
