"""inotify: what is closed or renamed into place is said, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from xdpctl.feeds.inotify import Inotify

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def inotify() -> Iterator[Inotify]:
    with Inotify() as opened:
        yield opened


def seen(inotify: Inotify) -> set[str]:
    return {event.name for event in inotify.read()}


def test_nothing_has_happened_yet(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(tmp_path)

    assert inotify.read() == []


def test_a_file_that_is_written_and_closed_is_named(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(tmp_path)
    (tmp_path / "bücher.txt").write_text("x")

    assert seen(inotify) == {"bücher.txt"}


def test_a_file_that_is_still_written_is_not(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(tmp_path)
    with (tmp_path / "x").open("w") as stream:
        stream.write("half")
        stream.flush()

        assert seen(inotify) == set()


def test_a_file_that_is_renamed_into_place_is_named(inotify: Inotify, tmp_path: Path) -> None:
    (tmp_path / "new").write_text("x")
    inotify.watch(tmp_path)
    (tmp_path / "new").rename(tmp_path / "list")

    assert "list" in seen(inotify)


def test_a_directory_keeps_its_number(inotify: Inotify, tmp_path: Path) -> None:
    number = inotify.watch(tmp_path)
    (tmp_path / "a").write_text("x")

    assert inotify.watch(tmp_path) == number
    assert {event.watch for event in inotify.read()} == {number}


def test_a_directory_that_goes_is_said_to_be_gone(inotify: Inotify, tmp_path: Path) -> None:
    inotify.watch(tmp_path / ".")
    folder = tmp_path / "folder"
    folder.mkdir()
    number = inotify.watch(folder)
    folder.rmdir()

    assert any(event.gone for event in inotify.read() if event.watch == number)


def test_what_is_no_directory_cannot_be_watched(inotify: Inotify, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        inotify.watch(tmp_path / "absent")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        inotify.watch(tmp_path / "file")
