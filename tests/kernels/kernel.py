"""Debian's cloud kernels, unpacked from their packages, never installed.

Owns: which suites stand for which kernel, and the cache of image and modules.
`machine.py` boots them.
"""

from __future__ import annotations

import lzma
import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.roots.apt import RootError, SuiteApt, locked, unpack

if TYPE_CHECKING:
    from pathlib import Path

SUITES: Final = {
    "5.10": "bullseye",
    "6.1": "bookworm",
    "6.12": "bookworm-backports",
    "7": "sid",
}
"""Kernel series to the Debian suite whose cloud kernel it is."""

_META: Final = "linux-image-cloud-amd64"


@dataclass(frozen=True, slots=True)
class Kernel:
    """An unpacked kernel.

    Attributes:
        release: `uname -r`. `image`: the bootable file. `modules`: its module folder.
    """

    release: str
    image: Path
    modules: Path

    def modules_for(self, names: tuple[str, ...]) -> list[tuple[str, bytes]]:
        """Return (name, content) of modules and of what they need, in order of loading.

        A name that is no module of this kernel is taken to be built in.
        """
        found = {
            path.name.split(".")[0].replace("-", "_"): path for path in self.modules.rglob("*.ko*")
        }
        order: dict[str, bytes] = {}

        def add(name: str) -> None:
            path = found.get(name.replace("-", "_"))
            if path is None or path.name in order:
                return
            raw = path.read_bytes()
            content = lzma.decompress(raw) if path.suffix == ".xz" else raw
            needs = re.search(rb"\0depends=([^\0]*)\0", content)
            for needed in needs[1].decode().split(",") if needs else []:
                add(needed)
            order[path.name] = content

        for name in names:
            add(name)
        return [(name.split(".")[0], content) for name, content in order.items()]


def _packages(apt: SuiteApt) -> list[str]:
    """Return the packages that hold image and modules: one up to 6.12, three since 7.x."""
    for name in apt.depends(_META):
        if name.startswith("linux-image-"):
            parts = ("linux-binary-", "linux-modules-")
            return [name, *(part for part in apt.depends(name) if part.startswith(parts))]
    raise RootError(f"{_META} of {apt.suite} names no kernel image")


def debian_kernel(series: str) -> Kernel:
    """Return the kernel of a series, downloaded if it is not in the cache.

    Raises:
        RootError: one sentence with what is missing.
    """
    with locked(f"kernel-{series}") as cache:
        folder = cache / "kernels" / series
        if not folder.is_dir():
            apt = SuiteApt(SUITES[series])
            apt.update()
            half = folder.with_name(folder.name + ".half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir(parents=True)
            for package in _packages(apt):
                unpack(apt.download(package), half)
            apt.clean()
            half.rename(folder)
        image = _only(folder, "**/vmlinuz*")
        modules = _only(folder, "**/lib/modules/*")
        return Kernel(modules.name, image, modules)


def _only(folder: Path, pattern: str) -> Path:
    for path in folder.glob(pattern):
        return path
    raise RootError(f"the unpacked kernel {folder} holds no {pattern}; remove it to fetch it again")
