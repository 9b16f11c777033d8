"""Descriptors over the sockets that messages between two of our processes go over.

Owns how they follow a message (SCM_RIGHTS). Does not own messages. Called by the worker of store/
and the process of zones/, and by those who start them.
"""

from __future__ import annotations

import array
import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection


def send_descriptors(connection: Connection, descriptors: Sequence[int]) -> None:
    """Send descriptors behind what was sent before.

    Raises:
        OSError: the other end has gone.
    """
    with _socket_of(connection) as sock:
        socket.send_fds(sock, [_MARK], list(descriptors))


def receive_descriptors(connection: Connection, count: int) -> list[int]:
    """Return descriptors that follow what was received before.

    Raises:
        EOFError: the other end has gone.
    """
    found = array.array("i")
    with _socket_of(connection) as sock:
        room = socket.CMSG_SPACE(count * found.itemsize)
        mark, control, _, _ = sock.recvmsg(len(_MARK), room, socket.MSG_CMSG_CLOEXEC)
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(data[: len(data) - len(data) % found.itemsize])
    if mark != _MARK or len(found) != count:
        for number in found:
            os.close(number)
        raise EOFError
    return found.tolist()


_MARK = b"\0"


def _socket_of(connection: Connection) -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM, fileno=os.dup(connection.fileno()))
