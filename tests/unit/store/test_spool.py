"""What waits on the disk: comes back as it was, leaves no file, and a full disk is our error."""

from __future__ import annotations

import errno
import os
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from xdpctl.errors import StateError
from xdpctl.store import spool
from xdpctl.store.spool import Spool

if TYPE_CHECKING:
    from pathlib import Path

PARTS: list[spool.Part] = [([b"", b"\0\xff", b"a" * 258], [0, 1, 70_000]), ([b"b"] * 3, 7)]


@pytest.mark.parametrize("in_memory", [1, 1_000])
def test_parts_come_back_in_any_order_and_no_file_can_be_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", in_memory)
    with closing(Spool(tmp_path)) as kept:
        places = [kept.write(part) for part in PARTS]
        assert [kept.read(place) for place in reversed(places)] == PARTS[::-1]
        places.append(kept.write(PARTS[0]))
        assert kept.read(places[2]) == PARTS[0]
        assert list(tmp_path.iterdir()) == []


def test_a_directory_that_takes_no_file_is_an_error_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool, "IN_MEMORY", 1)
    with closing(Spool(tmp_path / "missing")) as kept, pytest.raises(StateError, match="has room"):
        kept.write(PARTS[0])


def test_a_disk_that_is_full_is_an_error_of_ours(tmp_path: Path) -> None:
    class Full:
        def seek(self, _place: int) -> None:
            pass

        def write(self, _data: bytes) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def close(self) -> None:
            pass

    with closing(Spool(tmp_path)) as kept:
        kept._file = Full()  # type: ignore[assignment]
        with pytest.raises(StateError, match="No space left on device"):
            kept.write(PARTS[0])
