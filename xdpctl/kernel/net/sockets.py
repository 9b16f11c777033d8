"""The listening sockets of this network namespace, from /proc/net.

Owns the format of /proc/net/{tcp,udp}{,6}. Called by interfaces.py; blocks. Addresses there are
groups of four bytes, each printed as a host-endian number. Does not own what follows from them.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from xdpctl.kernel.failure import kernel_error

_LISTENING = 0x0A
_FIELDS = 4


@dataclass(frozen=True, slots=True)
class LocalSocket:
    """The local end of a socket and its state (TCP_LISTEN is 10)."""

    address: IPv4Address | IPv6Address
    port: int
    state: int


def parse_sockets(text: str) -> list[LocalSocket]:
    """Return the sockets in one file of /proc/net; truncated lines are skipped."""
    found = []
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < _FIELDS:
            continue
        address, _, port = fields[1].partition(":")
        found.append(LocalSocket(_address(address), int(port, 16), int(fields[3], 16)))
    return found


def listening_tcp(port: int, directory: Path = Path("/proc/net")) -> bool:
    """Tell whether anything listens on this TCP port, on any address."""
    return any(
        entry.port == port and entry.state == _LISTENING for entry in _sockets(directory, "tcp")
    )


def bound_udp(
    address: IPv4Address | IPv6Address, port: int, directory: Path = Path("/proc/net")
) -> bool:
    """Tell whether a UDP socket is bound to exactly this address and port.

    A socket on 0.0.0.0 or :: does not count: dnsdist's listener is bound to its address.
    """
    return any(
        entry.port == port and entry.address == address for entry in _sockets(directory, "udp")
    )


def _sockets(directory: Path, protocol: str) -> list[LocalSocket]:
    """Return the sockets of both families; a kernel without IPv6 has only one file.

    Raises:
        KernelError: a file cannot be read.
    """
    found = []
    for family in ("", "6"):
        path = directory / f"{protocol}{family}"
        try:
            found += parse_sockets(path.read_text(encoding="ascii"))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise kernel_error(f"cannot read {path}", error.errno or errno.EIO) from error
    return found


def _address(text: str) -> IPv4Address | IPv6Address:
    """Return the address of 8 or 32 hexadecimal digits."""
    words = [int(text[start : start + 8], 16) for start in range(0, len(text), 8)]
    return ip_address(struct.pack(f"={len(words)}I", *words))
