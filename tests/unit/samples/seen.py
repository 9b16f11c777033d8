"""Samples for tests: queries as they come in."""

from __future__ import annotations

from ipaddress import ip_address

from xdpctl.abi import PacketAction, Reason
from xdpctl.program.datagram import Datagram
from xdpctl.rules import Name
from xdpctl.samples.sample import Sample

NOW = 1_700_000_000.25


def frame_of(
    source: str = "192.0.2.1", name: str = "www.example", qtype: int = 1, port: int = 53
) -> bytes:
    """Return the frame of a query."""
    sender = ip_address(source)
    server = ip_address("192.0.2.53" if sender.version == 4 else "2001:db8::53")
    wire = Name.from_text(name).wire
    return Datagram(sender, server, 40053, port, name=wire, qtype=qtype).frame()


def sample_of(  # noqa: PLR0913 - what a sample has
    frame: bytes,
    action: PacketAction = PacketAction.PASS,
    reason: Reason = Reason.NO_MATCH,
    *,
    weight: int = 1,
    time: float = NOW,
    interface: str = "eth0",
    length: int = 0,
) -> Sample:
    """Return a sample of a frame; `length` 0: all of it is there."""
    return Sample(time, interface, action, reason, weight, length or len(frame), frame)
