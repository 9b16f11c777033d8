"""Binds the sockets at which primaries' NOTIFY comes (`--notify-listen`). Blocks.

Owns making them, before anything is attached, so that a port that is taken ends the start. Does not
own what comes (notify.py): the process that follows zones gets them as descriptors. Called by
service/resources.py.
"""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

from xdpctl.errors import ListenError
from xdpctl.process.port_holder import why_not

if TYPE_CHECKING:
    from xdpctl.settings import Listen

_IPV4 = 4
_BACKLOG = 16


def bind_notify(
    listen: Listen | None, stack: contextlib.ExitStack | contextlib.AsyncExitStack
) -> tuple[socket.socket, ...]:
    """Return a UDP socket and a listening TCP socket, or none; the stack closes them.

    On [::] both also take IPv4.

    Raises:
        ListenError: the port or address is not available.
    """
    if listen is None:
        return ()
    family = socket.AF_INET if listen.host.version == _IPV4 else socket.AF_INET6
    try:
        with contextlib.ExitStack() as undo:
            made = []
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                bound = undo.enter_context(socket.socket(family, kind))
                if family == socket.AF_INET6:
                    bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
                if kind == socket.SOCK_STREAM:
                    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind((str(listen.host), listen.port))
                made.append(bound)
            made[-1].listen(_BACKLOG)
            stack.push(undo.pop_all().__exit__)
    except OSError as error:
        raise ListenError(
            f"cannot listen for NOTIFY on {listen}: {why_not(error, listen.port)}; choose another"
            " --notify-listen, or none"
        ) from error
    return tuple(made)
