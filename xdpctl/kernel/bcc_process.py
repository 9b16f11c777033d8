"""The process that compiles and ends: `python -m xdpctl.kernel.bcc_process`.

The only importer of bcc, which costs a hundred megabytes and is therefore never
in the service. Reads one JSON object from standard input, gives up every
privilege, writes BCC's version as a line and then the bytecode to standard output.
Where that fails the last line of standard error is one sentence, what stands before
it the compiler's diagnostics, and the exit status 1. Started by compiler.py, which
says what the object holds and where the C files are.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from xdpctl.errors import CompilerError
from xdpctl.kernel.privilege import give_up_everything

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

PACKAGE = "python3-bpfcc"
"""Debian's package of BCC for Python."""

FLAGS = ("-Werror", "-Wno-unused-function", "-Xclang", "-disable-llvm-passes")
"""Of the compiler, beside where the C files are.

The last leaves optimising to BCC, which does it whatever clang has done. With LLVM 14 once
instead of twice is two fifths of the time, for a program as fast that the verifier has half
as much to do with; with 19 and 21 a seventh, for the same program but three instructions.
"""

NOBODY = 65534
LIFETIME = 120
"""Seconds after which the process ends by itself, should nobody wait for it any more."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile.

    Attributes:
        text: the main file, configuration included.
        function: the name of the program in it.
        directory: where the other C files are, and shim/ in it.
    """

    text: str
    function: str
    directory: str


class _Module(Protocol):
    """As much of `bcc.BPF` as is used."""

    def dump_func(self, func_name: bytes) -> bytes: ...


class _Bcc(Protocol):
    """As much of the module `bcc` as is used."""

    BPF: Callable[..., _Module]


def import_bcc() -> _Bcc:
    """Return BCC; CompilerError names the package where it is absent or another `bcc`."""
    advice = (
        f"install Debian's package {PACKAGE}; a virtual environment sees it when made with"
        " --system-site-packages"
    )
    try:
        import bcc  # noqa: PLC0415 - must fail here, in words, and not at import of this module
    except (ImportError, OSError, SyntaxError) as error:
        raise CompilerError(f"cannot compile the filter: no BCC ({error}); {advice}") from error
    if not hasattr(bcc, "BPF"):
        raise CompilerError(
            f"cannot compile the filter: the bcc in {_place(bcc)} is another package, not the"
            f" BPF compiler; uninstall it and {advice}"
        )
    found: _Bcc = bcc
    return found


def _place(module: ModuleType) -> str:
    return getattr(module, "__file__", None) or str(next(iter(module.__path__), "sys.path"))


def drop_privileges() -> None:
    """Become nobody where that is allowed, and give up every capability in any case."""
    if os.geteuid() == 0:
        with suppress(OSError):  # not allowed, or no such user in this namespace
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
    try:
        give_up_everything()
    except OSError as error:
        raise CompilerError(f"cannot give up privileges to compile: {error.strerror}") from error


def compile_request(bcc: _Bcc, request: Request) -> bytes:
    """Return the bytecode of `request.function`, map numbers where descriptors belong."""
    flags = [f"-I{request.directory}", *FLAGS]
    try:
        module = bcc.BPF(text=request.text.encode(), cflags=flags)
        return module.dump_func(request.function.encode())
    except Exception as error:  # BCC raises nothing more exact
        raise CompilerError(
            f"cannot compile the filter: {error}; run with --log-level debug to see what the"
            " compiler says"
        ) from error


def main() -> int:
    """Compile what standard input asks for; return the exit status."""
    signal.alarm(LIFETIME)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))  # a start holds it back
    output = os.dup(1)
    os.dup2(2, 1)  # whatever BCC prints is not bytecode
    try:
        bcc = import_bcc()
        request = Request(**json.load(sys.stdin))
        os.environ["BCC_KERNEL_SOURCE"] = f"{request.directory}/shim"
        drop_privileges()
        bytecode = compile_request(bcc, request)
    except CompilerError as error:
        print(error.sentence, file=sys.stderr)  # noqa: T201 - the protocol
        return error.exit_status
    with os.fdopen(output, "wb") as stream:
        stream.write(f"{getattr(bcc, '__version__', 'unknown')}\n".encode() + bytecode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
