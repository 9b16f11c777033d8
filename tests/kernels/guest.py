"""What runs inside a guest: the verifier's word, then the packet table, then claims if asked.

`python -m tests.kernels.guest FOLDER [FILE…]` loads every configuration, compiled into FOLDER,
with maps of its own and writes one line of JSON a program; what comes then says so in
lines of its own. The host side (`ask.py`) puts the programs there and reads the lines.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import re
import sys
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kernels.compiled import program
from tests.kernels.configurations import CONFIGURATIONS, kind_of
from xdpctl.abi import MAPS
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.libbpf import (
    ATTACH_TYPE_XDP,
    BPF_F_XDP_HAS_FRAGS,
    LoadOptions,
    load_library,
    options,
)
from xdpctl.kernel.bpf.loading import BUFFERS_SINCE, without_buffers
from xdpctl.kernel.bpf.syscall import Bpf
from xdpctl.kernel.failure import kernel_release

if TYPE_CHECKING:
    from xdpctl.kernel.bytecode import Bytecode

LOG_STATS: Final = 4
LOG_ALL: Final = 1
LOG_SIZE: Final = 192 << 20
"""Kernels before 6.4 keep a log's beginning; only a buffer for all of it has the end."""

TAIL_LINES: Final = 60
RESULT_MARK: Final = "xdpctl-verdict "
ONLY_VERIFIER: Final = "--only-verifier"
"""In the place of files: nothing but the verifier is asked."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a kernel's verifier said of one configuration.

    Attributes:
        name: of the configuration. `bcc`: the version that compiled it.
        kernel: `uname -r`. `loaded`: it was accepted.
        instructions: of the program. `processed`: steps that the verifier took.
        error: errno's name, "" when it was accepted. `log`: the end of the log of a refusal.
    """

    name: str
    bcc: str
    kernel: str
    loaded: bool
    instructions: int
    processed: int
    error: str = ""
    log: tuple[str, ...] = ()


def _load(instructions: bytes, kind: ProgramKind, level: int, size: int) -> tuple[int, str]:
    """Return (descriptor or -errno, log)."""
    log = ctypes.create_string_buffer(size)
    flags = BPF_F_XDP_HAS_FRAGS if kind is ProgramKind.XDP else 0
    if kernel_release() < BUFFERS_SINCE:
        instructions, flags = without_buffers(instructions), 0
    option = options(
        LoadOptions,
        prog_flags=flags,
        expected_attach_type=ATTACH_TYPE_XDP if kind is ProgramKind.XDP else 0,
        log_level=level,
        log_size=size,
        log_buf=ctypes.addressof(log),
    )
    result = load_library().bpf_prog_load(
        kind,
        b"xdpctl",
        b"Dual BSD/GPL",
        instructions,
        len(instructions) // 8,
        ctypes.byref(option),
    )
    return result, log.value.decode(errors="replace")


def _processed(log: str) -> int:
    found = re.search(r"processed (\d+) insns", log)
    return int(found[1]) if found else 0


def judge(name: str, bytecode: Bytecode, kind: ProgramKind) -> Verdict:
    """Load one program with fresh maps and take it off again."""
    known = name, bytecode.bcc, os.uname().release
    count = len(bytecode.instructions) // 8
    bpf = Bpf()
    with ExitStack() as maps:
        fds = {
            spec.ref: maps.enter_context(bpf.create_map(spec, spec.entries)).fd
            for spec in MAPS.values()
            if spec.ref in bytecode.refs()
        }
        instructions = bytecode.relocate(fds)
        result, log = _load(instructions, kind, LOG_STATS, 1 << 16)
        if result >= 0:
            os.close(result)
            return Verdict(*known, loaded=True, instructions=count, processed=_processed(log))
        _, log = _load(instructions, kind, LOG_ALL, LOG_SIZE)
        return Verdict(
            *known,
            loaded=False,
            instructions=count,
            processed=_processed(log),
            error=errno.errorcode.get(-result, str(-result)),
            log=tuple(log.strip().splitlines()[-TAIL_LINES:]),
        )


def main(folder: Path, *files: str) -> int:
    """Judge every program, then run the packet table and the claims of these files."""
    accepted = True
    for name, recipe in CONFIGURATIONS.items():
        verdict = judge(name, program(folder, recipe), kind_of(recipe))
        accepted &= verdict.loaded
        sys.stdout.write(f"\n{RESULT_MARK}{json.dumps(asdict(verdict))}\n")
        sys.stdout.flush()
    if not accepted or ONLY_VERIFIER in files:
        return 0 if accepted else 1
    from tests.kernels import claims, packet_table  # noqa: PLC0415 - an emulated machine takes long

    wrong = packet_table.main(folder)
    sys.stdout.flush()
    return (claims.main(folder, *files) if files else 0) or wrong


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), *sys.argv[2:]))
