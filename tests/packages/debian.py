"""Fresh Debian 12 and 13 systems: a cached debootstrap, and a throw-away layer over it each.

Owns the base in the cache, the layers and their mounts, and apt inside: it has the
machine's own mirror and settings, and its archives are kept in the cache. All mounts are
in the mount namespace of this process (`python -m tests.packages` enters one), so that
they end with it, whatever ends it. Blocks.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final, Self

from tests.roots.apt import CACHE, RootError, acquire_settings, locked, mirror

SUITE: Final = "bookworm"
NEXT: Final = "trixie"
RECIPE: Final = "1"
"""Change it to make the cached base again."""

LAYERS: Final = CACHE / "layers"
_STAMP: Final = ".recipe"
_ENVIRONMENT: Final = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "DEBIAN_FRONTEND": "noninteractive",
    "LC_ALL": "C.UTF-8",
}


def execute(
    argv: list[str], *, doing: str, seconds: float = 600, environ: dict[str, str] | None = None
) -> str:
    """Run a command to its end and return all that it wrote.

    Raises:
        RootError: it is not installed, or failed; with the end of what it wrote.
    """
    try:
        done = subprocess.run(
            argv,
            check=False,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            env=environ,
        )
    except FileNotFoundError as error:
        raise RootError(f"{doing} needs the program {argv[0]}, which is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise RootError(f"{doing} took more than {seconds:.0f} s") from error
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-30:])
        raise RootError(f"{doing} failed with status {done.returncode}:\n{end}")
    return done.stdout


def base(suite: str) -> Path:
    """Return the cached Debian of this suite, made if it is not there; nobody writes to it.

    Raises:
        RootError: no mirror, or debootstrap is not there or failed.
    """
    with locked(f"root-{suite}") as cache:
        # tests/roots has a folder of the newer suites' names
        folder = cache / "roots" / (suite if suite == SUITE else f"{suite}-base")
        stamp = folder / _STAMP
        if not stamp.exists() or stamp.read_text() != RECIPE:
            half = folder.with_name(f"{folder.name}.half")
            shutil.rmtree(half, ignore_errors=True)
            half.parent.mkdir(parents=True, exist_ok=True)
            # what lays the wire in the story; nothing of ours depends on it
            argv = ["debootstrap", "--variant=minbase", "--include=iproute2", suite, str(half)]
            execute([*argv, mirror()], doing=f"making a Debian {suite}")
            (half / "etc/apt/apt.conf.d/99test").write_text(
                f'{acquire_settings()}APT::Sandbox::User "root";\nAcquire::Languages "none";\n'
                'APT::Install-Recommends "false";\n'
            )
            (half / _STAMP).write_text(RECIPE)
            shutil.rmtree(folder, ignore_errors=True)
            half.rename(folder)
        return folder


class Debian:
    """A fresh Debian with a kernel's file systems, gone at the end of the block.

    Args:
        name: tells this process's layers apart.
        suite: the release.

    Attributes:
        path: its root.
    """

    def __init__(self, name: str, suite: str = SUITE) -> None:
        self._suite = suite
        self._home = LAYERS / f"{os.getpid()}-{name}"
        self.path = self._home / "root"

    def __enter__(self) -> Self:
        lower = base(self._suite)
        for folder in ("upper", "work", "root"):
            (self._home / folder).mkdir(parents=True)
        layers = f"lowerdir={lower},upperdir={self._home}/upper,workdir={self._home}/work"
        self._mount("-t", "overlay", "-o", layers, "overlay", "")
        for kind, place in (("proc", "proc"), ("sysfs", "sys"), ("tmpfs", "run"), ("tmpfs", "tmp")):
            self._mount("-t", kind, kind, place)
        self._mount(
            "-t", "bpf", "bpf", "sys/fs/bpf"
        )  # of its own: no pin of the machine's is in it
        self._mount("--rbind", "/dev", "dev")
        archives = CACHE / "archives" / self._suite
        (archives / "partial").mkdir(parents=True, exist_ok=True)
        self._mount("--bind", str(archives), "var/cache/apt/archives")
        shutil.copy("/etc/resolv.conf", self.path / "etc/resolv.conf")
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", "--recursive", "--lazy", str(self.path)], check=False)
        shutil.rmtree(self._home, ignore_errors=True)

    def _mount(self, *words: str) -> None:
        *options, place = words
        execute(["mount", *options, str(self.path / place)], doing=f"mounting {place or 'a root'}")

    def command(self, *argv: str) -> list[str]:
        """Return the command that runs `argv` inside."""
        clean = [f"{name}={value}" for name, value in _ENVIRONMENT.items()]
        return ["chroot", str(self.path), "env", "-i", *clean, *argv]

    def run(self, *argv: str, seconds: float = 600) -> str:
        """Run a command inside to its end; RootError with what it wrote when it fails."""
        return execute(self.command(*argv), doing=" ".join(argv[:3]), seconds=seconds)

    def install(self, *packages: str) -> None:
        """Have apt install packages, by name or by path inside."""
        quiet = ("-qq", "-o", "Dpkg::Use-Pty=0", "-o", "APT::Keep-Downloaded-Packages=true")
        with locked(f"archives-{self._suite}"):
            self.run("apt-get", *quiet, "update")
            self.run("apt-get", *quiet, "-y", "--no-install-recommends", "install", *packages)

    def put(self, source: Path, place: str) -> str:
        """Copy a file or folder into it; return its path inside."""
        target = self.path / place.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
        return f"/{place.lstrip('/')}"


def sweep() -> None:
    """Remove the layers of processes that were killed; their mounts went with them."""
    for home in LAYERS.iterdir() if LAYERS.is_dir() else ():
        if not Path("/proc", home.name.split("-")[0]).exists():
            shutil.rmtree(home, ignore_errors=True)
