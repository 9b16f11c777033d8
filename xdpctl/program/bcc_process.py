"""The process that compiles one program and ends: `python -m xdpctl.program.bcc_process`.

The only importer of bcc, which needs a hundred megabytes and so never runs in the service. Owns
the compiler's flags and the user that compiles. Does not own what is compiled (compiler.py,
which starts this process).

Reads one JSON object from standard input. If root runs it, it becomes an otherwise unused user.
It gives up every privilege, and writes BCC's version as a line and then the bytecode to standard
output. On an error, the exit status is 1 and standard error has the compiler's diagnostics, then
one sentence as its last line.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from xdpctl.errors import CompilerError
from xdpctl.process.privileges import give_up_everything

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from types import ModuleType

PACKAGE = "python3-bpfcc"
"""Debian's package of BCC for Python."""

FLAGS = ("-Werror", "-Wno-unused-function", "-Xclang", "-disable-llvm-passes")
"""The compiler's flags, besides the folder of the C files.

The last flag leaves optimising to BCC, which optimises in any case. With LLVM 14, optimising
once instead of twice saves two fifths of the time; the program is as fast, and the verifier has
half as much work. With LLVM 19 and 21 it saves a seventh; the program differs in three
instructions.
"""

USERS = range(61184, 65520)
"""Range in which an unused user id is chosen: that of systemd's DynamicUser=."""

LIFETIME = 960
"""Seconds after which the process ends by itself, in case its parent has died."""


@dataclass(frozen=True, slots=True)
class Request:
    """What to compile.

    Attributes:
        text: the main file with the configuration.
        function: the name of the program in the main file.
        directory: folder of the other C files and of shim/.
    """

    text: str
    function: str
    directory: str


class _Module(Protocol):
    """The used part of `bcc.BPF`."""

    def dump_func(self, func_name: bytes) -> bytes: ...


class _Bcc(Protocol):
    """The used part of the module `bcc`."""

    BPF: Callable[..., _Module]


def import_bcc() -> _Bcc:
    """Return BCC.

    Raises:
        CompilerError: BCC is not installed, or another package has the name `bcc`.
    """
    advice = (
        f"install Debian's package {PACKAGE}; a virtual environment sees it only if it was created"
        " with --system-site-packages"
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


def drop_privileges(directory: Path) -> None:
    """Become an otherwise unused user if that is allowed, and give up every capability.

    Another process of the same user could stop or end this one, so no other process has it.

    Args:
        directory: files that this user must be able to read.
    """
    if os.geteuid() == 0 and (user := unused_user(taken_users())) is not None:
        _let_in(user, directory)
        with suppress(OSError):  # not allowed, or the id is not mapped in this namespace
            os.setgroups([])
            os.setgid(user)
            os.setuid(user)
    try:
        give_up_everything()
    except OSError as error:
        raise CompilerError(f"cannot give up privileges to compile: {error.strerror}") from error


def taken_users() -> set[int]:
    """Return the user and group ids that processes run with now."""
    found: set[int] = set()
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has ended
            for line in path.read_bytes().splitlines():
                if line.startswith((b"Uid:", b"Gid:", b"Groups:")):
                    found.update(int(word) for word in line.split()[1:])
    return found


def unused_user(taken: Container[int]) -> int | None:
    """Return an id of USERS that no user, group or process has; None if there is none."""
    first = int.from_bytes(os.urandom(4), sys.byteorder) % len(USERS)
    for offset in range(len(USERS)):
        user = USERS[(first + offset) % len(USERS)]
        if user not in taken and not _is_known(user):
            return user
    return None


def _is_known(number: int) -> bool:
    with suppress(KeyError):
        return bool(pwd.getpwuid(number))
    with suppress(KeyError):
        return bool(grp.getgrgid(number))
    return False


def _let_in(group: int, directory: Path) -> None:
    """Let a group read the copies; if that is not allowed, everybody: they are not secret."""
    for path in (directory, *directory.rglob("*")):
        mode = 0o750 if path.is_dir() else 0o640
        try:
            os.chown(path, -1, group, follow_symlinks=False)
        except OSError:
            mode |= mode >> 3
        path.chmod(mode)


def compile_request(bcc: _Bcc, request: Request) -> bytes:
    """Return the bytecode of `request.function`, with map numbers in place of descriptors."""
    flags = [f"-I{request.directory}", *FLAGS]
    try:
        module = bcc.BPF(text=request.text.encode(), cflags=flags)
        return module.dump_func(request.function.encode())
    except Exception as error:  # BCC raises no narrower type
        raise CompilerError(
            f"cannot compile the filter: {error}; run with --log-level debug to see the compiler's"
            " messages"
        ) from error


def main() -> int:
    """Compile what standard input asks for; return the exit status."""
    signal.alarm(LIFETIME)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))  # blocked during a start
    output = os.dup(1)
    os.dup2(2, 1)  # BCC's messages must not mix with the bytecode
    try:
        bcc = import_bcc()
        request = Request(**json.load(sys.stdin))
        os.environ["BCC_KERNEL_SOURCE"] = f"{request.directory}/shim"
        drop_privileges(Path(request.directory))
        bytecode = compile_request(bcc, request)
    except CompilerError as error:
        print(error.sentence, file=sys.stderr)  # noqa: T201 - the protocol
        return error.exit_status
    with os.fdopen(output, "wb") as stream:
        stream.write(f"{getattr(bcc, '__version__', 'unknown')}\n".encode() + bytecode)
    return 0


if __name__ == "__main__":
    sys.exit(main())
