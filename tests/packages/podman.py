"""podman with storage of its own, and the commands of the Containerfile's header.

No registry is asked: the base is the cached root of `debian.py`, imported, by its digest.
A container has the network of a lab's host in place of this machine's, and a BPF file
system of its own; all else is what the header says. Storage is below the test cache and
goes with the block.
"""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.packages.debian import LAYERS, SUITE, base, execute
from tests.packages.package import ROOT
from tests.roots.apt import CACHE, RootError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab import Lab
    from tests.lab.hosts import Host

CONTAINERFILE: Final = ROOT / "deploy/oci/Containerfile"
TAG: Final = "localhost/xdpctl-test"
BASE: Final = "localhost/xdpctl-test-base"

_SETTINGS: Final = "[containers]\ndefault_ulimits = []\n"
"""This machine may not raise a limit, as podman would."""


def header_commands() -> list[list[str]]:
    """Return the commands of the Containerfile's header, each as its words."""
    text = "\n".join(
        line.removeprefix("#") for line in CONTAINERFILE.read_text().splitlines() if line[:1] == "#"
    ).replace("\\\n", " ")
    return [shlex.split(line) for line in text.splitlines() if re.match(r" {5}\S", line)]


def run_command(verb: str = "") -> list[str]:
    """Return the header's `podman run` of the service ("") or of a verb."""
    for words in header_commands():
        if words[:2] == ["podman", "run"] and (verb in words if verb else words[-1] == "xdpctl"):
            return words
    raise RootError(f"{CONTAINERFILE.name} has no `podman run` for {verb or 'the service'}")


def after(option: str, words: list[str]) -> list[str]:
    """Return what stands behind each of these options of a command."""
    return [word for before, word in itertools.pairwise(words) if before == option]


class Podman:
    """podman with storage of its own, in which the image was built.

    Args:
        home: an existing folder for storage, settings and the host's side of volumes.
        host: whose network the containers have.

    Attributes:
        host: the same.
    """

    def __init__(self, home: Path, host: Host) -> None:
        self._home = home
        self.host = host
        settings = home / "containers.conf"
        settings.write_text(_SETTINGS)
        self._environ = {"CONTAINERS_CONF": str(settings), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        for path in self.volumes.values():
            path.mkdir(parents=True)
        execute(["mount", "-t", "bpf", "bpf", str(self.volumes["/sys/fs/bpf"])], doing="mounting")

    @property
    def volumes(self) -> dict[str, Path]:
        """What stands for the host's folders, by their paths in the header."""
        names = ("/sys/fs/bpf", "/run/xdpctl", "/var/lib/xdpctl", "/etc/xdpctl")
        return {name: self._home / "volumes" / name.strip("/").replace("/", "-") for name in names}

    def command(self, *words: str) -> list[str]:
        """Return a podman command line; the program's own environment is in it."""
        own = ("--root", f"{self._home}/storage", "--runroot", f"{self._home}/run")
        plain = ("--cgroup-manager", "cgroupfs", "--events-backend", "none")
        environ = [f"{name}={value}" for name, value in self._environ.items()]
        return ["env", *environ, "podman", *own, *plain, *words]

    def run(self, *words: str) -> str:
        """Run podman to its end; RootError when it fails."""
        return execute(self.command(*words), doing=f"podman {words[0]}", seconds=900)

    def build(self, folder: Path) -> None:
        """Build the image from the folder that holds the package."""
        archive = subprocess.Popen(
            ["tar", "-C", str(base(SUITE)), "-c", "."], stdout=subprocess.PIPE
        )
        done = subprocess.run(
            self.command("import", "--quiet", "-", BASE),
            stdin=archive.stdout,
            check=False,
            capture_output=True,
            text=True,
        )
        if archive.wait() or done.returncode:
            raise RootError(f"importing the base of the image failed: {done.stderr}")
        archives = CACHE / "archives" / SUITE
        self.run(
            *("build", "--quiet", "--isolation", "chroot", "--network", "host"),
            *("--volume", f"{archives}:/var/cache/apt/archives"),
            *("--build-arg", f"BASE={self.digest()}"),
            *("--file", str(CONTAINERFILE), "--tag", TAG, str(folder)),
        )

    def digest(self) -> str:
        """Return the base's name by its digest, as the header says to ask for it."""
        return self.run("image", "inspect", "--format", "{{index .RepoDigests 0}}", BASE).strip()

    def as_in_header(self, words: list[str]) -> list[str]:
        """Return a `podman run` of the header, with this place for the host."""
        text = shlex.join(words[1:])
        for option in ("--detach ", "--restart always "):
            text = text.replace(option, "")
        text = text.replace("--network host", f"--network ns:{self.host.path}")
        for name, path in self.volumes.items():
            text = text.replace(f"--volume {name}:", f"--volume {path}:")
        text = re.sub(r" xdpctl( prepare .*)?$", rf" {TAG}\1", text)
        return self.command(*shlex.split(text.replace("run ", "run --cgroups disabled ", 1)))


@contextmanager
def podman(lab: Lab, host: Host) -> Iterator[Podman]:
    """Give podman with an empty storage, gone at the end of the block."""
    home = LAYERS / lab.name.removeprefix("xdplab-") / "podman"
    home.mkdir(parents=True)
    # crun takes no machine where both versions of control groups are mounted
    subprocess.run(["umount", "/sys/fs/cgroup/unified"], check=False, capture_output=True)
    try:
        yield Podman(home, host)
    finally:
        subprocess.run(
            ["umount", "--recursive", "--lazy", str(home)], check=False, capture_output=True
        )
        mounts = (line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines())
        for place in sorted(
            (mount for mount in mounts if mount.startswith(str(home))), reverse=True
        ):
            subprocess.run(["umount", "--lazy", place], check=False)
        shutil.rmtree(home.parent)
