"""The root of all control groups is found where it is mounted, and a part of it is not taken."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from xdpctl.errors import KernelError
from xdpctl.kernel.bpf import cgroups
from xdpctl.kernel.bpf.cgroups import open_root

if TYPE_CHECKING:
    from pathlib import Path


def mounts(folder: Path, *places: Path, kind: str = "cgroup2") -> Path:
    """Write what a process sees mounted."""
    file = folder / "mountinfo"
    lines = [
        f"{30 + number} 1 0:27 / {str(place).replace(' ', chr(92) + '040')} rw,nosuid shared:9"
        f" - {kind} cgroup rw\n"
        for number, place in enumerate(places)
    ]
    file.write_text("21 1 8:1 / / rw - ext4 /dev/root rw\n" + "".join(lines))
    return file


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder, with a blank in its name, that looks like the root."""
    made = tmp_path / "c group"
    made.mkdir()
    monkeypatch.setattr(cgroups, "_ROOT_INODE", made.stat().st_ino)
    return made


def test_the_root_is_found(tmp_path: Path, place: Path) -> None:
    opened = open_root(mounts(tmp_path, tmp_path / "gone", place))
    try:
        assert os.path.sameopenfile(opened, os.open(place, os.O_RDONLY))
    finally:
        os.close(opened)


def test_a_part_of_it_is_not_the_root(tmp_path: Path, place: Path) -> None:
    with pytest.raises(KernelError, match=r"only a part of them.*cgroupns=host"):
        open_root(mounts(tmp_path, place.parent))


@pytest.mark.parametrize("kind", ["cgroup", "tmpfs"])
def test_another_file_system_is_not_asked(tmp_path: Path, place: Path, kind: str) -> None:
    with pytest.raises(KernelError, match="no cgroup2 is mounted"):
        open_root(mounts(tmp_path, place, kind=kind))


def test_without_proc_nothing_is_found(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="--proof socket"):
        open_root(tmp_path / "mountinfo")
