"""Who asked what, from frames that may end anywhere."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.samples.seen import frame_of
from xdpctl.program.datagram import Datagram
from xdpctl.rules import Name
from xdpctl.samples.packets import TCP, UDP, Packet, address_of, question_end, read_packet

FRAMES = [frame_of(), frame_of("2001:db8::1", "a.b.c.example", 28)]
V4, V6 = FRAMES


def tagged(frame: bytes, *tags: bytes) -> bytes:
    """Return a frame with VLAN tags of these types."""
    return frame[:12] + b"".join(tag + b"\0\7" for tag in tags) + frame[12:]


def extended(*headers: bytes, protocol: int = UDP) -> bytes:
    """Return the IPv6 frame with extension headers, each with its type in its first octet."""
    kinds = [header[0] for header in headers] + [protocol]
    chain = b"".join(bytes((kind,)) + h[1:] for kind, h in zip(kinds[1:], headers, strict=True))
    return V6[:20] + bytes((kinds[0],)) + V6[21:54] + chain + V6[54:]


@pytest.mark.parametrize("source", ["192.0.2.1", "2001:db8::1"])
def test_a_query_is_read(source: str) -> None:
    packet = read_packet(frame_of(source, "WWW.Example", 28, 5353))
    assert str(address_of(packet.source)) == source
    assert (packet.protocol, packet.source_port, packet.port) == (UDP, 40053, 5353)
    assert packet.name == Name.from_text("www.example").wire
    assert packet.qtype == 28
    assert packet.is_query


def test_letter_case_does_not_matter() -> None:
    frame = V4.replace(b"www", b"wWw")
    assert read_packet(frame).name == read_packet(V4).name


@pytest.mark.parametrize("tags", [(b"\x81\x00",), (b"\x88\xa8", b"\x81\x00")])
def test_vlan_tags_are_looked_behind(tags: tuple[bytes, ...]) -> None:
    packet = read_packet(tagged(V4, *tags))
    assert packet.name == read_packet(V4).name
    assert packet.message.start == 42 + 4 * len(tags)


def test_behind_a_third_tag_nothing_is_read() -> None:
    assert read_packet(tagged(V4, *(b"\x81\x00",) * 3)) == Packet()


@pytest.mark.parametrize(
    "headers",
    [
        (b"\x00" + bytes(7),),
        (b"\x3c\x00\x00\x01" + bytes(12),),
        (b"\x33\x00\x00\x04" + bytes(20),),
        (b"\x2c\x00" + bytes(6),),
        (b"\x3c" + bytes(7),) * 6,
    ],
    ids=["hop-by-hop", "options of 8 that say 16", "AH", "first fragment", "six"],
)
def test_ipv6_extension_headers_are_walked(headers: tuple[bytes, ...]) -> None:
    if headers[0][0] == 0x3C and len(headers[0]) == 16:
        headers = (headers[0][:1] + b"\x01" + headers[0][1:15],)
    if headers[0][0] == 0x33:
        headers = (b"\x33\x04" + headers[0][2:],)
    assert read_packet(extended(*headers)).name == read_packet(V6).name


@pytest.mark.parametrize(
    "headers", [(b"\x3c" + bytes(7),) * 7, (b"\x2c\x00\x00\x08" + bytes(4),)], ids=["7", "later"]
)
def test_what_has_no_ports_has_its_addresses(headers: tuple[bytes, ...]) -> None:
    packet = read_packet(extended(*headers))
    assert packet.source == read_packet(V6).source
    assert packet.port is None


def test_a_later_fragment_has_no_ports() -> None:
    packet = read_packet(V4[:20] + b"\x00\x10" + V4[22:])
    assert (packet.source, packet.port) == (bytes((192, 0, 2, 1)), None)


def test_tcp_has_ports_and_no_question() -> None:
    packet = read_packet(V4[:23] + bytes((TCP,)) + V4[24:])
    assert (packet.protocol, packet.port, packet.name, packet.flags) == (TCP, 53, None, None)


def test_behind_an_encrypted_port_no_name_is_read() -> None:
    packet = read_packet(frame_of(port=853), frozenset({853}))
    assert (packet.port, packet.name, packet.message) == (853, None, range(0))


def test_a_response_is_no_query() -> None:
    query = Datagram(ip_address("192.0.2.1"), ip_address("192.0.2.53"), 40053, 53)
    assert not read_packet(query.answer().frame()).is_query


@pytest.mark.parametrize(
    "name",
    [b"\xc0\x0c", b"\x40" + b"a" * 64 + b"\0", (b"\x3f" + b"a" * 63) * 4 + b"\0"],
    ids=["pointer", "label of 64", "256 octets"],
)
def test_what_is_no_name_is_none(name: bytes) -> None:
    frame = V4[:54] + name + b"\0\1\0\1"
    packet = read_packet(frame)
    assert (packet.name, packet.qtype) == (None, None)
    assert packet.flags is not None


def test_the_message_ends_where_udp_says() -> None:
    packet = read_packet(V4 + b"trailer")
    assert packet.message == range(42, len(V4))
    assert question_end(V4, 42) == len(V4)


@pytest.mark.parametrize("frame", FRAMES)
def test_a_frame_that_is_cut_says_no_more_than_it_has(frame: bytes) -> None:
    whole = read_packet(frame)
    for size in range(len(frame)):
        part = read_packet(frame[:size])
        for field in ("source", "destination", "protocol", "source_port", "port", "flags", "name"):
            assert getattr(part, field) in {getattr(whole, field), b"", None}
        assert part.message.stop <= size


@given(st.binary(max_size=200))
def test_no_octets_raise(noise: bytes) -> None:
    read_packet(noise)


@given(
    frame=st.sampled_from([*FRAMES, tagged(V4, b"\x81\x00"), extended(b"\0" * 8)]),
    changes=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 255)), max_size=6),
    size=st.integers(0, 120),
)
def test_no_changed_frame_raises(frame: bytes, changes: list[tuple[int, int]], size: int) -> None:
    octets = bytearray(frame)
    for at, value in changes:
        octets[at % len(octets)] = value
    packet = read_packet(bytes(octets[:size]))
    assert packet.message.stop <= size
    if packet.name is not None:
        Name(packet.name)
