"""Fixtures of the command line's tests."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import CommandLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fake_service import FakeService


@pytest.fixture
def cli(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    """The command line, with no service on its control socket and no settings of the host's."""
    for name in [name for name in os.environ if name.startswith("XDPCTL_")]:
        monkeypatch.delenv(name)
    # pytest's own directory may be deeper than a socket's path is long
    with tempfile.TemporaryDirectory(prefix="xdpctl-") as directory:
        control = Path(directory, "run", "control.sock")
        monkeypatch.setenv("XDPCTL_CONTROL", str(control))
        monkeypatch.setenv("XDPCTL_STATE", str(Path(directory, "state", "state.db")))
        yield CommandLine(control, capsys)


@pytest.fixture
def service(cli: CommandLine) -> Iterator[FakeService]:
    """A fake service on that command line's control socket."""
    with cli.service() as service:
        yield service
