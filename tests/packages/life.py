"""The package's life told twice: in a chroot on this kernel, in a guest under systemd.

Owns the two places; what happens in them is `story`'s. The chroot has process, network
and mount namespaces of its own, and its processes end with it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kernels.kernel import debian_kernel
from tests.kernels.machine import run_systemd
from tests.packages import claims
from tests.packages.debian import SUITE, Debian, execute
from tests.roots.apt import RootError

if TYPE_CHECKING:
    from tests.packages.claims import Claim

SERIES: Final = "6.1"
"""Debian 12's own kernel."""

STORY_SECONDS: Final = 300.0
GUEST_SECONDS: Final = 2400.0
"""Emulated and on a busy machine it takes its time: three minutes at rest."""
PLACE: Final = "/opt/checks"
_HERE: Final = Path(__file__).resolve().parent

_UNIT: Final = """[Unit]
DefaultDependencies=no
After=basic.target
Requires=basic.target
[Service]
Type=oneshot
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
WorkingDirectory={place}
Environment=DEBIAN_FRONTEND=noninteractive
ExecStart=-/usr/bin/python3 -m tests.packages.story systemd {old} {new}
ExecStopPost=/bin/systemctl poweroff -ff
"""


_ENTER: Final = """
set -e
root=$1; shift
mount -t sysfs sysfs "$root/sys"
mount -t bpf bpf "$root/sys/fs/bpf"
cd "$root{place}"
exec "$@"
"""
"""sysfs shows the network namespace that it was mounted in."""


def _bring(debian: Debian, *packages: Path) -> list[str]:
    """Put the story and packages into a root; return the packages' paths inside."""
    debian.put(_HERE, f"{PLACE}/tests/packages")
    debian.put(_HERE.parent / "__init__.py", f"{PLACE}/tests/__init__.py")
    return [debian.put(package, f"{PLACE}/{package.name}") for package in packages]


def _whole(lines: list[str], where: str) -> list[Claim]:
    """Return the claims but the last, which says that the story came to its end.

    Raises:
        RootError: it did not.
    """
    found = claims.read(lines)
    if not found or found[-1].text != claims.DONE:
        end = "\n".join(line for line in lines[-40:] if line)
        raise RootError(f"the story {where} broke off; it said last:\n{end}")
    return found[:-1]


def needs(package: Path) -> list[str]:
    """Return the names that a package depends on, the first where one of several will do."""
    depends = execute(["dpkg-deb", "--field", str(package), "Depends"], doing="reading a package")
    return [re.split(r"[ |(]", part.strip())[0] for part in depends.split(",")]


def in_chroot(package: Path, newer: Path, suite: str = SUITE) -> list[Claim]:
    """Install the package with apt into a fresh Debian and tell its life there.

    Raises:
        RootError: there is no root, apt could not, or the story broke off.
    """
    with Debian("chroot", suite) as debian:
        old, new = _bring(debian, package, newer)
        debian.install(old)
        apart = ("--net", "--mount", "--pid", "--fork", "--kill-child")
        story = ("python3", "-m", "tests.packages.story", "bare", old, new)
        lines = execute(
            [
                *("unshare", *apart, f"--mount-proc={debian.path}/proc"),
                *("sh", "-c", _ENTER.format(place=PLACE), "sh", str(debian.path)),
                *debian.command("env", "-C", PLACE, *story),
            ],
            doing="the story in a chroot",
            seconds=STORY_SECONDS,
        ).splitlines()
    return _whole(lines, "in a chroot")


def under_systemd(package: Path, newer: Path) -> list[Claim]:
    """Boot a Debian 12 that has what the package needs, and tell its life there.

    Raises:
        RootError: there is no root or kernel, or the story broke off.
    """
    with Debian("guest") as debian:
        old, new = _bring(debian, package, newer)
        debian.install("systemd-sysv", "apparmor", *needs(package))
        units = {
            "etc/systemd/system/story.service": _UNIT.format(place=PLACE, old=old, new=new),
            "etc/systemd/system/story.target": "[Unit]\nRequires=story.service\n",
        }
        kernel = debian_kernel(SERIES)
        lines = run_systemd(kernel, "story.target", units, root=debian.path, seconds=GUEST_SECONDS)
    return _whole(list(lines), "under systemd")
