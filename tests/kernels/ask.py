"""The host's side of asking a kernel: compile, boot, read what the guest found.

Called by `python -m tests.kernels`. One boot answers both questions: does every
configuration load, and does the packet table hold?
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kernels.configurations import CONFIGURATIONS
from tests.kernels.guest import PROGRAMS, RESULT_MARK, TABLE, Verdict
from tests.kernels.kernel import debian_kernel
from tests.kernels.machine import run_in_guest
from tests.kernels.packet_table import DONE_MARK, WRONG_MARK, put_programs
from tests.roots.apt import CACHE, RootError
from xdpctl.kernel.compiler import compile_program_blocking

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = CHECKOUT / ".venv/bin/python"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one kernel made of the program.

    Attributes:
        verdicts: its verifier's, one a configuration.
        cases: of the packet table that ran; 0 when a configuration was refused.
        wrong: a sentence for each case that went another way.
    """

    verdicts: tuple[Verdict, ...]
    cases: int
    wrong: tuple[str, ...]

    @property
    def good(self) -> bool:
        """Every configuration was accepted and every case of the table held."""
        return (
            all(verdict.loaded for verdict in self.verdicts) and self.cases > 0 and not self.wrong
        )


def ask(series: str) -> Answer:
    """Return what the kernel of this series makes of the program.

    Raises:
        RootError: the kernel could not be had or booted, or the guest did not finish.
        CompilerError: a configuration does not compile.
    """
    kernel = debian_kernel(series)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="programs-") as name:
        folder = Path(name)  # below /var, which the guest sees; its /tmp is its own
        for part in (PROGRAMS, TABLE):
            (folder / part).mkdir()
        for title, config in CONFIGURATIONS.items():
            bytecode = compile_program_blocking(config)
            (folder / PROGRAMS / f"{title}.bin").write_bytes(bytecode.instructions)
        put_programs(folder / TABLE)
        run = run_in_guest(
            kernel, [str(PYTHON), "-m", "tests.kernels.guest", str(folder)], folder=CHECKOUT
        )

    def said(mark: str) -> list[str]:
        return [line.removeprefix(mark) for line in run.output if line.startswith(mark)]

    answer = Answer(
        verdicts=tuple(Verdict(**json.loads(line)) for line in said(RESULT_MARK)),
        cases=sum(int(line) for line in said(DONE_MARK)),
        wrong=tuple(json.loads(line) for line in said(WRONG_MARK)),
    )
    finished = answer.cases or not all(verdict.loaded for verdict in answer.verdicts)
    if len(answer.verdicts) != len(CONFIGURATIONS) or not finished:
        end = "\n".join(run.output[-20:])
        raise RootError(f"the guest with {kernel.release} did not finish; it said last:\n{end}")
    return answer
