"""Nobody is answered whom no stack would answer, over a real wire.

Everybody is to come over TCP here. A truncated answer sent to a group, to ourselves or to a
server would be a weapon: against a segment, against this host, or a loop between two filters
(CVE-2024-2169).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.lab import Lab, Service
from tests.lab.wire import Wire, mac
from tests.packets.build import BROADCAST_MAC, MULTICAST_MAC, Udp, ethernet, ipv4, ipv6
from tests.packets.message import QR, RD, TC, edns_query, opcode, opt, padding, query

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.wire import Reply

pytestmark = pytest.mark.root

CLIENT = {4: "192.0.2.1", 6: "2001:db8::1"}
SERVER = {4: "192.0.2.53", 6: "2001:db8::53"}
AWAIT_SECONDS = 0.3
LONG = edns_query("www.example", opt(options=padding(100)))
"""A query with room for any answer."""

ODD_ADDRESSES = (
    "0.0.0.0",  # noqa: S104 - a packet's address, nothing is bound to it
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "ff02::1",
    "ff0e::fb",
    "::ffff:127.0.0.1",
    "::ffff:192.0.2.1",
)

MESSAGES = {
    "a response": query("www.example", flags=QR | RD),
    "a truncated answer": query("www.example", flags=QR | TC | RD),
    "a response without a question": query("www.example", flags=QR, counts=(0, 0, 0, 0))[:12],
    **{f"OPCODE {number}": query("www.example", flags=opcode(number)) for number in range(1, 16)},
    "QDCOUNT 0": query("www.example", counts=(0, 0, 0, 0)),
    "QDCOUNT 2": query("www.example", counts=(2, 0, 0, 0), behind=query("www.example")[12:]),
}


class Scene:
    """A client whose frames are of any kind, and a filter that sends everybody to TCP."""

    def __init__(self, lab: Lab) -> None:
        client, server = lab.pair()
        self.macs = {"source": mac(client), "destination": mac(server)}
        self.service = Service(server, "--mode", "native")
        done = self.service.verb("block", "0.0.0.0/0", "::/0", "--action", "truncate", "--force")
        assert done.returncode == 0, done.stderr
        time.sleep(0.1)
        self.wire = Wire(client)

    def frame(
        self,
        version: int,
        *,
        message: bytes = LONG,
        source: str = "",
        destination: str = "",
        macs: dict[str, bytes] | None = None,
    ) -> bytes:
        """Return the frame of a message, ordinary but for what is given."""
        build = ipv4 if version == 4 else ipv6
        packet = build(
            Udp(message),
            source=source or CLIENT[version],
            destination=destination or SERVER[version],
        )
        ends = self.macs | (macs or {})
        return ethernet(packet, source=ends["source"], destination=ends["destination"])

    def answers(self, *frames: bytes) -> list[Reply]:
        """Send frames and an ordinary query behind them; return what is heard before its answer."""
        last = self.frame(4, message=query("last.example", ident=0x1A57))
        self.wire.send([*frames, last])
        heard: list[Reply] = []
        deadline = time.monotonic() + 5
        while not any(reply.ident == 0x1A57 for reply in heard):
            assert time.monotonic() < deadline, "the ordinary query was not answered"
            heard += self.wire.receive(AWAIT_SECONDS)
        return [reply for reply in heard if reply.ident != 0x1A57]


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with Lab() as lab:
        yield Scene(lab)


versions = pytest.mark.parametrize("version", [4, 6])


@versions
def test_an_ordinary_query_is_sent_to_tcp(scene: Scene, version: int) -> None:
    frame = scene.frame(version)
    (answer,) = scene.answers(frame)
    assert answer.is_truncated
    assert (answer.source, answer.destination) == (SERVER[version], CLIENT[version])
    assert answer.size <= len(frame)


@pytest.mark.parametrize("address", ODD_ADDRESSES)
def test_an_odd_source_is_never_answered(scene: Scene, address: str) -> None:
    version = 6 if ":" in address else 4
    assert scene.answers(scene.frame(version, source=address)) == []


@pytest.mark.parametrize("address", ODD_ADDRESSES)
def test_an_odd_destination_never_answers(scene: Scene, address: str) -> None:
    version = 6 if ":" in address else 4
    assert scene.answers(scene.frame(version, destination=address)) == []


@versions
def test_nobody_answers_for_a_packet_from_its_own_address(scene: Scene, version: int) -> None:
    assert scene.answers(scene.frame(version, source=SERVER[version])) == []


@versions
@pytest.mark.parametrize("group", [BROADCAST_MAC, MULTICAST_MAC, bytes.fromhex("3333000000fb")])
@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_group_mac_on_either_side_is_never_answered(
    scene: Scene, version: int, group: bytes, end: str
) -> None:
    assert scene.answers(scene.frame(version, macs={end: group})) == []


@versions
@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_no_query_is_never_answered(
    scene: Scene, version: int, message: str
) -> None:
    assert scene.answers(scene.frame(version, message=MESSAGES[message])) == []
