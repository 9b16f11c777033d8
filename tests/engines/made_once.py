"""What compilers made of our C, kept on this machine under a hash of all that it was made of.

Dozens of configurations are compiled for the packet engines, the kernels' guests and the ceilings,
by several processes that run the same tests. Owns the folder, of which only this user can be the
owner, and the bytecode in it; libraries for the host are host_build.py's. A test about compiling
itself calls the compiler.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from xdpctl.program.cache import UnfitError, decode, encode, installed_compiler, key_of
from xdpctl.program.compiler import compile_program_blocking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import Recipe


def folder() -> Path:
    """Return the folder, which is made if it is missing.

    Raises:
        PermissionError: somebody else made it, or can write to it.
    """
    path = Path(tempfile.gettempdir()) / f"xdpctl-host-{os.getuid()}"
    path.mkdir(mode=0o700, exist_ok=True)
    found = path.lstat()
    if (stat.S_IFMT(found.st_mode), found.st_uid) != (stat.S_IFDIR, os.getuid()) or (
        found.st_mode & 0o022
    ):
        raise PermissionError(f"{path} is not a folder that only this user can write to: remove it")
    return path


def compiled_once(recipe: Recipe) -> Bytecode:
    """Return what the installed compiler makes of a recipe. Blocks.

    Raises:
        CompilerError: it does not compile.
    """
    key, compiler = key_of(recipe), installed_compiler()
    path = folder() / f"{key.hex()[:32]}.bytecode"
    with alone(path.with_suffix(".lock")):
        with contextlib.suppress(FileNotFoundError, UnfitError):
            made_by, bytecode = decode(path.read_bytes(), key)
            if made_by == compiler:
                return bytecode
        bytecode = compile_program_blocking(recipe)
        if compiler is not None:
            new = path.with_suffix(f".{os.getpid()}")
            new.write_bytes(encode(key, compiler, bytecode))
            new.rename(path)
        return bytecode


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep others who need the same out, so that they find it instead of making it too."""
    with path.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
