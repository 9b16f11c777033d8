"""Opening a file by a path that somebody else may have a hand in.

The service reads with more rights than the people whose files it reads: a list comes from
a feed's user, a token from an operator. Who can write to a folder of the path decides what
the path leads to: by a link, a hard link or another file put there that user would read
through us, or choose our secrets. This module decides whether what was opened is what the
path is meant to be. It walks the path itself, one folder at a time, and judges what it holds
open; no path is looked at twice. A pipe, device or socket is never opened.

Used for lists (`open_fed`), for the token and a key (`open_own`). Everything blocks.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from xdpctl.errors import ForeignFileError, IrregularFileError
from xdpctl.kernel.paths import walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from xdpctl.kernel.paths import Opened


def open_fed(path: Path) -> int:
    """Open a file that another user may provide; return its descriptor.

    Accepted is a file of root's, of the service's user, or of the owner of its folder, where
    each folder above is root's, the service's or that owner's too. Through a folder that
    somebody else can change, a link leads to a file of that user's own and to no other, and
    a file of root's or the service's counts only where everybody may read it and it has one
    name (no hard link).

    Raises:
        ForeignFileError: somebody else decides what is read, or whose it is.
        IrregularFileError: it is a pipe, a device or a socket.
        OSError: as open(2).
    """
    return _opened(path, _Way.check_fed)


def open_own(path: Path) -> int:
    """Open a file that nobody but root and the service's user can have put there.

    Raises:
        ForeignFileError: it, a folder on the way or a link is somebody else's.
        OSError: as open(2).
    """
    return _opened(path, _Way.check_own)


@dataclass(slots=True)
class _Way:
    """What was met on the way to a file.

    Attributes:
        ours: root, and the user of this process.
        strangers: who else owns a folder on the way, with the first such folder.
        open_to: a folder on the way that a group or everybody can change; or nothing.
        link: a link on the way that somebody else can have made or moved; or nothing.
        shared: the last folder is one in which everybody can make names (as /tmp).
    """

    ours: frozenset[int] = field(default_factory=lambda: frozenset({0, os.geteuid()}))
    strangers: dict[int, str] = field(default_factory=dict)
    open_to: str = ""
    link: str = ""
    shared: bool = False

    def note(self, part: Opened, status: os.stat_result) -> None:
        """Note a part of the path."""
        if stat.S_ISDIR(status.st_mode):
            self.enter(status, str(part.path))
        elif stat.S_ISLNK(status.st_mode):
            self.follow(status, str(part.path))

    def enter(self, folder: os.stat_result, name: str) -> None:
        """Note a folder."""
        if folder.st_uid not in self.ours:
            self.strangers.setdefault(folder.st_uid, name)
        group = folder.st_mode & stat.S_IWGRP and folder.st_gid != 0
        writable = bool(group or folder.st_mode & stat.S_IWOTH)
        self.shared = writable and bool(folder.st_mode & stat.S_ISVTX)
        if writable and not self.shared:
            self.open_to = self.open_to or name

    def follow(self, link: os.stat_result, name: str) -> None:
        """Note a link in the folder entered last."""
        # One of root's stays where it is unless its folder is somebody else's; a ConfigMap's
        # folder is root's, with mode 0777 and such links.
        movable = self.shared or self.open_to
        if self.strangers or (movable and (link.st_uid not in self.ours or link.st_nlink > 1)):
            self.link = self.link or name

    def check_fed(self, file: os.stat_result) -> None:
        """Raise unless this file may be read for those who can change the way to it."""
        owner = file.st_uid
        if owner in self.ours:
            self._check_of_ours(file)
            return
        for stranger, folder in self.strangers.items():
            if stranger != owner:
                raise ForeignFileError(
                    f"it belongs to user {owner}, and {folder} on the way to it to user"
                    f" {stranger}: give both one owner"
                )
        if not self.strangers:
            raise ForeignFileError(
                f"it belongs to user {owner}, who does not own its folder: chown it to root, or"
                f" keep it in a folder of user {owner}"
            )
        if self.open_to and (self.link or file.st_nlink > 1):
            raise self._reachable_by("others", self.open_to)
        if file.st_dev == os.stat("/proc/self").st_dev:  # noqa: PTH116 - as the rest
            raise ForeignFileError("it is a file of /proc: give a regular file")

    def _check_of_ours(self, file: os.stat_result) -> None:
        """Raise where somebody else may have led the path to a file of root's or ours."""
        if self.link and not (self.strangers or self.open_to):
            raise ForeignFileError(f"{self.link} is another user's link: give the file's own path")
        if self.shared and file.st_nlink > 1:
            raise self._reachable_by("everybody", "its folder")
        if not (self.strangers or self.open_to):
            return
        if self.link or file.st_nlink > 1 or not file.st_mode & stat.S_IROTH:
            for stranger, folder in self.strangers.items():
                raise self._reachable_by(f"user {stranger}", folder)
            raise self._reachable_by("others", self.open_to)

    def _reachable_by(self, who: str, folder: str) -> ForeignFileError:
        return ForeignFileError(
            f"{who} can change {folder} and may have put a link there to this file, which has"
            " another owner: give the file the owner of its folder, or keep it in a folder that"
            " only root can write to"
        )

    def check_own(self, file: os.stat_result) -> None:
        """Raise where anybody else has a hand in it."""
        helps = "keep it in a folder that only root can write to, and let root own it"
        if os.geteuid() != 0:
            helps += " (or the service's user)"
        if file.st_uid not in self.ours:
            raise ForeignFileError(f"it belongs to user {file.st_uid}: {helps}")
        for stranger, folder in self.strangers.items():
            raise ForeignFileError(
                f"{folder} belongs to user {stranger}, who can replace it: {helps}"
            )
        if self.open_to:
            raise ForeignFileError(f"others can write to {self.open_to}: {helps}")
        if self.link or (self.shared and file.st_nlink > 1):
            raise ForeignFileError(f"it is a link that another user may have made: {helps}")


def _opened(path: Path, check: Callable[[_Way, os.stat_result], None]) -> int:
    """Walk to a file, judge it, and open for reading what was judged."""
    way = _Way()
    with walk(path.absolute(), way.note) as found:
        status = found.status()
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not stat.S_ISREG(status.st_mode):
            raise IrregularFileError("it is not a regular file")
        check(way, status)
        # By its descriptor: the path may lead to another file by now.
        return os.open(found.link, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
