"""Bytecode that services compiled, kept from one lab to the next while this process lives.

Most services of the tests have the same few configurations, and compiling one takes longer than
all else that a start does. A service of the lab finds what earlier ones have compiled beside its
state file, as after any restart; `Service(compiles=True)` finds nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.program.cache import FOLDER, KEPT

if TYPE_CHECKING:
    from pathlib import Path

_kept: dict[str, bytes] = {}
"""File name to content, those used last at the end."""


def put(directory: Path) -> None:
    """Put the files beside the state files of a lab, unless a service was there before."""
    folder = directory / FOLDER
    if folder.exists() or not _kept:
        return
    folder.mkdir(mode=0o700)
    for name, content in list(_kept.items())[-KEPT // 2 :]:
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)


def take(directory: Path) -> None:
    """Keep what the services of a lab have compiled or used."""
    folder = directory / FOLDER
    if not folder.is_dir():
        return
    files = [file for file in folder.iterdir() if not file.name.startswith(".")]
    for file in sorted(files, key=lambda path: path.stat().st_mtime_ns):
        _kept.pop(file.name, None)
        _kept[file.name] = file.read_bytes()
    while len(_kept) > 2 * KEPT:
        del _kept[next(iter(_kept))]
