"""Claims of the suite that are tried on every kernel: pytest inside a guest.

`make test` holds ATTACHING and SAMPLES against the machine's kernel; here the same tests run
on another, with bytecode that the host compiled in the place of a compiler. BONDS are claims
that only a guest can be asked, since the machine may lack the module.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.conftest import GUEST
from tests.kernels.checks import Check
from tests.kernels.compiled import program
from tests.kernels.configurations import DEFAULT
from xdpctl.program.compiler import Compilation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bytecode import Bytecode

ATTACHING: Final = "tests/kernel/test_filter_on_veth.py"
SAMPLES: Final = "tests/kernel/test_samples.py"
BONDS: Final = "tests/kernels/bonds.py"
SINCE: Final = {
    f"{ATTACHING}::test_a_port_of_a_bridge_that_has_a_program_is_refused_by_its_name": (5, 15),
}
"""Tests of what only later kernels refuse: an earlier one runs both programs."""

CONFIGS: Final = (replace(DEFAULT, ports=(53, 5353)),)
"""What they load besides the default."""

OPTIONS: Final = (
    *("-q", "--color=no", "--tb=short"),
    *("-p", "no:cacheprovider", "-p", "pytest_asyncio.plugin"),
)
"""Of the plugins only what pyproject.toml speaks of: importing the others takes long."""

ENOUGH: Final = 30
"""Last lines of what a failed test has to say."""


class _Notes:
    """Keeps what came of each test; a pytest plugin."""

    def __init__(self) -> None:
        self.checks: dict[str, Check] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note a test once, failed if any of its parts is."""
        if report.failed or report.nodeid not in self.checks:
            seen = "\n".join(report.longreprtext.splitlines()[-ENOUGH:])
            self.checks[report.nodeid] = Check(report.nodeid, report.passed, seen)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Note a file that cannot be read as one claim that did not hold."""
        if report.failed:
            self.checks[report.nodeid] = Check(report.nodeid, held=False, seen=report.longreprtext)


def _deselected() -> Iterator[str]:
    kernel = tuple(int(part) for part in os.uname().release.split(".")[:2])
    for test, since in SINCE.items():
        if kernel < since:
            yield f"--deselect={test}"


def main(folder: Path, *files: str) -> int:
    """Try the tests of these files, then write a line a claim; 0 when all of them hold.

    Args:
        folder: with the programs.
        files: ATTACHING, SAMPLES, BONDS.
    """
    notes = _Notes()
    with pytest.MonkeyPatch.context() as patch:

        def compiled(compilation: Compilation) -> Bytecode:
            return program(folder, compilation._recipe)

        patch.setattr(Compilation, "run", compiled)
        patch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        patch.setenv(GUEST, "1")
        status = pytest.main([*OPTIONS, *_deselected(), *files], [notes])
    sys.stdout.writelines(check.line() for check in notes.checks.values())
    return int(status)


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *sys.argv[2:]))
