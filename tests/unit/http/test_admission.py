"""Who gets in where a listener is full, and who leaves for it."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from xdpctl.http.transport.admission import (
    CONTROL_MAX,
    TCP_MAX,
    TCP_PEER_MAX,
    Admission,
    Peer,
    tcp_peer,
)

NEAR = tcp_peer("127.0.0.1")
FAR = tcp_peer("192.0.2.1")
OTHER = tcp_peer("192.0.2.2")
THIRD = tcp_peer("192.0.2.3")
ROOT = Peer("uid 0", CONTROL_MAX, "root")
USER = Peer("uid 1000", CONTROL_MAX)


@dataclass(eq=False)
class Standing:
    """A connection as the table sees it."""

    idle_since: float | None
    ended: bool = False

    def abort(self) -> None:
        self.ended = True


def fill(table: Admission, peer: Peer, count: int, *, idle: bool = True) -> list[Standing]:
    """Let connections in; the first has been idle longest."""
    guests = [Standing(float(number) if idle else None) for number in range(count)]
    for guest in guests:
        assert table.admit(peer, guest) is True
    return guests


def test_a_peer_that_has_all_it_may_have_loses_its_idlest() -> None:
    table = Admission(TCP_MAX)
    first, *others = fill(table, FAR, TCP_PEER_MAX)
    assert table.admit(FAR, Standing(99.0)) is first
    assert first.ended
    assert not any(guest.ended for guest in others)


def test_where_it_is_full_the_peer_with_the_most_makes_room() -> None:
    table = Admission(TCP_MAX)
    most = fill(table, FAR, TCP_PEER_MAX)
    fill(table, OTHER, TCP_PEER_MAX - 1)
    few = fill(table, THIRD, 1)
    newcomer = Standing(None)
    assert table.admit(NEAR, newcomer) is most[0]
    assert not few[0].ended
    assert len(table.guests()) == TCP_MAX


def test_connections_that_are_worked_on_stay_and_a_new_one_is_refused() -> None:
    table = Admission(TCP_MAX)
    guests = fill(table, NEAR, TCP_MAX, idle=False)
    assert table.admit(NEAR, Standing(1.0)) is False
    assert table.admit(FAR, Standing(1.0)) is False
    assert not any(guest.ended for guest in guests)


def test_nobody_takes_roots_room() -> None:
    table = Admission(CONTROL_MAX)
    fill(table, USER, CONTROL_MAX, idle=False)
    assert table.admit(USER, Standing(1.0)) is False
    assert table.admit(ROOT, Standing(None)) is True


def test_who_left_makes_room() -> None:
    table = Admission(TCP_MAX)
    guests = fill(table, FAR, TCP_PEER_MAX, idle=False)
    table.leave(FAR, guests[0])
    table.leave(FAR, guests[0])
    assert table.admit(FAR, Standing(None)) is True


def test_the_idlest_of_all_is_closed_for_a_descriptor() -> None:
    table = Admission(TCP_MAX)
    assert not table.evict()
    fill(table, FAR, 2, idle=False)
    assert not table.evict()
    guest = fill(table, NEAR, 2)[0]
    assert table.evict()
    assert guest.ended


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("127.0.0.1", "127.9.9.9", True),
        ("::1", "127.0.0.1", True),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
def test_a_peer_is_an_address_or_a_64_of_ipv6(one: str, other: str, *, same: bool) -> None:
    assert (tcp_peer(one) == tcp_peer(other)) is same


def test_loopback_may_have_all() -> None:
    assert (NEAR.most, FAR.most) == (64, 32)
