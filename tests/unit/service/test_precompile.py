"""What the first zone or list rule needs is compiled before, in the background, and once."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING

import pytest

from tests.support.whole_service import PATIENCE, Home
from xdpctl.errors import CompilerError
from xdpctl.program.config import ProgramConfig, TableProgram
from xdpctl.service import own_tables, precompile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NOTHING = {"attached": [], "descriptors": 0, "own pins": set(), "control socket": False}
KEEP = ("--on-exit", "keep")
ZONE = ".evil.example"


@pytest.fixture
async def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Home:
    home = Home(monkeypatch, tmp_path)
    monkeypatch.setattr(own_tables, "PACKETS_SECONDS", 0.0)
    monkeypatch.setattr(precompile, "DELAY_SECONDS", 0.01)
    return home


@pytest.fixture(autouse=True)
def _closing(home: Home) -> Iterator[None]:
    yield
    home.close()


async def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a fake compiler has no event
            await asyncio.sleep(0.01)


async def settled() -> None:
    """Wait for many times the delay."""
    await asyncio.sleep(0.2)


async def block(home: Home, target: str) -> int:
    """Block a target; return the status."""
    return (await home.ask("POST", "/api/v1/rules", json=[{"target": target}])).status


async def test_the_program_with_tables_and_the_table_program_are_compiled_ahead(
    home: Home,
) -> None:
    async with home.running("--port", "53", "--port", "5353"):
        await until(lambda: len(home.compiled_ahead) == 2)
        await settled()
        (filtering, writing) = home.compiled_ahead
        assert isinstance(filtering, ProgramConfig)
        assert (filtering.tables, filtering.ports) == (True, (53, 5353))
        assert writing == TableProgram()
        assert [config.tables for config in home.compiled] == [False]
    assert home.traces() == NOTHING


async def test_the_first_zone_asks_for_exactly_what_was_compiled_ahead(home: Home) -> None:
    async with home.running():
        await until(lambda: len(home.compiled_ahead) == 2)
        assert await block(home, ZONE) == 200
        assert home.compiled[-1] == home.compiled_ahead[0]


async def test_nothing_is_compiled_ahead_before_the_service_is_ready(home: Home) -> None:
    home.slow.clear()
    service = home.service()
    task = asyncio.create_task(service.run())
    await home.compiling.wait()
    await settled()
    assert home.compiled_ahead == []
    home.slow.set()
    await home.told("READY=1")
    await until(lambda: len(home.compiled_ahead) == 2)
    service._stop.set()
    assert await task == 0


async def test_nothing_is_compiled_ahead_where_the_tables_are_in_force(home: Home) -> None:
    async with home.running(*KEEP):
        assert await block(home, ZONE) == 200
    home.compiled_ahead.clear()
    async with home.running(*KEEP):
        assert home.reads_tables()
        await settled()
    assert home.compiled_ahead == []


async def test_a_failure_is_logged_once_and_the_first_zone_compiles_for_itself(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    home.ahead_failure = CompilerError("cannot compile the filter: out of memory")
    async with home.running():
        await until(lambda: len(home.compiled_ahead) == 1)
        await settled()
        assert len(home.compiled_ahead) == 1
        said = [r for r in caplog.records if r.name == precompile.__name__]
        assert [r.getMessage() for r in said] == ["not-compiled-ahead"]
        assert "out of memory" in str(vars(said[0]))
        assert (await home.ask("GET", "/readyz")).status == 200
        assert await block(home, ZONE) == 200
        assert home.reads_tables()


async def test_a_stop_ends_it(home: Home) -> None:
    home.ahead_slow.clear()
    async with home.running():
        await until(lambda: len(home.compiled_ahead) == 1)
    assert home.ahead_ended == 1
    assert home.traces() == NOTHING


async def test_a_reload_with_another_program_compiles_ahead_for_that(home: Home) -> None:
    async with home.running():
        await until(lambda: len(home.compiled_ahead) == 2)
        home.options = ("--port", "5353")
        signal.raise_signal(signal.SIGHUP)
        await until(lambda: len(home.compiled_ahead) == 4)
        filtering = home.compiled_ahead[2]
        assert isinstance(filtering, ProgramConfig)
        assert (filtering.tables, filtering.ports) == (True, (5353,))
