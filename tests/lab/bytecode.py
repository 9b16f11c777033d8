"""Bytecode that services compiled, kept from one lab to the next.

Most services of the tests have the same few dozen configurations, and compiling one takes longer
than all else that a start does. A service of the lab finds what earlier ones have compiled beside
its state file, as after any restart; `Service(compiles=True)` finds nothing. Kept while this
process lives, or where `keep_in` says: processes that run tests side by side share a folder.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from xdpctl.program.cache import FOLDER

_folders: list[Path] = []
"""Where it is kept: the last one."""


def keep_in(folder: Path) -> None:
    """Keep it in this folder from now on, which is made and never removed here."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    _folders.append(folder)


def put(directory: Path, owner: int = 0) -> None:
    """Put the files beside the state files in a directory, unless a service was there before.

    Args:
        directory: where the state files are.
        owner: user and group of the service.
    """
    folder = directory / FOLDER
    if folder.exists():
        return
    folder.mkdir(mode=0o700)
    for file in _files(_kept()):
        shutil.copy2(file, folder)
    if owner:
        for path in (*folder.iterdir(), folder):
            os.chown(path, owner, owner)


def take(directory: Path) -> None:
    """Keep what the services of a lab have compiled, and note what they have used."""
    folder, kept = directory / FOLDER, _kept()
    for file in _files(folder):
        known = kept / file.name
        try:
            seen = known.stat().st_mtime_ns
        except FileNotFoundError:
            seen = 0
        if file.stat().st_mtime_ns > seen:
            half = kept / f".{os.getpid()}"  # another process may read what is there
            shutil.copy2(file, half)
            half.rename(known)


def _kept() -> Path:
    if not _folders:
        made = Path(tempfile.mkdtemp(prefix="xdplab-bytecode-"))
        atexit.register(shutil.rmtree, made, ignore_errors=True)
        _folders.append(made)
    return _folders[-1]


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [file for file in folder.iterdir() if not file.name.startswith(".")]
