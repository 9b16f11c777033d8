"""One sampled packet as a value.

Owns this value. Does not own where it comes from (reader.py), or what its octets mean. Used by all
who show samples. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xdpctl.abi import PacketAction, Reason


@dataclass(frozen=True, slots=True)
class Sample:
    """One packet.

    Attributes:
        time: Unix time, seconds.
        interface: where it came in.
        action, reason: what the filter did with it, and why.
        weight: how many packets it stands for: the sum over samples estimates all packets.
        length: octets of the whole frame.
        frame: its first octets, as it came in: Ethernet header first.
        depth: labels of the zone whose rule decided; None where no zone's did.
    """

    time: float
    interface: str
    action: PacketAction
    reason: Reason
    weight: int
    length: int
    frame: bytes
    depth: int | None = None
