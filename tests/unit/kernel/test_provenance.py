"""A file is opened only where those who can change its path may have it read."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.descriptors import none_left_open
from xdpctl.errors import ForeignFileError, IrregularFileError
from xdpctl.kernel import provenance
from xdpctl.kernel.provenance import open_fed, open_own, why_unread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ME = os.geteuid()
FEED, OTHER = 4_000_001, 4_000_002
"""Users that do not exist here."""


@pytest.fixture
def owners(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[int, int], int]:
    """What fstat says of the owner, by device and inode; so no privilege is needed."""
    given: dict[tuple[int, int], int] = {}
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        fields = list(found[:10])
        fields[4] = given.get((found.st_dev, found.st_ino), found.st_uid)
        return os.stat_result(fields, {"st_rdev": 0})

    monkeypatch.setattr(os, "fstat", fstat)
    return given


@pytest.fixture
def give(owners: dict[tuple[int, int], int]) -> Callable[[Path, int], Path]:
    def give(path: Path, user: int) -> Path:
        found = path.lstat()
        owners[found.st_dev, found.st_ino] = user
        return path

    return give


@pytest.fixture
def feeds(tmp_path: Path) -> Path:
    folder = tmp_path / "feeds"
    folder.mkdir(mode=0o755)
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file of root's or the service's that nobody else may read."""
    path = tmp_path / "private" / "secret"
    path.parent.mkdir(mode=0o700)
    path.touch(mode=0o600)
    path.write_text("secret\n")
    return path


def read(path: Path, how: Callable[[Path], int] = open_fed) -> str:
    with open(how(path), encoding="utf-8") as file:  # noqa: PTH123 - a descriptor
        return file.read()


@contextmanager
def refused(words: str | None = None) -> Iterator[None]:
    with pytest.raises(ForeignFileError, match=words) as caught:
        yield
    assert "secret\n" not in caught.value.sentence
    assert caught.value.sentence.isprintable()


@pytest.mark.parametrize("how", [open_fed, open_own])
def test_a_file_of_ours_in_a_folder_of_ours_is_read(
    secret: Path, how: Callable[[Path], int]
) -> None:
    assert read(secret, how) == "secret\n"


@pytest.mark.parametrize("how", [open_fed, open_own])
def test_links_of_ours_are_followed(
    tmp_path: Path, secret: Path, how: Callable[[Path], int]
) -> None:
    (tmp_path / "absolute").symlink_to(secret)
    (tmp_path / "folder").symlink_to("private")
    (tmp_path / "private" / "again").symlink_to("../folder/./../absolute")

    assert read(tmp_path / "folder" / "again", how) == "secret\n"


def test_the_folders_owner_feeds_his_own_file(
    feeds: Path, give: Callable[[Path, int], Path]
) -> None:
    (feeds / "2024").write_text("a\n")
    (feeds / "list").symlink_to("2024")
    give(feeds, FEED), give(feeds / "list", FEED), give(feeds / "2024", FEED)

    assert read(feeds / "2024") == read(feeds / "list") == "a\n"


def test_a_file_of_roots_in_the_folder_of_another_is_read_where_everybody_may(
    feeds: Path, give: Callable[[Path, int], Path]
) -> None:
    (feeds / "list").write_text("a\n")
    (feeds / "list").chmod(0o644)
    give(feeds, FEED)

    assert read(feeds / "list") == "a\n"


def test_a_link_of_the_folders_owner_to_a_file_of_roots_is_refused(
    feeds: Path, secret: Path, give: Callable[[Path, int], Path]
) -> None:
    (feeds / "list").symlink_to(secret)
    give(feeds, FEED)

    with refused(f"user {FEED} can change {feeds}"):
        read(feeds / "list")


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_a_hard_link_to_a_file_of_roots_is_refused(
    feeds: Path, secret: Path, give: Callable[[Path, int], Path], mode: int
) -> None:
    secret.chmod(mode)
    (feeds / "list").hardlink_to(secret)
    give(feeds, FEED)

    with refused("may have put a link"):
        read(feeds / "list")


def test_a_hard_link_whose_first_name_is_gone_is_refused(
    feeds: Path, secret: Path, give: Callable[[Path, int], Path]
) -> None:
    (feeds / "list").hardlink_to(secret)
    secret.unlink()
    give(feeds, FEED)

    with refused():
        read(feeds / "list")


def test_a_folder_that_is_a_link_of_another_is_refused(
    feeds: Path, secret: Path, give: Callable[[Path, int], Path]
) -> None:
    (feeds / "today").symlink_to(secret.parent)
    give(feeds, FEED)

    with refused():
        read(feeds / "today" / "secret")


def test_a_folder_above_of_another_user_is_refused(
    feeds: Path, give: Callable[[Path, int], Path]
) -> None:
    (feeds / "sub").mkdir()
    (feeds / "sub" / "list").write_text("a\n")
    give(feeds, OTHER), give(feeds / "sub", FEED), give(feeds / "sub" / "list", FEED)

    with refused(f"{feeds} on the way to it to user {OTHER}"):
        read(feeds / "sub" / "list")


def test_a_file_of_a_third_users_is_refused(feeds: Path, give: Callable[[Path, int], Path]) -> None:
    (feeds / "list").write_text("a\n")
    give(feeds / "list", OTHER)
    with refused(f"user {OTHER}, who does not own its folder"):
        read(feeds / "list")
    give(feeds, FEED)
    with refused(f"belongs to user {OTHER}, and"):
        read(feeds / "list")


@pytest.mark.parametrize("mode", [0o775, 0o777])
def test_a_folder_that_others_can_write_to_is_no_folder_of_roots(
    feeds: Path, secret: Path, give: Callable[[Path, int], Path], mode: int
) -> None:
    (feeds / "hard").hardlink_to(secret)
    give(feeds, ME)
    os.chown(feeds, -1, 1 if ME == 0 else os.getgid())
    feeds.chmod(mode)

    with refused("others can change"):
        read(feeds / "hard")


def test_a_folder_of_a_config_map_is_read(feeds: Path) -> None:
    """Kubernetes: the folder has mode 0777 and links of root's, each to a link of root's."""
    (feeds / "..1").mkdir()
    (feeds / "..1" / "list").write_text("a\n")
    (feeds / "..1" / "list").chmod(0o644)
    (feeds / "..data").symlink_to("..1")
    (feeds / "list").symlink_to("..data/list")
    feeds.chmod(0o777)

    assert read(feeds / "list") == "a\n"


@pytest.mark.parametrize("how", [open_fed, open_own])
def test_in_a_folder_like_tmp_links_of_others_are_refused(
    feeds: Path, secret: Path, give: Callable[[Path, int], Path], how: Callable[[Path], int]
) -> None:
    feeds.chmod(0o1777)
    (feeds / "ours").symlink_to(secret)
    (feeds / "theirs").symlink_to(secret)
    (feeds / "hard").hardlink_to(secret)
    give(feeds / "theirs", FEED)

    for name in ("theirs", "hard"):
        with refused():
            read(feeds / name, how)
    (feeds / "hard").unlink()
    assert read(feeds / "ours", how) == "secret\n"


def test_a_secret_is_nobody_elses(feeds: Path, give: Callable[[Path, int], Path]) -> None:
    path = feeds / "token"
    path.write_text("secret\n")
    path.chmod(0o600)
    give(path, FEED)
    with refused(f"it belongs to user {FEED}"):
        read(path, open_own)
    give(path, ME), give(feeds, FEED)
    with refused(f"{feeds} belongs to user {FEED}"):
        read(path, open_own)


def test_a_secret_does_not_lie_where_others_can_write(feeds: Path) -> None:
    (feeds / "token").write_text("secret\n")
    feeds.chmod(0o777)
    with refused("others can write to"):
        read(feeds / "token", open_own)


@pytest.mark.parametrize("how", [open_fed, open_own])
def test_nothing_but_a_regular_file_is_opened(
    feeds: Path, how: Callable[[Path], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    real = os.open

    def note(path: object, flags: int, *rest: int, **named: int | None) -> int:
        if not flags & os.O_PATH:
            opened.append(path)
        return real(path, flags, *rest, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", note)
    os.mkfifo(feeds / "pipe")
    monkeypatch.chdir(feeds)
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        for path in (feeds / "pipe", feeds / "socket", Path("/dev/null")):
            with pytest.raises(IrregularFileError):
                how(path)
    with pytest.raises(IsADirectoryError):
        how(feeds)
    assert opened == []


@pytest.mark.parametrize("how", [open_fed, open_own])
def test_what_cannot_be_walked_is_the_systems_error(
    feeds: Path, how: Callable[[Path], int]
) -> None:
    (feeds / "file").touch()
    (feeds / "loop").symlink_to("loop")
    with pytest.raises(FileNotFoundError):
        how(feeds / "nothing")
    with pytest.raises(NotADirectoryError):
        how(feeds / "file" / "below")
    with pytest.raises(OSError, match="symbolic links"):
        how(feeds / "loop")


def test_what_was_judged_is_what_is_read(
    feeds: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The path is exchanged between the judgement and the reading."""
    (feeds / "list").write_text("a\n")
    real = provenance._Way.check_fed

    def exchange(way: provenance._Way, file: os.stat_result) -> None:
        real(way, file)
        (feeds / "list").unlink()
        (feeds / "list").symlink_to(secret)

    monkeypatch.setattr(provenance._Way, "check_fed", exchange)
    assert read(feeds / "list") == "a\n"


def test_no_descriptor_is_left(feeds: Path, secret: Path) -> None:
    (feeds / "list").symlink_to(secret)
    with none_left_open():
        os.close(open_fed(feeds / "list"))
        with pytest.raises(FileNotFoundError):
            open_fed(feeds / "nothing")


def test_who_must_own_a_secret_is_said_where_it_may_not_be_read() -> None:
    helps = "write a token into it"
    assert why_unread(FileNotFoundError(2, "No such file"), helps) == f"No such file; {helps}"
    assert why_unread(ValueError("embedded null byte"), helps) == f"embedded null byte; {helps}"
    denied = why_unread(PermissionError(13, "Permission denied"), helps)
    assert denied.startswith("Permission denied; let the user that the service runs as own it")
    assert helps not in denied
