"""The entrance of one listener: it accepts connections, as many as it has room for.

asyncio's own server accepts every connection, and logs a line for each failure when no
descriptor is left. Here one task accepts the connections of a bound socket. It reserves
descriptors for the control socket (spare.py), and logs refused connections at most once a
minute. A second task ends connections that take too long (gate.py).

Owns the tasks and the accepted sockets. Does not own the choice which connection is closed
(admission.py) or the binding (binding.py). Called by http/app.py.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import time
from typing import TYPE_CHECKING

from xdpctl.http.transport.admission import (
    CONTROL_MAX,
    TCP_MAX,
    Admission,
    Peer,
    control_peer,
    tcp_peer,
)
from xdpctl.http.transport.gate import Gate, Patience
from xdpctl.process.log import event

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from xdpctl.http.transport.spare import Spare

CHECK_SECONDS = 1.0
RETRY_SECONDS = 0.2
"""Between two attempts while the system has no descriptor or memory for a connection."""

QUIET_SECONDS = 60.0
"""Between two log lines of the same event."""

RUSH_AT_ONCE = 64
RUSH_RATE = 200.0
"""TCP connections accepted per second, after RUSH_AT_ONCE have been accepted at once."""

_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}

_log = logging.getLogger(__name__)


class Seldom:
    """Logs an event at most once a minute, with the number of times it happened since.

    Args:
        name: the event's name.
        clock: returns the seconds of a monotonic clock.
    """

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._next = float("-inf")
        self._count = 0

    def note(self, **fields: object) -> None:
        """Count the event; log it if it was not logged within the last minute."""
        self._count += 1
        now = self._clock()
        if now >= self._next:
            event(_log, self._name, logging.WARNING, count=self._count, **fields)
            self._next, self._count = now + QUIET_SECONDS, 0


class Rush:
    """How long to wait before the next connection, so that a flood leaves time for other work.

    RUSH_AT_ONCE connections are accepted at once, further ones at RUSH_RATE. The others wait in
    the kernel's queue, which costs this process nothing.

    Args:
        clock: returns the seconds of a monotonic clock.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free = clock()

    def pause(self) -> float:
        """Count a connection; return the seconds to wait."""
        now = self._clock()
        self._free = max(self._free, now - RUSH_AT_ONCE / RUSH_RATE) + 1 / RUSH_RATE
        return max(0.0, self._free - now)


class _Visit:
    """One accepted connection, also during its TLS handshake."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.connecting: asyncio.Task[None] | None = None

    @property
    def idle_since(self) -> float | None:
        """When it became idle (`admission.Guest`)."""
        return self.gate.idle_since

    def abort(self) -> None:
        """End the connection at once."""
        if self.connecting is not None and not self.connecting.done():
            self.connecting.cancel()
        self.gate.abort()


class Entrance:
    """Accepts on a bound socket.

    Args:
        bound: the listening socket.
        make_protocol: returns aiohttp's protocol for the connection behind a gate.
        spare: descriptors reserved for the control socket.
        patience: the time limits of a connection.
        tls: the TLS context, or None.
    """

    def __init__(
        self,
        bound: socket.socket,
        make_protocol: Callable[[Gate], asyncio.Protocol],
        spare: Spare,
        patience: Patience,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._bound = bound
        self._make_protocol = make_protocol
        self._spare = spare
        self._patience = patience
        self._tls = tls
        self._is_control = bound.family == socket.AF_UNIX
        self._name = "control" if self._is_control else "tcp"
        self._admission = Admission(CONTROL_MAX if self._is_control else TCP_MAX)
        self._visits: dict[_Visit, Peer] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._exhausted = Seldom("accept-failed")
        self._crowded = Seldom("connections-full")
        self._rush = Rush()
        self._slow = Seldom("connection-timeout")

    def start(self) -> None:
        """Begin to accept."""
        self._bound.settimeout(0)
        self._spare.keep()
        self._tasks = [
            asyncio.create_task(self._accept(), name=f"accept {self._name}"),
            asyncio.create_task(self._check(), name=f"check {self._name}"),
        ]

    async def stop(self) -> None:
        """Accept no more connections; end idle ones, and let requests that are running finish.

        The bound socket is closed, so that new connections are refused at once.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._bound.close()
        for visit in list(self._visits):
            if visit.idle_since is not None:
                visit.abort()
        self._spare.give()

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                self._leave_descriptors()
                sock, address = await loop.sock_accept(self._bound)
            except OSError as error:
                await self._failed(error)
                continue
            self._enter(sock, address)
            await asyncio.sleep(0 if self._is_control else self._rush.pause())

    def _leave_descriptors(self) -> None:
        """Raise OSError if the descriptors reserved for the control socket are not held."""
        if not self._is_control and not self._spare.keep():
            raise OSError(errno.EMFILE, "the last descriptors are reserved")

    async def _failed(self, error: OSError) -> None:
        """Continue after a connection that could not be accepted."""
        if error.errno not in _EXHAUSTED:  # the client has left, or its network is down
            await asyncio.sleep(0)
            return
        self._exhausted.note(
            listener=self._name,
            error=error.strerror,
            helps="raise the limit of open files (LimitNOFILE=, ulimit -n)",
        )
        helped = self._is_control and (self._spare.give() or self._admission.evict())
        await asyncio.sleep(0 if helped else RETRY_SECONDS)

    def _enter(self, sock: socket.socket, address: object) -> None:
        try:
            peer = self._peer(sock, address)
        except (OSError, ValueError):
            sock.close()
            return
        gate = Gate(self._make_protocol, self._patience, on_lost=lambda: self._leave(visit))
        visit = _Visit(gate)
        admitted = self._admission.admit(peer, visit)
        if admitted is not True:
            self._crowded.note(
                listener=self._name,
                peer=peer.name,
                done="refused: all are worked on" if admitted is False else "the idlest was closed",
            )
        if admitted is False:
            sock.close()
            return
        self._visits[visit] = peer
        visit.connecting = asyncio.create_task(
            self._connect(visit, sock), name=f"connect {self._name}"
        )

    def _peer(self, sock: socket.socket, address: object) -> Peer:
        if self._is_control:
            return control_peer(sock)
        return tcp_peer(address[0] if isinstance(address, tuple) else "")

    async def _connect(self, visit: _Visit, sock: socket.socket) -> None:
        """Give a connection its transport."""
        loop = asyncio.get_running_loop()
        handshake = self._patience.head if self._tls is not None else None
        made = False
        try:
            sock.settimeout(0)
            await loop.connect_accepted_socket(
                lambda: visit.gate, sock, ssl=self._tls, ssl_handshake_timeout=handshake
            )
            made = True
        except OSError as error:  # not TLS, or the client has left
            event(_log, "connection-failed", logging.DEBUG, error=error.strerror or str(error))
        finally:
            if not made:
                visit.gate.abort()
                sock.close()
                self._leave(visit)

    def _leave(self, visit: _Visit) -> None:
        peer = self._visits.pop(visit, None)
        if peer is not None:
            self._admission.leave(peer, visit)

    async def _check(self) -> None:
        """End connections that take too long, once a second."""
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            self._spare.keep()
            for visit, peer in list(self._visits.items()):
                if why := visit.gate.check():
                    self._slow.note(listener=self._name, peer=peer.name, closed=why)
