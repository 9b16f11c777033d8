"""Findings about one interface: its XDP program, driver, MTU, VLANs, queues.

Pure. Called by report.py; the service calls `queue_shortage`. Owns the sentences of these
findings. Does not gather facts (survey.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xdpctl.filter.view import no_ethernet_header, note_of_batches, same_card
from xdpctl.kernel.bpf.programs import XdpMode
from xdpctl.settings import ModeSetting
from xdpctl.status.checks.facts import Finding, InterfaceFacts, Level

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xdpctl.kernel.net.interfaces import Interface
    from xdpctl.settings import Settings

XSK_FRAME = 1792
"""Bytes of the largest frame that dnsdist accepts over AF_XDP (PACKETS.md)."""

_PAGE = 4096  # receive buffer of most drivers, whatever the page size of the machine
_ETHERNET = 14
_XDP_HEADROOM = 256
_SHARED_INFO = 320  # struct skb_shared_info, which a driver keeps after each frame
MTU_MAX = _PAGE - _XDP_HEADROOM - _ETHERNET - _SHARED_INFO
"""The largest MTU with which a frame fits into one page for every driver."""

# fmt: off
NATIVE_DRIVERS = frozenset((
    "am65-cpsw-nuss", "atlantic", "bnxt_en", "bonding", "cpsw", "dpaa2-eth", "ena", "fec",
    "fsl_dpa", "fsl_enetc", "funeth", "gve", "hv_netvsc", "i40e", "ice", "igb", "igc", "ionic",
    "ixgbe", "ixgbevf", "lan966x-switch", "mana", "mlx4_en", "mlx5_core", "mtk_soc_eth",
    "mvneta", "mvpp2", "netsec", "nfp", "nicvf", "qede", "rvu_nicpf", "rvu_nicvf", "sfc",
    "sfc-siena", "st_gmac", "stmmac", "tsnep", "tun", "veth", "vif", "virtio_net", "vmxnet3",
))
# fmt: on
"""Drivers, by ethtool name, that have native XDP in some kernel from 5.10 on."""


def of_interface(settings: Settings, facts: InterfaceFacts) -> Iterator[Finding]:
    """Yield the findings about one interface."""
    interface = facts.interface
    if interface is None and facts.missing and settings.wait:
        yield Finding(
            Level.NOTE,
            f"interface {facts.name} does not exist yet: the service starts without it, and is"
            " ready when it exists (--wait)",
            facts.name,
        )
        return
    if interface is None:
        yield Finding(Level.ERROR, facts.error, facts.name)
        return
    if not interface.has_ethernet_header:
        yield Finding(Level.ERROR, no_ethernet_header(facts.name, interface.link_type), facts.name)
        return
    yield from _program(settings, facts)
    yield from _driver(settings, facts, interface)
    if settings.mode is not ModeSetting.GENERIC and _driver_of(interface) in NATIVE_DRIVERS:
        yield from _mtu(facts, interface)
    yield from _vlan(settings, facts, interface)
    yield from _upper(settings, facts)
    if settings.xsk:
        yield from _queues(settings, facts, interface)
        if interface.mtu + _ETHERNET > XSK_FRAME:
            yield Finding(
                Level.NOTE,
                f"{facts.name} has MTU {interface.mtu}: frames longer than {XSK_FRAME} bytes go to"
                " the kernel's socket and not to AF_XDP",
                facts.name,
            )
    if not interface.up:
        yield Finding(
            Level.WARNING,
            f"{facts.name} is down and receives nothing: use `ip link set {facts.name} up`",
            facts.name,
        )


def of_names(facts: Sequence[InterfaceFacts]) -> Iterator[Finding]:
    """Yield an error for each name whose card already has an earlier one (an altname)."""
    known: dict[int, str] = {}
    for fact in facts:
        if fact.interface is None:
            continue
        index = fact.interface.index
        if index in known:
            yield Finding(Level.ERROR, same_card(fact.name, known[index], index), fact.name)
        else:
            known[index] = fact.name


def _program(settings: Settings, facts: InterfaceFacts) -> Iterator[Finding]:
    xdp = facts.xdp
    if xdp is None:
        return
    named = f" ({xdp.name})" if xdp.name else ""
    what = f"{facts.name} has the XDP program {xdp.program_id}{named}"
    if xdp.ours:
        yield Finding(Level.OK, f"{what}, which is ours", facts.name)
    elif xdp.ours is None:
        yield Finding(
            Level.WARNING,
            f"{what}, and only root can see whether it is ours: run `xdpctl check` as root",
            facts.name,
        )
    elif xdp.held_by_link:
        yield Finding(
            Level.ERROR,
            f"{what}, which cannot be replaced because a foreign bpf_link holds it: stop the"
            " process that holds the link",
            facts.name,
        )
    elif settings.replace:
        yield Finding(
            Level.WARNING,
            f"{what}, which is not ours and which --replace will remove: packets between the two"
            " programs are not filtered",
            facts.name,
        )
    else:
        yield Finding(
            Level.ERROR,
            f"{what}, which is not ours: stop its owner, or use --replace to replace it",
            facts.name,
        )


def _driver(settings: Settings, facts: InterfaceFacts, interface: Interface) -> Iterator[Finding]:
    driver = _driver_of(interface)
    what = f"{facts.name} (driver {driver or 'unknown'}, MTU {interface.mtu})"
    if settings.mode is ModeSetting.GENERIC:
        yield Finding(
            Level.OK, f"{what} will run the filter in generic mode, as configured", facts.name
        )
    elif driver in NATIVE_DRIVERS:
        yield Finding(Level.OK, f"{what} supports native XDP", facts.name)
    else:
        then = (
            "the service cannot start there"
            if settings.mode is ModeSetting.NATIVE
            else "the filter runs in generic mode, which costs more CPU for each packet"
        )
        yield Finding(
            Level.WARNING,
            f"{what} is not known to support native XDP: if it does not, {then}",
            facts.name,
        )


def of_batches(settings: Settings, facts: InterfaceFacts) -> Iterator[Finding]:
    """Yield a warning about what generic mode lets through, if the filter may run in it.

    Not one of `interface_warnings`: while the service runs, the filter knows its mode and
    gives the same warning.
    """
    interface = facts.interface
    if interface is None or settings.mode is ModeSetting.NATIVE:
        return
    if not interface.has_ethernet_header:
        return
    attached = interface.attached
    if settings.mode is ModeSetting.AUTO:
        if facts.xdp is not None and facts.xdp.ours and attached is not None:
            generic = attached.mode is XdpMode.GENERIC
        else:
            generic = _driver_of(interface) not in NATIVE_DRIVERS or interface.mtu > MTU_MAX
        if not generic:
            return
    yield Finding(Level.WARNING, note_of_batches(facts.name), facts.name)


def _driver_of(interface: Interface) -> str | None:
    return interface.driver or interface.kind


def _mtu(facts: InterfaceFacts, interface: Interface) -> Iterator[Finding]:
    if interface.mtu <= MTU_MAX:
        return
    attached = interface.attached
    if facts.xdp is not None and facts.xdp.ours and attached is not None:
        if attached.mode is XdpMode.NATIVE:  # the driver has accepted our program with this MTU
            yield Finding(
                Level.WARNING,
                f"{facts.name} has MTU {interface.mtu}: of a frame in several buffers only the"
                " first one is read; a query that does not lie in it passes (`other`), and"
                f" `truncate` drops it: an MTU up to {MTU_MAX} avoids both",
                facts.name,
            )
    else:
        yield Finding(
            Level.WARNING,
            f"{facts.name} has MTU {interface.mtu}, and drivers without multi-buffer XDP refuse"
            " native mode if a frame does not fit into one page: an MTU up to"
            f" {MTU_MAX} works with every driver",
            facts.name,
        )


def _vlan(settings: Settings, facts: InterfaceFacts, interface: Interface) -> Iterator[Finding]:
    if not facts.vlan_offload:
        return
    answers = "TC=1 and AF_XDP answers" if settings.xsk else "TC=1 answers"
    effect = (
        f"{facts.name} removes VLAN tags before the filter sees a frame: rules work, but"
        f" {answers} to queries from a VLAN leave without the tag and are lost"
    )
    remedy = f"use `ethtool -K {facts.name} rxvlan off`"
    if facts.vlans or interface.master is not None:
        on_top = f" (VLANs: {', '.join(facts.vlans)})" if facts.vlans else ""
        yield Finding(Level.WARNING, f"{effect}{on_top}: {remedy}", facts.name)
    else:
        yield Finding(
            Level.NOTE,
            f"{effect}; there is no VLAN here now; before you add one, {remedy}",
            facts.name,
        )


def _upper(settings: Settings, facts: InterfaceFacts) -> Iterator[Finding]:
    if facts.upper is None:
        return
    upper = facts.upper
    if upper.kind == "bridge":
        if not settings.addresses:
            yield Finding(
                Level.NOTE,
                f"{facts.name} is a port of the bridge {upper.name}: packets that the bridge"
                " forwards are filtered too; use --address to filter only some addresses",
                facts.name,
            )
        return
    others = [name for name in facts.ports if name not in settings.interfaces]
    if others and upper.name not in settings.interfaces:
        yield Finding(
            Level.WARNING,
            f"{facts.name} is part of {upper.name}: the filter sees packets that arrive on"
            f" {facts.name}, but not those on {', '.join(others)}; use only {upper.name}, or all"
            " of its ports, as --interface",
            facts.name,
        )


def _queues(settings: Settings, facts: InterfaceFacts, interface: Interface) -> Iterator[Finding]:
    slots = settings.number_of_queues if facts.slots is None else facts.slots
    queues = interface.rx_queues
    shortage = queue_shortage(facts.name, queues, slots)
    if shortage is not None:
        yield Finding(Level.ERROR, shortage, facts.name)
    elif queues > 1:
        yield Finding(
            Level.NOTE,
            f"{facts.name} receives on {queues} queues: dnsdist needs a socket for each; packets on"
            " a queue without one go to the kernel's socket",
            facts.name,
        )
    else:
        yield Finding(Level.OK, f"{facts.name} receives on one queue", facts.name)


def queue_shortage(name: str, queues: int, slots: int) -> str | None:
    """Return why AF_XDP cannot serve an interface, or None."""
    if queues <= slots:
        return None
    return (
        f"{name} receives on {queues} queues, but its xskmap has {slots} slots: packets on the"
        f" other queues would not reach AF_XDP; use --number-of-queues {queues} (first stop the"
        " programs that use the pinned xskmap and remove the pin), or `ethtool -L"
        f" {name} combined {slots}`"
    )
