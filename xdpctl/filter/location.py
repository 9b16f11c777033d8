"""Finds the card that has our program: under its name, renamed, moved or gone.

The settings give a name; the link holds the program. This module compares the two. It changes
nothing: its caller, filter.py, acts on the result. Blocks, for microseconds while nothing has
changed. Owns the comparison. Does not own the link or its pin.
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

    HERE: it has the configured name, perhaps as an alternative name. RENAMED: it has
    another, and no card has the configured one. DISPLACED: it has another, and another card
    has the configured one.
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
    """Where a card is; `index` and `name` are the present ones, if it has them here."""

    place: Presence
    index: int | None = None
    name: str | None = None


def locate(netlink: Netlink, link: Link, interface: str, last: Location) -> Location:
    """Return where the card is.

    Args:
        netlink: the kernel.
        link: that holds our program.
        interface: the configured name.
        last: the result of the call before. While indices and names equal it, only those are
            read; `Location(Presence.GONE)` makes the call read everything.

    Raises:
        KernelError: the kernel does not answer.
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
    for card in _cards(netlink, found.name):
        # an index identifies a card only within a namespace, but a program is on one card only
        if card.attached is not None and card.attached.program_id == info.program_id:
            if card.name == interface or netlink.index_of(interface) == card.index:
                place = Presence.HERE  # also by an alternative name
            elif place is Presence.HERE:  # renamed just now
                place = Presence.RENAMED
            return Location(place, card.index, card.name)
    moved = link.info().ifindex  # or removed just now
    return Location(Presence.MOVED if moved else Presence.GONE)


def _cards(netlink: Netlink, name: str | None) -> Iterator[Interface]:
    """Yield the card of this name, then all of them."""
    if name is not None:
        with contextlib.suppress(InterfaceError):
            yield netlink.find(name)
    yield from netlink.interfaces()
