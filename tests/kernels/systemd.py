"""Another Debian's systemd, unpacked from its package, to boot a guest into.

The machine's own libraries serve it: all that Debian 11's systemd 247 needs besides its
own is in Debian 12 under the same names. `machine.py` puts it over a guest's root.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Final

from tests.roots.apt import USR_MERGED, SuiteApt, locked, unpack

if TYPE_CHECKING:
    from pathlib import Path

_PARTS: Final = ("bin", "lib/systemd")


def debian_systemd(suite: str) -> Path:
    """Return a folder with what of systemd goes into /usr, downloaded if it is not in the cache.

    Raises:
        RootError: one sentence with what is missing.
    """
    with locked(f"systemd-{suite}") as cache:
        folder = cache / "systemd" / suite
        if not folder.is_dir():
            apt = SuiteApt(suite)
            apt.update()
            half, whole = (folder.with_name(f"{suite}.{part}") for part in ("half", "whole"))
            for old in (half, whole):
                shutil.rmtree(old, ignore_errors=True)
            for name in USR_MERGED:  # as in the root that it is put over
                (whole / "usr" / name).mkdir(parents=True)
                (whole / name).symlink_to(f"usr/{name}")
            unpack(apt.download("systemd"), whole)
            for part in _PARTS:
                (half / part).parent.mkdir(parents=True, exist_ok=True)
                (whole / "usr" / part).rename(half / part)
            shutil.rmtree(whole)
            apt.clean()
            half.rename(folder)
        return folder
