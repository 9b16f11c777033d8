"""`make deb`: dist/xdpctl_VERSION_ARCHITECTURE.deb for Debian 12 or 13, byte by byte repeatable.

Owns the package's tree and metadata; `install` beside it says which files of the
repository are in it, `bundled.txt` which libraries Debian does not have in a version
that does. The packages of two releases differ in what is compiled for Python, so they have
different versions, Debian 13's the higher one: an upgrade of the system takes it. What is
installed is the wheel that `make wheel` builds, unpacked. Called by the Makefile with the
interpreter of .venv, and by tests/packages with --version.

Every file has the time of SOURCE_DATE_EPOCH, else of the last commit.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from email.utils import formatdate
from importlib import metadata
from pathlib import Path
from typing import Final, NamedTuple

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
MODULES: Final = "usr/lib/xdpctl"
SCRIPTS: Final = ("postinst", "prerm", "postrm")

DEBIAN_NAMES: Final = {
    "aiohttp": "python3-aiohttp",
    "idna": "python3-idna",
    "prometheus_client": "python3-prometheus-client",
    "pyroute2": "python3-pyroute2",
}
"""Libraries of pyproject.toml that are Debian 12's own; the rest has to be bundled."""


class Suite(NamedTuple):
    """A release of Debian: its Python (major, minor), and what ends the package's version."""

    python: tuple[int, int]
    ending: str

    @property
    def depends(self) -> str:
        """What it takes for the bundled libraries, which are compiled for this Python."""
        major, minor = self.python
        return f"python3 (>= {major}.{minor}~), python3 (<< {major}.{minor + 1}~)"

    @property
    def wheels(self) -> tuple[str, ...]:
        """Which wheels pip is to take, whatever Python runs it."""
        short = "".join(map(str, self.python))
        version = ".".join(map(str, self.python))
        platforms = (f"{name}_{platform.machine()}" for name in ("manylinux_2_17", "manylinux2014"))
        return (
            *("--python-version", version, "--implementation", "cp", "--abi", f"cp{short}"),
            *(word for name in platforms for word in ("--platform", name)),
        )


SUITES: Final = {"bookworm": Suite((3, 11), ""), "trixie": Suite((3, 13), "+deb13")}

OTHER_DEPENDS: Final = (
    "python3-bpfcc",
    "libc6 (>= 2.17)",
    "procps",  # kill: ExecReload
    "systemd | systemd-standalone-sysusers | systemd-sysusers",
    "systemd | systemd-standalone-tmpfiles | systemd-tmpfiles",
)


class BuildError(Exception):
    """The package cannot be built; one sentence."""


def run(*argv: str) -> str:
    """Run a command in the repository and return its standard output; BuildError on failure."""
    try:
        done = subprocess.run(  # noqa: S603 - commands of this file, no shell
            argv, check=False, capture_output=True, text=True, cwd=ROOT
        )
    except FileNotFoundError as error:
        raise BuildError(f"building needs the program {argv[0]}, which is not installed") from error
    if done.returncode:
        output = (done.stderr or done.stdout).strip().splitlines() or ["no message"]
        raise BuildError(f"{argv[0]} {argv[1]} failed: {output[-1]}")
    return done.stdout.strip()


def source_date() -> int:
    """Return the time of every file in the package, in seconds since 1970."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    if given:
        return int(given)
    try:
        return int(run("git", "log", "-1", "--format=%ct"))
    except BuildError as error:
        raise BuildError(f"set SOURCE_DATE_EPOCH, for there is no commit to ask: {error}") from None


def requirements() -> dict[str, str]:
    """Return the least version of each library that the project names, by name."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return dict(line.split(">=") for line in project["dependencies"])


def bundled_names() -> frozenset[str]:
    """Return the libraries that are bundled."""
    return frozenset(re.findall(r"^(\w+)==", (HERE / "bundled.txt").read_text(), re.MULTILINE))


def depends(suite: Suite) -> str:
    """Return the field Depends.

    Raises:
        BuildError: a library of pyproject.toml is neither Debian's nor bundled.
    """
    needed = requirements()
    if lost := needed.keys() - DEBIAN_NAMES.keys() - bundled_names():
        raise BuildError(
            f"pyproject.toml needs {', '.join(sorted(lost))}, which the package does not have:"
            " name Debian's package in deploy/debian/build.py or add to deploy/debian/bundled.txt"
        )
    own = [
        f"{DEBIAN_NAMES[name]} (>= {least})"
        for name, least in sorted(needed.items())
        if name in DEBIAN_NAMES
    ]
    return ", ".join([suite.depends, *OTHER_DEPENDS[:1], *own, *OTHER_DEPENDS[1:]])


def insist_on_builders() -> None:
    """Raise BuildError where what builds the wheel is not what is pinned, version by version."""
    pinned = (HERE.parent / "build-requirements.txt").read_text()
    for name, version in re.findall(r"^([\w-]+)==(\S+)", pinned, re.MULTILINE):
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            found = "none"
        if found != version:
            raise BuildError(
                f"the wheel is built with {name} {version}, and here is {found}: run"
                " deploy/setup.sh deb, which installs deploy/build-requirements.txt by hash"
            )


def put(tree: Path, place: str, content: bytes, *, program: bool = False) -> None:
    """Write one file of the package."""
    path = tree / place
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    path.chmod(0o755 if program else 0o644)


def commented(text: str) -> str:
    """Return a configuration that says nothing, with all that it could say."""
    return "".join(
        line if line.startswith("#") or not line.strip() else f"#{line}"
        for line in text.splitlines(keepends=True)
    )


def packed(content: bytes) -> bytes:
    """Return it gzipped as Debian wants it: small, and without a time."""
    return gzip.compress(content, 9, mtime=0)


def install_files(tree: Path) -> None:
    """Put the files that `install` names into the tree.

    Raises:
        BuildError: a glob matches nothing, or a file below deploy/ is not named.
    """
    ours = run("git", "ls-files", "--cached", "--others", "--exclude-standard", "deploy")
    unnamed = set(ours.splitlines())
    for line in (HERE / "install").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        glob, place, *how = line.split()
        found = sorted(path for path in ROOT.glob(glob) if path.is_file())
        if not found:
            raise BuildError(f"deploy/debian/install names {glob}, and there is no such file")
        unnamed -= {str(path.relative_to(ROOT)) for path in found}
        for path in found if place != "-" else []:
            target = place + path.name if place.endswith("/") else place
            content = path.read_bytes()
            if how == ["commented"]:
                content = commented(content.decode()).encode()
            elif how == ["manual"]:
                content = packed(run(sys.executable, str(HERE / "manual.py")).encode() + b"\n")
            put(tree, target, content, program=how == ["program"])
    if unnamed:
        raise BuildError(f"deploy/debian/install does not say where {min(unnamed)} goes")


COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/xdpctl",
    "zsh": "usr/share/zsh/vendor-completions/_xdpctl",
    "fish": "usr/share/fish/vendor_completions.d/xdpctl.fish",
}
"""Where each shell looks for completions of packages."""


def install_completions(tree: Path) -> None:
    """Put what shells need to complete xdpctl into the tree, made from its own parsers."""
    for shell, place in COMPLETIONS.items():
        text = run(sys.executable, "-m", "xdpctl", "completion", shell)
        put(tree, place, f"{text.rstrip()}\n".encode())


def unpack_wheel(wheel: Path, tree: Path) -> str:
    """Put a wheel's modules into the tree; return the licence that it brings, "" for none."""
    licence = ""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            if name.endswith("/"):
                continue
            if ".dist-info/" not in name:
                put(tree, f"{MODULES}/{name}", archive.read(name))
            elif name.endswith("/LICENSE"):
                licence = archive.read(name).decode()
    return licence


def install_modules(tree: Path, suite: Suite) -> None:
    """Put our modules and the bundled ones into the tree, with what their licences say."""
    doc = (HERE / "copyright").read_text() + (ROOT / "LICENSES/BSD-2-Clause.txt").read_text()
    doc += "\nAll the rest is under this licence:\n\n" + (ROOT / "LICENSE").read_text()
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    with tempfile.TemporaryDirectory(prefix="xdpctl-deb-") as name:
        own = ("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", name, ".")
        run(*pip, *own)
        unpack_wheel(next(Path(name).iterdir()), tree)
    listed = HERE / "bundled.txt"
    wanted = listed.read_bytes() + repr(suite).encode()
    wheels = ROOT / "build/deb" / hashlib.sha256(wanted).hexdigest()[:16]
    if not wheels.is_dir():
        half = wheels.with_suffix(".half")
        shutil.rmtree(half, ignore_errors=True)
        fetch = ("download", "--no-deps", "--only-binary=:all:", "--require-hashes", *suite.wheels)
        run(*pip, *fetch, "--dest", str(half), "--requirement", str(listed))
        half.rename(wheels)
    for wheel in sorted(wheels.glob("*.whl")):
        title = " ".join(wheel.name.split("-")[:2])
        doc += f"\n{title}, which is in {MODULES} too, is under this one:\n\n"
        doc += unpack_wheel(wheel, tree)
    for library in sorted((tree / MODULES).rglob("*.so")):
        run("strip", "--strip-unneeded", str(library))
    put(tree, "usr/share/doc/xdpctl/copyright", doc.encode())


def write_changelog(tree: Path, version: str, when: int) -> None:
    """Write the changelog in the form that Debian's tools read; CHANGELOG.md has the news."""
    text = (
        f"xdpctl ({version}) stable; urgency=medium\n\n"
        "  * See CHANGELOG.md in this folder.\n\n"
        f" -- {maintainer()}  {formatdate(when)}\n"
    )
    put(tree, "usr/share/doc/xdpctl/changelog.gz", packed(text.encode()))


def maintainer() -> str:
    """Return the field Maintainer."""
    found = re.search(r"^Maintainer: (.*)$", (HERE / "control").read_text(), re.MULTILINE)
    return found[1] if found else ""


def write_control(tree: Path, version: str, architecture: str, suite: Suite) -> None:
    """Write DEBIAN/, behind everything else."""
    files = sorted(path for path in tree.rglob("*") if path.is_file())
    places = [f"/{path.relative_to(tree)}" for path in files]
    sums = "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  "
        f"{path.relative_to(tree)}\n"
        for path in files
    )
    conffiles = [f"{place}\n" for place in places if place.startswith("/etc/")]
    control = (
        (HERE / "control")
        .read_text()
        .format(
            version=version,
            architecture=architecture,
            size=sum(path.stat().st_size for path in files) // 1024 + 1,
            depends=depends(suite),
        )
    )
    put(tree, "DEBIAN/control", control.encode())
    put(tree, "DEBIAN/conffiles", "".join(conffiles).encode())
    put(tree, "DEBIAN/md5sums", sums.encode())
    for script in SCRIPTS:
        put(tree, f"DEBIAN/{script}", (HERE / script).read_bytes(), program=True)


def build(version: str, folder: Path, suite: Suite) -> Path:
    """Build the package of this version for a release into the folder and return its path.

    Raises:
        BuildError: one sentence.
    """
    insist_on_builders()
    when = source_date()
    os.environ["SOURCE_DATE_EPOCH"] = str(when)
    version += suite.ending
    architecture = run("dpkg", "--print-architecture")
    package = folder / f"xdpctl_{version}_{architecture}.deb"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="xdpctl-deb-") as name:
        tree = Path(name, "tree")
        install_files(tree)
        install_modules(tree, suite)
        install_completions(tree)
        write_changelog(tree, version, when)
        write_control(tree, version, architecture, suite)
        for path in [tree, *tree.rglob("*")]:
            if path.is_dir():
                path.chmod(0o755)
            os.utime(path, (when, when))
        packing = ("-Zxz", "--threads-max=1", "--root-owner-group")
        run("dpkg-deb", *packing, "--build", str(tree), str(package))
    return package


def own_version() -> str:
    """Return the project's version."""
    text = (ROOT / "xdpctl/__init__.py").read_text()
    found = re.search(r'^__version__ = "(.*)"$', text, re.MULTILINE)
    if found is None:
        raise BuildError("xdpctl/__init__.py does not say a version")
    return found[1]


def main() -> int:
    """Build and print where the package is; 1 with a sentence where it cannot be built."""
    parser = argparse.ArgumentParser(description="Build the Debian package.")
    parser.add_argument("--version", help="the package's version (default: the project's)")
    parser.add_argument(
        "--suite",
        choices=SUITES,
        default="bookworm",
        help="Debian's release (default: %(default)s)",
    )
    parser.add_argument("--dest", type=Path, default=ROOT / "dist", help="the folder it goes to")
    arguments = parser.parse_args()
    try:
        package = build(arguments.version or own_version(), arguments.dest, SUITES[arguments.suite])
    except (BuildError, OSError) as error:
        sys.stderr.write(f"deb: {error}\n")
        return 1
    with contextlib.suppress(ValueError):
        package = package.relative_to(ROOT)
    sys.stdout.write(f"{package}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
