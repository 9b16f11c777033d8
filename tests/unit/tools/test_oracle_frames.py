"""The builders of frames and messages against what is known to be right.

dnspython reads what message.py writes; one frame is written by hand; checksums are
summed a third way.
"""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rdatatype
import pytest

from tests.engines.oracle import checksum, judge
from tests.packets.build import (
    CLIENT4,
    DF,
    SERVER4,
    Checksum,
    Tag,
    Udp,
    authentication,
    ethernet,
    fragment,
    hop_by_hop,
    internet_checksum,
    ipv4,
    ipv6,
    routing,
)
from tests.packets.case import Scene, answered, truncate
from tests.packets.message import AAAA, AD, CD, COOKIE, DO, RD, edns_query, long_name, opt, query
from tests.packets.table import CASES
from xdpctl.abi import Reason

ANSWERS = {
    name: case.expected.answer for name, case in CASES.items() if case.expected.answer is not None
}

# www.Example A, RD AD CD, EDNS 1232 with DO; DF, TTL 60; UDP checksum 0, as IPv4 may have it.
QUERY_BY_HAND = bytes.fromhex(
    "02005e000053 02005e000001 0800"
    "4500 0044 1a2b 4000 3c11 3814 c0000201 c6336435"
    "d431 0035 0030 0000"
    "cafe 0130 0001 0000 0000 0001"
    "03777777 074578616d706c65 00 0001 0001"
    "00 0029 04d0 00 00 8000 0000"
)
ANSWER_BY_HAND = bytes.fromhex(
    "02005e000001 02005e000053 0800"
    "4500 0044 1a2b 4000 4011 3414 c6336435 c0000201"
    "0035 d431 0030 94c7"
    "cafe 8390 0001 0000 0000 0001"
    "03777777 074578616d706c65 00 0001 0001"
    "00 0029 04d0 00 00 8000 0000"
)


def test_the_builder_writes_the_frame_that_was_written_by_hand() -> None:
    message = edns_query("www.Example", opt(1232, flags=DO), flags=RD | AD | CD)
    message = b"\xca\xfe" + message[2:]
    upper = Udp(message, sport=0xD431, checksum=0)
    assert ethernet(ipv4(upper, ident=0x1A2B, flags=DF, ttl=60)) == QUERY_BY_HAND


def test_the_oracle_answers_the_frame_that_was_written_by_hand() -> None:
    scene = Scene((truncate("www.example"),))
    assert judge(scene, QUERY_BY_HAND) == answered(Reason.QNAME, ANSWER_BY_HAND, 0)


def test_both_checksums_of_the_rfc_1071_example() -> None:
    octets = bytes.fromhex("0001f203f4f5f6f7")
    assert internet_checksum(octets) == checksum(octets) == 0x220D


def _sum(octets: bytes) -> int:
    words: tuple[int, ...] = struct.unpack(
        f"!{(len(octets) + 1) // 2}H", octets + bytes(len(octets) % 2)
    )
    total = sum(words)
    return (total & 0xFFFF) + (total >> 16)


def _packet_of(frame: bytes) -> bytes:
    at = 12
    while frame[at : at + 2] in (b"\x81\x00", b"\x88\xa8"):
        at += 4
    return frame[at + 2 :]


def test_expected_answers_have_the_lengths_and_sums_that_hosts_check() -> None:
    for name, answer in ANSWERS.items():
        packet = _packet_of(answer)
        header, ends = (20, packet[12:20]) if packet[0] >> 4 == 4 else (40, packet[8:40])
        udp = packet[header:]
        if header == 20:
            assert struct.unpack_from("!H", packet, 2) == (len(packet),), name
            assert _sum(packet[:20]) == 0xFFFF, name
        else:
            assert struct.unpack_from("!H", packet, 4) == (len(udp),), name
        assert struct.unpack_from("!H", udp, 4) == (len(udp),), name
        assert udp[6:8] != b"\0\0", name
        assert _sum(ends + struct.pack("!HH", 17, len(udp)) + udp) == 0xFFFF, name


def _message_of(frame: bytes) -> bytes:
    packet = _packet_of(frame)
    return packet[28 if packet[0] >> 4 == 4 else 48 :]


def test_expected_answers_are_truncated_ones_to_a_dns_library() -> None:
    for name, answer in ANSWERS.items():
        message = dns.message.from_wire(_message_of(answer))
        assert message.flags & (dns.flags.QR | dns.flags.TC) == dns.flags.QR | dns.flags.TC, name
        assert message.rcode() == 0, name
        assert message.answer == message.authority == message.additional == [], name
        assert len(message.question) == 1, name
        assert message.opt is None or message.payload == 1232, name


def test_a_dns_library_reads_the_query() -> None:
    message = dns.message.from_wire(query("www.example", AAAA, ident=7))
    assert message.id == 7
    assert message.opcode() == dns.opcode.QUERY
    assert message.question[0].name == dns.name.from_text("www.example.")
    assert message.question[0].rdtype == dns.rdatatype.AAAA


def test_a_dns_library_reads_the_opt_record() -> None:
    message = dns.message.from_wire(edns_query("www.example", opt(4096, flags=DO, options=COOKIE)))
    assert message.payload == 4096
    assert message.ednsflags == DO
    assert [int(option.otype) for option in message.options] == [10]


@pytest.mark.parametrize("octets", [3, 17, 63, 64, 65, 67, 100, 128, 254, 255])
def test_a_long_name_has_the_octets_asked_for(octets: int) -> None:
    wire = long_name(octets)
    assert len(wire) == octets
    assert dns.name.from_wire(wire, 0)[1] == octets


def test_a_name_with_an_empty_label_inside_is_not_built() -> None:
    with pytest.raises(ValueError, match="66 octets"):
        long_name(66)


def test_an_ipv6_chain_says_what_follows_and_how_long_it_is() -> None:
    chain = (hop_by_hop(1), routing(2), authentication(4), fragment(5, more=True))
    packet = ipv6(Udp(b"x"), extensions=chain)
    kinds, at = [packet[6]], 40
    for size in (16, 24, 24, 8):
        kinds.append(packet[at])
        at += size
    assert kinds == [0, 43, 51, 44, 17]
    assert packet[at:][:4] == struct.pack("!HH", 40000, 53)
    assert packet[104:112] == bytes.fromhex("11 00 0029 feedbeef")


def test_tags_stand_outermost_first() -> None:
    frame = ethernet(ipv4(Udp(b"")), tags=(Tag(0x88A8, 7), Tag(0x8100, 0xB123)))
    assert frame[12:22] == bytes.fromhex("88a8 0007 8100 b123 0800")


def test_a_half_done_checksum_is_the_sum_of_the_pseudo_header() -> None:
    wire = Udp(b"abc", checksum=Checksum.HALF_DONE).wire(CLIENT4, SERVER4)
    pseudo = bytes([192, 0, 2, 1, 198, 51, 100, 53, 0, 17, 0, 11])
    assert int.from_bytes(wire[6:8], "big") == _sum(pseudo)
