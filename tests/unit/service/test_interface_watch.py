"""News of an interface are acted on at once, others' are not, and what is new is said."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_host import INTERFACE, FakeHost, bytecode
from xdpctl.errors import KernelError
from xdpctl.filter.filter import Filter
from xdpctl.filter.view import FilterState
from xdpctl.kernel.net.interfaces import LinkChange
from xdpctl.maps.shared import SharedMaps
from xdpctl.maps.xsk_destinations import DestinationWatch
from xdpctl.service import interface_watch
from xdpctl.service.interface_watch import InterfaceWatch
from xdpctl.status.checks.survey import Survey
from xdpctl.status.observer import Observer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from xdpctl.status.part import ServicePart

PATIENCE = 20.0
Logged = Callable[[str], list[dict[str, object]]]


class Watched:
    """A host with a filter on eth0 and a watch that a test runs; nobody looks by the clock."""

    def __init__(self, host: FakeHost, *options: str) -> None:
        self.host = host
        self.kernel = host.kernel
        settings = host.settings(*options)
        self.filter = Filter(host.bpf, host.netlink, INTERFACE, directory=host.own)
        self.shared = SharedMaps(host.bpf, settings)
        self.shared.inspect()
        self.shared.open()
        self.filter.attach(bytecode(), self.shared.for_interface(INTERFACE), panic=False)
        parts: list[ServicePart] = []
        self.observer = Observer(
            [self.filter],
            self.shared,
            DestinationWatch(self.shared.destination_maps(), host.netlink, restore=False),
            parts=parts,
        )
        survey = Survey(host.bpf, host.netlink, settings, own_directory=host.own)
        self.watch = InterfaceWatch(
            host.netlink,
            survey,
            self.observer,
            settings,
            [survey.interface(INTERFACE)],
            on_thread=self.on_thread,
        )
        parts.append(self.watch)
        self.looks = 0
        self.failing: KernelError | None = None

    def close(self) -> None:
        """Let go of everything."""
        self.filter.close()
        self.shared.__exit__()

    def news(self, name: str = INTERFACE, index: int = 0, previous: str | None = None) -> None:
        """Let the kernel tell of an interface."""
        self.kernel.news.put_nowait(LinkChange(name, index, previous_name=previous))

    async def on_thread(self, function: Callable[[], object]) -> None:
        """Stand for the thread of filters."""
        self.looks += 1
        if self.failing:
            error, self.failing = self.failing, None
            raise error
        function()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run the watch, up to its first look."""
        task = asyncio.create_task(self.watch.run())
        try:
            await self.until(lambda: self.looks == 1)
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something."""
        async with asyncio.timeout(PATIENCE):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.001)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


@pytest.fixture
async def watched(host: FakeHost) -> AsyncIterator[Watched]:
    watched = Watched(host)
    yield watched
    watched.close()


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Logged:
    """Give a function that returns the fields of each line of an event."""
    caplog.set_level(logging.INFO)
    return lambda name: [
        vars(record)["xdpctl_fields"] for record in caplog.records if record.getMessage() == name
    ]


# --- when it looks ----------------------------------------------------------------------------


async def test_it_looks_as_soon_as_it_watches(watched: Watched) -> None:
    """What changed between the start of the service and the watch is not missed."""
    watched.kernel.remove_interface(INTERFACE)
    async with watched.running():
        assert watched.filter.view().state is FilterState.LOST


async def test_an_interface_that_comes_back_is_filtered_at_once(watched: Watched) -> None:
    async with watched.running():
        watched.kernel.remove_interface(INTERFACE)
        watched.news()
        await watched.until(lambda: watched.filter.view().state is FilterState.LOST)
        watched.kernel.add_interface(INTERFACE)
        watched.news()
        await watched.until(lambda: watched.filter.view().state is FilterState.ATTACHED)


async def test_what_was_seen_is_published_at_once(watched: Watched) -> None:
    async with watched.running():
        watched.kernel.remove_interface(INTERFACE)
        watched.news()
        await watched.until(lambda: not watched.observer.last.ready)


@pytest.mark.parametrize(
    ("name", "own_index", "previous"),
    [
        (INTERFACE, False, None),
        ("wan0", True, None),
        ("wan0", False, INTERFACE),
    ],
)
async def test_name_former_name_and_index_are_what_concerns_us(
    watched: Watched,
    name: str,
    own_index: bool,  # noqa: FBT001 - a table's column
    previous: str | None,
) -> None:
    async with watched.running():
        watched.news(name, watched.host.device.index if own_index else 99, previous)
        await watched.until(lambda: watched.looks == 2)


async def test_the_bond_of_an_interface_concerns_us(watched: Watched) -> None:
    """Another card joins it, and that one's news are no news of ours."""
    watched.host.device.master = watched.kernel.add_interface("bond0").index
    async with watched.running():
        watched.news("bond0", watched.host.device.master)
        await watched.until(lambda: watched.looks == 2)


async def test_news_of_others_are_let_pass(watched: Watched) -> None:
    async with watched.running():
        for number in range(5):
            watched.news(f"veth{number}", 100 + number)
        await watched.until(watched.kernel.news.empty)
        await asyncio.sleep(0.01)
        assert watched.looks == 1


async def test_lost_news_lead_to_a_look(watched: Watched) -> None:
    async with watched.running():
        watched.kernel.news.put_nowait(LinkChange("", 0, resync=True))
        await watched.until(lambda: watched.looks == 2)


async def test_without_any_news_it_looks_now_and_then(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interface_watch, "AT_LEAST_SECONDS", 0.01)
    async with watched.running():
        await watched.until(lambda: watched.looks > 3)


async def test_a_watch_that_breaks_is_begun_anew_and_said(
    watched: Watched,
    monkeypatch: pytest.MonkeyPatch,
    logged: Logged,
) -> None:
    monkeypatch.setattr(interface_watch, "AGAIN_SECONDS", 0.01)
    watched.kernel.faults.set("watch", errno.EMFILE, times=3)
    async with watched.running():
        assert len(logged("interface-watch-broke")) == 3


async def test_a_look_that_fails_is_no_end(watched: Watched, logged: Logged) -> None:
    watched.failing = KernelError("cannot look", errno.EIO)
    async with watched.running():
        watched.news()
        await watched.until(lambda: watched.looks == 2)
        assert len(logged("failed")) == 1


async def test_it_ends_when_it_is_cancelled_in_the_midst_of_news(watched: Watched) -> None:
    for _ in range(20):
        task = asyncio.create_task(watched.watch.run())
        watched.news()
        await asyncio.sleep(0)
        watched.news()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, PATIENCE)


# --- what it says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("up", False, {"what": "state", "former": "up", "now": "down"}),
        ("mtu", 9000, {"what": "mtu", "former": 1500, "now": 9000}),
        ("rx_queues", 4, {"what": "rx_queues", "former": 1, "now": 4}),
        ("driver", "other", {"what": "driver", "former": "fake", "now": "other"}),
    ],
)
def test_a_change_is_said_once_with_both_values(
    watched: Watched, logged: Logged, field: str, value: object, said: dict[str, object]
) -> None:
    setattr(watched.host.device, field, value)
    for _ in range(2):
        watched.watch.look()
    assert logged("interface-changed") == [{"interface": INTERFACE, **said}]


def test_what_changed_while_it_was_away_is_said_too(watched: Watched, logged: Logged) -> None:
    watched.kernel.remove_interface(INTERFACE)
    watched.watch.look()
    watched.kernel.add_interface(INTERFACE).mtu = 1400
    watched.watch.look()
    (change,) = logged("interface-changed")
    assert (change["former"], change["now"]) == (1500, 1400)


def test_an_interface_that_is_down_is_a_warning_until_it_is_up(
    watched: Watched, logged: Logged
) -> None:
    seen = []
    for up in (False, False, True):
        watched.host.device.up = up
        watched.watch.look()
        seen.append([text for text in watched.observer.look().warnings if "is down" in text])
    assert [len(found) for found in seen] == [1, 1, 0]
    assert sum("is down" in str(line["text"]) for line in logged("warning")) == 1


def test_more_queues_than_the_xskmap_has_slots_are_a_warning(host: FakeHost) -> None:
    watched = Watched(host, "--xsk", "--number-of-queues", "2")
    watched.watch.look()
    before = watched.watch.warnings
    host.device.rx_queues = 3
    watched.watch.look()
    (warning,) = set(watched.watch.warnings) - set(before)
    assert warning.startswith("eth0 receives on 3 queues, but its xskmap has 2 slots")
    watched.close()


def test_of_an_interface_that_is_away_nothing_is_warned(watched: Watched) -> None:
    watched.host.device.up = False
    watched.watch.look()
    watched.kernel.remove_interface(INTERFACE)
    watched.watch.look()
    assert watched.watch.warnings == ()
