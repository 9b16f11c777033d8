"""The host's side of asking a kernel: compile every configuration, boot, read the verdicts.

`python -m tests.kernels [SERIES…]` prints one line a configuration and kernel and, for
a refusal, the end of the verifier's log; its exit status is 0 when all were accepted.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kernels.configurations import CONFIGURATIONS
from tests.kernels.guest import RESULT_MARK, Verdict
from tests.kernels.kernel import debian_kernel
from tests.kernels.machine import run_in_guest
from tests.roots.apt import CACHE, RootError
from xdpctl.kernel.compiler import compile_program_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from xdpctl.kernel.compiler import ProgramConfig

CHECKOUT: Final = Path(__file__).resolve().parents[2]
PYTHON: Final = CHECKOUT / ".venv/bin/python"


def verdicts(
    series: str, configurations: Mapping[str, ProgramConfig] = CONFIGURATIONS
) -> Iterator[Verdict]:
    """Return what the kernel of this series says of each configuration.

    Raises:
        RootError: the kernel could not be had or booted, or the guest said nothing of one.
        CompilerError: a configuration does not compile.
    """
    kernel = debian_kernel(series)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix="programs-") as name:
        folder = Path(name)  # below /var, which the guest sees; its /tmp is its own
        for title, config in configurations.items():
            (folder / f"{title}.bin").write_bytes(compile_program_blocking(config).instructions)
        run = run_in_guest(
            kernel,
            [str(PYTHON), "-m", "tests.kernels.guest", str(folder)],
            folder=CHECKOUT,
        )
    said = [
        Verdict(**json.loads(line.removeprefix(RESULT_MARK)))
        for line in run.output
        if line.startswith(RESULT_MARK)
    ]
    if len(said) != len(configurations):
        end = "\n".join(run.output[-20:])
        raise RootError(f"the guest with {kernel.release} judged {len(said)} programs:\n{end}")
    yield from said
