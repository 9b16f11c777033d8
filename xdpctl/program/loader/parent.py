"""The service's end of the loader: starts it, gives it programs, reports when it has ended.

The service parses what others send, so it goes on without CAP_PERFMON (process/privileges.py), and
has its programs loaded by a process that parses nothing of theirs (process.py). That
one is started once: where it has ended, nobody is left who could start another.

`load` may be called from any thread, one at a time is served. It blocks for as long as the
verifier takes.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

from xdpctl.errors import KernelError
from xdpctl.kernel.bpf.loader import LoadRefusedError
from xdpctl.kernel.bpf.loading import ProgramKind
from xdpctl.kernel.failure import missing_capabilities
from xdpctl.process.children import for_python
from xdpctl.process.privileges import LOADERS, lending
from xdpctl.program.loader.instructions import to_numbers
from xdpctl.program.loader.messages import (
    ANSWER,
    LOADED,
    MAPS_MOST,
    REFUSED,
    BrokenError,
    answer_head,
    insist,
    request,
)

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 60.0
"""Seconds that a load may take; it takes some milliseconds."""

_END_SECONDS = 1.0
_FD = struct.Struct("=i")
_CODE = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from xdpctl.program.loader.process import main; main(int(sys.argv[2]))"
)
_HELPS = (
    "attached programs keep filtering, but the service can no longer attach or replace one:"
    " restart the service"
)


class Loader:
    """A running loader. A context manager that ends the loader.

    Args:
        connection: the socket to it.
        process: itself.
        lacking: capabilities that a load takes and that it was not given.
    """

    def __init__(
        self,
        connection: socket.socket,
        process: subprocess.Popen[bytes],
        lacking: tuple[str, ...] = (),
    ) -> None:
        self._connection = connection
        self._process = process
        self._lock = threading.Lock()
        self._broken = False
        self.lacking = lacking
        connection.settimeout(PATIENCE)

    @classmethod
    def start(cls, spawn: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen) -> Self:
        """Start the loader with the capabilities that this process still has.

        Raises:
            KernelError: it cannot be started.
        """
        package = Path(__file__).parents[3]
        lacking = missing_capabilities(*LOADERS)
        with ExitStack() as stack:
            try:
                ours, theirs = socket.socketpair()
                stack.callback(ours.close)
                with theirs, lending(*LOADERS):
                    number = theirs.fileno()
                    process = spawn(
                        [sys.executable, "-I", "-S", "-c", _CODE, str(package), str(number)],
                        stdin=subprocess.DEVNULL,
                        stdout=subprocess.DEVNULL,
                        stderr=subprocess.DEVNULL,
                        pass_fds=(number,),
                        env=for_python(),
                        cwd="/",
                    )
            except OSError as error:
                raise KernelError(
                    "cannot start the process that loads programs",
                    error.errno or errno.EIO,
                    "check the limits of memory, open files and processes",
                ) from error
            stack.pop_all()
        return cls(ours, process, lacking)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the loader, and block until it has ended. A second call does nothing."""
        self._connection.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def trouble(self) -> str:
        """A sentence if the loader has ended; else empty."""
        status = self._process.poll()
        if status is None and not self._broken:
            return ""
        return f"the process that loads programs {_ended(status)}; {_HELPS}"

    def load(
        self, name: bytes, instructions: bytes, kind: ProgramKind = ProgramKind.XDP
    ) -> tuple[int, bytes]:
        """Have a program loaded.

        Args:
            name: as the kernel takes it.
            instructions: with descriptors of this process in them.
            kind: what it is loaded as.

        Returns:
            Its descriptor, or -errno with the end of the verifier's log.

        Raises:
            LoadRefusedError: it does not load such a program.
            KernelError: it has ended.
        """
        numbered, fds = to_numbers(instructions)
        if len(fds) > MAPS_MOST:
            raise LoadRefusedError(f"it has {len(fds)} maps, and {MAPS_MOST} is the maximum")
        with self._lock:
            try:
                insist(not self._broken)
                return self._exchange(request(name, numbered, len(fds), kind), fds)
            except (BrokenError, OSError) as error:
                self._broken = True  # half an answer may be under way
                with suppress(OSError):
                    self._connection.shutdown(socket.SHUT_RDWR)
                raise KernelError(
                    f"cannot load program {name.decode()}", errno.EPIPE, self._why()
                ) from error

    def _exchange(self, data: bytes, fds: list[int]) -> tuple[int, bytes]:
        sent = socket.send_fds(self._connection, [data], fds)
        self._connection.sendall(data[sent:])
        got: list[int] = []
        try:
            # not recv_fds, which passes no flags on: the descriptor would reach what we start
            head, control, _, _ = self._connection.recvmsg(
                ANSWER.size, socket.CMSG_LEN(_FD.size), socket.MSG_CMSG_CLOEXEC
            )
            got += (
                _FD.unpack(data)[0]
                for level, kind, data in control
                if (level, kind, len(data)) == (socket.SOL_SOCKET, socket.SCM_RIGHTS, _FD.size)
            )
            insist(head != b"")
            head += self._receive(ANSWER.size - len(head))
            outcome, number, length = answer_head(head)
            text = self._receive(length)
            insist((outcome == LOADED) == (len(got) == 1))
        except BaseException:
            for received in got:
                os.close(received)
            raise
        if outcome == REFUSED:
            raise LoadRefusedError(text.decode("utf-8", "replace"))
        return (got[0], b"") if outcome == LOADED else (-number, text)

    def _receive(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            part = self._connection.recv(length - len(data))
            insist(part != b"")
            data += part
        return bytes(data)

    def _why(self) -> str:
        """Wait for the process behind a closed socket to end, and return the sentence about it."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_END_SECONDS)
        return self.trouble


def _ended(status: int | None) -> str:
    if status is None:
        return "does not answer"
    if status < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-status).name}"
    return f"has ended (status {status})"
