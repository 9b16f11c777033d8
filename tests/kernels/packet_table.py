"""The packet table in a guest: every case through that kernel's program test runs.

The kernel engine is tests/engines', but for where bytecode comes from: the host has
compiled it. `python -m tests.kernels.packet_table FOLDER` is what runs in the guest.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.engines.batch import Batch
from tests.engines.entries import Index
from tests.engines.kernel import Kernel
from tests.kernels.compiled import library, program
from tests.packets.table import OF_SHARED_MAPS, RECEIVED_WHOLE
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.program.config import TableProgram

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.packets.case import Case, Scene
    from xdpctl.program.config import Recipe

WRONG_MARK: Final = "xdpctl-wrong "
DONE_MARK: Final = "xdpctl-table-done "


def configs() -> set[Recipe]:
    """Return every program that the table needs."""
    return {TableProgram(), *(case.scene.config for case in RECEIVED_WHOLE.values())}


def of_one_scene(
    engine: Kernel, table: Mapping[str, Case]
) -> Iterator[tuple[Scene, list[tuple[str, Case]]]]:
    """Yield the titles and cases of each scene that the engine takes."""
    scenes: dict[Scene, list[tuple[str, Case]]] = {}
    for title, case in table.items():
        if engine.takes(case.frame):
            scenes.setdefault(case.scene, []).append((title, case))
    yield from scenes.items()


def main(folder: Path) -> int:
    """Run the table; one line for a case that went another way, one with the count at the end.

    Every case runs with an exact index of names; where there are no tables of our own, also
    with one that is stale. The cases of a scene run as a batch, and one by one only where it
    does not go as they say.
    """
    wrong = ran = 0
    for index, table in ((Index.STALE, OF_SHARED_MAPS), (Index.EXACT, RECEIVED_WHOLE)):
        with Kernel(
            Bpf(),
            partial(program, folder),
            index=index,
            library=partial(library, folder),
        ) as engine:
            for scene, cases in of_one_scene(engine, table):
                ran += len(cases)
                if engine.goes(scene, Batch.of([(case.frame, case.expected) for _, case in cases])):
                    continue
                wrong += 1
                alone = [(title, case, engine.judge(scene, case.frame)) for title, case in cases]
                said = [
                    f"{title}, {index.value}: {result} instead of {case.expected}"
                    for title, case, result in alone
                    if result != case.expected
                ]
                together = f"{cases[0][0]} and what is of its scene, {index.value}: only together"
                for sentence in said or [together]:
                    sys.stdout.write(f"\n{WRONG_MARK}{json.dumps(sentence)}\n")
    sys.stdout.write(f"\n{DONE_MARK}{ran}\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
