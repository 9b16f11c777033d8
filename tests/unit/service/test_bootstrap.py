"""What comes before the service: what is compiled, and what is given back where it fails."""

from __future__ import annotations

import errno
import signal
import sys
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self, cast

import pytest

from tests.support.fake_host import FakeHost
from xdpctl.errors import KernelError, SettingsError
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.process.children import SIGNALS
from xdpctl.program.cache import CachingCompiler
from xdpctl.program.config import TableProgram, program_config
from xdpctl.service import bootstrap
from xdpctl.service.bootstrap import begin
from xdpctl.settings import XskFamily
from xdpctl.settings.lists import ListSettings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from xdpctl.program.cache import BytecodeCache
    from xdpctl.program.compiler import Compilation
    from xdpctl.program.config import Recipe
    from xdpctl.settings import Settings


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeHost:
    return FakeHost(monkeypatch, tmp_path)


@pytest.fixture
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep what begins from this process's log and privileges; signals and turns are put back."""
    monkeypatch.setattr(bootstrap, "configure", lambda *_: None)
    monkeypatch.setattr(bootstrap, "keep_needed", lambda: True)
    monkeypatch.setattr(bootstrap, "Loader", Started)
    Started.order = []
    turn = sys.getswitchinterval()
    yield
    sys.setswitchinterval(turn)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


class Endless:
    """A compilation that ends when it is cancelled."""

    def __init__(self, config: Recipe) -> None:
        self.config = config
        self.cancelled = threading.Event()

    def run(self) -> Bytecode:
        self.cancelled.wait(10)
        return Bytecode(bytes(8))

    def cancel(self) -> None:
        self.cancelled.set()


class Started:
    """A loader that notes when it was started and ended."""

    order: ClassVar[list[str]] = []

    @classmethod
    def start(cls) -> Self:
        cls.order.append("started")
        return cls()

    def close(self) -> None:
        self.order.append("closed")


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[Endless]:
    begun: list[Endless] = []

    def compilation(config: Recipe, *, urgent: bool) -> Compilation:
        assert urgent
        begun.append(Endless(config))
        return cast("Compilation", begun[-1])

    def compiler(cache: BytecodeCache) -> CachingCompiler:
        return CachingCompiler(cache, compilation)

    monkeypatch.setattr(bootstrap, "CachingCompiler", compiler)
    return begun


@pytest.mark.usefixtures("_in_this_process")
def test_the_program_of_the_settings_is_begun_at_once_and_cancelled_if_nobody_takes_it(
    host: FakeHost, compilations: list[Endless]
) -> None:
    settings = host.settings("--port", "5300")
    with begin(lambda: settings) as begun:
        (compilation,) = compilations
        assert compilation.config == program_config(settings)
        assert not compilation.cancelled.is_set()
        assert begun.settings is settings
    assert compilation.cancelled.is_set()


@pytest.mark.usefixtures("_in_this_process")
def test_with_lists_what_they_need_is_begun_as_well(
    host: FakeHost, compilations: list[Endless], tmp_path: Path
) -> None:
    settings = replace(host.settings(), lists=(ListSettings(tmp_path / "x", "list:x"),))
    with begin(lambda: settings):
        assert [compilation.config for compilation in compilations] == [
            program_config(settings, tables=True),
            TableProgram(),
        ]
    assert all(compilation.cancelled.is_set() for compilation in compilations)


@pytest.mark.usefixtures("_in_this_process")
def test_the_loader_is_started_before_anything_is_given_up_and_ends_last(
    host: FakeHost, compilations: list[Endless], monkeypatch: pytest.MonkeyPatch
) -> None:
    def keep_needed() -> bool:
        assert compilations == []
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        Started.order.append("held back" if blocked >= set(SIGNALS) else "not held back")
        return True

    monkeypatch.setattr(bootstrap, "keep_needed", keep_needed)
    with begin(host.settings) as begun:
        assert isinstance(begun.loader, Started)
        assert Started.order == ["started", "held back"]
    assert Started.order == ["started", "held back", "closed"]
    assert compilations[0].cancelled.is_set()


@pytest.mark.usefixtures("_in_this_process", "compilations")
def test_what_cannot_be_given_up_is_said(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(bootstrap, "keep_needed", lambda: False)
    with begin(host.settings):
        pass
    assert "CAP_PERFMON" in str(caplog.records[-1].__dict__)


@pytest.mark.usefixtures("_in_this_process")
def test_the_loader_ends_where_the_start_fails_behind_it(
    host: FakeHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(_: object) -> CachingCompiler:
        raise KernelError("cannot start another thread", errno.EAGAIN)

    monkeypatch.setattr(bootstrap, "CachingCompiler", none)
    with pytest.raises(KernelError):
        begin(host.settings)
    assert Started.order == ["started", "closed"]


@pytest.mark.usefixtures("_in_this_process")
def test_signals_wait_for_the_service(host: FakeHost, compilations: list[Endless]) -> None:
    with begin(host.settings):
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert blocked >= set(SIGNALS)
    assert compilations


@pytest.mark.usefixtures("_in_this_process")
def test_wrong_settings_begin_nothing(compilations: list[Endless]) -> None:
    def load() -> Settings:
        raise SettingsError("cannot do that")

    with pytest.raises(SettingsError):
        begin(load)
    assert compilations == []


@pytest.mark.parametrize(
    ("options", "families"),
    [
        ((), None),
        (("--xsk",), XskFamily.BOTH),
        (("--xsk", "--xsk-family", "4"), XskFamily.V4),
    ],
)
def test_the_families_of_af_xdp_are_compiled_in(
    host: FakeHost, options: tuple[str, ...], families: XskFamily | None
) -> None:
    assert program_config(host.settings(*options)).xsk is families


def test_what_is_filtered_is_compiled_in(host: FakeHost) -> None:
    config = program_config(
        host.settings(
            "--port", "5300", "--address-port", "853", "--address", "192.0.2.0/24", "--no-tcp"
        )
    )
    assert (config.ports, config.address_ports, config.tcp) == ((5300,), (853,), False)
    assert [str(net) for net in config.addresses] == ["192.0.2.0/24"]
