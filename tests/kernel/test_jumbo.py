"""Frames that fill several buffers: an MTU of 9,000 on veth, native and generic."""

from __future__ import annotations

import itertools
import socket
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.engines.made_once import compiled_once
from tests.kernel.conftest import ip
from tests.packets.build import Udp, ethernet, ipv4
from tests.packets.message import edns_query, opt, padding
from xdpctl.abi import (
    MAPS,
    RULE_MAPS,
    WILDCARD_QTYPE,
    Count,
    MapName,
    PacketAction,
    Reason,
    RuleAction,
    encode_qname,
    encode_value,
)
from xdpctl.filter.filter import Filter
from xdpctl.kernel.bpf.loading import BUFFERS_SINCE, without_buffers
from xdpctl.kernel.failure import kernel_release
from xdpctl.program.config import ProgramConfig
from xdpctl.rules import AnyQtype
from xdpctl.settings import ModeSetting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from xdpctl.kernel.bpf.maps import Map
    from xdpctl.kernel.bpf.syscall import Bpf
    from xdpctl.kernel.net.interfaces import Netlink

pytestmark = pytest.mark.root

INTERFACE = "veth0"
MTU = 9000
ETH_P_ALL = 3
CONFIG = ProgramConfig((53,), (), (), tcp=True, any_qtype=AnyQtype.BOTH, xsk=None)
BLOCKED, TRUNCATED = b"\3bad\7example\0", b"\5large\7example\0"
has_buffers = pytest.mark.skipif(
    kernel_release() < BUFFERS_SINCE,
    reason="Linux before 5.18 has one buffer a frame",
)


def long_query(name: str, size: int) -> bytes:
    """Return a frame of so many octets: a query whose OPT record is padded."""
    bare = len(ethernet(ipv4(Udp(edns_query(name, opt(options=padding(0)))))))
    return ethernet(ipv4(Udp(edns_query(name, opt(options=padding(size - bare))))))


@pytest.fixture
def maps(bpf: Bpf) -> Iterator[dict[MapName, Map]]:
    made = {name: bpf.create_map(MAPS[name], 8) for name in RULE_MAPS}
    made[MapName.NAME_INDEX] = bpf.create_map(MAPS[MapName.NAME_INDEX], 1)
    for name, action in ((BLOCKED, RuleAction.DROP), (TRUNCATED, RuleAction.TRUNCATE)):
        made[MapName.QNAMES].update(encode_qname(name, WILDCARD_QTYPE), encode_value(action))
    yield made
    for opened in made.values():
        opened.close()


@pytest.fixture
def wide(namespace: None) -> Iterator[socket.socket]:
    """Give both ends of the pair a large MTU; return a socket at the other end."""
    assert namespace is None
    for end in ("veth0", "veth1"):
        ip("link", "set", end, "mtu", str(MTU))
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as wire:
        wire.bind(("veth1", 0))
        yield wire


@pytest.fixture
def filter_in(bpf: Bpf, netlink: Netlink, directory: Path) -> Callable[[ModeSetting], Filter]:
    own = directory / "xdpctl"
    return lambda mode: Filter(bpf, netlink, INTERFACE, mode=mode, replace=False, directory=own)


@has_buffers
@pytest.mark.parametrize("mode", [ModeSetting.NATIVE, ModeSetting.GENERIC])
def test_a_large_frame_is_filtered_and_counted_with_all_its_octets(
    filter_in: Callable[[ModeSetting], Filter],
    maps: dict[MapName, Map],
    wide: socket.socket,
    mode: ModeSetting,
) -> None:
    """Its question lies in the first buffer, its end in the second or third."""
    sizes = (100, 1514, 4000, MTU + 14)
    with filter_in(mode) as running:
        running.attach(compiled_once(CONFIG), maps, panic=False)
        for size, name in itertools.product(sizes, ("bad.example", "large.example")):
            frame = long_query(name, size)
            assert len(frame) == size
            wide.send(frame)
        counted = running.view().counters
    drop = Reason.QNAME, PacketAction.DROP
    assert counted[drop] == Count(len(sizes), sum(sizes))
    answered = counted[Reason.QNAME, PacketAction.TRUNCATE].packets
    dropped = counted[Reason.UNANSWERABLE, PacketAction.DROP].packets
    assert answered >= 2  # both that fit into one buffer
    assert dropped >= 1  # the one that never does
    assert answered + dropped == len(sizes)


@has_buffers
def test_the_mtu_can_be_raised_beside_the_filter(
    filter_in: Callable[[ModeSetting], Filter], maps: dict[MapName, Map], namespace: None
) -> None:
    assert namespace is None
    with filter_in(ModeSetting.NATIVE) as running:
        running.attach(compiled_once(CONFIG), maps, panic=False)
        ip("link", "set", INTERFACE, "mtu", str(MTU))
        shown = subprocess.run(
            ["ip", "link", "show", INTERFACE], check=True, capture_output=True, text=True
        )
    assert f"mtu {MTU} " in shown.stdout
    assert "xdp" in shown.stdout


def test_a_kernel_without_buffers_is_given_a_program_that_never_asks_for_their_size() -> None:
    asks = struct.pack("=BBhi", 0x85, 0, 0, 188)
    constant = struct.pack("=BBhi", 0x18, 1, 0, 0) + asks  # its second half looks like a call
    instructions = constant + asks + struct.pack("=BBhi", 0x95, 0, 0, 0)
    zero = struct.pack("=BBhi", 0xB7, 0, 0, 0)
    assert without_buffers(instructions) == constant + zero + instructions[-8:]
