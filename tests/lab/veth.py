"""A veth interface that refuses native XDP, and takes it again.

Since Linux 5.18 a program that takes several buffers goes with any MTU, and veth refuses an
interface with fewer receive queues than its peer has transmit queues; before, it refuses a
peer whose frames do not fit into a page.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

from xdpctl.kernel.bpf.loading import BUFFERS_SINCE
from xdpctl.kernel.failure import kernel_release

if TYPE_CHECKING:
    from collections.abc import Callable

_SIOCETHTOOL = 0x8946
_SET_CHANNELS = 0x3D
_GET_CHANNELS = 0x3C
_CHANNELS = struct.Struct("=9I")


def refuse_native(interface: str, peer: str, run: Callable[..., object]) -> str:
    """Let an interface refuse native XDP; return what it says then.

    Args:
        interface: its name, in the network namespace of the calling thread.
        peer: the other end, in the same; both have two queues.
        run: runs iproute2's ip with these arguments.
    """
    if kernel_release() < BUFFERS_SINCE:
        run("link", "set", peer, "mtu", "9000")
        return "MTU"
    set_queues(interface, rx=1)
    set_queues(peer, tx=2)
    return "XDP expects number of rx queues not less than peer tx queues"


def set_queues(interface: str, *, rx: int | None = None, tx: int | None = None) -> None:
    """Set numbers of queues; OSError where the driver cannot."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        values = list(_CHANNELS.unpack(_ask(opened, interface, [_GET_CHANNELS])))
        values[0] = _SET_CHANNELS
        for place, number in ((5, rx), (6, tx)):
            if number is not None:
                values[place] = number
        _ask(opened, interface, values)


def _ask(opened: socket.socket, interface: str, command: list[int]) -> bytes:
    """Put `struct ethtool_channels` to the driver; return what it is afterwards."""
    buffer = array.array("I", command + [0] * (9 - len(command)))
    address, _ = buffer.buffer_info()
    request = struct.pack("16sP16x", interface.encode(), address)
    fcntl.ioctl(opened, _SIOCETHTOOL, request)
    return buffer.tobytes()
