"""The package itself: built twice, looked into, and read by lintian."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.packages.claims import Claim
from tests.packages.debian import execute
from tests.roots.apt import RootError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[2]
NEWER: Final = "999.0"
"""A version above every one of ours."""

_SHIPPED: Final = (
    *("usr/bin/xdpctl", "etc/xdpctl/xdpctl.toml", "usr/share/doc/xdpctl/copyright"),
    *("usr/share/doc/xdpctl/README.md", "usr/share/doc/xdpctl/CHANGELOG.md"),
    *("usr/share/man/man8/xdpctl.8.gz", "usr/lib/xdpctl/xdpctl/_xdp/filter.bpf.c"),
    *("usr/lib/sysusers.d/xdpctl.conf", "usr/lib/tmpfiles.d/xdpctl.conf"),
    *("usr/share/bash-completion/completions/xdpctl", "usr/share/zsh/vendor-completions/_xdpctl"),
    "usr/share/fish/vendor_completions.d/xdpctl.fish",
)


def build(folder: Path, *options: str) -> Path:
    """Build the package into a folder with `make deb`'s command and return its path.

    Raises:
        RootError: it could not be built.
    """
    script = ROOT / "deploy/debian/build.py"
    argv = [sys.executable, str(script), "--dest", str(folder), *options]
    said = execute(argv, doing="building the package")
    return ROOT / said.split()[-1]  # an absolute path stays what it is


def claims(package: Path, again: Path) -> Iterator[Claim]:
    """Yield what is claimed of a package and of a second build of it."""
    same = package.read_bytes() == again.read_bytes()
    yield Claim("two builds are equal byte by byte", same)
    listed = execute(["dpkg-deb", "--contents", str(package)], doing="listing the package")
    rows = [line.split(maxsplit=5) for line in listed.splitlines()]
    files = {row[5].removeprefix("./").split(" -> ")[0]: row for row in rows}
    units = [f"lib/systemd/system/{path.name}" for path in ROOT.glob("deploy/*.service")]
    missing = [name for name in (*_SHIPPED, *units) if name not in files]
    yield Claim("it has every file that it should", not missing, str(missing))
    owners = {row[1] for row in rows}
    yield Claim("all of it is root's", owners == {"root/root"}, str(owners))
    compiled = [name for name in files if name.endswith((".pyc", "__pycache__/"))]
    yield Claim("it has no compiled module, which would be this machine's", not compiled)
    conffiles = execute(["dpkg-deb", "-I", str(package), "conffiles"], doing="reading the package")
    wanted = {f"/{name}" for name in files if name.startswith("etc/") and name[-1] != "/"}
    yield Claim("what is in /etc is the operator's", set(conffiles.split()) == wanted, conffiles)
    depends = execute(["dpkg-deb", "--field", str(package), "Depends"], doing="reading the package")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = [line.split(">=")[0] for line in project["dependencies"]]
    inside = {name.split("/")[3] for name in files if name.startswith("usr/lib/xdpctl/")}
    modules = {"dnspython": "dns"}
    lost = [
        name
        for name in names
        if f"python3-{name.replace('_', '-')} (>=" not in depends
        and modules.get(name, name) not in inside
    ]
    yield Claim("every library is Debian's or bundled", not lost, str(lost))
    try:
        argv = ["lintian", "--no-cfg", "--allow-root", "--fail-on", "error,warning", str(package)]
        said = execute(argv, doing="lintian")
    except RootError as error:
        yield Claim("lintian has nothing against it", held=False, seen=str(error))
    else:
        yield Claim("lintian has nothing against it", not said, said)
