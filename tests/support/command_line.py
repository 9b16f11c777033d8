"""Running one command line in this process, and what it wrote."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.fake_service import running
from xdpctl.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

    from tests.support.fake_service import FakeService


@dataclass(frozen=True)
class Result:
    """What a command line came to."""

    status: int
    output: str
    errors: str


@dataclass
class CommandLine:
    """A command line whose default control socket is in a directory of the test's own."""

    control: Path
    capsys: pytest.CaptureFixture[str]

    def __call__(self, *arguments: str) -> Result:
        status = main(arguments)
        captured = self.capsys.readouterr()
        return Result(status, captured.out, captured.err)

    @contextmanager
    def service(self) -> Iterator[FakeService]:
        """Run a fake service on the control socket."""
        with running(self.control) as service:
            yield service
