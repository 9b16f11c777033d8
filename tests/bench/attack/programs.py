"""Compiles the C of this folder with the filter's headers, and puts it on an interface.

Called by sender.py and site.py.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.lab.hosts import BPFFS
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program.compiler import source_directory

if TYPE_CHECKING:
    from tests.lab import Host


def compile_file(path: Path, function: str) -> Bytecode:
    """Compile a file in the process that compiles the filter.

    Raises:
        RuntimeError: with what the compiler said.
    """
    with tempfile.TemporaryDirectory(prefix="xdpctl-bench-") as folder:
        shutil.copytree(str(source_directory()), folder, dirs_exist_ok=True)
        Path(folder).chmod(0o755)
        request = {"text": path.read_text(), "function": function, "directory": folder}
        done = subprocess.run(
            [sys.executable, "-m", "xdpctl.program.bcc_process"],
            input=json.dumps(request).encode(),
            capture_output=True,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{path.name} does not compile:\n{done.stderr.decode()}")
    return Bytecode(done.stdout.partition(b"\n")[2])


def attach(host: Host, interface: str, code: Bytecode) -> None:
    """Put a program without maps on an interface, in place of what is there."""
    pin = BPFFS / f"{host.name}-wall"
    with Bpf().load_program(code.relocate({}), "wall") as program:
        program.pin(pin)
        try:
            host.run("ip", "link", "set", interface, "xdp", "off")
            host.run("ip", "link", "set", interface, "xdp", "pinned", str(pin))
        finally:
            pin.unlink()
