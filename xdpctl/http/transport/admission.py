"""Which connections a listener has, and which one is closed to make room for another.

Owns that choice. Does not own sockets (entrance.py, which calls this). A full listener closes
the connection that has been idle longest, of the peer with the most connections. So a peer that
floods a listener pushes out its own connections, and a scrape still gets in. A new connection is
refused only if a request is being answered on every other one. Pure.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
from dataclasses import dataclass, field
from typing import Protocol

TCP_MAX = 64
"""Most connections of --listen."""

TCP_PEER_MAX = 32
"""Most of them from one address, or from one IPv6 /64; loopback may have all."""

CONTROL_MAX = 64
"""Most connections of the control socket from other users than root; root may have as many."""

CONTROL_PEER_MAX = 32
"""Most of them from one user."""

_UCRED = struct.Struct("=3i")
_V6_BITS = 64
IPV6 = 6


class Guest(Protocol):
    """A connection."""

    @property
    def idle_since(self) -> float | None:
        """When it became idle; None: a request is being answered."""

    def abort(self) -> None:
        """End it at once."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection.

    Attributes:
        name: as the log shows it; connections of the same name are counted together.
        most: most connections that it may have.
        room: peers of different rooms do not take places from each other.
    """

    name: str
    most: int
    room: str = ""


def tcp_peer(host: str) -> Peer:
    """Return the peer of an address: all addresses of an IPv6 /64 are one peer.

    Link-local addresses are counted one by one, because all neighbours share that /64.
    """
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    address = ipaddress.ip_address(host.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback:
        return Peer("loopback", TCP_MAX)
    if address.version == IPV6 and not address.is_link_local:
        return Peer(str(ipaddress.ip_network((address, _V6_BITS), strict=False)), TCP_PEER_MAX)
    return Peer(str(address), TCP_PEER_MAX)


def control_peer(sock: socket.socket) -> Peer:
    """Return the peer of a unix socket: its user, root in a room of its own."""
    _, uid, _ = _UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size))
    if uid == 0:
        return Peer("uid 0", CONTROL_MAX, "root")
    return Peer(f"uid {uid}", CONTROL_PEER_MAX)


@dataclass(slots=True)
class Admission:
    """The connections of one listener.

    Args:
        total: places of each room.
    """

    total: int
    _rooms: dict[str, dict[str, list[Guest]]] = field(default_factory=dict)

    def admit(self, peer: Peer, guest: Guest) -> bool | Guest:
        """Admit a connection if there is a place, or if another can be ended for it.

        Returns:
            True: there was a place. False: it is not admitted, because no other is idle. Else
            the connection that was ended for it.
        """
        room = self._rooms.setdefault(peer.room, {})
        own = room.setdefault(peer.name, [])
        ended: Guest | None = None
        if len(own) >= peer.most:
            ended = _idlest(own)
        elif sum(map(len, room.values())) >= self.total:
            most_first = sorted(room.values(), key=len, reverse=True)
            ended = next(filter(None, map(_idlest, most_first)), None)
        else:
            own.append(guest)
            return True
        if ended is None:
            self._tidy(peer)
            return False
        for guests in room.values():
            if ended in guests:
                guests.remove(ended)
        own.append(guest)
        ended.abort()
        return ended

    def leave(self, peer: Peer, guest: Guest) -> None:
        """Forget a connection that has ended; a second call does nothing."""
        guests = self._rooms.get(peer.room, {}).get(peer.name, [])
        if guest in guests:
            guests.remove(guest)
        self._tidy(peer)

    def evict(self) -> bool:
        """End the connection that has been idle longest; return False if none is idle."""
        ended = _idlest(self.guests())
        if ended is not None:
            ended.abort()
        return ended is not None

    def guests(self) -> list[Guest]:
        """Return all connections."""
        return [guest for room in self._rooms.values() for own in room.values() for guest in own]

    def _tidy(self, peer: Peer) -> None:
        """Forget a peer without connections, so that former peers need no memory."""
        room = self._rooms.get(peer.room, {})
        if not room.get(peer.name, True):
            del room[peer.name]


def _idlest(guests: list[Guest]) -> Guest | None:
    """Return the connection that has been idle longest; None if none is idle."""
    idle = [(since, guest) for guest in guests if (since := guest.idle_since) is not None]
    return min(idle, key=lambda candidate: candidate[0])[1] if idle else None
