"""The process that compiles and ends: `python -m xdpctl.program.bcc_process`.

The only importer of bcc, which costs a hundred megabytes and is therefore never
in the service. Reads one JSON object from standard input, becomes a user of its own where
root runs it, gives up every privilege, writes BCC's version as a line and then the bytecode
to standard output. Where that fails the last line of standard error is one sentence, what
stands before it the compiler's diagnostics, and the exit status 1. Started by compiler.py,
which says what the object holds and where the C files are.
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
"""Of the compiler, beside where the C files are.

The last leaves optimising to BCC, which does it whatever clang has done. With LLVM 14 once
instead of twice is two fifths of the time, for a program as fast that the verifier has half
as much to do with; with 19 and 21 a seventh, for the same program but three instructions.
"""

USERS = range(61184, 65520)
"""User ids from which one is taken that nobody has: those of systemd's DynamicUser=."""

LIFETIME = 120
"""Seconds after which the process ends by itself, in case nothing waits for it."""


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
    """Become a user that nobody else is where that is allowed; give up every capability.

    A user of its own, since any process of the same user's could stop or end this one.

    Args:
        directory: files that this user must be able to read, and no other.
    """
    if os.geteuid() == 0 and (user := unused_user(taken_users())) is not None:
        _let_in(user, directory)
        with suppress(OSError):  # not allowed, or no such user in this namespace
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
    """Return a number of USERS that is no user's or group's name, and no process's."""
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
    """Let a group read the copies; where that is not allowed everybody, as they are no secret."""
    for path in (directory, *directory.rglob("*")):
        mode = 0o750 if path.is_dir() else 0o640
        try:
            os.chown(path, -1, group, follow_symlinks=False)
        except OSError:
            mode |= mode >> 3
        path.chmod(mode)


def compile_request(bcc: _Bcc, request: Request) -> bytes:
    """Return the bytecode of `request.function`, map numbers where descriptors belong."""
    flags = [f"-I{request.directory}", *FLAGS]
    try:
        module = bcc.BPF(text=request.text.encode(), cflags=flags)
        return module.dump_func(request.function.encode())
    except Exception as error:  # BCC raises nothing more exact
        raise CompilerError(
            f"cannot compile the filter: {error}; run with --log-level debug to see the compiler's"
            " messages"
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
