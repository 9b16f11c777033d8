"""Paths that others may exchange: who is trusted on the way, and what is used is what was seen."""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

import pytest

from tests.support.descriptors import none_left_open
from xdpctl.kernel import paths
from xdpctl.kernel.paths import ForeignError, Opened, look, open_directory, refuse_foreign_file

STRANGER = 54321


@pytest.fixture
def strangers(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Return a set: what is in it belongs to somebody else."""
    found: set[Path] = set()
    real = Opened.status

    def status(opened: Opened) -> os.stat_result:
        seen = real(opened)
        theirs = {place.lstat().st_ino for place in found}
        fields = list(seen)
        fields[stat.ST_UID] = STRANGER if seen.st_ino in theirs else seen.st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(Opened, "status", status)
    return found


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def is_same(opened: Opened, path: Path) -> bool:
    with opened:
        return os.path.samestat(opened.status(), path.stat())


def test_a_directory_is_opened_whatever_has_its_name_later(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with open_directory(tmp_path / "a") as opened:
        (tmp_path / "a").rename(tmp_path / "b")
        (tmp_path / "a").mkdir()
        opened.set_mode(0o711)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]
    assert modes[1] == 0o711
    assert modes[0] != 0o711


def test_owner_and_group_are_set_on_what_was_opened(tmp_path: Path) -> None:
    with look(tmp_path) as opened:
        opened.set_owner(-1, os.getgid())
        opened.set_owner(os.getuid(), -1)
    assert (tmp_path.stat().st_uid, tmp_path.stat().st_gid) == (os.getuid(), os.getgid())


def test_an_owner_that_the_kernel_refuses_is_an_os_error(tmp_path: Path) -> None:
    opened = look(tmp_path)
    opened.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        opened.set_owner(1, 1)


@pytest.mark.parametrize("target", ["real", "../{name}/real", "{root}/real"])
def test_our_own_links_are_followed(tmp_path: Path, target: str) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to(target.format(name=tmp_path.name, root=tmp_path))
    assert is_same(open_directory(tmp_path / "link" / "deep"), tmp_path / "real" / "deep")


def test_a_relative_path_begins_where_we_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    assert is_same(open_directory(Path("a")), tmp_path / "a")


def test_links_without_end_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match=r"\[Errno 40\]") as caught:
        open_directory(tmp_path / "a")
    assert caught.value.errno == errno.ELOOP


@pytest.mark.parametrize("theirs", ["a", "a/b"])
def test_a_directory_of_somebody_else_on_the_way_is_refused(
    tmp_path: Path, strangers: set[Path], theirs: str
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    strangers.add(tmp_path / theirs)
    refused = pytest.raises(ForeignError, match=f"directory .*{theirs} belongs to user {STRANGER}")
    with none_left_open(), refused:
        open_directory(tmp_path / "a" / "b")


def test_a_link_of_somebody_else_is_refused(tmp_path: Path, strangers: set[Path]) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    strangers.add(tmp_path / "link")
    with pytest.raises(ForeignError, match=f"the link .*link belongs to user {STRANGER}"):
        open_directory(tmp_path / "link")


def test_who_is_trusted_may_own_the_way(tmp_path: Path, strangers: set[Path]) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    strangers.add(tmp_path / "a")
    assert is_same(open_directory(tmp_path / "a" / "b", [STRANGER]), tmp_path / "a" / "b")


def test_nothing_is_made_in_a_directory_of_somebody_else(
    tmp_path: Path, strangers: set[Path]
) -> None:
    (tmp_path / "a").mkdir()
    strangers.add(tmp_path / "a")
    with pytest.raises(ForeignError):
        open_directory(tmp_path / "a" / "b", make=0o700)
    assert not list((tmp_path / "a").iterdir())


def test_what_is_missing_is_made_with_its_mode(tmp_path: Path) -> None:
    with open_directory(tmp_path / "a" / "b", make=0o700, parents=0o750) as opened:
        assert opened.made
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a", "a/b")]
    assert modes == [0o750, 0o700]
    with open_directory(tmp_path / "a" / "b", make=0o700) as opened:
        assert not opened.made


def test_what_is_missing_and_not_to_be_made_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_directory(tmp_path / "a")


def test_a_directory_made_by_another_meanwhile_is_as_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def late(name: str, mode: int, *, dir_fd: int) -> None:
        real(name, mode, dir_fd=dir_fd)
        real(name, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "mkdir", late)
    with open_directory(tmp_path / "a", make=0o700) as opened:
        assert not opened.made


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def make_loose_link(path: Path) -> None:
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.touch, "a plain file"),
        (Path.mkdir, "a directory"),
        (make_fifo, "a pipe"),
        (make_socket, "a socket"),
        (make_loose_link, "a link"),
    ],
)
def test_other_kinds_are_named(
    tmp_path: Path, make: object, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(make)
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    make(Path("x"))
    with look(Path("x")) as opened:
        assert paths.kind_of(opened.status().st_mode) == kind
        if kind != "a plain file":
            with pytest.raises(ForeignError, match=f"x is {kind}, not a regular file"):
                refuse_foreign_file(opened)
    if kind in {"a plain file", "a pipe", "a socket"}:
        with pytest.raises(NotADirectoryError, match=f"x is {kind}, not a directory"):
            open_directory(Path("x"), make=0o700)


def test_a_device_is_a_device() -> None:
    assert paths.kind_of(Path("/dev/null").stat().st_mode) == "a device"


def test_a_file_with_a_second_name_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    (tmp_path / "y").hardlink_to(tmp_path / "x")
    with look(tmp_path / "x") as opened, pytest.raises(ForeignError, match="hard link"):
        refuse_foreign_file(opened)


def test_a_file_of_somebody_else_is_refused_but_of_whom_we_trust(
    tmp_path: Path, strangers: set[Path]
) -> None:
    (tmp_path / "x").touch()
    strangers.add(tmp_path / "x")
    with look(tmp_path / "x") as opened:
        refuse_foreign_file(opened, [STRANGER])
        with pytest.raises(ForeignError, match=f"x belongs to user {STRANGER}"):
            refuse_foreign_file(opened)


def test_names_are_listed_in_order(tmp_path: Path) -> None:
    for name in "cab":
        (tmp_path / name).touch()
    with open_directory(tmp_path) as opened:
        assert opened.names() == ["a", "b", "c"]
