"""The filter as the BCC of a later Debian release compiles it, on this machine.

Owns the way to it: the product's own process (bcc_process.py) with its own flags, run in a
root of that release. Another LLVM makes another program of the same C, which a verifier may
refuse. Called by `__main__.py`, which asks kernels about what comes of it.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kernels.ask import CHECKOUT, compiled
from tests.roots.roots import bcc_root
from xdpctl.errors import CompilerError
from xdpctl.program.compiler import Compilation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.roots.roots import Release, Root
    from xdpctl.kernel.bytecode import Bytecode
    from xdpctl.program.config import Recipe

RELEASES: Final[dict[str, Release]] = {"5.10": "sid", "6.12": "trixie", "7": "sid"}
"""Whose compiler a series of kernels is asked about, beside the machine's own.

Each release with the kernel that it runs, and the latest compiler with the oldest kernel.
"""

_SHARED: Final = "/tmp"  # noqa: S108 - the same folder inside a root and outside
_PATH: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class _InRoot(Compilation):
    """One run of the product's process, inside a root.

    Args:
        config: what to compile.
        root: with the compiler.
        modules: the folder that the package xdpctl is in, inside as outside.
    """

    def __init__(self, config: Recipe, root: Root, modules: Path) -> None:
        super().__init__(config)
        self._root = root
        self._modules = modules

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._root.command(["python3", "-P", "-s", "-m", "xdpctl.program.bcc_process"]),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(self._modules)},
            cwd="/",
        )


@contextmanager
def compiled_by(release: Release) -> Iterator[Path]:
    """Make the folder that `compiled` makes, with this release's BCC.

    Raises:
        CompilerError: a configuration does not compile.
        RootError: the root could not be had.
    """
    root = bcc_root(release)
    with tempfile.TemporaryDirectory(prefix="xdpctl-modules-", dir=_SHARED) as name:
        modules = Path(name)
        modules.chmod(0o755)  # the process becomes nobody
        shutil.copytree(
            CHECKOUT / "xdpctl", modules / "xdpctl", ignore=shutil.ignore_patterns("__pycache__")
        )

        def compile_inside(config: Recipe) -> Bytecode:
            try:
                return _InRoot(config, root, modules).run()
            except CompilerError as error:
                raise CompilerError(f"BCC {root.version} of {release}: {error.sentence}") from error

        with compiled(compile_inside) as programs:
            yield programs
