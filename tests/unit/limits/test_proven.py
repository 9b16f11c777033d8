"""How long a proof lasts, and what becomes of this host's own addresses.

Where a source is in the table is held against the program in tests/unit/program/test_proof.py.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest

from xdpctl.abi import (
    LIMITS_SECRETS_SIZE,
    PROVEN_LINE_SIZE,
    LimitValues,
    encode_limits,
    encode_limits_kept,
)
from xdpctl.limits.proven import ProvenSources, lifetime_units

OWN = (IPv4Address("192.0.2.53"), IPv6Address("2001:db8::53"))
GUEST = IPv4Address("198.51.100.1")
LINES = 64
KEPT = encode_limits_kept(64, LINES, bytes(range(LIMITS_SECRETS_SIZE)))


@pytest.fixture
def proven() -> ProvenSources:
    """An empty table; a proof lasts for 10 units, and time stands still."""
    lines = memoryview(bytearray(LINES * PROVEN_LINE_SIZE))
    return ProvenSources(lines, encode_limits(LimitValues()) + KEPT, lambda: 1 << 40, lambda: 10)


def test_own_addresses_are_taken_out_but_not_with_the_neighbours_of_their_56(
    proven: ProvenSources,
) -> None:
    neighbour = IPv6Address("2001:db8::1")
    for address in (OWN[0], GUEST, neighbour):
        proven.prove(address)
    proven.unprove_own(OWN)
    assert [proven.is_proven(address) for address in (OWN[0], GUEST, neighbour)] == [
        False,
        True,
        True,
    ]


def test_sources_that_are_named_are_taken_out(proven: ProvenSources) -> None:
    for address in (*OWN, GUEST):
        proven.prove(address)
    assert proven.unprove_all(OWN) == 2
    assert [proven.is_proven(address) for address in (*OWN, GUEST)] == [False, False, True]


@pytest.mark.parametrize(
    ("ticks", "is_proven"),
    [(-256, True), (0, True), (9 * 256, True), (10 * 256, False), (-512, False)],
)
def test_a_proof_that_a_program_wrote_a_unit_ahead_counts(ticks: int, *, is_proven: bool) -> None:
    now = [1 << 40]
    lines = memoryview(bytearray(LINES * PROVEN_LINE_SIZE))
    table = ProvenSources(lines, encode_limits(LimitValues()) + KEPT, lambda: now[0], lambda: 10)
    table.prove(GUEST)
    now[0] += ticks
    assert table.is_proven(GUEST) is is_proven
    assert table.count() == is_proven


def test_a_second_proof_is_the_same_entry(proven: ProvenSources) -> None:
    proven.prove(GUEST)
    proven.prove(GUEST)
    assert proven.count() == 1


def test_who_was_never_proven_is_not_taken_out(proven: ProvenSources) -> None:
    assert not proven.unprove(GUEST)


@pytest.mark.parametrize(
    ("seconds", "hz", "units"),
    [
        (24 * 3600, 100, 33_750),
        (24 * 3600, 1000, 337_500),
        (1, 100, 1),  # shorter than what is counted
        (10**9, 1000, 2**23 - 1),  # longer than what is counted
    ],
)
def test_a_lifetime_is_counted_in_256_ticks(seconds: int, hz: int, units: int) -> None:
    assert lifetime_units(seconds, hz) == units
