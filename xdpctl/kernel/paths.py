"""Paths that other users can change: opened once, then used by descriptor only.

Root sets owners and modes in directories that belong to other users, who can replace a file with a
link at any time. So this module follows no path twice: it walks a path part by part, a trusted
user must own every part, and owner and mode are set through the descriptor that was checked.
Called by the modules that make pins, sockets and state files, and by provenance.py; everything
blocks. Errors are OSError, whose `strerror` is half a sentence. Owns opening, the checks of
owners, and setting owner and mode. Does not own which users are trusted; callers say.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_AT_EMPTY_PATH = 0x1000
_LINKS_MAX = 40


class ForeignError(PermissionError):
    """An untrusted user owns a directory or file; `strerror` says which user."""

    def __init__(self, reason: str) -> None:
        super().__init__(errno.EPERM, reason)
        self.reason = reason


def is_read_only(path: Path) -> bool:
    """Tell whether the file system of `path`, which must exist, is mounted read-only here."""
    return bool(os.statvfs(path).f_flag & os.ST_RDONLY)


class Opened:
    """A file, directory or link opened with O_PATH. Its path may lead elsewhere by now.

    Args:
        fd: the descriptor, closed by `close`.
        path: the path that errors show.
        made: whether `open_directory` created it.
    """

    def __init__(self, fd: int, path: Path, *, made: bool = False) -> None:
        self.fd = fd
        self.path = path
        self.made = made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the descriptor. A second call does nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    @property
    def link(self) -> Path:
        """A path that leads system calls to this object, whatever its name leads to now."""
        return Path(f"/proc/self/fd/{self.fd}")

    def status(self) -> os.stat_result:
        """Return the result of fstat(2)."""
        return os.fstat(self.fd)

    def below(self, name: str) -> Path:
        """Return the path of an entry of this directory, for system calls that take no descriptor.

        Some calls follow the entry if it is a link.
        """
        return self.link / name

    def open(self, name: str) -> Opened:
        """Open an entry of this directory; if it is a link, open the link itself.

        Raises:
            OSError: it does not exist, or this process may not search the directory.
        """
        return Opened(os.open(name, _LOOK, dir_fd=self.fd), self.path / name)

    def names(self) -> list[str]:
        """Return the names in this directory, sorted."""
        readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.fd)
        try:
            with os.scandir(readable) as listed:
                return sorted(entry.name for entry in listed)
        finally:
            os.close(readable)

    def set_owner(self, uid: int, gid: int) -> None:
        """Set owner and group; -1 leaves either unchanged."""
        libc = ctypes.CDLL(None, use_errno=True)
        owner = ctypes.c_uint32(uid), ctypes.c_uint32(gid)
        if libc.fchownat(self.fd, b"", *owner, _AT_EMPTY_PATH) < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self.path))

    def set_mode(self, mode: int) -> None:
        """Set the permissions. Do not call this for a link, which has none."""
        self.link.chmod(mode)


def look(path: Path) -> Opened:
    """Open a path with O_PATH; if its last part is a link, open the link itself.

    Raises:
        OSError: it does not exist, or this process may not search a directory on the way.
    """
    return Opened(os.open(path, _LOOK), path)


def open_directory(
    path: Path, owners: Iterable[int] = (), *, make: int | None = None, parents: int | None = None
) -> Opened:
    """Open a directory. Root, this process's user or one of `owners` must own every part of it.

    Links on the way are followed if such a user owns them, too.

    Args:
        path: the directory. A relative path starts at the working directory.
        owners: users to trust besides root and our own.
        make: mode for the directory if it is missing; None makes that an error.
        parents: mode for missing directories above it; the default is `make`.

    Raises:
        ForeignError: another user owns a part.
        OSError: it cannot be made or opened, or a part is not a directory.
    """
    trusted = {0, os.geteuid(), *owners}

    def judge(part: Opened, status: os.stat_result) -> None:
        _refuse_foreign(part.path, status, trusted)
        if not stat.S_ISLNK(status.st_mode):
            _refuse_other_than_directory(part.path, status)

    return walk(path, judge, make=make, parents=parents)


def walk(
    path: Path,
    judge: Callable[[Opened, os.stat_result], None],
    *,
    make: int | None = None,
    parents: int | None = None,
) -> Opened:
    """Open what a path leads to, one part at a time. No part is looked up twice.

    Args:
        path: a relative path starts at the working directory.
        judge: called with every directory and link on the way and with what is at the end,
            each already open; what it raises ends the walk.
        make: as for `open_directory`.
        parents: as for `open_directory`.

    Raises:
        OSError: a part is missing or is not a directory, or there are too many links.
    """
    pending = [*reversed(path.parts)]
    found = Opened(os.open(path.anchor or ".", _LOOK | os.O_DIRECTORY), Path())
    links = 0
    try:
        while pending:
            name = pending.pop()
            mode = make if not pending or parents is None else parents
            with _enter(found, name, mode) as entry:
                status = entry.status()
                judge(entry, status)
                if stat.S_ISLNK(status.st_mode):
                    links += 1
                    pending += _target(entry, links)
                    continue
                found.close()
                found = Opened(os.dup(entry.fd), entry.path, made=entry.made)
    except BaseException:
        found.close()
        raise
    return found


def _enter(directory: Opened, name: str, make: int | None) -> Opened:
    """Open an entry; create a directory of mode `make` if it is missing."""
    try:
        return directory.open(name)
    except FileNotFoundError:
        if make is None:
            raise
    made = True
    try:
        os.mkdir(name, make, dir_fd=directory.fd)
    except FileExistsError:
        made = False  # another process created it at the same time
    entry = directory.open(name)
    entry.made = made
    return entry


def _target(link: Opened, links: int) -> Iterator[str]:
    """Return the parts of a link's target, the last one first."""
    if links > _LINKS_MAX:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(link.path))
    return reversed(Path(os.readlink("", dir_fd=link.fd)).parts)


def _refuse_other_than_directory(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise NotADirectoryError(
            errno.ENOTDIR, f"{path} is {kind_of(status.st_mode)}, not a directory", str(path)
        )


def _refuse_foreign(path: Path, status: os.stat_result, trusted: Iterable[int]) -> None:
    if status.st_uid not in trusted:
        kind = "link" if stat.S_ISLNK(status.st_mode) else "directory"
        raise ForeignError(
            f"the {kind} {path} belongs to user {status.st_uid}, who could replace what xdpctl uses"
            " there"
        )


def refuse_foreign_file(opened: Opened, owners: Iterable[int] = ()) -> None:
    """Refuse anything but a trusted user's regular file that has a single name.

    Raises:
        ForeignError: the text says what was found.
    """
    status = opened.status()
    if not stat.S_ISREG(status.st_mode):
        raise ForeignError(f"{opened.path} is {kind_of(status.st_mode)}, not a regular file")
    if status.st_uid not in {0, os.geteuid(), *owners}:
        raise ForeignError(f"{opened.path} belongs to user {status.st_uid}")
    if status.st_nlink != 1:
        raise ForeignError(f"{opened.path} has another name as well (a hard link)")


def refuse_writable(opened: Opened) -> None:
    """Refuse what others than its owner can change; root's group may.

    Raises:
        ForeignError: the text says what was found.
    """
    status = opened.status()
    group = status.st_mode & stat.S_IWGRP and status.st_gid != 0
    if group or status.st_mode & stat.S_IWOTH:
        raise ForeignError(f"other users can write to {opened.path}")


def kind_of(mode: int) -> str:
    """Return the kind of file that a mode shows, with an article."""
    kinds = {
        stat.S_IFREG: "a plain file",
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a link",
        stat.S_IFSOCK: "a socket",
        stat.S_IFIFO: "a pipe",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
