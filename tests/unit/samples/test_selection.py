"""Which samples are wanted."""

from __future__ import annotations

import pytest

from tests.unit.samples.seen import frame_of, sample_of
from xdpctl.abi import PacketAction, Reason
from xdpctl.rules import parse_target
from xdpctl.samples.packets import read_packet
from xdpctl.samples.selection import Selection

FRAME = frame_of("192.0.2.7", "www.evil.example", 28)
SIX = frame_of("2001:db8::7", "evil.example")


def has(selection: Selection, frame: bytes = FRAME) -> bool:
    sample = sample_of(frame, PacketAction.DROP, Reason.ADDR_V4)
    return selection.has(sample, read_packet(frame))


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("192.0.2.7", True),
        ("192.0.2.8", False),
        ("192.0.2.0/29", True),
        ("192.0.2.8/29", False),
        ("0.0.0.0/0", True),
        ("2001:db8::/32", False),
    ],
)
def test_by_source(source: str, found: bool) -> None:  # noqa: FBT001 - the case
    assert has(Selection(source=parse_target(source))) is found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "below", "itself"),
    [
        ("www.evil.example", True, False),
        ("evil.example", False, True),
        (".evil.example", True, True),
        ("*.evil.example", True, False),
        (".vil.example", False, False),
        ("*.www.evil.example", False, False),
    ],
)
def test_by_name(name: str, below: bool, itself: bool) -> None:  # noqa: FBT001 - the case
    selection = Selection(name=parse_target(name))  # type: ignore[arg-type]
    assert (has(selection), has(selection, SIX)) == (below, itself)
    assert not has(selection, FRAME[:50])


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        (Selection(), True),
        (Selection(qtype=28), True),
        (Selection(qtype=1), False),
        (Selection(action=PacketAction.DROP), True),
        (Selection(action=PacketAction.PASS), False),
        (Selection(reason=Reason.ADDR_V4), True),
        (Selection(reason=Reason.OTHER), False),
        (Selection(port=53), True),
        (Selection(port=853), False),
        (Selection(interface="eth0"), True),
        (Selection(interface="eth1"), False),
        (Selection(action=PacketAction.DROP, qtype=1), False),
    ],
)
def test_by_all_else(selection: Selection, found: bool) -> None:  # noqa: FBT001 - the case
    assert has(selection) is found
