"""AF_XDP destinations: which are registered, and which have disappeared.

Every start of the dnsdist program, its console client included, empties both destination maps
(PowerDNS/pdns#18023): AF_XDP then stops silently, and queries go to the
kernel's socket. This module notices that, logs it once, and with --xsk-restore registers the
destinations again.
Called by the observer; blocks. Owns which destinations were seen. Does not own registering them,
which dnsdist does.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias

from xdpctl import abi
from xdpctl.abi import MapName
from xdpctl.process.log import event

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address, IPv6Address

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.net.interfaces import Netlink

    Destination: TypeAlias = tuple[IPv4Address | IPv6Address, int]

PRESENT = b"\1"
"""Value of a destination: only its presence counts (DNSDIST.md)."""

PATIENCE = 2
"""Looks without a destination until it counts as lost: a dnsdist that restarts empties the maps
and fills them a moment later."""

_log = logging.getLogger(__name__)


class DestinationWatch:
    """The destination maps from one look to the next.

    Args:
        maps: the two destination maps; empty without --xsk.
        netlink: tells whether a UDP socket is bound.
        restore: register lost destinations again while their socket is still bound.
    """

    def __init__(self, maps: Mapping[MapName, Map], netlink: Netlink, *, restore: bool) -> None:
        self._maps = maps
        self._netlink = netlink
        self._restore = restore
        self._redirected = 0
        self._used: set[Destination] = set()
        self._missing: dict[Destination, int] = {}
        self.lost = 0
        self.present: tuple[Destination, ...] = ()

    def look(self, redirected: int) -> tuple[str, ...]:
        """Read the maps; return the present warnings.

        Args:
            redirected: packets redirected so far, over all interfaces. What went away
                counts as lost only if packets were redirected while it was there, and
                if its socket is still bound.
        """
        found = set(self._read())
        flowing = redirected > self._redirected
        self._redirected = redirected
        if flowing:
            self._used |= found | (set(self.present) - self._missing.keys())
        for destination in self._used - found:
            self._miss(destination)
        for destination in found & self._missing.keys():
            if self._missing.pop(destination) >= PATIENCE:
                event(_log, "xsk-destination-back", destination=_text(destination))
        self.present = tuple(sorted(found, key=_order))
        return tuple(
            f"AF_XDP destination {_text(destination)} went away while packets were redirected to"
            " it, and its queries now go to the kernel's socket: any start of the dnsdist"
            " program, its console client included, empties the destination maps; restart"
            " dnsdist, or use --xsk-restore"
            for destination, looks in sorted(
                self._missing.items(), key=lambda item: _order(item[0])
            )
            if looks >= PATIENCE
        )

    def _miss(self, destination: Destination) -> None:
        looks = self._missing.get(destination, 0) + 1
        self._missing[destination] = looks
        bound = self._netlink.bound_udp(*destination)
        if looks == 1 and self._restore and bound:
            self._put_back(destination)
        elif looks >= PATIENCE and not bound:
            # Taken out by its owner: a listener that ended, or the port that dnsdist asked
            # a backend from before it reconnected.
            del self._missing[destination]
            self._used.discard(destination)
        elif looks == PATIENCE:
            self.lost += 1
            event(
                _log,
                "xsk-destination-lost",
                logging.WARNING,
                destination=_text(destination),
                cause="dnsdist or its console client was started",
                helps="restart dnsdist, or use --xsk-restore",
            )

    def _put_back(self, destination: Destination) -> None:
        address, port = destination
        name = (
            MapName.XSK_DESTINATIONS_V4
            if len(address.packed) == IPV4
            else MapName.XSK_DESTINATIONS_V6
        )
        self._maps[name].update(abi.encode_xsk_destination(address, port), PRESENT)
        self._missing.pop(destination)
        self.lost += 1
        event(_log, "xsk-destination-restored", logging.WARNING, destination=_text(destination))

    def _read(self) -> list[Destination]:
        found = []
        for name, opened in self._maps.items():
            size = abi.MAPS[name].key_size
            for keys, _ in opened.chunks():
                found += [
                    abi.decode_xsk_destination(bytes(keys[start : start + size]))
                    for start in range(0, len(keys), size)
                ]
        return found


IPV4 = 4
"""Octets of an IPv4 address."""


def _text(destination: Destination) -> str:
    address, port = destination
    return f"{address}:{port}" if len(address.packed) == IPV4 else f"[{address}]:{port}"


def _order(destination: Destination) -> tuple[int, int, int]:
    address, port = destination
    return address.version, int(address), port
