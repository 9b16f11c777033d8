"""The folder of the zones' files: nobody else chooses what is removed or kept there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from xdpctl.errors import ListError
from xdpctl.feeds.zone.following import Following
from xdpctl.feeds.zone.messages import ListZone, ZoneListsJob
from xdpctl.rules.names import Name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

THEM = 4_000_001
"""A user that does not exist here."""


@pytest.fixture
def give(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Let a file be another user's as far as fstat says."""
    given: set[tuple[int, int]] = set()
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        found = real(descriptor)
        fields = list(found[:10])
        fields[4] = THEM if (found.st_dev, found.st_ino) in given else found.st_uid
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", fstat)

    def give(path: Path) -> None:
        found = path.lstat()
        given.add((found.st_dev, found.st_ino))

    return give


def tidy(folder: Path, *kept: str, listed: bool = True) -> None:
    zones = [ListZone(0, Name.from_text("a.example"), (), folder / name, None) for name in kept]
    job = ZoneListsJob(tuple(zones), 0) if listed else None
    Following(folder, (), lambda *_: None, lambda *_: None)._tidy(job)  # type: ignore[arg-type]


def test_only_files_of_former_lists_are_removed(tmp_path: Path) -> None:
    folder = tmp_path / "feeds" / "state.db"
    tidy(folder, "a-1")
    assert folder.stat().st_mode & 0o777 == 0o750
    kept = {"a-1.zone", "a-1.zone-journal", "notes.txt", "b-2", "b-2.zone.bak"}
    for name in (*kept, "b-2.zone", "b-2.new", "b-2.zone-journal"):
        (folder / name).touch()
    (folder / "c-3.zone").mkdir()
    tidy(folder, "a-1")
    assert {path.name for path in folder.iterdir()} == kept | {"c-3.zone"}


@pytest.mark.parametrize("listed", [True, False])
def test_a_folder_that_another_user_made_first_is_not_used(
    tmp_path: Path, give: Callable[[Path], None], *, listed: bool
) -> None:
    """As in a folder like /tmp, where everybody can make names."""
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "a.zone").touch()
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    (feeds / "state.db").symlink_to(victim)
    give(feeds)
    give(feeds / "state.db")
    if listed:
        with pytest.raises(ListError, match=f"belongs to user {THEM}, .* must belong to the serv"):
            tidy(feeds / "state.db", "b-1")
    else:
        tidy(feeds / "state.db", listed=False)
    assert (victim / "a.zone").exists()


@pytest.mark.parametrize("which", [".", "state.db"])
def test_a_folder_that_others_can_write_to_is_not_used(tmp_path: Path, which: str) -> None:
    feeds = tmp_path / "feeds"
    (feeds / "state.db").mkdir(parents=True)
    (feeds / which).chmod(0o777)
    with pytest.raises(ListError, match=r"other users can write to .*, who alone may write there"):
        tidy(feeds / "state.db", "b-1")
