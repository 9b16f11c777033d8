"""Notices changes in a directory: inotify(7) through ctypes.

It needs three calls and one struct, so it is not worth a library. It reports which name in a
directory has changed, not what the file contains. Used by files.py on the loop: no call waits.
Owns the descriptor and the format of events. Does not own what a change leads to.
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
"""A file was written and closed, or renamed. A file that is still being written is not reported."""

_EVENT = struct.Struct("iIII")  # watch, mask, cookie, length of the name behind it; host order
_BUFFER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """One change.

    Attributes:
        watch: number of the directory, as returned by `watch`; -1 if events were lost.
        name: of the file; empty if the event is about the directory itself.
        gone: the directory is no longer watched.
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
            OSError: from inotify_init1(2): the user has too many instances.
        """
        self.fd = _checked(self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self.fd = -1

    def watch(self, directory: Path) -> int:
        """Watch a directory and return its number, the same for the same directory.

        Raises:
            OSError: from inotify_add_watch(2).
        """
        return _checked(
            self._libc.inotify_add_watch(self.fd, os.fsencode(directory), ctypes.c_uint32(WATCHED))
        )

    def read(self) -> list[Event]:
        """Return the events since the last call; there may be none."""
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
