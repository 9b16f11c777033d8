"""The packet table in a guest: every case through that kernel's program test runs.

The kernel engine is tests/engines', but for where bytecode comes from: the host has
compiled it. `python -m tests.kernels.packet_table FOLDER` is what runs in the guest.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.engines.entries import Index
from tests.engines.kernel import Kernel
from tests.kernels.compiled import program
from tests.packets.table import OF_SHARED_MAPS as CASES
from xdpctl.abi import MAPS
from xdpctl.kernel.bpf.syscall import Bpf

if TYPE_CHECKING:
    from xdpctl.kernel.bpf.programs import Program
    from xdpctl.program.config import ProgramConfig

WRONG_MARK: Final = "xdpctl-wrong "
DONE_MARK: Final = "xdpctl-table-done "


def configs() -> set[ProgramConfig]:
    """Return every configuration that the table names."""
    return {case.scene.config for case in CASES.values()}


class Precompiled(Kernel):
    """The kernel engine over programs that are compiled already.

    Args:
        bpf: the system call.
        folder: with the programs.
        index: what the index of names is like.
    """

    def __init__(self, bpf: Bpf, folder: Path, index: Index) -> None:
        super().__init__(bpf, index=index)
        self._folder = folder

    def _program(self, config: ProgramConfig) -> Program:
        if config not in self._programs:
            fds = {MAPS[name].ref: opened.fd for name, opened in self._maps.items()}
            instructions = program(self._folder, config).relocate(fds)
            self._programs[config] = self._stack.enter_context(
                self._bpf.load_program(instructions, "packet_table")
            )
        return self._programs[config]


def main(folder: Path) -> int:
    """Run the table; one line for a case that went another way, one with the count at the end.

    Every case runs twice: with an index of names that is stale, and with an exact one.
    """
    wrong = ran = 0
    for index in (Index.STALE, Index.EXACT):
        with Precompiled(Bpf(), folder, index) as engine:
            for title, case in CASES.items():
                if not engine.takes(case.frame):
                    continue
                ran += 1
                result = engine.judge(case.scene, case.frame)
                if result != case.expected:
                    wrong += 1
                    said = f"{title}, {index.value}: {result} instead of {case.expected}"
                    sys.stdout.write(f"\n{WRONG_MARK}{json.dumps(said)}\n")
    sys.stdout.write(f"\n{DONE_MARK}{ran}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
