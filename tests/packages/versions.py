"""The unit tests with the libraries that Debian 12 has, in place of .venv's newer ones."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from tests.packages.claims import Claim
from tests.packages.debian import Debian, execute
from tests.packages.life import needs
from tests.packages.package import ROOT
from tests.roots.apt import RootError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def claims(package: Path) -> Iterator[Claim]:
    """Yield whether the unit tests hold with what the package depends on.

    Raises:
        RootError: there is no root, or apt could not.
    """
    with Debian("versions") as debian:
        libraries = [name for name in needs(package) if name.startswith("python3-")]
        debian.install(*libraries)
        place = debian.path / "usr/lib/python3/dist-packages"
        folder = debian.path / "opt/libraries"
        folder.mkdir(parents=True)
        for module in place.iterdir():  # BCC is this machine's: it belongs to its own LLVM
            if module.name not in {"bcc", "bpfcc"}:
                (folder / module.name).symlink_to(module)
        environ = os.environ | {"PYTHONPATH": str(folder)}
        asked = ("-c", "import aiohttp; print(aiohttp.__version__, aiohttp.__file__)")
        said = execute([sys.executable, *asked], doing="importing aiohttp", environ=environ)
        yield Claim(f"Debian's aiohttp is {said.split()[0]}", str(folder) in said, said)
        tests = ("-m", "pytest", "-q", "-m", "not root and not slow", "-p", "no:cacheprovider")
        argv = ["env", "-C", str(ROOT), sys.executable, *tests, "tests/unit"]
        try:
            said = execute(argv, doing="the unit tests", environ=environ, seconds=900)
        except RootError as error:
            yield Claim("the unit tests hold with Debian's libraries", held=False, seen=str(error))
        else:
            last = said.strip().splitlines()[-1]
            yield Claim(f"the unit tests hold with Debian's libraries: {last}", held=True)
