"""Which samples are wanted: filters by source, name, type, action, reason, port and interface.

Owns the filters' meaning. Does not own their text (rules/, http/api/queries.py). Pure; called by
http/api/ for each sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TYPE_CHECKING, TypeAlias

from xdpctl.abi import ZoneScope
from xdpctl.rules import Question, Zone

if TYPE_CHECKING:
    from xdpctl.abi import PacketAction, Reason
    from xdpctl.samples.packets import Packet
    from xdpctl.samples.sample import Sample

Source: TypeAlias = IPv4Address | IPv6Address | IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Selection:
    """What a sample must be; None: anything.

    Attributes:
        source: an address or prefix that the source is, or is in.
        name: a name or zone that the question's name is, or is in.
        qtype: the question's type.
        port: UDP's or TCP's destination port.
    """

    source: Source | None = None
    name: Question | Zone | None = None
    qtype: int | None = None
    action: PacketAction | None = None
    reason: Reason | None = None
    port: int | None = None
    interface: str | None = None

    def has(self, sample: Sample, packet: Packet) -> bool:
        """Return whether a sample is wanted; `packet` is what its frame says."""
        return (
            self.action in {None, sample.action}
            and self.reason in {None, sample.reason}
            and self.interface in {None, sample.interface}
            and self.port in {None, packet.port}
            and self.qtype in {None, packet.qtype}
            and (self.source is None or _is_from(self.source, packet.source))
            and (self.name is None or _asks(self.name, packet.name))
        )


def _is_from(target: Source, source: bytes) -> bool:
    if not isinstance(target, IPv4Network | IPv6Network):
        return source == target.packed
    whole = target.network_address.packed
    if len(source) != len(whole):
        return False
    rest = len(whole) * 8 - target.prefixlen
    return int.from_bytes(source, "big") >> rest == int.from_bytes(whole, "big") >> rest


def _asks(target: Question | Zone, name: bytes | None) -> bool:
    if name is None:
        return False
    wanted = target.name.wire
    if name == wanted:
        return isinstance(target, Question) or target.scope is ZoneScope.ALL
    if isinstance(target, Question):
        return False
    at = 0
    while name[at]:
        at += name[at] + 1
        if name[at:] == wanted:
            return True
    return False
