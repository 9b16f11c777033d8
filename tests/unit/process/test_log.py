"""One event with fields is one line, whatever is in the fields."""

from __future__ import annotations

import io
import json
import logging
import os
from ipaddress import ip_network
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xdpctl.abi import MapName
from xdpctl.process.log import LogFormat, LogLevel, configure, event

if TYPE_CHECKING:
    from collections.abc import Iterator

LOGGER = logging.getLogger("xdpctl.test")


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    """Give pytest its handlers and level back."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def logged(form: LogFormat = LogFormat.TEXT, level: LogLevel = LogLevel.INFO) -> io.StringIO:
    stream = io.StringIO()
    configure(level, form, stream)
    return stream


def behind_the_time(line: str) -> str:
    return line.split(" ", 1)[1]


def test_an_event_is_time_level_name_and_fields() -> None:
    stream = logged()
    record = LOGGER.makeRecord("x", logging.INFO, "f", 1, "attached", (), None)
    record.created = 1_795_230_000
    record.xdpctl_fields = {"interface": "eth0", "mode": "native", "id": 12}
    logging.getLogger().handle(record)
    assert (
        stream.getvalue() == "2026-11-21T03:00:00Z info attached interface=eth0 mode=native id=12\n"
    )


def test_a_level_is_named() -> None:
    stream = logged()
    event(LOGGER, "lost", logging.ERROR, interface="eth0")
    assert behind_the_time(stream.getvalue()) == "error lost interface=eth0\n"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", '""'),
        ("two words", '"two words"'),
        ('say "no"', '"say \\"no\\""'),
        ("a=b", '"a=b"'),
        ("line\nline", '"line\\nline"'),
        ("\x9b31m", '"\\u009b31m"'),
        ("\u2028", '"\\u2028"'),
        ("\udcff", '"\\udcff"'),
        ("bücher", "bücher"),
        (True, "true"),
        (1.5, "1.5"),
        (b"\x01\xff", "01ff"),
        (("eth0", "eth1"), "eth0,eth1"),
        ((), '""'),
        (Path("/run/x"), "/run/x"),
        (ip_network("192.0.2.0/24"), "192.0.2.0/24"),
        (MapName.CIDR4, "cidr4"),
        ({"qnames": 1}, '"{\\"qnames\\": 1}"'),
        (ValueError("bad thing"), '"bad thing"'),
    ],
)
def test_a_value_is_one_word_or_quoted(value: object, text: str) -> None:
    stream = logged()
    event(LOGGER, "x", field=value)
    assert behind_the_time(stream.getvalue()) == f"info x field={text}\n"


def test_a_field_that_is_none_is_left_out() -> None:
    stream = logged()
    event(LOGGER, "x", a=None, b=1)
    assert behind_the_time(stream.getvalue()) == "info x b=1\n"


@pytest.mark.parametrize("form", LogFormat)
@pytest.mark.parametrize("name", ["token", "authorization", "password", "secret"])
def test_a_secret_is_never_written(form: LogFormat, name: str) -> None:
    stream = logged(form)
    event(LOGGER, "x", **{name: "hunter2"})
    assert "hunter2" not in stream.getvalue()
    assert "[hidden]" in stream.getvalue()


def test_json_is_one_object_with_the_fields_beside_the_event() -> None:
    stream = logged(LogFormat.JSON)
    fields: dict[str, object] = {"n": 1, "on": True, "names": ["a"], "map": MapName.CIDR4}
    event(LOGGER, "attached", **fields, inner={"a": b"\x01"}, prefix=ip_network("192.0.2.0/24"))
    document = json.loads(stream.getvalue())
    assert document.pop("time").endswith("Z")
    assert document == {
        "level": "info",
        "event": "attached",
        "n": 1,
        "on": True,
        "names": ["a"],
        "map": "cidr4",
        "inner": {"a": "01"},
        "prefix": "192.0.2.0/24",
    }


def test_a_field_cannot_take_the_place_of_the_events_own() -> None:
    stream = logged(LogFormat.JSON)
    event(LOGGER, "attached", level="high", event="other")
    document = json.loads(stream.getvalue())
    assert (document["level"], document["event"]) == ("info", "attached")


@pytest.mark.parametrize("form", LogFormat)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(), value=st.text() | st.binary() | st.floats() | st.lists(st.text()))
def test_any_event_is_one_line(form: LogFormat, name: str, value: object) -> None:
    stream = logged(form)
    event(LOGGER, name, field=value)
    line = stream.getvalue()
    assert line.endswith("\n")
    assert line[:-1].isprintable()


def test_a_librarys_line_names_its_logger() -> None:
    stream = logged()
    logging.getLogger("aiohttp.server").warning("odd\nrequest %d", 7)
    assert behind_the_time(stream.getvalue()) == ("warning odd\\nrequest 7 logger=aiohttp.server\n")


def crash() -> None:
    raise ValueError("two\nlines")


def raise_and_log() -> None:
    try:
        crash()
    except ValueError:
        LOGGER.exception("crashed")


@pytest.mark.parametrize("form", LogFormat)
def test_an_exception_is_one_line_without_traceback(form: LogFormat) -> None:
    stream = logged(form)
    raise_and_log()
    assert stream.getvalue().count("\n") == 1
    assert "Traceback" not in stream.getvalue()


def test_an_exception_names_its_kind_and_place() -> None:
    stream = logged(LogFormat.JSON)
    raise_and_log()
    document = json.loads(stream.getvalue())
    assert document["error"] == "ValueError: two\nlines"
    assert document["at"].startswith("test_log.py:")


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    stream = logged(LogFormat.JSON)
    LOGGER.error("x", exc_info=ValueError("unraised"))
    document = json.loads(stream.getvalue())
    assert document["error"] == "ValueError: unraised"
    assert "at" not in document


def test_a_traceback_is_a_field_at_debug() -> None:
    stream = logged(LogFormat.TEXT, LogLevel.DEBUG)
    raise_and_log()
    assert stream.getvalue().count("\n") == 1
    assert 'traceback="Traceback' in stream.getvalue()


@pytest.mark.parametrize("level", LogLevel)
def test_nothing_below_the_level_is_written(level: LogLevel) -> None:
    stream = logged(level=level)
    for other in LogLevel:
        event(LOGGER, other.value, other.number)
    names = [line.split()[2] for line in stream.getvalue().splitlines()]
    assert names == [other.value for other in LogLevel if other.number >= level.number]


def test_configuring_again_takes_the_place_of_the_first() -> None:
    first = logged()
    second = logged()
    event(LOGGER, "x")
    assert (first.getvalue(), second.getvalue().count("\n")) == ("", 1)


def test_a_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(28, "No space left on device", text)

    configure(LogLevel.INFO, LogFormat.TEXT, Broken())
    event(LOGGER, "x")
    stream = logged()
    event(LOGGER, "y")
    assert stream.getvalue().count("\n") == 1


# --- the journal ------------------------------------------------------------------------------


def journal(tmp_path: Path, form: LogFormat, *, right: bool = True) -> list[str]:
    """Log to a file that JOURNAL_STREAM names, or does not; return its lines."""
    with (tmp_path / "journal").open("w+") as stream:
        found = os.fstat(stream.fileno())
        environ = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino + (not right)}"}
        configure(LogLevel.DEBUG, form, stream, environ)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
            event(LOGGER, "attached", level, interface="eth0")
        logging.getLogger("library").critical("a line\nof two")
        stream.seek(0)
        return stream.read().splitlines()


def test_in_the_journal_a_line_begins_with_its_level_and_has_no_time(tmp_path: Path) -> None:
    assert journal(tmp_path, LogFormat.TEXT) == [
        *(f"<{level}>attached interface=eth0" for level in (7, 6, 4, 3)),
        "<3>a line\\nof two logger=library",
    ]


def test_in_the_journal_json_has_the_level_in_front(tmp_path: Path) -> None:
    lines = journal(tmp_path, LogFormat.JSON)
    assert [line[:3] for line in lines] == ["<7>", "<6>", "<4>", "<3>", "<3>"]
    assert json.loads(lines[1][3:])["event"] == "attached"


def test_a_stream_that_is_not_the_journal_has_time_and_level(tmp_path: Path) -> None:
    lines = journal(tmp_path, LogFormat.TEXT, right=False)
    assert [behind_the_time(line) for line in lines[:2]] == [
        "debug attached interface=eth0",
        "info attached interface=eth0",
    ]


@pytest.mark.parametrize("value", ["", "nonsense", "1:2:3"])
def test_a_broken_journal_stream_is_none(value: str) -> None:
    stream = io.StringIO()
    configure(LogLevel.INFO, LogFormat.TEXT, stream, {"JOURNAL_STREAM": value})
    event(LOGGER, "attached")
    assert behind_the_time(stream.getvalue()) == "info attached\n"
