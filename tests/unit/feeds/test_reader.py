"""One reading of one file: its format found, its rows in parts, what makes it broken."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.feeds.test_lines import ORIGIN, said
from tests.unit.feeds.test_rpz import HEAD
from xdpctl.abi import RuleAction
from xdpctl.errors import ForeignFileError, ListError, TargetError
from xdpctl.feeds.bounded import LINE_MAX, PART
from xdpctl.feeds.reader import ListReading
from xdpctl.process.clock import boot_clock
from xdpctl.rules import AnyQtype, parse_target
from xdpctl.rules.keys import each_row
from xdpctl.settings import ListFormat, ListSettings

if TYPE_CHECKING:
    from pathlib import Path

    from xdpctl.rules import Target

DROP, TRUNCATE, PASS = RuleAction.DROP, RuleAction.TRUNCATE, RuleAction.PASS


def reading(
    path: Path, form: ListFormat = ListFormat.AUTO, action: RuleAction | None = None
) -> ListReading:
    one = ListSettings(file=path, origin=ORIGIN, action=action, format=form)
    return ListReading(one, AnyQtype.NEW)


def read(one: ListReading) -> list[tuple[Target, RuleAction]]:
    return [said(row) for chunk in one for row in each_row(chunk)]


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize(
    ("content", "target", "action"),
    [
        ("192.0.2.1\n", "192.0.2.1", DROP),
        ("192.0.2.1 # x\n", "192.0.2.1", DROP),
        ("192.0.2.0/24 ; x\n", "192.0.2.0/24", DROP),
        ("192.0.2.1 action=pass\n", "192.0.2.1", PASS),
        ("bad.example\n", "bad.example", DROP),
        ("bad.example qtype=A\n", "bad.example", DROP),
        ("# x\n\n0.0.0.0 bad.example\n", "bad.example", DROP),
        ("127.0.0.1\tlocalhost\n127.0.0.1\tbad.example\n", "bad.example", DROP),
        ("; x\n" + HEAD + "bad.example CNAME .\n", "bad.example", DROP),
        (HEAD.partition("\n")[2] + "bad.example CNAME .\n", "bad.example", DROP),
        (HEAD.split("\n", 2)[2] + "bad.example CNAME .\n", "bad.example", DROP),
        ("\ufeff192.0.2.1\r\n", "192.0.2.1", DROP),
    ],
)
def test_the_first_line_tells_the_format(
    tmp_path: Path, content: str, target: str, action: RuleAction
) -> None:
    found = read(reading(written(tmp_path, content)))

    assert [(one[0].name if hasattr(one[0], "name") else one[0], one[1]) for one in found] == [
        (getattr(parse_target(target), "name", parse_target(target)), action)
    ]


def test_a_format_that_is_said_is_not_guessed(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="line 1"):
        read(reading(written(tmp_path, "bad.example\n"), ListFormat.CIDR))


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (ListFormat.TARGETS, "192.0.2.1\n"),
        (ListFormat.CIDR, "192.0.2.1\n"),
        (ListFormat.HOSTS, "0.0.0.0 bad.example\n"),
    ],
)
@pytest.mark.parametrize("action", [DROP, TRUNCATE, PASS])
def test_the_lists_action_is_that_of_its_rules(
    tmp_path: Path, form: ListFormat, content: str, action: RuleAction
) -> None:
    assert [one[1] for one in read(reading(written(tmp_path, content), form, action))] == [action]


def test_a_zone_denies_by_a_drop_where_the_list_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, HEAD + "bad.example CNAME .\n")

    assert [one[1] for one in read(reading(path, action=DROP))] == [DROP]


def test_a_zone_has_no_action_pass(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="remove the action pass"):
        read(reading(written(tmp_path, HEAD), action=PASS))


def test_a_long_list_comes_in_parts(tmp_path: Path) -> None:
    lines = [f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}\n" for n in range(20_000)]
    content = "".join(lines)
    parts = [len(list(each_row(chunk))) for chunk in reading(written(tmp_path, content))]

    assert sum(parts) == len(lines)
    assert len(parts) == len(content) // PART + 1


def test_a_line_of_a_later_part_has_its_own_number(tmp_path: Path) -> None:
    path = written(tmp_path, "192.0.2.1\n" * 20_000 + "300.1.1.1\n" * 300)

    with pytest.raises(TargetError, match=r"line 20001: .*; 300 of 20300 lines cannot be read"):
        read(reading(path))


def test_what_was_left_out_is_known_at_the_end(tmp_path: Path) -> None:
    one = reading(written(tmp_path, HEAD + "bad.example TXT x\n"))
    read(one)

    assert str(one.found) == "1 record with an answer of its own ('bad.example')"


@pytest.mark.parametrize("age", [0, 100])
def test_an_end_counts_from_the_files_last_change(tmp_path: Path, age: float) -> None:
    path = written(tmp_path, "192.0.2.1 for=1h\n")
    changed = path.stat().st_mtime - age
    os.utime(path, (changed, changed))
    before = boot_clock()
    (row,) = [row for chunk in reading(path) for row in each_row(chunk)]

    assert row[4] is not None
    assert before - age + 3595 < row[4] < boot_clock() - age + 3605


def test_an_end_is_the_same_in_each_reading_of_one_version(tmp_path: Path) -> None:
    path = written(tmp_path, "192.0.2.1 for=1h\n")
    one = ListSettings(file=path, origin=ORIGIN)
    ends = set()
    for later in (0.0, 0.1, 7.0):
        wall, boot = path.stat().st_mtime + 50 + later, 900.0 + later
        again = ListReading(
            one, AnyQtype.NEW, clock=partial(float, wall), boot_clock=partial(float, boot)
        )
        ends |= {row[4] for chunk in again for row in each_row(chunk)}

    assert ends == {850.0 + 3600}


@pytest.mark.parametrize("form", ListFormat)
@pytest.mark.parametrize("content", ["", "\n", " \r\n\n", "\ufeff"])
def test_an_empty_file_is_broken(tmp_path: Path, content: str, form: ListFormat) -> None:
    with pytest.raises(ListError, match="it is empty"):
        read(reading(written(tmp_path, content), form))


@pytest.mark.parametrize(
    "form", [ListFormat.AUTO, ListFormat.TARGETS, ListFormat.CIDR, ListFormat.HOSTS]
)
def test_a_comment_says_that_the_list_is_meant_to_be_empty(
    tmp_path: Path, form: ListFormat
) -> None:
    assert read(reading(written(tmp_path, "# nothing at present\n"), form)) == []


def test_a_file_that_is_not_there_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="it cannot be read: No such file"):
        read(reading(tmp_path / "absent"))


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ListError, match="not a regular file"):
        read(reading(tmp_path / "pipe"))


def test_a_directory_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ListError, match=r"not a regular file|Is a directory"):
        read(reading(tmp_path))


@pytest.mark.parametrize("form", [ListFormat.AUTO, ListFormat.RPZ])
def test_a_file_that_is_no_text_is_broken(tmp_path: Path, form: ListFormat) -> None:
    with pytest.raises(ListError, match="binary"):
        read(reading(written(tmp_path, HEAD.encode() + b"\x00\xff\n"), form))
    with pytest.raises(ListError, match="line 5"):
        read(reading(written(tmp_path, HEAD.encode() + b"\x1f\x8b\xff\n"), form))


def test_a_line_without_an_end_is_broken(tmp_path: Path) -> None:
    with pytest.raises(ListError, match="line 2 is longer than"):
        read(reading(written(tmp_path, "192.0.2.1\n" + "x" * LINE_MAX * 2)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary() | st.text().map(str.encode), st.sampled_from(ListFormat))
def test_any_file_is_rows_or_our_error(tmp_path: Path, content: bytes, form: ListFormat) -> None:
    try:
        found = read(reading(written(tmp_path, content), form))
    except (ListError, TargetError) as error:
        assert error.sentence  # noqa: PT017 - both ends are right
    else:
        assert all(isinstance(action, RuleAction) for _, action in found)


def test_where_the_settings_name_an_action_no_line_of_any_format_has_another(
    tmp_path: Path,
) -> None:
    content = "192.0.2.66 action=pass\n0.0.0.0/1 action=pass\nbad.example\n"
    one = reading(written(tmp_path, content), action=DROP)
    assert read(one) == [(parse_target("bad.example"), DROP)]
    one = reading(written(tmp_path, HEAD + "a CNAME rpz-passthru.\nb CNAME .\n"), action=DROP)
    assert read(one) == [(parse_target("b"), DROP)]


def test_a_part_is_bounded_by_its_characters_too(tmp_path: Path) -> None:
    line = "# " + "x" * 9_000 + "\n"
    one = reading(written(tmp_path, "192.0.2.1\n" + line * 1_000))
    parts = [(len([*part]), one.position)[1] for part in one]
    steps = [after - before for before, after in zip([0, *parts], parts, strict=False)]
    assert max(steps) <= PART
    assert parts[-1] == 1_000 * len(line) + 10


def test_a_file_of_blank_lines_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = written(tmp_path, "")
    with path.open("w") as file:
        for _ in range(50):
            file.write("\n" * 1_000_000)
    with pytest.raises(ListError, match="empty"):
        read(reading(path))


def test_a_file_that_its_writer_may_not_have_read_is_not_read(tmp_path: Path) -> None:
    """A folder that everybody can write to, and in it another name of somebody's file."""
    secret = tmp_path / "secret"
    secret.touch(mode=0o600)
    secret.write_text("s3cret.example\n")
    folder = tmp_path / "feeds"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "list.txt").hardlink_to(secret)
    with pytest.raises(ForeignFileError, match="it is not read: others can change"):
        read(reading(folder / "list.txt"))
