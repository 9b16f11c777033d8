"""A zone's files: a version is good as a whole or not at all, and both can be read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xdpctl.errors import StateError, TransferError
from xdpctl.feeds.zone import records
from xdpctl.feeds.zone.records import ZoneFiles, ZoneRecords, key_of
from xdpctl.rules.names import Name
from xdpctl.transfers.primaries import UnfitChangesError
from xdpctl.transfers.records import RecordType, Soa, ZoneRecord

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from xdpctl.feeds.zone.records import Batch

ZONE = Name.from_text("rpz.example").wire


def cname(relative: str, ttl: int = 60, data: bytes = b"\x08rpz-drop\0") -> ZoneRecord:
    labels = relative.encode().split(b".") if relative else []
    owner = b"".join(bytes((len(label),)) + label for label in labels) + ZONE
    return ZoneRecord(owner, RecordType.CNAME, 1, ttl, data)


def soa(serial: int) -> Soa:
    return Soa(serial, 60, 30, 3600, 20)


def read(path: Path, *, offered: bool = True) -> tuple[int, list[tuple[bytes, int, int, bytes]]]:
    """Return the serial and the records of a version."""
    with ZoneRecords(path, offered=offered) as records:
        found = [(each.key, each.type, each.ttl, each.data) for each in records.records()]
        assert records.count == len(found)
        return records.soa.serial, found


def stored(records: Sequence[ZoneRecord]) -> list[tuple[bytes, int, int, bytes]]:
    return sorted((key_of(each.owner, ZONE), each.type, each.ttl, each.data) for each in records)


@pytest.fixture
def files(tmp_path: Path) -> ZoneFiles:
    """Three records, good."""
    made = ZoneFiles(tmp_path / "a", ZONE)
    made.begin()
    made.write_whole([(True, [cname("b.a"), cname("*.x"), cname("y")])], lambda: soa(1))
    made.accept()
    return made


def again(files: ZoneFiles) -> ZoneFiles:
    """Return what another process finds."""
    found = ZoneFiles(files._path.with_name("a"), ZONE)
    found.begin()
    return found


def path_of(files: ZoneFiles) -> Path:
    assert files.good is not None
    return files.good.path


def connection_of(files: ZoneFiles) -> sqlite3.Connection:
    assert files._connection is not None
    return files._connection


def serial_of(files: ZoneFiles) -> int | None:
    return files.good.soa.serial if files.good else None


def test_a_key_is_the_owner_from_the_zone_downwards() -> None:
    assert key_of(cname("c.bb.a").owner, ZONE) == b"\x01a\x02bb\x01c"
    assert key_of(cname("abc").owner, ZONE) == b"\x03abc"
    assert key_of(ZONE, ZONE) == b""


def test_what_is_below_a_name_is_one_range(files: ZoneFiles) -> None:
    more = ["a", "b.a", "c.b.a", "a.aa", "a.b", "*.a", "a-b.a"]
    files.write_whole([(True, [cname(each) for each in more])], lambda: soa(2))
    assert files.offered is not None
    with ZoneRecords(files.offered.path) as records:
        below = [each.key for each in records.below(b"\x01a")]
        assert below == sorted(
            key_of(cname(each).owner, ZONE) for each in more if each[-2:] == ".a"
        )
        assert [each.key for each in records.of(b"\x01a\x01b")] == [b"\x01a\x01b"]


def test_an_offered_version_is_good_once_it_is_accepted(files: ZoneFiles) -> None:
    before = read(path_of(files))
    files.write_changes([(False, [cname("y")]), (True, [cname("z")])], lambda: soa(2))
    assert files.offered is not None
    assert (files.offered.base, files.offered.touched, files.offered.records) == (1, 2, 3)
    after = (2, stored([cname("b.a"), cname("*.x"), cname("z")]))
    with ZoneRecords(files.offered.path) as records:
        assert [*records.touched()] == [b"\x01y", b"\x01z"]
    assert read(files.offered.path) == after
    assert read(files.offered.path, offered=False) == before
    assert read(path_of(again(files))) == before  # a start in between forgets it
    files.write_changes([(False, [cname("y")]), (True, [cname("z")])], lambda: soa(2))
    files.accept()
    assert read(path_of(again(files))) == after


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("error", [TransferError("cut"), Killed()])
def test_a_version_whose_transfer_breaks_is_never_offered(
    files: ZoneFiles, error: BaseException, *, whole: bool
) -> None:
    before = read(path_of(files))

    def broken() -> Iterator[tuple[bool, list[ZoneRecord]]]:
        yield True, [cname("new")]
        raise error

    write = files.write_whole if whole else files.write_changes
    with pytest.raises(type(error)):
        write(broken(), lambda: soa(2))
    assert files.offered is None
    assert read(path_of(files)) == before
    assert [path.name for path in path_of(files).parent.iterdir()] == ["a.zone"]


@pytest.mark.parametrize("whole", [True, False])
def test_a_process_that_is_killed_leaves_the_last_good_version(
    files: ZoneFiles, tmp_path: Path, *, whole: bool
) -> None:
    """Its files are copied in the midst of a transfer, as a kill would leave them."""
    before = read(path_of(files))
    left = tmp_path / "left"

    def copied() -> Iterator[tuple[bool, list[ZoneRecord]]]:
        yield True, [cname(f"n{number}", data=bytes(200)) for number in range(20_000)]
        shutil.copytree(tmp_path, left, ignore=shutil.ignore_patterns("left"))

    connection_of(files).execute(
        "PRAGMA cache_size = 10"
    )  # so that it is written to the file early
    (files.write_whole if whole else files.write_changes)(copied(), lambda: soa(2))
    assert len([*left.iterdir()]) == 2  # the new file, or the journal
    found = ZoneFiles(left / "a", ZONE)
    found.begin()
    assert read(path_of(found)) == before
    assert [path.name for path in left.iterdir()] == ["a.zone"]


@pytest.mark.parametrize(
    "batches",
    [
        [(False, [cname("nobody")])],
        [(False, [cname("y")]), (False, [cname("y")])],
        [(True, [cname("y")])],
        [(True, [cname("z")]), (True, [cname("z")])],
        [(False, [cname("y", data=b"\0")])],
    ],
)
def test_changes_that_do_not_fit_change_nothing(
    files: ZoneFiles, batches: list[tuple[bool, list[ZoneRecord]]]
) -> None:
    before = read(path_of(files))
    with pytest.raises(UnfitChangesError):
        files.write_changes(batches, lambda: soa(2))
    assert (files.offered, read(path_of(files))) == (None, before)


def test_the_good_version_can_be_read_while_many_changes_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "_CACHE_KIB", 64)
    monkeypatch.setattr(records, "_PATIENCE", 0.0)
    files = ZoneFiles(tmp_path / "a", ZONE)
    files.write_whole([(True, [cname("y")])], lambda: soa(1))
    files.accept()
    path = path_of(files)

    def batches() -> Iterator[Batch]:
        for part in range(20):
            yield True, [cname(f"n{part}-{number}") for number in range(200)]
            assert read(path, offered=False)[0] == 1

    files.write_changes(batches(), lambda: soa(2))
    assert read(path)[0] == 2


def test_changes_that_would_take_too_much_memory_are_transferred_as_a_whole(
    files: ZoneFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "CHANGES_OCTETS_MAX", 10_000)
    files.write_changes([(True, [cname("z", data=bytes(9_000))])], lambda: soa(2))
    with pytest.raises(UnfitChangesError, match="more records change"):
        files.write_changes([(True, [cname("z", data=bytes(10_000))])], lambda: soa(2))
    assert serial_of(again(files)) == 1


def test_without_a_version_changes_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(UnfitChangesError):
        ZoneFiles(tmp_path / "a", ZONE).write_changes([], lambda: soa(2))


def test_a_record_that_came_twice_is_one(files: ZoneFiles) -> None:
    files.write_whole([(True, [cname("a"), cname("a", 5)]), (True, [cname("a")])], lambda: soa(2))
    assert files.offered is not None
    assert files.offered.records == 1


@pytest.mark.parametrize("keep_since", [True, False])
def test_since_survives_a_whole_version_if_asked_for(tmp_path: Path, *, keep_since: bool) -> None:
    now = [1000.0]
    files = ZoneFiles(tmp_path / "a", ZONE, keep_since=keep_since, clock=lambda: now[0])
    for serial, now[0] in enumerate((1000.0, 2000.0), 1):
        ttl = 60 * serial
        files.write_whole([(True, [cname("same"), cname("other", ttl)])], lambda: soa(1))
        files.accept()
    with ZoneRecords(path_of(files)) as records:
        since = {each.key: each.since for each in records.records()}
    assert since == {b"\x04same": 1000 if keep_since else 2000, b"\x05other": 2000}


@pytest.mark.parametrize(
    "octets", [b"", b"nothing", b"SQLite format 3\0" + bytes(200), None], ids=repr
)
def test_a_file_that_cannot_be_used_is_removed_with_one_sentence(
    files: ZoneFiles, octets: bytes | None
) -> None:
    path = path_of(files)
    path.write_bytes(path.read_bytes()[:5000] if octets is None else octets)
    with pytest.raises(StateError, match="the whole zone is transferred again") as caught:
        again(files)
    assert "\n" not in caught.value.sentence
    assert not path.exists()


def test_the_file_of_another_zone_is_not_used(files: ZoneFiles) -> None:
    other = ZoneFiles(path_of(files).with_name("a"), Name.from_text("other.example").wire)
    with pytest.raises(StateError, match="another zone"):
        other.begin()


def test_a_file_that_others_can_have_made_or_changed_is_not_used(
    files: ZoneFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = path_of(files)
    connection_of(files).close()
    path.chmod(0o646)
    for use in (lambda: again(files), lambda: read(path)):
        with pytest.raises(StateError, match="other users can write to"):
            use()
    path.chmod(0o644)
    assert read(path)[0] == 1
    inode, real = path.stat().st_ino, os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        fields = list(real(descriptor)[:10])
        fields[4] = 4_000_001 if fields[1] == inode else fields[4]
        return os.stat_result(fields)

    monkeypatch.setattr(os, "fstat", fstat)
    for use in (lambda: again(files), lambda: read(path)):
        with pytest.raises(StateError, match="belongs to user 4000001"):
            use()
    monkeypatch.undo()
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")
    with pytest.raises(StateError, match="is a link, not a regular file"):
        read(path)


def test_a_full_disk_is_one_sentence(files: ZoneFiles) -> None:
    connection_of(files).execute("PRAGMA max_page_count = 1")
    with pytest.raises(StateError, match=r"cannot write .* full; the last good version stays"):
        files.write_changes([(True, [cname(f"n{n}") for n in range(1000)])], lambda: soa(2))
    assert serial_of(again(files)) == 1


def test_a_disk_that_is_full_at_the_start_costs_no_version(
    files: ZoneFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(path_of(files))

    def full(_: ZoneFiles) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ZoneFiles, "_forget_changes", full)
        with pytest.raises(StateError, match="is full; the whole zone is transferred again"):
            again(files)
    assert read(path_of(again(files))) == before


def test_a_zone_that_is_larger_than_a_file_may_be_changes_nothing(
    files: ZoneFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = read(path_of(files))
    monkeypatch.setattr(records, "_PAGES_MAX", 20)
    with pytest.raises(StateError, match=r"cannot write .*\.new: .* full; the last good version"):
        files.write_whole([(True, [cname(f"n{n}") for n in range(5000)])], lambda: soa(2))
    assert (read(path_of(files)), files.offered) == (before, None)
    assert [path.name for path in path_of(files).parent.iterdir()] == ["a.zone"]


def test_the_last_contact_is_written_down_once_a_minute(tmp_path: Path) -> None:
    now = [1000.0]
    files = ZoneFiles(tmp_path / "a", ZONE, clock=lambda: now[0])
    files.write_whole([], lambda: soa(1))
    files.accept()
    for seen, written in ((1050.0, 1000.0), (1061.0, 1061.0), (900.0, 900.0)):
        now[0] = seen
        files.saw()
        assert (files.contact, again(files).contact) == (seen, written)


labels = st.sampled_from(["a", "b", "*"])
owners = st.lists(labels, max_size=3).map(".".join)
zones = st.dictionaries(owners, st.integers(1, 3), max_size=6)


@given(zones, st.lists(st.tuples(zones, st.booleans(), st.booleans()), max_size=5))
def test_any_versions_follow_each_other(
    first: dict[str, int], steps: list[tuple[dict[str, int], bool, bool]]
) -> None:
    """Each step is a version that comes whole or as changes, and is accepted or refused."""
    with tempfile.TemporaryDirectory() as directory:
        files = ZoneFiles(Path(directory) / "a", ZONE)
        there: dict[str, int] = {}
        for serial, (version, whole, good) in enumerate([(first, True, True), *steps]):
            if whole:
                batches = [(True, [cname(*each) for each in version.items()])]
            else:
                batches = [
                    (False, [cname(*each) for each in there.items() - version.items()]),
                    (True, [cname(*each) for each in version.items() - there.items()]),
                ]
            write = files.write_whole if whole else files.write_changes
            write(batches, lambda serial=serial: soa(serial))  # type: ignore[misc]
            assert files.offered is not None
            wanted = stored([cname(*each) for each in version.items()])
            assert read(files.offered.path) == (serial, wanted)
            if files.offered.base is not None:
                old = stored([cname(*each) for each in there.items()])
                assert read(files.offered.path, offered=False)[1] == old
            if good:
                files.accept()
                there = version
            else:
                files.discard()
            assert read(path_of(files))[1] == stored([cname(*each) for each in there.items()])
        files.drop()
        assert [*Path(directory).iterdir()] == []
