"""What the host has compiled for a guest, in a folder: programs, by configuration.

A compiler in an emulated machine takes its time, and all kernels are asked about the same
bytecode. `ask.py` fills a folder once for each BCC; what runs in a guest reads it.
A file is BCC's version as a line, then the code. Beside them are the library that runs
batches of frames, and the packet table, built.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from tests.engines.batch import kernel_library
from tests.engines.made_once import compiled_once
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program.compiler import main_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from tests.packets.case import Case
    from xdpctl.program.config import Recipe


def _file(folder: Path, recipe: Recipe) -> Path:
    return folder / f"{hashlib.sha256(main_text(recipe).encode()).hexdigest()[:16]}.bin"


def put_programs(
    folder: Path,
    configs: Iterable[Recipe],
    compile_with: Callable[[Recipe], Bytecode] = compiled_once,
) -> None:
    """Compile these configurations, and the library, into the folder.

    Raises:
        CompilerError: one does not compile.
    """

    def put(config: Recipe) -> None:
        bytecode = compile_with(config)
        _file(folder, config).write_bytes(bytecode.bcc.encode() + b"\n" + bytecode.instructions)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(put, configs))
    shutil.copy(kernel_library(), library(folder))


def library(folder: Path) -> Path:
    """Return where the library that runs batches is."""
    return folder / "kernel_batch.so"


def program(folder: Path, config: Recipe) -> Bytecode:
    """Return what was compiled for a configuration; FileNotFoundError: it was not."""
    version, _, instructions = _file(folder, config).read_bytes().partition(b"\n")
    return Bytecode(instructions, version.decode())


def put_packet_table(folder: Path, table: Mapping[str, Case]) -> None:
    """Put the cases, built, into the folder."""
    _table(folder).write_bytes(pickle.dumps(dict(table)))


def packet_table(folder: Path) -> dict[str, Case]:
    """Return the cases that the host has built."""
    table: dict[str, Case] = pickle.loads(_table(folder).read_bytes())  # noqa: S301 - our own
    return table


def _table(folder: Path) -> Path:
    return folder / "packet_table.pickle"
