"""What goes to another process and comes back: errors, lists in bodies and files."""

from __future__ import annotations

import errno
import io
import pickle
import tempfile
from http import HTTPStatus
from typing import IO, TYPE_CHECKING

import pytest

from xdpctl.errors import GuardError, KernelError, MapFullError, TargetError, XdpctlError
from xdpctl.feeds.reader import ListReading, ReadAs
from xdpctl.http.api.rule_lists import ImportedList, JsonList
from xdpctl.http.refusals import ListedRuleError, RequestError
from xdpctl.rules import AnyQtype
from xdpctl.rules.keys import each_row
from xdpctl.settings import ListSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from xdpctl.rules.keys import Rows
    from xdpctl.store.source import RuleSource

LINES = b"192.0.2.1\n10.0.0.0/8 action=pass\n192.0.2.9 origin=dnsdist\nwww.example\n"
JSON = b'[{"target": "192.0.2.1"}, {"target": "192.0.2.9", "origin": "dnsdist"}]'


def sent(thing: object) -> object:
    """Return what arrives in another process."""
    return pickle.loads(pickle.dumps(thing))  # noqa: S301 - ours


def rows(listed: Iterable[Iterable[Rows]]) -> list[tuple[int, bytes, int, str]]:
    """Return the rows without the times."""
    return [(*row[:4],) for part in listed for row in each_row(part)]


def in_memory(data: bytes) -> IO[bytes]:
    return io.BytesIO(data)


def on_disk(data: bytes) -> IO[bytes]:
    file = tempfile.TemporaryFile()  # noqa: SIM115 - its end is the test's
    file.write(data)
    file.flush()
    return file


@pytest.mark.parametrize(
    "error",
    [
        XdpctlError("a sentence"),
        TargetError("a sentence", text="x", field="qtype"),
        KernelError("cannot do it", errno.EPERM, "be root"),
        MapFullError("cannot write", errno.E2BIG, map_name="cidr4", capacity=8),
        GuardError("a sentence", text="10.0.0.0/8"),
        RequestError(HTTPStatus.BAD_REQUEST, "a sentence", field="target", index=3),
        ListedRuleError(TargetError("a sentence", text="x"), 4),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_arrives_as_it_was(error: XdpctlError) -> None:
    error.done = 7  # type: ignore[attr-defined]
    arrived = sent(error)
    assert type(arrived) is type(error)
    assert isinstance(arrived, XdpctlError)
    assert (str(arrived), vars(arrived)) == (str(error), vars(error))


@pytest.mark.parametrize("file", [in_memory, on_disk])
def test_lines_in_a_body_are_read_alike_in_another_process(
    file: Callable[[bytes], IO[bytes]],
) -> None:
    here = ImportedList(file(LINES), ReadAs(origin="file:x"), AnyQtype.NEW)
    there = sent(here)
    assert isinstance(there, ImportedList)
    assert there.size == here.size == len(LINES)
    found = rows(there)
    assert (there.position, there.found.skipped) == (len(LINES), 1)
    with here.file as opened:
        opened.seek(0)
        assert rows(here) == found
        assert len(found) == 3


@pytest.mark.parametrize("file", [in_memory, on_disk])
@pytest.mark.parametrize("whole", [True, False])
def test_json_in_a_body_keeps_what_it_may_have(
    file: Callable[[bytes], IO[bytes]], *, whole: bool
) -> None:
    here = JsonList(file(JSON), "api", AnyQtype.NEW, whole=whole)
    there = sent(here)
    assert isinstance(there, JsonList)
    with here.file:
        if whole:
            assert len(rows(there)) == 1
            assert there.found == 1
        else:
            with pytest.raises(ListedRuleError, match="rule 2 of the list"):
                rows(there)


def test_only_a_body_on_disk_needs_a_descriptor() -> None:
    assert ImportedList(in_memory(LINES), ReadAs(origin="cli"), AnyQtype.NEW).descriptors == ()
    listed = ImportedList(on_disk(LINES), ReadAs(origin="cli"), AnyQtype.NEW)
    with listed.file as file:
        assert listed.descriptors == (file.fileno(),)


def test_a_list_s_file_is_read_alike_in_another_process(tmp_path: Path) -> None:
    path = tmp_path / "bad.list"
    path.write_text("# bad ones\n192.0.2.1\nwww.example\n")
    here: RuleSource = ListReading(ListSettings(path, "list:bad"), AnyQtype.NEW)
    there = sent(here)
    assert isinstance(there, ListReading)
    assert here.size == path.stat().st_size
    found = rows(there)
    assert there.position == here.size
    assert rows(here) == found
    assert len(found) == 2


def test_what_a_zone_left_out_can_come_back(tmp_path: Path) -> None:
    path = tmp_path / "bad.rpz"
    path.write_text("$TTL 60\n@ SOA . . 1 60 60 60 60\n@ NS .\nbad.example TXT x\n")
    reading = ListReading(ListSettings(path, "list:bad"), AnyQtype.NEW)
    assert rows(reading) == []
    assert str(sent(reading.found)) == "1 record with an answer of its own ('bad.example')"


def test_a_file_that_is_not_there_has_no_size(tmp_path: Path) -> None:
    assert ListReading(ListSettings(tmp_path / "none", "list:x"), AnyQtype.NEW).size == 0
