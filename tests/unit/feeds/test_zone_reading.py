"""A transferred zone as rules: as the same zone in a file, and changes as the whole."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

import dns.name
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.unit.feeds.test_lines import DROP, ORIGIN, PASS, TRUNCATE, said
from tests.unit.feeds.test_rpz import HEAD, POLICIES, owners, read
from xdpctl.abi import RuleAction
from xdpctl.errors import ListError, StateError
from xdpctl.feeds.formats.account import LeftOut
from xdpctl.feeds.zone import reading
from xdpctl.feeds.zone.reading import BrokenZoneError, ZoneReading
from xdpctl.feeds.zone.records import ZoneFiles
from xdpctl.rules import AnyQtype, parse_target
from xdpctl.rules.keys import each_row
from xdpctl.rules.names import Name
from xdpctl.settings import Denial, Lifetime, Passthru, ZoneListSettings
from xdpctl.transfers.records import CLASS_IN, RecordType, Soa, ZoneRecord

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.rules import Target
    from xdpctl.rules.keys import Row

ZONE = Name.from_text("rpz.example")
LIST = ZoneListSettings(ZONE, ORIGIN, (), denial=Denial.TRUNCATE)
NOW = 1_000_000.0
FILE_IS_SHARED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


def wire(text: str) -> bytes:
    return dns.name.from_text(text).to_digestable()


def cname(owner: str, target: str, ttl: int = 60) -> ZoneRecord:
    """Return a record of the zone; `owner` is relative to it."""
    return ZoneRecord(wire(f"{owner}.rpz.example."), RecordType.CNAME, CLASS_IN, ttl, wire(target))


def soa(serial: int) -> Soa:
    return Soa(serial, 60, 60, 3600, 60)


def files_of(folder: Path, records: list[ZoneRecord]) -> ZoneFiles:
    """Return the files of a zone whose first version is good."""
    files = ZoneFiles(folder / "z", ZONE.wire, clock=lambda: NOW)
    files.drop()
    files.write_whole([(True, records)], lambda: soa(1))
    files.accept()
    return files


def reading_of(
    folder: Path,
    list_: ZoneListSettings = LIST,
    *,
    touched: int | None = None,
    offered: bool = True,
    present: float = 100.0,
) -> ZoneReading:
    return ZoneReading(
        folder / "z.zone",
        list_,
        AnyQtype.NEW,
        ahead=NOW - 100,
        present=present,
        touched=touched,
        offered=offered,
    )


def rows_of(source: ZoneReading) -> list[Row]:
    return [row for part in source for row in each_row(part)]


def whole(
    folder: Path, records: list[ZoneRecord], list_: ZoneListSettings = LIST
) -> list[tuple[Target, int]]:
    files_of(folder, records)
    return [said(row) for row in rows_of(reading_of(folder, list_))]


@pytest.mark.parametrize(
    ("owner", "target"),
    [
        ("bad.example", "rpz-drop."),
        ("BAD.example", "RPZ-Drop."),
        ("bad.example", "."),
        ("bad.example", "*."),
        ("bad.example", "rpz-passthru."),
        ("bad.example", "bad.example."),
        ("*.bad.example", "*.bad.example."),
        ("*.bad.example", "rpz-tcp-only."),
        ("*", "rpz-drop."),
        ("24.0.2.0.192.rpz-client-ip", "rpz-drop."),
        ("128.1.zz.db8.2001.rpz-client-ip", "rpz-passthru."),
        ("24.1.2.0.192.rpz-client-ip", "."),
        ("rpz-client-ip", "."),
        ("24.0.2.0.192.rpz-ip", "."),
        ("24.0.2.0.192.rpz-nsip", "rpz-drop."),
        ("ns.bad.example.rpz-nsdname", "."),
        ("bad.example", "garden.example."),
        ("a.*.example", "."),
        ("a*.example", "."),
        ("*.*.example", "."),
        ("||evil.example^", "."),
        ("192.0.2.1", "."),
        ("*.192.0.2", "."),
        ("as64500", "."),
        ("*." + "a." * 17 + "x", "."),
        ("x" * 63, "."),
        ("x" * 40 + ".example", "rpz-drop."),
        ("0/25.2.0.192.in-addr.arpa", "rpz-drop."),
    ],
)
def test_a_record_is_what_it_is_in_a_file(tmp_path: Path, owner: str, target: str) -> None:
    account = LeftOut()
    in_file = read(f"{HEAD}{owner} CNAME {target}\n", left_out=account)
    files_of(tmp_path, [cname(owner, target)])
    source = reading_of(tmp_path)

    assert [said(row) for row in rows_of(source)] == in_file
    assert source.found.left_out.counts == account.counts
    assert source.found.left_out.denied == account.denied


def test_the_zone_itself_and_other_types_are_no_rules(tmp_path: Path) -> None:
    address = ZoneRecord(wire("a.rpz.example."), 1, CLASS_IN, 60, b"\xc0\0\2\1")
    of_the_zone = ZoneRecord(ZONE.wire, RecordType.NS, CLASS_IN, 60, wire("ns.example."))
    files_of(tmp_path, [of_the_zone, address])
    source = reading_of(tmp_path)

    assert rows_of(source) == []
    assert source.found.left_out.kinds == "1 record with an answer of its own"


zones = st.dictionaries(owners, st.sampled_from(sorted(POLICIES)), max_size=8)


def records_of(zone: dict[tuple[str, ...], str]) -> list[ZoneRecord]:
    return [cname(".".join((*owner, "evil.test")), policy) for owner, policy in zone.items()]


@FILE_IS_SHARED
@given(zones)
@example({("*",): "rpz-drop.", ("a", "b"): "garden."})
def test_wildcards_hide_as_in_a_file(tmp_path: Path, zone: dict[tuple[str, ...], str]) -> None:
    lines = "".join(f"{'.'.join((*o, 'evil.test'))} CNAME {policy}\n" for o, policy in zone.items())

    assert set(whole(tmp_path, records_of(zone))) == set(read(HEAD + lines))


@FILE_IS_SHARED
@given(zones, zones)
@example({("*",): "rpz-drop.", ("a", "b"): "garden."}, {("*",): "rpz-drop."})
@example({("a", "b"): "rpz-drop."}, {("*",): "rpz-drop.", ("a", "b"): "rpz-drop."})
@example({("*",): "rpz-drop.", ("*", "a"): "rpz-passthru."}, {("*", "a"): "rpz-passthru."})
def test_changes_lead_to_the_same_as_the_whole(
    tmp_path: Path, before: dict[tuple[str, ...], str], after: dict[tuple[str, ...], str]
) -> None:
    files = files_of(tmp_path, records_of(before))
    there = {row[:2]: row for row in rows_of(reading_of(tmp_path))}
    gone = set(records_of(before)) - set(records_of(after))
    come = set(records_of(after)) - set(records_of(before))
    files.write_changes([(False, list(gone)), (True, list(come))], lambda: soa(2))
    source = reading_of(tmp_path, touched=len(gone) + len(come))
    rows = rows_of(source)
    assert source.among is not None
    for place in source.among:
        there.pop(place, None)
    assert not there.keys() & {row[:2] for row in rows}
    there |= {row[:2]: row for row in rows}
    wanted = {row[:2]: row for row in rows_of(reading_of(tmp_path))}

    assert there == wanted
    assert source.found.rules - source.found.rules_before == len(wanted) - len(
        rows_of(reading_of(tmp_path, offered=False))
    )


def test_changes_that_concern_too_many_names_are_read_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CONCERNED_MAX", 3)
    files = files_of(tmp_path, [cname(f"n{n}.evil.test", "rpz-drop.") for n in range(5)])
    files.write_changes([(True, [cname("*.evil.test", "rpz-drop.")])], lambda: soa(2))
    source = reading_of(tmp_path, touched=1)

    assert len(rows_of(source)) == 5 + 1 + 5
    assert source.among is None


def test_a_rule_lives_as_long_as_its_records_ttl(tmp_path: Path) -> None:
    list_ = ZoneListSettings(ZONE, ORIGIN, (), lifetime=Lifetime.TTL)
    files_of(tmp_path, [cname("a.test", "rpz-drop.", 30), cname("b.test", "rpz-drop.", 90)])

    ends = {said(row)[0]: row[4] for row in rows_of(reading_of(tmp_path, list_))}
    later = [said(row)[0] for row in rows_of(reading_of(tmp_path, list_, present=130.0))]

    assert ends == {parse_target("a.test"): 130.0, parse_target("b.test"): 190.0}
    assert later == [parse_target("b.test")]


def test_a_client_with_passthru_is_exempt_if_asked_for(tmp_path: Path) -> None:
    list_ = ZoneListSettings(ZONE, ORIGIN, (), passthru=Passthru.EXEMPT)
    records = [
        cname("32.1.2.0.192.rpz-client-ip", "rpz-passthru."),
        cname("24.0.2.0.192.rpz-client-ip", "rpz-drop."),
        cname("good.test", "rpz-passthru."),
    ]
    files = files_of(tmp_path, records)
    source = reading_of(tmp_path, list_)
    found = {said(row) for row in rows_of(source)}

    assert found == {
        (parse_target("192.0.2.0/24"), DROP),
        (parse_target("good.test"), PASS),
    }
    assert source.found.exempt == {ip_network("192.0.2.1/32")}
    files.write_changes([(False, records[:1])], lambda: soa(2))
    changed = reading_of(tmp_path, list_, touched=1)
    assert rows_of(changed) == []
    assert changed.found.exempt == frozenset()
    assert changed.found.exempt_before == {ip_network("192.0.2.1/32")}


def test_half_the_internet_is_not_exempt_and_neither_are_very_many(tmp_path: Path) -> None:
    list_ = ZoneListSettings(ZONE, ORIGIN, (), passthru=Passthru.EXEMPT)
    files_of(tmp_path, [cname("7.0.0.0.12.rpz-client-ip", "rpz-passthru.")])
    source = reading_of(tmp_path, list_)
    assert rows_of(source) == []
    assert source.found.exempt == frozenset()
    assert "shorter than /8" in source.found.left_out.kinds

    many = [
        cname(f"32.{n % 250}.{n // 250}.0.10.rpz-client-ip", "rpz-passthru.") for n in range(1001)
    ]
    files_of(tmp_path, many)
    with pytest.raises(ListError, match="it exempts more than 1,000 clients"):
        rows_of(reading_of(tmp_path, list_))


def test_the_list_may_have_one_action_and_no_denials(tmp_path: Path) -> None:
    list_ = ZoneListSettings(ZONE, ORIGIN, (), action=TRUNCATE, denial=Denial.SKIP)
    files_of(
        tmp_path,
        [cname("a.test", "rpz-drop."), cname("b.test", "rpz-tcp-only."), cname("c.test", ".")],
    )
    source = reading_of(tmp_path, list_)

    assert [said(row) for row in rows_of(source)] == [(parse_target("b.test"), TRUNCATE)]
    assert source.found.left_out.kinds == (
        "1 record with another action than the list's, 1 NXDOMAIN and NODATA record"
    )


labels = st.lists(
    st.binary(min_size=1, max_size=12)
    | st.sampled_from([b"*", b"24", b"zz", b"0", b"192", b"a/8", b"1/8", b"xn--a", b"com"]),
    min_size=1,
    max_size=8,
)
data = st.binary(max_size=20) | st.sampled_from(sorted(map(wire, ("rpz-drop.", ".", "*."))))


@FILE_IS_SHARED
@given(st.lists(st.tuples(labels, st.sampled_from([b"", b"rpz-client-ip"]), data), max_size=6))
def test_any_records_are_rows_or_left_out(
    tmp_path: Path, found: list[tuple[list[bytes], bytes, bytes]]
) -> None:
    records = [
        ZoneRecord(
            b"".join(bytes((len(label),)) + label.lower() for label in (*owner, end) if label)
            + ZONE.wire,
            *(RecordType.CNAME, CLASS_IN, 60, octets),
        )
        for owner, end, octets in found
    ]
    files_of(tmp_path, records)
    source = reading_of(tmp_path)
    rows = rows_of(source)

    assert all(said(row)[1] in RuleAction for row in rows)
    kept = len({(record.owner, record.data) for record in records})
    implied = source.found.left_out.implied
    assert len(rows) - implied + len(source.found.left_out) == kept


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    (tmp_path / "z.zone").write_bytes(b"x" * 5000)
    with pytest.raises(BrokenZoneError) as caught:
        rows_of(reading_of(tmp_path))
    assert isinstance(caught.value.__cause__, StateError)
