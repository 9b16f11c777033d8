"""The service's side of the loader: starts it, sends it programs, and reports its end.

The service parses data from the network, so it gives up CAP_PERFMON (process/privileges.py). The
loader (process.py) parses no such data, keeps the capability and loads programs for the service.
It is started once: after its end, no process has the capability to start another.

Owns the loader's process and socket. Does not own the messages (messages.py) or the check of
instructions (instructions.py). Made by service/bootstrap.py; `Bpf.load_program` calls `load`,
from any thread, and blocks as long as the verifier takes. One load runs at a time.
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
from xdpctl.kernel.bpf.kind import ProgramKind
from xdpctl.kernel.bpf.loader import LoadRefusedError
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
"""Most seconds for a load, which takes some milliseconds."""

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
    """A running loader. A context manager that ends it.

    Args:
        connection: the socket to the loader.
        process: the loader's process.
        lacking: capabilities that a load needs and that the loader does not have.
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
            LoadRefusedError: the loader refuses such a program.
            KernelError: the loader has ended.
        """
        numbered, fds = to_numbers(instructions)
        if len(fds) > MAPS_MOST:
            raise LoadRefusedError(f"it has {len(fds)} maps, and {MAPS_MOST} is the maximum")
        with self._lock:
            try:
                insist(not self._broken)
                return self._exchange(request(name, numbered, len(fds), kind), fds)
            except (BrokenError, OSError) as error:
                self._broken = True  # part of an answer may still arrive
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
            # recv_fds takes no flags, and child processes would inherit the descriptor
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
        """Wait for the loader to end after it closed its socket; return the sentence about it."""
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
