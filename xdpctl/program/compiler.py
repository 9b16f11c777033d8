"""Our C to bytecode: the filter for one configuration, or one of the programs beside it.

Owns where the C files are, and the process that compiles them (bcc_process.py), which then ends:
the service never holds a compiler. Does not own the configuration's C (config.py) or loading. The
bytecode has the map numbers of abi.h until `Bytecode.relocate` replaces them by descriptors.
Called by cache.py and the verb `check`, and by tests that compile the same files for the host.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import subprocess
import tempfile
import threading
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.errors import CompilerError
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.process.children import start_python
from xdpctl.program.config import (
    ProgramConfig,
    Recipe,
    TableProgram,
    TcpProofProgram,
    render_config,
    render_ports,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable


MAIN_FILE = "filter.bpf.c"
FUNCTION = "xdpctl_filter"
"""The program's name in MAIN_FILE."""

TABLE_FILE = "table.bpf.c"
TABLE_FUNCTION = "xdpctl_table"
"""The same of the program that writes to our own tables."""

TCP_PROOF_FILE = "tcp_proof.bpf.c"
TCP_PROOF_FUNCTION = "xdpctl_tcp_proof"
"""The same of the program that sees the connections of all processes."""

WORK = 300.0
"""Seconds of a processor that a compilation may use; it uses a third of one.

An emulated machine counts as work what its host takes from it.
"""

STANDSTILL = 60.0
"""Seconds within which one that something waits for must have worked at all."""

PATIENCE = 900.0
"""Seconds that any may take, on a host that a flood starves; bcc_process.LIFETIME is more."""

LOOK = 1.0
"""How often these are looked at, in seconds."""

_log = logging.getLogger(__name__)
_COPY = "xdpctl-compile-"
_CLOCK_SCHEDULED = 2
_LOWEST = 19
"""Niceness of a compilation that nothing waits for."""


def source_directory() -> Traversable:
    """Return the folder of the C files: in the installed package, else in the checkout."""
    package = files("xdpctl")
    installed = package / "_xdp"
    if installed.is_dir():
        return installed
    return Path(str(package)).parent / "xdp"


def source_files() -> Iterator[tuple[str, bytes]]:
    """Yield (relative path, content) of the C files and shim, in a fixed order. Blocks."""
    return _files_in(source_directory(), "")


def _files_in(directory: Traversable, place: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(directory.iterdir(), key=lambda file: file.name):
        name = f"{place}{entry.name}"
        if entry.is_dir():
            yield from _files_in(entry, f"{name}/")
        elif entry.name.endswith((".c", ".h")):
            yield name, entry.read_bytes()


def function_of(recipe: Recipe) -> str:
    """Return the name of the program in `main_text`."""
    match recipe:
        case TableProgram():
            return TABLE_FUNCTION
        case TcpProofProgram():
            return TCP_PROOF_FUNCTION
        case ProgramConfig():
            return FUNCTION


def main_text(recipe: Recipe) -> str:
    """Return the main file as it is compiled, behind its configuration if it has one."""
    match recipe:
        case TableProgram():
            name, defines = TABLE_FILE, ""
        case TcpProofProgram(ports):
            name, defines = TCP_PROOF_FILE, render_ports(ports)
        case ProgramConfig():
            name, defines = MAIN_FILE, render_config(recipe)
    text = (source_directory() / name).read_text(encoding="utf-8")
    return f'{defines}#line 1 "{name}"\n{text}'


def compile_program_blocking(recipe: Recipe) -> Bytecode:
    """Compile a program, as `Compilation.run`. Blocks."""
    return Compilation(recipe).run()


class Compilation:
    """One run of bcc_process.py; any thread may call `cancel`.

    Args:
        recipe: what to compile.
        urgent: whether something waits for it. If not, it runs at the lowest priority.
    """

    def __init__(self, recipe: Recipe, *, urgent: bool = True) -> None:
        self._recipe = recipe
        self._urgent = urgent
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def run(self) -> Bytecode:
        """Compile, which takes a third of a second. Blocks.

        Raises:
            CompilerError: BCC is missing or reports an error, its process cannot be run, or
                the compilation was cancelled.
        """
        try:
            with (
                tempfile.TemporaryDirectory(prefix=_COPY) as directory,
                self._start() as process,
            ):
                try:
                    return self._compile(process, Path(directory))
                except BaseException:
                    process.kill()
                    raise
        except OSError as error:
            raise CompilerError(
                f"cannot compile the filter: {error}; this takes the package's C files and room for"
                f" a copy in {tempfile.gettempdir()}"
            ) from error

    def cancel(self) -> None:
        """End the process, or prevent it from being started."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def _compile(self, process: subprocess.Popen[bytes], directory: Path) -> Bytecode:
        _copy(directory)  # while the process loads the compiler
        request = {
            "text": main_text(self._recipe),
            "function": function_of(self._recipe),
            "directory": str(directory),
        }
        output, complaint = self._communicate(process, json.dumps(request).encode())
        diagnostics = complaint.decode(errors="replace").splitlines()
        for line in diagnostics:
            _log.debug("compiler: %s", line)
        if process.returncode == 0 and output:
            version, _, instructions = output.partition(b"\n")
            return Bytecode(instructions, version.decode(errors="replace"))
        if process.returncode == CompilerError.exit_status and diagnostics:
            raise CompilerError(diagnostics[-1])
        raise CompilerError(
            "cannot compile the filter: the compiler's process ended with status"
            f" {process.returncode}; run with --log-level debug to see its messages"
        )

    def _communicate(self, process: subprocess.Popen[bytes], request: bytes) -> tuple[bytes, bytes]:
        """Return what the process writes to its standard output and error.

        Raises:
            CompilerError: it takes too long.
        """
        began = worked_at = time.monotonic()
        worked = 0.0
        to_send: bytes | None = request
        while True:
            try:
                return process.communicate(to_send, LOOK)
            except subprocess.TimeoutExpired:
                to_send = None  # the rest of it is sent by the next call
            now, before, worked = time.monotonic(), worked, _worked(process.pid)
            if worked != before:
                worked_at = now
            stands = self._urgent and now - worked_at > STANDSTILL
            if stands or worked > WORK or now - began > PATIENCE:
                raise CompilerError(
                    f"cannot compile the filter: not done after {now - began:.0f} seconds, of which"
                    f" its process worked {worked:.1f}; check the load of this host and try again"
                )

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._cancelled:
                raise CompilerError("cannot compile the filter: cancelled before it began")
            self._process = start_python("xdpctl.program.bcc_process", stderr=subprocess.PIPE)
            if not self._urgent:
                with contextlib.suppress(OSError):  # a sandbox forbids it
                    os.setpriority(os.PRIO_PROCESS, self._process.pid, _LOWEST)
            return self._process


def remove_abandoned() -> None:
    """Remove the copies that killed compilations left. Blocks."""
    old = time.time() - 2 * PATIENCE
    for folder in Path(tempfile.gettempdir()).glob(f"{_COPY}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.geteuid() and status.st_mtime < old:
                shutil.rmtree(folder)


def _worked(process: int) -> float:
    """Return the seconds of a processor that a process has used; 0 if it has ended.

    Asked of its clock (clock_getcpuclockid(3)): ProtectProc= hides its /proc from the service.
    """
    try:
        return time.clock_gettime(~process << 3 | _CLOCK_SCHEDULED)
    except OSError:
        return 0.0


def _copy(target: Path) -> None:
    """Copy the C files to a folder that the compiler's process can open to its user."""
    for name, data in source_files():
        copy = target / name
        for folder in reversed(copy.relative_to(target).parents[:-1]):
            (target / folder).mkdir(mode=0o700, exist_ok=True)
        copy.write_bytes(data)
        copy.chmod(0o600)
