"""The kinds of published lists, as `[[list]]` and as `import` read them: alike.

A case is a file's content, the format that it is taken for, and its rules. An error is a part of
the sentence for which a version is not used.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.feeds.test_lines import ORIGIN, said
from tests.unit.feeds.test_rpz import HEAD
from xdpctl.errors import EmptyListError, ListError, TargetError
from xdpctl.feeds.reader import ListReading, ReadAs, Reading
from xdpctl.http.api.rule_lists import ImportedList
from xdpctl.rules import AnyQtype, target_text
from xdpctl.rules.keys import each_row
from xdpctl.settings import Denial, ListFormat, ListSettings

if TYPE_CHECKING:
    from pathlib import Path

AUTO = ListFormat.AUTO


class Found(NamedTuple):
    """What a reading came to: rules by target, each with action and reason."""

    format: ListFormat | None
    rules: dict[str, str]
    reasons: dict[str, str]
    reading: Reading


def found(reading: Reading) -> Found:
    rows = [row for part in reading for row in each_row(part)]
    rules = {target_text(target): action.name.lower() for target, action in map(said, rows)}
    reasons = {target_text(said(row)[0]): row[3] for row in rows if row[3]}
    return Found(reading.found.format, rules, reasons, reading)


def listed(folder: Path, content: bytes, form: ListFormat = AUTO) -> Found:
    path = folder / "list"
    path.write_bytes(content)
    return found(ListReading(ListSettings(path, ORIGIN, format=form), AnyQtype.NEW))


def imported(_: Path, content: bytes, form: ListFormat = AUTO) -> Found:
    read_as = ReadAs(origin=ORIGIN, format=form)
    return found(ImportedList(io.BytesIO(content), read_as, AnyQtype.NEW))


READERS = pytest.mark.parametrize("read", [listed, imported])


def drops(*targets: str) -> dict[str, str]:
    return dict.fromkeys(targets, "drop")


T, C, H, F = ListFormat.TARGETS, ListFormat.CIDR, ListFormat.HOSTS, ListFormat.FIRST_COLUMN
ADBLOCK, DNSMASQ, UNBOUND = ListFormat.ADBLOCK, ListFormat.DNSMASQ, ListFormat.UNBOUND
RPZ, JSON = ListFormat.RPZ, ListFormat.JSON

RECOGNIZED = [
    ("192.0.2.1\nbad.example\n", T, drops("192.0.2.1", "bad.example")),
    ("192.0.2.0/24\n2001:db8::/32\n", T, drops("192.0.2.0/24", "2001:db8::/32")),
    ("# wild\n*.ads.example\n.evil.example\n", T, drops("*.ads.example", ".evil.example")),
    ("; Spamhaus DROP\n192.0.2.0/24 ; SBL1\n", T, drops("192.0.2.0/24")),
    ("192.0.2.66#note\na.example//note\n", T, drops("192.0.2.66", "a.example")),
    ("// x\n192.0.2.1 // y\n", T, drops("192.0.2.1")),
    ("::ffff:192.0.2.66\n::ffff:192.0.2.0/120\n", T, drops("192.0.2.66", "192.0.2.0/24")),
    ("192.0.2.1 action=pass\n", T, {"192.0.2.1": "pass"}),
    ("# ipsum\n192.0.2.66\t9\n192.0.2.67\t8\n", F, drops("192.0.2.66", "192.0.2.67")),
    ("192.0.2.0\t192.0.2.255\t24\t3\tX\n", F, drops("192.0.2.0/24")),
    ("Start\tEnd\tNetmask\n192.0.0.0\t192.0.255.255\t16\tX\n", F, drops("192.0.0.0/16")),
    ("192.0.2.0 - 192.0.2.255\n2001:db8:: - 2001:db8::ff x\n", F,
     drops("192.0.2.0/24", "2001:db8::/120")),
    ("192.0.2.1\t0\n192.0.2.2 0 x\n", F, drops("192.0.2.1", "192.0.2.2")),
    ("192.0.2.1 - x\n192.0.2.2 -\n", F, drops("192.0.2.1", "192.0.2.2")),
    ("192.0.2.4 - 192.0.2.9\n", F, drops("192.0.2.4/30", "192.0.2.8/31")),
    ("192.0.2.0 255.255.255.0\n10.0.0.0 0.255.255.255\n", F,
     drops("192.0.2.0/24", "10.0.0.0/8")),
    ("domain\na.example\nb.example\n", T, drops("a.example", "b.example")),
    ("# ip\nip\n192.0.2.1\n", T, drops("192.0.2.1")),
    ("ip score\n192.0.2.1 5\n192.0.2.2 5\n", F, drops("192.0.2.1", "192.0.2.2")),
    ("192.0.2.1 seen 2026\n2001:db8::1 seen\n", F, drops("192.0.2.1", "2001:db8::1")),
    ("192.0.2.0/24 AS64500 # n\n", F, drops("192.0.2.0/24")),
    ("127.0.0.1 localhost\n0.0.0.0 a.example b.example\n", H, drops("a.example", "b.example")),
    ("::0 a.example\n0:0:0:0:0:0:0:1 b.example\n", H, drops("a.example", "b.example")),
    ("0 a.example\n0.0.0.1 b.example\n", H, drops("a.example", "b.example")),
    ("0.0.0.0 -043ns11.example\n", H, drops("-043ns11.example")),
    ("0.0.0.0 a.example#x\n0.0.0.0 b.example;x\n0.0.0.0 c.example//x\n", H,
     drops("a.example", "b.example", "c.example")),
    ("# x\n// y\n; z\n" + HEAD + "# w\nbad.example CNAME .\n// v\n", RPZ, drops("bad.example")),
    ("!x\n#Title\n; y\n||a.example^\n", ADBLOCK, drops(".a.example")),
    ("; x\n// y\nlocal=/a.example/ ; z\n", DNSMASQ, drops(".a.example")),
    ('// y\n{"cidr":"192.0.2.0/24"}\n# x\n', JSON, drops("192.0.2.0/24")),
    ("||ads.example^\n", ADBLOCK, drops(".ads.example")),
    (
        "||ads.example^\nexample.org##.banner\n@@||good.example^\n",
        ADBLOCK,
        {".ads.example": "drop", ".good.example": "pass"},
    ),
    ("[Adblock Plus 2.0]\n! x\n||ads.example^\n", ADBLOCK, drops(".ads.example")),
    ("! Title\nads.example\n", ADBLOCK, drops("ads.example")),
    ("# x\nads.example\nmore.example\n||b.example^\n", ADBLOCK,
     drops("ads.example", "more.example", ".b.example")),
    ("# dnsmasq\nlocal=/ads.example/\n", DNSMASQ, drops(".ads.example")),
    ("address=/a.example/0.0.0.0\nserver=/b.example/\n", DNSMASQ,
     drops(".a.example", ".b.example")),
    ("address=/a.example/::0\n", DNSMASQ, drops(".a.example")),
    ('server:\nlocal-zone: "ads.example" always_nxdomain\n', UNBOUND, drops(".ads.example")),
    (HEAD + "bad.example CNAME .\n*.bad.example CNAME *.\n", RPZ,
     drops("bad.example", "*.bad.example")),
    ('{"cidr":"192.0.2.0/24","sblid":"SBL1","rir":"x"}\n', JSON, drops("192.0.2.0/24")),
]  # fmt: skip


@READERS
@pytest.mark.parametrize(("content", "form", "rules"), RECOGNIZED)
@pytest.mark.parametrize("shape", ["as it is", "CRLF", "CR", "BOM", "gzip", "zip"])
def test_a_list_is_recognized_and_read(  # noqa: PLR0913, PLR0917 - a table of cases
    read: object, tmp_path: Path, content: str, form: ListFormat, rules: dict[str, str], shape: str
) -> None:
    data = content.encode()
    match shape:
        case "CRLF":
            data = data.replace(b"\n", b"\r\n")
        case "CR":
            data = data.replace(b"\n", b"\r")
        case "BOM":
            data = b"\xef\xbb\xbf" + data
        case "gzip":
            data = gzip.compress(data, mtime=0)
        case "zip":
            data = zipped({"list": data})
    result = read(tmp_path, data)  # type: ignore[operator]
    assert (result.format, result.rules) == (form, rules)


def zipped(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return packed.getvalue()


FEODO = b"""# Feodo Tracker
"first_seen_utc","dst_ip","dst_port","c2_status"
"2022-06-04 21:24:53","192.0.2.178","8080","online"
"2023-11-21 14:04:41","198.51.100.40","443","offline"
"""


def tarred(content: bytes) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        member = tarfile.TarInfo("list.txt")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


GZ = gzip.compress(b"192.0.2.1\n192.0.2.2\n", mtime=0)
ZIP = zipped({"a": b"192.0.2.1\n"})
PAGE = b"<!DOCTYPE html>\n<html><body>404</body></html>\n"

REFUSED = [
    (GZ[:-8], "not complete"),
    (GZ[:-1], "not complete"),
    (GZ[:20], "not complete"),
    (GZ + b"garbage", "cannot be unpacked"),
    (GZ[:12] + b"\xff" + GZ[13:], "gzip file"),
    (ZIP[:-5], "zip file"),
    (zipped({"a": b"192.0.2.1\n", "b": b"x"}), "2 files ('a', 'b')"),
    (zipped({}), "without a file"),
    (zipped({"a": GZ}), "another packed file in it"),
    (gzip.compress(GZ, mtime=0), "another packed file in it"),
    (tarred(b"192.0.2.1\n"), "tar -xf"),
    (gzip.compress(tarred(b"192.0.2.1\n"), mtime=0), "tar -xf"),
    (gzip.compress("192.0.2.1\n".encode("utf-16"), mtime=0), "UTF-16"),
    (zipped({f"{n}": b"" for n in range(1_200)}), "many files"),
    (b"BZh91AY&SY", "bzip2: unpack it with `bunzip2`"),
    (b"\xfd7zXZ\x00", "`unxz`"),
    (b"\x28\xb5\x2f\xfd.", "`unzstd`"),
    (b"\x5d\x00\x00\x80\x00", "`unlzma`"),
    (b"\x04\x22\x4d\x18", "`unlz4`"),
    (b"7z\xbc\xaf\x27\x1c", "`7z x`"),
    (b"Rar!\x1a\x07", "`unrar x`"),
    ("192.0.2.1\n".encode("utf-16"), "UTF-16: convert it with `iconv"),
    ("192.0.2.1\n".encode("utf-16-le"), "UTF-16: convert it with `iconv"),
    ("192.0.2.1\n".encode("utf-16-be"), "UTF-16: convert it with `iconv"),
    ("192.0.2.1\n".encode("utf-32"), "UTF-32: convert it with `iconv"),
    (b"\0\0\0\x02\0\0\0\x01" + bytes(40), "named-compilezone"),
    (b"192.0.2.1\n\x00\x01\x02\n", "binary"),
    (PAGE, "a page of HTML"),
    (gzip.compress(PAGE, mtime=0), "a page of HTML"),
    (b"\n\n <html lang=en>\n", "a page of HTML"),
    (b"<?xml version='1.0'?>\n<e/>\n", "a page of HTML or XML"),
    (b"192.0.2.*\n", "write 192.0.2.0/24"),
    (b"203.0.113.4-7\n", "write 203.0.113.4/30"),
    (b"192.0.2.0-192.0.2.255\n", "write 192.0.2.0/24"),
    (b"192.0.2.0/255.255.255.0\n", "write 192.0.2.0/24"),
    (b"192.0.2.1:53\n", "write 192.0.2.1"),
    (b"http://a.example/\n", "write a.example"),
    (b"0.0.0.0 http://a.example/\n", "write a.example"),
    (b"AS64500\n", "AS number"),
    (b"192.0.2.0 192.0.2.255\n", "two addresses"),
    (b"192.0.2.0\t192.0.2.255\t23\n", "two addresses"),
    (b"192.0.2.9 198.51.100.7\n", "two addresses"),
    (b"192.0.2.9 192.0.2.1\n", "two addresses"),
    (b"192.0.2.9 255.255.255.0\n", "two addresses"),
    (FEODO, "it is CSV, several columns with commas between them: write"),
    (FEODO, "`cut -d, -f2 | tr -d '\" '`"),
    (b"ip,score\n192.0.2.1,5\n192.0.2.2,5\n", "`cut -d, -f1 "),
    (b"rank,domain\n1,a.example\n2,b.example\n", "`cut -d, -f2 "),
    (b"192.0.2.1, 192.0.2.2, 192.0.2.3\n", "CSV"),
    (b"a.example;b.example\nc.example; 192.0.2.1\n", "columns with semicolons between them"),
    (b"DOMAIN-SUFFIX,a.example\nDOMAIN,b.example\n", "CSV"),
    (b'["192.0.2.0/24","198.51.100.0/24"]\n', "`jq -r '.[]'`"),
    (b'[\n{"cidr":"192.0.2.0/24"}\n]\n', "`jq -c '.[]'`"),
    (b'{\n "data": []\n}\n', "it is JSON"),
    (b'{"cidr":"192.0.2.0/24"},\n{"cidr":"198.51.100.0/24"},\n', "it is JSON"),
    (b'{"error":"rate limited"}\n', "none of its JSON objects has a prefix"),
    (b"create x hash:net\nadd x 192.0.2.1\n", "ipset save"),
    (b"table inet x {\n}\n", "nftables"),
    (b"-A INPUT -s 192.0.2.1/32 -j DROP\n", "iptables"),
    (b'zone "a.example" { type master; file "null"; };\n', "a configuration of BIND"),
    (b'// x\nzone "a.example" IN {\n type primary;\n};\n', "a configuration of BIND"),
    (b"payload:\n  - '+.a.example'\n", "YAML"),
    (b"- a.example\n- b.example\n", "YAML"),
    (b"version https://git-lfs.github.com/spec/v1\noid x\n", "Git LFS"),
    (b"%PDF-1.4\n", "PDF"),
    (b"-----BEGIN PGP SIGNED MESSAGE-----\n", "gpg --decrypt"),
    (b"-----BEGIN CERTIFICATE-----\nMIIB\n", "certificate"),
    (b"Forbidden\n", "only single words such as 'Forbidden'"),
    (b"a.example CNAME .\n*.a.example CNAME .\n", "does not begin with its SOA"),
    (b"192.0.2.66 for 10m\n", "after the target"),
    (b"Not Found\n", "line 1"),
    (b'{"cidr":"192.0.2.0/24"}\n{"type":"metadata","records":2}\n', "1 of the 2 records"),
    (b'{"cidr":"192.0.2.1/24"}\n', "host bits"),
    (b'{"cidr":"a.example"}\n', "as a prefix"),
]


@READERS
@pytest.mark.parametrize(("content", "error"), REFUSED)
def test_what_is_no_list_is_refused_and_says_why(
    read: object, tmp_path: Path, content: bytes, error: str
) -> None:
    with pytest.raises((ListError, TargetError)) as caught:
        read(tmp_path, content)  # type: ignore[operator]
    assert error in caught.value.sentence
    assert len(caught.value.sentence) < 400


@READERS
@pytest.mark.parametrize("form", [T, C, H, F])
def test_csv_is_named_whatever_format_of_lines_is_given(
    read: object, tmp_path: Path, form: ListFormat
) -> None:
    with pytest.raises(ListError, match="it is CSV"):
        read(tmp_path, FEODO, form)  # type: ignore[operator]


@READERS
def test_the_first_of_two_addresses_is_used_where_the_format_is_named(
    read: object, tmp_path: Path
) -> None:
    result = read(tmp_path, b"192.0.2.9 198.51.100.7\n", F)  # type: ignore[operator]
    assert result.rules == drops("192.0.2.9")


@READERS
def test_single_words_are_names_where_the_format_is_named(read: object, tmp_path: Path) -> None:
    assert read(tmp_path, b"forbidden\n", T).rules == drops("forbidden")  # type: ignore[operator]
    assert read(tmp_path, b"forbidden.\n").rules == drops("forbidden")  # type: ignore[operator]
    ours = read(tmp_path, b"lan action=drop\n")  # type: ignore[operator]
    assert ours.rules == drops("lan")


@READERS
def test_titles_of_columns_are_no_rules_and_are_counted(read: object, tmp_path: Path) -> None:
    result = read(tmp_path, b"# x\nDomain\na.example\nb..example\n" + b"c.example\n" * 99)  # type: ignore[operator]
    assert result.rules == drops("a.example", "c.example")
    assert result.reading.found.kinds == "1 line of titles, 1 line that cannot be read"
    assert "line 4" in str(result.reading.found)


@READERS
def test_what_macos_adds_to_an_archive_is_no_file_of_it(read: object, tmp_path: Path) -> None:
    data = zipped({"a": b"192.0.2.1\n", "__MACOSX/._a": b"x"})
    assert read(tmp_path, data).rules == drops("192.0.2.1")  # type: ignore[operator]


@READERS
@pytest.mark.parametrize("form", sorted({*ListFormat} - {AUTO}))
def test_a_page_of_html_is_no_list_of_any_format(
    read: object, tmp_path: Path, form: ListFormat
) -> None:
    with pytest.raises(ListError, match="a page of HTML"):
        read(tmp_path, PAGE, form)  # type: ignore[operator]


REASONS = [
    ("192.0.2.0/24 ; SBL256894\n", T, {"192.0.2.0/24": "SBL256894"}),
    ("192.0.2.1 # a  b\n192.0.2.2\n", T, {"192.0.2.1": "a b"}),
    ('192.0.2.1 reason="own" # x\n', T, {"192.0.2.1": "own"}),
    ("192.0.2.66#note\n", C, {"192.0.2.66": "note"}),
    ("192.0.2.1 9 # seen\n", F, {"192.0.2.1": "seen"}),
    ("0.0.0.0 a.example # tracker\n", H, {"a.example": "tracker"}),
    ("||a.example^ # tracker\n", ADBLOCK, {".a.example": "tracker"}),
    ("local=/a.example/ # tracker\n", DNSMASQ, {".a.example": "tracker"}),
    ('local-zone: "a.example" static # t\n', UNBOUND, {".a.example": "t"}),
    ('{"cidr":"192.0.2.0/24","sblid":"SBL1"}\n', JSON, {"192.0.2.0/24": "SBL1"}),
    ("192.0.2.1 # " + "x" * 300 + "\n", T, {"192.0.2.1": "x" * 199 + "…"}),
    ("192.0.2.1 # a\x07b\n", T, {"192.0.2.1": "ab"}),
]


@READERS
@pytest.mark.parametrize(("content", "form", "reasons"), REASONS)
def test_a_comment_behind_an_entry_is_its_reason(
    read: object, tmp_path: Path, content: str, form: ListFormat, reasons: dict[str, str]
) -> None:
    result = read(tmp_path, content.encode(), form)  # type: ignore[operator]
    assert result.reasons == reasons


@READERS
@pytest.mark.parametrize(
    ("head", "good", "bad"),
    [
        ("", "192.0.2.{}", "6\u00d766.example"),
        ("", "0.0.0.0 n{}.example", "0.0.0.0 a..b"),
        ("", "local=/n{}.example/", "nonsense/"),
        (HEAD, "n{} CNAME .", "a..b CNAME ."),
        (HEAD, "n{} CNAME .", 'x TXT "'),
    ],
)
def test_one_unreadable_line_in_a_hundred_is_left_out_and_named(
    read: object, tmp_path: Path, head: str, good: str, bad: str
) -> None:
    content = head + "".join(f"{good.format(number)}\n" for number in range(99)) + f"{bad}\n"
    result = read(tmp_path, content.encode())  # type: ignore[operator]
    assert len(result.rules) == 99
    account = result.reading.found
    assert (account.unreadable, account.kinds) == (1, "1 line that cannot be read")
    assert bad.split()[0 if head else -1] in str(account)
    with pytest.raises((ListError, TargetError), match=r"2 of 1\d\d lines cannot be read"):
        read(tmp_path, f"{content}{bad}\n".encode())  # type: ignore[operator]


def test_more_than_a_thousand_unreadable_lines_refuse_any_list(tmp_path: Path) -> None:
    lines = ["a.example\n"] * 200_000
    assert len(listed(tmp_path, "".join([*lines, *["a..b\n"] * 1_000]).encode()).rules) == 1
    with pytest.raises(TargetError, match="more than 1,000 lines cannot be read"):
        listed(tmp_path, "".join([*lines, *["a..b\n"] * 1_001]).encode())


def test_the_share_is_of_lines_with_content(tmp_path: Path) -> None:
    content = "# x\n\n" * 500 + "a.example\n" * 50 + "a..b\n"
    with pytest.raises(TargetError, match=r"a\.\.b"):
        listed(tmp_path, content.encode())


def test_a_record_that_cannot_be_read_gives_its_name_to_no_other(tmp_path: Path) -> None:
    zone = HEAD + "good CNAME rpz-passthru.\n" * 300 + "a..b CNAME .\n CNAME .\n"
    result = listed(tmp_path, zone.encode())
    assert result.rules == {"good": "pass"}
    assert result.reading.found.unreadable == 2


@pytest.mark.parametrize(
    ("content", "rules", "cut"),
    [
        ("192.0.2.7\n192.0.2.1", drops("192.0.2.7"), 1),
        ("0.0.0.0 b.example\n0.0.0.0 bb", drops("b.example"), 1),
        ("192.0.2.7\n# cut he", drops("192.0.2.7"), 0),
        ("# x\n192.0.2.1", {}, 1),
        ("192.0.2.7\n  ", drops("192.0.2.7"), 0),
    ],
)
def test_a_last_line_without_an_end_is_left_out_of_a_file_and_taken_by_import(
    tmp_path: Path, content: str, rules: dict[str, str], cut: int
) -> None:
    result = listed(tmp_path, content.encode())
    assert (result.rules, len(result.reading.found)) == (rules, cut)
    assert len(imported(tmp_path, content.encode()).rules) == len(rules) + cut
    packed = listed(tmp_path, gzip.compress(content.encode(), mtime=0))
    assert len(packed.rules) == len(rules) + cut


def test_a_file_of_one_line_without_an_end_is_no_list(tmp_path: Path) -> None:
    with pytest.raises(EmptyListError, match="has no end"):
        listed(tmp_path, b"192.0.2.1")


@pytest.mark.parametrize(
    ("denial", "action", "denied"),
    [(Denial.DROP, "drop", 3), (Denial.TRUNCATE, "truncate", 3), (Denial.SKIP, None, 0)],
)
def test_a_denial_of_an_rpz_zone_is_what_is_asked_for(
    denial: Denial, action: str | None, denied: int
) -> None:
    zone = HEAD + 'a CNAME .\nb CNAME *.\n"c" CNAME .\nc\\045 CNAME .\nd CNAME rpz-drop.\n'
    zone = zone.replace('"c" CNAME .\n', "")
    read_as = ReadAs(origin=ORIGIN, denial=denial)
    result = found(ImportedList(io.BytesIO(zone.encode()), read_as, AnyQtype.NEW))
    wanted = {} if action is None else dict.fromkeys(["a", "b", "c-"], action)
    assert result.rules == {**wanted, "d": "drop"}
    assert result.reading.found.denied == denied
    if action is None:
        assert result.reading.found.kinds == "3 NXDOMAIN and NODATA records"


def test_the_objects_of_asn_drop_are_left_out(tmp_path: Path) -> None:
    lines = [{"cidr": "192.0.2.0/24"}, {"asn": 64500}, {"x": 1}, {"type": "metadata", "records": 3}]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    result = listed(tmp_path, content.encode())
    assert result.rules == drops("192.0.2.0/24")
    assert result.reading.found.kinds == "1 AS number, 1 object without a prefix"


def test_an_unpacked_list_has_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xdpctl.feeds.packed.UNPACKED_MAX", 100_000)
    with pytest.raises(ListError, match="more than 100,000 octets"):
        listed(tmp_path, gzip.compress(b"192.0.2.1\n" * 20_000, mtime=0))


PIECES = [
    "192.0.2.1",
    "a.example",
    " ",
    "\t",
    "\n",
    "\r",
    "#",
    ";",
    "//",
    "^",
    "@@",
    "0 x.example",
    "{",
    "}",
    "local=/",
    "/",
    "CNAME .",
    "$TTL 1",
    "SOA",
    "<html>",
    "server:",
    "##",
    "\ufeff",
    '"cidr":',
]


def test_a_packed_list_weighs_what_it_is_unpacked_to(tmp_path: Path) -> None:
    content = b"192.0.2.1 a b c\n" * 1_000
    for data, factor in ((content, 1), (gzip.compress(content), 10), (b"", 1)):
        (tmp_path / "list").write_bytes(data)
        file = ListReading(ListSettings(tmp_path / "list", ORIGIN), AnyQtype.NEW)
        body = ImportedList(io.BytesIO(data), ReadAs(origin=ORIGIN), AnyQtype.NEW)
        assert file.weight == body.weight == len(data) * factor
        assert file.size == body.size == len(data)
    absent = ListReading(ListSettings(tmp_path / "absent", ORIGIN), AnyQtype.NEW)
    assert absent.weight == 0


contents = st.binary(max_size=300) | st.lists(
    st.sampled_from([*map(str.encode, PIECES), b"||", b"\xff", b"\x1f\x8b\x08", b"PK\x03\x04"]),
    max_size=40,
).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(contents, st.sampled_from(ListFormat), st.sampled_from(["", "gzip", "cut gzip", "zip"]))
def test_any_file_is_read_or_refused_by_our_error_and_alike_by_both(
    tmp_path: Path, content: bytes, form: ListFormat, packing: str
) -> None:
    if packing:
        content = zipped({"x": content}) if packing == "zip" else gzip.compress(content, mtime=0)
    if packing == "cut gzip":
        content = content[:-4]
    results = []
    for read in (listed, imported):
        try:
            results.append(read(tmp_path, content, form))
        except (ListError, TargetError) as error:
            assert error.sentence.isprintable()  # noqa: PT017 - both ends are right
    if len(results) == 2:
        assert results[0].rules.items() <= results[1].rules.items()
    if packing == "cut gzip":
        assert results == []
