"""Programs of C that a bench runs: compiled with the filter's headers, attached, or run live.

A live test run (Linux 5.18) hands a program one frame after the other, and puts those that it
redirects into an interface, as a driver's XDP_REDIRECT does. Called by drop/ and attack/.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab.hosts import BPFFS
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program.compiler import source_directory

if TYPE_CHECKING:
    from tests.lab import Host
    from xdpctl.kernel.bpf.programs import Program

_BPF_PROG_TEST_RUN: Final = 10
_LIVE_FRAMES: Final = 2
_BATCH: Final = 64
_FOR_EVER: Final = 1 << 31
_SYSCALL_BPF: Final = {"x86_64": 321, "aarch64": 280}


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


def run_live(program: Program, frame: bytes, batch: int = _BATCH) -> None:
    """Run a program on copies of a frame that are really sent, until a signal comes.

    Args:
        program: gets one frame after the other.
        frame: the first octets of each.
        batch: runs after which what was redirected goes out; 256 at most.
    """
    buffer = ctypes.create_string_buffer(frame, len(frame))
    attributes = struct.pack(
        "=IIIIQQIIIIQQIII",
        *(program.fd, 0, len(frame), 0, ctypes.addressof(buffer), 0),
        *(_FOR_EVER, 0, 0, 0, 0, 0, _LIVE_FRAMES, 0, batch),
    )
    call = ctypes.CDLL(None, use_errno=True).syscall
    result = call(_SYSCALL_BPF[os.uname().machine], _BPF_PROG_TEST_RUN, attributes, len(attributes))
    if result < 0 and (number := ctypes.get_errno()) != errno.EINTR:
        raise OSError(number, f"live test run: {os.strerror(number)}")


def mac(interface: str) -> bytes:
    """Return an interface's address."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        address: bytes = sock.getsockname()[4]
    return address


def header_sum(frame: bytes) -> int:
    """Return the sum of a frame's IPv4 header, not folded."""
    return sum(struct.unpack_from("!10H", frame, 14))
