"""Where the card is that carries our program: under its name, renamed, moved, gone.

The configured name is the contract, the link is what holds the program: this module
compares the two. It changes nothing; what follows from it is filter.py's, its caller.
Blocks, for microseconds while nothing has changed.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from xdpctl.errors import InterfaceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from xdpctl.kernel.bpf.programs import Link
    from xdpctl.kernel.net.interfaces import Interface, Netlink


class Presence(StrEnum):
    """What became of the card.

    HERE: it has the configured name. RENAMED: it has another, and no card has the
    configured one. DISPLACED: it has another, and another card has the configured one.
    MOVED: it is in another network namespace. GONE: it no longer exists, or somebody
    ended the link.
    """

    HERE = "here"
    RENAMED = "renamed"
    DISPLACED = "displaced"
    MOVED = "moved"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a card is; `index` and `name` as they are now, where it has any here."""

    place: Presence
    index: int | None = None
    name: str | None = None


def locate(netlink: Netlink, link: Link, interface: str, last: Location) -> Location:
    """Return where the card is.

    Args:
        netlink: the kernel.
        link: that holds our program.
        interface: the configured name.
        last: what was found the time before. While neither indices nor names differ from
            it, nothing is asked but those; `Location(Presence.GONE)` has all asked anew.

    Raises:
        KernelError: the kernel does not say.
    """
    info = link.info()
    if not info.ifindex:
        return Location(Presence.GONE)
    named = netlink.index_of(interface)
    if named is None:
        place = Presence.RENAMED
    else:
        place = Presence.HERE if named == info.ifindex else Presence.DISPLACED
    found = Location(place, info.ifindex, netlink.name_of(info.ifindex))
    if found == last:
        return found
    for one in _cards(netlink, found.name):
        # an index tells a card only within a namespace, a program is on one card only
        if one.attached is not None and one.attached.program_id == info.program_id:
            if one.name == interface:
                place = Presence.HERE
            elif place is Presence.HERE:  # renamed just now
                place = Presence.RENAMED
            return Location(place, one.index, one.name)
    moved = link.info().ifindex  # or removed just now
    return Location(Presence.MOVED if moved else Presence.GONE)


def _cards(netlink: Netlink, name: str | None) -> Iterator[Interface]:
    """Yield the card of this name, then all of them."""
    if name is not None:
        with contextlib.suppress(InterfaceError):
            yield netlink.find(name)
    yield from netlink.interfaces()
