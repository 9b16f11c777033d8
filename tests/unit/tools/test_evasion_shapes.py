"""The table of evasion shapes is whole: each has its name, frames and versions."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import dns.name
import pytest

from tests.evasion.fragments import SHAPES as FRAGMENTS
from tests.evasion.messages import PLAIN
from tests.evasion.shape import Ask, Syn
from tests.evasion.table import SHAPES
from tests.evasion.zones import FRONTS
from tests.evasion.zones import SHAPES as IN_ZONES
from tests.lab.wire import Reply, reply
from tests.packets.build import (
    CLIENT4,
    CLIENT6,
    CLIENT_MAC,
    SERVER4,
    SERVER6,
    SERVER_MAC,
    TCP,
    Raw,
    Tag,
    Udp,
    ethernet,
    internet_checksum,
    ipv4,
    ipv6,
)
from tests.packets.message import QR, RD, TC, query, question, record

ASKS = {
    4: Ask(4, CLIENT4, SERVER4, CLIENT_MAC, SERVER_MAC, "bad.example", 4711, 815),
    6: Ask(6, CLIENT6, SERVER6, CLIENT_MAC, SERVER_MAC, "bad.example", 4711, 815),
}


def test_every_shape_has_a_name_of_its_own() -> None:
    assert [
        name for name, count in Counter(variant.name for variant in SHAPES).items() if count > 1
    ] == []


def test_every_shape_of_the_trials_has_a_family() -> None:
    """143 shapes were tried against the program that was evaded."""
    assert len(SHAPES) > 143


@pytest.mark.parametrize("version", [4, 6])
def test_every_shape_fits_an_ethernet(version: int) -> None:
    for variant in (*SHAPES, *IN_ZONES):
        if version in variant.versions:
            frames = variant.frames(ASKS[version])
            assert frames, variant.name
            assert all(14 < len(frame) <= 1514 for frame in frames), variant.name


def test_names_below_a_zone_are_whole_names_that_end_in_it() -> None:
    wire = ASKS[4].wire_name
    for text, front in FRONTS.items():
        whole = front(wire) + wire
        assert len(whole) <= 255, text
        assert dns.name.from_wire(whole, 0)[0].is_subdomain(dns.name.from_wire(wire, 0)[0]), text
        assert dns.name.from_wire(whole, 0)[1] == len(whole), text
    assert max(len(front(wire) + wire) for front in FRONTS.values()) == 255


def test_every_shape_of_names_below_a_zone_has_a_name_of_its_own() -> None:
    names = [variant.name for variant in IN_ZONES]
    assert len(names) == len(set(names))


def test_the_plain_shape_is_an_ordinary_query() -> None:
    asked = ipv4(Udp(query("bad.example", ident=815), sport=4711))
    assert PLAIN.frames(ASKS[4]) == [ethernet(asked)]


def test_clean_fragments_hold_the_datagram_and_nothing_else() -> None:
    (shape,) = (variant for variant in FRAGMENTS if variant.name == "two fragments at 24")
    ask = ASKS[4]
    first, second = (frame[34:] for frame in shape.frames(ask))
    assert (len(first), first + second) == (24, ask.data)


def test_shapes_for_any_protocol_never_ask_where_a_syn_is_wanted() -> None:
    for version, ask in ASKS.items():
        syn = replace(ask, protocol=TCP)
        for variant in SHAPES:
            if variant.any_protocol and version in variant.versions:
                assert ask.wire_name not in b"".join(variant.frames(syn)), variant.name


def test_a_syn_has_its_right_checksum() -> None:
    segment = Syn(4711).wire(CLIENT4, SERVER4)
    pseudo = bytes([192, 0, 2, 1, 198, 51, 100, 53, 0, 6]) + len(segment).to_bytes(2)
    assert internet_checksum(pseudo + segment) == 0


ANSWER = query(
    "bad.example",
    flags=QR | RD,
    counts=(1, 1, 0, 0),
    behind=record(b"\xc0\x0c", 1, b"\1\2\3\4"),
)


def heard(message: bytes, *, sport: int = 53) -> Reply | None:
    """Return what a message from the server is taken for."""
    datagram = Udp(message, sport=sport, dport=4711)
    return reply(ethernet(ipv6(datagram, source=SERVER6, destination=CLIENT6), tags=(Tag(),)))


def test_an_answer_with_a_record_is_positive() -> None:
    answer = heard(ANSWER)
    assert answer is not None
    assert (answer.source, answer.destination, answer.port) == (SERVER6, CLIENT6, 4711)
    assert (answer.ident, answer.is_positive, answer.is_truncated) == (0x1234, True, False)
    assert question("bad.example") in answer.message


@pytest.mark.parametrize(
    "message",
    [
        query("bad.example", flags=QR),
        ANSWER[:3] + b"\x05" + ANSWER[4:],
        query("bad.example", flags=QR | TC, counts=(1, 1, 0, 0)),
    ],
    ids=["no record", "refused", "truncated"],
)
def test_an_answer_without_what_was_asked_is_not(message: bytes) -> None:
    answer = heard(message)
    assert answer is not None
    assert not answer.is_positive


def test_padding_behind_an_answer_is_no_part_of_it() -> None:
    frame = ethernet(ipv4(Udp(ANSWER, sport=53, dport=4711))) + bytes(20)
    answer = reply(frame)
    assert answer is not None
    assert answer.message == ANSWER


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        ethernet(bytes(28), ethertype=0x0806),
        ethernet(ipv4(Udp(query("bad.example"), sport=53))),
        ethernet(ipv4(Udp(ANSWER, sport=5353))),
        ethernet(ipv4(Raw(TCP, bytes(4)))),
        ethernet(ipv6(Raw(TCP, b"\0\x35\x12\x67" + bytes(8) + b"\x50\x04" + bytes(6)))),
    ],
    ids=["nothing", "ARP", "a query", "another port", "TCP cut short", "a reset"],
)
def test_anything_else_is_no_reply(frame: bytes) -> None:
    assert reply(frame) is None


def test_a_syn_ack_is_a_positive_reply() -> None:
    segment = b"\0\x35\x12\x67" + bytes(8) + b"\x50\x12" + bytes(6)
    answer = reply(ethernet(ipv4(Raw(TCP, segment), source=SERVER4, destination=CLIENT4)))
    assert answer is not None
    assert (answer.port, answer.is_syn_ack, answer.is_positive) == (4711, True, True)
