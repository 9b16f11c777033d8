"""The sockets of the two listeners, bound before anything is attached. Everything blocks.

A control socket left by a dead service is taken over; one of a running service is an error. Group
and mode are set on the file that was opened and verified to be our socket (kernel/paths.py). Owns
making and removing the socket files. Does not own accepting (entrance.py). Called by
http/listeners.py.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from xdpctl.errors import ListenError
from xdpctl.kernel.failure import READ_ONLY
from xdpctl.kernel.paths import ForeignError, Opened, open_directory
from xdpctl.process.port_holder import why_not

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.settings import Listen

IPV4 = 4
_DIRECTORY_MODE = 0o750
_PARENTS_MODE = 0o755


def bind_tcp(listen: Listen) -> socket.socket:
    """Bind the TCP listener.

    Raises:
        ListenError: the port or address is not available.
    """
    family = socket.AF_INET if listen.host.version == IPV4 else socket.AF_INET6
    try:
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(listen.host), listen.port))
            listener.listen(128)
            undo.pop_all()
    except OSError as error:
        raise ListenError(
            f"cannot listen on {listen}: {why_not(error, listen.port)}; choose another --listen,"
            " or none"
        ) from error
    return listener


def bind_control(path: Path, gid: int | None) -> socket.socket:
    """Bind the control socket, and take over one that a dead service left.

    Raises:
        ListenError: a running service has it, or the path cannot be used.
    """
    try:
        with (
            open_directory(path.parent, make=_DIRECTORY_MODE, parents=_PARENTS_MODE) as directory,
            contextlib.ExitStack() as undo,
        ):
            listener = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            if _is_socket(directory, path.name):
                _refuse_alive(path)
                os.unlink(path.name, dir_fd=directory.fd)
            listener.bind(str(path))
            undo.callback(_remove, path)
            with directory.open(path.name) as made:
                _refuse_other(made)
                if gid is not None:
                    made.set_owner(-1, gid)
                    _let_in(directory, gid)
                made.set_mode(0o660)
            listener.listen(128)  # nobody can connect before
            undo.pop_all()
    except OSError as error:
        reason = (
            "something that is not a socket is there"
            if error.errno == errno.EADDRINUSE
            else error.strerror or str(error)
        )
        helps = f"{READ_ONLY}; or choose" if error.errno == errno.EROFS else "choose"
        raise ListenError(
            f"cannot make the control socket {path}: {reason}; {helps} another --control"
        ) from error
    return listener


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def _is_socket(directory: Opened, name: str) -> bool:
    try:
        with directory.open(name) as found:
            return stat.S_ISSOCK(found.status().st_mode)
    except FileNotFoundError:
        return False


def _refuse_other(made: Opened) -> None:
    """Check that the new file is our socket: some directories are writable for everybody.

    Raises:
        ForeignError: it is not ours.
    """
    found = made.status()
    if not stat.S_ISSOCK(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        raise ForeignError("something else took its place right after it was made")


def _let_in(directory: Opened, gid: int) -> None:
    """Give the directory to the group, if only owner and group can enter it.

    A directory that everybody can enter (/run, /tmp) stays as it is.
    """
    found = directory.status()
    if not found.st_mode & stat.S_IXOTH and found.st_gid != gid:
        directory.set_owner(-1, gid)


def _refuse_alive(path: Path) -> None:
    if _is_alive(path):
        raise ListenError(
            f"another service answers on the control socket {path}: stop it, or choose another"
            " --control"
        )


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            return True
    return True
