"""The names that exist follow the primary's zone; whatever fails, the last version stays."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.fake_primary import PRIMARY, ZONE, FakePrimary, Reply, soa
from xdpctl.abi import ZONE_BUCKET_SIZE, ZONE_BUCKET_WORDS
from xdpctl.errors import StateError, TransferError
from xdpctl.rules.names import Name
from xdpctl.transfers.channel import Bounds
from xdpctl.transfers.client import Primary, PrimaryClient
from xdpctl.transfers.primaries import Fetched, fetch
from xdpctl.transfers.records import RecordType, Soa, ZoneRecord
from xdpctl.transfers.stream import Kind
from xdpctl.zones.counting import ZoneCounting
from xdpctl.zones.follower import ZoneFollower
from xdpctl.zones.hashing import NameHash
from xdpctl.zones.image import read_image
from xdpctl.zones.messages import FollowedZone, Result
from xdpctl.zones.names import NameTable

if TYPE_CHECKING:
    from pathlib import Path

HASH = NameHash.random()
NUMBER = 3


class Kernel:
    """Memory of the kernel as the program reads it."""

    def __init__(self) -> None:
        self.given = bytearray()
        self.names = bytearray()

    def ask(self, number: int, buckets: int) -> memoryview:
        assert number == NUMBER
        self.given = bytearray(ZONE_BUCKET_SIZE * buckets)
        return memoryview(self.given)

    def put_in_force(self, number: int) -> None:
        assert number == NUMBER
        self.names = self.given

    def exists(self, text: str) -> bool:
        """Return whether the program takes a name for one that exists: its own algorithm."""
        _, mask = struct.unpack_from("=2Q", self.names)
        labels = Name.from_text(text).labels
        depth = len(ZONE.labels)
        words = struct.unpack_from(
            f"={ZONE_BUCKET_WORDS * (mask + 1)}Q", self.names, ZONE_BUCKET_SIZE
        )
        there = {word & ~3: word & 3 for word in words if word}
        for size in range(depth + 1, len(labels) + 1):
            wire = b"".join(bytes((len(label),)) + label for label in labels[-size:]) + b"\0"
            flags = there.get(HASH.tag(wire), 0)
            if flags & 2:
                return True
            if not flags:
                return False
        return True


def follower(kernel: Kernel, directory: Path, *replies: Reply, at: float = 1000.0) -> ZoneFollower:
    fake = FakePrimary(*replies)

    def transfer(*arguments: object) -> Fetched:
        return fetch(
            *arguments,  # type: ignore[arg-type]
            bounds=Bounds(idle=30.0),
            client=lambda primary, bounds: PrimaryClient(primary, bounds, opener=fake.open),
        )

    return ZoneFollower(
        FollowedZone(ZONE, (PRIMARY,), NUMBER),
        HASH,
        directory,
        kernel,
        clock=lambda: at,
        transfer=transfer,
    )


def a(name: str) -> str:
    return f"{name}.example.com. 60 IN A 192.0.2.1"


RECORDS = [
    a("www"),
    a("a.b.c"),
    a("*.wild"),
    "child.example.com. 60 IN NS ns.example.net.",
    "moved.example.com. 60 IN DNAME example.net.",
]
WHOLE = [Reply([[soa(3)]]), Reply([[soa(3), *RECORDS, soa(3)]])]
EXIST = [
    "example.com",
    "www.example.com",
    "b.c.example.com",
    "c.example.com",
    "x.wild.example.com",
    "x.y.wild.example.com",
    "x.child.example.com",
    "x.y.moved.example.com",
]
MISSING = ["x.example.com", "x.www.example.com", "x.b.c.example.com", "wwww.example.com"]


def step(serial: int, *changes: str, drop: tuple[str, ...] = ()) -> list[Reply]:
    """Return what a primary answers that goes one serial further."""
    return [
        Reply([[soa(serial)]]),
        Reply([[soa(serial), soa(serial - 1), *drop, soa(serial), *changes, soa(serial)]]),
    ]


def test_names_exist_as_the_zone_says(tmp_path: Path) -> None:
    kernel = Kernel()
    looked = follower(kernel, tmp_path, *WHOLE).look()
    assert (looked.result, looked.serial, looked.error) == (Result.FULL, 3, "")
    assert [name for name in EXIST if not kernel.exists(name)] == []
    assert [name for name in MISSING if kernel.exists(name)] == []


def test_changes_come_in_place(tmp_path: Path) -> None:
    kernel = Kernel()
    one = follower(
        kernel,
        tmp_path,
        *WHOLE,
        *step(4, a("new"), a("www"), drop=(a("www"), a("a.b.c"))),
        *step(5, drop=(a("*.wild"),)),
    )
    one.look()
    assert one.look().result is Result.CHANGES
    assert kernel.exists("new.example.com")
    assert kernel.exists("www.example.com")
    assert not kernel.exists("c.example.com")
    assert one.look().serial == 5
    assert not kernel.exists("x.wild.example.com")


def test_a_wildcard_at_the_top_makes_everything_exist_until_it_goes(tmp_path: Path) -> None:
    kernel = Kernel()
    one = follower(kernel, tmp_path, *WHOLE, *step(4, a("*")), *step(5, drop=(a("*"),)))
    one.look()
    assert one.look().everything
    assert not one.look().everything
    assert not kernel.exists("x.y.example.com")


def test_a_large_change_makes_the_table_grow(tmp_path: Path) -> None:
    kernel = Kernel()
    many = [a(f"n{number}") for number in range(200)]
    one = follower(kernel, tmp_path, *WHOLE, *step(4, *many))
    one.look()
    assert one.look().names == 200 + 8
    assert all(kernel.exists(f"n{number}.example.com") for number in range(200))
    assert kernel.exists("www.example.com")


def test_the_last_version_is_in_force_before_the_network_is_there(tmp_path: Path) -> None:
    follower(Kernel(), tmp_path, *WHOLE).look()
    kernel = Kernel()
    one = follower(kernel, tmp_path, Reply([[]], rcode=5))
    looked = one.begin()
    assert (looked.result, looked.serial) == (Result.KEPT, 3)
    assert all(map(kernel.exists, EXIST))
    failed = one.look()
    assert failed.result is Result.FAILED
    assert "refuses" in failed.error
    assert failed.serial == 3
    assert all(map(kernel.exists, EXIST))


def test_the_version_from_the_file_is_kept_up_by_changes(tmp_path: Path) -> None:
    follower(Kernel(), tmp_path, *WHOLE).look()
    kernel = Kernel()
    one = follower(kernel, tmp_path, *step(4, a("new")))
    one.begin()
    assert one.look().result is Result.CHANGES
    assert kernel.exists("new.example.com")


def test_after_a_day_the_whole_zone_comes_anew(tmp_path: Path) -> None:
    follower(Kernel(), tmp_path, *WHOLE).look()
    one = follower(Kernel(), tmp_path, *WHOLE, at=1000.0 + 24 * 3600)
    one.begin()
    assert one.look().result is Result.FULL


def test_changes_that_do_not_fit_lead_to_the_whole_zone(tmp_path: Path) -> None:
    kernel = Kernel()
    again = Reply([[soa(4), a("www"), soa(4)]])
    one = follower(kernel, tmp_path, *WHOLE, *step(4, drop=(a("nobody"),)), again)
    one.look()
    assert one.look().result is Result.FULL
    assert not kernel.exists("c.example.com")


def test_a_transfer_that_breaks_changes_nothing(tmp_path: Path) -> None:
    kernel = Kernel()
    cut = step(4, drop=(a("www"),))[1]
    cut = replace(cut, messages=[[soa(4), soa(3), a("www")], [soa(4), a("x"), a("y")]])
    one = follower(kernel, tmp_path, *WHOLE, Reply([[soa(4)]]), cut)
    one.look()
    before = bytes(kernel.names)
    assert one.look().result is Result.FAILED
    assert bytes(kernel.names) == before


def test_an_image_that_is_not_whole_is_one_sentence(tmp_path: Path) -> None:
    follower(Kernel(), tmp_path, *WHOLE).look()
    (path,) = tmp_path.iterdir()
    octets = path.read_bytes()
    for broken in (octets[:-1], octets[:50], octets[:200] + b"\1" + octets[201:], octets + b"\0"):
        path.write_bytes(broken)
        with pytest.raises(StateError, match="not whole"):
            read_image(path, HASH.identity, HASH.tag(ZONE.wire))
        looked = follower(Kernel(), tmp_path).begin()
        assert looked.serial is None
        assert "not whole" in looked.error


def test_an_image_under_other_keys_is_not_used(tmp_path: Path) -> None:
    follower(Kernel(), tmp_path, *WHOLE).look()
    (path,) = tmp_path.iterdir()
    other = NameHash.random()
    assert read_image(path, other.identity, HASH.tag(ZONE.wire)) is None
    assert read_image(path, HASH.identity, 4) is None


labels = st.sampled_from(["a", "b", "*", "c"])
owners = st.lists(labels, min_size=1, max_size=3).map(
    lambda parts: ".".join([*parts, "example.com"])
)
records = st.builds(
    lambda owner, kind: ZoneRecord(Name(wire_of(owner)).wire, kind, 1, 60, b"\0\x01ab"),
    owners,
    st.sampled_from([1, RecordType.NS, RecordType.NSEC3, RecordType.RRSIG, RecordType.DNAME]),
)


def wire_of(text: str) -> bytes:
    parts = text.encode().split(b".")
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.lists(records, max_size=12), st.lists(records, max_size=12))
def test_taking_what_was_added_leaves_what_was_there(
    stay: list[ZoneRecord], go: list[ZoneRecord]
) -> None:
    counting = ZoneCounting(ZONE.wire, HASH)
    table, only = NameTable(1), NameTable(1)
    for target, several in ((table, [*stay, *go]), (only, stay)):
        for record in several:
            for tag, amount in counting.of(record):
                target.add(tag, amount)
    for record in go:
        for tag, amount in counting.of(record):
            assert table.take(tag, amount) is not None
    assert sorted(filter(None, table.words)) == sorted(filter(None, only.words))


def test_signatures_of_nsec3_and_nsec3_do_not_count() -> None:
    counting = ZoneCounting(ZONE.wire, HASH)
    owner = wire_of("0123.example.com")
    for kind, data in ((RecordType.NSEC3, b""), (RecordType.RRSIG, b"\0\x32rest")):
        assert list(counting.of(ZoneRecord(owner, kind, 1, 60, data))) == []
    signature = ZoneRecord(owner, RecordType.RRSIG, 1, 60, b"\0\x01rest")
    assert [tag for tag, _ in counting.of(signature)] == [HASH.tag(owner)]


def test_a_failure_is_looked_at_again_soon(tmp_path: Path) -> None:
    def fails(*_: object) -> Fetched:
        raise TransferError("cannot transfer example.com: no")

    one = ZoneFollower(
        FollowedZone(ZONE, (PRIMARY,), NUMBER), HASH, tmp_path, Kernel(), transfer=fails
    )
    assert 5 <= one.look().next_seconds <= 70


@pytest.mark.parametrize(
    ("primary", "refresh", "among", "bounds"),
    [
        ("127.0.0.1", 86_400, 1, (4.0, 6.0)),
        ("127.0.0.1", 0, 1, (0.8, 1.2)),
        ("192.0.2.1", 86_400, 1, (50.0, 70.0)),
        ("192.0.2.1", 0, 1, (4.0, 6.0)),
        ("127.0.0.1", 0, 1000, (45.0, 55.0)),
    ],
)
def test_a_new_name_is_not_waited_for_as_long_as_secondaries_wait(
    tmp_path: Path, primary: str, refresh: int, among: int, bounds: tuple[float, float]
) -> None:
    least, most = bounds

    def current(*_: object) -> Fetched:
        return Fetched(Kind.CURRENT, Soa(1, refresh, 60, 3600, 60), PRIMARY)

    zone = FollowedZone(ZONE, (Primary(ip_address(primary)),), NUMBER)
    one = ZoneFollower(zone, HASH, tmp_path, Kernel(), among=among, transfer=current)
    assert least <= one.look().next_seconds <= most


def test_a_clock_that_was_set_back_does_not_put_the_whole_zone_off(tmp_path: Path) -> None:
    kernel, now = Kernel(), [1e9]
    fake = FakePrimary(*WHOLE, *WHOLE)

    def transfer(*arguments: object) -> Fetched:
        return fetch(
            *arguments,  # type: ignore[arg-type]
            bounds=Bounds(idle=30.0),
            client=lambda primary, bounds: PrimaryClient(primary, bounds, opener=fake.open),
        )

    one = ZoneFollower(
        FollowedZone(ZONE, (PRIMARY,), NUMBER),
        HASH,
        tmp_path,
        kernel,
        clock=lambda: now[0],
        transfer=transfer,
    )
    assert one.look().result is Result.FULL
    now[0] = 1e6
    assert one.look().result is Result.FULL
