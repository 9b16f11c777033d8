"""A start and a stop in which a system call fails, each in turn: one sentence or ready."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from typing import TYPE_CHECKING, Self

import pytest

from tests.support.descriptors import none_left_open
from tests.support.failing_calls import Strikes
from tests.support.fake_host import INTERFACE
from tests.support.whole_service import Home
from xdpctl.errors import XdpctlError
from xdpctl.kernel.bpf.pins import netns_inode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK = f"{netns_inode()}-{INTERFACE}:lock"
NOTHING = {"attached": [], "descriptors": 0, "own pins": set(), "control socket": False}
ONLY_THE_LOCK = NOTHING | {"own pins": {LOCK}}
"""An empty directory that is nobody's: who cannot lock it may not remove it."""


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(20):
        while True:
            if condition():
                return
            await asyncio.sleep(0.001)


class Log(logging.Handler):
    """What is logged: when the service is ready, and tracebacks, which must not be."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self.tracebacks: list[str] = []

    def __enter__(self) -> Self:
        logging.getLogger("xdpctl").setLevel(logging.INFO)
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, *_: object) -> None:
        logging.getLogger().removeHandler(self)
        logging.getLogger("xdpctl").setLevel(logging.NOTSET)

    def emit(self, record: logging.LogRecord) -> None:
        self.seen[record.getMessage()] += 1
        if record.exc_info:
            self.tracebacks.append(record.getMessage())

    async def until_ready(self, task: asyncio.Task[int]) -> None:
        """Wait for that, or for the end of the service."""
        await until(lambda: bool(self.seen["ready"]) or task.done())
        del self.seen["ready"]


class Trials:
    """Services on hosts of their own, one after the other, in one process.

    Attributes:
        strikes: the call that fails.
        home: the host of the present trial.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, directory: Path, log: Log) -> None:
        self._monkeypatch = monkeypatch
        self._directory = directory
        self._numbers = itertools.count(1)
        self.log = log
        self.home = self._home()
        self.strikes = Strikes(monkeypatch, self.home.kernel)

    def _home(self) -> Home:
        directory = self._directory / str(next(self._numbers))
        directory.mkdir()
        return Home(self._monkeypatch, directory)

    def anew(self) -> Home:
        """Move to another host."""
        self.home.close()
        self.home = self._home()
        self.strikes.use(self.home.kernel)
        return self.home

    async def start(self, number: int, turn: int = 0) -> XdpctlError | None:
        """Start with the `number`-th call failing and stop without; return what ended it."""
        home = self.anew()
        service = home.service()
        self.strikes.arm(number, turn)
        task = asyncio.create_task(service.run())
        async with asyncio.timeout(20):
            await self.log.until_ready(task)
            self.strikes.disarm()
            service._stop.set()
            await asyncio.wait({task})
        return _ending(task)

    async def stop(self, number: int, turn: int = 0) -> XdpctlError | None:
        """Start, and stop with the `number`-th call failing; return what it ended with."""
        home = self.anew()
        service = home.service()
        task = asyncio.create_task(service.run())
        async with asyncio.timeout(20):
            await self.log.until_ready(task)
            self.strikes.arm(number, turn)
            service._stop.set()
            await asyncio.wait({task})
        self.strikes.disarm()
        return _ending(task)


def _ending(task: asyncio.Task[int]) -> XdpctlError | None:
    """Return the one error that a service ended with; anything else fails the test."""
    error = task.exception()
    if error is None or isinstance(error, XdpctlError):
        return error
    raise error


@pytest.fixture
def log() -> Iterator[Log]:
    with Log() as log:
        yield log


@pytest.fixture
async def trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: Log) -> Trials:
    return Trials(monkeypatch, tmp_path, log)


@pytest.fixture(autouse=True)
def _closing(trials: Trials) -> Iterator[None]:
    yield
    trials.strikes.disarm()
    trials.home.close()


def sites(made: list[tuple[str, str]]) -> list[int]:
    """Return the numbers of those calls that are the first from their line of xdpctl."""
    return [number for number, step in enumerate(made, 1) if step not in made[: number - 1]]


def wrong(trials: Trials, ended: XdpctlError | None) -> list[object]:
    """Return what an operator should not meet after a trial."""
    strikes, log = trials.strikes, trials.log
    found: list[object] = []
    if ended is not None and "\n" in ended.sentence:
        found.append(ended.sentence)
    if log.tracebacks:
        found.append(log.tracebacks.copy())
        log.tracebacks.clear()
    left = trials.home.traces()
    at_the_lock = any(what in (strikes.struck or "") for what in (":lock", "flock"))
    if left != NOTHING and not (at_the_lock and left == ONLY_THE_LOCK):
        found.append(left)
    return [strikes.struck, *found] if found else []


async def test_whatever_fails_in_a_start_it_is_ready_or_one_sentence_and_leaves_nothing(
    trials: Trials,
) -> None:
    await trials.start(0)
    chosen = sites(list(trials.strikes.made))
    assert len(chosen) > 40
    with none_left_open():
        refused = 0
        for number in chosen:
            ended = await trials.start(number, turn=number)
            refused += ended is not None
            assert wrong(trials, ended) == []
        assert refused > 20


async def test_whatever_fails_in_a_stop_the_program_is_off_and_nothing_is_held(
    trials: Trials,
) -> None:
    await trials.stop(0)
    chosen = sites(list(trials.strikes.made))
    assert len(chosen) > 3
    with none_left_open():
        for number in chosen:
            ended = await trials.stop(number, turn=number)
            struck = trials.strikes.struck or ""
            traces = trials.home.traces()
            assert (traces["attached"], traces["descriptors"], ended) == ([], 0, None), struck
            assert wrong(trials, ended) == [] or "os.unlink" in struck, struck
