"""What is left of a frame whose client's address is truncated."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.program.datagram import Datagram
from xdpctl.samples.addresses import Truncation

NAME = b"\3www\7example\0"
KEPT = Truncation(24, 48)
SERVERS: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("192.0.2.53"),
    6: IPv6Address("2001:db8::53"),
}
V4, V6 = IPv4Address("198.51.100.77"), IPv6Address("2001:db8:1:2:3:4:5:6")
OPT = b"\0\0\x29\x04\xd0\0\0\0\0"
UDP_CHECKSUM = {4: slice(40, 42), 6: slice(60, 62)}


def query(sender: IPv4Address | IPv6Address) -> bytearray:
    return bytearray(Datagram(sender, SERVERS[sender.version], 40053, 53, name=NAME).frame())


def with_options(frame: bytearray, options: bytes, behind: bytes = b"") -> bytes:
    """Return the query with an OPT record behind its question; lengths stay as they were."""
    start = 42 if frame[12:14] == b"\x08\x00" else 62
    frame[start + 10 : start + 12] = b"\0\1"
    return bytes(frame) + OPT + len(options).to_bytes(2, "big") + options + behind


def subnet(address: IPv4Address | IPv6Address, length: int) -> bytes:
    octets = address.packed[: (length + 7) // 8]
    body = bytes((0, 1 if address.version == 4 else 2, length, 0)) + octets
    return b"\0\x08" + len(body).to_bytes(2, "big") + body


@pytest.mark.parametrize("sender", [V4, V6])
def test_only_the_hosts_part_of_the_source_goes(
    sender: IPv4Address | IPv6Address,
) -> None:
    prefix = {4: "198.51.100.0", 6: "2001:db8:1::"}[sender.version]
    truncated, expected = KEPT(bytes(query(sender))), query(ip_address(prefix))
    expected[UDP_CHECKSUM[sender.version]] = b"\0\0"
    assert truncated == expected


@pytest.mark.parametrize(("sender", "length"), [(V4, 32), (V6, 128)])
def test_the_client_subnet_is_truncated_as_the_source(
    sender: IPv4Address | IPv6Address, length: int
) -> None:
    other = b"\0\x0a\0\x08cookie!!"
    truncated = KEPT(with_options(query(sender), other + subnet(sender, length)))
    prefix = {4: b"\xc6\x33\x64\0", 6: b"\x20\x01\x0d\xb8\0\1" + bytes(10)}[sender.version]
    kept = {4: 24, 6: 48}[sender.version]
    assert truncated.endswith(
        other + subnet(ip_address(prefix), length)[:6] + bytes((kept, 0)) + prefix
    )
    assert NAME in truncated


def test_what_is_behind_the_opt_record_is_cut() -> None:
    whole = with_options(query(V4), b"")
    assert KEPT(with_options(query(V4), b"", behind=V4.packed)) == KEPT(whole)


def test_records_that_are_not_an_opt_are_cut() -> None:
    frame = query(V4)
    behind = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + V4.packed
    assert KEPT(bytes(frame) + behind) == KEPT(bytes(frame))


def inside(address: bytes) -> list[bytes]:
    """Frames with an address elsewhere than in the source of a plain query."""
    frame = bytes(query(V4))
    tunnel, options, icmp = bytearray(frame), bytearray(frame), bytearray(frame)
    tunnel[23], icmp[23], options[14] = 4, 1, 0x46
    fragment = bytearray(frame)
    fragment[20:22] = b"\0\1"
    pointer = bytearray(frame)
    pointer[54:56] = b"\xc0\x0c"
    return [
        *(bytes(each) + address for each in (tunnel, options, icmp, fragment, pointer)),
        frame[:12] + b"\x08\x06" + bytes(14) + address,
        frame[:12] + b"\x81\0\0\7\x08\x06" + bytes(14) + address,
        bytes(query(V6))[:20] + b"\x29" + bytes(query(V6))[21:] + address,
    ]


@pytest.mark.parametrize("frame", inside(b"\xcb\0\x71\x4d"))
def test_no_address_inside_other_packets_is_kept(frame: bytes) -> None:
    assert b"\xcb\0\x71\x4d" in frame
    assert b"\xcb\0\x71\x4d" not in KEPT(frame)
    assert V4.packed not in KEPT(frame)


def test_behind_a_vlan_tag_it_is_the_same() -> None:
    frame = bytes(query(V4))
    tagged = frame[:12] + b"\x81\0\0\7" + frame[12:]
    assert KEPT(tagged) == frame[:12] + b"\x81\0\0\7" + KEPT(frame)[12:]


@given(st.binary(max_size=200), st.integers(0, 200), st.sampled_from([V4, V6]))
def test_any_octets_are_truncated_and_none_is_added(
    octets: bytes, cut: int, sender: IPv4Address | IPv6Address
) -> None:
    for frame in (octets, with_options(query(sender), octets)[:cut], bytes(query(sender))[:cut]):
        assert len(KEPT(frame)) <= len(frame)


@given(st.binary(max_size=80), st.integers(0, 255))
def test_what_is_left_does_not_depend_on_the_host(octets: bytes, host: int) -> None:
    frames = []
    for last in (1, host):
        frame = query(IPv4Address(f"198.51.100.{last}"))
        frames.append(KEPT(with_options(frame, octets)))
    assert frames[0] == frames[1]
