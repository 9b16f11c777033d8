"""The host's side of asking a kernel: compile, boot, read what the guest found.

Called by `python -m tests.kernels`. One boot answers everything that is asked of the programs of
one compiler: does every configuration load, does the packet table hold, and, where they are
asked, the claims about interfaces?
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.engines.made_once import compiled_once
from tests.kernels import claims
from tests.kernels.checks import Check, checks_in
from tests.kernels.compiled import put_packet_table, put_programs
from tests.kernels.configurations import CONFIGURATIONS
from tests.kernels.guest import ONLY_VERIFIER, RESULT_MARK, Verdict
from tests.kernels.kernel import debian_kernel
from tests.kernels.machine import run_in_guest
from tests.kernels.packet_table import DONE_MARK, WRONG_MARK
from tests.packets.table import RECEIVED_WHOLE
from tests.roots.apt import RootError
from xdpctl.program.config import TableProgram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import Recipe

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = CHECKOUT / ".venv/bin/python"
SECONDS: Final = 900
"""After which a guest is ended; on a busy machine one takes minutes."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What one kernel made of the program.

    Attributes:
        verdicts: its verifier's, one a configuration.
        cases: of the packet table that ran; 0 when a configuration was refused or only the
            verifier was asked.
        wrong: a sentence for each case that went another way.
        claims: what came of each; none when none was asked, or a configuration was refused.
    """

    verdicts: tuple[Verdict, ...]
    cases: int
    wrong: tuple[str, ...]
    claims: tuple[Check, ...]

    def finished(self, files: Sequence[str] | None) -> bool:
        """The guest came to its end; after a refusal that is early."""
        asked = len(self.verdicts) == len(CONFIGURATIONS)
        refused = not all(verdict.loaded for verdict in self.verdicts)
        claimed = len(self.claims) > 0 or not files
        return asked and (refused or files is None or (self.cases > 0 and claimed))

    @property
    def good(self) -> bool:
        """Every configuration was accepted, every case of the table and every claim held."""
        return (
            all(verdict.loaded for verdict in self.verdicts)
            and not self.wrong
            and all(claim.held for claim in self.claims)
        )


@contextmanager
def compiled(
    compile_with: Callable[[Recipe], Bytecode] = compiled_once,
    *,
    only_verifier: bool = False,
) -> Iterator[Path]:
    """Make a folder with every program that a guest is asked about, by one compiler.

    Args:
        compile_with: the compiler.
        only_verifier: leave out what only the packet table and the claims take.

    Raises:
        CompilerError: a configuration does not compile.
    """
    with tempfile.TemporaryDirectory(prefix="xdpctl-programs-") as name:
        folder = Path(name)
        recipes = {*CONFIGURATIONS.values()}
        if not only_verifier:
            of_the_table = {case.scene.config for case in RECEIVED_WHOLE.values()}
            recipes |= {TableProgram(), *of_the_table, *claims.CONFIGS}
            put_packet_table(folder, RECEIVED_WHOLE)
        put_programs(folder, recipes, compile_with)
        _compile_modules(() if only_verifier else (claims.ATTACHING, claims.SAMPLES, claims.BONDS))
        yield folder


def _compile_modules(files: Sequence[str]) -> None:
    """Import here what a guest will, so that it finds the modules compiled.

    Compiling them takes an emulated machine a while, and it cannot write beside them.
    """
    environ = {"PYTHONDONTWRITEBYTECODE": "", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    imported = ("-c", "import tests.kernels.guest")
    collected = ("-m", "pytest", *claims.OPTIONS, "--collect-only", *files)
    for arguments in (imported, collected) if files else (imported,):
        subprocess.run(
            [PYTHON, *arguments],
            cwd=CHECKOUT,
            env=os.environ | environ,
            check=True,
            capture_output=True,
        )


def ask(series: str, programs: Path, files: Sequence[str] | None = ()) -> Answer:
    """Return what the kernel of this series makes of the programs.

    Args:
        series: "5.10".
        programs: what `compiled` made.
        files: with the claims that are asked; None: only the verifier is.

    Raises:
        RootError: the kernel could not be had or booted, or the guest did not finish.
    """
    kernel = debian_kernel(series)
    asked = [ONLY_VERIFIER] if files is None else files
    command = [str(PYTHON), "-m", "tests.kernels.guest", str(programs), *asked]
    run = run_in_guest(kernel, command, folders=(CHECKOUT, programs), seconds=SECONDS)

    def said(mark: str) -> list[str]:
        return [line.removeprefix(mark) for line in run.output if line.startswith(mark)]

    answer = Answer(
        verdicts=tuple(Verdict(**json.loads(line)) for line in said(RESULT_MARK)),
        cases=sum(int(line) for line in said(DONE_MARK)),
        wrong=tuple(json.loads(line) for line in said(WRONG_MARK)),
        claims=checks_in(run.output),
    )
    if not answer.finished(files):
        end = "\n".join(run.output[-20:])
        raise RootError(f"the guest with {kernel.release} did not finish; it said last:\n{end}")
    return answer
