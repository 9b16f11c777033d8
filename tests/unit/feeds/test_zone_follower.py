"""A zone list is what the primary has and the service took; whatever fails, nothing changes."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.fake_primary import PRIMARY, ZONE, FakePrimary, Reply, soa
from xdpctl.errors import StateError, TransferError
from xdpctl.feeds.zone.follower import ListFollower
from xdpctl.feeds.zone.messages import Asked, ListZone, LookResult, Offered, Verdict
from xdpctl.feeds.zone.records import ZoneRecords
from xdpctl.transfers.channel import Bounds
from xdpctl.transfers.client import Primary, PrimaryClient
from xdpctl.transfers.key_file import TsigKey
from xdpctl.transfers.primaries import Fetched, fetch

if TYPE_CHECKING:
    import socket
    from ipaddress import IPv6Address

NUMBER = 7


class Service:
    """Takes what is offered, and says of each what `verdicts` says next; GOOD at their end."""

    def __init__(self, *verdicts: Verdict) -> None:
        self.verdicts = [*verdicts]
        self.offered: list[Offered] = []
        self.versions: list[set[bytes]] = []

    def offer(self, offered: Offered) -> None:
        with ZoneRecords(offered.path) as records:
            assert (records.soa, records.count) == (offered.soa, offered.records)
            self.versions.append({each.key for each in records.records()})
        self.offered.append(offered)

    def verdict(self, offered: Offered) -> Verdict:
        assert offered is self.offered[-1]
        return self.verdicts.pop(0) if self.verdicts else Verdict.GOOD


class Followed:
    """A follower, its service, and the primaries that it asks."""

    def __init__(
        self,
        directory: Path,
        *replies: Reply,
        service: Service | None = None,
        bounds: Bounds | None = None,
        **zone: Any,  # noqa: ANN401 - fields of ListZone
    ) -> None:
        self.now = 1_000.0
        self.service = service or Service()
        self.primary = FakePrimary(*replies)
        self.zone = ListZone(
            NUMBER, ZONE, zone.pop("primaries", (PRIMARY,)), directory / "list", **zone
        )

        def transfer(*arguments: Any, **options: Any) -> Fetched:  # noqa: ANN401
            options["bounds"] = bounds or Bounds(idle=30.0)
            options["client"] = lambda primary, bound: PrimaryClient(
                primary, bound, opener=self.primary.open
            )
            return fetch(*arguments, **options)

        self.follower = ListFollower(
            self.zone, self.service, clock=lambda: self.now, transfer=transfer
        )


def a(name: str) -> str:
    return f"{name}.example.com. 60 IN CNAME rpz-drop."


WHOLE = [Reply([[soa(3)]]), Reply([[soa(3), a("a"), a("b.c"), soa(3)]])]
KEYS = {b"\x01a", b"\x01c\x01b"}


def step(serial: int, *add: str, drop: tuple[str, ...] = ()) -> list[Reply]:
    """Return what a primary answers that goes one serial further."""
    steps = [soa(serial), soa(serial - 1), *drop, soa(serial), *add, soa(serial)]
    return [Reply([[soa(serial)]]), Reply([steps])]


def test_a_zone_is_offered_whole_then_its_changes(tmp_path: Path) -> None:
    one = Followed(tmp_path, *WHOLE, *step(4, a("new"), drop=(a("a"),)), Reply([[soa(4)]]))
    first = one.follower.begin()
    assert (first.result, first.soa, first.contact) == (LookResult.KEPT, None, 0.0)
    looked = one.follower.look()
    assert (looked.asked, looked.result, looked.records) == (Asked.AXFR, LookResult.GOOD, 2)
    looked = one.follower.look()
    assert (looked.asked, looked.result, looked.error) == (Asked.IXFR, LookResult.GOOD, "")
    assert looked.soa is not None
    assert looked.soa.serial == 4
    assert one.service.versions == [KEYS, {b"\x03new", b"\x01c\x01b"}]
    assert [each.base for each in one.service.offered] == [None, 3]
    assert one.service.offered[1].touched == 2
    one.now = 2000.0
    looked = one.follower.look()
    assert (looked.asked, looked.result, looked.contact) == (Asked.SOA, LookResult.CURRENT, 2000.0)
    assert len(one.service.offered) == 2


def test_the_last_good_version_is_offered_before_the_network_is_there(tmp_path: Path) -> None:
    Followed(tmp_path, *WHOLE).follower.look()
    one = Followed(tmp_path, Reply([[]], rcode=5))
    began = one.follower.begin()
    assert (began.asked, began.result, began.records) == (Asked.NOTHING, LookResult.KEPT, 2)
    assert (one.service.versions, began.contact) == ([KEYS], 1000.0)
    one.now += 7 * 24 * 3600
    failed = one.follower.look()
    assert (failed.result, failed.contact) == (LookResult.FAILED, 1000.0)
    assert failed.soa == began.soa
    assert "refuses" in failed.error


def test_it_is_kept_up_by_changes_after_a_start(tmp_path: Path) -> None:
    Followed(tmp_path, *WHOLE).follower.look()
    one = Followed(tmp_path, *step(4, a("new")))
    one.follower.begin()
    assert one.follower.look().asked is Asked.IXFR
    assert one.service.versions[-1] == KEYS | {b"\x03new"}


def test_changes_that_do_not_fit_lead_to_the_whole_zone(tmp_path: Path) -> None:
    again = Reply([[soa(4), a("x"), soa(4)]])
    one = Followed(tmp_path, *WHOLE, *step(4, drop=(a("nobody"),)), again)
    one.follower.look()
    assert one.follower.look().asked is Asked.AXFR
    assert one.service.versions[-1] == {b"\x01x"}


def test_a_refused_version_waits_until_it_is_asked_for(tmp_path: Path) -> None:
    current = Reply([[soa(4)]])
    one = Followed(
        tmp_path,
        *(*WHOLE, *step(4, drop=(a("a"), a("b.c"))), current, current),
        service=Service(Verdict.GOOD, Verdict.REFUSED),
    )
    one.follower.look()
    looked = one.follower.look()
    assert (looked.result, looked.asked, looked.error) == (LookResult.REFUSED, Asked.IXFR, "")
    assert looked.soa is not None
    assert looked.soa.serial == 3
    assert one.follower.look().result is LookResult.CURRENT
    assert len(one.service.offered) == 2
    looked = one.follower.look(asked=True)
    assert (looked.result, looked.asked, looked.records) == (LookResult.GOOD, Asked.IXFR, 0)
    assert one.service.offered[2] == one.service.offered[1]


def test_what_comes_after_a_refused_version_begins_with_the_good_one(tmp_path: Path) -> None:
    steps = [soa(5), soa(3), a("a"), soa(4), soa(4), soa(5), a("z"), soa(5)]
    one = Followed(
        tmp_path,
        *(*WHOLE, *step(4, drop=(a("a"), a("b.c"))), Reply([[soa(5)]]), Reply([steps])),
        service=Service(Verdict.GOOD, Verdict.REFUSED),
    )
    one.follower.look()
    one.follower.look()
    assert one.follower.look().result is LookResult.GOOD
    assert one.service.offered[-1].base == 3
    assert one.service.versions[-1] == {b"\x01c\x01b", b"\x01z"}


def test_a_refused_version_that_the_primary_takes_back_is_forgotten(tmp_path: Path) -> None:
    old = Reply([[soa(3)]])
    one = Followed(
        tmp_path,
        *(*WHOLE, *step(4, drop=(a("a"),)), old, old),
        service=Service(Verdict.GOOD, Verdict.REFUSED),
    )
    for result in (LookResult.GOOD, LookResult.REFUSED, LookResult.CURRENT):
        assert one.follower.look().result is result
    assert one.follower.look(asked=True).result is LookResult.CURRENT
    assert len(one.service.offered) == 2


def test_a_version_that_could_not_be_applied_is_offered_again(tmp_path: Path) -> None:
    one = Followed(tmp_path, *WHOLE, WHOLE[0], service=Service(Verdict.FAILED))
    failed = one.follower.look()
    assert (failed.result, failed.soa) == (LookResult.FAILED, None)
    looked = one.follower.look()
    assert (looked.asked, looked.result) == (Asked.AXFR, LookResult.GOOD)
    assert one.service.versions == [KEYS, KEYS]


def test_the_version_of_before_is_offered_again_too(tmp_path: Path) -> None:
    Followed(tmp_path, *WHOLE).follower.look()
    one = Followed(tmp_path, Reply([[soa(3)]]), service=Service(Verdict.FAILED))
    one.follower.begin()
    assert one.follower.look().result is LookResult.GOOD
    assert one.service.versions == [KEYS, KEYS]


def test_a_file_that_the_service_cannot_read_is_transferred_again(tmp_path: Path) -> None:
    Followed(tmp_path, *WHOLE).follower.look()
    one = Followed(tmp_path, *WHOLE, service=Service(Verdict.BROKEN))
    assert one.follower.begin().soa is None
    assert one.follower.look().asked is Asked.AXFR


@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_file_that_somebody_removed_is_written_again(
    tmp_path: Path, *, is_replaced: bool
) -> None:
    one = Followed(tmp_path, *WHOLE, *WHOLE, *step(4, a("new")))
    one.follower.look()
    path = tmp_path / "list.zone"
    if is_replaced:
        (tmp_path / "copy").write_bytes(path.read_bytes())
        (tmp_path / "copy").replace(path)
    else:
        path.unlink()
    looked = one.follower.look()
    assert (looked.asked, looked.result, looked.error) == (Asked.AXFR, LookResult.GOOD, "")
    assert one.follower.look().asked is Asked.IXFR


def test_a_file_that_is_damaged_meanwhile_is_transferred_again(tmp_path: Path) -> None:
    many = [a(f"n{number}") for number in range(2000)]
    whole = [Reply([[soa(3)]]), Reply([[soa(3), *many, soa(3)]])]
    one = Followed(tmp_path, *whole, *step(4, drop=tuple(many[::50])), *whole)
    one.follower.look()
    path = tmp_path / "list.zone"
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(bytes(path.stat().st_size - 4096))
    one.follower._files._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
    failed = one.follower.look()
    assert (failed.result, failed.soa) == (LookResult.FAILED, None)
    assert "malformed" in failed.error
    assert one.follower.look().asked is Asked.AXFR


def test_an_operator_can_have_the_whole_zone_even_of_an_older_serial(tmp_path: Path) -> None:
    older = [Reply([[soa(2)]]), Reply([[soa(2), a("x"), soa(2)]])]
    one = Followed(tmp_path, *WHOLE, older[0], *older)
    one.follower.look()
    assert "older than version 3" in one.follower.look().error
    looked = one.follower.look(asked=True, whole=True)
    assert (looked.result, looked.soa and looked.soa.serial) == (LookResult.GOOD, 2)


OTHER = TsigKey(PRIMARY.key.name, "hmac-sha256", b"another secret!!") if PRIMARY.key else None
NEWER = Reply([[soa(4)]])
NEXT = [[soa(4), soa(3), a("a")], [soa(4), a("x"), soa(4)]]


@pytest.mark.parametrize(
    ("replies", "complaint", "asked"),
    [
        ([Reply([[]], rcode=5)], "refuses", Asked.SOA),
        ([replace(NEWER, key=None)], "not signed", Asked.SOA),
        ([Reply([], hold=True)], "sent nothing for", Asked.SOA),
        ([Reply([[soa(2)]])], "older than version 3", Asked.SOA),
        ([NEWER, Reply(NEXT, key=None)], "not signed", Asked.IXFR),
        ([NEWER, Reply(NEXT, key=OTHER)], "signature is wrong", Asked.IXFR),
        ([NEWER, Reply(NEXT, signed=frozenset({0}))], "last message .* not signed", Asked.IXFR),
        ([NEWER, Reply(NEXT[:1])], "closed the connection before", Asked.IXFR),
        ([NEWER, Reply(NEXT[:1], hold=True)], "sent nothing for", Asked.IXFR),
        ([NEWER, Reply([[soa(4), soa(3), soa(3)]])], "lead from serial 3 to 3", Asked.IXFR),
        (
            [NEWER, Reply([[soa(4), "a.example.net. 60 IN CNAME ."]])],
            "another zone",
            Asked.IXFR,
        ),
        ([NEWER, Reply([[soa(4), *[a("x")] * 300, soa(4)]])], "more records than", Asked.IXFR),
        (
            [NEWER, Reply([[soa(4), a("x"), soa(4)]], mangle=lambda _, octets: octets[:-9])],
            "does not end",
            Asked.IXFR,
        ),
    ],
)
def test_a_bad_primary_changes_nothing(
    tmp_path: Path, replies: list[Reply], complaint: str, asked: Asked
) -> None:
    Followed(tmp_path, *WHOLE).follower.look()
    idle = 0.2 if any(reply.hold for reply in replies) else 30.0
    one = Followed(tmp_path, *replies, bounds=Bounds(idle=idle, records=300))
    one.follower.begin()
    file = (tmp_path / "list.zone").read_bytes()
    failed = one.follower.look()
    one.primary.close()
    assert (failed.result, failed.asked) == (LookResult.FAILED, asked)
    with pytest.raises(TransferError, match=complaint):
        raise TransferError(failed.error)
    assert "\n" not in failed.error
    assert len(one.service.offered) == 1
    assert ((tmp_path / "list.zone").read_bytes(), [*tmp_path.iterdir()]) == (
        file,
        [tmp_path / "list.zone"],
    )


def test_a_bad_primary_is_left_for_the_next_one(tmp_path: Path) -> None:
    one = Followed(tmp_path, Reply([[]], rcode=2), *WHOLE, primaries=(PRIMARY, SECOND))
    assert one.follower.look().result is LookResult.GOOD


def watched(one: Followed) -> list[IPv4Address | IPv6Address]:
    """Return a list that gets the address of each connection."""
    asked: list[IPv4Address | IPv6Address] = []
    opened = one.primary.open

    def noted(address: IPv4Address | IPv6Address, port: int, wait: float) -> socket.socket:
        asked.append(address)
        return opened(address, port, wait)

    one.primary.open = noted  # type: ignore[method-assign, assignment]
    return asked


SECOND = Primary(IPv4Address("192.0.2.54"), key=PRIMARY.key)


def test_who_sends_a_notify_is_asked_first(tmp_path: Path) -> None:
    """The first primary has nothing yet; its answer would end the look."""
    one = Followed(tmp_path, *WHOLE, primaries=(PRIMARY, SECOND))
    asked = watched(one)
    one.follower.look(notifier=SECOND.address)
    assert asked == [SECOND.address] * 2


def test_a_primary_that_failed_is_asked_last_for_a_while(tmp_path: Path) -> None:
    current = Reply([[soa(3)]])
    refuses = Reply([[]], rcode=2)
    one = Followed(tmp_path, refuses, *WHOLE, current, current, primaries=(PRIMARY, SECOND))
    asked = watched(one)
    one.follower.look()
    assert asked == [PRIMARY.address, SECOND.address, SECOND.address]
    one.follower.look()
    one.now += 300.0
    one.follower.look()
    assert asked[3:] == [SECOND.address, PRIMARY.address]


def test_without_a_primary_the_version_of_before_is_all(tmp_path: Path) -> None:
    Followed(tmp_path, *WHOLE).follower.look()
    one = Followed(tmp_path, primaries=())
    one.follower.begin()
    looked = one.follower.look()
    assert (looked.asked, looked.result) == (Asked.NOTHING, LookResult.CURRENT)
    assert one.service.versions == [KEYS]


@pytest.mark.parametrize(
    ("refresh", "address", "least", "most"),
    [
        (None, "192.0.2.53", 54.0, 66.0),  # the SOA's
        (10.0, "192.0.2.53", 9.0, 11.0),
        (1.0, "192.0.2.53", 4.5, 5.5),
        (0.1, "127.0.0.1", 0.9, 1.1),
        (86400.0, "192.0.2.53", 3240.0, 3960.0),
    ],
)
def test_the_next_look_is_as_the_settings_or_the_soa_say(
    tmp_path: Path, refresh: float | None, address: str, least: float, most: float
) -> None:
    primary = Primary(IPv4Address(address), key=PRIMARY.key)
    refuses = Reply([[]], rcode=5)
    one = Followed(tmp_path, *WHOLE, refuses, refresh=refresh, primaries=(primary,))
    assert least <= one.follower.look().next_seconds <= most
    failed = one.follower.look().next_seconds
    assert failed <= most
    assert failed >= min(least, 27.0)  # the SOA's retry is half a minute


def test_a_disk_that_fails_is_one_sentence_and_the_version_is_offered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = Followed(tmp_path, *WHOLE, *WHOLE)

    def full() -> None:
        raise StateError("cannot write: the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(one.follower._files, "sync", full)
        failed = one.follower.look()
    assert (failed.result, failed.error) == (LookResult.FAILED, "cannot write: the disk is full")
    assert one.follower.look().result is LookResult.GOOD


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nothing_that_somebody_changed_on_the_way_is_taken(data: st.DataObject) -> None:
    """Any octets of signed messages change: either nothing follows, or they meant nothing."""
    message = data.draw(st.integers(0, 2))
    changes = data.draw(
        st.lists(st.tuples(st.integers(0, 400), st.integers(1, 255)), min_size=1, max_size=3)
    )
    cut = data.draw(st.sampled_from([0, 0, 1, 30]))

    def mangled(number: int, octets: bytes) -> bytes:
        if number != message:
            return octets
        wire = bytearray(octets)
        for at, change in changes:
            wire[at % len(wire)] ^= change
        return bytes(wire[: len(wire) - cut])

    steps = [[soa(4), soa(3), a("a")], [soa(4), a("x"), a("b.x")], [a("y"), soa(4)]]
    with tempfile.TemporaryDirectory() as directory:
        one = Followed(
            Path(directory),
            *(*WHOLE, NEWER, Reply(steps, mangle=mangled), *(Reply(steps, mangle=mangled),) * 2),
        )
        one.follower.look()
        looked = one.follower.look()
    if looked.result is not LookResult.FAILED:
        assert one.service.versions[-1] == {b"\x01c\x01b", b"\x01x", b"\x01x\x01b", b"\x01y"}
    else:
        assert one.service.versions == [KEYS]
        assert looked.error
