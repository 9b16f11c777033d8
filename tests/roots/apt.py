"""Packages of another Debian suite, through a private apt that leaves the machine's alone.

Owns: the private apt folders (index, empty dpkg status, archives) under the cache,
the choice of the mirror, downloads, unpacking. Nothing is ever installed or
configured: packages are unpacked file by file, so no maintainer script runs and no
service can start. Does not own what the files are used for: `roots.py` makes dnsdist
roots of them, `tests/kernels` takes kernels.

The mirror is read at run time from the machine's own apt configuration, so whatever
registry the machine uses is used here, and none is named in a file. All of it blocks.
"""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

CACHE: Final = Path(os.environ.get("XDPCTL_TEST_CACHE", "/var/cache/xdpctl-test"))
"""Where roots and kernels are kept between runs: outside the repository."""

KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")

USR_MERGED: Final = ("bin", "lib", "lib64", "sbin")
"""Folders that a Debian root has as links into /usr; no package unpacks them itself."""


class RootError(Exception):
    """A foreign suite could not be had; the sentence says what is missing."""


@contextmanager
def locked(name: str) -> Iterator[Path]:
    """Hold the cache's lock of this name, so that two test runs do not fill it at once.

    Yields:
        The cache folder, which exists.

    Raises:
        RootError: the cache folder cannot be made.
    """
    try:
        CACHE.mkdir(parents=True, exist_ok=True)
        lock = (CACHE / f"{name}.lock").open("w")
    except OSError as error:
        raise RootError(
            f"making the test cache {CACHE} failed: {error.strerror}; "
            "run as root or set XDPCTL_TEST_CACHE to a folder of yours"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield CACHE


def _run(argv: list[str], *, doing: str, env: dict[str, str] | None = None) -> str:
    """Run a command to its end and return its standard output; RootError on failure."""
    try:
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=env
        )
    except FileNotFoundError as error:
        raise RootError(f"{doing} needs the program {argv[0]}, which is not installed") from error
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        last = (said or done.stderr.splitlines() or ["no reason given"])[0]
        raise RootError(f"{doing} failed: {last.removeprefix('E: ')}")
    return done.stdout


def _own_codename() -> str:
    """Return the machine's own suite ("bookworm")."""
    return platform.freedesktop_os_release().get("VERSION_CODENAME", "")


def mirror() -> str:
    """Return the address of the Debian mirror that this machine is configured with.

    Raises:
        RootError: not a Debian machine, or its apt lists were never fetched.
    """
    lines = _run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)"],
        doing="reading the machine's apt sources",
    ).splitlines()
    own = _own_codename()
    for line in lines:
        release, component, uri = line.split(" ", 2)
        if release == own and component == "main":
            return uri
    raise RootError(
        f"no apt source of this machine serves Debian's {own or 'suite'} main, "
        "so there is no mirror to take other suites from; "
        "run `apt-get update` on a Debian machine"
    )


def acquire_settings() -> str:
    """Return how this machine fetches (proxy, checks of dates), as apt.conf lines."""
    dump = _run(["apt-config", "dump", "Acquire"], doing="reading the machine's apt settings")
    return "".join(f"{line}\n" for line in dump.splitlines() if "::Languages" not in line)


class SuiteApt:
    """The packages of one suite of Debian, for this machine's architecture.

    Args:
        suite: a codename that the mirror has: "trixie", "sid", "bookworm-backports".
    """

    def __init__(self, suite: str) -> None:
        """Remember the suite; nothing is made before `update`."""
        self.suite = suite
        self._home = CACHE / "apt" / suite
        self._env = os.environ | {
            "APT_CONFIG": str(self._home / "apt.conf"),
            "DEBIAN_FRONTEND": "noninteractive",
            "LC_ALL": "C.UTF-8",
        }

    def update(self) -> None:
        """Fetch the suite's index.

        Raises:
            RootError: no mirror, no such suite there, or its key is not known here.
        """
        if not KEYRING.exists():
            raise RootError(
                f"checking {self.suite} needs {KEYRING}: install debian-archive-keyring"
            )
        for folder in (
            "etc/sources.list.d",
            "etc/preferences.d",
            "etc/apt.conf.d",
            "state/lists/partial",
            "cache/archives/partial",
        ):
            (self._home / folder).mkdir(parents=True, exist_ok=True)
        (self._home / "status").touch()
        (self._home / "etc/sources.list").write_text(
            f"deb [signed-by={KEYRING}] {mirror()} {self.suite} main\n"
        )
        (self._home / "apt.conf").write_text(
            f'Dir::Etc "{self._home}/etc";\n'
            f'Dir::State "{self._home}/state";\n'
            f'Dir::State::status "{self._home}/status";\n'
            f'Dir::Cache "{self._home}/cache";\n'
            'Dir::Etc::netrcparts "/etc/apt/auth.conf.d";\n'
            f"{acquire_settings()}"
            'Acquire::Languages "none";\n'
            'APT::Install-Recommends "false";\n'
            'APT::Sandbox::User "root";\n'
        )
        _run(["apt-get", "-q", "update"], doing=f"fetching Debian's {self.suite}", env=self._env)

    def depends(self, package: str) -> list[str]:
        """Return the names that a package depends on directly; `update` comes first."""
        text = _run(
            ["apt-cache", "depends", "--important", package],
            doing=f"looking up {package} in {self.suite}",
            env=self._env,
        )
        return [line.split(":", 1)[1].strip() for line in text.splitlines() if "Depends:" in line]

    def download(self, package: str) -> Path:
        """Fetch one package without what it depends on; return the .deb."""
        folder = self._fresh("single")
        _run(
            ["sh", "-c", 'cd "$1" && exec apt-get -q download "$2"', "sh", str(folder), package],
            doing=f"downloading {package} of {self.suite}",
            env=self._env,
        )
        return next(folder.glob("*.deb"))

    def download_closure(self, *packages: str) -> list[Path]:
        """Fetch packages with all that they depend on; return the .deb files."""
        archives = self._home / "cache/archives"
        for old in archives.glob("*.deb"):
            old.unlink()
        _run(
            ["apt-get", "-qy", "--download-only", "install", *packages],
            doing=f"downloading {', '.join(packages)} of {self.suite}",
            env=self._env,
        )
        return sorted(archives.glob("*.deb"))

    def clean(self) -> None:
        """Remove index and archives: what was unpacked is all that is kept."""
        shutil.rmtree(self._home, ignore_errors=True)

    def _fresh(self, name: str) -> Path:
        folder = self._home / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder


def unpack(package: Path, into: Path) -> None:
    """Put a package's files below `into`, whose links (bin → usr/bin) stay links."""
    _run(
        [
            "sh",
            "-c",
            'dpkg-deb --fsys-tarfile "$1" | tar -x --keep-directory-symlink -C "$2"',
            "sh",
            str(package),
            str(into),
        ],
        doing=f"unpacking {package.name}",
    )
