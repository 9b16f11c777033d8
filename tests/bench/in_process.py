"""Other C than the service's compiled by BCC in this process, and loaded over given maps.

The service compiles in a process of its own (xdpctl/program/bcc_process.py); a benchmark
may hold a compiler. Two programs are compiled here: the sample program of PowerDNS, from
a checkout outside this repository, and the floor (floor.bpf.c), which stops where the
question's name ends.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from xdpctl.abi import MapName
from xdpctl.kernel.bytecode import Bytecode
from xdpctl.program.bcc_process import FLAGS, import_bcc
from xdpctl.program.compiler import FUNCTION, MAIN_FILE, source_directory
from xdpctl.program.config import render_config

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from importlib.resources.abc import Traversable

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.program.config import ProgramConfig

_HERE: Final = Path(__file__).resolve().parent
_SAMPLE: Final = Path("contrib/xdp-filter.ebpf.src")
_SAMPLE_TABLES: Final = {
    "v4filter": MapName.ADDR_V4,
    "v6filter": MapName.ADDR_V6,
    "cidr4filter": MapName.CIDR4,
    "cidr6filter": MapName.CIDR6,
    "qnamefilter": MapName.QNAMES,
}
_SLOT: Final = struct.Struct("=BBhi")
_LOAD_64: Final = 0x18


class _Table(Protocol):
    map_fd: int


class _Module(Protocol):
    def dump_func(self, func_name: bytes) -> bytes: ...
    def __getitem__(self, name: str) -> _Table: ...


class SampleError(Exception):
    """The checkout holds no sample program."""


def compile_floor(config: ProgramConfig) -> Bytecode:
    """Return the program that reads a packet up to where its question ends, and no map of rules."""
    text = (_HERE / "floor.bpf.c").read_text(encoding="utf-8")
    return _ours(render_config(config) + text, source_directory(), "xdpctl_floor")


def compile_lru(config: ProgramConfig) -> Bytecode:
    """Return the program that counts sources in an LRU hash (lru.bpf.c)."""
    text = (_HERE / "lru.bpf.c").read_text(encoding="utf-8")
    return _ours(render_config(config) + text, source_directory(), "lru")


def compile_wander(defines: str) -> Bytecode:
    """Return the program that makes each run another packet (wander.bpf.c)."""
    text = (_HERE / "wander.bpf.c").read_text(encoding="utf-8")
    return _ours(defines + text, source_directory(), "wander")


def compile_directory(config: ProgramConfig, directory: Path) -> Bytecode:
    """Return the filter as another version of xdp/ has it."""
    directory = directory.resolve()  # BCC compiles elsewhere
    text = (directory / MAIN_FILE).read_text(encoding="utf-8")
    return _ours(render_config(config) + text, directory, FUNCTION)


def compile_sample(checkout: Path, maps: Mapping[MapName, Map]) -> bytes:
    """Return the sample program's instructions over these maps, which it would make itself.

    Its maps and keys are the same contract as ours, which is dnsdist's.

    Raises:
        SampleError: it is not there.
    """
    path = checkout / _SAMPLE
    if not path.is_file():
        raise SampleError(f"no {_SAMPLE} in {checkout}: give the path of a checkout of PowerDNS")
    module = _compile(
        path.read_text(encoding="utf-8"),
        f"-I{_HERE / 'sample_shim'}",
        f"-I{path.parent}",
        "-Wno-unused-function",
        "-DDDIST_MAPS_SIZE=1",
        "-DIN_DNS_PORT_SET(x)=(COMPARE_PORT((x),53))",
    )
    fds = {module[table].map_fd: maps[name].fd for table, name in _SAMPLE_TABLES.items()}
    code = bytearray(module.dump_func(b"xdp_dns_filter"))
    offset = 0
    while offset < len(code):
        opcode, registers, _, immediate = _SLOT.unpack_from(code, offset)
        if opcode == _LOAD_64 and registers >> 4:
            struct.pack_into("=i", code, offset + 4, fds[immediate])
        offset += (2 if opcode == _LOAD_64 else 1) * _SLOT.size
    return bytes(code)


def _ours(text: str, directory: Traversable, function: str) -> Bytecode:
    """Compile as the service does, with the headers of this directory."""
    module = _compile(text, f"-I{directory}", *FLAGS)
    return Bytecode(module.dump_func(function.encode()))


def _compile(text: str, *flags: str) -> _Module:
    os.environ["BCC_KERNEL_SOURCE"] = f"{source_directory()}/shim"
    make: Callable[..., _Module] = import_bcc().BPF  # type: ignore[assignment]
    return make(text=text.encode(), cflags=list(flags))
