"""Who asks for what the present task does: a process on the control socket, a token, or nobody.

The HTTP side sets `CALLER` for each request; service/account.py writes it into the log and the
history. What the service does by itself (expiry, lists) has no caller. Owns the value and how a
process's command is found. Does not own access rules. Set by http/transport/auth.py.
"""

from __future__ import annotations

import re
import socket
import struct
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

_UCRED = struct.Struct("=3i")
_READ_MAX = 4096
_COMMAND_MAX = 100
_PRODUCT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_INTERPRETER = re.compile(r"(?:python|pypy|perl|ruby|node|lua|bash|dash|sh|zsh)[0-9.]*")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asked; all None: the service itself.

    Attributes:
        uid, pid: of the process at the other end of the control socket; the pid is None if it
            is in another PID namespace.
        command: name of that process's program, without its arguments, which may be secret.
            Where the service cannot see other users' processes (ProtectProc=invisible in its
            unit), it is what the client calls itself.
        token: name of the file that the token of the request is in.
        address: of the client, on TCP.
        agent: what the client calls itself (User-Agent); used only for `command`.
    """

    uid: int | None = None
    pid: int | None = None
    command: str | None = None
    token: str | None = None
    address: str | None = None
    agent: str | None = None

    def with_command(self) -> Caller:
        """Return the same with the command, if the process still runs. Blocks."""
        if self.pid is None or self.command is not None:
            return self
        return replace(self, command=command_of(self.pid) or product_of(self.agent), agent=None)


NOBODY = Caller()

CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""Who asks for what this task does."""


def peer_of(connection: socket.socket) -> Caller:
    """Return the process that connected to a unix socket (SO_PEERCRED).

    Raises:
        OSError: the kernel does not say.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    pid, uid, _ = _UCRED.unpack(raw)
    return Caller(uid=uid, pid=pid or None)


def product_of(agent: str | None) -> str | None:
    """Return the name in a User-Agent header, without its version (RFC 9110, 10.1.5)."""
    found = _PRODUCT.match(agent or "")
    return found[0] if found else None


def command_of(pid: int, proc: Path = Path("/proc")) -> str | None:
    """Return the name of a process's program: of a script its own; None if it has ended. Blocks."""
    try:
        with (proc / str(pid) / "cmdline").open("rb") as file:
            words = file.read(_READ_MAX).decode("utf-8", "replace").split("\0")
        name = _name_of(words) or (proc / str(pid) / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        return None
    return name[:_COMMAND_MAX] or None


def _name_of(words: list[str]) -> str:
    """Return the program's name in a command line: behind an interpreter, of the script."""
    name = _base(words[0])
    if not _INTERPRETER.fullmatch(name):
        return name
    for number, word in enumerate(words[1:], 1):
        if word == "-m":
            return words[number + 1] if number + 1 < len(words) else name
        if word == "-c":
            return name
        if word and not word.startswith("-"):
            return _base(word)
    return name


def _base(path: str) -> str:
    return path.rpartition("/")[2]
