"""One primary is asked: signed answers are taken, every other one changes nothing."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_primary import KEY, PRIMARY, UNSIGNED, ZONE, FakePrimary, Reply, soa
from xdpctl.errors import TransferError
from xdpctl.rules.names import Name
from xdpctl.transfers.channel import Bounds, Channel
from xdpctl.transfers.client import Primary, PrimaryClient
from xdpctl.transfers.key_file import TsigKey
from xdpctl.transfers.records import RecordType
from xdpctl.transfers.stream import Kind

if TYPE_CHECKING:
    from xdpctl.transfers.client import Transfer

QUICK = Bounds(idle=30.0)


def names_of(
    reply: Reply,
    have: int | None = None,
    primary: Primary = PRIMARY,
    bounds: Bounds = QUICK,
) -> tuple[Kind, list[tuple[bool, str]]]:
    """Return the kind and the changes of a transfer."""
    fake = FakePrimary(reply)
    client = PrimaryClient(primary, bounds, opener=fake.open)
    changes: list[tuple[bool, str]] = []

    def take(transfer: Transfer) -> None:
        changes.extend((change.added, Name(change.record.owner).to_text()) for change in transfer)

    try:
        return client.transfer(ZONE, have, take).kind, changes
    finally:
        fake.close()


def a(label: str) -> str:
    return f"{label}.example.com. 60 IN A 192.0.2.1"


FULL = [[soa(3), a("a")], [a("b")], [a("c"), soa(3)]]
NAMES = [(True, "a.example.com"), (True, "b.example.com"), (True, "c.example.com")]


def test_a_signed_transfer_in_several_messages() -> None:
    assert names_of(Reply(FULL)) == (Kind.FULL, NAMES)


def test_not_every_message_needs_a_signature() -> None:
    assert names_of(Reply(FULL, signed=frozenset({0, 2})))[1] == NAMES


def test_without_a_key_nothing_is_signed() -> None:
    assert names_of(Reply(FULL, key=None), primary=UNSIGNED)[1] == NAMES


def test_ixfr_says_which_serial_is_there() -> None:
    fake = FakePrimary(Reply([[soa(4), soa(3), a("x"), soa(4), a("y"), soa(4)]]))
    client = PrimaryClient(PRIMARY, QUICK, opener=fake.open)
    transfer = client.transfer(ZONE, 3, lambda found: [*found].clear())
    assert transfer.kind is Kind.CHANGES
    assert transfer.soa.serial == 4
    (asked,) = fake.asked
    assert int(asked.question[0].rdtype) == RecordType.IXFR
    assert asked.authority[0][0].serial == 3
    assert asked.had_tsig


def test_the_serial_alone_can_be_asked_for() -> None:
    fake = FakePrimary(Reply([[soa(4)]]))
    assert PrimaryClient(PRIMARY, QUICK, opener=fake.open).soa(ZONE).serial == 4


OTHER = TsigKey(KEY.name, KEY.algorithm, b"another secret!!")
STRANGER = TsigKey(Name.from_text("other.key"), KEY.algorithm, KEY.secret)


def flipped(number: int, octets: bytes) -> bytes:
    """Change an address in the second message."""
    return octets.replace(b"\xc0\0\2\1", b"\xc0\0\2\2") if number == 1 else octets


def signatures_cut(number: int, octets: bytes) -> bytes:
    """Leave out the last message's signature, and say so in the header."""
    if number != 2:
        return octets
    return octets[:10] + b"\0\0" + octets[12 : octets.index(b"\x06xdpctl")]


@pytest.mark.parametrize(
    ("reply", "complaint"),
    [
        (Reply(FULL, key=None), "not signed"),
        (Reply(FULL, key=OTHER), "signature is wrong"),
        (Reply(FULL, key=STRANGER), "does not have the key xdpctl.key"),
        (Reply(FULL, mangle=flipped), "signature is wrong"),
        (Reply(FULL, signed=frozenset({0, 1})), "last message of the answer is not signed"),
        (Reply(FULL, mangle=signatures_cut), "last message of the answer is not signed"),
        (Reply(FULL, skew=-310), "set the clocks"),
        (Reply(FULL, skew=310), "set the clocks"),
        (Reply(FULL[:2]), "closed the connection before"),
        (Reply(FULL[:2], hold=True), "sent nothing for 0.2 seconds"),
        (Reply([], hold=True), "sent nothing for 0.2 seconds"),
        (Reply([[]], rcode=5), "refuses"),
        (Reply([[]], rcode=9), "NOTAUTH"),
        (Reply([[]], rcode=15), "response code 15"),
        (Reply([[soa(3), "a.example.net. 60 IN A 192.0.2.1"]]), "another zone"),
        (Reply([[soa(3)]] + [[a("a")]] * 150, signed=frozenset({0})), "not signed"),
        (Reply(FULL, mangle=lambda _, octets: octets[:-1]), "does not end"),
        (Reply([[soa(3)], *([[]] * 50)], hold=True), "more records than"),
    ],
)
def test_an_answer_that_cannot_be_used_is_one_sentence(reply: Reply, complaint: str) -> None:
    idle = 0.2 if reply.hold else 30.0
    bounds = Bounds(idle=idle, records=200 if "records" not in complaint else 40)
    with pytest.raises(TransferError, match=complaint) as caught:
        names_of(reply, bounds=bounds)
    assert "\n" not in caught.value.sentence


@pytest.mark.parametrize(
    ("bounds", "complaint"),
    [
        (Bounds(idle=1.0, messages=2), "more than 2 messages"),
        (Bounds(idle=1.0, octets=100), "more than 100 octets"),
        (Bounds(idle=1.0, records=2), "more records than"),
    ],
)
def test_an_answer_is_bounded(bounds: Bounds, complaint: str) -> None:
    with pytest.raises(TransferError, match=complaint):
        names_of(Reply(FULL), bounds=bounds)


def test_a_primary_that_trickles_does_not_hold_us() -> None:
    """The clock of the channel jumps: each octet is in time, all of them are not."""
    ours, theirs = socket.socketpair()
    ticks = iter(range(0, 1000, 4))
    with theirs, Channel(ours, Bounds(idle=5.0, seconds=10.0), lambda: next(ticks)) as channel:
        theirs.sendall(b"\0")
        with pytest.raises(TransferError, match="not whole after 10 seconds"):
            channel.receive()


def test_a_primary_that_drips_is_given_up_long_before_the_time_is_over() -> None:
    """An octet in three seconds is never silence, and 600 seconds are not over."""
    ours, theirs = socket.socketpair()
    now = [0.0]

    def later() -> float:
        now[0] += 1.5
        return now[0]

    def drip() -> None:
        with suppress(OSError):
            while True:
                theirs.sendall(b"\xff")
                time.sleep(0.01)

    threading.Thread(target=drip, daemon=True).start()
    with (
        theirs,
        Channel(ours, Bounds(idle=5.0, seconds=600.0), later) as channel,
        pytest.raises(TransferError, match="less than 2,000 octets a second"),
    ):
        channel.receive()
    assert now[0] < 30.0


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        primary = Primary(IPv4Address("127.0.0.1"), unused.getsockname()[1])
        with pytest.raises(TransferError, match="no TCP connection"):
            PrimaryClient(primary, QUICK).soa(ZONE)
