"""The kernel's word that something in a directory has changed: inotify(7) through ctypes.

Three calls and one struct, which no library is worth. Says that a directory has changed
and by which name, not what a file holds. Used by files.py, on the loop: no call waits.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

IN_ATTRIB = 0x4
IN_CLOSE_WRITE = 0x8
IN_MOVED_FROM = 0x40
IN_MOVED_TO = 0x80
IN_DELETE = 0x200
IN_DELETE_SELF = 0x400
IN_MOVE_SELF = 0x800
IN_Q_OVERFLOW = 0x4000
IN_IGNORED = 0x8000
IN_ONLYDIR = 0x1000000

WATCHED = (
    IN_ATTRIB
    | IN_CLOSE_WRITE
    | IN_MOVED_FROM
    | IN_MOVED_TO
    | IN_DELETE
    | IN_DELETE_SELF
    | IN_MOVE_SELF
    | IN_ONLYDIR
)
"""A file written and closed, or renamed into place; not one that is still being written."""

_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name behind it; host order
_BUFFER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        watch: number of the directory, as `watch` gave it; -1 where events were lost.
        name: of the file; empty where the directory itself is meant.
        gone: the directory is watched no more.
    """

    watch: int
    name: str
    gone: bool


class Inotify:
    """An inotify instance. A context manager; `fd` is ready when `read` has something."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.fd = -1

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            OSError: as inotify_init1(2): too many instances of one user.
        """
        self.fd = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self.fd = -1

    def watch(self, directory: Path) -> int:
        """Watch a directory and return its number, the same for the same directory.

        Raises:
            OSError: as inotify_add_watch(2).
        """
        return _checked(
            self._libc.inotify_add_watch(self.fd, os.fsencode(directory), ctypes.c_uint32(WATCHED))
        )

    def read(self) -> list[Event]:
        """Return what has happened since; may be nothing."""
        try:
            content = os.read(self.fd, _BUFFER)
        except BlockingIOError:
            return []
        events, position = [], 0
        while position < len(content):
            watch, mask, _, size = _EVENT.unpack_from(content, position)
            position += _EVENT.size
            name = content[position : position + size].rstrip(b"\0")
            position += size
            gone = bool(mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF))
            events.append(Event(watch, os.fsdecode(name), gone))
        return events


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
