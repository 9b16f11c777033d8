"""Roots that hold another Debian release's program: dnsdist 1.9.16 (trixie), 2.1.3 (sid), or BCC.

Owns making such a root once and running commands inside it. `SuiteApt` fetches;
tests and the benches call `dnsdist_root`, tests/kernels `bcc_root`. A root is no installed
system: packages are unpacked, never configured, which takes three seconds and 130 to 160 MB
(300 with BCC) where debootstrap's smallest takes twenty times as long.

A command inside runs by chroot in a mount namespace of its own, where /proc, /sys,
/dev and the pins of one lab are bound in: the mounts end with the process, whatever ends it, and
no other process ever sees them.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from tests.roots.apt import USR_MERGED, RootError, SuiteApt, locked, unpack
from xdpctl.program.bcc_process import PACKAGE

if TYPE_CHECKING:
    from pathlib import Path

Release = Literal["trixie", "sid"]
RECIPE: Final = 1
"""Raise it to make every cached root again."""

_ENTER: Final = """
set -e
root=$1 pins=$2 capabilities=$3; shift 3
for folder in proc sys dev tmp run; do mount --rbind "/$folder" "$root/$folder"; done
mount -t tmpfs tmpfs "$root/sys/fs/bpf"
mkdir "$root/sys/fs/bpf/dnsdist"
if [ -n "$pins" ]; then mount --bind "$pins" "$root/sys/fs/bpf/dnsdist"; fi
if [ -z "$capabilities" ]; then exec chroot "$root" "$@"; fi
exec setpriv --reuid 990 --regid 990 --clear-groups --inh-caps "$capabilities" \\
    --ambient-caps "$capabilities" --bounding-set "$capabilities" chroot "$root" "$@"
"""

DNSDIST_ID: Final = 990
"""User and group id of _dnsdist inside a root."""


@dataclass(frozen=True, slots=True)
class Root:
    """An unpacked release with one program in it, and what that depends on.

    Attributes:
        path: the folder. `release`: "trixie" or "sid". `version`: the program's, "1.9.16".
    """

    path: Path
    release: str
    version: str

    def command(
        self,
        args: list[str],
        *,
        pins: Path | None = None,
        capabilities: tuple[str, ...] | None = None,
    ) -> list[str]:
        """Return the argv that runs `args` inside, in this network namespace.

        /tmp and /run are the machine's, so configurations and sockets are reached by the
        same path inside and outside. Put `nsenter --net=…` before it for another
        network namespace.

        Args:
            args: program and arguments, as seen inside (`["dnsdist", "--version"]`).
            pins: an existing folder of pinned maps, which is /sys/fs/bpf/dnsdist inside:
                dnsdist has the paths of its destination maps built in. Without it there
                are no pins inside, so that nothing of this machine's can be touched:
                every start of dnsdist empties its destination maps.
            capabilities: run as _dnsdist with these alone ("net_raw"), and with what
                entering the root takes (sys_chroot); as root when None.
        """
        kept = () if capabilities is None else (*capabilities, "sys_chroot")
        wanted = ",".join(["-all", *(f"+{name}" for name in kept)]) if kept else ""
        enter = ["sh", "-c", _ENTER, "sh", str(self.path), str(pins or ""), wanted]
        return ["unshare", "--mount", "--propagation", "slave", *enter, *args]


def _stamp(folder: Path) -> dict[str, object]:
    try:
        stamp = json.loads((folder / ".stamp.json").read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _make(release: Release, package: str, folder: Path) -> None:
    apt = SuiteApt(release)
    apt.update()
    packages = apt.download_closure(package)
    half = folder.with_name(folder.name + ".half")
    shutil.rmtree(half, ignore_errors=True)
    for name in ("proc", "sys", "dev", "tmp", "run", "etc", "var/lib"):
        (half / name).mkdir(parents=True)
    for name in USR_MERGED:
        (half / "usr" / name).mkdir(parents=True)
        (half / name).symlink_to(f"usr/{name}")
    for archive in packages:
        unpack(archive, half)
    apt.clean()
    (half / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\n"
        f"_dnsdist:x:{DNSDIST_ID}:{DNSDIST_ID}::/nonexistent:/usr/sbin/nologin\n"
    )
    (half / "etc/group").write_text(f"root:x:0:\n_dnsdist:x:{DNSDIST_ID}:\n")
    (half / ".stamp.json").write_text(
        json.dumps({"recipe": RECIPE, "packages": [archive.name for archive in packages]})
    )
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)


def _root(release: Release, name: str, package: str, ask_version: list[str]) -> Root:
    """Return a root, made if it is not in the cache; its program has said its version.

    Args:
        release: of Debian.
        name: of the root's folder in the cache.
        package: what is in it, with all that it depends on.
        ask_version: argv that prints the package's name, its version, and maybe more.
    """
    with locked(f"root-{release}") as cache:
        folder = cache / "roots" / name
        if _stamp(folder).get("recipe") != RECIPE:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                _make(release, package, folder)
            except OSError as error:
                raise RootError(f"making the {release} root {folder} failed: {error}") from error
    argv = Root(folder, release, "").command(ask_version)
    asked = subprocess.run(argv, check=False, capture_output=True, text=True)
    said = asked.stdout.split()
    if asked.returncode or said[:1] != [package]:
        why = (asked.stderr or asked.stdout).strip().splitlines() or ["no word"]
        raise RootError(f"{package} of {release} does not run inside {folder}: {why[-1]}")
    return Root(folder, release, said[1])


def dnsdist_root(release: Release) -> Root:
    """Return the root with this release's dnsdist, made if it is not in the cache.

    Raises:
        RootError: one sentence with what is missing (mirror, suite, program, privilege),
            or with what the unpacked dnsdist said when it did not run.
    """
    return _root(release, release, "dnsdist", ["dnsdist", "--version"])


def bcc_root(release: Release) -> Root:
    """Return the root with this release's BCC for Python, made if it is not in the cache.

    Raises:
        RootError: as `dnsdist_root`.
    """
    version = f"import bcc; print('{PACKAGE}', bcc.__version__)"
    return _root(release, f"{release}-bcc", PACKAGE, ["python3", "-c", version])
