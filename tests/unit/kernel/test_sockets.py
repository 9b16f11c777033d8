"""The tables of /proc/net are read as the kernel writes them."""

from __future__ import annotations

import struct
import sys
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.kernel.net.sockets import LocalSocket, bound_udp, listening_tcp, parse_sockets

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when\n"


def line(address: IPv4Address | IPv6Address, port: int, state: int) -> str:
    """Return a line as Linux prints it: words of the address as host-endian numbers."""
    words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)
    text = "".join(f"{word:08X}" for word in words)
    return f"   0: {text}:{port:04X} 00000000:0000 {state:02X} 00000000:00000000 00:00000000\n"


@given(st.ip_addresses(), st.integers(min_value=0, max_value=65535), st.sampled_from([1, 7, 10]))
def test_every_line_gives_back_its_socket(
    address: IPv4Address | IPv6Address, port: int, state: int
) -> None:
    assert parse_sockets(HEADER + line(address, port, state)) == [LocalSocket(address, port, state)]


def test_loopback_is_written_backwards_on_a_little_endian_machine() -> None:
    text = "0100007F" if sys.byteorder == "little" else "7F000001"
    found = parse_sockets(HEADER + f"   0: {text}:0035 00000000:0000 0A 0:0\n")
    assert found == [LocalSocket(IPv4Address("127.0.0.1"), 53, 10)]


def test_a_line_cut_short_is_left_out() -> None:
    assert parse_sockets(HEADER + "   0: 0100007F:0035\n") == []


def test_a_kernel_without_ipv6_has_no_second_table(tmp_path: Path) -> None:
    (tmp_path / "tcp").write_text(HEADER + line(ip_address("192.0.2.1"), 53, 10))
    assert listening_tcp(53, tmp_path)


@pytest.mark.parametrize(("port", "state"), [(53, 1), (853, 10)])
def test_another_state_or_port_is_no_listener(tmp_path: Path, port: int, state: int) -> None:
    (tmp_path / "tcp").write_text(HEADER + line(ip_address("192.0.2.1"), port, state))
    assert not listening_tcp(53, tmp_path)


def test_a_udp_socket_is_bound_to_its_address_only(tmp_path: Path) -> None:
    (tmp_path / "udp6").write_text(HEADER + line(ip_address("2001:db8::1"), 53, 7))
    found = [bound_udp(ip_address(text), 53, tmp_path) for text in ("2001:db8::1", "2001:db8::2")]
    assert found == [True, False]
