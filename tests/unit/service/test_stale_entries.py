"""The part shows stale entries, ends them if asked to, and is woken when a process ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from xdpctl.abi import MapName, RuleAction
from xdpctl.errors import KernelError
from xdpctl.maps.holders import Holder
from xdpctl.process.caller import NOBODY
from xdpctl.service import stale_entries
from xdpctl.service.stale_entries import StaleEntries
from xdpctl.settings import load_settings
from xdpctl.store.theirs import Lifted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from xdpctl.settings import Settings

LIFTED = Lifted(MapName.ADDR_V4, "192.0.2.66", RuleAction.DROP, 9)


class FakeAging:
    """What is stale, as a test says; remembers what was ended."""

    def __init__(self) -> None:
        self.counts: dict[MapName, int | None] = {}
        self.next = self.counts
        self.present: frozenset[Holder] = frozenset()
        self.looks = 0
        self.ended: list[float] = []
        self.failure: Exception | None = None

    def look(self) -> None:
        self.looks += 1
        self.counts = self.next
        if self.failure is not None:
            raise self.failure

    def end(self, seconds: float) -> Iterator[Lifted]:
        self.ended.append(seconds)
        if any(self.counts.values()):
            yield LIFTED
            self.counts = {}


class Shown:
    """Stands for the observer."""

    def __init__(self) -> None:
        self.stale: Mapping[MapName, int | None] = {}

    def aged(self, stale: Mapping[MapName, int | None]) -> None:
        self.stale = stale


class FakeAccount:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[object, str, list[Lifted]]] = []

    def lifted(self, who: object, verb: str, entries: list[Lifted]) -> None:
        if entries:
            self.told.append((who, verb, entries))


class Site:
    """The part over a fake, on a thread."""

    def __init__(self, tmp_path: Path, thread: ThreadPoolExecutor) -> None:
        self.nowhere = tmp_path / "none"
        self.aging, self.shown, self.account = FakeAging(), Shown(), FakeAccount()
        self.part = StaleEntries(
            self.aging,  # type: ignore[arg-type]
            self.shown,  # type: ignore[arg-type]
            self.settings(),
            thread,
            self.account,  # type: ignore[arg-type]
        )

    def settings(self, *options: str) -> Settings:
        return load_settings(["-i", "eth0", *options], {}, default_file=self.nowhere)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.part.run())
        await until(lambda: self.aging.looks > 0)
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], object]) -> None:
    """Wait for a condition; a test that waits in vain fails."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.005)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    monkeypatch.setattr(stale_entries, "LOOK_SECONDS", 0.01)
    with ThreadPoolExecutor(1) as thread:
        yield Site(tmp_path, thread)


async def test_stale_entries_are_counted_warned_of_and_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.aging.next = {MapName.ADDR_V4: 2, MapName.QNAMES: 1}
    async with site.running():
        await until(lambda: site.aging.looks > 3)
    assert site.shown.stale == site.aging.next
    (warning,) = site.part.warnings
    assert warning.startswith("3 entries in the shared maps were left by a dnsdist that has ended")
    assert "unblock --force" in warning
    assert Counter(caplog.messages)["stale-entries"] == 2  # one a map
    assert site.aging.ended == []


async def test_where_it_is_unknown_who_holds_the_maps_no_number_is_shown(site: Site) -> None:
    site.aging.next = {MapName.ADDR_V4: None, MapName.QNAMES: None}
    async with site.running():
        await until(lambda: site.aging.looks > 1)
        assert site.shown.stale == site.aging.next
        assert not site.part.warnings
        site.part.reload(site.settings("--stale-dnsdist", "expire:10m"))
        await until(lambda: len(site.part.warnings) == 1)
    warning = site.part.warnings[0]
    assert warning.startswith("--stale-dnsdist expire:10m ends nothing now")


async def test_when_they_are_gone_nothing_is_said(site: Site) -> None:
    site.aging.next = {MapName.ADDR_V4: 1}
    async with site.running():
        await until(lambda: site.part.warnings)
        site.aging.next = {MapName.ADDR_V4: 0}
        await until(lambda: not site.part.warnings)


async def test_a_reload_lets_them_end_and_each_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.aging.next = {MapName.ADDR_V4: 1}
    async with site.running():
        await until(lambda: site.part.warnings)
        site.part.reload(site.settings("--stale-dnsdist", "expire:10m"))
        await until(lambda: bool(site.account.told))
    assert "stale-entry-ended" in caplog.messages
    assert site.account.told == [(NOBODY, "expire", [LIFTED])]
    assert set(site.aging.ended) == {600}


async def test_an_error_that_lasts_is_logged_once(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    site.aging.failure = KernelError("cannot read qnames", 5)
    async with site.running():
        await until(lambda: site.aging.looks > 3)
    assert caplog.messages == ["failed"]


async def test_the_end_of_a_holder_wakes_the_part(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_entries, "LOOK_SECONDS", 3600)
    process = subprocess.Popen(["sleep", "1000"])  # noqa: ASYNC220 - does not wait
    site.aging.present = frozenset({Holder(process.pid, 1, "sleep")})
    async with site.running():
        await until(lambda: len(site.part._watched) == 1)
        assert site.aging.looks == 1
        site.aging.present = frozenset()  # as the next look finds it
        process.kill()
        await asyncio.to_thread(process.wait)
        await until(lambda: site.aging.looks == 2)


async def test_a_holder_that_ended_behind_the_look_wakes_the_part_once(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stale_entries, "LOOK_SECONDS", 3600)
    process = subprocess.Popen(["true"])  # noqa: ASYNC220 - does not wait
    await asyncio.to_thread(process.wait)
    site.aging.present = frozenset({Holder(process.pid, 1, "true")})
    async with site.running():
        await until(lambda: site.aging.looks == 2)
        await asyncio.sleep(0.05)
        assert site.aging.looks == 2
