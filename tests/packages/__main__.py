"""`make test-packages`: what is in deploy/ for other machines, used once each.

`python -m tests.packages [PART…]` prints one line a claim; its exit status is 0 when all
hold. Parts: package, chroot, package13, chroot13 (Debian 13), image, kubernetes,
versions, guest. As root; all that it
makes is in mount, network and process namespaces of its own and below the test cache.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.lab.process import LabError
from tests.packages import image, kubernetes, life, package, versions
from tests.packages.debian import NEXT, sweep
from tests.roots.apt import RootError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.packages.claims import Claim

APART: Final = "XDPCTL_TEST_PACKAGES_APART"
"""Set in the process that has a mount namespace of its own."""


def parts(folder: Path) -> dict[str, Callable[[], Iterable[Claim]]]:
    """Return each part by its name; they share the packages, built when first asked for."""
    built: dict[str, Path] = {}

    def deb(name: str, *options: str) -> Path:
        if name not in built:
            built[name] = package.build(folder / name, *options)
        return built[name]

    def newer() -> Path:
        return deb("newer", "--version", package.NEWER)

    def next_deb(name: str, *options: str) -> Path:
        return deb(f"{name}-{NEXT}", "--suite", NEXT, *options)

    return {
        "package": lambda: package.claims(deb("first"), deb("again")),
        "chroot": lambda: life.in_chroot(deb("first"), newer()),
        "package13": lambda: (
            *package.claims(next_deb("first"), next_deb("again")),
            *package.upgrades(deb("first"), next_deb("first")),
        ),
        "chroot13": lambda: life.in_chroot(
            next_deb("first"), next_deb("newer", "--version", package.NEWER), NEXT
        ),
        "image": lambda: image.claims(deb("first").parent, kubernetes.settings()),
        "kubernetes": kubernetes.claims,
        "versions": lambda: versions.claims(deb("first")),
        "guest": lambda: life.under_systemd(deb("first"), newer()),
    }


def main(wanted: list[str]) -> int:
    """Hold these parts (all when none is named) to what is claimed; 0 when all is well."""
    sweep()
    good = True
    with tempfile.TemporaryDirectory(prefix="xdpctl-packages-") as name:
        known = parts(Path(name))
        for part in wanted or known:
            try:
                for claim in known[part]():
                    word = "ok" if claim.held else f"NO; seen: {claim.seen}"
                    sys.stdout.write(f"{part}: {claim.text}: {word}\n")
                    sys.stdout.flush()
                    good &= claim.held
            except (RootError, LabError) as error:
                sys.stdout.write(f"{part}: NO; {error}\n")
                good = False
    return 0 if good else 1


if __name__ == "__main__":
    if APART not in os.environ:
        os.environ[APART] = "1"
        again = [sys.executable, "-m", "tests.packages", *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--mount", "--propagation", "slave", *again])  # noqa: S606 - it becomes it
    raise SystemExit(main(sys.argv[1:]))
