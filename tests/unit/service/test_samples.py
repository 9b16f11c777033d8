"""Samples in a whole service, on a kernel that gives them and on one that does not."""

from __future__ import annotations

import asyncio
import errno
from typing import TYPE_CHECKING

import pytest

from tests.support.whole_service import PATIENCE, Home
from xdpctl.abi import PacketAction, Reason
from xdpctl.errors import NoSamplesError, VerifierError
from xdpctl.samples.sample import Sample
from xdpctl.service import samples as samples_module
from xdpctl.service.samples import Samples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from xdpctl.abi import MapName
    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.program.config import ProgramConfig
    from xdpctl.settings import Settings

SAMPLE = Sample(0.0, "eth0", PacketAction.DROP, Reason.QNAME, weight=8, length=60, frame=bytes(60))


class Session:
    """Stands for sampling: a sample at each look."""

    open: int = 0
    settings: list[Settings] = []  # noqa: RUF012 - set anew for each test
    failure: Exception | None = None

    def __init__(self, maps: Mapping[MapName, Map], settings: Settings, _names: object) -> None:
        assert {*maps} == {"samples", "sample-state"}
        if Session.failure is not None:
            raise Session.failure
        Session.open += 1
        Session.settings.append(settings)

    def read(self) -> list[Sample]:
        return [SAMPLE]

    def close(self) -> None:
        Session.open -= 1


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    made = Home(monkeypatch, tmp_path)
    Session.open, Session.settings, Session.failure = 0, [], None
    monkeypatch.setattr(samples_module, "_Session", Session)
    monkeypatch.setattr(samples_module, "READ_SECONDS", 0.01)
    monkeypatch.setattr(samples_module, "RETRY_SECONDS", 0.01)
    yield made
    made.close()


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> list[Samples]:
    """The part of each service that is started."""
    made: list[Samples] = []
    begin = Samples.begin

    def noted(part: Samples, config: ProgramConfig) -> ProgramConfig:
        made.append(part)
        return begin(part, config)

    monkeypatch.setattr(Samples, "begin", noted)
    return made


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 - it is seen from outside
            await asyncio.sleep(0.005)


async def test_packets_are_sampled_only_while_somebody_looks(
    home: Home, parts: list[Samples]
) -> None:
    async with home.running():
        hub = parts[0].hub
        assert Session.open == 0
        async with asyncio.timeout(PATIENCE), hub.subscribe() as inbox:
            assert await anext(inbox) == [SAMPLE]
            assert Session.open == 1
        await until(lambda: Session.open == 0)
    with pytest.raises(NoSamplesError, match="the service stops"):
        async with hub.subscribe():
            pass
    assert [config.samples for config in home.compiled] == [512]


async def test_without_a_ring_buffer_the_service_runs_and_says_so(
    home: Home, parts: list[Samples]
) -> None:
    home.kernel.faults.set("create_map", errno.EINVAL)
    async with home.running():
        (warning,) = parts[0].warnings
        assert "no packets are sampled: cannot create_map" in warning
        assert parts[0].failures == ()
        with pytest.raises(NoSamplesError, match="create_map"):
            async with parts[0].hub.subscribe():
                pass
    assert home.tested[-1].samples == 0


async def test_a_program_that_the_kernel_refuses_is_built_without_samples(
    home: Home, parts: list[Samples]
) -> None:
    refusal = VerifierError("cannot load program xdpctl_test: unknown func", log="")

    def self_test(_bpf: object, config: object, _program: object) -> None:
        home.tested.append(config)  # type: ignore[arg-type]
        if config.samples:  # type: ignore[attr-defined]
            raise refusal

    home.self_test = self_test  # type: ignore[method-assign]
    async with home.running():
        assert parts[0].warnings == (f"no packets are sampled: {refusal.sentence}",)
    assert [config.samples for config in home.tested] == [512, 0]


async def test_a_reload_switches_samples_off_and_on(home: Home, parts: list[Samples]) -> None:
    async with home.running("--sample-length", "100") as service:
        (part,) = parts
        home.options = ("--sample-budget", "0")
        service._reload.set()
        await until(lambda: part.hub.trouble)
        home.options = ("--sample-length", "64")
        service._reload.set()
        await until(lambda: not part.hub.trouble)
        async with asyncio.timeout(PATIENCE), part.hub.subscribe() as inbox:
            assert await anext(inbox) == [SAMPLE]
        assert Session.settings[-1].sample_length == 64
    assert [config.samples for config in home.compiled] == [104, 0, 64]


async def test_another_budget_is_used_while_somebody_looks(
    home: Home, parts: list[Samples]
) -> None:
    async with home.running() as service:
        async with parts[0].hub.subscribe():
            await until(lambda: Session.open)
            home.options = ("--sample-budget", "2001")
            service._reload.set()
            await until(lambda: len(Session.settings) == 2)
        await until(lambda: Session.open == 0)
    assert [settings.sample_budget for settings in Session.settings] == [2000, 2001]
    assert len(home.compiled) == 1


async def test_samples_that_cannot_be_read_are_tried_again(
    home: Home, parts: list[Samples]
) -> None:
    Session.failure = NoSamplesError("cannot map the memory of map samples")
    async with home.running():
        (part,) = parts
        async with part.hub.subscribe() as inbox:
            assert [batch async for batch in inbox] == []
        assert "cannot map the memory" in part.warnings[0]
        Session.failure = None
        await until(lambda: not part.hub.trouble)
        async with asyncio.timeout(PATIENCE), part.hub.subscribe() as inbox:
            assert await anext(inbox) == [SAMPLE]
        await until(lambda: not part.warnings)
