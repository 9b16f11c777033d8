"""A filter as values for other modules: filter.py publishes them; and sentences about them.

Owns these values and sentences. Does not own the filter. Read by the observer, the checks, metrics
and the service.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from xdpctl.abi import Count, PacketAction, Reason, TallyRow
    from xdpctl.kernel.bpf.programs import XdpMode


class FilterState(StrEnum):
    """The state of a filter."""

    MISSING = "missing"
    ATTACHED = "attached"
    DETACHED = "detached"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class FilterView:
    """A filter at one moment, cheap to publish.

    Attributes:
        index, mode, program_id, tag: of the attached program; None if none is attached.
        reattached: how often the filter was attached again since the start.
        counters: sums over all CPUs by (reason, action).
        trouble: why no program is attached, as a sentence; empty if one is.
        notes: what an operator should know about the attached program, as sentences.
        tallies: how often a proof or a cookie was looked at, by whether it was good.
        samples_lost: samples that the ring buffer had no room for.
    """

    interface: str
    state: FilterState
    index: int | None
    mode: XdpMode | None
    program_id: int | None
    tag: str | None
    reattached: int
    queues: int | None
    counters: Mapping[tuple[Reason, PacketAction], Count]
    trouble: str = ""
    notes: tuple[str, ...] = ()
    tallies: Mapping[tuple[TallyRow, bool], int] = field(default_factory=dict)
    samples_lost: int = 0


def no_ethernet_header(interface: str, link_type: int) -> str:
    """Return why an interface of this ARPHRD type cannot be filtered, as a sentence.

    The kernel gives the program such a packet from its IP header on. VLAN tags, TC=1
    answers and AF_XDP frames all need the Ethernet header in front of it.
    """
    kind = _LINK_TYPES.get(link_type, f"link type {link_type}")
    return (
        f"cannot filter {interface}: its packets have no Ethernet header ({kind}), so no rule"
        " could match; choose an interface that has one, for a tunnel a tap, gretap or VXLAN"
        " device"
    )


def same_card(interface: str, other: str, index: int) -> str:
    """Return why an interface is not filtered a second time under another name."""
    return (
        f"cannot filter {interface}: it is the same card as {other} (interface index {index}),"
        " and every packet would be counted twice; use only one of the names"
    )


_LINK_TYPES = {
    32: "InfiniBand",
    280: "CAN",
    512: "ppp",
    519: "raw IP",
    768: "ipip",
    769: "ip6tnl",
    776: "sit",
    778: "gre",
    801: "Wi-Fi monitor",
    802: "Wi-Fi monitor",
    803: "Wi-Fi monitor",
    823: "ip6gre",
    824: "nlmon",
    65534: "tun, WireGuard, or another tunnel of IP packets",
}
"""What an ARPHRD number stands for (linux/if_arp.h)."""


def note_of_another_name(interface: str, now: str | None) -> str:
    """Return the note on a filter whose card has the name `now`."""
    return (
        f"{interface} is named {now} now: the filter stays on it until another interface is named"
        f" {interface}; rename it back, or configure {now}"
    )


def note_of_generic_mode(interface: str, because: str) -> str:
    """Return the note on a filter that should run in native mode.

    Args:
        interface: its interface.
        because: why native mode was refused; empty if it was not tried.
    """
    why = because or "the former service attached it so"
    return (
        f"{interface} runs the filter in generic mode, which costs more CPU for each packet: {why};"
        " native mode is tried again when the card changes, and now and then"
    )


def note_of_batches(interface: str) -> str:
    """Return the note on what generic mode lets through; the verb `check` shows it, too.

    A sender on this host can let the network card cut a buffer into datagrams
    (UDP_SEGMENT). If there is no card in between, generic mode sees the whole buffer as
    one frame. Packets from a wire are never joined: the kernel does no GRO on an interface
    with a generic program.
    """
    return (
        f"{interface} in generic mode: a container or virtual machine on this host can send many"
        " UDP datagrams as one frame (UDP_SEGMENT), and the filter judges only the first; if that"
        " one passes, all pass, and if a Truncate rule matches it, none is answered; use native"
        " mode, or turn such batches off at the sender, for a veth on its other end:"
        " `ethtool -K PEER tx-udp-segmentation off`"
    )
