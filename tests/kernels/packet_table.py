"""The packet table in a guest: every case through that kernel's program test runs.

The kernel engine is tests/engines', but for where bytecode comes from: the host has
compiled it. It has also built the cases (compiled.py), which takes an emulated machine long.
`python -m tests.kernels.packet_table FOLDER` is what runs in the guest.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Final

from tests.engines.entries import Index
from tests.engines.in_batches import wrong_in
from tests.engines.kernel import Kernel
from tests.kernels.compiled import library, packet_table, program
from xdpctl.kernel.bpf.syscall import Bpf

WRONG_MARK: Final = "xdpctl-wrong "
DONE_MARK: Final = "xdpctl-table-done "


def main(folder: Path) -> int:
    """Run the table; one line for a case that went another way, one with the count at the end.

    Every case runs with an exact index of names; where there are no tables of our own, also
    with one that is stale.
    """
    wrong = ran = 0
    whole = packet_table(folder)
    shared = {title: case for title, case in whole.items() if not case.scene.config.tables}
    for index, table in ((Index.STALE, shared), (Index.EXACT, whole)):
        with Kernel(
            Bpf(),
            partial(program, folder),
            index=index,
            library=partial(library, folder),
        ) as engine:
            ran += sum(engine.takes(case.frame) for case in table.values())
            for sentence in wrong_in(engine, table):
                wrong += 1
                said = f"{sentence} (index: {index.value})"
                sys.stdout.write(f"\n{WRONG_MARK}{json.dumps(said)}\n")
    sys.stdout.write(f"\n{DONE_MARK}{ran}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
