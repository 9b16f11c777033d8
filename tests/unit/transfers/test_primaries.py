"""Several primaries: the first that can is taken from, and the failures are one sentence."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING

import pytest

from tests.support.fake_primary import PRIMARY, UNSIGNED, ZONE, FakePrimary, Reply, soa
from xdpctl.errors import TransferError
from xdpctl.transfers.channel import Bounds
from xdpctl.transfers.client import Primary, PrimaryClient
from xdpctl.transfers.primaries import Fetched, UnfitChangesError, fetch
from xdpctl.transfers.stream import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xdpctl.transfers.client import Transfer

SOA = Reply([[soa(4)]])
WHOLE = Reply([[soa(4), "a.example.com. 60 IN A 192.0.2.1", soa(4)]])
STEP = Reply([[soa(4), soa(3), soa(4), "a.example.com. 60 IN A 192.0.2.1", soa(4)]])
REFUSES = Reply([[]], rcode=5)


def fetched(
    fakes: dict[Primary, FakePrimary], have: int | None, *, unfit: bool = False
) -> tuple[Fetched, list[Kind]]:
    """Return what came of asking, and the kinds of the transfers that were taken."""
    kinds: list[Kind] = []

    def client(primary: Primary, bounds: Bounds) -> PrimaryClient:
        return PrimaryClient(primary, bounds, opener=fakes[primary].open)

    def take(transfer: Transfer) -> None:
        changes: Sequence[object] = list(transfer)
        kinds.append(transfer.kind)
        if unfit and transfer.kind is Kind.CHANGES:
            raise UnfitChangesError(f"{len(changes)} changes do not fit")

    done = fetch(ZONE, list(fakes), have, take, bounds=Bounds(idle=30.0), client=client)
    return done, kinds


def test_the_first_primary_that_can_is_taken_from() -> None:
    plain = [replace(reply, key=None) for reply in (SOA, WHOLE)]
    done, kinds = fetched({PRIMARY: FakePrimary(REFUSES), UNSIGNED: FakePrimary(*plain)}, None)
    assert (done.primary, done.kind, done.soa.serial) == (UNSIGNED, Kind.FULL, 4)
    assert kinds == [Kind.FULL]


def test_nothing_is_transferred_if_nothing_is_new() -> None:
    done, kinds = fetched({PRIMARY: FakePrimary(SOA)}, 4)
    assert (done.kind, kinds) == (Kind.CURRENT, [])


def test_changes_are_asked_for_if_something_is_there() -> None:
    done, kinds = fetched({PRIMARY: FakePrimary(SOA, STEP)}, 3)
    assert (done.kind, kinds) == (Kind.CHANGES, [Kind.CHANGES])


def test_changes_that_do_not_fit_lead_to_the_whole_zone() -> None:
    done, kinds = fetched({PRIMARY: FakePrimary(SOA, STEP, WHOLE)}, 3, unfit=True)
    assert (done.kind, kinds) == (Kind.FULL, [Kind.CHANGES, Kind.FULL])


def test_a_primary_without_ixfr_gives_the_whole_zone() -> None:
    done, kinds = fetched({PRIMARY: FakePrimary(SOA, Reply([[]], rcode=4), WHOLE)}, 3)
    assert (done.kind, kinds) == (Kind.FULL, [Kind.FULL])


def test_a_version_that_is_older_is_not_taken() -> None:
    with pytest.raises(TransferError, match=r"version 4 is older than version 5, .*lists accept"):
        fetched({PRIMARY: FakePrimary(SOA)}, 5)


def test_the_sentence_names_each_primary() -> None:
    with pytest.raises(
        TransferError, match=r"cannot transfer example\.com from 192\.0\.2\.53: .*, nor from .*54: "
    ):
        fetched({PRIMARY: FakePrimary(REFUSES), UNSIGNED: FakePrimary(REFUSES)}, None)


def test_a_primary_is_written_as_the_options_take_it() -> None:
    assert str(Primary(IPv6Address("2001:db8::1"), 5353)) == "[2001:db8::1]:5353"
    assert str(PRIMARY) == "192.0.2.53"
