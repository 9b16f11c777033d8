"""Opens a file only if no other user can have redirected its path.

The service has more rights than the users whose files it reads: a list comes from a feed's
user, a token from an operator. A user who can write to a folder on the path decides what the
path leads to. With a link, a hard link or a replaced file that user could read other files
through the service, or choose its secrets. This module decides whether to trust the file that
was opened. paths.py walks the path one part at a time; this module judges each part while it
is open, and no part is looked up twice. A pipe, device or socket is never opened.

Used for lists (`open_fed`), and for secrets: the token, a key, the cookie secrets (`open_secret`,
`read_secret`). Everything blocks. Owns that judgement, and what helps where a secret may not be
read. Does not own the content of files. Called by those who read lists and secrets in feeds/,
transfers/, http/transport/ and limits/.
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

    The file must belong to root, to the service's user or to the owner of its folder, and each
    folder above must belong to root, to the service's user or to that owner. If another user
    can change a folder on the way, a link in it may lead only to that user's own files, and a
    file of root's or the service's user is accepted only if everybody may read it and it has a
    single name (no hard link).

    Raises:
        ForeignFileError: another user decides which file is read, or owns it.
        IrregularFileError: it is a pipe, a device or a socket.
        OSError: as open(2).
    """
    return _opened(path, _Way.check_fed)


def open_own(path: Path) -> int:
    """Open a file that only root or the service's user can have put there.

    Raises:
        ForeignFileError: another user owns the file, a folder on the way or a link.
        OSError: as open(2).
    """
    return _opened(path, _Way.check_own)


def open_secret(path: Path, renew: str, *, group: bool = True) -> int:
    """Open a file as `open_own`, and only if nobody but its owner and group can use it.

    Args:
        path: of the file.
        renew: what to do about a secret that others may have read, as half a sentence.
        group: whether its group may use it, too.

    Raises:
        ForeignFileError: another user can change or read it.
        OSError: as open(2).
    """
    opened = open_own(path)
    mode = stat.S_IMODE(os.fstat(opened).st_mode)
    others = stat.S_IRWXO if group else stat.S_IRWXO | stat.S_IRWXG
    if mode & others:
        os.close(opened)
        who = "everybody on this machine" if mode & stat.S_IRWXO else "its group"
        helps = f"chmod o= {path}" if group else f"chmod go= {path}, let the service's user own it"
        raise ForeignFileError(f"its mode {mode:04o} lets {who} use it; run {helps}, and {renew}")
    return opened


def read_secret(path: Path, renew: str, most: int, *, group: bool = True) -> bytes:
    """Return the content of a file as `open_secret`; of a longer one, `most` + 1 bytes."""
    with open(open_secret(path, renew, group=group), "rb") as file:
        return file.read(most + 1)


def why_unread(error: OSError | ValueError, helps: str) -> str:
    """Return the end of a sentence: why a secret could not be read, and what helps.

    Args:
        error: of `read_secret`; ValueError: the path has an octet 0.
        helps: what does, where it is not that the service may not read it.
    """
    if isinstance(error, PermissionError):
        helps = "let the user that the service runs as own it, mode 0600"
    return f"{getattr(error, 'strerror', None) or error}; {helps}"


@dataclass(slots=True)
class _Way:
    """The folders and links on the way to a file.

    Attributes:
        ours: root, and the user of this process.
        strangers: other users who own a folder on the way, each with the first such folder.
        open_to: a folder on the way that a group or everybody can change; empty if none.
        link: a link on the way that another user can have made or moved; empty if none.
        shared: everybody can create names in the last folder (as in /tmp).
    """

    ours: frozenset[int] = field(default_factory=lambda: frozenset({0, os.geteuid()}))
    strangers: dict[int, str] = field(default_factory=dict)
    open_to: str = ""
    link: str = ""
    shared: bool = False

    def note(self, part: Opened, status: os.stat_result) -> None:
        """Record a part of the path."""
        if stat.S_ISDIR(status.st_mode):
            self.enter(status, str(part.path))
        elif stat.S_ISLNK(status.st_mode):
            self.follow(status, str(part.path))

    def enter(self, folder: os.stat_result, name: str) -> None:
        """Record a folder."""
        if folder.st_uid not in self.ours:
            self.strangers.setdefault(folder.st_uid, name)
        group = folder.st_mode & stat.S_IWGRP and folder.st_gid != 0
        writable = bool(group or folder.st_mode & stat.S_IWOTH)
        self.shared = writable and bool(folder.st_mode & stat.S_ISVTX)
        if writable and not self.shared:
            self.open_to = self.open_to or name

    def follow(self, link: os.stat_result, name: str) -> None:
        """Record a link in the folder that was entered last."""
        # Another user can replace root's link only in a folder of that user's own. A ConfigMap's
        # folder belongs to root, has mode 0777 and holds such links.
        movable = self.shared or self.open_to
        if self.strangers or (movable and (link.st_uid not in self.ours or link.st_nlink > 1)):
            self.link = self.link or name

    def check_fed(self, file: os.stat_result) -> None:
        """Raise unless the users who can change the way to this file may have it read."""
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
        """Raise if another user may have redirected the path to a file of root's or ours."""
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
        """Raise if any other user can change the file or the way to it."""
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
