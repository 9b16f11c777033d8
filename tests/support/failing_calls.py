"""System calls that fail in this process: the n-th that xdpctl makes, with a planned errno.

Stands where xdpctl meets the system: the functions of `os`, `io`, `fcntl`, `socket`,
`subprocess` and `threading` that it calls itself or through pathlib and tempfile, the
statements that it gives to SQLite, and the fake kernel's calls (tests/support/fake_kernel.py).
Calls of others, the event loop's and aiohttp's included, are left alone.
"""

from __future__ import annotations

import errno
import importlib
import os
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING, Any

from tests.support.fake_kernel import Faults
from xdpctl.errors import KernelError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    import pytest

    from tests.support.fake_kernel import FakeKernel

_PATH = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENOTDIR, errno.EROFS, errno.EIO)
_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM)
_FILES = (errno.EMFILE, errno.ENFILE)

CALLS: dict[str, tuple[int, ...]] = {
    "os.mkdir": (*_PATH, *_ROOM),
    "os.chmod": (*_PATH, errno.ENOMEM),
    "os.chown": (*_PATH, errno.ENOMEM),
    "os.unlink": (*_PATH, errno.EBUSY, errno.ENOMEM),
    "os.rmdir": (*_PATH, errno.EBUSY, errno.ENOTEMPTY),
    "os.rename": (*_PATH, *_ROOM),
    "os.open": (*_PATH, *_ROOM, *_FILES),
    "os.stat": (errno.EACCES, errno.ENOTDIR, errno.EIO, errno.ENOMEM),
    "os.listdir": (errno.EACCES, errno.EIO, errno.ENOMEM, *_FILES),
    "os.read": (errno.EIO, errno.EINVAL),
    "io.open": (*_PATH, *_ROOM, *_FILES),
    "fcntl.flock": (errno.EINTR, errno.ENOLCK, errno.EWOULDBLOCK),
    "fcntl.ioctl": (errno.EOPNOTSUPP, errno.EPERM, errno.ENODEV),
    "socket.socket": (errno.EACCES, errno.EAFNOSUPPORT, errno.ENOBUFS, errno.ENOMEM, *_FILES),
    "subprocess.Popen": (errno.EAGAIN, errno.ENOENT, errno.EACCES, errno.ENOMEM, *_FILES),
    "threading.start": (errno.EAGAIN,),
    "sqlite": (0, 1, 2, 3, 4, 5),
    "kernel": (
        *(errno.EPERM, errno.EINVAL, errno.ENOMEM, errno.EBADF, errno.EBUSY, errno.EAGAIN),
        *(errno.ENOSPC, errno.EACCES, errno.EIO, errno.EEXIST, errno.ENODEV, *_FILES),
    ),
}
"""By call: what it may say (its manual page); `sqlite`: which of SQLITE_ERRORS."""

SQLITE_ERRORS: tuple[Exception, ...] = (
    sqlite3.OperationalError("disk I/O error"),
    sqlite3.OperationalError("database or disk is full"),
    sqlite3.OperationalError("attempt to write a readonly database"),
    sqlite3.OperationalError("database is locked"),
    sqlite3.OperationalError("unable to open database file"),
    sqlite3.DatabaseError("database disk image is malformed"),
)
"""SQLITE_IOERR, FULL, READONLY, BUSY, CANTOPEN, CORRUPT, as Python raises them."""

_THROUGH = (
    *("pathlib", "tempfile", "contextlib", "shutil", "os", "threading", "concurrent.futures"),
    *("asyncio", "sqlite3", "subprocess", __name__),
)
"""What may stand between xdpctl and the system."""

_FAKES = ("tests.support.fake_kernel", "tests.support.failing_calls")
"""What stands between xdpctl and the fake kernel; the files that fakes use do not count."""


class Strikes(Faults):
    """The one call that fails.

    Args:
        kernel: whose calls count, too.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kernel: FakeKernel) -> None:
        super().__init__()
        self._armed = False
        self._left = 0
        self._turn = 0
        self._lock = threading.Lock()
        self.made: list[tuple[str, str]] = []
        self.struck: str | None = None
        self.use(kernel)
        for call in CALLS:
            module, _, name = call.partition(".")
            if name and call != "threading.start":
                self._wrap(monkeypatch, importlib.import_module(module), name, call)
        self._wrap(monkeypatch, threading.Thread, "start", "threading.start")
        for name in ("execute", "executemany", "executescript"):
            self._wrap(monkeypatch, _Connection, name, "sqlite")
        connect = sqlite3.connect
        monkeypatch.setattr(
            sqlite3, "connect", lambda *a, **k: connect(*a, **{"factory": _Connection, **k})
        )

    def use(self, kernel: FakeKernel) -> None:
        """Let the calls of a fake kernel count."""
        kernel.faults = self

    def arm(self, number: int, turn: int = 0) -> None:
        """Let the `number`-th call from now on fail, with errno number `turn` of its list.

        Number 0: none fails, and all are noted in `made`.
        """
        self._left, self._turn = number, turn
        self.made.clear()
        self.struck = None
        self._armed = True

    def disarm(self) -> None:
        """Let everything succeed."""
        self._armed = False

    def check(self, call: str) -> None:
        super().check(call)
        if (number := self._next("kernel", call, _site(*_FAKES) or "")) is not None:
            raise KernelError(f"cannot {call}", number, "try again")

    def _next(self, call: str, detail: str, site: str) -> int | None:
        """Count a call; return its errno where it is to fail."""
        if not self._armed:
            return None
        with self._lock:
            self.made.append((call, site))
            self._left -= 1
            if self._left != 0:
                return None
            number = CALLS[call][self._turn % len(CALLS[call])]
            self.struck = f"{call} {detail} at {site}: {errno.errorcode.get(number, number)}"
            return number

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: str) -> None:  # noqa: ANN401 - a module or class
        real: Callable[..., Any] = getattr(owner, name)
        strikes = self

        def wrapped(*arguments: object, **options: object) -> object:
            if (number := strikes._next_of_ours(call, arguments)) is not None:
                raise _error(call, number, arguments)
            return real(*arguments, **options)

        if isinstance(real, type):

            class Wrapped(real):  # type: ignore[misc, valid-type] # a class of another module
                def __init__(self, *arguments: object, **options: object) -> None:
                    if (number := strikes._next_of_ours(call, arguments)) is not None:
                        raise _error(call, number, arguments)
                    super().__init__(*arguments, **options)

            Wrapped.__name__ = real.__name__
            monkeypatch.setattr(owner, name, Wrapped)
        else:
            monkeypatch.setattr(owner, name, wrapped)

    def _next_of_ours(self, call: str, arguments: tuple[object, ...]) -> int | None:
        if not self._armed or (site := _site()) is None:
            return None
        return self._next(call, str(arguments[:2])[:120], site)


class _Connection(sqlite3.Connection):
    """A connection whose statements can be wrapped."""

    def execute(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's own
        return super().execute(*arguments)

    def executemany(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's own
        return super().executemany(*arguments)

    def executescript(self, *arguments: Any) -> sqlite3.Cursor:  # noqa: ANN401 - sqlite3's own
        return super().executescript(*arguments)


def _site(*through: str) -> str | None:
    """Return the line of xdpctl that a call comes from, perhaps through the standard library."""
    through = through or _THROUGH
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith("xdpctl"):
            return f"{name}:{frame.f_lineno}"
        if not name.startswith(through):
            return None
        frame = frame.f_back
    return None


def _error(call: str, number: int, arguments: tuple[object, ...]) -> Exception:
    if call == "sqlite":
        return type(SQLITE_ERRORS[number])(*SQLITE_ERRORS[number].args)
    if call == "threading.start":
        return RuntimeError("can't start new thread")
    path = next(
        (str(argument) for argument in arguments if isinstance(argument, os.PathLike | str)), None
    )
    return OSError(number, os.strerror(number), path)
