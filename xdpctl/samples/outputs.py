"""Where dnstap frames go: a file, or a receiver behind a unix, TCP or TLS socket.

Owns the handshake of frame streams and what happens when a disk is full or a receiver is slow. Each
call blocks, bounded by a time-out. Does not own the frames (dnstap.py), or when one tries again.
Called by service/dnstap_output.py on a thread of its own, and by cli/verbs/watch.py.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import stat
import struct
import time
from typing import TYPE_CHECKING, Protocol

from xdpctl.errors import ReceiverError
from xdpctl.samples.dnstap import (
    FINISH,
    FRAME_MAX,
    READY,
    START,
    STOP,
    accepts,
    control_frame,
    data_frame,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

TIMEOUT_SECONDS = 5.0
"""For connecting, for the whole handshake, and for a receiver to take what is sent."""

END_SECONDS = 1.0
"""For the farewell."""

_WORD = 4
_MODE = 0o640


class Output(Protocol):
    """Where messages go. Every method blocks."""

    @property
    def lasts(self) -> bool:
        """Whether it can be written to again after an error."""

    def begin(self) -> None:
        """Open it.

        Raises:
            ReceiverError: it is not there, or does not want dnstap.
        """

    def write(self, messages: Sequence[bytes]) -> None:
        """Send messages.

        Raises:
            ReceiverError: it does not take them; all of these messages may be lost.
        """

    def end(self) -> None:
        """Say farewell, if that is possible, and close it."""

    def abort(self) -> None:
        """Have another thread that waits for the other side fail now. Does not block."""


class FileOutput:
    """A file. One that is there already keeps its content under the name with `.1` behind it.

    The file is always a new one: what somebody else has put there, or holds open, is never
    written to.

    Args:
        path: the file.
        most: octets, beyond which the file is begun again; None: it grows.
    """

    def __init__(self, path: Path, most: int | None = None) -> None:
        self._path = path
        self._most = most
        self._descriptor = -1
        self._size = 0

    @property
    def lasts(self) -> bool:
        """Whether the file is open: what was written to a full disk stays there."""
        return self._descriptor >= 0

    def begin(self) -> None:
        """Create the file."""
        with self._told():
            self._put_aside()
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, _MODE)
            self._size = 0
            try:
                self._append(control_frame(START))
            except OSError:
                self._close()
                raise

    def write(self, messages: Sequence[bytes]) -> None:
        """Append messages; where there is no room for all, none of them is in the file."""
        octets = b"".join(map(data_frame, messages))
        if self._most is not None and self._size + len(octets) > self._most:
            self.end()
            self.begin()
        with self._told():
            self._append(octets)

    def end(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                self._append(control_frame(STOP))
            self._close()

    def abort(self) -> None:
        """Do nothing: a file answers."""

    def _close(self) -> None:
        os.close(self._descriptor)
        self._descriptor = -1

    def _put_aside(self) -> None:
        try:
            found = self._path.lstat()
        except FileNotFoundError:
            return
        if not stat.S_ISREG(found.st_mode):
            raise ReceiverError(
                f"cannot write dnstap to {self._path}: it is not a regular file; name a file, or a"
                " socket"
            )
        if found.st_size:
            self._path.replace(self._path.with_name(f"{self._path.name}.1"))
        else:
            self._path.unlink()

    def _append(self, octets: bytes) -> None:
        left = memoryview(octets)
        try:
            while left:
                left = left[os.write(self._descriptor, left) :]
        except OSError:
            with contextlib.suppress(OSError):  # a part of a frame would end the stream there
                os.ftruncate(self._descriptor, self._size)
                os.lseek(self._descriptor, self._size, os.SEEK_SET)
            raise
        self._size += len(octets)

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ReceiverError(
                f"cannot write dnstap to {self._path}: {error.strerror}; samples are dropped until"
                " it can be written"
            ) from error


class SocketOutput:
    """A receiver behind a socket.

    Args:
        name: of the receiver, for errors.
        connect: returns a socket that is connected to it.
    """

    def __init__(self, name: str, connect: Callable[[], socket.socket]) -> None:
        self._name = name
        self._connect = connect
        self._socket: socket.socket | None = None

    lasts = False

    def begin(self) -> None:
        """Connect, and agree on dnstap."""
        with self._told("cannot reach"):
            self._socket = connected = self._connect()
            connected.settimeout(TIMEOUT_SECONDS)
            connected.sendall(control_frame(READY))
            if not accepts(_control_body(connected, time.monotonic() + TIMEOUT_SECONDS)):
                raise ReceiverError(
                    f"the receiver of dnstap at {self._name} wants something else: it did not"
                    " accept protobuf:dnstap.Dnstap; look at what listens there"
                )
            connected.settimeout(TIMEOUT_SECONDS)
            connected.sendall(control_frame(START))

    def write(self, messages: Sequence[bytes]) -> None:
        """Send messages; a receiver that does not take them in time is given up."""
        if self._socket is None:
            raise ReceiverError(f"the receiver of dnstap at {self._name} is not connected")
        with self._told("cannot send to"):
            self._socket.sendall(b"".join(map(data_frame, messages)))

    def end(self) -> None:
        """Say that nothing follows, wait a moment for the answer, and close."""
        connected, self._socket = self._socket, None
        if connected is None:
            return
        with contextlib.closing(connected), contextlib.suppress(OSError, ReceiverError):
            connected.settimeout(END_SECONDS)
            connected.sendall(control_frame(STOP))
            until = time.monotonic() + END_SECONDS
            while struct.unpack_from("!I", _control_body(connected, until))[0] != FINISH:
                pass

    def abort(self) -> None:
        """Break the connection."""
        if (connected := self._socket) is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _told(self, what: str) -> Iterator[None]:
        try:
            yield
        except (OSError, ReceiverError) as error:
            self._give_up()
            if isinstance(error, ReceiverError):
                raise
            why = error.strerror or str(error) or type(error).__name__
            if isinstance(error, TimeoutError):
                why = "it does not answer in time"
            raise ReceiverError(
                f"{what} the receiver of dnstap at {self._name}: {why}; samples are dropped until"
                " it takes them"
            ) from error

    def _give_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def unix_output(path: Path) -> SocketOutput:
    """Return the receiver behind a unix socket."""

    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        return _connected(made, str(path))

    return SocketOutput(str(path), connect)


def tcp_output(host: str, port: int, *, tls: bool) -> SocketOutput:
    """Return the receiver behind a TCP port; with TLS, its certificate must be for the host."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def connect() -> socket.socket:
        made = socket.create_connection((host, port), TIMEOUT_SECONDS)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if not tls:
            return made
        try:
            return ssl.create_default_context().wrap_socket(made, server_hostname=host)
        except BaseException:
            made.close()
            raise

    return SocketOutput(name, connect)


def _connected(made: socket.socket, address: str) -> socket.socket:
    try:
        made.settimeout(TIMEOUT_SECONDS)
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _control_body(connected: socket.socket, until: float) -> bytes:
    """Return the body of the next control frame; at least a word.

    Raises:
        TimeoutError: it is not there at this moment of the monotonic clock, however much of it is.
    """
    escape, size = struct.unpack("!II", _octets(connected, 2 * _WORD, until))
    if escape or not _WORD <= size <= FRAME_MAX:
        raise ReceiverError("the other side does not speak frame streams")
    return _octets(connected, size, until)


def _octets(connected: socket.socket, size: int, until: float) -> bytes:
    found = b""
    while len(found) < size:
        left = until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connected.settimeout(left)
        part = connected.recv(size - len(found))
        if not part:
            raise ConnectionResetError(None, "it closed the connection")
        found += part
    return found
