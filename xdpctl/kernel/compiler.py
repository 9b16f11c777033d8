"""The filter's C to bytecode, for one configuration.

Owns what a configuration means to xdp/ (`render_config`), where its C files are,
and the process that compiles them (bcc_process.py), which ends: the service never
holds a compiler. Loads nothing: the map numbers in the bytecode are those of
abi.h until `Bytecode.relocate` puts descriptors in. Called by the service, and by
tests that compile the same files for the host.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.abi import LEGACY_WILDCARD_QTYPE, WILDCARD_QTYPE
from xdpctl.environment import for_python
from xdpctl.errors import CompilerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.resources.abc import Traversable

    from xdpctl.rules import AnyQtype

MAIN_FILE = "filter.bpf.c"
FUNCTION = "xdpctl_filter"
"""The program's name in MAIN_FILE."""

TIMEOUT = 60.0
"""Seconds that a compilation may take; it takes a third of one."""

_log = logging.getLogger(__name__)
_COPY = "xdpctl-compile-"
_SLOT = struct.Struct("=BBhi")
_LOAD_64 = 0x18
_MAP_KINDS = (1, 2)  # BPF_PSEUDO_MAP_FD, BPF_PSEUDO_MAP_VALUE


class XskFamilies(Enum):
    """Families whose AF_XDP destinations are looked up: `--xsk`, `--xsk-family`."""

    NONE = "none"
    V4 = "4"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class ProgramConfig:
    """What the program is specialised for.

    Attributes:
        ports, address_ports: `--port`, `--address-port`.
        addresses: filtered destinations; empty is every destination.
        tcp: whether address rules look at TCP.
        any_qtype: which types of an entry are every type.
        xsk: families of AF_XDP destinations.
    """

    ports: tuple[int, ...]
    address_ports: tuple[int, ...]
    addresses: tuple[IPv4Network | IPv6Network, ...]
    tcp: bool
    any_qtype: AnyQtype
    xsk: XskFamilies


@dataclass(frozen=True, slots=True)
class Bytecode:
    """A compiled program: eight bytes an instruction, host byte order.

    Where the kernel wants a map's descriptor stands its number (`enum map_ref`).
    `bcc` is the version of BCC that compiled it.
    """

    instructions: bytes
    bcc: str = "unknown"

    def _map_loads(self) -> Iterator[tuple[int, int]]:
        """Yield (offset of the instruction, map number)."""
        offset = 0
        while offset < len(self.instructions):
            opcode, registers, _, immediate = _SLOT.unpack_from(self.instructions, offset)
            if opcode == _LOAD_64 and registers >> 4 in _MAP_KINDS:
                yield offset, immediate
            offset += 2 * _SLOT.size if opcode == _LOAD_64 else _SLOT.size

    def refs(self) -> frozenset[int]:
        """Return the numbers of the maps that the program uses."""
        return frozenset(ref for _, ref in self._map_loads())

    def relocate(self, fds: Mapping[int, int]) -> bytes:
        """Return the instructions with descriptors in the place of map numbers.

        Args:
            fds: descriptor by map number, for each of `refs()`; more do no harm.

        Raises:
            KeyError: a map is missing.
        """
        patched = bytearray(self.instructions)
        for offset, ref in self._map_loads():
            struct.pack_into("=i", patched, offset + 4, fds[ref])
        return bytes(patched)


def render_config(config: ProgramConfig) -> str:
    """Return the #define lines that go before MAIN_FILE (xdp/config.h explains them)."""
    v4 = [net for net in config.addresses if isinstance(net, IPv4Network)]
    v6 = [net for net in config.addresses if isinstance(net, IPv6Network)]
    wildcards = config.any_qtype.wildcards
    defines = {
        "PORTS(is)": _uses("is", [(port,) for port in config.ports]),
        "ADDRESS_PORTS(is)": _uses("is", [(port,) for port in config.address_ports]),
        "ADDRESSES_V4(in)": _uses("in", [(int(n.network_address), int(n.netmask)) for n in v4]),
        "ADDRESSES_V6(in)": _uses(
            "in", [(*_halves(int(n.network_address)), *_halves(int(n.netmask))) for n in v6]
        ),
        "ADDRESS_ANY": int(not config.addresses),
        "TCP": int(config.tcp),
        "QTYPE_65535": int(WILDCARD_QTYPE in wildcards),
        "QTYPE_255": int(LEGACY_WILDCARD_QTYPE in wildcards),
        "XSK_V4": int(config.xsk is not XskFamilies.NONE),
        "XSK_V6": int(config.xsk is XskFamilies.BOTH),
    }
    return "".join(f"#define CONFIG_{name} {value}\n" for name, value in defines.items())


def _uses(macro: str, rows: list[tuple[int, ...]]) -> str:
    return " ".join(f"{macro}({', '.join(f'{value:#x}' for value in row)})" for row in rows)


def _halves(address: int) -> tuple[int, int]:
    return address >> 64, address & (1 << 64) - 1


def source_directory() -> Traversable:
    """Return where the C files are: in the installed package, else in the checkout."""
    package = files("xdpctl")
    installed = package / "_xdp"
    if installed.is_dir():
        return installed
    return Path(str(package)).parent / "xdp"


def source_files() -> Iterator[tuple[str, bytes]]:
    """Yield the C files, shim included, in a fixed order: place and content. Blocks."""
    return _files_in(source_directory(), "")


def _files_in(directory: Traversable, place: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(directory.iterdir(), key=lambda one: one.name):
        name = f"{place}{entry.name}"
        if entry.is_dir():
            yield from _files_in(entry, f"{name}/")
        elif entry.name.endswith((".c", ".h")):
            yield name, entry.read_bytes()


def main_text(config: ProgramConfig) -> str:
    """Return MAIN_FILE as it is compiled for `config`."""
    text = (source_directory() / MAIN_FILE).read_text(encoding="utf-8")
    return f'{render_config(config)}#line 1 "{MAIN_FILE}"\n{text}'


def compile_program_blocking(config: ProgramConfig) -> Bytecode:
    """Compile the filter, as `Compilation.run`. Blocks."""
    return Compilation(config).run()


class Compilation:
    """One run of bcc_process.py; `cancel` may come from another thread."""

    def __init__(self, config: ProgramConfig) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._cancelled = False

    def run(self) -> Bytecode:
        """Compile, which takes a third of a second. Blocks.

        Raises:
            CompilerError: BCC is missing or refuses, or its process cannot be run; `cancel`.
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
                f"cannot compile the filter: {error}; it needs its C files and room for a copy"
                f" in {tempfile.gettempdir()}"
            ) from error

    def cancel(self) -> None:
        """End the process, or keep it from being started."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def _compile(self, process: subprocess.Popen[bytes], directory: Path) -> Bytecode:
        _copy(directory)  # while the process loads the compiler
        request = {
            "text": main_text(self._config),
            "function": FUNCTION,
            "directory": str(directory),
        }
        try:
            output, complaint = process.communicate(json.dumps(request).encode(), TIMEOUT)
        except subprocess.TimeoutExpired:
            raise CompilerError(
                f"cannot compile the filter: not done after {TIMEOUT:g} seconds; look at the"
                " load of this host and try again"
            ) from None
        diagnostics = complaint.decode(errors="replace").splitlines()
        for line in diagnostics:
            _log.debug("compiler: %s", line)
        if process.returncode == 0 and output:
            version, _, instructions = output.partition(b"\n")
            return Bytecode(instructions, version.decode(errors="replace"))
        if process.returncode == CompilerError.exit_status and diagnostics:
            raise CompilerError(diagnostics[-1])
        raise CompilerError(
            f"cannot compile the filter: its process ended with status {process.returncode};"
            " run with --log-level debug to see what it says"
        )

    def _start(self) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._cancelled:
                raise CompilerError("cannot compile the filter: cancelled before it began")
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-s", "-m", "xdpctl.kernel.bcc_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=for_python(),
                cwd="/",
            )
            return self._process


def remove_abandoned() -> None:
    """Remove the copies that former compilations left when they were killed. Blocks."""
    old = time.time() - 10 * TIMEOUT
    for folder in Path(tempfile.gettempdir()).glob(f"{_COPY}*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            if status.st_uid == os.geteuid() and status.st_mtime < old:
                shutil.rmtree(folder)


def _copy(target: Path) -> None:
    """Copy the C files to where the compiler's process can let its user read them."""
    for name, data in source_files():
        copy = target / name
        for folder in reversed(copy.relative_to(target).parents[:-1]):
            (target / folder).mkdir(mode=0o700, exist_ok=True)
        copy.write_bytes(data)
        copy.chmod(0o600)
