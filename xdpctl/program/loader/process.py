"""The loader: the process that keeps CAP_PERFMON and loads programs for the service.

Started by parent.py before the service gives that capability up. It has a socket to the
service and nothing else: it opens no path, starts no process, parses only the formats of
instructions.py and messages.py, and loads only programs of our three kinds (HELPERS) with the
instructions that ours of that kind use. So an attacker who takes the service over cannot read
memory through it with a helper.

It ends with the service in every case: its socket closes, and the kernel kills it. The signals
that end the service were blocked before it was started, and stay blocked.

Owns the loader's loop. Does not own the formats. It imports as little of Python as possible, and
not `site`, to stay small. Started by parent.py.
"""

from __future__ import annotations

import _socket  # the module `socket` costs a megabyte
import os
import resource
import struct

from xdpctl.kernel.bpf.libbpf import load_library
from xdpctl.kernel.bpf.loading import load
from xdpctl.process import capabilities
from xdpctl.program.loader.instructions import ForbiddenError, to_descriptors
from xdpctl.program.loader.messages import (
    FAILED,
    LOADED,
    MAPS_MOST,
    REFUSED,
    REQUEST,
    BrokenError,
    answer,
    insist,
    request_head,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    Load = Callable[[bytes, bytes, int], tuple[int, bytes]]

_BPF, _NET_ADMIN, _SYS_ADMIN = 39, 12, 21
_KILL = 9
_FD = struct.Struct("=i")
_PART = 1 << 16


def main(descriptor: int) -> None:
    """Serve the socket with this descriptor until it closes."""
    connection = _socket.socket(fileno=descriptor)
    _raise_memory_lock()
    keep_what_loads()
    library = load_library()
    serve(connection, lambda name, code, kind: load(library, name, code, kind))


def keep_what_loads() -> None:
    """Give up every capability that a load does not need, and forbid tracing of this process.

    CAP_SYS_ADMIN is kept for a root that has it but not CAP_BPF and CAP_PERFMON.
    """
    kept = 1 << _NET_ADMIN | 1 << _BPF | 1 << capabilities.PERFMON
    _, permitted, _ = capabilities.held()
    if kept & ~permitted:
        kept |= 1 << _SYS_ADMIN
    capabilities.prctl(capabilities.AMBIENT, capabilities.AMBIENT_CLEAR_ALL)
    capabilities.prctl(capabilities.SET_NO_NEW_PRIVILEGES, 1)
    capabilities.hold(permitted & kept, permitted & kept, 0)
    capabilities.prctl(capabilities.SET_DUMPABLE, 0)
    capabilities.prctl(capabilities.SET_DEATH_SIGNAL, _KILL)


def serve(connection: _socket.socket, load_one: Load) -> None:
    """Answer requests until the peer closes the socket or breaks the protocol."""
    try:
        while True:
            _answer(connection, load_one)
    except (BrokenError, OSError):
        return


def _answer(connection: _socket.socket, load_one: Load) -> None:
    name, kind, instructions, fds = _hear(connection)
    try:
        fd, log = load_one(name, to_descriptors(instructions, fds, kind), kind)
    except ForbiddenError as error:
        _say(connection, answer(REFUSED, text=str(error).encode()))
        return
    finally:
        for received in fds:
            os.close(received)
    if fd < 0:
        _say(connection, answer(FAILED, -fd, log))
        return
    try:
        _say(connection, answer(LOADED), fd)
    finally:
        os.close(fd)


def _hear(connection: _socket.socket) -> tuple[bytes, int, bytes, list[int]]:
    """Wait for a request; return name, kind, instructions and the caller's own descriptors."""
    fds: list[int] = []
    try:
        head = b""
        while len(head) < REQUEST.size:
            room = _socket.CMSG_SPACE(MAPS_MOST * _FD.size)
            part, control, flags, _ = connection.recvmsg(
                REQUEST.size - len(head), room, _socket.MSG_CMSG_CLOEXEC
            )
            for level, kind, data in control:
                if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS):
                    whole = len(data) - len(data) % _FD.size
                    fds += (number for (number,) in _FD.iter_unpack(data[:whole]))
            insist(part != b"" and not flags & _socket.MSG_CTRUNC)
            head += part
        name, kind, maps, length = request_head(head)
        insist(maps == len(fds))
        body = bytearray()
        while len(body) < length:
            part = connection.recv(min(_PART, length - len(body)))
            insist(part != b"")
            body += part
    except BaseException:
        for received in fds:
            os.close(received)
        raise
    return name, kind, bytes(body), fds


def _say(connection: _socket.socket, data: bytes, fd: int | None = None) -> None:
    rights = [] if fd is None else [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, _FD.pack(fd))]
    sent = connection.sendmsg([data], rights)
    connection.sendall(data[sent:])


def _raise_memory_lock() -> None:
    """Raise the limit of locked memory, which bounds programs before Linux 5.11."""
    for limit in (resource.RLIM_INFINITY, resource.getrlimit(resource.RLIMIT_MEMLOCK)[1]):
        try:
            resource.setrlimit(resource.RLIMIT_MEMLOCK, (limit, limit))
        except (OSError, ValueError):
            continue
        return
